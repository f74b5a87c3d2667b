"""What is known of a game: by its spec, by a little play, and how a run begins with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from quintet.cluster.assembly import FirstLook, check_game, look_at_game
from quintet.control.config import as_complete, parse_config
from quintet.control.derivation import GameFacts
from quintet.control.game_facts import UNKNOWN_EPISODE, facts_of, needs_play
from quintet.games.api import Actions, GameSpec, Transition
from quintet.games.checks.rehearsal import rehearse_rows
from quintet.games.counting import CountingGame, CountingOptions
from quintet.games.registry import make_game
from tests.support.needs import extra

WHOLE = parse_config("")


def facts(game: str) -> GameFacts:
    """Those of a game that a run would play."""
    made = make_game(game, 1, 1)
    return facts_of(made.spec, rehearse_rows(made, 1).seen, WHOLE)


class Paying(CountingGame):
    """A counting game of 5 rows that pays what `pay` says, and declares as little as may be."""

    def __init__(
        self, n_games: int = 2, seed: int = 0, *, teams: int = 2, bound: int | None = None, rows: int = 5
    ) -> None:
        super().__init__(n_games, CountingOptions(teams=teams, episode_steps=rows))
        self.spec: GameSpec = replace(self.spec, max_steps=bound, zero_sum=False)

    def pay(self, transition: Transition) -> Any:
        return transition.reward

    def step(self, actions: Actions) -> Transition:
        result = super().step(actions)
        return replace(result, reward=np.asarray(self.pay(result), np.float32))


class WinnersTakeAll(Paying):
    def pay(self, transition: Transition) -> Any:
        return 25 * np.nan_to_num(transition.outcome)[..., None]


class PaysOnTheWay(WinnersTakeAll):
    def pay(self, transition: Transition) -> Any:
        signs = np.array([1, -1])[None, :, None]
        return super().pay(transition) + 0.1 * signs * ~transition.ended[:, None, None] * (self._row == 2)[0]


class PaysBoth(Paying):
    def pay(self, transition: Transition) -> Any:
        return np.abs(np.nan_to_num(transition.outcome)[..., None])


class PaysNothing(Paying):
    def pay(self, transition: Transition) -> Any:
        return 0 * transition.reward


def seen_facts(game: Paying, **rehearsal: Any) -> GameFacts:
    return facts_of(game.spec, rehearse_rows(game, 1, within_s=1e9, **rehearsal).seen, WHOLE)


def test_play_shows_a_game_whose_end_alone_pays_and_what() -> None:
    found = seen_facts(WinnersTakeAll())
    assert (found.zero_sum, found.outcome_only, found.outcome_reward, found.episode_steps) == (True, True, 25.0, 5)


@pytest.mark.parametrize(
    ("game", "zero_sum"),
    [(PaysOnTheWay(), True), (PaysBoth(), False), (PaysNothing(), False), (WinnersTakeAll(teams=1), False)],
)
def test_others_are_no_such_games(game: Paying, zero_sum: bool) -> None:
    found = seen_facts(game)
    assert (found.zero_sum, found.outcome_only) == (zero_sum, False)


def test_the_length_of_an_episode_is_its_bound_or_what_play_shows_or_a_guess() -> None:
    assert seen_facts(Paying(bound=9)).episode_steps == 9
    assert seen_facts(Paying(bound=10**6)).episode_steps == 5  # such a bound says nothing
    endless = seen_facts(Paying(rows=10**6))
    assert (endless.episode_steps, endless.episode_words) == (UNKNOWN_EPISODE, "none ended in 600 rows of random play")
    assert seen_facts(Paying(rows=10**6), until_an_end=900).episode_steps == 1800
    assert seen_facts(Paying(rows=400), until_an_end=900).episode_steps == 400
    unplayed = Paying()
    assert facts_of(unplayed.spec, None, WHOLE).episode_steps == UNKNOWN_EPISODE


def test_an_environment_by_others_may_say_how_long_it_goes_on_where_play_shows_no_end() -> None:
    class Declaring(Paying):
        max_steps = 900

    assert seen_facts(Declaring(rows=10**6)).episode_steps == 900
    assert seen_facts(Declaring()).episode_steps == 5
    assert seen_facts(Declaring(rows=10**6), until_an_end=1000).episode_steps == 2000  # it goes on beyond its word


def test_rows_that_only_begin_a_game_do_not_count() -> None:
    seen = rehearse_rows(Paying(3), 1, rows=12, within_s=1e9).seen  # two games of 5 rows, and a row after each
    assert (seen.rows, seen.games, seen.episode_rows) == (30, 6, 5)
    seen = rehearse_rows(Paying(3, rows=8), 1, rows=15, within_s=1e9).seen  # one game of 8 rows, and 6 of the next
    assert (seen.rows, seen.games, seen.episode_rows) == (42, 3, 8)


def test_an_episode_is_not_taken_for_shorter_than_one_that_goes_on() -> None:
    class Longer(Paying):
        def step(self, actions: Actions) -> Transition:
            result = super().step(actions)
            self._length[self._game > 0] = 1000
            return result

    seen = rehearse_rows(Longer(1, rows=5), 1, rows=206, within_s=1e9).seen
    assert (seen.games, seen.episode_rows) == (1, 200)


def test_a_game_of_one_agent_with_a_bound_needs_no_play() -> None:
    for game, needed in (
        ("gymnasium:CartPole-v1", False),
        ("gymnasium:Pendulum-v1", False),
        ("gymnasium:Blackjack-v1", True),
        ("skirmish-1v1", False),
    ):
        assert needs_play(make_game(game).spec) == needed, game


def test_games_that_everybody_knows() -> None:
    cartpole, pendulum = facts("gymnasium:CartPole-v1"), facts("gymnasium:Pendulum-v1")
    assert (cartpole.episode_steps, cartpole.choices, cartpole.bodies) == (500, 2, 1)
    assert (pendulum.episode_steps, pendulum.choices, pendulum.outcome_only) == (200, 0, False)
    assert 50 < cartpole.row_bytes < 200  # 32 of them are the LSTM's state, which travels once a window


def test_a_fight_counts_seconds() -> None:
    spec = make_game("skirmish-5v5").spec
    found = facts_of(spec, None, WHOLE)
    assert (found.has_clock, found.step_s, found.bodies, found.outcome_only) == (True, spec.step_s, 10, False)
    assert (found.episode_steps, found.zero_sum) == (spec.max_steps, True)


@pytest.mark.parametrize(("name", "choices", "rows"), [("tictactoe_v3", 9, (5, 9)), ("connect_four_v3", 7, (7, 42))])
def test_board_games_pay_at_their_end(name: str, choices: int, rows: tuple[int, int]) -> None:
    extra("pettingzoo")
    found = facts(f"pettingzoo:pettingzoo.classic.{name}")
    assert (found.outcome_only, found.outcome_reward, found.choices, found.bodies) == (True, 1.0, choices, 2)
    assert rows[0] <= found.episode_steps <= rows[1]


# ---- how a run begins ----


def first_look(game: str, *overrides: str) -> FirstLook:
    return look_at_game(parse_config("", overrides=[f'game="{game}"', *overrides]), None)


def test_a_run_begins_with_what_was_derived_and_says_it_before_its_notes() -> None:
    look = first_look("gymnasium:CartPole-v1", "rollout.workers=60")
    assert look.config.optimizer.batch_steps == 2048
    heading, *lines = look.lines
    assert "derived from the game" in heading
    assert lines[: len(look.derived)] == [f"  {line}" for line in look.derived]
    assert lines[-1].startswith("note: expect about ")


def test_play_that_derivation_needs_is_the_rehearsal_and_is_done_once() -> None:
    look = first_look("tests.control.derivation.test_facts:WinnersTakeAll")
    assert look.config.ppo.discount == 1.0
    assert look.rehearse() == []


def test_nothing_is_derived_and_nobody_plays_for_a_whole_configuration() -> None:
    config = as_complete(parse_config('game = "tests.control.derivation.test_facts:WinnersTakeAll"'))
    look = check_game(config)
    assert (look.derived, look.config) == ((), config)
    assert not any("derived" in line for line in look.lines)


def test_a_run_that_is_to_be_repeated_plays_as_many_rows_whatever_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def noted(game: Any, seed: int, **options: Any) -> Any:
        asked.append(options["within_s"])
        return rehearse_rows(game, seed, **options)

    monkeypatch.setattr("quintet.games.checks.rehearsal.rehearse_rows", noted)
    for deterministic in ("true", "false"):
        first_look("tests.control.derivation.test_facts:PaysBoth", f"deterministic={deterministic}")
    assert asked[0] == float("inf") > asked[1]
