"""What is explained: a trained policy from its checkpoint, or an untrained one, and the games that it plays now.

Everything is played by the rollout workers' own `SelfPlay` and cut by their `Chunker`; nothing is made up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from quintet.control.config import RunConfig, parse_config
from quintet.explain.hidden_state import open_game
from quintet.games.api import Array, GameSpec
from quintet.games.registry import make_game
from quintet.model.policy import Policy
from quintet.model.weights import load_masters
from quintet.optimizer.batch import Batch, collate
from quintet.optimizer.checkpoint import CheckpointInfo, check_spec_is, read_info, read_policy, read_snapshot
from quintet.rollout_workers.chunker import Chunker
from quintet.rollout_workers.self_play import SelfPlay
from quintet.wire.chunk import chunk_spec
from quintet.wire.reports import PhaseTimer

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A policy, and what it was configured to play."""

    config: RunConfig
    spec: GameSpec
    policy: Policy
    info: CheckpointInfo | None = None  # None: it has not learned anything
    snapshot: Mapping[str, Tensor] = field(default_factory=dict)  # all that its checkpoint holds, the moments too

    @property
    def version(self) -> int:
        """0 of an untrained policy."""
        return self.info.version if self.info else 0

    @property
    def agent_steps(self) -> int:
        """That it has learned from."""
        return self.info.agent_steps if self.info else 0

    @property
    def name(self) -> str:
        """For people: "skirmish-1v1, version 795 (6.5 million agent steps)"."""
        if self.info is None:
            return f"{self.spec.name}, untrained"
        steps = self.agent_steps
        learned = f"{steps / 1e6:.1f} million" if steps >= 1_000_000 else f"{steps:,}"
        return f"{self.spec.name}, version {self.version} ({learned} agent steps)"


def trained_subject(folder: Path, overrides: Sequence[str] = ()) -> Subject:
    """The policy in a checkpoint folder.

    Raises:
        CheckpointError, ConfigError, GameError, DecodeError: it cannot be read, or does not fit its configuration.
    """
    info = read_info(folder)
    # Everything at once and first: a run that goes on deletes its checkpoints after a while.
    weights, snapshot = read_policy(folder, info), read_snapshot(folder, info)
    config = parse_config(info.config, overrides=overrides, source=f"the configuration in {folder}")
    subject = fresh_subject(config)
    check_spec_is(folder, info, config.chunk_spec(subject.spec))
    load_masters(subject.policy, weights, info.precision)
    return replace(subject, info=info, snapshot=snapshot)


