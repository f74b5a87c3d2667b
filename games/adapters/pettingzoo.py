"""Any PettingZoo environment as a `VectorGame`: one team per player, or the teams that the user names.

In a turn-based (AEC) game every player has a row at every move: it sees what `observe` shows it then, and its reward is
what that move changed (`rewards`, never `last`). `step(None)` for agents that are out is run in here and is no row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from quintet.games.adapters.outcome import outcome_of
from quintet.games.adapters.seats import Agent, Seat
from quintet.games.adapters.spaces import ACTION_MASK, ActionLayout, Layouts, ObservationLayout
from quintet.games.api import (
    ACTING,
    PRESENT,
    Actions,
    Array,
    GameError,
    GameSpec,
    Observation,
    Transition,
    UnsupportedSpaceError,
)
from quintet.games.checks.blame import blamed, each, five, raised_at, two
from quintet.games.checks.data import PLAIN, Mismatch, check_sizes, no_late_mask, number
from quintet.games.copies import close_all


def _common_space(name: str, what: str, spaces_by_agent: Mapping[str, Any]) -> Any:
    (first, space), *others = spaces_by_agent.items()
    for agent, other in others:
        if other != space:
            raise UnsupportedSpaceError(
                f"game {name!r}: the {what} spaces differ: {first} has {space}, {agent} has {other}; one policy plays "
                "all agents: make them equal with a wrapper, such as supersuit's: --set 'game_options.wrappers="
                '["supersuit:pad_observations_v0", "supersuit:pad_action_space_v0"]\''
            )
    return space


@dataclass(frozen=True, slots=True)
class _Step:
    """The arrays of one step, filled slot by slot."""

    acting: Array  # bool [n_games, teams, agents], as is all else but the reward
    present: Array
    reward: Array  # f32
    terminated: Array
    truncated: Array


class PettingZooGame(ABC):
    """What turn-based and parallel games share: spaces, seats, seeds, returns and outcomes."""

    _shown_by = ""  # the environment's method that shows observations, where it is neither `reset` nor `step`

    def __init__(
        self,
        name: str,
        envs: Sequence[Any],
        seats: Mapping[Agent, Seat],
        *,
        zero_sum: bool,
        seed: int,
        leave_out: Sequence[str] = (),
    ) -> None:
        self.n_games = len(envs)
        self._name = name
        self._envs = envs
        self._seats = seats
        teams, agents = (1 + max(numbers) for numbers in zip(*seats.values(), strict=True))
        self._shape = (self.n_games, teams, agents)
        self._place = {agent: team * agents + seat for agent, (team, seat) in seats.items()}  # in a slot's actions
        self._row = 0
        with self._blaming("observation_space"):
            seen = _common_space(name, "observation", {a: envs[0].observation_space(a) for a in seats})
        with self._blaming("action_space"):
            done = _common_space(name, "action", {a: envs[0].action_space(a) for a in seats})
        self._observations, self._actions = ObservationLayout(seen, name, leave_out), ActionLayout(done, name)
        with self._blaming("reset"):
            self._mask_in_info = not self._observations.has_mask and self._shows_mask(envs[0], seed)
        self._masked = self._observations.has_mask or self._mask_in_info
        self._entries = self._observations.empty(self._shape)  # kept: who left goes on seeing its last observation
        self._mask = np.ones((*self._shape, self._actions.mask_size if self._masked else 0), dtype=np.int8)
        self._seen: dict[tuple[int, ...], Any] = {}  # what each agent was last shown, as the environment gave it
        self.spec = GameSpec(
            name=name,
            teams=teams,
            agents_per_team=agents,
            observation_space=self._observations.space,
            action_space=self._actions.space,
            zero_sum=zero_sum,
            team_names=tuple(", ".join(str(a) for a in seats if seats[a][0] == team) for team in range(teams)),
            masked_heads=frozenset(self._actions.choices if self._masked else ()),
        )
        self._forget_games(seed)

    def _forget_games(self, seed: int) -> None:
        sequences = np.random.SeedSequence(seed).spawn(self.n_games)
        self._random = [np.random.default_rng(sequence) for sequence in sequences]
        self._returns = np.zeros(self._shape[:2])
        self._present = np.zeros(self._shape, dtype=bool)
        self._ended, self._row = np.ones(self.n_games, dtype=bool), 0

    def reset(self, seed: int) -> Observation:
        """Start every game anew."""
        self._forget_games(seed)
        step = self._new_step()
        for slot in range(self.n_games):
            with self._blaming("reset", slot):
                self._begin(slot, step)
        self._ended = np.zeros(self.n_games, dtype=bool)
        return self._observation(step, "reset")

    def step(self, actions: Actions) -> Transition:
        """Advance every game by one decision, or begin the next one where the last step ended it."""
        step, ended, self._row = self._new_step(), self._ended.tolist(), self._row + 1
        seats = len(self._seats)
        rows = self._actions.rows(actions, self.n_games * seats)
        slot = 0
        try:
            for slot in range(self.n_games):
                if ended[slot]:
                    self._begin(slot, step)
                else:
                    self._advance(slot, rows[slot * seats : (slot + 1) * seats], step)
        except (Exception, SystemExit) as error:
            raise self._blamed(error, "reset" if ended[slot] else "step", slot) from error
        self._ended = np.logical_and.reduce(step.terminated | step.truncated, axis=(1, 2))
        self._returns += step.reward.sum(axis=2)
        return Transition(
            observation=self._observation(step, "step"),
            reward=step.reward,
            terminated=step.terminated,
            truncated=step.truncated,
            outcome=outcome_of(self._returns, self._ended),
        )

    def close(self) -> None:
        """Close the environments."""
        close_all(self._envs)

    def picture(self) -> Array | None:
        """Slot 0, if the environment was made with `kwargs={"render_mode": "rgb_array"}`."""
        env = self._envs[0]
        frame = env.render() if getattr(env, "render_mode", None) == "rgb_array" else None
        return None if frame is None else np.asarray(frame)

    @abstractmethod
    def _shows_mask(self, env: Any, seed: int) -> bool:
        """Whether the infos carry action masks, seen after a reset."""

    @abstractmethod
    def _reset_slot(self, slot: int, seed: int, step: _Step) -> None:
        """Start a slot's next game: write what everybody sees and who acts."""

    @abstractmethod
    def _advance(self, slot: int, rows: Sequence[Any], step: _Step) -> None:
        """Play one row of a slot; `rows` has an action for each place."""

    def _begin(self, slot: int, step: _Step) -> None:
        self._returns[slot] = 0.0
        self._observations.clear(self._entries, slot)
        # Every game gets a seed of its own: not all environments go on from their generator when none is given.
        self._reset_slot(slot, int(self._random[slot].integers(2**31)), step)

    def _new_step(self) -> _Step:
        return _Step(
            acting=np.zeros(self._shape, dtype=bool),
            present=np.zeros(self._shape, dtype=bool),
            reward=np.zeros(self._shape, dtype=np.float32),
            terminated=np.zeros(self._shape, dtype=bool),
            truncated=np.zeros(self._shape, dtype=bool),
        )

    def _see(self, slot: int, agent: Agent, observation: Any, info: Mapping[str, Any]) -> None:
        """Write what an agent sees into its place."""
        index = (slot, *self._seats[agent])
        self._seen[index] = observation
        try:
            self._observations.write(self._entries, index, observation)
            if self._masked:
                mask = info.get(ACTION_MASK) if self._mask_in_info else observation[ACTION_MASK]
                self._mask[index] = True if mask is None else self._actions.flat_mask(mask, self._name)
            elif info:
                no_late_mask(info)
        except Mismatch as error:
            raise Mismatch(str(error), index, self._shown_by) from error

    def _reward(self, slot: int, rewards: Mapping[Agent, Any], step: _Step) -> None:
        for agent, reward in rewards.items():
            index = (slot, *self._seats[agent])
            step.reward[index] = reward if type(reward) in PLAIN else number(reward, index)

    def _go_on(self, slot: int, agents: Iterable[Agent], cut_off: Iterable[Agent], step: _Step) -> None:
        """These agents play on. Who was there and is not among them has its end in this row, cut off or by the rules.

        Who is new among them, or back, is there from the next row on.
        """
        for agent in agents:
            step.present[(slot, *self._seats[agent])] = True
        left = self._present[slot] & ~step.present[slot]
        for agent in cut_off:
            step.truncated[(slot, *self._seats[agent])] = left[self._seats[agent]]
        step.terminated[slot] = left & ~step.truncated[slot]

    def _end(self, slot: int, cut_off: Iterable[Agent], step: _Step) -> None:
        """The game is over: terminated for everybody but those that were only cut off."""
        step.terminated[slot] = True
        for agent in cut_off:
            seat = (slot, *self._seats[agent])
            step.terminated[seat], step.truncated[seat] = False, True

    def _observation(self, step: _Step, method: str) -> Observation:
        """Look at all numbers of a row at once; whose is wrong, its environment is to blame."""
        copies = {name: array.copy() for name, array in self._entries.items()}
        try:
            check_sizes("the reward", step.reward, 3)
            observation = self._observations.finish(copies, self._shape)
            if self._masked:
                observation.update(self._actions.split_bits(self._mask.copy(), step.acting))
        except Mismatch as error:
            raise self._blamed(error, method, error.at[0]) from error
        observation[ACTING] = step.acting
        observation[PRESENT] = self._present = step.present
        return observation

    @contextmanager
    def _blaming(self, method: str, slot: int = 0) -> Iterator[None]:
        try:
            yield
        except (Exception, SystemExit) as error:
            raise self._blamed(error, method, slot) from error

    def _blamed(self, error: BaseException, method: str, slot: int) -> GameError:
        """The error in one line: the environment's file and line, what it did, and in which row and whose."""
        agent = ""
        if isinstance(error, KeyError) and raised_at(error) is None:
            named, known = error.args[0], list(self._seats)
            error = Mismatch(f"something is missing for, or is given to, {named!r}; its possible_agents are {known}")
        elif isinstance(error, Mismatch) and len(error.at) == 3:
            agent = f", agent {next(a for a, seat in self._seats.items() if seat == error.at[1:])!r}"
        return blamed(error, self._envs[slot], method, self._name, f"slot {slot}, row {self._row}{agent}")

    @property
    def layouts(self) -> Layouts:
        """How it reads its environments."""
        return Layouts(self._observations, self._actions, self._masked)

    @property
    def seats(self) -> Mapping[Agent, Seat]:
        """Who sits where."""
        return self._seats

    @property
    def origin(self) -> Any:
        """See `quintet.games.api.GameWithRemarks`."""
        return self._envs[0]

    def remarks(self) -> dict[str, str]:
        """See `quintet.games.api.GameWithRemarks`."""
        return self._observations.all_remarks(self._seen.values(), self._envs[0], self._shown_by or "step")


