"""A game with an entry and a head of every kind, and random rows of it, for every test that needs a policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from games.api import ACTION_MASK_PREFIX, Array, GameSpec
from model.config import PolicyConfig
from model.policy import Policy, TensorDict, Unrolled

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
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
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
        return _at(self.observation, t), self.first[t], _at(self.previous_action, t)


def _at(tensors: TensorDict, t: int) -> dict[str, Tensor]:
    return {name: tensor[t] for name, tensor in tensors.items()}


def random_rows(spec: GameSpec, units: int, *, rows: int = 7, teams: int = 3, seed: int = 0) -> Rows:
    """Every mask has holes but no head's mask is empty; resets fall in the middle."""
    rng = np.random.default_rng(seed)
    a = spec.agents_per_team
    observation: dict[str, Tensor] = {}
    for name, space in spec.observation_space.spaces.items():
        lead = (rows, teams) if name in spec.team_shared else (rows, teams, a)
        observation[name] = torch.from_numpy(_random(rng, space, lead))
    for head in spec.masked_heads:
        space = spec.action_space[head]
        assert isinstance(space, spaces.Discrete)
        mask = rng.random((rows, teams, a, int(space.n))) < 0.5
        mask[..., -1] |= ~mask.any(axis=-1)
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
