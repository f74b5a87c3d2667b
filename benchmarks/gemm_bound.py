"""The limit of end_to_end.py: agent-steps/s of a loop that does nothing but the LSTM's matrix products.

Per window of 16 rows and B sequences: 16 times the products of one acting row, then those of one update (forward and
backward once, the recurrent ones row by row as the LSTM demands). No element-wise work, no encoder, no heads, no game,
no Adam, no link. Acting and updating may each have the batch that suits them best, and the fastest repetition counts:
no loop with this LSTM and this number format can be faster on this machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from common.arguments import from_command_line

ROWS = 16
BATCHES = (64, 256, 1024)
LARGEST_STATE = 2**18  # batch x units; more takes seconds per repetition and is no faster


@dataclass(frozen=True, kw_only=True, slots=True)
class Args:
    """One process's part of the bound."""

    lstm_units: int = 128
    """Units of the LSTM; its input has half as many, at least 32."""
    threads: int = 1
    """Threads of each product; set OMP_NUM_THREADS to the same number."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format of the products."""
    seconds: float = 1.0
    """How long each of the products is repeated."""


class Products:
    """The matrices of one batch size, and the products that acting and updating cannot do without."""

    def __init__(self, batch: int, units: int, dtype: torch.dtype) -> None:
        inputs = max(32, units // 2)
        self.w_input = torch.randn(inputs, 4 * units, dtype=dtype)
        self.w_hidden = torch.randn(units, 4 * units, dtype=dtype)
        self.x = torch.randn(ROWS * batch, inputs, dtype=dtype)
        self.hidden = torch.randn(ROWS * batch, units, dtype=dtype)
        self.d_gates = torch.randn(ROWS * batch, 4 * units, dtype=dtype)
        self.batch = batch

    def act(self) -> None:
        """One row of every sequence."""
        self.x[: self.batch] @ self.w_input
        self.hidden[: self.batch] @ self.w_hidden

    def update(self) -> None:
        """A window of every sequence, forward and backward."""
        self.x @ self.w_input
        for _ in range(ROWS):
            self.hidden[: self.batch] @ self.w_hidden
        for _ in range(ROWS):
            self.d_gates[: self.batch] @ self.w_hidden.t()
        self.hidden.t() @ self.d_gates
        self.x.t() @ self.d_gates
        self.d_gates @ self.w_input.t()


def fastest_s(work: Callable[[], None], seconds: float) -> float:
    """The shortest of at least three repetitions, after one that warms up."""
    work()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main(args: Args) -> None:
    torch.set_num_threads(args.threads)
    dtype = getattr(torch, args.precision)
    act_s, update_s = {}, {}
    with torch.inference_mode():
        for batch in BATCHES:
            if batch * args.lstm_units > max(LARGEST_STATE, BATCHES[0] * args.lstm_units):
                continue
            products = Products(batch, args.lstm_units, dtype)
            act_s[batch] = fastest_s(products.act, args.seconds) / batch
            update_s[batch] = fastest_s(products.update, args.seconds) / (ROWS * batch)
    act_batch, update_batch = min(act_s, key=act_s.__getitem__), min(update_s, key=update_s.__getitem__)
    steps_per_s = 1 / (act_s[act_batch] + update_s[update_batch])
    print(json.dumps({"steps_per_s": steps_per_s, "act_batch": act_batch, "update_batch": update_batch}))


if __name__ == "__main__":
    main(from_command_line(Args, __doc__))
