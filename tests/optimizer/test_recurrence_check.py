"""The replay check finds nothing in honest windows and something in every kind of tampered one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from quintet.model.config import PolicyConfig
from quintet.model.policy import Policy, joint
from quintet.model.weights import encode_weights, load_weights
from quintet.optimizer.batch import Batch, Windows, cut_windows, judge_freshness
from quintet.optimizer.recurrence_check import KEPT_VERSIONS, NAME, RecurrenceCheck, gradient_norm_by_step
from quintet.wire.link import EncodedWeights, Precision
from tests.support.in_process_run import CPU, batch_of, counting_game, play_chunks
from tests.support.policy_factory import with_values

GAME: dict[str, Any] = {
    "teams": 2, "agents_per_team": 2, "units": 3, "kinds": 3, "shared": 2, "masks": True, "box_dims": 2, "turns": True,
    "leaver_row": 3, "ends": "alternate",
}  # fmt: skip


def published(precision: Precision = "float32", *, version: int = 5, seed: int = 0) -> EncodedWeights:
    """Weights that lean on memory: far from their initial values."""
    torch.manual_seed(seed)
    policy = Policy(counting_game(1, **GAME).spec, PolicyConfig(lstm_units=16, precision=precision)).use_device(CPU)
    with_values(policy)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return encode_weights(policy, version=version, agent_steps=0, spec_hash="")


def played(weights: EncodedWeights, precision: Precision = "float32") -> Batch:
    """Windows that a worker played with those very bytes."""
    game = counting_game(6, **GAME)
    policy = Policy(game.spec, PolicyConfig(lstm_units=16, precision=precision)).use_device(CPU)
    load_weights(policy, weights)
    return batch_of(*play_chunks(game, policy, version=weights.version))


def replay(batch: Batch, *kept: EncodedWeights, precision: Precision = "float32") -> dict[str, float]:
    config = PolicyConfig(lstm_units=16, precision=precision)
    check = RecurrenceCheck(counting_game(1, **GAME).spec, config, CPU, bptt_steps=4)
    for weights in kept:
        check.keep(weights)
    return check(batch, judge_freshness(batch, 6, 8))


@pytest.mark.parametrize(("precision", "bound"), [("float32", 1e-5), ("bfloat16", 0.03)])
def test_an_honest_window_replays_to_what_was_played(precision: Precision, bound: float) -> None:
    weights = published(precision)
    errors = replay(played(weights, precision), weights, precision=precision)
    assert max(errors.pop("recurrent/replay_error"), errors.pop("recurrent/replay_value_error")) <= bound
    assert set(errors) <= {"recurrent/gradient_norm_by_step/2", "recurrent/gradient_norm_by_step/4"}


TAMPER: dict[str, Callable[[Batch], object]] = {
    "a state saved one window late": lambda b: b.lstm_state.copy_(b.lstm_state.roll(1, dims=0)),
    "a state that was not sent": lambda b: b.lstm_state.zero_(),
    "hidden and cell swapped": lambda b: b.lstm_state.copy_(b.lstm_state.flip(3)),
    "states of other agents": lambda b: b.lstm_state.copy_(b.lstm_state.flip(2)),
    "resets forgotten": lambda b: b.first.zero_(),
    "resets one row early": lambda b: b.first.copy_(b.first.roll(-1, dims=0)),
    "actions one row late": lambda b: b.action["action"].copy_(b.action["action"].roll(1, dims=0)),
    "observations one row late": lambda b: b.observation["last_action"].copy_(
        b.observation["last_action"].roll(1, dims=0)
    ),
}


@pytest.mark.parametrize("fault", TAMPER)
def test_the_check_sees_every_kind_of_fault(fault: str) -> None:
    weights = published()
    batch = played(weights)
    TAMPER[fault](batch)
    assert replay(batch, weights)["recurrent/replay_error"] > 0.01


def test_a_value_that_is_not_the_networks_is_seen() -> None:
    weights = published()
    batch = played(weights)
    batch.value[2] += 0.1
    errors = replay(batch, weights)
    assert errors["recurrent/replay_value_error"] == pytest.approx(0.1, abs=0.01)
    assert errors["recurrent/replay_error"] <= 1e-5


def test_weights_that_are_not_those_that_played_are_seen() -> None:
    batch = played(published(seed=0))
    assert replay(batch, published(seed=1))["recurrent/replay_error"] > 0.01


def test_a_window_that_was_played_in_the_other_number_format_is_seen(precision: Precision) -> None:
    """The same numbers rounded otherwise: what a worker that takes weights of the other format would play."""
    other: Precision = "bfloat16" if precision == "float32" else "float32"
    batch = played(published(other), other)
    assert replay(batch, published(precision), precision=precision)["recurrent/replay_error"] > 1e-3


def test_the_version_that_played_is_found_among_those_kept() -> None:
    ours = published(version=5)
    others = [published(version=5 + k, seed=k) for k in range(1, KEPT_VERSIONS)]
    assert replay(played(ours), ours, *others)["recurrent/replay_error"] <= 1e-5


def test_where_the_version_is_no_longer_kept_nothing_is_reported() -> None:
    ours = published(version=5)
    others = [published(version=5 + k, seed=k) for k in range(1, KEPT_VERSIONS + 1)]
    assert replay(played(ours), ours, *others) == {}
    assert replay(played(ours)) == {}


ROWS = 8


def played_windows(*, episode_steps: int = 40, zero_state: bool = False, units: int = 16) -> tuple[Policy, Windows]:
    """Windows of a policy that leans on memory, of games that hardly ever end within one."""
    game = counting_game(6, agents_per_team=2, masks=True, episode_steps=episode_steps, extra_steps=0)
    torch.manual_seed(3)
    policy = Policy(game.spec, PolicyConfig(lstm_units=units, zero_state=zero_state)).use_device(CPU)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    batch = batch_of(*play_chunks(game, policy, bptt=ROWS, chunk=ROWS, windows=3))
    return policy, cut_windows(batch, {"valid": batch.valid, "acting": batch.acting & batch.valid}, ROWS)


def norm_of_tail(policy: Policy, windows: Windows, k: int) -> Tensor:
    """[n, A]: norm of the gradient of the last row by the state before the last k rows."""

    def rows(part: slice, state: Tensor) -> tuple[Tensor, Tensor]:
        observation = {name: x[part] for name, x in windows.observation.items()}
        previous = {name: x[part] for name, x in windows.previous_action.items()}
        unrolled = policy.unroll(observation, windows.first[part], previous, state)
        action = {name: x[part] for name, x in windows.action.items()}
        read = joint(policy.evaluate(unrolled, observation, action).log_prob) + unrolled.value
        return read[-1], unrolled.state

    with torch.no_grad():
        state = rows(slice(0, ROWS - k), windows.state)[1] if k < ROWS else windows.state.clone()
    state.requires_grad_()
    read, _ = rows(slice(ROWS - k, ROWS), state)
    (gradient,) = torch.autograd.grad(read.sum(), state)
    norms: Tensor = torch.linalg.vector_norm(gradient.flatten(2), dim=-1)
    return norms


def test_norms_are_those_of_the_last_rows_unrolled_at_once() -> None:
    policy, windows = played_windows()
    inside = windows.pick((~windows.first.any(dim=0)).nonzero().flatten())
    acting = inside.rows["acting"][-1] & inside.rows["valid"].all(dim=0)
    assert 0 < int(acting.sum()) < windows.first.shape[1] * 2, "some windows count and some hold a border"
    mean = {k: float(norm_of_tail(policy, inside, k)[acting].mean()) for k in (1, 2, 4, 8)}
    assert gradient_norm_by_step(policy, windows) == {
        f"{NAME}/{k}": pytest.approx(mean[k] / mean[1], rel=1e-4) for k in (2, 4, 8)
    }


def test_a_network_without_memory_and_windows_with_borders_have_none() -> None:
    assert gradient_norm_by_step(*played_windows(zero_state=True)) == {}
    assert gradient_norm_by_step(*played_windows(episode_steps=3)) == {}


def test_nothing_is_left_behind_in_the_policy_or_the_windows() -> None:
    policy, windows = played_windows()
    before = replace(windows, state=windows.state.clone())
    gradient_norm_by_step(policy, windows)
    assert all(parameter.grad is None for parameter in policy.parameters())
    assert not windows.state.requires_grad
    assert torch.equal(windows.state, before.state)
