"""Policy <-> the bytes that travel and that checkpoints hold: safetensors, strict on names, shapes and dtypes."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from quintet.model.layers import Linear
from quintet.model.normalizer import PixelNormalizer
from quintet.model.policy import Policy
from quintet.wire.errors import DecodeError
from quintet.wire.link import EncodedWeights, Precision


def _travel_dtypes(policy: Policy, precision: Precision) -> dict[str, torch.dtype]:
    """The dtype in which each tensor that is not f32 travels: exactly those that are cast before they are multiplied.

    So a worker with the published bf16 numbers and the optimizer with its f32 masters run the same products. What is
    used as it is (statistics, the value head, embeddings, convolutions) would differ between the two in bf16.
    """
    dtypes: dict[str, torch.dtype] = {}
    for name, module in policy.named_modules():
        if isinstance(module, Linear) and module is not policy.value:
            dtypes |= dict.fromkeys((f"{name}.weight", f"{name}.bias"), getattr(torch, precision))
    return dtypes


def encode_weights(policy: Policy, *, version: int, agent_steps: int, spec_hash: str) -> EncodedWeights:
    """One version of the policy in the number format that the run computes in."""
    dtypes = _travel_dtypes(policy, policy.precision)
    tensors = {
        name: tensor.detach().to("cpu", dtypes.get(name, torch.float32)).contiguous()
        for name, tensor in policy.state_dict().items()
    }
    payload = save(tensors)
    return EncodedWeights(
        version=version,
        agent_steps=agent_steps,
        spec_hash=spec_hash,
        precision=policy.precision,
        sha256=hashlib.sha256(payload).hexdigest(),
        payload=payload,
    )


def load_weights(policy: Policy, weights: EncodedWeights) -> None:
    """Copy published weights into a policy, which computes in their number format from then on.

    Nothing is changed unless everything fits.

    Raises:
        DecodeError: the bytes are not safetensors, names, shapes or dtypes are not this policy's, or it was configured
            with another number format.
    """
    policy.check_precision(weights.precision)
    _load(policy, weights.payload, _travel_dtypes(policy, weights.precision))
    policy.compute_in(weights.precision)


def load_masters(policy: Policy, payload: bytes, precision: Precision | Literal[""]) -> None:
    """Copy the f32 weights of a checkpoint into a policy, which computes in its run's number format from then on.

    An old checkpoint does not say which (""), and any will do. Raises as `load_weights` does.
    """
    precision = precision or policy.precision
    policy.check_precision(precision)
    _load(policy, payload, {})
    policy.compute_in(precision)


def absent_statistics(policy: Policy, tensors: Collection[str]) -> dict[str, Tensor]:
    """What weights from before images had statistics lack, by name: the identity, which stays one."""
    absent: dict[str, Tensor] = {}
    for name, module in policy.named_modules():
        if isinstance(module, PixelNormalizer):
            own = {f"{name}.{buffer}": tensor for buffer, tensor in module.left_alone().items()}
            if own.keys().isdisjoint(tensors):
                absent |= own
    return absent


def _load(policy: Policy, payload: bytes, dtypes: Mapping[str, torch.dtype]) -> None:
    """Copy tensors that are f32 unless `dtypes` says otherwise."""
    try:
        tensors = load(payload)
    except SafetensorError as error:
        raise DecodeError(f"weights of {len(payload)} bytes are not a safetensors file: {error}") from error
    own = policy.state_dict()
    tensors |= absent_statistics(policy, tensors)
    if missing := sorted(own.keys() ^ tensors.keys()):
        raise DecodeError(f"weights do not fit this network: {missing[0]!r} is on one side only ({len(missing)} such)")
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise DecodeError(f"weights: {name} has shape {list(tensor.shape)}, expected {list(own[name].shape)}")
        if tensor.dtype != (expected := dtypes.get(name, torch.float32)):
            raise DecodeError(f"weights: {name} is {tensor.dtype}, expected {expected}")
        # A sum that is finite has no NaN and no infinity in it, and costs far less than a look at every number.
        if not bool(torch.isfinite(tensor.sum())) and not bool(torch.isfinite(tensor).all()):
            raise DecodeError(f"weights: {name} holds NaN or infinity")
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)
