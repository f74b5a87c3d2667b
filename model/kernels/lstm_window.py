"""The window LSTM for CPUs in f32: matrix products by torch, in place, and one compiled kernel for the rest of a row.

Input and hidden state lie beside each other, so that a row is one product each way: with the weight they give the
gates, and the gates' gradients with the weight give theirs. The gates live in one buffer: pre-activations, then
activations, and on the way back their gradients. Playing and training run the same products and the same kernels;
playing keeps the buffers of one row only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from quintet.model.kernels.lstm_rows import backward_row, begin, forward_row


def run(x: Tensor, weight: Tensor, bias: Tensor, state: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Run T rows, with a graph if gradients are enabled. Everything but `first` is f32 on the CPU.

    Args:
        x: [T, B, inputs].
        weight: [4H, inputs + H].
        bias: [4H].
        state: [B, 2, H], hidden and cell before row 0.
        first: [T, B] bool, the state is zeroed before this row.

    Returns:
        The hidden state after every row [T, B, H], and hidden and cell after the last [B, 2, H].
    """
    rows: Callable[..., tuple[Tensor, Tensor]] = _Window.apply if torch.is_grad_enabled() else _play
    return rows(x.contiguous(), weight, bias, state.contiguous(), first.contiguous())


def _play(x: Tensor, weight: Tensor, bias: Tensor, state: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """The rows in turn, each as if it were a window of its own: nothing is kept but the hidden states."""
    out = torch.empty(*first.shape, state.shape[2])
    for t in range(len(x)):
        row = slice(t, t + 1)
        state, _ = _forward(x[row], weight, bias, state, first[row], out[row])
    return out, state


def _forward(
    x: Tensor, weight: Tensor, bias: Tensor, state: Tensor, first: Tensor, out: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The rows in turn; `out` [T, B, H] is written. The state after the last, and what the backward pass needs."""
    steps, batch, inputs = x.shape
    units = state.shape[2]
    joined = torch.empty(steps, batch, inputs + units)  # input and hidden state before a row, beside each other
    gates, tanh_cells = torch.empty(steps, batch, 4 * units), torch.empty(steps, batch, units)
    cells, after = torch.empty(steps + 1, batch, units), torch.empty(batch, 2, units)
    begin(*(tensor.numpy() for tensor in (x.detach(), state.detach(), first, joined, cells)))
    arrays = tuple(tensor.numpy() for tensor in (bias.detach(), gates, cells, tanh_cells, out, joined, first, after))
    transposed = weight.t()
    for t in range(steps):
        torch.mm(joined[t], transposed, out=gates[t])
        forward_row(t, *arrays)
    return after, (gates, cells, tanh_cells, joined)


class _Window(torch.autograd.Function):
    """`_forward` with a backward pass that makes the gradient of the weight with one product over all rows."""

    @staticmethod
    def forward(ctx: Any, *arguments: Tensor) -> Any:
        x, weight, bias, state, first = arguments
        out = torch.empty(*first.shape, state.shape[2])
        after, saved = _forward(x, weight, bias, state, first, out)
        ctx.save_for_backward(weight, first, *saved)
        ctx.used = False
        return out, after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor, grad_after: Tensor) -> Any:
        if ctx.used:
            raise RuntimeError(
                "the backward pass of this LSTM window has run before and has overwritten what it needs; expected one"
                " backward pass per forward pass on a CPU: add the losses up first, or run the window again"
            )
        ctx.used = True
        weight, first, gates, cells, tanh_cells, joined = ctx.saved_tensors
        steps, batch, units = grad_out.shape
        inputs = weight.shape[1] - units
        d_joined, d_bias = torch.empty(batch, inputs + units), torch.zeros(steps, 4 * units)
        d_x = torch.empty(steps, batch, inputs)
        d_joined[:, inputs:] = grad_after[:, 0]
        d_cell = grad_after[:, 1].clone(memory_format=torch.contiguous_format)
        buffers = (grad_out.contiguous(), d_joined, d_cell, gates, cells, tanh_cells, first, d_bias)
        arrays = tuple(tensor.numpy() for tensor in buffers)
        for t in reversed(range(steps)):
            backward_row(t, *arrays)
            if t == 0 and not ctx.needs_input_grad[3]:
                torch.mm(gates[0], weight[:, :inputs], out=d_x[0])
                break
            torch.mm(gates[t], weight, out=d_joined)
            d_x[t] = d_joined[:, :inputs]
        d_state = None
        if ctx.needs_input_grad[3]:
            d_hidden = d_joined[:, inputs:].masked_fill(first[0].unsqueeze(-1), 0)
            d_state = torch.stack((d_hidden, d_cell), dim=1)
        d_weight = gates.view(steps * batch, 4 * units).t() @ joined.view(steps * batch, inputs + units)
        return d_x, d_weight, d_bias.sum(dim=0), d_state, None
