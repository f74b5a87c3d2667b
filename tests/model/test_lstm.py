"""The window LSTM, fused and by operators, against a plain loop over cells under autograd, and against torch's own."""

from __future__ import annotations

import copy
import functools
import logging
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from quintet.model.kernels import compile as compiled
from quintet.model.kernels import lstm_rows, lstm_window
from quintet.model.layers import set_compute_dtype
from quintet.model.lstm import LSTM, fused_run

Run = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
PATHS = {"fused": lambda lstm: lstm, "by operators": lambda lstm: lstm.by_operators}


def make_lstm(inputs: int, units: int, seed: int = 0) -> LSTM:
    torch.manual_seed(seed)
    lstm = LSTM(inputs, units)
    with torch.no_grad():
        lstm.gates.bias.normal_()
    return lstm


def weights(lstm: LSTM) -> tuple[Tensor, ...]:
    """W_x and W_h."""
    return torch.split(lstm.gates.weight, [lstm.inputs, lstm.units], dim=1)


def random_input(steps: int, batch: int, inputs: int, units: int) -> tuple[Tensor, Tensor]:
    """x [T, B, inputs], and hidden and cell before it [B, 2, H]."""
    return torch.randn(steps, batch, inputs, requires_grad=True), torch.randn(batch, 2, units, requires_grad=True)


