"""A small game that uses everything a `GameSpec` can say: pointers, heads read by turns, labels, a critic, bots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces

from quintet.games.api import ACTING, Array, Auxiliary, GameSpec, Observation, Relation, Target, Transition


class Outpost:
    """Two teams of two that hit and heal: a small game with everything that a `GameSpec` can say.

    The primary action decides what else is read: wait nothing, walk `dx` and `push`, hit and heal `target` (each with
    its own legal slots), shout `word`. Slots 0 and 1 of `units` are the own agents, 2 and 3 the others'.
    """

    WAIT, WALK, HIT, HEAL, SHOUT = range(5)
    bots: Mapping[str, str] = {"lazy": "hash of lazy", "eager": "hash of eager"}

    def __init__(self, n_games: int, **spec: Any) -> None:
        self.n_games = n_games
        self.spec = replace(outpost_spec(), **spec)
        self.reset(0)

    def reset(self, seed: int) -> Observation:
        self.random = np.random.default_rng(seed)
        n = self.n_games
        self.row, self.length = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self.x, self.health = np.zeros((n, 2, 2), np.float32), np.zeros((n, 2, 2), np.float32)
        self.score, self.heard = np.zeros((n, 2), np.float32), np.zeros((n, 2), np.int64)
        self.over = np.zeros(n, bool)
        self._begin(np.ones(n, bool))
        return self._observe()

    def _begin(self, where: Array) -> None:
        self.row[where] = self.score[where] = self.heard[where] = 0
        self.length[where] = self.random.integers(5, 13, int(where.sum()))
        self.x[where] = self.random.uniform(-1, 1, (int(where.sum()), 2, 2))
        self.health[where] = 3.0

    def _units(self) -> tuple[Array, Array]:
        """[n, 2, 4, 4] position, kind and health from each team's view, and who is seen: others now and then not."""
        pairs = [np.stack([self.x, np.zeros_like(self.x), self.health * 0 + np.arange(2), self.health / 3], -1)] * 2
        table = np.concatenate([pairs[0], pairs[1][:, ::-1]], axis=2).astype(np.float32)
        seen = np.ones(table.shape[:3], bool)
        seen[:, :, 2:] = (self.row[:, None] + np.arange(2) + 1)[:, None] % 3 > 0
        return table * seen[..., None], seen

    def _acting(self) -> Array:
        stunned = (self.row[:, None, None] % 4 == 3) & (np.arange(2) == 1)
        return np.broadcast_to(~stunned & ~self.over[:, None, None], (self.n_games, 2, 2))

    def _observe(self) -> Observation:
        units, seen = self._units()
        primary = np.ones((self.n_games, 2, 2, 5), bool)
        primary[..., self.HIT] = seen[:, :, None, 2:].any(-1)
        target = np.zeros((self.n_games, 2, 2, 5, 4), bool)
        target[..., self.HIT, 2:], target[..., self.HEAL, :2] = seen[:, :, None, 2:], True
        lead = np.sign(self.score[:, 0] - self.score[:, 1])
        won = np.stack([lead, -lead], 1)[..., None, None] / 2 + 0.5
        best = (self.health == self.health.max(-1, keepdims=True))[:, :, None].repeat(2, axis=2)
        return {
            "self": np.stack([self.x, np.zeros_like(self.x), self.health / 3], -1),
            "heard": np.broadcast_to(self.heard[..., None], (self.n_games, 2, 2)).copy(),
            "units": units,
            "units_mask": seen,
            "plan": (self.length / 12).astype(np.float32)[:, None, None, None] * np.ones((1, 2, 2, 1), np.float32),
            "won": np.where(self.over[:, None, None, None], won, -1).astype(np.float32).repeat(2, axis=2),
            "strongest": (best / best.sum(-1, keepdims=True)).astype(np.float32),
            ACTING: self._acting().copy(),
            "action_mask/act": primary,
            "action_mask/target": target,
            "action_mask/word": np.arange(3) != self.heard[..., None, None].repeat(2, axis=2),
        }

    def step(self, actions: dict[str, Array]) -> Transition:
        played, acting = ~self.over, self._acting()
        act = np.where(acting & played[:, None, None], actions["act"], self.WAIT)
        push = actions["push"][..., 0] + actions["dx"] - 1
        self.x = np.clip(self.x + np.where(act == self.WALK, push / 4, 0), -1, 1).astype(np.float32)
        gain = np.zeros((self.n_games, 2), np.float32)
        for game, team, agent in np.argwhere((act == self.HIT) | (act == self.HEAL)):
            slot = int(actions["target"][game, team, agent])
            hit = act[game, team, agent] == self.HIT
            assert (slot >= 2) == hit, "the target was forbidden"
            of = (1 - team, slot - 2) if hit else (team, slot)
            self.health[game][of] = np.clip(self.health[game][of] + (-1 if hit else 1), 0, 3)
            gain[game, team] += hit
        shouts = act == self.SHOUT
        words = np.where(shouts, actions["word"], -1).max(-1)
        self.heard = np.where(shouts.any(-1), words, self.heard)
        self.score += gain
        self.row[played] += 1
        self._begin(~played)
        self.over = played & (self.row >= self.length)
        lead = np.sign(self.score[:, 0] - self.score[:, 1])
        outcome = np.where(self.over[:, None], np.stack([lead, -lead], 1), np.nan).astype(np.float32)
        by_rules = self.over & (self.length % 2 == 0)
        return Transition(
            observation=self._observe(),
            reward=np.repeat((gain - gain[:, ::-1])[..., None], 2, axis=2),
            terminated=np.broadcast_to(by_rules[:, None, None], act.shape).copy(),
            truncated=np.broadcast_to((self.over & ~by_rules)[:, None, None], act.shape).copy(),
            outcome=outcome,
            episode={"hits": self.score.copy()},
        )

    def bot_actions(self, name: str) -> dict[str, Array]:
        """lazy waits; eager hits slot 2 or 3, whichever is seen, and else heals itself."""
        _, seen = self._units()
        zeros = np.zeros((self.n_games, 2, 2), np.int64)
        actions = {"act": zeros, "target": zeros, "word": zeros, "dx": zeros, "push": zeros[..., None] * np.float32(0)}
        if name == "eager":
            some = seen[:, :, None, 2:].any(-1)
            act = np.broadcast_to(np.where(some, self.HIT, self.HEAL), zeros.shape)
            slot = np.where(some, 2 + seen[:, :, None, 2:].argmax(-1), np.arange(2))
            actions |= {"act": act.copy(), "target": slot.astype(np.int64)}
        return {head: array.astype(np.float32 if head == "push" else np.int64) for head, array in actions.items()}

    def close(self) -> None:
        pass


