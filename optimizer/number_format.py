"""Which number format a run computes in: `auto` is settled here, once, when its optimizer starts.

From then on the format is a property of the run. It stands in the header of its weights, in its checkpoints and in its
configuration, and every machine computes in it, emulated where there are no units for it.
"""

from __future__ import annotations

import os
from dataclasses import replace

import torch

from quintet.model.config import PolicyConfig
from quintet.optimizer.checkpoint import CheckpointInfo
from quintet.wire.link import PRECISIONS, Precision

FORCED = "QUINTET_AUTO_PRECISION"  # the environment variable: what `auto` is, whatever the machine
#: From so many LSTM units on bf16 is the faster one on CPUs with units for it. f32 has compiled kernels, which count
#: for more in small networks: decision 22 has the measurement.
WIDE = 512


class NumberFormatError(ValueError):
    """A number format that there is not."""

    ends_run_with = 2  # see `quintet.control.errors`


def settled(
    config: PolicyConfig, device: torch.device, *, workers_here: bool, checkpoint: CheckpointInfo | None = None
) -> PolicyConfig:
    """The same configuration with a number format in the place of `auto`; an explicit one is taken as it is.

    Args:
        config: of the network.
        device: where the optimizer computes.
        workers_here: whether all workers play on this machine; elsewhere nobody knows what their processors can do.
        checkpoint: what the run goes on from: its format stays.
    """
    if config.precision != "auto":
        return config
    known = checkpoint.precision if checkpoint is not None else ""
    return replace(config, precision=known or auto_precision(config.lstm_units, device, workers_here=workers_here))


def auto_precision(lstm_units: int, device: torch.device, *, workers_here: bool) -> Precision:
    """bf16 where the optimizer and every worker are known to be faster in it, else f32, which all machines are fast in.

    Raises:
        NumberFormatError: the environment forces a format that there is not.
    """
    forced = os.environ.get(FORCED)
    if forced:
        for precision in PRECISIONS:
            if forced == precision:
                return precision
        raise NumberFormatError(f"{FORCED} is {forced!r}; expected {' or '.join(PRECISIONS)}")
    everywhere = multiplies_bf16(device) and workers_here and multiplies_bf16(torch.device("cpu"))
    return "bfloat16" if everywhere and lstm_units >= WIDE else "float32"


def multiplies_bf16(device: torch.device) -> bool:
    """Whether it has units for bf16: what emulates bf16 is several times slower in it than in f32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
