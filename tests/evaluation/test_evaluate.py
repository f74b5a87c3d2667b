"""Matches over the counting game, whose every result is known beforehand."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from quintet.cluster.__main__ import run
from quintet.control.config import parse_config
from quintet.control.errors import UsageError
from quintet.evaluation.entrants import Scripted, read_contestant, read_entrant, seat_policy
from quintet.evaluation.evaluate import MAX_SLOTS, carry_out, play_match
from quintet.evaluation.match import GameResult, Match, own_streams
from quintet.evaluation.players import BotPlayer, PolicyPlayer, RandomPlayer
from quintet.evaluation.request import EvalRequest
from quintet.evaluation.results import judge, mean_interval, wilson
from quintet.games.api import ACTING, Actions, Array, Observation
from quintet.games.counting import GAME, SLOT, CountingGame, CountingOptions
from quintet.optimizer.checkpoint import CheckpointError
from quintet.wire.chunk import chunk_spec
from quintet.wire.errors import DecodeError
from quintet.wire.link import Precision
from tests.envs.full_spec_game import Outpost
from tests.model.test_weights import OTHER
from tests.support.policy_factory import make_policy, random_rows
from tests.support.untrained import save_untrained


class Onlooker:
    """Always takes choice 1, and remembers which slots and games it saw."""

    def __init__(self) -> None:
        self.slots: set[int] = set()
        self.seen: Counter[tuple[int, int]] = Counter()

    def act(self, observation: Observation, first: Array, ignored: Array) -> Actions:
        counter = observation["counter"]
        self.slots |= {int(slot) for slot in counter[:, 0, SLOT]}
        self.seen.update((int(row[SLOT]), int(row[GAME])) for row in counter[:, 0])
        return {"action": np.ones(observation[ACTING].shape, np.int64)}

    def keep(self, streams: Array) -> None:
        pass


def silent(_: int) -> None:
    """No progress bar."""


def test_every_slot_plays_its_share_so_that_short_games_count_no_more_than_long_ones() -> None:
    game = CountingGame(4, CountingOptions(episode_steps=2, extra_steps=30))
    results = Match(game, Onlooker(), None, seed=5).play(10, silent)
    assert len(results) == 10
    again = CountingGame(4, CountingOptions(episode_steps=2, extra_steps=30))
    first_lengths = played_lengths(again, games_per_slot=(3, 3, 2, 2), seed=5)
    assert sorted(result.length for result in results) == sorted(first_lengths)


def played_lengths(game: CountingGame, games_per_slot: tuple[int, ...], seed: int) -> list[int]:
    """Lengths of each slot's first games, counted row by row."""
    game.reset(seed)
    lengths: list[int] = []
    rows, left = np.zeros(game.n_games, int), list(games_per_slot)
    over = np.zeros(game.n_games, bool)
    while any(left):
        ended = game.step({"action": np.ones((game.n_games, 1, 1), np.int64)}).ended
        for slot in range(game.n_games):
            rows[slot] += not over[slot]
            if ended[slot] and left[slot]:
                lengths.append(int(rows[slot]))
                left[slot] -= 1
            if ended[slot]:
                rows[slot] = 0
        over = ended
    return lengths


def test_the_player_sits_on_every_seat_equally_often_and_the_opponent_on_the_others() -> None:
    player, opponent = Onlooker(), Onlooker()
    game = CountingGame(4, CountingOptions(teams=2, episode_steps=3))
    results = Match(game, player, opponent, seed=1).play(8, silent)
    assert Counter(result.seat for result in results) == {0: 4, 1: 4}
    assert player.slots == opponent.slots == {0, 1, 2, 3}
    assert player.seen == opponent.seen
    # In the counting game team 0 wins the even games and team 1 the odd ones: each seat wins half of its games.
    assert [result.outcome for result in results if result.seat == 0] == [1.0, 1.0, -1.0, -1.0]
    assert [result.outcome for result in results if result.seat == 1] == [-1.0, -1.0, 1.0, 1.0]
    assert all(
        result.mean_return == pytest.approx(result.outcome * (3 if abs(result.mean_return) < 100 else 3003))
        for result in results
        if result.outcome is not None
    )


