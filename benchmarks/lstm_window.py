"""The policy's LSTM over one window beside torch's own, beside itself by torch's operators, and beside its products.

    python benchmarks/lstm_window.py [--lstm-units 128 1024 --batches 64 256 --threads 1] [--json]

Torch's own are `nn.LSTM` without resets and an `nn.LSTMCell` loop with them. "The matrix products alone" are ours with
nothing else, into buffers that are there already: 1.00 would be the limit. "One row" is what acting runs.

All have the same weights and see the same [16, B] window; before anything is timed, outputs and weight gradients must
agree. The repetitions take turns, and the ratio is that of the medians: above 1, ours is the faster. `nn.LSTM` has two
kernels (oneDNN's and torch's own); the faster one counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from common.arguments import from_command_line
from common.machine import describe
from common.timing import median_times_s
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from quintet.model.lstm import LSTM

ROWS = 16
RESET_SHARE = 0.05  # of the rows; an untrained CartPole falls about every 20 steps
TOLERANCE = 1e-3  # relative to the largest number, fp32
UNIT = "times as fast (the other's time / ours, a window of 16 rows or one row)"
OPERATORS, PRODUCTS = "ours by torch's operators", "the matrix products alone"
Window = Callable[[Tensor, Tensor], Tensor]  # x [T, B, inputs] and first [T, B] to the hidden states [T, B, H]


@dataclass(frozen=True, kw_only=True, slots=True)
class Args:
    """What is compared."""

    lstm_units: tuple[int, ...] = (128, 1024)
    """Units; the input has half as many, at least 32."""
    batches: tuple[int, ...] = (64, 256)
    """Sequences of a window."""
    threads: int = 1
    """Threads of torch's operators."""
    seconds: float = 2.0
    """How long each comparison takes turns."""
    json: bool = False
    """Print one object with ratio, unit and config as the last line of stdout."""


