"""Slot embeddings as each agent sees them, and pointers at them: by torch's operators, or compiled for f32 on a CPU."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quintet.model.normalizer import INPUT_CLIP

MOST_DIMENSIONS = 3  # of a position, for the compiled kernels


@functools.cache
def kernels() -> ModuleType | None:
    """`entity_rows`, or None where numba does not load; imported when first needed, since numba takes a while."""
    try:
        from quintet.model.kernels import entity_rows
    except ImportError as error:
        logging.getLogger(__name__).warning("entity sets run without compiled kernels and are slower: %s", error)
        return None
    return entity_rows


@dataclass(frozen=True, slots=True)
class SlotKeys:
    """What pointers point at: the embedding of every slot of a set, as each agent sees it."""

    embedding: Tensor  # [R, A or 1, N, S], 0 where a slot is empty; 1: the agents of a team see the same
    compiled: bool = False  # by the kernels: then only `pointed` may differentiate it


@dataclass(frozen=True, slots=True)
class RelativePosition:
    """Where slots stand from agents, and what that is worth."""

    position: Tensor  # [R, 1 or A, N, d] f32, of the slots; no gradient is made for it nor for `agent`
    agent: Tensor  # [R, A, d] f32
    weight: Tensor  # [S, d + 1], of offset and distance
    scale: float  # the distance that counts as 1


def embed_slots(
    network: Callable[[Tensor], Tensor], x: Tensor, there: Tensor, relative: RelativePosition | None, own: Tensor | None
) -> tuple[SlotKeys, Tensor, Tensor | None]:
    """relu(network(x) + weight . (offset, distance)) of every slot for each agent, and its maximum over the slots.

    Args:
        network: [..., F] -> [..., S]; what a slot is to everybody.
        x: [R, 1 or A, N, F].
        there: [R, 1 or A, N] bool.
        relative: None where a slot is the same to every agent.
        own: [A], the slot that each agent is, or None.

    Returns:
        The embeddings, their maximum [R, A or 1, S] (0 where all slots are empty), and those of `own` [R, A, S].
    """
    slot = network(x)
    if relative is not None:
        features = relation_features(relative.position, relative.agent, relative.scale).to(relative.weight.dtype)
        slot = slot + torch.nn.functional.linear(features, relative.weight)
    embedding = torch.where(there.unsqueeze(-1), slot, 0).relu()
    return SlotKeys(embedding), embedding.amax(dim=2), None if own is None else _own(embedding, own)


def embed_slots_compiled(
    network: Callable[[Tensor], Tensor], x: Tensor, there: Tensor, relative: RelativePosition | None, own: Tensor | None
) -> tuple[SlotKeys, Tensor, Tensor | None]:
    """`embed_slots` for f32 on a CPU; the network runs over the slots that are there, and no others."""
    flat = there.flatten()
    present = flat.nonzero().squeeze(1)
    number = torch.where(flat, flat.cumsum(0, dtype=torch.int32) - 1, -1).view(there.shape)
    slot = network(x.flatten(0, 2)[present])
    if relative is None:
        position, agent = x.new_empty(len(present), 0, dtype=torch.float32), torch.empty(*x.shape[:2], 0)
        weight, scale = torch.zeros(slot.shape[1], 1), 1.0
    else:
        position, agent = relative.position.flatten(0, 2)[present], relative.agent
        weight, scale = relative.weight, relative.scale
    embedding, pooled, own_embedding = _Embed.apply(  # type: ignore[no-untyped-call]
        slot, number, position, agent, weight, scale, own
    )
    return SlotKeys(embedding, compiled=True), pooled, None if own is None else own_embedding


def relation_features(position: Tensor, agent: Tensor, scale: float) -> Tensor:
    """[R, 1 or A, N, d], [R, A, d] -> [R, A, N, d + 1] f32: offset and distance in units of the scale, clipped."""
    offset = (position - agent.unsqueeze(2)) / scale
    distance = torch.linalg.vector_norm(offset, dim=-1, keepdim=True)
    return torch.cat((offset, distance), dim=-1).clamp_(-INPUT_CLIP, INPUT_CLIP)


def pointed(keys: SlotKeys, query: Tensor) -> Tensor:
    """Dot products of every slot's key with the query of its agent [R, A, S] f32 -> [R, A, N] f32."""
    if keys.compiled:
        logits: Tensor = _Point.apply(keys.embedding, query)  # type: ignore[no-untyped-call]
        return logits
    query = query.to(keys.embedding.dtype)
    if keys.embedding.shape[1] == 1:
        return (query @ keys.embedding.squeeze(1).transpose(-1, -2)).to(torch.float32)
    return (keys.embedding @ query.unsqueeze(-1)).squeeze(-1).to(torch.float32)


