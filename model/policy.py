"""The recurrent policy: encoders, layer, LSTM, heads and value, with one code path for playing and for training.

    entries of the observation ─► encoder each ─┐
    previous action ────────────────────────────┴► concatenate ─► layer ─► pool a part over the team ─► LSTM ─┐
    slots of entity sets ─────────────────────────────────────────────────────────────► (keys) ─► action heads ┤
                                                                            predictions, behind a stop-gradient ┤
    privileged entries ─► encoder each ──────────────────────────────────────────────► value (normalised) ◄─────┘

Shapes: T rows, B teams, A agents of a team, H LSTM units; time first. `act` is `unroll` with T = 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from quintet.games.api import GameSpec, Target, UnsupportedSpaceError
from quintet.model.auxiliary import AuxiliaryHeads
from quintet.model.config import PolicyConfig
from quintet.model.entries import EntryEncoders
from quintet.model.heads import ActionHeads, Evaluated
from quintet.model.kernels.entity_embedding import SlotKeys
from quintet.model.layers import Linear, set_compute_dtype, side_by_side
from quintet.model.lstm import LSTM
from quintet.model.normalizer import ReturnNormalizer
from quintet.model.previous_action import PreviousAction
from quintet.wire.errors import DecodeError
from quintet.wire.link import Precision

TensorDict = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Unrolled:
    """What `unroll` returns."""

    hidden: Tensor  # [T, B, A, H] f32, the LSTM's output
    queries: dict[str, Tensor]  # per head [T, B, A, units], what its first layer makes of that; opaque to callers
    value: Tensor  # [T, B, A] f32, normalised returns
    state: Tensor  # [B, A, 2, H] f32, after the last row
    auxiliary: dict[str, Tensor]  # name -> logits [T, B, A, k] f32
    keys: dict[str, SlotKeys]  # entity set -> what pointer heads point at; opaque to callers


@dataclass(frozen=True, slots=True)
class Acted:
    """What `act` returns; the log-probabilities are those of exactly this action by exactly these weights."""

    action: dict[str, Tensor]  # per head [B, A] int64 (-1 where not read) or [B, A, dims] f32 (unclipped; 0 not read)
    log_prob: dict[str, Tensor]  # per head [B, A] f32, 0 where not read
    value: Tensor  # [B, A] f32, in reward units
    state: Tensor  # [B, A, 2, H] f32
    auxiliary: dict[str, Tensor] = field(default_factory=dict)  # name -> probabilities [B, A, k] f32
    row: Unrolled | None = None  # what all of it was read from, T = 1


class Policy(nn.Module):
    """The network of one game, the same for every agent of every team.

    Raises:
        UnsupportedSpaceError: an entry or head that no encoder or head serves.
    """

    def __init__(self, spec: GameSpec, config: PolicyConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        units, embedding_units, hidden = config.hidden_units, config.embedding_units, config.lstm_units
        self.encoders = EntryEncoders(spec, "policy", config)
        self.previous_action = PreviousAction(spec)
        self.layer = Linear(self.encoders.outputs + self.previous_action.outputs, units)
        self.pooled_units = round(config.cross_agent_pool * units) if spec.agents_per_team > 1 else 0
        self.lstm = LSTM(units, hidden)
        self.heads = ActionHeads(spec, hidden, embedding_units)
        self.auxiliary = AuxiliaryHeads(spec, hidden, embedding_units)
        self.critic_encoders = EntryEncoders(spec, "critic", config)
        privileged = len(self.critic_encoders) > 0
        self.critic_layer = Linear(hidden + self.critic_encoders.outputs, units) if privileged else None
        self.value = Linear(units if privileged else hidden, 1, gain=1.0)
        self.returns = ReturnNormalizer()
        self._check_targets()

    @property
    def entries(self) -> list[str]:
        """The entries that `act` needs, in the order of their encoders; the masks of entity sets go without saying."""
        return self.encoders.names

    def use_device(self, device: torch.device) -> Policy:
        """Move to a device, and compute in the configured number format; see `compute_in`."""
        self.to(device)
        self.compute_in("float32" if self.config.precision == "auto" else self.config.precision)
        return self

    def compute_in(self, precision: Precision) -> None:
        """Run matrix products in the number format of the weights that are about to be loaded; the value head stays
        f32. With `auto` the run's format counts, which its weights name, and f32 until there are any: never what this
        machine would prefer.

        Raises:
            DecodeError: the configuration says another one; names both.
        """
        self.check_precision(precision)
        set_compute_dtype(self, getattr(torch, precision))
        self.value.compute_dtype = torch.float32

    def check_precision(self, precision: Precision) -> None:
        """Whether weights of this number format may be loaded; raises as `compute_in` does."""
        if self.config.precision not in ("auto", precision):
            raise DecodeError(
                f"these weights are computed in {precision}, but model.precision is {self.config.precision} here: the "
                f"number format belongs to the run; leave model.precision as the run has it ({precision}), or train "
                f"a new run with --from and --set model.precision={self.config.precision}"
            )

    @property
    def precision(self) -> Precision:
        """The number format that matrix products run in, and that published weights are stored in."""
        return "bfloat16" if self.layer.compute_dtype == torch.bfloat16 else "float32"

    def initial_state(self, batch: int, agents: int | None = None) -> Tensor:
        """Zeros [B, A, 2, H]: (hidden, cell)."""
        a = self.spec.agents_per_team if agents is None else agents
        return torch.zeros(batch, a, 2, self.config.lstm_units, device=self.layer.weight.device)

    def unroll(self, observation: TensorDict, first: Tensor, previous_action: TensorDict, state: Tensor) -> Unrolled:
        """Run T rows from a state.

        Args:
            observation: per entry [T, B, A, ...] (team-shared: [T, B, ...]) and `action_mask/<head>` [T, B, A, n].
                Labels are not read. Without privileged entries the value is 0: the mean of returns.
            first: [T, B] bool, the state is zeroed before this row.
            previous_action: per head [T, B, A] (-1 for none) or [T, B, A, dims].
            state: [B, A, 2, H], before row 0.
        """
        t, b, a, h = first.shape[0], first.shape[1], state.shape[1], self.config.lstm_units
        x, keys = self.encode(observation, previous_action, (t, b, a))
        resets = torch.ones_like(first) if self.config.zero_state else first
        resets = resets.unsqueeze(-1).expand(t, b, a).reshape(t, b * a)
        hidden, after = self.lstm(x.reshape(t, b * a, -1), resets, state.reshape(b * a, 2, h))
        hidden, after = hidden.reshape(t, b, a, h), after.reshape(b, a, 2, h)
        queries, value = self._read_out(hidden, observation)
        return Unrolled(hidden, queries, value, after, self.auxiliary(hidden), keys)

    def evaluate(self, unrolled: Unrolled, observation: TensorDict, action: TensorDict) -> Evaluated:
        """Log-probability and entropy of actions that were taken, per head.

        Args:
            unrolled: what `unroll` returned for this observation.
            observation: only its masks are read.
            action: per head [T, B, A] (-1 for none and for heads that were not read) or [T, B, A, dims].
        """
        return self.heads.evaluate(unrolled.queries, unrolled.keys, observation, action)

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
        taken: TensorDict | None = None,
    ) -> Acted:
        """One row: shapes as in `unroll` without the time axis.

        `greedy` takes the likeliest action. With `taken` nothing is chosen: those are the actions, -1 where not read.
        """
        seen = {name: x.unsqueeze(0) for name, x in observation.items()}
        previous = {name: x.unsqueeze(0) for name, x in previous_action.items()}
        row = self.unroll(seen, first.unsqueeze(0), previous, state)
        if taken is None:
            action, log_prob = self.heads.choose(row.queries, row.keys, seen, generator, greedy=greedy)
        else:
            action = {head: x.unsqueeze(0) for head, x in taken.items()}
            log_prob = self.evaluate(row, seen, action).log_prob
        return Acted(
            action={head: x[0] for head, x in action.items()},
            log_prob={head: x[0] for head, x in log_prob.items()},
            value=self.returns.denormalize(row.value[0]),
            state=row.state,
            auxiliary=self.auxiliary.probabilities({name: x[0] for name, x in row.auxiliary.items()}),
            row=row,
        )

    def encode(
        self, observation: TensorDict, previous_action: TensorDict, shape: tuple[int, int, int]
    ) -> tuple[Tensor, dict[str, SlotKeys]]:
        """What goes into the LSTM [T, B, A, units], and the slot embeddings of every set."""
        encoded, keys = self.encoders(observation, shape)
        x = torch.relu(self.layer(torch.cat((encoded, self.previous_action(previous_action)), dim=-1)))
        if self.pooled_units:
            own, ours = x[..., self.pooled_units :], x[..., : self.pooled_units].amax(dim=2, keepdim=True)
            x = torch.cat((ours.expand(*own.shape[:-1], -1), own), dim=-1)
        return x, keys

    def _read_out(self, hidden: Tensor, observation: TensorDict) -> tuple[dict[str, Tensor], Tensor]:
        """[T, B, A, H] -> every head's query [T, B, A, units], and the value [T, B, A]."""
        if self.critic_layer is None:
            *queries, value = side_by_side([*self.heads.layers, self.value], hidden)
            value = value.squeeze(-1)
        else:
            queries = side_by_side(self.heads.layers, hidden)
            value = self._privileged_value(self.critic_layer, hidden, observation)
        return dict(zip(self.heads.names, queries, strict=True)), value

    def _privileged_value(self, layer: Linear, hidden: Tensor, observation: TensorDict) -> Tensor:
        """[T, B, A, H] -> [T, B, A]; privileged entries come in beside the LSTM's output."""
        if not any(name in observation for name in self.critic_encoders.names):
            return hidden.new_zeros(hidden.shape[:-1])
        t, b, a, _ = hidden.shape
        privileged, _ = self.critic_encoders(observation, (t, b, a))
        x = torch.relu(layer(torch.cat((hidden, privileged), dim=-1)))
        return self.value(x).squeeze(-1)  # type: ignore[no-any-return]

    @torch.no_grad()
    def update_input_statistics(self, observation: TensorDict, previous_action: TensorDict, valid: Tensor) -> None:
        """Merge rows [T, B, A, ...] into the running statistics; rows where `valid` [T, B, A] is false stay out."""
        self.previous_action.update_statistics(previous_action, valid)
        self.encoders.update_statistics(observation, valid)
        self.critic_encoders.update_statistics(observation, valid)

    def _check_targets(self) -> None:
        for head, space in self.spec.action_space.spaces.items():
            if isinstance(space, Target) and space.group not in self.encoders.keyed:
                raise UnsupportedSpaceError(
                    f"{self.spec.name}: head {head!r} points at {space.group!r}, which is no entity set with a "
                    f"built-in encoder; there are {sorted(self.encoders.keyed) or 'none'}"
                )


def joint(log_probs: Mapping[str, Tensor]) -> Tensor:
    """The sum over heads: the joint log-probability (or, of entropies, the joint entropy of independent heads)."""
    return torch.stack(list(log_probs.values())).sum(dim=0) if len(log_probs) > 1 else next(iter(log_probs.values()))
