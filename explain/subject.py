"""What is explained: a trained policy from its checkpoint, or an untrained one, and the games that it plays now.

Everything is played by the rollout workers' own `SelfPlay` and cut by their `Chunker`; nothing is made up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

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
from quintet.optimizer.checkpoint import (
    CheckpointInfo,
    check_spec_is,
    read_info,
    read_policy,
    read_snapshot,
    with_statistics,
)
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
    def trained_s(self) -> float:
        """Seconds of training, as ramps count them."""
        return self.info.trained_s if self.info else 0.0

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
    return replace(subject, info=info, snapshot=with_statistics(snapshot, subject.policy))


def fresh_subject(config: RunConfig) -> Subject:
    """A policy with the first weights that a run of this configuration might have."""
    game = make_game(config.game, 1, config.seed, config.game_options)
    game.close()
    torch.manual_seed(config.seed)
    return Subject(config=config, spec=game.spec, policy=Policy(game.spec, config.model).use_device(CPU))


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What B teams saw and did in T rows, side by side; `hidden` is what the game knew and nobody was shown."""

    batch: Batch  # of T rows, every team's as one chunk
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
        spec = chunk_spec(
            subject.spec,
            lstm_units=subject.config.model.lstm_units,
            bptt_steps=bptt,
            chunk_steps=(skip + windows + games) * bptt,  # slots start at different windows of it: none is cut early
        )
        chunker = Chunker(spec, run="explain", slots=games)
        play = SelfPlay(game, subject.policy, chunker, seed=seed, timer=PhaseTimer())
        for _ in range(skip):
            play.play_window(subject.version)
        chunker.forget()
        for _ in range(windows):
            play.play_window(subject.version)
        batch = collate((), play.finish(), CPU)
        kept = slice(skip * bptt, (skip + windows) * bptt)
        away = game.out_of_sight()
        return Record(
            batch=batch,
            hidden={name: array[kept] for name, array in game.hidden().items()},
            out_of_sight=None if away is None else away[kept],
        )
    finally:
        game.close()


def part_of(batch: Batch, rows: slice, columns: Sequence[int] | Tensor, state: Tensor) -> Batch:
    """Some rows and teams of a record as one window that begins with `state` [B, A, 2, H]."""
    begin, end, _ = rows.indices(len(batch.first))
    picked = torch.as_tensor(columns)

    def cut(found: Tensor | dict[str, Tensor], after: int = 0) -> Any:
        if isinstance(found, dict):
            return {name: cut(tensor, after) for name, tensor in found.items()}
        return found[begin : end + after, picked]

    per_row = ("observation", "log_prob", "first", "reward", "terminated", "truncated", "acting", "valid")
    return replace(
        batch,
        **{name: cut(getattr(batch, name)) for name in per_row},
        action=cut(batch.action, after=1),
        value=cut(batch.value, after=1),
        auxiliary={name: tensor[picked] for name, tensor in batch.auxiliary.items()},
        lstm_state=state[picked].unsqueeze(0),
        version=batch.version[:1, picked.numpy()],
        windows=np.ones(len(picked), np.int64),
        incarnation=batch.incarnation[picked.numpy()],
    )