def outpost_spec() -> GameSpec:
    return GameSpec(
        name="outpost",
        teams=2,
        agents_per_team=2,
        observation_space=spaces.Dict(
            {
                "self": spaces.Box(-1.0, 1.0, (3,)),
                "heard": spaces.Discrete(3),
                "units": spaces.Box(-1.0, 2.0, (4, 4)),
                "units_mask": spaces.MultiBinary(4),
                "plan": spaces.Box(0.0, 2.0, (1,)),
                "won": spaces.Box(-1.0, 1.0, (1,)),
                "strongest": spaces.Box(-1.0, 1.0, (2,)),
            }
        ),
        action_space=spaces.Dict(
            {
                "act": spaces.Discrete(5),
                "target": Target("units", 4),
                "dx": spaces.Discrete(3),
                "push": spaces.Box(-1.0, 1.0, (1,)),
                "word": spaces.Discrete(3),
            }
        ),
        max_steps=12,
        zero_sum=True,
        team_names=("north", "south"),
        masked_heads=frozenset({"act", "target", "word"}),
        team_shared=frozenset({"units", "units_mask"}),
        uses={"plan": "critic", "won": "label", "strongest": "label"},
        wire_dtypes={"units": "float16"},
        primary_head="act",
        reads=(
            frozenset(),
            frozenset({"dx", "push"}),
            frozenset({"target"}),
            frozenset({"target"}),
            frozenset({"word"}),
        ),
        masked_by_primary=frozenset({"target"}),
        set_categories={"units": {2: 2}},
        relations={"units": Relation(set_columns=(0, 1), agent_entry="self", agent_columns=(0, 1), scale=0.5)},
        own_slots={"units": (0, 1)},
        auxiliary={
            "win": Auxiliary(label="won", kind="binary", discount=0.9, trunk_gradient=0.1),
            "strongest": Auxiliary(label="strongest", kind="categorical"),
        },
    )


def make_outpost(n_games: int, seed: int) -> Outpost:
    """For `tests.envs.full_spec_game:make_outpost`."""
    return Outpost(n_games)