def test_a_policy_player_acts_as_the_policy_does_over_the_whole_sequence(precision: Precision) -> None:
    options = CountingOptions(agents_per_team=2, masks=True, kinds=3)
    game = CountingGame(1, options).spec
    policy = make_policy(game, precision=precision)
    spec = chunk_spec(game, lstm_units=8, bptt_steps=4, chunk_steps=4)
    player = PolicyPlayer(policy, spec, streams=3, seed=0, greedy=True)
    rows = random_rows(game, 8, rows=6)
    state, previous = policy.initial_state(3), {"action": torch.full((3, 2), -1)}
    for t in range(6):
        observation, first, _ = rows.row(t)
        acting = np.array([[True, True], [True, False], [t % 2 == 0, True]])
        ignored = np.array([False, t == 3, False])
        acted = policy.act(observation, first, previous, state, greedy=True)
        seen = {name: tensor.numpy() for name, tensor in observation.items()} | {ACTING: acting}
        action = player.act(seen, first.numpy(), ignored)
        assert (action["action"] == acted.action["action"].numpy()).all()
        counts = torch.from_numpy(acting & ~ignored[:, None])
        state = acted.state
        previous = {"action": torch.where(counts, acted.action["action"], torch.tensor(-1))}


def test_a_random_player_takes_every_legal_choice_about_equally_often_and_no_other() -> None:
    game = CountingGame(1, CountingOptions(choices=4, box_dims=2, masks=True)).spec
    player = RandomPlayer(game, seed=0)
    legal = np.tile(np.array([True, False, True, True]), (3000, 1, 1))
    actions = player.act(
        {ACTING: np.ones((3000, 1), bool), "action_mask/action": legal}, legal[:, 0, 0], legal[:, 0, 0]
    )
    counts = np.bincount(actions["action"].ravel(), minlength=4)
    assert counts[1] == 0
    assert (counts[[0, 2, 3]] > 900).all()
    space = game.action_space["push"]
    assert all(space.contains(row[0]) for row in np.clip(actions["push"], space.low, space.high))  # type: ignore[attr-defined]
    assert actions["push"].std() > 0.1


@pytest.mark.parametrize(
    ("wins", "games", "low", "high"),
    [(8, 10, 0.49016, 0.94332), (0, 10, 0.0, 0.27753), (10, 10, 0.72247, 1.0), (500, 1000, 0.46907, 0.53093)],
)
def test_wilsons_interval_is_the_published_one(wins: int, games: int, low: float, high: float) -> None:
    estimate = wilson(wins, games)
    assert estimate.mean == wins / games
    assert estimate.low == pytest.approx(low, abs=1e-5)
    assert estimate.high == pytest.approx(high, abs=1e-5)


def test_a_mean_comes_with_its_normal_interval() -> None:
    estimate = mean_interval([1.0, 2.0, 3.0, 4.0])
    half = 1.959964 * np.std([1, 2, 3, 4], ddof=1) / 2
    assert estimate.mean == 2.5
    assert estimate.high - estimate.mean == pytest.approx(half, rel=1e-6)


def test_wins_draws_and_losses_add_up_per_seat_and_over_all() -> None:
    results = [GameResult(seat=k % 2, mean_return=0.0, length=5, outcome=o) for k, o in enumerate([1, 1, 0, -1, 1, 0])]
    first, second, both = judge(results, ["cross", "circle"])
    assert (first.seat, first.wins, first.draws, first.losses) == ("cross", 2, 1, 0)
    assert (second.wins, second.draws, second.losses) == (1, 1, 1)
    assert (both.games, both.wins, both.draws, both.losses) == (6, 3, 2, 1)
    assert both.win_rate == wilson(3, 6)


def in_format(precision: Precision) -> str:
    return TWO_TEAMS.replace("lstm_units = 8\n", f'lstm_units = 8\nprecision = "{precision}"\n')


TWO_TEAMS = 'game = "counting"\n[model]\nlstm_units = 8\n[game_options]\nteams = 2\nepisode_steps = 4\n'


def test_the_same_request_gives_the_same_games_and_another_seed_gives_others(
    tmp_path: Path, precision: Precision
) -> None:
    contestant = read_contestant(save_untrained(tmp_path, in_format(precision) + "extra_steps = 9\n"))

    def lengths(seed: int) -> list[int]:
        request = EvalRequest(checkpoint=str(tmp_path), games=MAX_SLOTS + 3, seed=seed)
        return [result.length for result in play_match(contestant, contestant, request, progress=silent).results]

    assert len(lengths(1)) == MAX_SLOTS + 3
    assert lengths(1) == lengths(1)
    assert lengths(1) != lengths(2)


