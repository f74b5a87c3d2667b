"""A game with an entry and a head of every kind, and random rows of it, for every test that needs a policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from quintet.games.api import ACTION_MASK_PREFIX, Array, Auxiliary, GameSpec, Relation, Target
from quintet.model.config import PolicyConfig
from quintet.model.policy import Policy, TensorDict, Unrolled

CPU = torch.device("cpu")
torch.set_num_threads(1)  # products this small only wait for one another on a busy machine


def every_kind(agents: int = 2) -> GameSpec:
    """Vector, flags, entity sets (own and team-shared), categoricals, image, flat grid, secret; three kinds of head."""
    return GameSpec(
        name="every-kind",
        teams=2,
        agents_per_team=agents,
        observation_space=spaces.Dict(
            {
                "vector": spaces.Box(-np.inf, np.inf, (3,)),
                "flags": spaces.MultiBinary(4),
                "units": spaces.Box(-np.inf, np.inf, (5, 3)),
                "units_mask": spaces.MultiBinary(5),
                "board": spaces.Box(-np.inf, np.inf, (6, 2)),
                "board_mask": spaces.MultiBinary(6),
                "score": spaces.Box(-np.inf, np.inf, (2,)),
                "kind": spaces.Discrete(3),
                "kinds": spaces.MultiDiscrete([2, 5]),
                "image": spaces.Box(0, 255, (8, 8, 3), np.uint8),
                "grid": spaces.Box(-1.0, 1.0, (4, 2)),
                "secret": spaces.Box(-1.0, 1.0, (2,)),
            }
        ),
        action_space=spaces.Dict(
            {
                "move": spaces.Discrete(4),
                "arm.x": spaces.Discrete(3),
                "push": spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, np.inf], np.float32)),
            }
        ),
        masked_heads=frozenset({"move"}),
        team_shared=frozenset({"board", "board_mask", "score"}),
        uses={"secret": "critic"},
        wire_dtypes={"units": "float16"},
    )


def targeting(agents: int = 2, *, relations: bool = True) -> GameSpec:
    """A primary action 4, a target 3 and an offset 2: sets with categories, relations and own slots, critic, labels.

    Every head but the primary one is read by some of its actions, and has a mask per primary action.
    """
    return GameSpec(
        name="targeting",
        teams=2,
        agents_per_team=agents,
        observation_space=spaces.Dict(
            {
                "units": spaces.Box(-np.inf, np.inf, (3, 6)),
                "units_mask": spaces.MultiBinary(3),
                "items": spaces.Box(-np.inf, np.inf, (2, 2)),
                "items_mask": spaces.MultiBinary(2),
                "self": spaces.Box(-np.inf, np.inf, (4,)),
                "fog": spaces.Box(-np.inf, np.inf, (3, 2)),
                "fog_mask": spaces.MultiBinary(3),
                "secret": spaces.Box(-1.0, 1.0, (2,)),
                "will_win": spaces.Box(-1.0, 1.0, (1,)),
                "rank": spaces.Box(-1.0, 1.0, (3,)),
            }
        ),
        action_space=spaces.Dict(
            {"act": spaces.Discrete(4), "target": Target("units", 3), "offset.x": spaces.Discrete(2)}
        ),
        masked_heads=frozenset({"act", "target", "offset.x"}),
        team_shared=frozenset({"units", "units_mask", "fog", "fog_mask", "will_win"}),
        uses={"fog": "critic", "fog_mask": "critic", "secret": "critic", "will_win": "label", "rank": "label"},
        primary_head="act",
        reads=(
            frozenset(),
            frozenset({"target"}),
            frozenset({"offset.x"}),
            frozenset({"target", "offset.x"}),
        ),
        masked_by_primary=frozenset({"target", "offset.x"}),
        set_categories={"units": {0: 3, 4: 2}},
        relations={"units": UNITS_TO_SELF} if relations else {},
        own_slots={"units": tuple(range(agents))},
        auxiliary={
            "win": Auxiliary(label="will_win", kind="binary"),
            "rank": Auxiliary(label="rank", kind="categorical", trunk_gradient=0.25),
        },
    )


UNITS_TO_SELF = Relation(set_columns=(1, 2), agent_entry="self", agent_columns=(3, 1), scale=0.5)


def plain(inputs: int = 3, choices: int = 2, agents: int = 1, *, masked: bool = False) -> GameSpec:
    """One vector in, one Discrete head out."""
    return GameSpec(
        name="plain",
        teams=1,
        agents_per_team=agents,
        observation_space=spaces.Dict({"observation": spaces.Box(-np.inf, np.inf, (inputs,))}),
        action_space=spaces.Dict({"action": spaces.Discrete(choices)}),
        masked_heads=frozenset({"action"} if masked else ()),
    )


def make_policy(spec: GameSpec, *, seed: int = 0, **config: Any) -> Policy:
    """A policy with all its weights moved away from where initialisation puts them (zero biases hide mistakes)."""
    torch.manual_seed(seed)
    fields: dict[str, Any] = {"lstm_units": 8, "precision": "float32"} | config
    policy = Policy(spec, PolicyConfig(**fields)).use_device(CPU)
    with_values(policy)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return policy


def with_values(policy: Policy) -> Policy:
    """The policy after it has seen returns of about 1: before that, all its values are 0."""
    policy.returns.update(torch.tensor([-1.0, 1.0]), decay=0.9, value_head=policy.value)
    return policy


@dataclass(frozen=True, kw_only=True)
class Rows:
    """T random rows of B teams, as `Policy.unroll` takes them."""

    observation: dict[str, Tensor]
    first: Tensor  # [T, B]
    previous_action: dict[str, Tensor]
    state: Tensor  # [B, A, 2, H]

    def unroll(self, policy: Policy) -> Unrolled:
        return policy.unroll(self.observation, self.first, self.previous_action, self.state)

    def row(self, t: int) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
        """Row t as `Policy.act` takes it, without the state."""
        return row_of(self.observation, t), self.first[t], row_of(self.previous_action, t)


def row_of(tensors: TensorDict, t: int) -> dict[str, Tensor]:
    """Row t of everything that has a time axis."""
    return {name: tensor[t] for name, tensor in tensors.items()}


def random_rows(spec: GameSpec, units: int, *, rows: int = 7, teams: int = 3, seed: int = 0) -> Rows:
    """Every mask has holes but no head's mask is empty; resets fall in the middle."""
    rng = np.random.default_rng(seed)
    a = spec.agents_per_team
    observation: dict[str, Tensor] = {}
    for name, space in spec.observation_space.spaces.items():
        lead = (rows, teams) if name in spec.team_shared else (rows, teams, a)
        array = _random(rng, space, lead)
        for column, values in spec.set_categories.get(name, {}).items():
            array[..., column] = rng.integers(0, values, array.shape[:-1])
        observation[name] = torch.from_numpy(array)
    for head in spec.masked_heads:
        space = spec.action_space[head]
        assert isinstance(space, spaces.Discrete)
        by_primary = (_choices(spec, spec.primary_head),) if head in spec.masked_by_primary else ()
        mask = rng.random((rows, teams, a, *by_primary, int(space.n))) < 0.5
        legal = mask
        if isinstance(space, Target):
            observation[f"{space.group}_mask"][..., -1] = True
            there = observation[f"{space.group}_mask"].numpy()  # [T, B, N]: the factory's targets are team-shared
            legal = mask & there[:, :, None, None]
        mask[..., -1] |= ~legal.any(axis=-1)
        observation[f"{ACTION_MASK_PREFIX}{head}"] = torch.from_numpy(mask)
    previous = {
        name: torch.from_numpy(
            rng.integers(-1, space.n, (rows, teams, a))
            if isinstance(space, spaces.Discrete)
            else rng.standard_normal((rows, teams, a, *space.shape)).astype(np.float32)  # type: ignore[misc]
        )
        for name, space in spec.action_space.spaces.items()
    }
    return Rows(
        observation=observation,
        first=torch.from_numpy(rng.random((rows, teams)) < 0.3),
        previous_action=previous,
        state=torch.from_numpy(rng.standard_normal((teams, a, 2, units)).astype(np.float32)),
    )


