"""The policy's size and number format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyConfig:
    """One dial, `lstm_units`, derives the other widths: small 128, medium 512, five 1024, rerun 4096."""

    lstm_units: Annotated[int, Ge(1)] = 128
    """Units of the LSTM."""
    encoder_units: Annotated[int, Ge(0)] = 0
    """Width of each encoder and of the layer before the LSTM; 0 means half of lstm_units, at least 32."""
    slot_units: Annotated[int, Ge(0)] = 0
    """Width of a slot's embedding in an entity set, and of actions'; 0 means an eighth of lstm_units, at least 32."""
    cross_agent_pool: Annotated[float, Ge(0), Le(1)] = 0.25
    """Share of the vector before the LSTM that is max-pooled across a team's agents; 0 keeps them apart."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What matrix products run in, everywhere in the run; auto is settled by the optimizer when a run starts."""
    zero_state: bool = False
    """Zero the LSTM's state before every row: the ablation that shows what memory is worth."""
    encoder: str = ""
    """`my_module:make_encoder` replaces the encoder of the entries it wants; empty for the built-in ones."""

    def __post_init__(self) -> None:
        if self.lstm_units < 1:
            raise ValueError(f"model.lstm_units is {self.lstm_units}; it must be at least 1")
        if not 0 <= self.cross_agent_pool <= 1:
            raise ValueError(f"model.cross_agent_pool is {self.cross_agent_pool}; it must be between 0 and 1")

    @property
    def hidden_units(self) -> int:
        """The width of encoders, derived unless it is set."""
        return self.encoder_units or max(32, self.lstm_units // 2)

    @property
    def embedding_units(self) -> int:
        """The width of the embeddings of slots and actions, derived unless it is set."""
        return self.slot_units or max(32, self.lstm_units // 8)