def test_a_checkpoint_is_evaluated_in_the_number_format_of_its_run(tmp_path: Path, precision: Precision) -> None:
    contestant = read_contestant(save_untrained(tmp_path, in_format(precision)))
    game = CountingGame(1, CountingOptions(teams=2, episode_steps=4))
    assert seat_policy(contestant, game.spec, 2, seed=1, greedy=True).policy.precision == precision
    other = replace(contestant, config=parse_config(in_format(OTHER[precision])))
    with pytest.raises(DecodeError, match=f"in {precision}, but model.precision is {OTHER[precision]} here"):
        seat_policy(other, game.spec, 2, seed=1, greedy=True)


def test_players_of_both_number_formats_meet(tmp_path: Path) -> None:
    one, other = (read_contestant(save_untrained(tmp_path / name, in_format(name))) for name in OTHER)
    assert len(play_match(one, other, EvalRequest(checkpoint=str(tmp_path), games=4), progress=silent).results) == 4


def test_an_opponent_may_have_another_network_but_not_another_game(tmp_path: Path) -> None:
    small = read_contestant(save_untrained(tmp_path / "small", TWO_TEAMS))
    large = read_contestant(save_untrained(tmp_path / "large", TWO_TEAMS.replace("units = 8", "units = 16")))
    request = EvalRequest(checkpoint=str(tmp_path), games=4)
    assert len(play_match(small, large, request, progress=silent).results) == 4
    other = read_contestant(save_untrained(tmp_path / "other", TWO_TEAMS + "kinds = 3\n"))
    with pytest.raises(CheckpointError, match=r"observation\.kind is new"):
        play_match(small, other, request, progress=silent)


def test_requests_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    contestant = read_contestant(save_untrained(tmp_path, TWO_TEAMS.replace("teams = 2", "teams = 1")))
    with pytest.raises(UsageError, match="--games is 0"):
        play_match(contestant, None, EvalRequest(checkpoint=str(tmp_path), games=0), progress=silent)
    with pytest.raises(UsageError, match="nobody to play against"):
        play_match(contestant, Scripted("random"), EvalRequest(checkpoint=str(tmp_path)), progress=silent)
    with pytest.raises(UsageError, match=r"--game is skirmish-1v1, but checkpoint .* plays counting"):
        play_match(contestant, None, EvalRequest(checkpoint=str(tmp_path), game="skirmish-1v1"), progress=silent)
    with pytest.raises(UsageError, match="bot:eager plays many games: say which"):
        play_match(Scripted("bot:eager"), None, EvalRequest(checkpoint="bot:eager"), progress=silent)
    (tmp_path / "000003" / "checkpoint.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(CheckpointError):
        read_contestant(tmp_path / "000003")


OUTPOST = "tests.envs.full_spec_game:make_outpost"


def match_of(player: str, opponent: str | None, **request: Any) -> list[GameResult]:
    one, other = read_entrant(player), None if opponent is None else read_entrant(opponent)
    asked = EvalRequest(checkpoint=player, opponent=opponent, game=OUTPOST, **({"games": 40} | request))
    return list(play_match(one, other, asked, progress=silent).results)


def test_a_bot_beats_another_bot_and_random_on_either_seat() -> None:
    for opponent in ("bot:lazy", "random", None):
        results = match_of("bot:eager", opponent)
        wins = {seat: sum(r.outcome == 1 for r in results if r.seat == seat) for seat in (0, 1)}
        assert min(wins.values()) > 15, opponent
    assert all(result.outcome == 0 for result in match_of("bot:lazy", "bot:lazy"))


def test_the_same_bots_and_seed_play_the_same_games() -> None:
    assert match_of("bot:eager", "random") == match_of("bot:eager", "random")
    assert match_of("bot:eager", "random") != match_of("bot:eager", "random", seed=2)


def test_components_are_those_of_the_seat_that_was_played() -> None:
    results = match_of("bot:eager", "bot:lazy")
    assert all(result.components["hits"] > 0 for result in results)
    assert all(result.components["hits"] == 0 for result in match_of("bot:lazy", "bot:eager"))
    north, _, both = judge(results, ["north", "south"])
    assert north.components["hits"] == pytest.approx(np.mean([r.components["hits"] for r in results if r.seat == 0]))
    assert both.components["hits"] == pytest.approx(np.mean([r.components["hits"] for r in results]))


def test_a_bot_that_the_game_does_not_have_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"outpost has no bot 'eagre'; did you mean 'bot:eager'.* bot:lazy, bot:eager"):
        match_of("bot:eagre", "random")
    request = EvalRequest(checkpoint="bot:lazy", game="counting")
    with pytest.raises(UsageError, match="counting has no bot 'lazy'; its bots: none"):
        play_match(Scripted("bot:lazy"), None, request, progress=silent)


