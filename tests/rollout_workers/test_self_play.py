"""Chunk borders and the hand-over of states: a counting game and a counting policy, and nothing lost or doubled."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quintet.games.api import Array
from quintet.games.counting import AGENT, GAME, ROW
from quintet.optimizer.advantages import gae
from quintet.wire.chunk import MIRROR, NO_ACTION, TrajectoryChunk
from quintet.wire.codec import decode_chunk, encode_chunk
from tests.support.chunk_factory import RUN
from tests.support.counting_policy import BPTT, CHUNK, Played, chooses, play_counting, saw, told

GAMES: dict[str, dict[str, Any]] = {
    "one agent": {"extra_steps": 5},
    "cut off and ended by turns": {"episode_steps": 3, "extra_steps": 2, "ends": "alternate"},
    "games of one and two rows": {"episode_steps": 1, "extra_steps": 1, "ends": "alternate"},
    "teams, sets and masks": {
        "teams": 2, "agents_per_team": 2, "episode_steps": 5, "extra_steps": 4, "units": 3, "kinds": 3,
        "shared": 2, "masks": True, "box_dims": 2,
    },
    "turns of two teams": {"teams": 2, "episode_steps": 6, "turns": True, "ends": "truncated", "masks": True},
    "turns of three agents": {"agents_per_team": 3, "episode_steps": 4, "extra_steps": 3, "turns": True},
    "an agent leaves for good": {
        "teams": 2, "agents_per_team": 2, "episode_steps": 6, "extra_steps": 2, "leaver_row": 2, "ends": "alternate",
    },
    "a whole team leaves": {"teams": 2, "episode_steps": 6, "leaver_row": 1},
    "agents come, go, are cut off alone and return": {
        "teams": 2, "agents_per_team": 2, "episode_steps": 9, "extra_steps": 4, "visits": True, "ends": "alternate",
    },
}  # fmt: skip


@pytest.fixture(scope="module", params=GAMES)
def played(request: pytest.FixtureRequest) -> Played:
    return play_counting(**GAMES[request.param])


def joined(chunks: list[TrajectoryChunk], name: str) -> Array:
    """One field of all chunks of a stream, end to end."""
    return np.concatenate([getattr(c, name) for c in chunks])


def logged(played: Played, slot: int, team: int) -> list[dict[str, Any]]:
    """What the game's own log says of every row of one stream; its counter tells where games begin and end."""
    rows, gone = [], np.zeros(played.spec.agents, np.bool_)
    ended_before = False
    for before, transition in zip(played.game.observations[:-1], played.game.transitions, strict=True):
        first = before["counter"][slot, team, 0, ROW] == 0
        if first:
            gone = np.zeros_like(gone)
        present = before["present"][slot, team] if "present" in before else ~gone
        valid = np.zeros_like(gone) if ended_before else present
        terminated = transition.terminated[slot, team] & valid
        rows.append(
            {
                "first": first,
                "valid": valid,
                "acting": before["acting"][slot, team] & valid,
                "reward": np.where(valid, transition.reward[slot, team], 0),
                "terminated": terminated,
                "truncated": transition.truncated[slot, team] & valid,
            }
        )
        gone = gone | terminated
        ended_before = bool(transition.ended[slot]) and not ended_before
    return rows


def test_the_chunks_of_a_stream_end_to_end_are_the_games_log(played: Played) -> None:
    for slot, team in played.streams:
        chunks = played.stream(slot, team)
        for name, entry in played.spec.observation.items():
            found = np.concatenate([c.observation[name] for c in chunks])
            expected = np.stack([o[name][slot, team] for o in played.game.observations[:-1]])
            assert found.dtype == np.dtype(entry.dtype)
            np.testing.assert_array_equal(found, expected, err_msg=name)


def test_ends_rewards_and_masks_of_every_row_are_what_the_log_says(played: Played) -> None:
    for slot, team in played.streams:
        chunks, rows = played.stream(slot, team), logged(played, slot, team)
        assert any(row["first"] for row in rows[1:])
        assert not all(row["valid"].all() for row in rows)
        for name in rows[0]:
            expected = np.array([row[name] for row in rows])
            np.testing.assert_array_equal(joined(chunks, name), expected, err_msg=name)


