"""What `auto` of model.precision rests on: bfloat16's time over float32's, acting and training, by network size.

    python benchmarks/number_format.py --lstm-units 128 512 1024

One policy for a vector of 64 numbers and four choices, one thread. Both formats take turns, so that a drift of the
machine meets both. Below 1 bfloat16 is the faster one; it is emulated where the last line names no units for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from common.arguments import from_command_line
from common.machine import describe
from common.timing import median_times_s
from gymnasium import spaces

from quintet.games.api import GameSpec
from quintet.model.config import PolicyConfig
from quintet.model.policy import Policy
from quintet.wire.link import PRECISIONS, Precision

INPUTS, CHOICES = 64, 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Args:
    """Sizes and patience."""

    lstm_units: tuple[int, ...] = (64, 128, 256, 512, 1024)
    """Units of the LSTM, one line each."""
    slots: int = 32
    """Rows of an acting step."""
    sequences: int = 64
    """Sequences of a training step."""
    bptt_steps: int = 16
    """Rows of a sequence."""
    seconds: float = 3.0
    """How long each comparison takes."""


def policy_of(units: int, precision: Precision) -> Policy:
    spec = GameSpec(
        name="vector",
        teams=1,
        agents_per_team=1,
        observation_space=spaces.Dict({"seen": spaces.Box(-1, 1, (INPUTS,), np.float32)}),
        action_space=spaces.Dict({"choice": spaces.Discrete(CHOICES)}),
    )
    return Policy(spec, PolicyConfig(lstm_units=units, precision=precision)).use_device(torch.device("cpu"))


def acting(policy: Policy, args: Args) -> Callable[[], None]:
    """One row of every slot."""
    seen, first = torch.randn(args.slots, 1, INPUTS), torch.zeros(args.slots, dtype=torch.bool)
    previous, state = {"choice": torch.zeros(args.slots, 1, dtype=torch.int64)}, policy.initial_state(args.slots)

    def work() -> None:
        policy.act({"seen": seen}, first, previous, state)

    return work


def training(policy: Policy, args: Args) -> Callable[[], None]:
    """One window of every sequence, forward and backward."""
    shape = (args.bptt_steps, args.sequences)
    observation, first = {"seen": torch.randn(*shape, 1, INPUTS)}, torch.zeros(shape, dtype=torch.bool)
    action, state = {"choice": torch.zeros(*shape, 1, dtype=torch.int64)}, policy.initial_state(args.sequences)

    def work() -> None:
        policy.zero_grad(set_to_none=True)
        unrolled = policy.unroll(observation, first, action, state)
        found = policy.evaluate(unrolled, observation, action)
        loss = torch.stack([unrolled.value.sum(), *(x.sum() for x in found.log_prob.values())]).sum()
        torch.autograd.backward(loss)

    return work


def main(args: Args) -> None:
    torch.set_num_threads(1)
    print("LSTM units   act: bf16 / f32   train: bf16 / f32")
    ratios: dict[str, dict[str, float]] = {}
    for units in args.lstm_units:
        policies = {precision: policy_of(units, precision) for precision in PRECISIONS}
        ratio = {}
        for name, make in (("act", acting), ("train", training)):
            times_s = median_times_s({p: make(policy, args) for p, policy in policies.items()}, args.seconds)
            ratio[name] = times_s["bfloat16"] / times_s["float32"]
        print(f"{units:10}   {ratio['act']:15.2f}   {ratio['train']:17.2f}", flush=True)
        ratios[str(units)] = ratio
    print(json.dumps({"bf16_over_f32": ratios, "machine": describe()}))


if __name__ == "__main__":
    main(from_command_line(Args, __doc__))