def cell_loop(lstm: LSTM, x: Tensor, first: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """The equations of the file's docstring, one row after the other, every derivative by autograd."""
    n = lstm.units
    (weight_x, weight_h), bias = weights(lstm), lstm.gates.bias
    hidden, cell = state.unbind(1)
    out = []
    for t in range(x.shape[0]):
        hidden = torch.where(first[t, :, None], torch.zeros_like(hidden), hidden)
        cell = torch.where(first[t, :, None], torch.zeros_like(cell), cell)
        gates = x[t] @ weight_x.t() + hidden @ weight_h.t() + bias
        i, f, o = (torch.sigmoid(gates[:, k * n : (k + 1) * n]) for k in range(3))
        cell = f * cell + i * torch.tanh(gates[:, 3 * n :])
        hidden = o * torch.tanh(cell)
        out.append(hidden)
    return torch.stack(out), torch.stack((hidden, cell), dim=1)


def gradients(run: Run, lstm: LSTM, x: Tensor, first: Tensor, state: Tensor) -> list[Tensor]:
    """Values, and the gradients of a random weighting of every output in every input and parameter."""
    hidden, after = run(x, first, state)
    random = torch.Generator().manual_seed(1)
    total = sum((y * torch.randn(y.shape, generator=random)).sum() for y in (hidden, after))
    wanted = [x, *lstm.parameters(), *([state] if state.requires_grad else [])]
    assert isinstance(total, Tensor)
    return [hidden.detach(), after.detach(), *torch.autograd.grad(total, wanted)]


def exact_gradients(lstm: LSTM, x: Tensor, first: Tensor, state: Tensor) -> list[Tensor]:
    """The same by the plain loop in float64."""
    exact = copy.deepcopy(lstm).double()
    x, state = (tensor.detach().double().requires_grad_(tensor.requires_grad) for tensor in (x, state))
    return gradients(functools.partial(cell_loop, exact), exact, x, first, state)


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Of the whole tensor, in the 2-norm."""
    return float((found - expected).norm() / expected.norm().clamp(min=1e-30))


@settings(deadline=None, max_examples=60)
@given(
    steps=st.integers(1, 6),
    batch=st.integers(1, 4),
    inputs=st.integers(1, 5),
    units=st.integers(1, 18),
    resets=st.sampled_from([0.0, 0.3, 1.0]),
    learned_state=st.booleans(),
    seed=st.integers(0, 2**31),
    path=st.sampled_from(sorted(PATHS)),
)
def test_values_and_every_gradient_equal_a_loop_over_cells_with_resets(
    steps: int, batch: int, inputs: int, units: int, resets: float, learned_state: bool, seed: int, path: str
) -> None:
    lstm = make_lstm(inputs, units, seed)
    x, state = random_input(steps, batch, inputs, units)
    state.requires_grad_(learned_state)
    first = torch.rand(steps, batch) < resets
    found = gradients(PATHS[path](lstm), lstm, x, first, state)
    for a, b in zip(found, exact_gradients(lstm, x, first, state), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("path", PATHS)
def test_a_large_window_is_within_a_millionth_in_values_and_ten_in_gradients(path: str) -> None:
    lstm = make_lstm(24, 40)
    x, state = random_input(16, 40, 24, 40)
    first = torch.rand(16, 40) < 0.1
    found = gradients(PATHS[path](lstm), lstm, x, first, state)
    expected = exact_gradients(lstm, x, first, state)
    assert float((found[0] - expected[0]).abs().max()) < 1e-6
    assert [relative_error(a, b) < 1e-6 for a, b in zip(found[:2], expected[:2], strict=True)] == [True] * 2
    assert [relative_error(a, b) < 1e-5 for a, b in zip(found[2:], expected[2:], strict=True)] == [True] * 4


def test_without_resets_it_equals_torchs_lstm_with_permuted_gates() -> None:
    lstm = make_lstm(5, 4)
    theirs = torch.nn.LSTM(5, 4)

    def permuted(x: Tensor) -> Tensor:
        i, f, o, g = torch.chunk(x.detach(), 4)
        return torch.cat([i, f, g, o])  # the order in which torch stores them

    theirs.load_state_dict(
        {
            "weight_ih_l0": permuted(weights(lstm)[0]),
            "weight_hh_l0": permuted(weights(lstm)[1]),
            "bias_ih_l0": permuted(lstm.gates.bias),
            "bias_hh_l0": torch.zeros(16),
        }
    )
    x, state = random_input(9, 3, 5, 4)
    hidden, cell = (part[None].contiguous() for part in state.unbind(1))
    ours, after = lstm(x, torch.zeros(9, 3, dtype=torch.bool), state)
    expected, (expected_hidden, expected_cell) = theirs(x, (hidden, cell))
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(after, torch.stack((expected_hidden[0], expected_cell[0]), dim=1))


@pytest.mark.parametrize("path", PATHS)
def test_no_gradient_flows_through_a_reset(path: str) -> None:
    lstm = make_lstm(3, 4)
    x, state = random_input(6, 2, 3, 4)
    first = torch.zeros(6, 2, dtype=torch.bool)
    first[3, 0] = True  # stream 0 is reset before row 3, stream 1 never
    hidden, _ = PATHS[path](lstm)(x, first, state)
    in_x, in_state = torch.autograd.grad(hidden[3:].sum(), [x, state])
    assert not in_x[:3, 0].any()
    assert not in_state[0].any()
    assert in_x[3:, 0].all()
    assert in_x[:3, 1].all()
    assert in_state[1].all()


@pytest.mark.parametrize("path", PATHS)
def test_nothing_before_a_reset_reaches_the_rows_after_it(path: str) -> None:
    lstm = make_lstm(3, 4)
    run = PATHS[path](lstm)
    x, state = random_input(6, 2, 3, 4)
    first = torch.zeros(6, 2, dtype=torch.bool)
    first[3] = True
    _, other_state = random_input(6, 2, 3, 4)
    other_x = torch.cat([torch.randn(3, 2, 3), x[3:]])
    with torch.no_grad():
        a, a_state = run(x, first, state)
        b, b_state = run(other_x, first, other_state)
    assert torch.equal(a[3:], b[3:])
    assert torch.equal(a_state, b_state)
    assert not torch.equal(a[:3], b[:3])


@pytest.mark.parametrize("path", PATHS)
def test_playing_without_gradients_gives_what_training_gives(path: str) -> None:
    lstm = make_lstm(3, 4)
    run = PATHS[path](lstm)
    x, state = random_input(6, 2, 3, 4)
    first = torch.rand(6, 2) < 0.4
    trained, trained_state = run(x, first, state)
    with torch.no_grad():
        played, played_state = run(x, first, state)
    torch.testing.assert_close(played, trained.detach(), rtol=0, atol=1e-6)
    torch.testing.assert_close(played_state, trained_state.detach(), rtol=0, atol=1e-6)


def test_two_windows_with_the_state_handed_over_equal_one_long_window() -> None:
    lstm = make_lstm(3, 4)
    x, state = random_input(8, 2, 3, 4)
    first = torch.rand(8, 2) < 0.2
    with torch.no_grad():
        whole, last = lstm(x, first, state)
        head, between = lstm(x[:5], first[:5], state)
        tail, last_of_two = lstm(x[5:], first[5:], between)
    torch.testing.assert_close(torch.cat([head, tail]), whole)
    torch.testing.assert_close(last_of_two, last)


def test_bfloat16_products_stay_near_float32_in_values_and_gradients() -> None:
    lstm = make_lstm(8, 16)
    x, state = random_input(8, 4, 8, 16)
    first = torch.rand(8, 4) < 0.2
    exact = exact_gradients(lstm, x, first, state)
    set_compute_dtype(lstm, torch.bfloat16)
    rounded = gradients(lstm, lstm, x, first, state)
    for a, b in zip(rounded, exact, strict=True):
        assert a.dtype == torch.float32
        assert float((a - b).norm() / b.norm()) < 0.03
    assert not torch.equal(rounded[0], exact[0])


def test_the_forget_gate_starts_open_and_every_gate_orthogonal() -> None:
    lstm = LSTM(6, 4)
    assert torch.equal(lstm.gates.bias, torch.tensor([0.0] * 4 + [1.0] * 4 + [0.0] * 8))
    weight_x, weight_h = weights(lstm)
    for gate in torch.chunk(weight_h, 4):
        torch.testing.assert_close(gate @ gate.t(), torch.eye(4), atol=1e-5, rtol=0)
    for gate in torch.chunk(weight_x, 4):
        torch.testing.assert_close(gate @ gate.t(), torch.eye(4), atol=1e-5, rtol=0)


def test_f32_on_a_cpu_runs_fused_and_bfloat16_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def forward_row(t: int, *arrays: Any) -> None:
        calls.append(t)
        lstm_rows.forward_row(t, *arrays)

    monkeypatch.setattr(lstm_window, "forward_row", forward_row)
    lstm = make_lstm(3, 4)
    x, state = random_input(3, 2, 3, 4)
    first = torch.zeros(3, 2, dtype=torch.bool)
    lstm(x, first, state)
    assert calls == [0, 1, 2]
    set_compute_dtype(lstm, torch.bfloat16)
    lstm(x, first, state)
    assert calls == [0, 1, 2]


def test_rows_acted_one_by_one_equal_the_window() -> None:
    lstm = make_lstm(64, 128)
    x, state = random_input(8, 32, 64, 128)
    first = torch.rand(8, 32) < 0.2
    with torch.no_grad():
        window, after = lstm(x, first, state)
        for t in range(8):
            (row,), state = lstm(x[t : t + 1], first[t : t + 1], state)
            torch.testing.assert_close(row, window[t], rtol=0, atol=1e-6)
    torch.testing.assert_close(state, after, rtol=0, atol=1e-6)


def test_inputs_that_are_views_give_what_their_copies_give() -> None:
    lstm = make_lstm(3, 4)
    x, _ = random_input(2, 6, 3, 4)
    x = x.detach().transpose(0, 1).requires_grad_()  # [6, 2, 3]
    state = torch.randn(2, 2, 4).transpose(0, 1).requires_grad_()
    first = (torch.rand(2, 6) < 0.3).t()
    for a, b in zip(gradients(lstm, lstm, x, first, state), exact_gradients(lstm, x, first, state), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=2e-5)


def test_the_inputs_of_a_window_are_left_as_they_were() -> None:
    lstm = make_lstm(3, 4)
    x, state = random_input(5, 2, 3, 4)
    first = torch.rand(5, 2) < 0.4
    before = [tensor.clone() for tensor in (x, first, state, *lstm.parameters())]
    hidden, _ = lstm(x, first, state)
    after_forward = hidden.detach().clone()
    hidden.sum().backward()
    assert all(torch.equal(a, b) for a, b in zip(before, (x, first, state, *lstm.parameters()), strict=True))
    assert torch.equal(hidden.detach(), after_forward)


def test_a_second_backward_pass_is_refused_and_says_what_to_do() -> None:
    lstm = make_lstm(3, 4)
    x, state = random_input(5, 2, 3, 4)
    hidden, _ = lstm(x, torch.zeros(5, 2, dtype=torch.bool), state)
    hidden.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match=r"has run before .* add the losses up first"):
        hidden.sum().backward()


def test_nan_stays_in_its_stream_and_is_seen_in_every_weight() -> None:
    lstm = make_lstm(3, 4)
    x, state = random_input(3, 2, 3, 4)
    with torch.no_grad():
        x[1, 0, 0] = math.nan
    hidden, after = lstm(x, torch.zeros(3, 2, dtype=torch.bool), state)
    assert hidden[1:, 0].isnan().all()
    assert after[0].isnan().all()
    assert hidden[0].isfinite().all()
    assert hidden[:, 1].isfinite().all()
    for gradient in torch.autograd.grad(hidden.sum(), list(lstm.parameters())):
        assert gradient.isnan().any()


def test_a_reset_ends_what_nan_did() -> None:
    lstm = make_lstm(3, 4)
    x, state = random_input(4, 2, 3, 4)
    first = torch.zeros(4, 2, dtype=torch.bool)
    first[2, 0] = True
    with torch.no_grad():
        x[1, 0, 0] = math.nan
    hidden, _ = lstm(x, first, state)
    assert hidden[1, 0].isnan().all()
    assert hidden[2:].isfinite().all()


def test_huge_pre_activations_saturate_without_overflow() -> None:
    lstm = make_lstm(3, 4)
    x, state = random_input(4, 2, 3, 4)
    with torch.no_grad():
        x.mul_(1e30)
    first = torch.zeros(4, 2, dtype=torch.bool)
    found, expected = gradients(lstm, lstm, x, first, state), exact_gradients(lstm, x, first, state)
    torch.testing.assert_close(found[0].double(), expected[0], rtol=0, atol=1e-6)
    assert all(tensor.isfinite().all() for tensor in found)


def test_the_compiled_tanh_is_within_three_parts_in_ten_million_and_never_beyond_one() -> None:
    magnitudes = np.concatenate([np.logspace(-30, 1.5, 2000), [7.9, 7.90531, 7.91, 1e30, np.inf]])
    points = np.concatenate([-magnitudes, [0.0], magnitudes]).astype(np.float32)
    found = np.array([lstm_rows.tanh(point) for point in points])
    np.testing.assert_allclose(found, np.tanh(points.astype(np.float64)), rtol=3e-7)
    assert np.abs(found).max() <= 1
    assert math.isnan(lstm_rows.tanh(np.float32(math.nan)))


@pytest.fixture
def numba_missing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    fused_run.cache_clear()
    for name in (
        "quintet.model.kernels.lstm_window",
        "quintet.model.kernels.lstm_rows",
        "quintet.model.kernels.compile",
    ):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numba", None)
    yield
    fused_run.cache_clear()


@pytest.mark.usefixtures("numba_missing")
def test_where_numba_does_not_load_it_runs_by_operators_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    lstm = make_lstm(3, 4)
    x, state = random_input(3, 2, 3, 4)
    first = torch.rand(3, 2) < 0.4
    with caplog.at_level(logging.WARNING):
        hidden, _ = lstm(x, first, state)
        assert torch.equal(lstm(x, first, state)[0], hidden)
    assert torch.equal(hidden, lstm.by_operators(x, first, state)[0])
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "the LSTM runs without its compiled kernels and is slower"
    ]


def test_without_a_folder_to_write_to_it_compiles_all_the_same_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def njit(*, cache: bool = False, **_: Any) -> Callable[[Any], Any]:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(compiled, "njit", njit)
    compiled._say_that_nothing_is_kept.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert [compiled.compiled()(len)("abc"), compiled.compiled("contract")(abs)(-2)] == [3, 2]
    assert len(caplog.records) == 1
    assert "NUMBA_CACHE_DIR" in caplog.text