def test_the_command_line_has_bots_play_and_refuses_one_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    said = ("eval", "bot:eager", "--game", OUTPOST, "--games", "4", "--opponent")
    assert run((*said, "bot:lazy", "--json")) == 0
    assert json.loads(capsys.readouterr().out)["win_rate"] == 1.0
    assert run((*said, "bot:layz")) == 2
    assert "did you mean 'bot:lazy'" in capsys.readouterr().err
    assert run(("eval", "bot:eager")) == 2
    assert "--game" in capsys.readouterr().err


def test_the_verdict_says_whom_by_which_source_and_what_of(capsys: pytest.CaptureFixture[str]) -> None:
    carry_out(EvalRequest(checkpoint="bot:eager", opponent="bot:lazy", game=OUTPOST, games=20, json=True))
    said = json.loads(capsys.readouterr().out)
    assert (said["checkpoint"], said["opponent"], said["game"]) == ("bot:eager", "bot:lazy", "outpost")
    assert (said["bot_source"], said["opponent_bot_source"]) == ("hash of eager", "hash of lazy")
    assert (said["version"], said["agent_steps"]) == (None, None)
    assert said["wins"] + said["draws"] + said["losses"] == said["games"] == 20
    assert said["components"]["hits"] == said["seats"][-1]["components"]["hits"] > 0
    carry_out(EvalRequest(checkpoint="bot:eager", opponent="bot:lazy", game=OUTPOST, games=20))
    text = capsys.readouterr().out
    for part in ("bot:eager (source hash of eage), outpost, against bot:lazy (source hash of lazy)", "hits", "draws"):
        assert part in " ".join(text.split())


def test_a_slot_that_has_played_its_share_costs_its_players_nothing_more() -> None:
    class Counted(BotPlayer):
        calls: list[int] = []  # noqa: RUF012

        def act(self, observation: Observation, first: Array, ignored: Array) -> Actions:
            self.calls.append(len(first))
            return super().act(observation, first, ignored)

    game = Outpost(6)
    player = Counted(game, "eager", own_streams(6, 2))
    results = Match(game, player, BotPlayer(game, "lazy", ~own_streams(6, 2)), seed=3).play(6, silent)
    ended = sorted(result.length for result in results)
    assert len(player.calls) == ended[-1]
    assert [sum(length > row for length in ended) for row in range(ended[-1])] == player.calls


def test_a_policy_that_leaves_a_seat_plays_on_the_others_as_if_nothing_had_happened(precision: Precision) -> None:
    game = CountingGame(1, CountingOptions(agents_per_team=2, kinds=3)).spec
    policy, rows = make_policy(game, precision=precision), random_rows(game, 8, rows=6)
    spec = chunk_spec(game, lstm_units=8, bptt_steps=4, chunk_steps=4)
    whole, fewer = (PolicyPlayer(policy, spec, streams=3, seed=0, greedy=True) for _ in range(2))
    at = np.array([True, True, True])
    for t in range(6):
        observation, first, _ = rows.row(t)
        seen = {name: x.numpy() for name, x in observation.items()} | {ACTING: np.ones((3, 2), bool)}
        expected = whole.act(seen, first.numpy(), np.zeros(3, bool))
        if t == 3:
            at = np.array([True, False, True])
            fewer.keep(at)
        found = fewer.act({name: x[at] for name, x in seen.items()}, first.numpy()[at], np.zeros(int(at.sum()), bool))
        np.testing.assert_array_equal(found["action"], expected["action"][at])
        np.testing.assert_allclose(fewer.actor.state, whole.actor.state[torch.from_numpy(at)], atol=1e-6)