def _choices(spec: GameSpec, head: str | None) -> int:
    space = spec.action_space[head or ""]
    assert isinstance(space, spaces.Discrete)
    return int(space.n)


def random_actions(spec: GameSpec, rows: Rows, *, seed: int = 0) -> dict[str, Tensor]:
    """Any choice of every head, -1 where it is not read; nobody acts in a tenth of the rows."""
    rng = np.random.default_rng(seed)
    lead = (*rows.first.shape, spec.agents_per_team)
    actions = {
        name: torch.from_numpy(
            rng.integers(0, space.n, lead)
            if isinstance(space, spaces.Discrete)
            else rng.standard_normal((*lead, *space.shape)).astype(np.float32)  # type: ignore[misc]
        )
        for name, space in spec.action_space.spaces.items()
    }
    if spec.primary_head is not None:
        primary = actions[spec.primary_head].masked_fill_(torch.from_numpy(rng.random(lead) < 0.1), -1)
        for name in actions.keys() - {spec.primary_head}:
            read = torch.tensor([name in heads for heads in spec.reads])
            actions[name][(primary < 0) | ~read[primary]] = -1
    return actions


def _random(rng: np.random.Generator, space: spaces.Space[object], lead: tuple[int, ...]) -> Array:
    shape = lead + tuple(space.shape or ())
    if isinstance(space, spaces.MultiBinary):
        return rng.random(shape) < 0.5
    if isinstance(space, spaces.Discrete):
        return rng.integers(0, space.n, shape)
    if isinstance(space, spaces.MultiDiscrete):
        return rng.integers(0, space.nvec, shape)
    if space.dtype == np.uint8:
        return rng.integers(0, 256, shape, dtype=np.uint8)
    return rng.standard_normal(shape).astype(np.float32)
