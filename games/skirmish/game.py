"""Skirmish as a `VectorGame`: two teams of heroes in many games at once, each seeing the world as if it were team 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from quintet.games.api import Actions, Array, GameError, Observation, Transition
from quintet.games.dotted import nearest
from quintet.games.skirmish.bots import api as bot
from quintet.games.skirmish.engine.compile import kernel, tell_if_slow
from quintet.games.skirmish.engine.precompile import compile_engine_ahead
from quintet.games.skirmish.engine.spawns import start_game
from quintet.games.skirmish.engine.tick import step_games
from quintet.games.skirmish.engine.vision import see
from quintet.games.skirmish.observation.spec import Page, game_spec
from quintet.games.skirmish.observation.write import observe_games
from quintet.games.skirmish.rewards import collect
from quintet.games.skirmish.rules import (
    ATTACK,
    BUY_ITEM,
    FIRST_ABILITY,
    MOVE,
    NO_OP,
    OFFSETS,
    PRESETS,
    REWARD_NAMES,
    RUNE_NAMES,
    USE_ITEM,
    WAVE_FIRST_S,
    Preset,
)
from quintet.games.skirmish.start import MIRROR, START_DTYPE, StartOptions, draw_start, game_seed
from quintet.games.skirmish.state import ENDED, LAST_SEEN, NOBODY, State, empty_state, layout
from quintet.games.skirmish.tables import AIM_ALLY, AIM_ENEMY, AIM_POINT, Tables, build_tables

HEADS = ("primary", "target", "x", "y", "item")  # in the order in which the engine takes them
_MIDDLE = OFFSETS // 2


class SkirmishGame:
    """`n_games` games of one preset.

    An observation's arrays belong to the game: they stay as they are during the next `step` and are written over by
    the one after it.
    """

    bots: Mapping[str, str] = bot.BOTS

    def __init__(self, n_games: int, options: StartOptions, *, full_state: bool = False) -> None:
        preset = options.preset
        self.preset, self.options, self.n_games = preset, options, n_games
        self.tables = build_tables(preset, options.rewards)
        self.state = empty_state(preset, n_games)
        self.spec = game_spec(preset, self.tables.world, full_state=full_state)
        self.starts = np.zeros(n_games, START_DTYPE)  # of the games under way, as `seeds` are
        self.seeds = np.zeros(n_games, np.uint64)
        self.played = np.zeros((n_games, 2 * preset.heroes, len(HEADS)), np.int32)  # as the engine took it last
        self._nth = np.zeros(n_games, np.int64)  # game of each slot
        self._seed: int | None = None
        self._pages = [Page(preset, n_games, full_state=full_state) for _ in range(2)]
        self._stood = np.zeros((n_games, 2, layout(preset).towers + 1), np.int8)
        self._no_episode = {name: np.zeros((n_games, 2), np.float32) for name in REWARD_NAMES}
        if tell_if_slow():
            compile_engine_ahead()

    def reset(self, seed: int) -> Observation:
        """Start game 0 of that seed in every slot."""
        self._seed = seed
        self._nth[:] = -1
        for slot in range(self.n_games):
            self._begin_next(slot)
        return self._observe()

    def step(self, actions: Actions) -> Transition:
        """Play one step in every slot, or begin the next game where the last one has ended.

        Args:
            actions: per head an integer array [n_games, 2, heroes]; those of who is not acting and of heads that are
                not read are ignored.

        Raises:
            GameError: `reset` was not called, or an action is out of range.
        """
        self._take(actions)
        begins = np.flatnonzero(self.state.game["phase"] == LAST_SEEN)
        step_games(self.state, self.tables, self.played)
        reward = np.zeros((self.n_games, 2, self.preset.heroes), np.float32)
        collect(self.state, self.tables, reward)
        for slot in begins:
            self._begin_next(int(slot))
        ended = self.state.game["phase"] == ENDED
        observation = self._observe()
        self.state.game["phase"][ended] = LAST_SEEN
        return Transition(
            observation=observation,
            reward=reward,
            terminated=np.repeat(ended, 2 * self.preset.heroes).reshape(reward.shape),
            truncated=np.zeros(reward.shape, dtype=bool),  # the limit is a rule: every hero sees the clock
            outcome=self._outcome(ended),
            episode=self._episode() if ended.any() else self._no_episode,
        )

    def bot_actions(self, name: str) -> Actions:
        """What that bot would do now on every seat.

        Raises:
            GameError: there is no such bot.
        """
        if name not in self.bots:
            raise GameError(f"no bot {name!r}{nearest(name, self.bots)}; there are {', '.join(self.bots)}")
        self._must_be_reset()
        chosen = bot.bot_step(name, self.state, self.tables, self._pages[0].view.slots).astype(np.int64)
        return {head: np.ascontiguousarray(chosen[..., k]) for k, head in enumerate(HEADS)}

    def close(self) -> None:
        """Nothing to free."""

    def _must_be_reset(self) -> None:
        if self._seed is None:
            raise GameError(f"{self.spec.name}: reset(seed) must come before anything is played")

    def _take(self, actions: Actions) -> None:
        """Turn what was chosen into the engine's terms, in `played`."""
        self._must_be_reset()
        shape = (self.n_games, 2, self.preset.heroes)
        chosen = np.empty((len(HEADS), *shape), np.int32)
        for k, head in enumerate(HEADS):
            n = int(self.spec.action_space[head].n)  # type: ignore[attr-defined]
            if actions[head].shape != shape:
                raise GameError(f"{self.spec.name}: head {head!r} is {actions[head].shape}; expected {shape}")
            chosen[k] = actions[head]
            if chosen[k].min() < 0 or chosen[k].max() >= n:
                raise GameError(
                    f"{self.spec.name}: head {head!r} has numbers from {chosen[k].min()} to {chosen[k].max()}; "
                    f"expected 0 to {n - 1}"
                )
        view = self._pages[0].view
        _to_engine(chosen, view.acting, view.slots, self.tables, self.played)

    def _begin_next(self, slot: int) -> None:
        assert self._seed is not None
        self._nth[slot] += 1
        seed = game_seed(self._seed, slot, int(self._nth[slot]))
        self.starts[slot] = draw_start(self.options, seed)
        self.seeds[slot] = seed
        begin_game(self.state, self.tables, slot, self.seeds[slot], self.starts)
        self._stood[slot] = 0

    def _observe(self) -> Observation:
        """Write the other page, so that the last observation stays as it is for a step."""
        self._pages.reverse()
        page = self._pages[0]
        page.clear()
        observe_games(self.state, self.tables, page.view, self._stood)
        return dict(page.observation)

    def _outcome(self, ended: Array) -> Array:
        winner = self.state.game["winner"][:, None]
        result = np.where(winner == [0, 1], 1, np.where(winner == [1, 0], -1, 0))
        return np.where(ended[:, None], result, np.nan).astype(np.float32)

    def _episode(self) -> dict[str, Array]:
        """The mean hero's reward of the game so far, by component."""
        sums = self.state.hero["episode"].reshape(self.n_games, 2, self.preset.heroes, len(REWARD_NAMES)).mean(axis=2)
        return {name: np.ascontiguousarray(sums[..., k]) for k, name in enumerate(REWARD_NAMES)}