def test_the_row_after_an_end_holds_the_true_last_observation_and_counts_for_nothing(played: Played) -> None:
    for slot, team in played.streams:
        chunks = played.stream(slot, team)
        counter = np.concatenate([c.observation["counter"] for c in chunks])[:, 0]
        truncated, first = joined(chunks, "truncated"), joined(chunks, "first")
        new_game = np.diff(counter[:, GAME]) > 0  # row t+1 is of another game than row t
        last_rows = np.flatnonzero(new_game)
        assert len(last_rows) > 1
        assert not joined(chunks, "valid")[last_rows].any()
        assert not joined(chunks, "reward")[last_rows].any()
        assert not first[last_rows].any()
        assert first[last_rows + 1].all()
        assert (counter[last_rows, ROW] == counter[last_rows - 1, ROW] + 1).all()
        by_rules = played.game.game.options.ends == "terminated"
        assert truncated[last_rows - 1].any() != by_rules or played.game.game.options.visits
        assert not truncated[last_rows].any()


def test_actions_are_those_that_the_game_got_and_none_where_nobody_acts(played: Played) -> None:
    for slot, team in played.streams:
        chunks = played.stream(slot, team)
        acting = joined(chunks, "acting")
        for head, spec in played.spec.heads.items():
            taken = np.concatenate([c.action[head][1:] for c in chunks])
            got = np.stack([a[head][slot, team] for a in played.game.actions])
            log_prob = np.concatenate([c.log_prob[head] for c in chunks])
            assert (log_prob[acting] < 0).all()
            assert not log_prob[~acting].any()
            if spec.dtype == "float32":
                np.testing.assert_array_equal(np.clip(taken[acting], -1, 1), got[acting])
                assert (np.abs(taken[acting]) > 1).any()  # the unclipped action travels
                assert not taken[~acting].any()
            else:
                np.testing.assert_array_equal(taken[acting], got[acting])
                assert (taken[~acting] == NO_ACTION).all()


def test_the_action_before_a_chunk_is_the_last_of_the_chunk_before_it(played: Played) -> None:
    for stream in played.streams:
        chunks = played.stream(*stream)
        for head, spec in played.spec.heads.items():
            none = 0 if spec.dtype == "float32" else NO_ACTION
            assert (chunks[0].action[head][0] == none).all()
            for one, following in pairwise(chunks):
                np.testing.assert_array_equal(one.action[head][-1], following.action[head][0])


def test_the_policy_is_shown_the_action_that_the_chunk_will_show_the_optimizer(played: Played) -> None:
    for stream in played.streams:
        for chunk in played.stream(*stream):
            row, acting = chunk.observation["counter"][..., ROW], chunk.acting
            expected = told(row, chunk.action["action"][:-1])
            np.testing.assert_array_equal(chunk.log_prob["action"][acting], expected[acting])


def test_a_new_game_is_shown_no_previous_action(played: Played) -> None:
    for stream in played.streams:
        for chunk in played.stream(*stream):
            assert (chunk.action["action"][:-1][chunk.first] == NO_ACTION).all()


def test_actions_follow_from_the_observation_of_their_own_row(played: Played) -> None:
    choices = played.game.game.options.choices
    for stream in played.streams:
        for chunk in played.stream(*stream):
            expected = chooses(chunk.observation["counter"], choices)
            np.testing.assert_array_equal(chunk.action["action"][1:][chunk.acting], expected[chunk.acting])


def test_values_say_that_each_row_was_seen_once_with_the_state_of_the_rows_before_it(played: Played) -> None:
    for stream in played.streams:
        for chunk in played.stream(*stream):
            counter = chunk.observation["counter"]
            np.testing.assert_array_equal(chunk.value[:-1], saw(counter, counter[..., ROW]))


