"""What travels of a game: bytes per agent-step, part by part, as they are and after zstd.

    python benchmarks/chunk_size.py [--game skirmish-5v5] [--rows 256] [--lstm-units 1024] [--json]

An untrained policy, which chooses almost evenly among what is legal, plays the game, and the chunks are those that a
worker would push. Every part is also compressed by itself, so that the table says where zstd helps; the sum after zstd
is that of whole messages, without the LSTM states, which are chosen by a configuration and not by a game.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np
import torch
import zstandard
from common.arguments import from_command_line
from common.machine import describe
from rich.console import Console
from rich.table import Table

from quintet.games.api import ACTION_MASK_PREFIX
from quintet.games.registry import make_game
from quintet.model.config import PolicyConfig
from quintet.model.policy import Policy
from quintet.rollout_workers.chunker import Chunker
from quintet.rollout_workers.self_play import SelfPlay
from quintet.wire.chunk import Array, ChunkSpec, TrajectoryChunk, chunk_spec
from quintet.wire.codec import encode_chunk
from quintet.wire.link import Registration
from quintet.wire.reports import PhaseTimer

RUN = "benchmark"
STATE = "LSTM states"
TOTAL = "all but the LSTM states"
UNIT = "bytes per agent-step after zstd, as a share of those before; LSTM states apart"


@dataclass(frozen=True, kw_only=True, slots=True)
class Args:
    """What is played."""

    game: str = "skirmish-5v5"
    """A game's name, as `quintet train` takes it."""
    games: int = 8
    """Slots that are played together."""
    rows: int = 256
    """Rows of a chunk."""
    skip_rows: int = 512
    """Rows that are played before, so that games are under way."""
    bptt_steps: int = 16
    """Rows of a window."""
    lstm_units: int = 128
    """Units of the LSTM."""
    seed: int = 1
    """Of the games, the weights and the choices."""
    json: bool = False
    """Print one object with ratio, unit and config as the last line of stdout."""


def play(args: Args) -> tuple[ChunkSpec, list[TrajectoryChunk]]:
    """One chunk of every stream, after `skip_rows` rows."""
    torch.manual_seed(args.seed)
    game = make_game(args.game, args.games, args.seed)
    policy = Policy(game.spec, PolicyConfig(lstm_units=args.lstm_units)).use_device(torch.device("cpu"))
    spec = chunk_spec(game.spec, lstm_units=args.lstm_units, bptt_steps=args.bptt_steps, chunk_steps=args.rows)
    chunker = Chunker(spec, run=RUN, slots=args.games)
    chunker.register(Registration(worker=0, incarnation=1))
    worker = SelfPlay(game, policy, chunker, seed=args.seed, timer=PhaseTimer())
    windows = -(-(args.skip_rows + 2 * args.rows) // args.bptt_steps)
    latest: dict[tuple[int, int], TrajectoryChunk] = {}
    for _ in range(windows):
        latest |= {(chunk.slot, chunk.team): chunk for chunk in worker.play_window(1)}
    game.close()
    return spec, list(latest.values())


def parts(chunk: TrajectoryChunk) -> dict[str, list[Array]]:
    """The arrays of a chunk by what they are: every entry of the observation, and the rest in groups."""
    masks = {name: array for name, array in chunk.observation.items() if name.startswith(ACTION_MASK_PREFIX)}
    entries = {f"observation/{name}": [x] for name, x in chunk.observation.items() if name not in masks}
    return {
        **entries,
        **{name: [array] for name, array in masks.items()},
        "actions": list(chunk.action.values()),
        "log-probabilities": list(chunk.log_prob.values()),
        "values and rewards": [chunk.value, chunk.reward],
        "flags": [chunk.first, chunk.terminated, chunk.truncated, chunk.acting, chunk.valid],
        "versions": [chunk.version, chunk.opponent_version],
        "auxiliary": list(chunk.auxiliary.values()),
        STATE: [chunk.lstm_state],
    }


def wire_bytes(arrays: list[Array]) -> bytes:
    """Arrays as they lie in a message: bools as bits."""
    return b"".join((np.packbits(x) if x.dtype == np.bool_ else x).tobytes() for x in arrays)


def zstd(data: bytes) -> int:
    """Bytes after compression at the level of the wire."""
    return len(zstandard.ZstdCompressor(level=1).compress(data))


def measure(spec: ChunkSpec, chunks: list[TrajectoryChunk]) -> dict[str, tuple[float, float]]:
    """Part -> bytes per agent-step (before, after zstd); rows times agents count, valid or not."""
    steps = sum(chunk.steps for chunk in chunks)
    sizes: dict[str, tuple[float, float]] = {}
    for chunk in chunks:
        for name, arrays in parts(chunk).items():
            data = wire_bytes(arrays)
            before, after = sizes.get(name, (0.0, 0.0))
            sizes[name] = (before + len(data) / steps, after + zstd(data) / steps)
    stateless = replace(spec, lstm_units=0)
    whole = [
        [len(encode_chunk(without_state(chunk), stateless, compress=compress)) for chunk in chunks]
        for compress in (False, True)
    ]
    return sizes | {TOTAL: (sum(whole[0]) / steps, sum(whole[1]) / steps)}


def without_state(chunk: TrajectoryChunk) -> TrajectoryChunk:
    """The same chunk of a network without memory."""
    return replace(chunk, lstm_state=chunk.lstm_state[..., :0])


def main(args: Args) -> None:
    spec, chunks = play(args)
    sizes = measure(spec, chunks)
    before, after = sizes[TOTAL]
    if args.json:
        config = {
            "game": args.game, "rows": args.rows, "agents": spec.agents, "lstm_units": args.lstm_units,
            "chunks": len(chunks), "machine": describe(),
        }  # fmt: skip
        named = {name: {"bytes": x, "zstd_bytes": y} for name, (x, y) in sizes.items()}
        print(json.dumps({"ratio": after / before, "unit": UNIT, "config": config, "parts": named}))
        return
    table = Table(title=f"{args.game}: bytes per agent-step, {len(chunks)} chunks of {args.rows} rows")
    table.add_column("part")
    for column in ("bytes", "share", "zstd"):
        table.add_column(column, justify="right")
    for name, (raw, small) in sizes.items():
        share = "" if name in (STATE, TOTAL) else f"{raw / before:.1%}"
        table.add_row(name, f"{raw:,.1f}", share, f"{small:,.1f}", end_section=name == STATE)
    Console().print(table)


if __name__ == "__main__":
    main(from_command_line(Args, __doc__))