def compilable(x: Tensor, weight: Tensor, compute_dtype: torch.dtype, dimensions: int) -> bool:
    """f32 products of f32 weights on a CPU, positions in the plane or in space, and numba loads."""
    formats = weight.dtype == compute_dtype == torch.float32
    return formats and x.device.type == "cpu" and dimensions <= MOST_DIMENSIONS and kernels() is not None


def _own(embedding: Tensor, own: Tensor) -> Tensor:
    """[R, 1 or A, N, S], [A] -> [R, A, S]."""
    agents = torch.arange(len(own)) if embedding.shape[1] > 1 else torch.zeros_like(own)
    return embedding[:, agents, own]


def _arrays(*tensors: Tensor) -> list[Any]:
    return [x.detach().contiguous().numpy() for x in tensors]


def _four(weight: Tensor) -> Tensor:
    """[S, d + 1] -> [4, S]: offsets first, distance last, as the kernels want it."""
    four = torch.zeros(MOST_DIMENSIONS + 1, weight.shape[0])
    four[: weight.shape[1] - 1], four[-1] = weight[:, :-1].t(), weight[:, -1]
    return four


class OuterProducts(Tensor):
    """The gradient of embeddings as a sum of outer products, one for each pointer, which are never multiplied out."""

    factors: tuple[tuple[Tensor, Tensor], ...]  # gradients of logits [R, A, N], queries [R, A, S]

    @classmethod
    def of(cls, shape: torch.Size, factors: tuple[tuple[Tensor, Tensor], ...]) -> OuterProducts:
        """Of embeddings of this shape."""
        made: OuterProducts = cls._make_wrapper_subclass(cls, shape, dtype=torch.float32)
        made.factors = factors
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """What autograd does with gradients: it adds them up."""
        if func is torch.ops.aten.add.Tensor and all(isinstance(x, OuterProducts) for x in args):
            return cls.of(args[0].shape, args[0].factors + args[1].factors)
        raise NotImplementedError(f"{func} of the embeddings' gradient: only pointers differentiate them")


class _Embed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> tuple[Tensor, Tensor, Tensor]:
        slot, number, position, agent, weight, scale, own = given
        embedding = torch.empty(*agent.shape[:2], number.shape[2], slot.shape[1])
        pooled = torch.empty(*agent.shape[:2], slot.shape[1])
        highest = torch.empty(pooled.shape, dtype=torch.int32)
        position, agent, limits = position.contiguous(), agent.contiguous(), (np.float32(scale), np.float32(INPUT_CLIP))
        inputs = _arrays(slot, number, position, agent, _four(weight))
        kernels().embed(*inputs, *limits, *_arrays(embedding, pooled, highest))  # type: ignore[union-attr]
        ctx.save_for_backward(embedding, highest, number, position, agent)
        ctx.limits, ctx.slot_shape, ctx.own = limits, slot.shape, own
        ctx.set_materialize_grads(False)
        return embedding, pooled, embedding.new_zeros(0) if own is None else _own(embedding, own)

    @staticmethod
    def backward(ctx: Any, pointers: OuterProducts | None, grad_pooled: Tensor | None, grad_own: Tensor | None) -> Any:
        embedding, highest, number, position, agent = ctx.saved_tensors
        grad_slot, four = torch.zeros(ctx.slot_shape), torch.zeros(MOST_DIMENSIONS + 1, embedding.shape[-1])
        where, into = (*_arrays(number, position, agent), *ctx.limits), _arrays(grad_slot, four)
        if grad_pooled is not None:
            kernels().embed_backward(*_arrays(grad_pooled, highest), *where, *into)  # type: ignore[union-attr]
        outer = [] if pointers is None else list(pointers.factors)
        if grad_own is not None and ctx.own is not None:
            slots = torch.nn.functional.one_hot(ctx.own, embedding.shape[2]).to(torch.float32)
            outer.append((slots.expand(len(embedding), *slots.shape), grad_own))
        for grad_logits, query in outer:
            kernels().pointed_backward(*_arrays(grad_logits, query, embedding), *where, *into)  # type: ignore[union-attr]
        grad_weight = torch.cat((four[: agent.shape[-1]], four[-1:])).t()
        return grad_slot, None, None, None, grad_weight, None, None


class _Point(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, keys: Tensor, query: Tensor) -> Tensor:
        query = query.contiguous()
        logits = torch.empty(*query.shape[:2], keys.shape[2])
        kernels().point(*_arrays(keys, query, logits))  # type: ignore[union-attr]
        ctx.save_for_backward(keys, query)
        return logits

    @staticmethod
    def backward(ctx: Any, grad_logits: Tensor) -> Any:
        keys, query = ctx.saved_tensors
        grad_logits, grad_query = grad_logits.contiguous(), torch.zeros_like(query)
        kernels().point_backward(*_arrays(grad_logits, keys, grad_query))  # type: ignore[union-attr]
        return OuterProducts.of(keys.shape, ((grad_logits, query),)), grad_query