def test_the_bootstrap_of_a_chunk_is_the_first_value_of_the_next(played: Played) -> None:
    for slot, team in played.streams:
        chunks = played.stream(slot, team)
        for one, following in pairwise(chunks):
            np.testing.assert_array_equal(one.value[-1], following.value[0])
        counter = played.game.observations[-1]["counter"][slot, team]
        np.testing.assert_array_equal(chunks[-1].value[-1], saw(counter, counter[..., ROW]))


def test_the_saved_state_is_the_one_before_the_first_row_of_each_window(played: Played) -> None:
    seen = 0
    for stream in played.streams:
        for chunk in played.stream(*stream):
            assert chunk.lstm_state.shape[0] * BPTT == chunk.rows
            for window, state in enumerate(chunk.lstm_state):
                counter = chunk.observation["counter"][window * BPTT]
                if not chunk.first[window * BPTT]:
                    np.testing.assert_array_equal(state[:, 0, 0], counter[:, ROW])
                    np.testing.assert_array_equal(state[:, 1, 0], counter[:, GAME])
                    seen += 1
    assert seen > 20


def test_the_live_state_is_rounded_to_its_wire_dtype_at_window_borders_only(played: Played) -> None:
    half = [state.astype(np.float16).astype(np.float32) for state in played.policy.states]
    exact = [np.array_equal(a, b) for a, b in zip(half, played.policy.states, strict=True)]
    borders = exact[: 11 * BPTT : BPTT]
    between = [ok for t, ok in enumerate(exact[: 11 * BPTT]) if t % BPTT]
    assert all(borders)
    assert not all(between)
    saved = np.concatenate([c.lstm_state for c in played.stream(0, 0)])
    np.testing.assert_array_equal(saved, np.stack([s[0] for s in played.policy.states[: 11 * BPTT : BPTT]]))


def test_the_policy_acts_on_wire_dtypes(played: Played) -> None:
    for dtypes in played.policy.dtypes:
        assert {n: str(d).removeprefix("torch.") for n, d in dtypes.items()} == {
            name: spec.dtype for name, spec in played.spec.observation.items()
        }


