"""What the Arena shows of a policy is what it does in an evaluation, in numbers that add up."""

from __future__ import annotations

from base64 import b64decode

import numpy as np
import pytest
import torch

from quintet.dashboard.arena.policy_view import PolicyTrace, PolicyView, packed
from quintet.evaluation.players import PolicyPlayer
from quintet.games.api import ACTING, Actions, Array, Observation
from quintet.games.contract import random_actions
from quintet.wire.chunk import chunk_spec
from quintet.wire.link import Precision
from tests.envs.full_spec_game import Outpost, outpost_spec
from tests.support.policy_factory import make_policy

SPEC = outpost_spec()
WIRE = chunk_spec(SPEC, lstm_units=8, bptt_steps=16, chunk_steps=16)


def rows(observation: Observation) -> Observation:
    """One game's observation, per entry [teams, ...]."""
    return {name: array[0] for name, array in observation.items()}


def a_view(precision: Precision = "float32") -> PolicyView:
    return PolicyView(make_policy(SPEC, lstm_units=8, seed=3, precision=precision), WIRE, 2, seed=5, greedy=False)


def act(
    view: PolicyView, observation: Observation, first: Array, last: Array, taken: Actions | None = None
) -> tuple[Actions, list[list[PolicyTrace]]]:
    """What it does at a row, and its traces."""
    return view.act(observation, first, last, taken), view.traces


def test_it_acts_exactly_as_in_an_evaluation_with_the_same_seed(precision: Precision) -> None:
    policy = make_policy(SPEC, lstm_units=8, seed=3, precision=precision)
    view, player = a_view(precision), PolicyPlayer(policy, WIRE, 2, seed=5, greedy=False)
    game = Outpost(1)
    observation, first, last = game.reset(1), np.ones(2, bool), np.zeros(2, bool)
    for _ in range(40):
        expected = player.act(rows(observation), first, last)
        found, _ = act(view, rows(observation), first, last)
        assert {name: array.tolist() for name, array in found.items()} == {
            name: array.tolist() for name, array in expected.items()
        }
        transition = game.step({name: np.maximum(array, 0)[None] for name, array in found.items()})
        first, last = last, np.repeat(transition.ended, 2) & ~last
        observation = transition.observation
    assert torch.equal(view.actor.state, player.actor.state)


def act_once(
    precision: Precision = "float32",
) -> tuple[dict[str, Array], list[list[PolicyTrace]], Observation]:
    observation = Outpost(1).reset(1)
    actions, traces = act(a_view(precision), rows(observation), np.ones(2, bool), np.zeros(2, bool))
    return actions, traces, rows(observation)


def test_every_discrete_heads_probabilities_add_up_and_illegal_choices_have_none(precision: Precision) -> None:
    _, traces, observation = act_once(precision)
    for team, agent in np.ndindex(2, 2):
        heads = traces[team][agent].heads
        assert set(heads) == set(SPEC.action_space)
        for head in heads.values():
            if head.probs is not None:
                assert sum(head.probs) == pytest.approx(1000, abs=len(head.probs))
        primary = heads["act"].probs
        assert primary is not None
        assert all(
            p == 0 for p, legal in zip(primary, observation["action_mask/act"][team, agent], strict=True) if not legal
        )


def test_a_head_that_the_action_does_not_read_says_what_the_likeliest_reader_would_do() -> None:
    actions, traces, _ = act_once()
    readers = {"target": (Outpost.HIT, Outpost.HEAL), "dx": (Outpost.WALK,), "word": (Outpost.SHOUT,)}
    seen = set()
    for team, agent in np.ndindex(2, 2):
        taken, heads = int(actions["act"][team, agent]), traces[team][agent].heads
        primary = heads["act"].probs
        assert primary is not None
        for name, those in readers.items():
            assert heads[name].read == (taken in those)
            seen.add(heads[name].read)
            given = heads[name].given
            assert given == taken if taken in those else primary[given or 0] == max(primary[k] for k in those)
    assert seen == {True, False}


def test_who_does_not_act_has_a_value_and_a_memory_but_nothing_to_choose() -> None:
    observation = rows(Outpost(1).reset(1))
    _, traces = act(a_view(), observation, np.ones(2, bool), np.array([True, False]))
    assert [bool(trace.heads) for trace in traces[0]] == [False, False]
    assert all(bool(trace.heads) == acts for trace, acts in zip(traces[1], observation[ACTING][1], strict=True))
    assert all(len(b64decode(trace.hidden)) == 8 for team in traces for trace in team)


def test_what_was_done_can_be_told_and_then_nothing_is_drawn(precision: Precision) -> None:
    actions, traces, observation = act_once(precision)
    again = a_view(precision)
    told, same = act(again, observation, np.ones(2, bool), np.zeros(2, bool), actions)
    assert same == traces
    assert {name: array.tolist() for name, array in told.items()} == {n: a.tolist() for n, a in actions.items()}
    assert torch.equal(again.actor.generator.get_state(), torch.Generator().manual_seed(5).get_state())


def test_a_state_travels_as_small_integers_and_a_huge_one_evenly_thinned() -> None:
    text = packed(torch.tensor([0.0, 1.0, -1.0, 0.5, 3.0]))
    assert np.frombuffer(b64decode(text), np.int8).tolist() == [0, 127, -127, 64, 127]
    thinned = np.frombuffer(b64decode(packed(torch.arange(4096) / 4096)), np.int8)
    assert len(thinned) == 1024
    assert thinned[512] == pytest.approx(127 / 2, abs=1)


def test_chance_takes_only_what_is_legal_on_every_kind_of_head() -> None:
    observation = rows(Outpost(1).reset(1))
    random = np.random.default_rng(0)
    for _ in range(30):
        actions = random_actions(SPEC, observation, random)
        for name, space in SPEC.action_space.spaces.items():
            assert actions[name].shape[:2] == observation[ACTING].shape
            assert all(space.contains(one) for one in actions[name].reshape(4, *actions[name].shape[2:]))
        mask = np.take_along_axis(observation["action_mask/act"], actions["act"][..., None], axis=-1)
        assert mask.all()