def fresh_subject(config: RunConfig) -> Subject:
    """A policy with the first weights that a run of this configuration might have."""
    game = make_game(config.game, 1, config.seed, config.game_options)
    game.close()
    torch.manual_seed(config.seed)
    return Subject(config=config, spec=game.spec, policy=Policy(game.spec, config.model).use_device(CPU))


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What B teams saw and did in T rows, side by side; `hidden` is what the game knew and nobody was shown."""

    batch: Batch  # of T rows; one LSTM state: before row 0
    hidden: dict[str, Array] = field(default_factory=dict)  # name -> f32 [T, B], NaN where there is nothing to know
    out_of_sight: Array | None = None  # bool [T, B]; None: it is always hidden


def play_record(subject: Subject, *, games: int, rows: int, skip_rows: int = 0, seed: int = 0) -> Record:
    """Play whole windows with the subject on every seat.

    Args:
        subject: who plays.
        games: slots.
        rows: how many rows at least; whole windows are played.
        skip_rows: are played before them and not kept.
        seed: of games and actions.
    """
    bptt = subject.config.rollout.bptt_steps
    windows, skip = -(-rows // bptt), -(-skip_rows // bptt)
    game = open_game(subject.config, games, seed)
    try:
        chunker = _chunker(subject, games, chunk_steps=bptt)
        play = SelfPlay(game, subject.policy, chunker, seed=seed, timer=PhaseTimer())
        parts = [play.play_window(subject.version) for _ in range(skip + windows)]
        parts = [*parts[1:], play.finish()]  # a window closes where the next one begins
        batch = _joined([collate((), chunks, CPU) for chunks in parts[skip:]])
        begin = skip * bptt
        hidden = {name: array[begin : begin + windows * bptt] for name, array in game.hidden().items()}
        out_of_sight = game.out_of_sight()
        if out_of_sight is not None:
            out_of_sight = out_of_sight[begin : begin + windows * bptt]
        return Record(batch=batch, hidden=hidden, out_of_sight=out_of_sight)
    finally:
        game.close()


def play_chunks(subject: Subject, *, games: int, skip_rows: int = 0, seed: int = 0) -> Batch:
    """Play one chunk of every learning team as a worker cuts it, and put them together as the optimizer does."""
    rollout = subject.config.rollout
    game = make_game(subject.config.game, games, seed, subject.config.game_options)
    try:
        chunker = _chunker(subject, games, chunk_steps=rollout.chunk_steps)
        play = SelfPlay(game, subject.policy, chunker, seed=seed, timer=PhaseTimer())
        windows = rollout.chunk_steps // rollout.bptt_steps
        for _ in range(-(-skip_rows // rollout.bptt_steps)):
            play.play_window(subject.version)
        chunks = [chunk for _ in range(windows) for chunk in play.play_window(subject.version)]
        # Where skipping fell on the border of a slot's chunk, its first one holds skipped rows: all are whole chunks.
        return collate((), [chunk for chunk in chunks if chunk.rows == rollout.chunk_steps] or play.finish(), CPU)
    finally:
        game.close()


def _chunker(subject: Subject, games: int, *, chunk_steps: int) -> Chunker:
    spec = chunk_spec(
        subject.spec,
        lstm_units=subject.config.model.lstm_units,
        bptt_steps=subject.config.rollout.bptt_steps,
        chunk_steps=chunk_steps,
    )
    return Chunker(spec, run="explain", slots=games)


def _joined(parts: Sequence[Batch]) -> Batch:
    """Batches that follow one another in time as one. The action before a part is the last one of the part before."""

    def rows(name: str) -> dict[str, Tensor]:
        return {key: torch.cat([getattr(part, name)[key] for part in parts]) for key in getattr(parts[0], name)}

    def cat(name: str) -> Tensor:
        return torch.cat([getattr(part, name) for part in parts])

    last = parts[-1]
    return replace(
        parts[0],
        observation=rows("observation"),
        log_prob=rows("log_prob"),
        action={
            key: torch.cat([part.action[key][: -1 if part is not last else None] for part in parts])
            for key in last.action
        },
        value=torch.cat([part.value[: -1 if part is not last else None] for part in parts]),
        auxiliary=last.auxiliary,
        version=np.ones((1, last.version.shape[1]), np.int64) * last.version[0, 0],
        windows=np.ones(last.version.shape[1], np.int64),
        first=cat("first"),
        reward=cat("reward"),
        terminated=cat("terminated"),
        truncated=cat("truncated"),
        acting=cat("acting"),
        valid=cat("valid"),
    )


def part_of(batch: Batch, rows: slice, columns: Sequence[int] | Tensor, state: Tensor) -> Batch:
    """Some rows and teams of a record as one window that begins with `state` [B, A, 2, H]."""
    begin, end, _ = rows.indices(len(batch.first))
    one_more = slice(begin, end + 1)
    picked = torch.as_tensor(columns)

    def cut(tensors: dict[str, Tensor], where: slice = rows) -> dict[str, Tensor]:
        return {name: tensor[where][:, picked] for name, tensor in tensors.items()}

    return replace(
        batch,
        observation=cut(batch.observation),
        log_prob=cut(batch.log_prob),
        action=cut(batch.action, one_more),
        value=batch.value[one_more][:, picked],
        auxiliary={name: tensor[picked] for name, tensor in batch.auxiliary.items()},
        lstm_state=state[picked].unsqueeze(0),
        version=batch.version[:, picked.numpy()],
        windows=batch.windows[picked.numpy()],
        incarnation=batch.incarnation[picked.numpy()],
        first=batch.first[rows][:, picked],
        reward=batch.reward[rows][:, picked],
        terminated=batch.terminated[rows][:, picked],
        truncated=batch.truncated[rows][:, picked],
        acting=batch.acting[rows][:, picked],
        valid=batch.valid[rows][:, picked],
    )
