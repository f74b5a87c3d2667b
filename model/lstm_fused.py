"""The window LSTM for CPUs in f32: matrix products by torch, in place, and one compiled kernel for the rest of a row.

The gates live in one buffer: the product with the inputs, then row by row the product with the hidden state on top, the
activations, and on the way back their gradients. Playing and training run the same products and the same kernel;
playing keeps the buffers of one row only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from model.lstm_kernels import backward_row, forward_row


def run(
    x: Tensor, weight: Tensor, bias: Tensor, weight_hidden: Tensor, hidden: Tensor, cell: Tensor, first: Tensor
) -> tuple[Tensor, Tensor]:
    """Run T rows, with a graph if gradients are enabled. Everything but `first` is f32 on the CPU.

    Args:
        x: [T, B, inputs].
        weight: [4H, inputs].
        bias: [4H].
        weight_hidden: [4H, H].
        hidden: [B, H], before row 0.
        cell: [B, H], before row 0.
        first: [T, B] bool, the state is zeroed before this row.

    Returns:
        The hidden state after every row [T, B, H], and the cell after the last [B, H].
    """
    arguments = (x.contiguous(), weight, bias, weight_hidden, hidden, cell, first.contiguous())
    if torch.is_grad_enabled():
        out, last_cell = _Window.apply(*arguments)  # type: ignore[no-untyped-call]
    else:
        out, last_cell = _play(*arguments)
    return out, last_cell


def _play(
    x: Tensor, weight: Tensor, bias: Tensor, weight_hidden: Tensor, hidden: Tensor, cell: Tensor, first: Tensor
) -> tuple[Tensor, Tensor]:
    """The rows in turn, each as if it were a window of its own: nothing is kept but the hidden states."""
    gates = _input_product(x, weight, bias)
    steps, batch, units = len(x), x.shape[1], weight_hidden.shape[1]
    out, tanh_cells = torch.empty(steps, batch, units), torch.empty(1, batch, units)
    hidden_before, cells = torch.empty(1, batch, units), torch.empty(2, batch, units)
    cell_array, tanh_array, before_array = cells.numpy(), tanh_cells.numpy(), hidden_before.numpy()
    transposed = weight_hidden.t()
    for t in range(steps):
        reset = first[t].unsqueeze(-1)
        hidden_before[0].copy_(hidden).masked_fill_(reset, 0)
        cells[0].copy_(cell).masked_fill_(reset, 0)
        gates[t].addmm_(hidden_before[0], transposed)
        row = slice(t, t + 1)
        forward_row(0, gates[row].numpy(), cell_array, tanh_array, out[row].numpy(), before_array, first[row].numpy())
        hidden, cell = out[t], cells[1]
    return out, cell


def _input_product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """[T, B, inputs] -> [T, B, 4H], the part of the gates that does not wait for the row before."""
    steps, batch, inputs = x.shape
    return torch.addmm(bias, x.view(steps * batch, inputs), weight.t()).view(steps, batch, len(bias))


def _forward(
    x: Tensor, weight: Tensor, bias: Tensor, weight_hidden: Tensor, hidden: Tensor, cell: Tensor, first: Tensor
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """The rows in turn; also what the backward pass needs."""
    gates = _input_product(x, weight, bias)
    steps, batch, units = len(x), x.shape[1], weight_hidden.shape[1]
    hidden_before, tanh_cells, out = (torch.empty(steps, batch, units) for _ in range(3))
    cells = torch.empty(steps + 1, batch, units)
    reset = first[0].unsqueeze(-1)
    hidden_before[0].copy_(hidden).masked_fill_(reset, 0)
    cells[0].copy_(cell).masked_fill_(reset, 0)
    arrays = tuple(tensor.numpy() for tensor in (gates, cells, tanh_cells, out, hidden_before, first))
    transposed = weight_hidden.t()
    for t, (row, before) in enumerate(zip(gates.unbind(), hidden_before.unbind(), strict=True)):
        row.addmm_(before, transposed)
        forward_row(t, *arrays)
    return out, cells[-1], (gates, cells, tanh_cells, hidden_before)


class _Window(torch.autograd.Function):
    """`_forward` with a backward pass that makes the gradient of each weight with one product over all rows."""

    @staticmethod
    def forward(ctx: Any, *arguments: Tensor) -> Any:
        x, weight, _, weight_hidden, _, _, first = arguments
        out, last_cell, saved = _forward(*arguments)
        ctx.save_for_backward(x, weight, weight_hidden, first, *saved)
        ctx.used = False
        return out, last_cell

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor, grad_cell: Tensor) -> Any:
        if ctx.used:
            raise RuntimeError(
                "the backward pass of this LSTM window has run before and has overwritten what it needs; expected one"
                " backward pass per forward pass on a CPU: add the losses up first, or run the window again"
            )
        ctx.used = True
        x, weight, weight_hidden, first, gates, cells, tanh_cells, hidden_before = ctx.saved_tensors
        steps, batch, units = grad_out.shape
        d_hidden, d_bias = torch.zeros(batch, units), torch.zeros(steps, 4 * units)
        d_cell = grad_cell.clone(memory_format=torch.contiguous_format)
        buffers = (grad_out.contiguous(), d_hidden, d_cell, gates, cells, tanh_cells, first, d_bias)
        arrays = tuple(tensor.numpy() for tensor in buffers)
        for t, row in reversed(list(enumerate(gates.unbind()))):
            backward_row(t, *arrays)
            torch.mm(row, weight_hidden, out=d_hidden)
        d_hidden.masked_fill_(first[0].unsqueeze(-1), 0)
        d_gates = gates.view(steps * batch, 4 * units)
        d_x = (d_gates @ weight).view_as(x) if ctx.needs_input_grad[0] else None
        d_weight = d_gates.t() @ x.view(steps * batch, -1)
        d_weight_hidden = d_gates.t() @ hidden_before.view(steps * batch, units)
        return d_x, d_weight, d_bias.sum(dim=0), d_weight_hidden, d_hidden, d_cell, None
