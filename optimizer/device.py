"""Where the optimizer computes."""

from __future__ import annotations

import torch


class DeviceError(ValueError):
    """The device that was asked for is not there."""


def pick_device(device: str) -> torch.device:
    """`auto` is the GPU where there is one.

    Raises:
        DeviceError: a GPU is asked for, and there is none.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(f"device is {device!r}, but this machine shows no CUDA GPU; use --device auto or cpu")
    return torch.device(device)
