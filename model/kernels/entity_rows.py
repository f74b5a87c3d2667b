"""Slot embeddings and pointers at them, compiled: one pass over the network's widest tensor, and a sparse way back.

A chain of torch operators crosses [rows, agents, slots, units] a dozen times forward and backward and is bound by
memory. Here one agent's slots are finished before the next begin, slots that are empty cost nothing but their zeros,
and the gradient goes only where it is not zero: to the slots that won the maximum for some unit, to the agent's own,
and to those that a pointer could have chosen.

All arrays are C-contiguous. R rows, A agents, L agents that have slots of their own (1 where the team shares them; it
is indexed by a % L), N slots, M slots of all rows that are not empty, S units, and four features of where a slot stands
from an agent: offset (up to three numbers) and distance. `number` [R, L, N] is a slot's place among the M, -1 if empty.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quintet.model.kernels.compile import compiled

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
Flags = NDArray[np.bool_]
f32 = np.float32
ZERO = f32(0)
FEATURES = 4


@compiled("contract", "reassoc")
def write_features(number: I32, position: F32, agent: F32, scale: np.float32, clip: np.float32, out: F32) -> None:
    """number [N], position [M, d], agent [d] -> out [N, 4]: offset, zeros, distance, in scales, clipped."""
    unit = f32(1) / scale
    for n in range(out.shape[0]):
        m = number[n]
        if m >= 0:
            square = ZERO
            for k in range(agent.shape[0]):
                offset = (position[m, k] - agent[k]) * unit
                square += offset * offset
                out[n, k] = min(max(offset, -clip), clip)
            out[n, FEATURES - 1] = min(np.sqrt(square), clip)


@compiled("contract", "reassoc")
def embed(
    slot: F32,
    number: I32,
    position: F32,
    agent: F32,
    weight: F32,
    scale: np.float32,
    clip: np.float32,
    embedding: F32,
    pooled: F32,
    highest: I32,
) -> None:
    """relu(slot + features . weight) of every slot for every agent, and the maximum over the slots that are there.

    Args:
        slot: [M, S].
        number: [R, L, N].
        position: [M, d].
        agent: [R, A, d].
        weight: [4, S].
        scale: the distance that counts as 1.
        clip: largest feature.
        embedding: [R, A, N, S], is written; 0 where a slot is empty.
        pooled: [R, A, S], is written.
        highest: [R, A, S], is written: which slot the maximum is of; -1 where it is 0.
    """
    features = np.zeros((embedding.shape[2], FEATURES), f32)
    for r in range(embedding.shape[0]):
        for a in range(embedding.shape[1]):
            numbers = number[r, a % number.shape[1]]
            write_features(numbers, position, agent[r, a], scale, clip, features)
            embed_agent(slot, numbers, features, weight, embedding[r, a], pooled[r, a], highest[r, a])


@compiled("contract", "reassoc")
def embed_agent(slot: F32, number: I32, x: F32, weight: F32, embedding: F32, pooled: F32, highest: I32) -> None:
    """`embed` for one agent. No views of single slots: to make one costs as much as a slot's arithmetic."""
    slots, units = embedding.shape
    pooled[:] = ZERO
    highest[:] = -1
    for n in range(slots):
        m = number[n]
        if m >= 0:
            x0, x1, x2, x3 = x[n, 0], x[n, 1], x[n, 2], x[n, 3]
            for s in range(units):
                e = slot[m, s] + x0 * weight[0, s] + x1 * weight[1, s] + x2 * weight[2, s] + x3 * weight[3, s]
                e = ZERO if e < ZERO else e  # NaN stays
                best = pooled[s]
                higher = (e > best) | (e != e)  # NaN stays here as well
                highest[s] = np.int32(n) if higher else highest[s]
                pooled[s] = e if higher else best
                embedding[n, s] = e
        else:
            for s in range(units):
                embedding[n, s] = ZERO