def test_slots_are_staggered_over_the_windows_of_a_chunk(played: Played) -> None:
    for slot, team in played.streams:
        lengths = [chunk.rows for chunk in played.stream(slot, team)]
        assert lengths[0] == CHUNK - BPTT * (slot % 3)
        assert all(rows == CHUNK for rows in lengths[1:-1])
        assert sum(lengths) == 11 * BPTT
    busiest = max(np.bincount(played.closed_at)[2:11])
    assert busiest <= -(-played.game.n_games // 3) * played.spec.teams


def test_the_window_that_played_a_row_is_named_by_its_version(played: Played) -> None:
    for stream in played.streams:
        np.testing.assert_array_equal(joined(played.stream(*stream), "version"), 100 + np.arange(11))


def test_sequence_numbers_and_cumulative_steps_have_no_gaps(played: Played) -> None:
    assert [c.sequence for c in played.chunks] == list(range(1, len(played.chunks) + 1))
    assert [c.cumulative_steps for c in played.chunks] == np.cumsum([c.steps for c in played.chunks]).tolist()
    rows = 11 * BPTT * len(played.streams)
    assert played.chunks[-1].cumulative_steps == rows * played.spec.agents


def test_every_chunk_travels(played: Played) -> None:
    for chunk in played.chunks:
        back = decode_chunk(encode_chunk(chunk, played.spec, compress=False), played.spec, run=RUN)
        np.testing.assert_array_equal(back.reward, chunk.reward)
        assert (back.worker, back.incarnation, back.slot, back.team) == (7, 9, chunk.slot, chunk.team)
        assert (back.opponent_version == MIRROR).all()


def test_finished_episodes_are_those_of_the_log(played: Played) -> None:
    """Per slot: sum of rewards per team (mean over those there), rows, outcome, components, who played the last row."""
    episodes = played.play.episodes.drain()
    expected = []
    totals, lengths = np.zeros((played.game.n_games, played.spec.teams)), np.zeros(played.game.n_games, int)
    rows_of = {stream: logged(played, *stream) for stream in played.streams}
    for t, transition in enumerate(played.game.transitions):
        row = played.game.observations[t]["counter"][:, 0, 0, ROW]
        on_last_row = np.array([t > 0 and row[k] > 0 and played.game.transitions[t - 1].ended[k] for k in range(5)])
        lengths += ~on_last_row
        for (slot, team), rows_there in rows_of.items():
            there = rows_there[t]["valid"]
            totals[slot, team] += transition.reward[slot, team][there].sum() / max(there.sum(), 1)
        for k in np.flatnonzero(transition.ended & ~on_last_row):
            outcome = [None if np.isnan(x) else float(x) for x in transition.outcome[k]]
            rows = [float(lengths[k])] * played.spec.teams
            expected.append((totals[k].tolist(), int(lengths[k]), outcome, 100 + t // BPTT, {"rows": rows}))
            totals[k], lengths[k] = 0, 0
    found = [(e["return"], e["length"], e["outcome"], e["version"], e["components"]) for e in episodes]
    assert len(found) > 5
    assert found == expected
    assert played.play.episodes.drain() == []


def returns_of(chunk: TrajectoryChunk, *, gae_lambda: float) -> Array:
    """What the value of every row is trained towards, [T, A], without discount."""
    names = ("reward", "value", "terminated", "truncated", "valid")
    tensors = {name: torch.from_numpy(getattr(chunk, name)[:, None]) for name in names}
    advantage: Array = gae(**tensors, discount=1.0, gae_lambda=gae_lambda)[:, 0].numpy()
    return advantage + chunk.value[:-1]


def slow_returns(log: list[dict[str, Any]], counter: Array, *, gae_lambda: float) -> Array:
    """The same from the game's log alone, row by row from behind; `saw` says what every next row's value must be."""
    step = int(saw(np.array([0, 0, 1, 0]), np.array(1)))  # an agent's next row: row and rows since the reset go up by 1
    following = saw(counter, counter[..., ROW]) + step
    returns = np.zeros(following.shape)
    for t in reversed(range(len(log))):
        for a in np.flatnonzero(log[t]["valid"]):
            ends = log[t]["terminated"][a] or log[t]["truncated"][a] or t + 1 == len(log) or gae_lambda == 0
            behind = following[t, a] if ends else returns[t + 1, a]
            returns[t, a] = log[t]["reward"][a] + (0 if log[t]["terminated"][a] else behind)
    return returns


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 2**31),
    teams=st.integers(1, 2),
    agents=st.integers(1, 2),
    rows=st.integers(1, 9),
    ends=st.sampled_from(["terminated", "truncated", "alternate"]),
    turns=st.booleans(),
)
def test_every_row_that_counts_is_there_once_and_bootstraps_from_its_own_next_value(
    seed: int, teams: int, agents: int, rows: int, ends: str, turns: bool
) -> None:
    """Agents come, go, are cut off alone and return as chance has it; values say which row they are of."""
    played = play_counting(
        windows=7, slots=2, seed=seed, teams=teams, agents_per_team=agents, episode_steps=rows, extra_steps=4,
        ends=ends, turns=turns, visits=True,
    )  # fmt: skip
    for slot, team in played.streams:
        log, found, there = logged(played, slot, team), [], []
        for row, before in zip(log, played.game.observations, strict=False):
            seen = before["counter"][slot, team][row["valid"]]
            there += [tuple(place) for place in seen[:, [GAME, ROW, AGENT]].tolist()]
        for chunk in played.stream(slot, team):
            counter, valid = chunk.observation["counter"], chunk.valid
            mine, log = log[: chunk.rows], log[chunk.rows :]
            for gae_lambda in (0.0, 1.0):
                expected = slow_returns(mine, counter, gae_lambda=gae_lambda)
                np.testing.assert_array_equal(returns_of(chunk, gae_lambda=gae_lambda)[valid], expected[valid])
            found += [tuple(place) for place in counter[valid][:, [GAME, ROW, AGENT]].tolist()]
        assert found == there
        assert len(found) == len(set(found))
