"""Chunks -> one batch of tensors, and a batch -> the windows that back-propagation runs through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from quintet.wire.chunk import Array, TrajectoryChunk
from quintet.wire.link import Message


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """B chunks beside each other, time first; shorter ones are padded at the end with rows that are not valid."""

    messages: tuple[Message, ...]  # [B]
    observation: dict[str, Tensor]  # [T, B, A, ...] or [T, B, ...]
    first: Tensor  # [T, B] bool
    action: dict[str, Tensor]  # [T + 1, B, A, ...]
    log_prob: dict[str, Tensor]  # [T, B, A]
    value: Tensor  # [T + 1, B, A], reward units
    reward: Tensor  # [T, B, A]
    terminated: Tensor  # [T, B, A] bool
    truncated: Tensor  # [T, B, A] bool
    acting: Tensor  # [T, B, A] bool
    valid: Tensor  # [T, B, A] bool
    auxiliary: dict[str, Tensor]  # [B, A, k]: what follows the chunk's last row
    lstm_state: Tensor  # [W, B, A, 2, H] f16
    version: Array  # [W, B] int64, on the host: staleness is judged there
    windows: Array  # [B] int64, real windows of each chunk
    incarnation: Array  # [B] int64, of the workers that played


def collate(messages: Sequence[Message], chunks: Sequence[TrajectoryChunk], device: torch.device) -> Batch:
    """Stack chunks along B and copy them to `device`; lengths may differ by whole windows."""
    rows = max(chunk.rows for chunk in chunks)
    windows = max(len(chunk.version) for chunk in chunks)

    def stack(arrays: Sequence[Array], length: int) -> Array:
        if all(len(array) == length for array in arrays):
            return np.stack(arrays, axis=1)
        out = np.zeros((length, len(arrays), *arrays[0].shape[1:]), arrays[0].dtype)
        for k, array in enumerate(arrays):
            out[: len(array), k] = array
        return out

    def tensor(arrays: Sequence[Array], length: int) -> Tensor:
        return torch.from_numpy(stack(arrays, length)).to(device, non_blocking=True)

    def tensors(maps: Sequence[Mapping[str, Array]], length: int) -> dict[str, Tensor]:
        return {name: tensor([m[name] for m in maps], length) for name in maps[0]}

    return Batch(
        messages=tuple(messages),
        observation=tensors([c.observation for c in chunks], rows),
        first=tensor([c.first for c in chunks], rows),
        action=tensors([c.action for c in chunks], rows + 1),
        log_prob=tensors([c.log_prob for c in chunks], rows),
        value=tensor([c.value for c in chunks], rows + 1),
        reward=tensor([c.reward for c in chunks], rows),
        terminated=tensor([c.terminated for c in chunks], rows),
        truncated=tensor([c.truncated for c in chunks], rows),
        acting=tensor([c.acting for c in chunks], rows),
        valid=tensor([c.valid for c in chunks], rows),
        auxiliary={
            name: torch.from_numpy(np.stack([c.auxiliary[name] for c in chunks])).to(device, non_blocking=True)
            for name in chunks[0].auxiliary
        },
        lstm_state=tensor([c.lstm_state for c in chunks], windows),
        version=stack([c.version.astype(np.int64) for c in chunks], windows),
        windows=np.array([len(c.version) for c in chunks]),
        incarnation=np.array([c.incarnation for c in chunks], np.int64),
    )


@dataclass(frozen=True, slots=True)
class Freshness:
    """Which windows are trained on. Windows that pad a shorter chunk are neither fresh nor stale."""

    fresh: Array  # [W, B] bool
    staleness: Array  # [number of real windows] int64
    trained_windows: Array  # [B] int64
    stale_windows: Array  # [B] int64


def judge_freshness(batch: Batch, version: int, max_staleness: int) -> Freshness:
    """Staleness of every window now that it is consumed: `version` being optimised minus the one that played it."""
    real = np.arange(batch.version.shape[0])[:, None] < batch.windows[None, :]
    staleness = version - batch.version
    fresh = real & (staleness <= max_staleness)
    return Freshness(fresh, staleness[real], fresh.sum(axis=0), (real & ~fresh).sum(axis=0))


def to_windows(x: Tensor, bptt_steps: int) -> Tensor:
    """[T, B, ...] -> [bptt_steps, W x B, ...], window-major: window w of chunk b stands at column w B + b."""
    t, b = x.shape[:2]
    w = t // bptt_steps
    return x.reshape(w, bptt_steps, b, *x.shape[2:]).transpose(0, 1).reshape(bptt_steps, w * b, *x.shape[2:])


@dataclass(frozen=True, kw_only=True, slots=True)
class Windows:
    """What one gradient step sees: [bptt_steps, n, ...] for rows, [n, ...] for states."""

    observation: dict[str, Tensor]
    first: Tensor
    previous_action: dict[str, Tensor]
    action: dict[str, Tensor]
    log_prob: dict[str, Tensor]
    state: Tensor  # [n, A, 2, H] f32
    rows: dict[str, Tensor]  # advantage, target, old_value, policy_mask, value_mask: [bptt_steps, n, A] f32
    labels: dict[str, Tensor]  # what auxiliary predictions are trained towards: [bptt_steps, n, A, k]

    def pick(self, columns: Tensor) -> Windows:
        """The windows at these columns."""

        def some(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor[:, columns] for name, tensor in tensors.items()}

        return Windows(
            observation=some(self.observation),
            first=self.first[:, columns],
            previous_action=some(self.previous_action),
            action=some(self.action),
            log_prob=some(self.log_prob),
            state=self.state[columns],
            rows=some(self.rows),
            labels=some(self.labels),
        )


def cut_windows(
    batch: Batch, rows: Mapping[str, Tensor], bptt_steps: int, *, labels: Mapping[str, Tensor] | None = None
) -> Windows:
    """Cut a batch, and per-row tensors [T, B, A, ...] that go with it, into windows with their stored LSTM states."""

    def cut(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: to_windows(tensor, bptt_steps) for name, tensor in tensors.items()}

    return Windows(
        observation=cut(batch.observation),
        first=to_windows(batch.first, bptt_steps),
        previous_action=cut({name: a[:-1] for name, a in batch.action.items()}),
        action=cut({name: a[1:] for name, a in batch.action.items()}),
        log_prob=cut(batch.log_prob),
        state=batch.lstm_state.flatten(0, 1).to(torch.float32),
        rows=cut(rows),
        labels=cut(labels or {}),
    )


def keep_bad_batch(run_folder: Path, version: int, batch: Batch) -> Path:
    """Write `logs/bad_batch_<version>.npz`; returns its path."""
    path = run_folder / "logs" / f"bad_batch_{version:06d}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {"reward": batch.reward, "value": batch.value}
    for group in ("observation", "action", "log_prob"):
        arrays |= {f"{group}/{name}": tensor for name, tensor in getattr(batch, group).items()}
    np.savez_compressed(path, **{name: x.cpu().numpy() for name, x in arrays.items()})  # type: ignore[arg-type]
    return path
