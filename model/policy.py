"""The recurrent policy: encoders, layer, LSTM, heads and value, with one code path for playing and for training.

    entries of the observation ─► encoder each ─┐
    previous action ─► one-hot ─────────────────┴► concatenate ─► layer ─► LSTM ─► action heads
                                                                               └─► value (normalised)

Shapes: T rows, B teams, A agents of a team, H LSTM units; time first. `act` is `unroll` with T = 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from games.api import GameSpec, entry_kind
from model.config import PolicyConfig
from model.encoders import make_encoder, policy_entries
from model.heads import ActionHeads, Evaluated, PreviousAction
from model.layers import Linear, preferred_dtype, set_compute_dtype
from model.lstm import LSTM
from model.normalizer import ReturnNormalizer

TensorDict = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Unrolled:
    """What `unroll` returns."""

    hidden: Tensor  # [T, B, A, H] f32, the LSTM's output
    value: Tensor  # [T, B, A] f32, normalised returns
    state: Tensor  # [B, A, 2, H] f32, after the last row
    auxiliary: dict[str, Tensor]  # name -> logits [T, B, A, k] f32
    keys: dict[str, Tensor]  # entity set -> slot embeddings [T, B, A, N, S], for pointer heads; opaque to callers


@dataclass(frozen=True, slots=True)
class Acted:
    """What `act` returns; the log-probabilities are those of exactly this action by exactly these weights."""

    action: dict[str, Tensor]  # per head [B, A] int64 (-1 where not read) or [B, A, dims] f32 (unclipped; 0 not read)
    log_prob: dict[str, Tensor]  # per head [B, A] f32, 0 where not read
    value: Tensor  # [B, A] f32, in reward units
    state: Tensor  # [B, A, 2, H] f32
    auxiliary: dict[str, Tensor] = field(default_factory=dict)  # name -> probabilities [B, A, k] f32


class Policy(nn.Module):
    """The network of one game, the same for every agent of every team.

    Raises:
        UnsupportedSpaceError: an entry or head that no encoder or head serves.
    """

    def __init__(self, spec: GameSpec, config: PolicyConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        units = config.hidden_units
        self.entries = policy_entries(spec)
        encoders = [make_encoder(spec, name, units, config.encoder) for name in self.entries]
        self.encoders = nn.ModuleList(encoders)
        self.sets = {name for name in self.entries if entry_kind(spec, name) == "entity_set"}
        self.previous_action = PreviousAction(spec)
        width = sum(encoder.outputs for encoder in encoders) + self.previous_action.outputs
        self.layer = Linear(width, units)
        self.lstm = LSTM(units, config.lstm_units)
        self.heads = ActionHeads(spec, config.lstm_units)
        self.value = Linear(config.lstm_units, 1, gain=1.0)
        self.returns = ReturnNormalizer()

    def use_device(self, device: torch.device) -> Policy:
        """Move to a device and choose the number format of its matrix products; the value head stays f32."""
        self.to(device)
        set_compute_dtype(self, preferred_dtype(self.config.precision, device))
        self.value.compute_dtype = torch.float32
        return self

    @property
    def compute_dtype(self) -> torch.dtype:
        """What matrix products run in, and what published weights are stored in."""
        return self.layer.compute_dtype

    def initial_state(self, batch: int, agents: int | None = None) -> Tensor:
        """Zeros [B, A, 2, H]: (hidden, cell)."""
        a = self.spec.agents_per_team if agents is None else agents
        return torch.zeros(batch, a, 2, self.config.lstm_units, device=self.layer.weight.device)

    def unroll(self, observation: TensorDict, first: Tensor, previous_action: TensorDict, state: Tensor) -> Unrolled:
        """Run T rows from a state.

        Args:
            observation: per entry [T, B, A, ...] (team-shared: [T, B, ...]) and `action_mask/<head>` [T, B, A, n].
            first: [T, B] bool, the state is zeroed before this row.
            previous_action: per head [T, B, A] (-1 for none) or [T, B, A, dims].
            state: [B, A, 2, H], before row 0.
        """
        t, b, a, h = first.shape[0], first.shape[1], state.shape[1], self.config.lstm_units
        x = self._encode(observation, previous_action, (t, b, a))
        resets = torch.ones_like(first) if self.config.zero_state else first
        resets = resets.unsqueeze(-1).expand(t, b, a).reshape(t, b * a)
        start = state.reshape(b * a, 2, h)
        hidden, (last_hidden, last_cell) = self.lstm(x.reshape(t, b * a, -1), resets, (start[:, 0], start[:, 1]))
        after = torch.stack((last_hidden, last_cell), dim=1).reshape(b, a, 2, h)
        hidden = hidden.reshape(t, b, a, h)
        value = self.value(hidden).squeeze(-1)
        return Unrolled(hidden, value, after, {}, {})

    def evaluate(self, unrolled: Unrolled, observation: TensorDict, action: TensorDict) -> Evaluated:
        """Log-probability and entropy of actions that were taken, per head.

        Args:
            unrolled: what `unroll` returned for this observation.
            observation: only its masks are read.
            action: per head [T, B, A] (-1 for none and for heads that were not read) or [T, B, A, dims].
        """
        return self.heads.evaluate(unrolled.hidden, unrolled.keys, observation, action)

    @torch.inference_mode()
    def act(
        self,
        observation: TensorDict,
        first: Tensor,
        previous_action: TensorDict,
        state: Tensor,
        generator: torch.Generator | None = None,
        *,
        greedy: bool = False,
    ) -> Acted:
        """One row: shapes as in `unroll` without the time axis. `greedy` takes the likeliest action."""
        seen = {name: x.unsqueeze(0) for name, x in observation.items()}
        previous = {name: x.unsqueeze(0) for name, x in previous_action.items()}
        row = self.unroll(seen, first.unsqueeze(0), previous, state)
        action, log_prob = self.heads.choose(row.hidden, row.keys, seen, generator, greedy=greedy)
        return Acted(
            action={head: x[0] for head, x in action.items()},
            log_prob={head: x[0] for head, x in log_prob.items()},
            value=self.returns.denormalize(row.value[0]),
            state=row.state,
        )

    def _encode(self, observation: TensorDict, previous_action: TensorDict, shape: tuple[int, int, int]) -> Tensor:
        """[T, B, A, units]: every entry through its encoder, then the layer before the LSTM."""
        t, b, a = shape
        parts = []
        for name, encoder in zip(self.entries, self.encoders, strict=True):
            encoded = encoder(*self._rows(observation, name))
            if name in self.spec.team_shared:
                encoded = encoded.reshape(t, b, 1, -1).expand(t, b, a, encoded.shape[-1])
            parts.append(encoded.reshape(t, b, a, -1))
        parts.append(self.previous_action(previous_action))
        return torch.relu(self.layer(torch.cat(parts, dim=-1)))

    def _rows(self, observation: TensorDict, name: str) -> tuple[Tensor, Tensor | None]:
        """An entry with its leading axes (time, team and, unless shared, agent) flattened, and its mask."""
        lead = 2 if name in self.spec.team_shared else 3
        mask = observation[f"{name}_mask"].flatten(0, lead - 1) if name in self.sets else None
        return observation[name].flatten(0, lead - 1), mask

    @torch.no_grad()
    def update_input_statistics(self, observation: TensorDict, valid: Tensor) -> None:
        """Merge rows [T, B, A, ...] into the running statistics; rows where `valid` [T, B, A] is false stay out."""
        for name, encoder in zip(self.entries, self.encoders, strict=True):
            keep = (valid.any(dim=-1) if name in self.spec.team_shared else valid).flatten()
            rows, mask = self._rows(observation, name)
            encoder.update_statistics(rows[keep], None if mask is None else mask[keep])  # type: ignore[operator]


def joint(log_probs: Mapping[str, Tensor]) -> Tensor:
    """The sum over heads: the joint log-probability (or, of entropies, the joint entropy of independent heads)."""
    return torch.stack(list(log_probs.values())).sum(dim=0) if len(log_probs) > 1 else next(iter(log_probs.values()))
