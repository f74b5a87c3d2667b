"""What `quintet explain` computes, each against a slow or an independent twin, at tiny sizes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from quintet.control.config import parse_config
from quintet.explain.gradients import PlainRnn, explain_gradients, last_rows, norms_back, with_core
from quintet.explain.labels import agents_row
from quintet.explain.loss import explain_loss
from quintet.explain.lstm import (
    AFTER,
    BEFORE,
    SteppedLstm,
    departures,
    explain_lstm,
    half_lives,
    look_inside,
    read_out,
    ridge,
)
from quintet.explain.observation import explain_observation, pooled_sets
from quintet.explain.plots.figure import svg
from quintet.explain.subject import Record, Subject, fresh_subject, part_of, play_record
from quintet.explain.topics import TOPICS, explanation
from quintet.model.entity_sets import EntitySetEncoder
from quintet.optimizer.learner import Learner
from quintet.rollout_workers.self_play import SelfPlay
from quintet.wire.chunk import TrajectoryChunk
from quintet.wire.link import Precision
from tests.conftest import PRECISIONS
from tests.support.figure_words import overlaps, words_of
from tests.support.short_games import play_little

CARTPOLE = """
game = "gymnasium:CartPole-v1"
[game_options]
wrappers = [{ name = "quintet.games.adapters.wrappers:mask_observation", hide = [1, 3] }]
[model]
lstm_units = 8
[rollout]
bptt_steps = 4
chunk_steps = 8
[ppo]
epochs = 2
minibatches = 1
[optimizer]
normalizer_warmup_steps = 0
"""
OUTPOST = """
game = "tests.envs.full_spec_game:make_outpost"
[model]
lstm_units = 8
[rollout]
bptt_steps = 4
chunk_steps = 8
"""


@cache
def subject(config: str = CARTPOLE, precision: Precision = "float32") -> Subject:
    found = fresh_subject(parse_config(config, overrides=[f"model.precision={precision}"]))
    with torch.no_grad():
        for parameter in found.policy.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    return found


@cache
def record(config: str = CARTPOLE, precision: Precision = "float32") -> Record:
    return play_record(subject(config, precision), games=4, rows=12, seed=1)


@pytest.mark.parametrize("config", [CARTPOLE, OUTPOST], ids=["cartpole", "outpost"])
def test_replaying_a_record_gives_the_very_values_and_log_probabilities_of_its_play(
    config: str, precision: Precision
) -> None:
    who, batch = subject(config, precision), record(config, precision).batch
    # At window borders the worker rounds the state, so a window is replayed from the one before it.
    first = part_of(batch, slice(0, 4), range(batch.first.shape[1]), batch.lstm_state[0].float())
    previous = {name: action[:-1] for name, action in first.action.items()}
    with torch.no_grad():
        unrolled = who.policy.unroll(first.observation, first.first, previous, first.lstm_state[0].float())
        value = who.policy.returns.denormalize(unrolled.value)
        taken = {name: action[1:] for name, action in first.action.items()}
        log_prob = who.policy.evaluate(unrolled, first.observation, taken).log_prob
    acts = first.acting & first.valid
    assert torch.allclose(value, first.value[:-1], atol=1e-5)
    for head, x in log_prob.items():
        assert torch.allclose((x * acts), first.log_prob[head], atol=1e-5)


def test_what_a_wrapper_hides_is_written_down_and_not_shown() -> None:
    found = record()
    assert set(found.hidden) == {"velocity", "pole's angular velocity"}
    seen = found.batch.observation["observation"][:, :, 0]
    assert seen.shape[-1] == 2
    # Euler's rule: the next position is this one plus 0.02 s of this velocity.
    goes_on = ~found.batch.first[1:] & found.batch.valid[:-1, :, 0]
    moved = (seen[1:, :, 0] - seen[:-1, :, 0])[goes_on]
    assert torch.allclose(moved, 0.02 * torch.from_numpy(found.hidden["velocity"][:-1])[goes_on], atol=1e-5)


def test_the_trace_is_what_the_policys_own_lstm_does(precision: Precision) -> None:
    played = record(precision=precision)
    who, batch = subject(precision=precision), played.batch
    trace, given = look_inside(who, played)
    assert given.dtype == torch.float32
    previous = {name: action[:-1] for name, action in batch.action.items()}
    with torch.no_grad():
        unrolled = who.policy.unroll(batch.observation, batch.first, previous, batch.lstm_state[0].float())
    assert torch.allclose(trace["hidden"], unrolled.hidden[:, :, 0], atol=1e-6)
    assert torch.allclose(trace["output"] * trace["cell"].tanh(), trace["hidden"], atol=1e-6)
    keep = torch.logical_not(batch.first[1:]).float().unsqueeze(-1)
    by_hand = trace["forget"][1:] * trace["cell"][:-1] * keep + trace["input"][1:] * trace["candidate"][1:]
    assert torch.allclose(by_hand, trace["cell"][1:], atol=1e-5)


def test_a_constant_forget_gate_has_the_half_life_of_the_formula() -> None:
    forget = np.broadcast_to(np.array([0.5, 0.5**0.1, 0.25]), (7, 2, 3))
    assert half_lives(forget) == pytest.approx([1, 10, 0.5])


def test_only_departures_after_sight_and_for_long_count() -> None:
    rows = 2 * (BEFORE + AFTER)
    away = np.ones((rows, 7), np.bool_)
    leaves = BEFORE + 3
    away[:leaves] = False
    away[leaves + 5, 6] = False  # comes back too soon
    first = np.zeros_like(away)
    first[leaves - 1, 5] = True  # the game began a moment ago
    cell = np.where(away, 1.0, 0.0)[..., None] * np.array([0.0, 2.0, 1.0, 0.5])
    found = departures(away, first, cell, k=2)
    assert found is not None
    assert found.count == 5
    assert 0 not in found.units
    assert (found.mean[:BEFORE] == 0).all()
    assert (found.mean[BEFORE:] > 0).all()
    assert departures(away[:, :4], first[:, :4], cell[:, :4]) is None, "four are too few"


def test_a_read_out_finds_what_is_there_and_nothing_where_nothing_is() -> None:
    rng = np.random.default_rng(0)
    memory, noise = rng.standard_normal((200, 8, 5)), rng.standard_normal((200, 8, 5))
    truth = memory[..., 0] - 2 * memory[..., 3] + 1
    truth[0] = np.nan
    found = read_out("x", truth, np.ones(truth.shape, np.bool_), memory, noise)
    assert found is not None
    assert found.from_memory > 0.98
    assert abs(found.from_row) < 0.05
    assert np.isnan(found.truth[0])
    assert read_out("x", np.full((200, 8), 3.0), np.ones((200, 8), np.bool_), memory, noise) is None


def test_ridge_is_least_squares_where_there_is_plenty() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((5000, 3))
    y = x @ np.array([1.0, -2.0, 0.5]) + 3
    assert ridge(x, y)(np.array([[1.0, 1.0, 1.0]]))[0] == pytest.approx(2.5, abs=0.3)


def test_the_stepped_lstm_is_the_lstm(precision: Precision) -> None:
    lstm = subject(precision=precision).policy.lstm
    x, first = (
        torch.randn(5, 3, lstm.inputs).to(lstm.gates.compute_dtype),
        torch.tensor([[1, 0, 0]] + [[0, 0, 0]] * 2 + [[0, 1, 0]] * 2) > 0,
    )
    state = torch.randn(3, 2, 8)
    for a, b in zip(SteppedLstm(lstm)(x, first, state), lstm(x, first, state), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rnn", "hidden", "cell"])
def test_gradient_norms_are_those_of_finite_differences(kind: str) -> None:
    """The state of one row is moved by a little, in each direction; everything after it is run again."""
    who = subject()
    windows, _ = last_rows(who, record(), 4)
    windows = windows.pick(torch.tensor([0]))
    torch.set_num_threads(1)
    torch.manual_seed(0)
    core: PlainRnn | SteppedLstm
    core = PlainRnn(who.policy.layer.out_features, 8) if kind == "rnn" else SteppedLstm(who.policy.lstm)
    state = "hidden" if kind == "rnn" else kind
    norms = norms_back(who, core, windows)[state]
    rows = len(norms)
    rest = [
        (core.states["hidden"][t].detach(), core.states.get("cell", core.states["hidden"])[t].detach())
        for t in range(rows)
    ]
    moved = _From(core, rest, state)
    learner = Learner(
        with_core(who.policy, moved), spec=who.spec, ppo=who.config.ppo,
        config=who.config.optimizer, bptt_steps=rows, seed=0,
    )  # fmt: skip
    found = []
    for t in range(rows):
        slopes = []
        for unit in range(8):
            losses = []
            for step in (1e-2, -1e-2):
                moved.at, moved.unit, moved.step = t, unit, step
                with torch.no_grad():
                    losses.append(float(learner.loss(windows, 0.0).total))
            slopes.append((losses[0] - losses[1]) / 2e-2)
        found.append(float(np.linalg.norm(slopes)))
    backwards = np.array(found[::-1])
    assert norms == pytest.approx(backwards / backwards[0], rel=0.05, abs=0.005)


class _From(torch.nn.Module):
    """A core whose state after row `at` is moved by `step` in one unit."""

    def __init__(self, core: torch.nn.Module, states: list[tuple[torch.Tensor, torch.Tensor]], kind: str) -> None:
        super().__init__()
        self.core, self.known, self.kind = core, states, kind
        self.at, self.unit, self.step = 0, 0, 0.0

    def forward(self, x: torch.Tensor, first: torch.Tensor, state: object) -> object:
        hidden, cell = (tensor.clone() for tensor in self.known[self.at])
        is_lstm = isinstance(self.core, SteppedLstm)
        if self.kind == "cell":
            # The output of that row follows from its cell: o = h / tanh(c).
            o = hidden / cell.tanh()
            cell[..., self.unit] += self.step
            hidden = o * cell.tanh()
        else:
            hidden[..., self.unit] += self.step
        before = [known[0] for known in self.known[: self.at]]
        after: list[torch.Tensor] = []
        if self.at + 1 < len(x):
            made, last = self.core(x[self.at + 1 :], first[self.at + 1 :], torch.stack((hidden, cell), dim=1))
            after = list(made)
        else:
            last = torch.stack((hidden, cell), dim=1)
        assert is_lstm or self.kind == "hidden"
        return torch.stack([*before, hidden, *after]), last


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rnn", "hidden", "cell"])
def test_gradient_norms_in_bfloat16_are_those_in_float32_to_its_rounding(kind: str) -> None:
    """Finite differences are no judge there: a state that is moved by a little is rounded back."""
    found = []
    for precision in PRECISIONS:
        who = subject(precision=precision)
        torch.manual_seed(0)
        core = PlainRnn(who.policy.layer.out_features, 8) if kind == "rnn" else SteppedLstm(who.policy.lstm)
        found.append(norms_back(who, core, last_rows(who, record(), 4)[0])["hidden" if kind == "rnn" else kind])
    assert found[1] == pytest.approx(found[0], rel=0.05, abs=0.01)


def test_the_gradient_report_compares_lstm_and_plain_rnns_on_the_same_rows(precision: Precision) -> None:
    report = explain_gradients(subject(precision=precision), games=4, rows=12, span=4)
    assert [curve.name.split()[0] for curve in report.curves] == ["LSTM,", "LSTM,", "plain", "plain", "plain"]
    for curve in report.curves:
        assert curve.norms[0] == 1.0
        assert len(curve.norms) == 4
    assert report.recurrent_radius["plain RNN before training"] == pytest.approx(1.0, abs=1e-4)
    assert report.imitation > 0, "the plain RNN has learned something of the LSTM"


def test_the_rows_of_the_loss_add_up_to_what_the_optimizer_minimises(precision: Precision) -> None:
    report = explain_loss(subject(precision=precision), games=4, skip_rows=4)
    assert len(report.rows) == 8
    assert report.summed == pytest.approx(report.total, abs=1e-5)
    assert report.gradient_steps == 2
    assert any(abs(row.ratio - 1) > 1e-6 for row in report.rows), "the policy has moved"


@pytest.mark.parametrize("ratio", ["joint", "per_head"])
def test_rows_add_up_with_a_primary_head_and_others_that_it_reads(ratio: str) -> None:
    report = explain_loss(
        subject(OUTPOST + f'[ppo]\nepochs = 2\nminibatches = 1\nratio = "{ratio}"'), games=4, skip_rows=4
    )
    assert report.summed == pytest.approx(report.total, abs=1e-5)
    assert any(abs(row.gain) > 1e-6 for row in report.rows)


def test_every_number_of_a_loss_row_follows_from_those_before_it() -> None:
    report = explain_loss(subject(), games=4, skip_rows=4)
    values = [row.value for row in report.rows] + [report.bootstrap]
    advantage = 0.0
    for t in reversed(range(len(report.rows))):
        row = report.rows[t]
        if not row.counts:
            advantage = 0.0
            continue
        delta = row.reward + report.discount * (not row.ended) * values[t + 1] - row.value
        advantage = delta + report.discount * report.gae_lambda * (not row.ended) * advantage
        assert row.delta == pytest.approx(delta, abs=1e-5)
        assert row.advantage == pytest.approx(advantage, abs=1e-5)
        assert row.target == pytest.approx(row.advantage + row.value, abs=1e-5)
        scaled = (row.advantage - report.advantage_mean) / report.advantage_std
        assert row.normalized == pytest.approx(scaled, abs=1e-4)
        ratio = np.exp(row.log_prob_new - row.log_prob_old)
        assert row.ratio == pytest.approx(ratio, rel=1e-5)
        clipped = np.clip(ratio, 1 - report.clip, 1 + report.clip)
        assert row.gain == pytest.approx(min(ratio * scaled, clipped * scaled), abs=1e-4)
        error = 0.5 * ((row.value_new - row.target) / report.return_scale) ** 2
        assert row.value_error == pytest.approx(error, abs=1e-4)


def test_explaining_the_loss_leaves_the_policy_as_it_was() -> None:
    who = subject()
    before = {name: tensor.clone() for name, tensor in who.policy.state_dict().items()}
    explain_loss(who, games=4, skip_rows=0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in who.policy.state_dict().items())


def test_max_pool_winners_are_those_of_brute_force(precision: Precision) -> None:
    who, batch = subject(OUTPOST, precision), record(OUTPOST, precision).batch
    row, team = 5, 1
    one = {name: x[row : row + 1, team : team + 1] for name, x in batch.observation.items()}
    found = pooled_sets(who, one, agents_row(who, batch.observation, row, team, 0))
    names = [name for name, encoder in who.policy.encoders.items() if isinstance(encoder, EntitySetEncoder)]
    assert [pooled.name for pooled in found] == names
    with torch.no_grad():
        _, keys = who.policy.encoders(one, (1, 1, who.spec.agents_per_team))
    for pooled in found:
        embedding = keys[pooled.name].embedding[0, 0].tolist()
        wins = dict.fromkeys(range(len(embedding)), 0)
        silent = 0
        for feature in zip(*embedding, strict=True):
            best = max(feature)
            if best > 0:
                wins[feature.index(best)] += 1
            silent += best <= 0
        assert {w.slot: w.features for w in pooled.winners if w.features} == {k: n for k, n in wins.items() if n}
        assert pooled.silent == silent
        assert sum(w.features for w in pooled.winners) + silent == pooled.width


def test_a_slot_that_is_not_there_never_wins() -> None:
    who, batch = subject(OUTPOST), record(OUTPOST).batch
    for row in range(8):
        one = {name: x[row : row + 1, :1] for name, x in batch.observation.items()}
        seen = agents_row(who, batch.observation, row, 0, 0)
        for pooled in pooled_sets(who, one, seen):
            there = set(torch.nonzero(seen[f"{pooled.name}_mask"]).flatten().tolist())
            assert {winner.slot for winner in pooled.winners} == there


def test_probabilities_of_the_observations_report_are_those_of_the_play(precision: Precision) -> None:
    report = explain_observation(subject(OUTPOST, precision), games=2, rows=12)
    for choices in report.choices:
        assert sum(p for _, p, _ in choices.options) == pytest.approx(1, abs=0.01)
        assert all(a[1] >= b[1] for a, b in zip(choices.options, choices.options[1:], strict=False))
    assert any(choices.given for choices in report.choices), "a pointer is asked given an action"


def test_a_record_is_played_by_the_workers_own_self_play(monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[int] = []
    real = SelfPlay.play_window

    def noted(self: SelfPlay, version: int) -> list[TrajectoryChunk]:
        played.append(version)
        return real(self, version)

    monkeypatch.setattr(SelfPlay, "play_window", noted)
    found = play_record(replace(subject()), games=2, rows=8, skip_rows=4)
    assert len(played) == 3
    assert found.batch.first.shape == (8, 2)
    assert found.batch.value.shape[0] == 9


@pytest.mark.slow
@pytest.mark.parametrize("topic", list(TOPICS))
@pytest.mark.parametrize("config", [CARTPOLE, OUTPOST], ids=["cartpole", "outpost"])
def test_every_topic_has_a_picture_and_two_paragraphs_for_every_kind_of_game(
    topic: str, config: str, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_little(monkeypatch)
    found = explanation(topic, subject(config, precision))
    assert svg(found.figure).startswith("<svg")
    assert len(found.paragraphs) == 2
    assert all(len(paragraph) > 60 for paragraph in found.paragraphs)
    assert "nan" not in " ".join(found.paragraphs)
    words = words_of(found.figure)
    assert len(words) > 10
    assert overlaps(words) == []
    for text, place in words:
        assert 0 <= place.x0 <= place.x1 <= found.figure.bbox.x1, text
        assert 0 <= place.y0 <= place.y1 <= found.figure.bbox.y1, text


def test_the_lstm_report_shows_a_game_on_which_no_read_out_was_fitted(precision: Precision) -> None:
    report = explain_lstm(subject(precision=precision), games=8, rows=48)
    assert report.hidden.shape == (48, 8)
    assert sorted(report.order) == list(range(8))
    assert {found.name for found in report.read_outs} <= {"velocity", "pole's angular velocity"}
    assert report.read_outs