class TurnGame(PettingZooGame):
    """AEC environments: one agent acts in each row."""

    _shown_by = "observe"

    def __init__(self, name: str, envs: Sequence[Any], seats: Mapping[Agent, Seat], **options: Any) -> None:
        self._cores = [_core(env) for env in envs]
        super().__init__(name, envs, seats, **options)
        self._plain = isinstance(envs[0].action_space(next(iter(seats))), spaces.Discrete)

    def _shows_mask(self, env: Any, seed: int) -> bool:
        env.reset(seed=seed)
        return any(ACTION_MASK in info for info in env.infos.values())

    def _reset_slot(self, slot: int, seed: int, step: _Step) -> None:
        self._envs[slot].reset(seed=seed)
        self._look(slot, self._cores[slot].agents)
        self._go_on(slot, self._cores[slot].agents, (), step)
        step.acting[(slot, *self._seats[self._cores[slot].agent_selection])] = True

    def _advance(self, slot: int, rows: Sequence[Any], step: _Step) -> None:
        env, core = self._envs[slot], self._cores[slot]
        mover = core.agent_selection
        action = rows[self._place[mover]]
        (core if self._is_legal(slot, mover, action) else env).step(action)
        self._reward(slot, core.rewards, step)
        out = [agent for agent in core.agents if core.terminations[agent] or core.truncations[agent]]
        cut_off = [agent for agent in out if not core.terminations[agent]]
        if len(out) == len(core.agents):
            self._look(slot, core.agents)
            self._end(slot, cut_off, step)
            return
        self._look(slot, [agent for agent in out if self._present[(slot, *self._seats[agent])]])  # its last look
        while core.terminations[core.agent_selection] or core.truncations[core.agent_selection]:
            env.step(None)
        stay = [agent for agent in core.agents if agent not in out]
        self._look(slot, stay)
        self._go_on(slot, stay, cut_off, step)
        step.acting[(slot, *self._seats[core.agent_selection])] = True

    def _look(self, slot: int, agents: Iterable[Agent]) -> None:
        core = self._cores[slot]
        for agent in agents:
            self._see(slot, agent, core.observe(agent), core.infos.get(agent, {}))

    def _is_legal(self, slot: int, agent: Agent, action: Any) -> bool:
        """Whether our copy of the mask allows it; then the wrappers that would look again can be passed over."""
        if not (self._masked and self._plain):
            return not self._masked
        return bool(self._mask[(slot, *self._seats[agent], action - self._actions.start)])


