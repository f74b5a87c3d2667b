"""Heads that are not read, labels and what bootstraps them, over a game that has all of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from quintet.games.api import Actions, Array, Observation, Transition
from quintet.model.config import PolicyConfig
from quintet.model.policy import Acted, Policy
from quintet.model.weights import encode_weights
from quintet.optimizer.batch import Batch, judge_freshness
from quintet.optimizer.config import OptimizerConfig, PPOConfig
from quintet.optimizer.learner import Learner
from quintet.optimizer.recurrence_check import RecurrenceCheck
from quintet.wire.chunk import NO_ACTION, ChunkSpec, TrajectoryChunk
from quintet.wire.link import Precision
from tests.conftest import PRECISIONS
from tests.envs.full_spec_game import Outpost, outpost_spec
from tests.support.in_process_run import CPU, batch_of, play_chunks
from tests.support.policy_factory import with_values

SPEC = outpost_spec()
SMALL = {precision: PolicyConfig(lstm_units=8, precision=precision) for precision in PRECISIONS}


class LoggedOutpost(Outpost):
    """Remembers what it was given and what it showed."""

    def __init__(self, n_games: int) -> None:
        self.actions: list[Actions] = []
        self.seen: list[Observation] = []
        super().__init__(n_games)

    def reset(self, seed: int) -> Observation:
        self.actions, self.seen = [], [super().reset(seed)]
        return self.seen[0]

    def step(self, actions: Actions) -> Transition:
        self.actions.append({name: array.copy() for name, array in actions.items()})
        transition = super().step(actions)
        self.seen.append(transition.observation)
        return transition


class LoggedPolicy(Policy):
    """Remembers what it was shown and what it answered."""

    def __init__(self, precision: Precision) -> None:
        super().__init__(SPEC, SMALL[precision])
        with_values(self.use_device(CPU))
        self.acts: list[Acted] = []
        self.shown: list[set[str]] = []

    def act(self, observation: Any, *arguments: Any, **options: Any) -> Acted:
        self.shown.append(set(observation))
        self.acts.append(super().act(observation, *arguments, **options))
        return self.acts[-1]


@dataclass
class Played:
    game: LoggedOutpost
    policy: LoggedPolicy
    spec: ChunkSpec
    chunks: list[TrajectoryChunk]
    batch: Batch = field(init=False)

    def __post_init__(self) -> None:
        self.batch = batch_of(self.spec, self.chunks)


@pytest.fixture(scope="module", params=PRECISIONS)
def played(request: pytest.FixtureRequest) -> Played:
    torch.manual_seed(0)
    game, policy = LoggedOutpost(4), LoggedPolicy(request.param)
    spec, chunks = play_chunks(game, policy, version=5)
    return Played(game, policy, spec, chunks)


def test_heads_that_the_primary_action_does_not_read_hold_no_action_and_log_probability_zero(played: Played) -> None:
    counts = dict.fromkeys(("read", "unread"), 0)
    for chunk in played.chunks:
        act = chunk.action["act"][1:]
        for head in ("target", "dx", "word", "push"):
            read = np.isin(act, [k for k, heads in enumerate(SPEC.reads) if head in heads])
            taken, log_prob = chunk.action[head][1:], chunk.log_prob[head]
            counts["read"] += int(read.sum())
            counts["unread"] += int((~read).sum())
            assert not log_prob[~read].any()
            assert log_prob[read].any() or not read.any()
            if head == "push":
                assert not taken[~read].any()
            else:
                assert (taken[read] >= 0).all()
                assert (taken[~read] == NO_ACTION).all()
    assert min(counts.values()) > 50


def test_the_game_gets_a_number_in_range_for_every_head(played: Played) -> None:
    for actions in played.game.actions:
        for head, space in SPEC.action_space.spaces.items():
            assert all(space.contains(x) for x in actions[head].reshape(-1, *(space.shape or ()))), head


def test_labels_travel_but_the_policy_is_not_shown_them(played: Played) -> None:
    assert set().union(*played.policy.shown) == set(played.spec.observation) - {"won", "strongest"}
    won = np.concatenate([c.observation["won"] for c in played.chunks if (c.slot, c.team) == (1, 0)])
    np.testing.assert_array_equal(won, np.stack([seen["won"][1, 0] for seen in played.game.seen[:-1]]))
    assert (won >= 0).any()


def test_what_bootstraps_a_label_is_the_label_of_the_row_after_the_chunk_or_its_prediction(played: Played) -> None:
    ends = dict.fromkeys((True, False), 0)
    row = {(slot, team): 0 for slot in range(4) for team in range(2)}
    for chunk in played.chunks:
        stream = (chunk.slot, chunk.team)
        row[stream] += chunk.rows
        seen, acted = played.game.seen[row[stream]], played.policy.acts[row[stream]]
        for name, label in (("win", "won"), ("strongest", "strongest")):
            known = seen[label][stream]
            predicted = acted.auxiliary[name].numpy()[2 * chunk.slot + chunk.team]
            expected = np.where(known[:, :1] >= 0, known, predicted)
            np.testing.assert_array_equal(chunk.auxiliary[name], expected)
            ends[bool((known >= 0).all())] += 1
    assert min(ends.values()) > 0


def make_learner(played: Played, **ppo: Any) -> Learner:
    torch.manual_seed(0)
    policy = Policy(SPEC, played.policy.config).use_device(CPU)
    return Learner(policy, spec=SPEC, ppo=PPOConfig(**ppo), config=OptimizerConfig(), bptt_steps=4, seed=0)


def test_a_replay_of_all_heads_finds_what_was_played(played: Played) -> None:
    weights = encode_weights(played.policy, version=5, agent_steps=0, spec_hash="")
    check = RecurrenceCheck(SPEC, played.policy.config, CPU, bptt_steps=4)
    check.keep(weights)
    errors = check(played.batch, judge_freshness(played.batch, 6, 8))
    assert max(errors["recurrent/replay_error"], errors["recurrent/replay_value_error"]) <= 1e-5
    for head in ("target", "dx", "word"):
        log_prob = played.batch.log_prob[head]
        kept = log_prob.clone()
        log_prob[log_prob != 0] -= 0.1
        assert check(played.batch, judge_freshness(played.batch, 6, 8))["recurrent/replay_error"] > 0.05
        log_prob.copy_(kept)


@pytest.mark.parametrize("ratio", ["joint", "per_head"])
def test_an_update_reports_every_head_and_every_prediction(played: Played, ratio: str) -> None:
    learner = make_learner(played, ratio=ratio, dual_clip=3.0)
    learner.warm_up(played.batch)
    update = learner.update(played.batch, version=6, agent_steps=0)
    wanted = {f"heads/{head}/{what}" for head in SPEC.action_space for what in ("entropy", "kl", "clipfrac")}
    wanted |= {f"auxiliary/{name}/{what}" for name in SPEC.auxiliary for what in ("loss", "error")}
    assert wanted | {"losses/clipfrac_joint", "losses/clipfrac_per_head"} <= update.stats.keys()
    assert update.stats["losses/clipfrac"] == update.stats[f"losses/clipfrac_{ratio}"]
    assert all(np.isfinite(x) for x in update.stats.values())


@pytest.mark.slow
def test_predictions_learn_and_the_coefficient_turns_them_off(played: Played) -> None:
    learner = make_learner(played, auxiliary_coefficient=1.0, epochs=1)
    learner.warm_up(played.batch)
    losses = [
        learner.update(played.batch, version=6, agent_steps=0).stats["auxiliary/strongest/loss"] for _ in range(30)
    ]
    assert losses[-1] < losses[0]
    off = make_learner(played, auxiliary_coefficient=0.0)
    before = {name: x.clone() for name, x in off.policy.auxiliary.state_dict().items()}
    assert not any(name.startswith("auxiliary/") for name in off.update(played.batch, version=6, agent_steps=0).stats)
    assert all(torch.equal(before[name], x) for name, x in off.policy.auxiliary.state_dict().items())


def test_a_label_that_the_whole_team_shares_is_every_agents_target(played: Played) -> None:
    learner, batch = (
        make_learner(
            played,
        ),
        played.batch,
    )
    targets = learner._label_targets(batch)
    assert targets["win"].shape == (*batch.valid.shape, 1)
    known = (batch.observation["strongest"] >= 0) & torch.from_numpy(real_rows(batch))[..., None, None]
    torch.testing.assert_close(targets["strongest"][known], batch.observation["strongest"][known])
    assert (targets["win"].numpy()[~real_rows(batch)] == -1).all()
    assert (targets["win"].numpy()[real_rows(batch)] >= 0).all(), "every row of these games has a target"


def real_rows(batch: Batch) -> Array:
    """[T, B] bool: rows that do not pad a shorter chunk."""
    rows: Array = np.arange(batch.valid.shape[0])[:, None] < 4 * batch.windows[None]
    return rows
