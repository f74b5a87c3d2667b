"""Policy <-> the bytes that travel and that checkpoints hold: safetensors, strict on names, shapes and dtypes."""

from __future__ import annotations

import hashlib

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from model.layers import Linear
from model.policy import Policy
from wire.errors import DecodeError
from wire.link import EncodedWeights


def _travel_dtypes(policy: Policy) -> dict[str, torch.dtype]:
    """The dtype in which each tensor that is not f32 travels: exactly those that are cast before they are multiplied.

    So a worker with the published bf16 numbers and the optimizer with its f32 masters run the same products. What is
    used as it is (statistics, the value head, embeddings, convolutions) would differ between the two in bf16.
    """
    dtypes: dict[str, torch.dtype] = {}
    for name, module in policy.named_modules():
        if isinstance(module, Linear):
            dtypes |= {f"{name}.weight": module.compute_dtype, f"{name}.bias": module.compute_dtype}
    return dtypes


def encode_weights(policy: Policy, *, version: int, agent_steps: int, spec_hash: str) -> EncodedWeights:
    """One version of the policy in the dtype that workers compute in."""
    dtypes = _travel_dtypes(policy)
    tensors = {
        name: tensor.detach().to("cpu", dtypes.get(name, torch.float32)).contiguous()
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
    own, dtypes = policy.state_dict(), _travel_dtypes(policy)
    if missing := sorted(own.keys() ^ tensors.keys()):
        raise DecodeError(f"weights do not fit this network: {missing[0]!r} is on one side only ({len(missing)} such)")
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise DecodeError(f"weights: {name} has shape {list(tensor.shape)}, expected {list(own[name].shape)}")
        accepted = {torch.float32, dtypes.get(name, torch.float32)}
        if tensor.dtype not in accepted:
            raise DecodeError(f"weights: {name} is {tensor.dtype}, expected {' or '.join(sorted(map(str, accepted)))}")
        # A sum that is finite has no NaN and no infinity in it, and costs far less than a look at every number.
        if not bool(torch.isfinite(tensor.sum())) and not bool(torch.isfinite(tensor).all()):
            raise DecodeError(f"weights: {name} holds NaN or infinity")
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)
