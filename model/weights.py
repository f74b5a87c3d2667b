"""Policy <-> the bytes that travel and that checkpoints hold: safetensors, strict on names, shapes and dtypes."""

from __future__ import annotations

import hashlib

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from model.policy import Policy
from wire.errors import DecodeError
from wire.link import EncodedWeights

_ALWAYS_F32 = ("value.", "returns.", ".normalizer.", ".log_std")


def _travel_dtype(name: str, tensor: Tensor, compute_dtype: torch.dtype) -> torch.dtype:
    """Workers compute in `compute_dtype`; statistics and the value head's last layer would lose too much in bf16."""
    return torch.float32 if any(part in name for part in _ALWAYS_F32) else compute_dtype


def encode_weights(policy: Policy, *, version: int, agent_steps: int, spec_hash: str) -> EncodedWeights:
    """One version of the policy in the dtype that workers compute in."""
    tensors = {
        name: tensor.detach().to("cpu", _travel_dtype(name, tensor, policy.compute_dtype)).contiguous()
        for name, tensor in policy.state_dict().items()
    }
    payload = save(tensors)
    return EncodedWeights(
        version=version,
        agent_steps=agent_steps,
        spec_hash=spec_hash,
        sha256=hashlib.sha256(payload).hexdigest(),
        payload=payload,
    )


def load_weights(policy: Policy, payload: bytes) -> None:
    """Copy published or checkpointed weights into a policy; nothing is changed unless everything fits.

    Raises:
        DecodeError: the bytes are not safetensors, or names, shapes or dtypes are not this policy's.
    """
    try:
        tensors = load(payload)
    except SafetensorError as error:
        raise DecodeError(f"weights of {len(payload)} bytes are not a safetensors file: {error}") from error
    own = policy.state_dict()
    if missing := sorted(own.keys() ^ tensors.keys()):
        raise DecodeError(f"weights do not fit this network: {missing[0]!r} is on one side only ({len(missing)} such)")
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise DecodeError(f"weights: {name} has shape {list(tensor.shape)}, expected {list(own[name].shape)}")
        if tensor.dtype not in (torch.float32, _travel_dtype(name, tensor, policy.compute_dtype)):
            raise DecodeError(f"weights: {name} is {tensor.dtype}, expected float32 or {policy.compute_dtype}")
        if not bool(torch.isfinite(tensor).all()):
            raise DecodeError(f"weights: {name} holds NaN or infinity")
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)
