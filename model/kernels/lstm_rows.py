"""The LSTM's element-wise work, one compiled pass over a row instead of a chain of tensor operators.

Everything here is plain arithmetic without branches on data, so that the compiler uses the CPU's widest vectors; each
loop writes few arrays, because beyond a handful it would have to prove that they do not overlap, and gives up. Gates
are stored in the order input, forget, output, cell. All arrays are C-contiguous.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quintet.model.kernels.compile import compiled

F32 = NDArray[np.float32]
Flags = NDArray[np.bool_]
f32 = np.float32

ZERO, HALF, ONE = f32(0), f32(0.5), f32(1)
# tanh(x) = x P(x^2) / Q(x^2) to 3e-7 of its value, clamped at LIMIT, where it is 1 within one unit in the last place:
# Eigen's minimax rational function (Eigen/src/Core/MathFunctionsImpl.h, generic_fast_tanh_float, release 3.4).
LIMIT = f32(7.90531110763549805)
P6, P5, P4 = f32(-2.76076847742355e-16), f32(2.00018790482477e-13), f32(-8.60467152213735e-11)
P3, P2, P1, P0 = (
    f32(5.12229709037114e-08),
    f32(1.48572235717979e-05),
    f32(6.37261928875436e-04),
    f32(4.89352455891786e-03),
)
Q3, Q2, Q1, Q0 = (
    f32(1.19825839466702e-06),
    f32(1.18534705686654e-04),
    f32(2.26843463243900e-03),
    f32(4.89352518554385e-03),
)


@compiled("contract")
def tanh(x: np.float32) -> np.float32:
    """The hyperbolic tangent of one f32; NaN stays NaN because every comparison with it is false."""
    x = LIMIT if x > LIMIT else x
    x = -LIMIT if x < -LIMIT else x
    s = x * x
    p = s * (s * (s * (s * (s * (s * P6 + P5) + P4) + P3) + P2) + P1) + P0
    q = s * (s * (s * Q3 + Q2) + Q1) + Q0
    return x * p / q


@compiled("contract")
def begin(x: F32, state: F32, first: Flags, joined: F32, cells: F32) -> None:
    """Everything but the pre-activations that `forward_row` reads and no row writes.

    Args:
        x: [T, B, inputs].
        state: [B, 2, H], hidden and cell before row 0.
        first: [T, B], the state is zeroed before this row.
        joined: [T, B, inputs + H], the inputs of every row are written, and the hidden state before row 0.
        cells: [T + 1, B, H], row 0 is written.
    """
    T, B, inputs = x.shape
    for b in range(B):
        if first[0, b]:
            joined[0, b, inputs:] = ZERO
            cells[0, b] = ZERO
        else:
            joined[0, b, inputs:] = state[b, 0]
            cells[0, b] = state[b, 1]
    for t in range(T):
        for b in range(B):
            joined[t, b, :inputs] = x[t, b]


@compiled("contract")
def forward_row(
    t: int, bias: F32, gates: F32, cells: F32, tanh_cells: F32, hidden: F32, joined: F32, first: Flags, state: F32
) -> None:
    """Row t, from the gates' pre-activations to the state before row t + 1.

    Args:
        t: the row.
        bias: [4H], of the gates.
        gates: [T, B, 4H], in row t the pre-activations without the bias; they become the activated gates.
        cells: [T + 1, B, H], in row t the cell before row t (zero after a reset); row t + 1 is written likewise.
        tanh_cells: [T, B, H], row t is written.
        hidden: [T, B, H], row t is written.
        joined: [T, B, any + H], of row t + 1, where there is one, the last H are written: hidden, zero after a reset.
        first: [T, B], the state is zeroed before this row.
        state: [B, 2, H], written by the last row: hidden and cell after it.
    """
    T, B, H = hidden.shape
    for b in range(B):
        row = gates[t, b]
        sigmoids = row[: 3 * H]
        for j in range(3 * H):
            sigmoids[j] = HALF + HALF * tanh(HALF * (sigmoids[j] + bias[j]))
        i, f, o, g = row[:H], row[H : 2 * H], row[2 * H : 3 * H], row[3 * H :]
        before, cell, squashed, out = cells[t, b], cells[t + 1, b], tanh_cells[t, b], hidden[t, b]
        for j in range(H):
            g[j] = tanh(g[j] + bias[3 * H + j])
        for j in range(H):
            cell[j] = f[j] * before[j] + i[j] * g[j]
        for j in range(H):
            squashed[j] = tanh(cell[j])
        for j in range(H):
            out[j] = o[j] * squashed[j]
        if t + 1 < T:
            following = joined[t + 1, b, -H:]
            if first[t + 1, b]:
                following[:] = ZERO
                cell[:] = ZERO
            else:
                following[:] = out
        else:
            state[b, 0] = out
            state[b, 1] = cell


@compiled("contract")
def backward_row(
    t: int,
    grad_hidden: F32,
    d_joined: F32,
    d_cell: F32,
    gates: F32,
    cells: F32,
    tanh_cells: F32,
    first: Flags,
    d_bias: F32,
) -> None:
    """Row t backward: the gates' activations become the gradients of their pre-activations.

    Args:
        t: the row.
        grad_hidden: [T, B, H], the gradient of the hidden states from outside the LSTM.
        d_joined: [B, inputs + H], the gradients of the input of row t + 1, and of the hidden state before it as if no
            game began there; the latter is overwritten.
        d_cell: [B, H], the gradient of the cell after row t; becomes that before row t, zero where a game begins.
        gates: as `forward_row` left them.
        cells: likewise.
        tanh_cells: likewise.
        first: [T, B], the state is zeroed before this row.
        d_bias: [T, 4H], row t, zero before, becomes the sum of the gradients over B.
    """
    T, B, H = grad_hidden.shape
    total = d_bias[t]
    for b in range(B):
        row = gates[t, b]
        i, f, o, g = row[:H], row[H : 2 * H], row[2 * H : 3 * H], row[3 * H :]
        before, squashed, outside = cells[t, b], tanh_cells[t, b], grad_hidden[t, b]
        dh, dc = d_joined[b, -H:], d_cell[b]
        if t + 1 < T and first[t + 1, b]:
            dh[:] = outside
        else:
            for j in range(H):
                dh[j] += outside[j]
        for j in range(H):
            dc[j] += dh[j] * o[j] * (ONE - squashed[j] * squashed[j])
        for j in range(H):
            o[j] = dh[j] * squashed[j] * o[j] * (ONE - o[j])
        for j in range(H):
            input_gate, update = i[j], g[j]
            i[j] = dc[j] * update * input_gate * (ONE - input_gate)
            g[j] = dc[j] * input_gate * (ONE - update * update)
        for j in range(H):
            forget = f[j]
            f[j] = dc[j] * before[j] * forget * (ONE - forget)
            dc[j] *= forget
        if first[t, b]:
            dc[:] = ZERO
        for j in range(4 * H):
            total[j] += row[j]
