"""The LSTM over a window with resets inside, and its hand-written backward pass.

A loop over `nn.LSTMCell` builds some twenty autograd nodes a row; here a window is one node whose backward makes the
gradient of the recurrent weights with a single matrix product over all rows. There are two of them: torch's operators
(any device, any number format) and, for f32 on a CPU, compiled kernels between in-place products (`lstm_window.py`).

    i, f, o = sigmoid(.)  g = tanh(.)  of  W (x_t, h_{t-1}) + b             (Hochreiter & Schmidhuber 1997, with the
    c_t = f c_{t-1} + i g                                                    forget gate of Gers et al. 2000)
    h_t = o tanh(c_t)

Where `first` is true, h_{t-1} and c_{t-1} are zero.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from quintet.model.layers import Linear

aten = torch.ops.aten
F32_ONLY = (torch.float32,) * 2
FusedRun = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


@functools.cache
def fused_run() -> FusedRun | None:
    """`lstm_window.run`, or None where numba does not load: then every LSTM runs by torch's operators.

    Imported at the first window and not before, since numba takes a third of a second to load.
    """
    try:
        from quintet.model.kernels.lstm_window import run
    except ImportError as error:
        logging.getLogger(__name__).warning("the LSTM runs without its compiled kernels and is slower: %s", error)
        return None
    return run


class LSTM(nn.Module):
    """One layer. Gates are stored in the order input, forget, output, cell."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.inputs, self.units = inputs, units
        self.gates = Linear(inputs + units, 4 * units)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Orthogonal per gate, zero biases but one for the forget gate (Jozefowicz et al. 2015)."""
        for weight in torch.split(self.gates.weight.data, [self.inputs, self.units], dim=1):
            for gate in torch.split(weight, self.units):
                nn.init.orthogonal_(gate)
        nn.init.zeros_(self.gates.bias)
        nn.init.ones_(self.gates.bias.data[self.units : 2 * self.units])

    def forward(self, x: Tensor, first: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Run T rows.

        Args:
            x: [T, B, inputs].
            first: [T, B] bool, the state is zeroed before this row.
            state: [B, 2, units] f32, hidden and cell before row 0.

        Returns:
            The hidden state after every row [T, B, units] f32, and hidden and cell after the last [B, 2, units] f32.
        """
        formats = (x.dtype, self.gates.compute_dtype)
        fused = fused_run() if x.device.type == "cpu" and formats == F32_ONLY else None
        if fused is None:
            return self.by_operators(x, first, state)
        return fused(x, self.gates.weight, self.gates.bias, state, first)

    def by_operators(self, x: Tensor, first: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """`forward` by torch's operators alone."""
        gates, weight = self.gates_of_inputs(x)
        keep = torch.logical_not(first).unsqueeze(-1).to(torch.float32)
        before = state[:, 0], state[:, 1]
        if torch.is_grad_enabled():
            window: Callable[..., tuple[Tensor, Tensor]] = _Window.apply
            hidden, cell = window(gates, weight, *before, keep)
        else:
            hidden, cell, _ = _run(gates, weight, *before, keep, save=False)
        return hidden, torch.stack((hidden[-1], cell), dim=1)

    def gates_of_inputs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """In the compute dtype: what does not wait for the row before, [T, B, 4 units], and W_h [4 units, units]."""
        dtype = self.gates.compute_dtype
        weight, weight_hidden = torch.split(self.gates.weight.to(dtype), [self.inputs, self.units], dim=1)
        return nn.functional.linear(x.to(dtype), weight, self.gates.bias.to(dtype)), weight_hidden


def _run(
    gates: Tensor, weight: Tensor, hidden: Tensor, cell: Tensor, keep: Tensor, *, save: bool
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """The forward loop; with `save` also what the backward pass needs.

    tanh(x) is computed as 2 sigmoid(2x) - 1: on CPUs the library's sigmoid is the faster of the two, and the gates'
    four activations become one call.
    """
    steps, batch, units = gates.shape[0], hidden.shape[0], hidden.shape[1]
    out = torch.empty(steps, batch, units, dtype=torch.float32, device=gates.device)
    activated = torch.empty(steps if save else 1, batch, 4 * units, dtype=torch.float32, device=gates.device)
    hidden_before = torch.empty(steps, batch, units, dtype=weight.dtype, device=gates.device) if save else out
    cell_before = torch.empty_like(out) if save else out
    tanh_cell = torch.empty(steps if save else 1, batch, units, dtype=torch.float32, device=gates.device)
    transposed = weight.t()
    for t in range(steps):
        if save:
            hidden = hidden_before[t].copy_(hidden).mul_(keep[t])
            cell = torch.mul(cell, keep[t], out=cell_before[t])
        else:
            hidden, cell = (hidden * keep[t]).to(weight.dtype), cell * keep[t]
        a = activated[t if save else 0]
        if weight.dtype == torch.float32:
            torch.addmm(gates[t], hidden, transposed, out=a)
        else:
            torch.add(gates[t], hidden @ transposed, out=a)
        a[:, 3 * units :].mul_(2)
        a.sigmoid_()
        a[:, 3 * units :].mul_(2).sub_(1)
        cell = (a[:, units : 2 * units] * cell).addcmul_(a[:, :units], a[:, 3 * units :])
        squashed = torch.mul(cell, 2, out=tanh_cell[t if save else 0]).sigmoid_().mul_(2).sub_(1)
        hidden = torch.mul(a[:, 2 * units : 3 * units], squashed, out=out[t])
    return out, cell, (activated, hidden_before, cell_before, tanh_cell)


class _Window(torch.autograd.Function):
    """`_run` with a backward pass: gradients of gates, recurrent weight and initial state."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, weight: Tensor, hidden: Tensor, cell: Tensor, keep: Tensor) -> Any:
        out, last_cell, saved = _run(gates, weight, hidden, cell, keep, save=True)
        ctx.save_for_backward(weight, keep, *saved)
        ctx.gates_dtype = gates.dtype
        return out, last_cell

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor, grad_cell: Tensor) -> Any:
        weight, keep, activated, hidden_before, cell_before, tanh_cell = ctx.saved_tensors
        steps, batch, units = grad_out.shape
        grad_gates = torch.empty_like(activated)
        d_hidden = torch.zeros(batch, units, dtype=torch.float32, device=weight.device)
        d_cell = grad_cell.clone()
        for t in reversed(range(steps)):
            a, d = activated[t], grad_gates[t]
            i, f, o, g = a.split(units, dim=-1)
            d_hidden += grad_out[t]
            d_cell += aten.tanh_backward(d_hidden * o, tanh_cell[t])
            torch.mul(d_cell, g, out=d[:, :units])
            torch.mul(d_cell, cell_before[t], out=d[:, units : 2 * units])
            torch.mul(d_hidden, tanh_cell[t], out=d[:, 2 * units : 3 * units])
            sigmoids = d[:, : 3 * units]
            aten.sigmoid_backward(sigmoids, a[:, : 3 * units], grad_input=sigmoids)
            aten.tanh_backward(d_cell * i, g, grad_input=d[:, 3 * units :])
            d_hidden = torch.mul(d.to(weight.dtype) @ weight, keep[t])
            d_cell = (d_cell * f).mul_(keep[t])
        flat = grad_gates.reshape(steps * batch, 4 * units).to(weight.dtype)
        grad_weight = flat.t() @ hidden_before.reshape(steps * batch, units)
        return grad_gates.to(ctx.gates_dtype), grad_weight, d_hidden, d_cell, None