class CellLoop(nn.Module):
    """What one writes with `nn.LSTMCell` when games begin inside a window."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(inputs, units)

    def forward(self, x: Tensor, first: Tensor, before: Tensor) -> Tensor:
        """The hidden states [T, B, H]."""
        state = tuple(before.unbind(1))
        keep = torch.logical_not(first).unsqueeze(-1).to(x.dtype)
        rows = []
        for row, kept in zip(x, keep, strict=True):
            state = self.cell(row, (state[0] * kept, state[1] * kept))
            rows.append(state[0])
        return torch.stack(rows)


class Contestants:
    """Ours and torch's two with equal weights, each as a function of x and first, and their recurrent gradients."""

    def __init__(self, units: int, batch: int) -> None:
        inputs = max(32, units // 2)
        self.ours, self.loop, self.fused = LSTM(inputs, units), CellLoop(inputs, units), nn.LSTM(inputs, units)
        # The weights as torch's modules name them, which their type stubs do not know.
        self.loop_weights = dict(self.loop.cell.named_parameters())
        self.fused_weights = {name.removesuffix("_l0"): weight for name, weight in self.fused.named_parameters()}
        self._copy_weights(units)
        self.state = torch.randn(batch, 2, units) * 0.1
        self.state_for_fused = tuple(part[None].contiguous() for part in self.state.unbind(1))
        self.x = torch.randn(ROWS, batch, inputs)
        self.resets = torch.rand(ROWS, batch) < RESET_SHARE
        self.no_resets = torch.zeros(ROWS, batch, dtype=torch.bool)

    def _copy_weights(self, units: int) -> None:
        """Torch stores the gates as input, forget, cell, output; ours as input, forget, output, cell."""
        ours = self.ours.gates
        weight, weight_hidden = torch.split(ours.weight, [self.ours.inputs, units], dim=1)
        with torch.no_grad():
            for theirs in (self.loop_weights, self.fused_weights):
                theirs["weight_ih"].copy_(reorder_gates(weight, units))
                theirs["weight_hh"].copy_(reorder_gates(weight_hidden, units))
                theirs["bias_ih"].copy_(reorder_gates(ours.bias, units))
                theirs["bias_hh"].zero_()

    def run_ours(self, x: Tensor, first: Tensor) -> Tensor:
        """The policy's LSTM."""
        hidden: Tensor = self.ours(x, first, self.state)[0]
        return hidden

    def run_operators(self, x: Tensor, first: Tensor) -> Tensor:
        """The policy's LSTM without its compiled kernels."""
        hidden: Tensor = self.ours.by_operators(x, first, self.state)[0]
        return hidden

    def run_loop(self, x: Tensor, first: Tensor) -> Tensor:
        """nn.LSTMCell, row by row."""
        hidden: Tensor = self.loop(x, first, self.state)
        return hidden

    def run_fused(self, x: Tensor, first: Tensor) -> Tensor:
        """nn.LSTM; it knows no resets."""
        hidden: Tensor = self.fused(x, self.state_for_fused)[0]
        return hidden

    def run_fused_native(self, x: Tensor, first: Tensor) -> Tensor:
        """nn.LSTM with oneDNN turned off; autograd remembers the choice."""
        torch.backends.mkldnn.set_flags(_enabled=False)  # type: ignore[no-untyped-call]
        try:
            return self.run_fused(x, first)
        finally:
            torch.backends.mkldnn.set_flags(_enabled=True)  # type: ignore[no-untyped-call]

    def check(self) -> None:
        """All contestants compute the same.

        Raises:
            RuntimeError: outputs or gradients differ, so that no ratio between them would mean anything.
        """
        own = self.ours.gates.weight
        _agree(
            "run_operators",
            self._values(self.run_ours, self.resets, own),
            self._values(self.run_operators, self.resets, own),
        )
        for theirs, first, weights in (
            (self.run_loop, self.resets, self.loop_weights),
            (self.run_fused, self.no_resets, self.fused_weights),
            (self.run_fused_native, self.no_resets, self.fused_weights),
        ):
            mine, mine_grad = self._values(self.run_ours, first, own)
            found = (mine, reorder_gates(mine_grad[:, self.ours.inputs :], self.ours.units))
            _agree(theirs.__name__, found, self._values(theirs, first, weights["weight_hh"]))

    def _values(self, window: Window, first: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The hidden states, and this weight's gradient."""
        hidden = window(self.x, first)
        (gradient,) = torch.autograd.grad(hidden.square().sum(), weight)
        return hidden.detach(), gradient


def _agree(name: str, found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> None:
    for a, b in zip(found, expected, strict=True):
        difference = float((a - b).abs().max() / b.abs().max())
        if difference > TOLERANCE:
            raise RuntimeError(f"{name} differs from ours by {difference:.1e}; expected at most {TOLERANCE}")


class Products:
    """The matrix products of a window and nothing else."""

    def __init__(self, lstm: LSTM, batch: int) -> None:
        self.weight = lstm.gates.weight.detach()
        gates, joined = self.weight.shape
        self.joined, self.d_joined = torch.randn(ROWS, batch, joined), torch.empty(batch, joined)
        self.gates, self.d_gates = torch.randn(ROWS, batch, gates), torch.randn(ROWS, batch, gates)
        self.d_weight = torch.empty_like(self.weight)

    def forward(self, rows: int = ROWS) -> None:
        """Inputs and hidden states together, row by row."""
        for t in range(rows):
            torch.mm(self.joined[t], self.weight.t(), out=self.gates[t])

    def forward_backward(self) -> None:
        """And the gradients of both row by row, of the weight at once."""
        self.forward()
        for row in self.d_gates:
            torch.mm(row, self.weight, out=self.d_joined)
        torch.mm(self.d_gates.flatten(0, 1).t(), self.joined.flatten(0, 1), out=self.d_weight)


def reorder_gates(weight: Tensor, units: int) -> Tensor:
    """Our order of gates to torch's."""
    i, f, o, g = torch.split(weight.detach(), units)
    return torch.cat((i, f, g, o))


def forward(window: Window, x: Tensor, first: Tensor) -> Callable[[], None]:
    """The window without a graph."""

    def work() -> None:
        with torch.no_grad():
            window(x, first)

    return work


def forward_backward(window: Window, x: Tensor, first: Tensor, module: nn.Module) -> Callable[[], None]:
    """The window and its gradients for the weights and the input."""
    x = x.clone().requires_grad_()
    wanted = (x, *module.parameters())

    def work() -> None:
        torch.autograd.grad(window(x, first).sum(), wanted)

    return work


def compare(units: int, batch: int, seconds: float) -> dict[str, float]:
    """Ratios of one size: their time / ours."""
    torch.manual_seed(0)
    c = Contestants(units, batch)
    c.check()
    products = Products(c.ours, batch)
    ratios = {}
    works: dict[str, tuple[Callable[[Window, Tensor, nn.Module], Callable[[], None]], Callable[[], None]]] = {
        "forward": (lambda window, first, _: forward(window, c.x, first), products.forward),
        "forward + backward": (
            lambda window, first, module: forward_backward(window, c.x, first, module),
            products.forward_backward,
        ),
    }
    for name, (make, bare) in works.items():
        times = median_times_s(
            {
                "ours": make(c.run_ours, c.no_resets, c.ours),
                "onednn": make(c.run_fused, c.no_resets, c.fused),
                "native": make(c.run_fused_native, c.no_resets, c.fused),
                "ours, resets": make(c.run_ours, c.resets, c.ours),
                "loop": make(c.run_loop, c.resets, c.loop),
                "operators": make(c.run_operators, c.resets, c.ours),
                "products": bare,
            },
            seconds,
        )
        ratios[f"nn.LSTM, {name}"] = min(times["onednn"], times["native"]) / times["ours"]
        ratios[f"nn.LSTMCell loop with resets, {name}"] = times["loop"] / times["ours, resets"]
        ratios[f"{OPERATORS}, {name}"] = times["operators"] / times["ours, resets"]
        ratios[f"{PRODUCTS}, {name}"] = times["products"] / times["ours, resets"]
    return ratios | compare_one_row(c, products, seconds)


def compare_one_row(c: Contestants, products: Products, seconds: float) -> dict[str, float]:
    """The same for acting."""
    x, first = c.x[:1], c.resets[:1]
    times = median_times_s(
        {
            "ours": forward(c.run_ours, x, first),
            "operators": forward(c.run_operators, x, first),
            "products": lambda: products.forward(rows=1),
        },
        seconds,
    )
    return {
        f"{OPERATORS}, one row": times["operators"] / times["ours"],
        f"{PRODUCTS}, one row": times["products"] / times["ours"],
    }


def main(args: Args) -> None:
    torch.set_num_threads(args.threads)
    sizes = [(units, batch) for units in args.lstm_units for batch in args.batches]
    results: dict[str, dict[str, float]] = {}
    for units, batch in sizes:
        for name, ratio in compare(units, batch, args.seconds).items():
            results.setdefault(name, {})[f"{units} units, batch {batch}"] = ratio
    if args.json:
        config: dict[str, Any] = {"rows": ROWS, "threads": args.threads, "seconds": args.seconds, "machine": describe()}
        print(json.dumps({"ratio": results, "unit": UNIT, "config": config}))
        return
    table = Table(title=f"The policy's LSTM: {UNIT}")
    table.add_column("than")
    for units, batch in sizes:
        table.add_column(f"H {units}, B {batch}", justify="right")
    for name, ratios in results.items():
        table.add_row(name, *(f"{ratio:.2f}" for ratio in ratios.values()))
    Console().print(table)


if __name__ == "__main__":
    main(from_command_line(Args, __doc__))
