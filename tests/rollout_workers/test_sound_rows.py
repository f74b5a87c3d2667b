"""Whatever nothing can be learned from is refused in its own row, by the worker that plays it, with place and value."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces

from quintet.control.errors import faults_borne
from quintet.games.api import (
    ACTING,
    Actions,
    Array,
    GameCodeError,
    GameDataError,
    GameError,
    GameSpec,
    Observation,
    Transition,
    VectorGame,
)
from quintet.games.checks.data import LARGEST_NUMBER, is_sound
from quintet.games.registry import make_game
from quintet.model.policy import Policy
from quintet.rollout_workers.chunker import Chunker
from quintet.rollout_workers.self_play import SelfPlay
from quintet.rollout_workers.sound_rows import is_sound16
from quintet.wire.chunk import chunk_spec
from quintet.wire.reports import PhaseTimer
from tests.envs.faulty_env import FAULTY_ROW
from tests.support.in_process_run import CPU, SMALL, InProcessRun


class Own(VectorGame):
    """A game that a user wrote as a `VectorGame`: two teams of two; at row `at` of slot 1 an array is spoilt."""

    n_games = 3

    def __init__(self, at: int = 5) -> None:
        self.at, self.spoil = at, {}  # type: ignore[var-annotated]
        self.spec = GameSpec(
            name="own",
            teams=2,
            agents_per_team=2,
            observation_space=spaces.Dict(
                {
                    "hero": spaces.Box(-np.inf, np.inf, (3,), np.float32),
                    "half": spaces.Box(-np.inf, np.inf, (2, 2), np.float32),
                    "board": spaces.Box(-np.inf, np.inf, (4,), np.float32),
                    "kind": spaces.Discrete(4),
                    "pair": spaces.MultiDiscrete([2, 5]),
                    "units": spaces.Box(-np.inf, np.inf, (2, 3), np.float32),
                    "units_mask": spaces.MultiBinary(2),
                }
            ),
            action_space=spaces.Dict({"move": spaces.Discrete(2)}),
            team_shared=frozenset({"board", "units", "units_mask"}),
            wire_dtypes={"half": "float16"},
            set_categories={"units": {1: 3}},
        )

    def reset(self, seed: int) -> Observation:
        self.row = 0
        return self._see()

    def step(self, actions: Actions) -> Transition:
        self.row += 1
        reward = np.ones((3, 2, 2), np.float32)
        if "reward" in self.spoil and self.row == self.at + 1:
            reward[1, 0, 1] = self.spoil["reward"]
        return Transition(
            observation=self._see(),
            reward=reward,
            terminated=np.zeros((3, 2, 2), np.bool_),
            truncated=np.zeros((3, 2, 2), np.bool_),
            outcome=np.full((3, 2), np.nan, np.float32),
        )

    def close(self) -> None:
        pass

    def _see(self) -> Observation:
        lead = (3, 2, 2)
        observation: dict[str, Array] = {
            "hero": np.zeros((*lead, 3), np.float32),
            "half": np.zeros((*lead, 2, 2), np.float32),
            "board": np.zeros((3, 2, 4), np.float32),
            "kind": np.zeros(lead, np.int64),
            "pair": np.zeros((*lead, 2), np.int64),
            "units": np.zeros((3, 2, 2, 3), np.float32),
            "units_mask": np.ones((3, 2, 2), np.bool_),
            ACTING: np.ones(lead, np.bool_),
        }
        for name in self.spoil.keys() & observation.keys() if self.row == self.at else ():
            place = {"kind": (1, 0, 1), "half": (1, 0, 1, 1, 1), "units": (1, 0, 1, 1)}.get(name, (1, 0, 1, -1))
            observation[name][place] = self.spoil[name]
        return observation


def play(game: VectorGame, windows: int = 4) -> SelfPlay:
    policy = Policy(game.spec, SMALL).use_device(CPU)
    spec = chunk_spec(game.spec, lstm_units=SMALL.lstm_units, bptt_steps=4, chunk_steps=8)
    played = SelfPlay(game, policy, Chunker(spec, run="r", slots=game.n_games), seed=0, timer=PhaseTimer())
    for _ in range(windows):
        played.play_window(1)
    return played


def faulty(name: str, n_games: int = 3) -> VectorGame:
    return make_game(f"gymnasium:tests.envs.faulty_env:{name}-v0", n_games, 1, {})


@pytest.mark.parametrize(
    ("name", "what", "value"),
    [
        ("NanReward", "the reward is", "nan"),
        ("NoneReward", "the reward is", "None"),
        ("NanSeen", "observation is", "nan at index [2]"),
        ("InfiniteSeen", "observation is", "-inf"),
        ("HugeSeen", "observation is", "e+12"),
    ],
)
def test_a_gymnasium_environment_is_refused_in_the_row_at_fault(name: str, what: str, value: str) -> None:
    with pytest.raises(GameDataError) as caught:
        play(faulty(name))
    assert f"{name}.step: {what}" in str(caught.value)
    assert value in str(caught.value).partition(" is ")[2]
    assert f"{name}-v0', slot 0, row {FAULTY_ROW})" in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "value", "place", "expected"),
    [
        ("reward", np.nan, "the reward of {} is nan", "of at most 1e+12"),
        ("reward", -2e12, "the reward of {} is -2e+12", "of at most 1e+12"),
        ("hero", np.inf, "observation entry 'hero'[2] of {} is inf", "of at most 1e+12"),
        ("hero", 3e12, "observation entry 'hero'[2] of {} is 3e+12", "of at most 1e+12"),
        ("half", 7e4, "observation entry 'half'[1, 1] of {} is inf", "float16"),
        ("half", np.nan, "observation entry 'half'[1, 1] of {} is nan", "float16"),
        ("kind", 4, "observation entry 'kind' of {} is 4", "from 0 to 3"),
        ("kind", -1, "observation entry 'kind' of {} is -1", "from 0 to 3"),
        ("pair", 5, "observation entry 'pair'[1] of {} is 5", "from 0 to 4"),
        ("units", 3, "observation entry 'units'[1, 1] of {} is 3", "from 0 to 2"),
    ],
)
def test_a_game_of_the_users_own_is_refused_with_slot_row_team_agent_entry_and_value(
    entry: str, value: float, place: str, expected: str
) -> None:
    game = Own()
    game.spoil = {entry: value}
    with pytest.raises(GameDataError) as caught:
        play(game)
    whose = "slot 1, row 5, team 0" + (", agent 1" if entry != "units" else "") + " of game 'own'"
    assert place.format(whose) in str(caught.value)
    assert expected in str(caught.value)
    assert re.match(r"\S*test_sound_rows.py:\d+: Own.step: ", str(caught.value))


def test_what_the_wire_takes_is_played(tmp_path: Path) -> None:
    game = Own()
    game.spoil = {"hero": LARGEST_NUMBER, "half": 65504.0, "reward": -LARGEST_NUMBER, "kind": 3, "pair": 4, "units": 2}
    played = play(game)
    assert played.episodes.lengths.tolist() == [16, 16, 16]


def test_a_fault_that_appears_late_is_caught_as_well() -> None:
    with pytest.raises(GameDataError, match=r"the reward of slot 1, row 399, team 0, agent 1 of game 'own' is nan"):
        play(Late(), windows=120)


class Late(Own):
    """The same, with the fault far into the game."""

    def __init__(self) -> None:
        super().__init__(at=399)
        self.spoil = {"reward": np.nan}


def test_a_window_without_faults_is_sound_whatever_the_shape() -> None:
    assert is_sound(np.zeros((0, 3), np.float32))
    assert is_sound(np.full((3, 5), 1e11, np.float32))
    assert not is_sound(np.array([[1.0, np.nan]], np.float32))
    assert not is_sound(np.array([np.inf, -np.inf], np.float32))
    assert is_sound16(np.array([65504.0, -65504.0, 6e-8], np.float16))
    assert not is_sound16(np.array([1.0, -np.inf], np.float16))
    assert not is_sound16(np.array([1.0, np.nan], np.float16))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Raises", "raised ValueError: the simulator of this environment broke with a second line"),
        ("Exits", "SystemExit: licence expired"),
        ("Interrupted", "raised KeyboardInterrupt"),
    ],
)
def test_what_a_games_own_code_raises_is_said_with_its_file_and_line(name: str, said: str) -> None:
    with pytest.raises(GameCodeError) as caught:
        play(faulty(name))
    message = str(caught.value)
    assert re.match(r"\S*faulty_env.py:\d+: ", message)
    assert said in message
    assert "\n" not in message
    assert faults_borne(caught.value) == 1


def test_a_simulator_that_does_not_answer_is_another_matter() -> None:
    with pytest.raises(GameCodeError, match="ConnectionRefusedError: the simulator at port 2000 is away") as caught:
        play(faulty("Unreachable"))
    assert faults_borne(caught.value) is None


def test_the_workers_loop_raises_what_its_game_is_at_fault_for(tmp_path: Path) -> None:
    run = InProcessRun(folder=tmp_path, make=lambda n: faulty("Raises", n))
    optimizer = run.optimizer()
    with pytest.raises(GameError, match="the simulator of this environment broke"):
        run.train(optimizer, run.worker(), batches=100)