def _core(env: Any) -> Any:
    """The environment below the wrappers that only check the caller: PettingZoo's own, in their exact types.

    Reading `rewards` through them costs more than the rules of a small game do.
    """
    from pettingzoo.utils import wrappers

    checks = (wrappers.OrderEnforcingWrapper, wrappers.AssertOutOfBoundsWrapper, wrappers.TerminateIllegalWrapper)
    while type(env) in checks:
        env = env.env
    return env


def _check_given(what: str, given: Mapping[Agent, Any], agents: Sequence[Agent]) -> None:
    """Something for each of the agents; else an old observation, or nothing won, would be trained on.

    Raises:
        Mismatch: the first who has none.
    """
    for agent in agents:
        if agent not in given:
            raise Mismatch(
                f"there is no {what} for {agent!r}, who is in agents and plays on; expected one for each of them"
            )


class ParallelGame(PettingZooGame):
    """Parallel environments: all agents that are left act in each row."""

    def _shows_mask(self, env: Any, seed: int) -> bool:
        _, infos = each(two(env.reset(seed=seed)))
        return any(ACTION_MASK in info for info in infos.values())

    def _reset_slot(self, slot: int, seed: int, step: _Step) -> None:
        observations, infos = each(two(self._envs[slot].reset(seed=seed)))
        _check_given("observation", observations, self._envs[slot].agents)
        self._look(slot, observations, infos)
        self._play_on(slot, self._envs[slot].agents, (), step)

    def _advance(self, slot: int, rows: Sequence[Any], step: _Step) -> None:
        env = self._envs[slot]
        playing = list(env.agents)
        chosen = {agent: rows[self._place[agent]] for agent in playing}
        observations, rewards, terminated, truncated, infos = each(five(env.step(chosen)))
        self._look(slot, observations, infos)
        self._reward(slot, rewards, step)
        # Who has its end in this step is out, even where the environment goes on listing it.
        stay = [a for a in env.agents if not (terminated.get(a, False) or truncated.get(a, False))]
        cut_off = [a for a in playing if truncated.get(a, False) and not terminated.get(a, False)]
        _check_given("observation", observations, stay)
        _check_given("reward", rewards, [agent for agent in playing if agent in stay])
        if stay:
            self._play_on(slot, stay, cut_off, step)
        else:
            self._end(slot, cut_off, step)

    def _play_on(self, slot: int, agents: Iterable[Agent], cut_off: Iterable[Agent], step: _Step) -> None:
        self._go_on(slot, agents, cut_off, step)
        step.acting[slot] = step.present[slot]

    def _look(self, slot: int, observations: Mapping[Agent, Any], infos: Mapping[Agent, Any]) -> None:
        for agent, observation in observations.items():
            self._see(slot, agent, observation, infos.get(agent, {}))
