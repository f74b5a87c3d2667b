"""How far gradients reach, beside the definition: the last k rows unrolled at once from the state before them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from model.config import PolicyConfig
from model.policy import Policy, joint
from optimizer.batch import Windows, cut_windows
from optimizer.reach import NAME, gradient_norm_by_step
from tests.in_process_run import CPU, batch_of, counting_game, play_chunks

ROWS = 8


def played(*, episode_steps: int = 40, zero_state: bool = False, units: int = 16) -> tuple[Policy, Windows]:
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
    policy, windows = played()
    inside = windows.pick((~windows.first.any(dim=0)).nonzero().flatten())
    acting = inside.rows["acting"][-1] & inside.rows["valid"].all(dim=0)
    assert 0 < int(acting.sum()) < windows.first.shape[1] * 2, "some windows count and some hold a border"
    mean = {k: float(norm_of_tail(policy, inside, k)[acting].mean()) for k in (1, 2, 4, 8)}
    assert gradient_norm_by_step(policy, windows) == {
        f"{NAME}/{k}": pytest.approx(mean[k] / mean[1], rel=1e-4) for k in (2, 4, 8)
    }


def test_a_network_without_memory_and_windows_with_borders_have_none() -> None:
    assert gradient_norm_by_step(*played(zero_state=True)) == {}
    assert gradient_norm_by_step(*played(episode_steps=3)) == {}


def test_nothing_is_left_behind_in_the_policy_or_the_windows() -> None:
    policy, windows = played()
    before = replace(windows, state=windows.state.clone())
    gradient_norm_by_step(policy, windows)
    assert all(parameter.grad is None for parameter in policy.parameters())
    assert not windows.state.requires_grad
    assert torch.equal(windows.state, before.state)
