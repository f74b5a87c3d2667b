"""The window LSTM against a plain loop over cells under autograd, and against torch's own."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.layers import set_compute_dtype
from model.lstm import LSTM

State = tuple[Tensor, Tensor]


def make_lstm(inputs: int, units: int, seed: int = 0) -> LSTM:
    torch.manual_seed(seed)
    lstm = LSTM(inputs, units)
    with torch.no_grad():
        lstm.input.bias.normal_()
    return lstm


def random_input(steps: int, batch: int, inputs: int, units: int) -> tuple[Tensor, State]:
    x = torch.randn(steps, batch, inputs, requires_grad=True)
    hidden, cell = (torch.randn(batch, units, requires_grad=True) for _ in range(2))
    return x, (hidden, cell)


def cell_loop(lstm: LSTM, x: Tensor, first: Tensor, state: State) -> tuple[Tensor, State]:
    """The equations of the file's docstring, one row after the other, every derivative by autograd."""
    n = lstm.units
    weight_x, bias, weight_h = lstm.input.weight, lstm.input.bias, lstm.weight_hidden
    hidden, cell = state
    out = []
    for t in range(x.shape[0]):
        hidden = torch.where(first[t, :, None], torch.zeros_like(hidden), hidden)
        cell = torch.where(first[t, :, None], torch.zeros_like(cell), cell)
        gates = x[t] @ weight_x.t() + hidden @ weight_h.t() + bias
        i, f, o = (torch.sigmoid(gates[:, k * n : (k + 1) * n]) for k in range(3))
        cell = f * cell + i * torch.tanh(gates[:, 3 * n :])
        hidden = o * torch.tanh(cell)
        out.append(hidden)
    return torch.stack(out), (hidden, cell)


def gradients(lstm: LSTM, x: Tensor, first: Tensor, state: State, *, slow: bool, seed: int) -> list[Tensor]:
    """Values, and the gradients of a random weighting of every output in every input and parameter."""
    hidden, (last_hidden, last_cell) = cell_loop(lstm, x, first, state) if slow else lstm(x, first, state)
    random = torch.Generator().manual_seed(seed)
    total = sum((y * torch.randn(y.shape, generator=random)).sum() for y in (hidden, last_hidden, last_cell))
    wanted = [x, *state, *lstm.parameters()]
    assert isinstance(total, Tensor)
    return [hidden.detach(), last_hidden.detach(), last_cell.detach(), *torch.autograd.grad(total, wanted)]


@settings(deadline=None, max_examples=40)
@given(
    steps=st.integers(1, 6),
    batch=st.integers(1, 4),
    inputs=st.integers(1, 5),
    units=st.integers(1, 6),
    resets=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_values_and_every_gradient_equal_a_loop_over_cells_with_resets(
    steps: int, batch: int, inputs: int, units: int, resets: float, seed: int
) -> None:
    lstm = make_lstm(inputs, units, seed)
    x, state = random_input(steps, batch, inputs, units)
    first = torch.rand(steps, batch) < resets
    fast = gradients(lstm, x, first, state, slow=False, seed=seed)
    slow = gradients(lstm, x, first, state, slow=True, seed=seed)
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-5)


def test_a_large_window_equals_the_loop_too() -> None:
    lstm = make_lstm(24, 32)
    x, state = random_input(16, 40, 24, 32)
    first = torch.rand(16, 40) < 0.1
    fast = gradients(lstm, x, first, state, slow=False, seed=1)
    slow = gradients(lstm, x, first, state, slow=True, seed=1)
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_without_resets_it_equals_torchs_lstm_with_permuted_gates() -> None:
    lstm = make_lstm(5, 4)
    theirs = torch.nn.LSTM(5, 4)

    def permuted(x: Tensor) -> Tensor:
        i, f, o, g = torch.chunk(x.detach(), 4)
        return torch.cat([i, f, g, o])  # the order in which torch stores them

    theirs.load_state_dict(
        {
            "weight_ih_l0": permuted(lstm.input.weight),
            "weight_hh_l0": permuted(lstm.weight_hidden),
            "bias_ih_l0": permuted(lstm.input.bias),
            "bias_hh_l0": torch.zeros(16),
        }
    )
    x, (hidden, cell) = random_input(9, 3, 5, 4)
    ours, (last_hidden, last_cell) = lstm(x, torch.zeros(9, 3, dtype=torch.bool), (hidden, cell))
    expected, (expected_hidden, expected_cell) = theirs(x, (hidden[None], cell[None]))
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(last_hidden, expected_hidden[0])
    torch.testing.assert_close(last_cell, expected_cell[0])


def test_no_gradient_flows_through_a_reset() -> None:
    lstm = make_lstm(3, 4)
    x, state = random_input(6, 2, 3, 4)
    first = torch.zeros(6, 2, dtype=torch.bool)
    first[3, 0] = True  # stream 0 is reset before row 3, stream 1 never
    hidden, _ = lstm(x, first, state)
    in_x, in_hidden, in_cell = torch.autograd.grad(hidden[3:].sum(), [x, *state])
    assert not in_x[:3, 0].any()
    assert not in_hidden[0].any()
    assert not in_cell[0].any()
    assert in_x[3:, 0].all()
    assert in_x[:3, 1].all()
    assert in_hidden[1].all()
    assert in_cell[1].all()


def test_nothing_before_a_reset_reaches_the_rows_after_it() -> None:
    lstm = make_lstm(3, 4)
    x, state = random_input(6, 2, 3, 4)
    first = torch.zeros(6, 2, dtype=torch.bool)
    first[3] = True
    _, other_state = random_input(6, 2, 3, 4)
    other_x = torch.cat([torch.randn(3, 2, 3), x[3:]])
    with torch.no_grad():
        a, a_state = lstm(x, first, state)
        b, b_state = lstm(other_x, first, other_state)
    assert torch.equal(a[3:], b[3:])
    assert torch.equal(a_state[1], b_state[1])
    assert not torch.equal(a[:3], b[:3])


def test_playing_without_gradients_gives_what_training_gives() -> None:
    lstm = make_lstm(3, 4)
    x, state = random_input(6, 2, 3, 4)
    first = torch.rand(6, 2) < 0.4
    trained, trained_state = lstm(x, first, state)
    with torch.no_grad():
        played, played_state = lstm(x, first, state)
    torch.testing.assert_close(played, trained.detach(), rtol=0, atol=1e-6)
    torch.testing.assert_close(played_state, tuple(s.detach() for s in trained_state), rtol=0, atol=1e-6)


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
    exact = gradients(lstm, x, first, state, slow=True, seed=0)
    set_compute_dtype(lstm, torch.bfloat16)
    rounded = gradients(lstm, x, first, state, slow=False, seed=0)
    for a, b in zip(rounded, exact, strict=True):
        assert a.dtype == torch.float32
        assert float((a - b).norm() / b.norm()) < 0.03
    assert not torch.equal(rounded[0], exact[0])


def test_the_forget_gate_starts_open_and_every_gate_orthogonal() -> None:
    lstm = LSTM(6, 4)
    assert torch.equal(lstm.input.bias, torch.tensor([0.0] * 4 + [1.0] * 4 + [0.0] * 8))
    for gate in torch.chunk(lstm.weight_hidden, 4):
        torch.testing.assert_close(gate @ gate.t(), torch.eye(4), atol=1e-5, rtol=0)