@compiled("contract", "reassoc")
def embed_backward(
    grad_pooled: F32,
    highest: I32,
    number: I32,
    position: F32,
    agent: F32,
    scale: np.float32,
    clip: np.float32,
    grad_slot: F32,
    grad_weight: F32,
) -> None:
    """What the maximum adds to the gradients of slots [M, S] and weight [4, S]; other shapes as in `embed`."""
    features = np.zeros((number.shape[2], FEATURES), f32)
    for r in range(grad_pooled.shape[0]):
        for a in range(grad_pooled.shape[1]):
            numbers = number[r, a % number.shape[1]]
            write_features(numbers, position, agent[r, a], scale, clip, features)
            add_maximum(grad_pooled[r, a], highest[r, a], numbers, features, grad_slot, grad_weight)


@compiled("contract", "reassoc")
def add_maximum(grad: F32, highest: I32, number: I32, x: F32, grad_slot: F32, grad_weight: F32) -> None:
    """`embed_backward` for one agent."""
    for s in range(grad.shape[0]):
        n, g = highest[s], grad[s]
        if n >= 0:
            grad_slot[number[n], s] += g
            for k in range(FEATURES):
                grad_weight[k, s] += x[n, k] * g


@compiled("contract", "reassoc")
def point(keys: F32, query: F32, logits: F32) -> None:
    """Dot products: keys [R, 1 or A, N, S], query [R, A, S] -> logits [R, A, N]."""
    units = keys.shape[3]
    for r in range(logits.shape[0]):
        for a in range(logits.shape[1]):
            at = a % keys.shape[1]
            for n in range(logits.shape[2]):
                total = ZERO
                for s in range(units):
                    total += keys[r, at, n, s] * query[r, a, s]
                logits[r, a, n] = total


@compiled("contract", "reassoc")
def point_backward(grad_logits: F32, keys: F32, grad_query: F32) -> None:
    """Adds to the gradient of the query [R, A, S], which comes in as zeros; the keys' is for `pointed_backward`."""
    units = keys.shape[3]
    for r in range(grad_logits.shape[0]):
        for a in range(grad_logits.shape[1]):
            at = a % keys.shape[1]
            for n in range(grad_logits.shape[2]):
                g = grad_logits[r, a, n]
                if g != ZERO:
                    for s in range(units):
                        grad_query[r, a, s] += g * keys[r, at, n, s]


@compiled("contract", "reassoc")
def pointed_backward(
    grad_logits: F32,
    query: F32,
    embedding: F32,
    number: I32,
    position: F32,
    agent: F32,
    scale: np.float32,
    clip: np.float32,
    grad_slot: F32,
    grad_weight: F32,
) -> None:
    """What a pointer adds to the gradients of `embed`: grad_logits [R, A, N] times query [R, A, S], where e > 0."""
    features = np.zeros((number.shape[2], FEATURES), f32)
    for r in range(grad_logits.shape[0]):
        for a in range(grad_logits.shape[1]):
            if np.any(grad_logits[r, a]):
                numbers, e = number[r, a % number.shape[1]], embedding[r, a % embedding.shape[1]]
                write_features(numbers, position, agent[r, a % agent.shape[1]], scale, clip, features)
                add_pointer(grad_logits[r, a], query[r, a], e, numbers, features, grad_slot, grad_weight)


@compiled("contract", "reassoc")
def add_pointer(grad: F32, query: F32, embedding: F32, number: I32, x: F32, grad_slot: F32, grad_weight: F32) -> None:
    """`pointed_backward` for one agent."""
    for n in range(embedding.shape[0]):
        g, m = grad[n], number[n]
        if g != ZERO and m >= 0:
            x0, x1, x2, x3 = x[n, 0], x[n, 1], x[n, 2], x[n, 3]
            for s in range(embedding.shape[1]):
                d = g * query[s] if embedding[n, s] > ZERO else ZERO
                grad_slot[m, s] += d
                grad_weight[0, s] += x0 * d
                grad_weight[1, s] += x1 * d
                grad_weight[2, s] += x2 * d
                grad_weight[3, s] += x3 * d