@kernel
def begin_game(state: State, tables: Tables, g: int, seed: int, starts: Array) -> None:
    """Set up game `g` from its seed and its row of `starts`, ready to be observed."""
    start_game(state, tables, g, seed, starts[g])
    see(state, tables, g)


@kernel
def _to_engine(chosen: Array, acting: Array, slots: Array, tables: Tables, played: Array) -> None:
    """From heads [5, G, 2, A] in the teams' own view to rows [G, H, 5] in the map's; what is not read is blank."""
    heroes = tables.layout.heroes
    for g in range(played.shape[0]):
        for team in range(2):
            for agent in range(heroes):
                row = played[g, team * heroes + agent]
                row[0], row[1], row[2], row[3], row[4] = NO_OP, NOBODY, _MIDDLE, _MIDDLE, 0
                if not acting[g, team, agent]:
                    continue
                primary = chosen[0, g, team, agent]
                row[0] = primary
                aim = tables.ability[primary - FIRST_ABILITY].aim if primary >= FIRST_ABILITY else -1
                if primary == ATTACK or aim in (AIM_ENEMY, AIM_ALLY):
                    row[1] = slots[g, team, chosen[1, g, team, agent]]
                if primary == MOVE or aim == AIM_POINT:
                    x, y = chosen[2, g, team, agent], chosen[3, g, team, agent]
                    row[2] = x if team == 0 else OFFSETS - 1 - x
                    row[3] = y if team == 0 else OFFSETS - 1 - y
                if primary in (USE_ITEM, BUY_ITEM):
                    row[4] = chosen[4, g, team, agent]


def make_skirmish(
    preset: Preset,
    n_games: int,
    seed: int,
    *,
    line_up: str | Sequence[str] = MIRROR,
    start_level: int | Sequence[int] = 1,
    rune_kinds: str | Sequence[str] = RUNE_NAMES,
    first_wave_s: float | Sequence[float] = WAVE_FIRST_S,
    rewards: Mapping[str, float] | None = None,
    full_state: bool = False,
) -> SkirmishGame:
    """Build the game; see `StartOptions` for the options. `seed` is not needed before `reset`.

    `full_state` adds what the fog hides as an entry for a critic.

    Raises:
        GameError: an option's value is out of range.
    """
    options = StartOptions(
        preset=preset,
        line_up=line_up,
        start_level=start_level,
        rune_kinds=rune_kinds,
        first_wave_s=first_wave_s,
        rewards=rewards or {},
    )
    return SkirmishGame(n_games, options, full_state=full_state)


make_1v1 = partial(make_skirmish, PRESETS["skirmish-1v1"])
make_3v3 = partial(make_skirmish, PRESETS["skirmish-3v3"])
make_5v5 = partial(make_skirmish, PRESETS["skirmish-5v5"])
