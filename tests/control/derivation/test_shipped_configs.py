"""Configurations that ship say only what would not be derived anyway, and come to the numbers that were measured."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from quintet.cluster.assembly import look_at_game
from quintet.control.config import (
    SHIPPED_CONFIGS,
    RunConfig,
    check_config,
    dump_config,
    load_config,
    parse_config,
    value_of,
)
from quintet.control.derivation import GameFacts, derive
from quintet.control.game_facts import facts_of
from quintet.games.api import GameSpec
from quintet.games.checks.rehearsal import rehearse_rows
from quintet.games.registry import make_game
from tests.support.needs import extra

PATHS = sorted(SHIPPED_CONFIGS.glob("*.toml"))
NEVER_DERIVED = ("game", "game_options", "agent_steps", "minutes", "until")
# What stands in docs/results.md was measured with these: batch, passes, minibatches, chunk, games, waiting batches,
# discount, half-life at first, lambda, whether advantages are normalised.
MEASURED: dict[str, tuple[Any, ...]] = {
    "cartpole_memory": (2048, 8, 8, 64, 32, 0.0, 0.99, 0.0, 0.95, True),
    "cartpole_memory_fast": (2048, 3, 2, 64, 32, 0.25, 0.99, 0.0, 0.95, True),
    "five": (10_240, 1, 2, 64, 8, 0.5, 0.99, 42.0, 0.95, True),
    "laptop": (8192, 1, 4, 16, 128, 0.5, 0.99, 30.0, 0.95, True),
    "repeat_first": (2048, 8, 8, 64, 32, 0.0, 0.95, 0.0, 0.95, True),
    "skirmish_5v5": (15_360, 1, 4, 16, 24, 0.5, 0.99, 30.0, 0.95, True),
    "tic_tac_toe": (4096, 2, 2, 32, 64, 0.0, 1.0, 0.0, 0.9, False),
}


@cache
def game_of(path: Path) -> tuple[GameSpec, GameFacts]:
    """The game of a configuration, and what is known of it."""
    config = load_config(path)
    for package, mark in (("popgym", ":popgym"), ("pettingzoo", "pettingzoo:")):
        if mark in config.game:
            extra(package)
    game = make_game(config.game, 1, config.seed, config.game_options)
    return game.spec, facts_of(game.spec, rehearse_rows(game, config.seed, within_s=1e9).seen, config)


def whole(path: Path, *without: str) -> RunConfig:
    """What a run has in the end, where these keys are not given."""
    config = load_config(path, [f"{key}=none" for key in without])
    return derive(config, config.given, game_of(path)[1]).config


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.stem))
def test_no_key_says_what_would_be_so_without_it(path: Path) -> None:
    config = whole(path)
    keys = load_config(path).given - set(NEVER_DERIVED)
    needless = [key for key in sorted(keys) if value_of(whole(path, key), key) == value_of(config, key)]
    assert needless == [], f"{path.name}: the same would be derived, or is the default: leave these out"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.stem))
def test_what_a_configuration_comes_to_is_what_was_measured(path: Path) -> None:
    config = whole(path)
    rollout, ppo = config.rollout, config.ppo
    found = (
        *(config.optimizer.batch_steps, ppo.epochs, ppo.minibatches, rollout.chunk_steps, rollout.games_per_worker),
        *(config.wire.max_queued_batches, ppo.discount, ppo.half_life_s.value, ppo.gae_lambda),
        ppo.normalize_advantages,
    )
    assert found == MEASURED[path.stem], f"{path.name}: what a rule says now is not what was measured: give that in it"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.stem))
def test_every_shipped_configuration_keeps_chunks_within_a_batch_and_is_written_whole(path: Path) -> None:
    config = whole(path)
    assert check_config(config, game_of(path)[0]) == []
    assert parse_config(dump_config(config)) == config


def test_a_look_at_the_game_comes_to_the_same() -> None:
    path = SHIPPED_CONFIGS / "laptop.toml"
    assert look_at_game(load_config(path), None).config == whole(path)
