"""Whose weights play in the Arena: what the run publishes, as it publishes it, and what there is when it is silent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from quintet.dashboard.arena import weights as arena_weights
from quintet.dashboard.arena.game import Game
from quintet.dashboard.arena.request import ArenaError, StreamRequest
from quintet.model.policy import Policy
from quintet.model.weights import encode_weights
from quintet.wire.errors import LinkDownError
from quintet.wire.link import EncodedWeights, Precision
from tests.model.test_weights import OTHER
from tests.support.arena_run import OUTPOST, arena_run

URL = "redis://:secret@127.0.0.1:1"


class Published:
    """The end of a link that gives weights, or is down."""

    def __init__(self) -> None:
        self.newest: EncodedWeights | None = None
        self.down = self.closed = False

    def latest(self, newer_than: int) -> EncodedWeights | None:
        if self.down:
            raise LinkDownError("nobody answers")
        return self.newest if self.newest is not None and self.newest.version != newer_than else None

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> Published:
    published = Published()
    monkeypatch.setattr(arena_weights, "connect", lambda url, run, wait_s: published)
    monkeypatch.setattr(arena_weights, "POLL_S", 0.0)
    return published


def weights(
    game: Game, version: int, *, spec_hash: str | None = None, precision: Precision | None = None
) -> EncodedWeights:
    torch.manual_seed(100 + version)
    config = game.config.model if precision is None else replace(game.config.model, precision=precision)
    policy = Policy(game.game.spec, config).use_device(torch.device("cpu"))
    fits = game.config.chunk_spec(game.game.spec).hash
    return encode_weights(policy, version=version, agent_steps=0, spec_hash=spec_hash or fits)


def test_new_weights_are_taken_at_a_window_border_and_the_frames_say_so(link: Published, tmp_path: Path) -> None:
    game = Game(StreamRequest(folder=str(arena_run(tmp_path, OUTPOST, 5)), redis_url=URL))
    window = game.config.rollout.bptt_steps
    assert game.next()["origin"] == "checkpoint 000005"
    link.newest = weights(game, 9)
    versions = [game.next()["version"] for _ in range(2 * window)]
    assert versions == [5] * (window - 1) + [9] * (window + 1)
    assert game.weights.origin == "live"


def test_a_run_without_a_checkpoint_is_watched_from_what_it_publishes(
    link: Published, tmp_path: Path, precision: Precision
) -> None:
    """Its configuration says `auto` until its optimizer has settled on a format."""
    folder = str(arena_run(tmp_path, OUTPOST))
    link.newest = weights(Game(StreamRequest(folder=folder)), 2, precision=precision)
    game = Game(StreamRequest(folder=folder, redis_url=URL))
    frame = game.next()
    assert game.weights.policy.precision == precision
    assert (frame["version"], frame["origin"]) == (2, "live")
    assert frame["players"] == ["version 2", "version 2"]


def test_weights_of_another_number_format_than_the_runs_are_not_shown_and_both_are_named(
    link: Published, tmp_path: Path, precision: Precision
) -> None:
    folder = str(arena_run(tmp_path, OUTPOST + f'precision = "{precision}"\n'))
    link.newest = weights(Game(StreamRequest(folder=folder)), 2, precision=OTHER[precision])
    with pytest.raises(ArenaError, match=f"in {OTHER[precision]}, but model.precision is {precision} here"):
        Game(StreamRequest(folder=folder, redis_url=URL))


def test_a_redis_that_falls_silent_leaves_the_game_going(link: Published, tmp_path: Path) -> None:
    folder = str(arena_run(tmp_path, OUTPOST))
    link.newest = weights(Game(StreamRequest(folder=folder)), 2)
    game = Game(StreamRequest(folder=folder, redis_url=URL))
    link.down = True
    frames = [game.next() for _ in range(40)]
    assert {frame["version"] for frame in frames} == {2}
    assert link.closed


def test_weights_of_another_game_are_not_taken_nor_any_where_a_checkpoint_was_chosen(
    link: Published, tmp_path: Path
) -> None:
    folder = str(arena_run(tmp_path, OUTPOST, 5))
    link.newest = weights(Game(StreamRequest(folder=folder)), 9, spec_hash="0" * 16)
    assert Game(StreamRequest(folder=folder, redis_url=URL)).next()["version"] == 5
    link.newest = weights(Game(StreamRequest(folder=folder)), 9)
    assert Game(StreamRequest(folder=folder, redis_url=URL, player="000005")).next()["version"] == 5
    assert Game(StreamRequest(folder=folder, redis_url=URL)).next()["version"] == 9
