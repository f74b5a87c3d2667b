"""Who is in their game at a row: what is read off flags, what `present` says, and what is refused where it arises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from quintet.games.api import Array, GameContractError, GameSpec, Observation, Transition
from quintet.games.attendance import Attendance

SPEC = GameSpec(
    name="pair",
    teams=1,
    agents_per_team=2,
    observation_space=spaces.Dict({"seen": spaces.Discrete(2)}),
    action_space=spaces.Dict({"do": spaces.Discrete(2)}),
)


def agents(flags: str) -> Array:
    """One game of two agents: "1." is true of the first alone."""
    return np.array([[[flag == "1" for flag in flags]]])


def seen(acting: str, present: str | None = None) -> Observation:
    observation = {"acting": agents(acting)}
    return observation if present is None else observation | {"present": agents(present)}


def row(observation: Observation, terminated: str = "..", truncated: str = "..") -> Transition:
    return Transition(
        observation=observation,
        reward=np.zeros((1, 1, 2), np.float32),
        terminated=agents(terminated),
        truncated=agents(truncated),
        outcome=np.zeros((1, 1), np.float32),
    )


def valid(attendance: Attendance) -> str:
    return "".join("1" if there else "." for there in attendance.valid[0, 0])


@pytest.mark.parametrize("how", ["terminated", "truncated"])
def test_without_present_who_has_an_end_of_its_own_is_away_until_the_next_game(how: str) -> None:
    attendance = Attendance(SPEC, seen("11"))
    rows: list[tuple[Transition, str]] = [
        (row(seen("11")), "11"),
        (row(seen("1."), **{how: ".1"}), "1."),
        (row(seen("1.")), "1."),
        (row(seen("1."), **{how: ".1"}), "1."),  # a flag that stays set says nothing new
        (row(seen(".."), **{how: "11"}), ".."),  # the last observation
        (row(seen("11")), "11"),
    ]
    for transition, expected in rows:
        attendance.advance(transition)
        assert valid(attendance) == expected
    assert attendance.first.tolist() == [True]


def test_ends_count_only_of_who_is_there() -> None:
    attendance = Attendance(SPEC, seen("1.", "1."))
    terminated, truncated = attendance.ends(row(seen(".."), terminated="11", truncated="11"))
    assert terminated[0, 0].tolist() == truncated[0, 0].tolist() == [True, False]


def test_who_leaves_by_the_rules_may_be_back_in_the_very_next_row() -> None:
    attendance = Attendance(SPEC, seen("11", "11"))
    attendance.advance(row(seen("11", "11"), terminated=".1"))
    assert valid(attendance) == "11"


WRONG: list[tuple[Observation, Transition, str]] = [
    (seen("11"), row(seen("11"), terminated=".1"), "is acting, but it has left"),
    (seen("11", "11"), row(seen("1.", "1.")), "is not present any more, but was neither terminated nor truncated"),
    (seen("11", "11"), row(seen("1.", "11"), truncated=".1"), "was cut off, but is present in the row after"),
    (seen("1.", "1."), row(seen("11", "1.")), "is acting, but it has left or is yet to come"),
]


@pytest.mark.parametrize(("before", "transition", "words"), WRONG)
def test_what_would_be_trained_wrongly_is_refused(before: Observation, transition: Transition, words: str) -> None:
    attendance = Attendance(SPEC, before)
    with pytest.raises(GameContractError, match=f"slot 0, team 0, agent 1, {words}"):
        attendance.advance(transition)


def test_who_acts_in_the_first_row_without_being_there_is_refused() -> None:
    with pytest.raises(GameContractError, match="agent 1, is acting, but it has left or is yet to come"):
        Attendance(SPEC, seen("11", "1."))


def test_an_end_that_is_told_for_whole_games_is_refused_even_where_its_shape_would_spread() -> None:
    """The flags [n_games] of two games would spread over two agents without a word from numpy."""
    both: dict[str, Any] = {name: np.concatenate([array, array]) for name, array in seen("11").items()}
    transition = Transition(
        observation=both,
        reward=np.zeros((2, 1, 2), np.float32),
        terminated=np.zeros((2, 1, 2), bool),
        truncated=np.zeros(2, bool),
        outcome=np.zeros((2, 1), np.float32),
    )
    for use in (Attendance(SPEC, both).ends, Attendance(SPEC, both).advance):
        with pytest.raises(GameContractError, match=r"truncated is \(2,\); expected one for each agent, \(2, 1, 2\)"):
            use(transition)
