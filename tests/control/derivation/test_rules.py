"""What is derived from a game: the numbers for games of every kind, and that nothing given is ever replaced."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from quintet.control.config import (
    RunConfig,
    as_complete,
    check_config,
    dump_config,
    given_keys,
    parse_config,
    value_of,
    with_comments_of,
)
from quintet.control.derivation import RULES, Derived, GameFacts, derive, is_wholly_given, with_heading
from quintet.games.api import GameSpec
from quintet.optimizer.config import PPOConfig, Ramp
from quintet.rollout_workers.config import RolloutConfig

ONE: dict[str, Any] = {"teams": 1, "agents_per_team": 1, "episode_words": "the game's bound", "row_bytes": 600}
ENDS_PAY: dict[str, Any] = {"zero_sum": True, "outcome_only": True, "episode_words": "in random play"}
CARTPOLE = GameFacts(**ONE, episode_steps=500, choices=2)
PENDULUM = GameFacts(**ONE, episode_steps=200)
BANDIT = GameFacts(**ONE, episode_steps=1, choices=10)
ENDLESS = GameFacts(**{**ONE, "episode_words": "none ended"}, episode_steps=3000, choices=4)
TIC_TAC_TOE = GameFacts(**{**ONE, **ENDS_PAY, "teams": 2}, episode_steps=8, choices=9)
CONNECT_FOUR = GameFacts(**{**ONE, **ENDS_PAY, "teams": 2}, episode_steps=22, choices=7)
CLOCK: dict[str, Any] = {"has_clock": True, "step_s": 0.4, "zero_sum": True, "choices": 25}
DUEL = GameFacts(**{**ONE, **CLOCK, "teams": 2}, episode_steps=900)
FIVE = GameFacts(**{**ONE, **CLOCK, "teams": 2, "agents_per_team": 5}, episode_steps=1500)
CROWD = GameFacts(**{**ONE, "agents_per_team": 100}, episode_steps=50, choices=5)
PICTURES = GameFacts(**{**ONE, "row_bytes": 100_000}, episode_steps=1000, choices=6)


def derived(facts: GameFacts, *overrides: str) -> Derived:
    """What is made of the defaults and these overrides."""
    config = parse_config("", overrides=overrides)
    return derive(config, given_keys(config), facts)


def numbers(facts: GameFacts, *overrides: str) -> tuple[int, ...]:
    """Batch, passes, minibatches, chunk, games."""
    config = derived(facts, *overrides).config
    rollout, ppo = config.rollout, config.ppo
    return config.optimizer.batch_steps, ppo.epochs, ppo.minibatches, rollout.chunk_steps, rollout.games_per_worker


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (CARTPOLE, (2048, 8, 8, 64, 32)),
        (PENDULUM, (2048, 8, 8, 64, 32)),
        (BANDIT, (2048, 8, 8, 64, 32)),
        (ENDLESS, (8192, 2, 32, 16, 64)),
        (TIC_TAC_TOE, (4096, 4, 8, 32, 64)),
        (CONNECT_FOUR, (4096, 4, 8, 32, 64)),
        (DUEL, (8192, 1, 4, 16, 128)),
        (FIVE, (8192, 1, 4, 16, 51)),
        (CROWD, (8192, 2, 5, 16, 5)),  # a batch holds five windows of so many agents
        (PICTURES, (1024, 8, 4, 64, 16)),  # 4,096 would fill the stream
    ],
)
def test_sizes_follow_episodes_and_agents(facts: GameFacts, expected: tuple[int, ...]) -> None:
    assert numbers(facts) == expected


@pytest.mark.parametrize(
    ("facts", "discount", "half_life_s"),
    [
        (CARTPOLE, 0.99, 0.0),
        (PENDULUM, 0.975, 0.0),
        (BANDIT, 0.95, 0.0),
        (ENDLESS, 0.998333, 0.0),
        (TIC_TAC_TOE, 1.0, 0.0),
        (DUEL, PPOConfig().discount, 30.0),
    ],
)
def test_the_horizon_follows_episodes_or_the_clock(facts: GameFacts, discount: float, half_life_s: float) -> None:
    ppo = derived(facts).config.ppo
    assert (ppo.discount, ppo.half_life_s) == (discount, Ramp(value=half_life_s))


def test_games_whose_end_alone_pays_keep_advantages_in_units_of_a_game() -> None:
    ppo, plain = derived(TIC_TAC_TOE).config.ppo, derived(CARTPOLE).config.ppo
    assert (ppo.normalize_advantages, ppo.gae_lambda) == (False, 0.9)
    assert (plain.normalize_advantages, plain.gae_lambda) == (True, 0.95)
    rich = replace(TIC_TAC_TOE, outcome_reward=100.0)
    assert [derived(facts).config.ppo.advantage_unit for facts in (rich, TIC_TAC_TOE, CARTPOLE)] == [100.0, 1.0, 1.0]
    assert derived(rich, "ppo.normalize_advantages=true").config.ppo.advantage_unit == 1.0


def test_what_waits_in_the_stream_follows_the_batch() -> None:
    assert derived(DUEL).config.wire.max_queued_batches == 0.5
    assert derived(CARTPOLE).config.wire.max_queued_batches == 0.0


def test_ramps_end_with_the_budget_and_are_constant_without() -> None:
    ppo = derived(CARTPOLE, "agent_steps=300_000").config.ppo
    assert ppo.learning_rate == Ramp(value=1e-3, end=5e-5, until_steps=300_000)
    assert ppo.entropy_coefficient == Ramp(value=0.01, end=0.0, until_steps=300_000)
    ppo = derived(TIC_TAC_TOE, "agent_steps=300_000").config.ppo
    assert ppo.entropy_coefficient == Ramp(value=0.05, end=0.01, until_steps=300_000)
    ppo = derived(PENDULUM, "agent_steps=300_000").config.ppo
    assert ppo.entropy_coefficient == Ramp(value=0.0)
    ppo = derived(CARTPOLE, "minutes=3").config.ppo
    assert ppo.learning_rate == Ramp(value=1e-3, end=5e-5, until_minutes=3.0)
    ppo = derived(CARTPOLE, "minutes=3", "agent_steps=90_000").config.ppo
    assert ppo.learning_rate == Ramp(value=1e-3, end=5e-5, until_steps=90_000)
    ppo = derived(CARTPOLE, "minutes=3", "deterministic=true").config.ppo
    assert ppo.learning_rate == Ramp(value=1e-3)
    ppo = derived(CARTPOLE).config.ppo
    assert (ppo.learning_rate, ppo.entropy_coefficient) == (Ramp(value=1e-3), Ramp(value=0.01))


@pytest.mark.parametrize(
    ("workers", "games", "chunk"), [(0, 32, 64), (2, 16, 64), (4, 8, 64), (8, 8, 32), (16, 8, 16), (60, 8, 16)]
)
def test_more_workers_play_fewer_games_each_in_shorter_chunks(workers: int, games: int, chunk: int) -> None:
    rollout = derived(CARTPOLE, f"rollout.workers={workers}").config.rollout
    assert (rollout.games_per_worker, rollout.chunk_steps) == (games, chunk)


@pytest.mark.parametrize("key", [key for key in RULES if key not in ("wire.max_queued_batches", "ppo.advantage_unit")])
@pytest.mark.parametrize("facts", [CARTPOLE, TIC_TAC_TOE, DUEL])
def test_a_key_that_was_given_is_never_replaced(facts: GameFacts, key: str) -> None:
    value = {"rollout.chunk_steps": "128", "ppo.normalize_advantages": "true", "ppo.gae_lambda": "0.7"}.get(key, "1")
    value = "0.125" if value == "1" and isinstance(value_of(RunConfig(), key), float | Ramp) else value
    found = derived(facts, f"{key}={value}")
    assert value_of(found.config, key) == value_of(parse_config(f"{key} = {value}"), key)
    assert key not in [line.key for line in found.lines]


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (10**6, (2048, 32, 64)),
        (100_000, (1024, 16, 64)),  # about a hundred batches
        (20_000, (512, 8, 64)),  # smaller ones would be noise
        (2000, (128, 8, 16)),  # but a few there must be
        (1, (64, 8, 16)),
    ],
)
def test_a_budget_makes_enough_versions_of_batches_that_are_large_enough(
    budget: int, expected: tuple[int, ...]
) -> None:
    batch, _, _, chunk, games = numbers(CARTPOLE, f"agent_steps={budget}")
    assert (batch, games, chunk) == expected


def test_given_keys_count_though_they_equal_a_default_and_a_part_of_a_ramp_counts_whole() -> None:
    default = RunConfig().optimizer.batch_steps
    assert numbers(CARTPOLE, f"optimizer.batch_steps={default}")[0] == default
    rate = derived(CARTPOLE, "agent_steps=9000", "ppo.learning_rate.value=0.5").config.ppo.learning_rate
    assert rate == Ramp(value=0.5)
    # `none` takes back what a file gives
    config = parse_config("[ppo]\nepochs = 7\n", overrides=["ppo.epochs=none"])
    assert derive(config, given_keys(config), CARTPOLE).config.ppo.epochs == 8


def test_what_follows_goes_by_what_was_given() -> None:
    assert numbers(CARTPOLE, "optimizer.batch_steps=512") == (512, 8, 2, 64, 8)
    assert numbers(CARTPOLE, "rollout.chunk_steps=16", "ppo.minibatches=1") == (2048, 8, 1, 16, 64)
    found = derived(CARTPOLE, "optimizer.batch_steps=512").config
    assert found.optimizer.normalizer_warmup_steps == 128
    clocked = derived(DUEL, "ppo.discount=0.9").config.ppo  # a half-life would stand in its way
    assert (clocked.discount, clocked.half_life_s) == (0.9, Ramp(value=0.0))
    timed = derived(CARTPOLE, "ppo.half_life_s=5").config.ppo
    assert (timed.discount, timed.half_life_s) == (PPOConfig().discount, Ramp(value=5.0))


@pytest.mark.parametrize("windows", [1, 7, 16, 48, 100, 128])
@pytest.mark.parametrize("facts", [CARTPOLE, TIC_TAC_TOE, DUEL])
def test_chunks_are_whole_windows_of_any_length(facts: GameFacts, windows: int) -> None:
    rollout = derived(facts, f"rollout.bptt_steps={windows}").config.rollout
    assert rollout.chunk_steps % windows == 0
    assert rollout.bptt_steps == windows


def test_a_configuration_that_a_program_makes_gives_what_differs_from_the_defaults() -> None:
    made = RunConfig(agent_steps=50_000, ppo=PPOConfig(epochs=3), rollout=RolloutConfig(chunk_steps=32))
    assert given_keys(made) == {"agent_steps", "ppo.epochs", "rollout.chunk_steps"}
    found = derive(made, given_keys(made), CARTPOLE).config
    assert (found.ppo.epochs, found.rollout.chunk_steps, found.optimizer.batch_steps) == (3, 32, 512)
    assert "ppo.epochs" in given_keys(replace(parse_config("ppo.epochs = 1"), seed=3))


def test_nothing_is_derived_for_a_whole_configuration() -> None:
    first = derived(CARTPOLE, "agent_steps=5000")
    again = parse_config(dump_config(first.config), overrides=["agent_steps=9000"])
    assert is_wholly_given(given_keys(again))
    found = derive(again, given_keys(again), TIC_TAC_TOE)
    assert (found.lines, found.config) == ((), replace(first.config, agent_steps=9000))
    old = as_complete(parse_config("seed = 7"))  # of a run that was made before there was such a key
    assert derive(old, given_keys(old), CARTPOLE) == Derived(old)


def test_to_derive_twice_is_to_derive_once() -> None:
    for facts in (CARTPOLE, TIC_TAC_TOE, DUEL, PENDULUM):
        once = derived(facts, "agent_steps=5000").config
        assert derive(once, given_keys(once), facts).config == once


def test_reasons_say_of_what_a_value_comes() -> None:
    lines = {line.key: str(line) for line in derived(CARTPOLE, "agent_steps=100_000").lines}
    assert lines["optimizer.batch_steps"] == (
        "optimizer.batch_steps = 1024: so that the budget makes about 98 versions"
    )
    assert lines["ppo.minibatches"] == "ppo.minibatches = 4: of 256 steps: 32 gradient steps a batch"
    assert "0.001 to 5e-05 (steps 0 to 100000)" in lines["ppo.learning_rate"]
    assert "x 10 agents" in str(derived(FIVE).lines[0])


def test_the_heading_is_comments_that_leave_a_value_which_is_another_now() -> None:
    found = derived(CARTPOLE)
    text = with_heading(dump_config(found.config), found.lines)
    assert text.startswith("# derived: optimizer.batch_steps = 2048: about 4 episodes")
    assert parse_config(text) == found.config
    after = dump_config(parse_config(text, overrides=["ppo.epochs=9"]))
    kept = with_comments_of(text, after)
    assert tomllib.loads(kept) == tomllib.loads(after)
    assert [line for line in text.splitlines() if line.startswith("#") and line not in kept] == [
        "# derived: ppo.epochs = 8: passes over a batch of 2,048 steps"
    ]
    assert with_comments_of("seed = 1\n", after) == after


facts_of_any_game = st.builds(
    GameFacts,
    teams=st.integers(1, 12),
    agents_per_team=st.integers(1, 300),
    episode_steps=st.integers(1, 10**7),
    episode_words=st.just("some"),
    has_clock=st.booleans(),
    outcome_only=st.booleans(),
    outcome_reward=st.floats(1e-6, 1e9),
    choices=st.integers(0, 10_000),
    row_bytes=st.integers(0, 10**9),
)


@settings(deadline=None)  # the machine may be busy
@given(
    facts_of_any_game,
    st.integers(1, 200),
    st.integers(0, 200),
    st.none() | st.integers(1, 10**12),
)
def test_what_is_derived_is_always_accepted(
    facts: GameFacts, windows: int, workers: int, agent_steps: int | None
) -> None:
    budget = "none" if agent_steps is None else agent_steps
    overrides = [f"rollout.bptt_steps={windows}", f"rollout.workers={workers}", f"agent_steps={budget}"]
    config = derived(facts, *overrides).config
    check_config(config, spec_of(facts))
    assert parse_config(dump_config(config)) == config


def spec_of(facts: GameFacts) -> GameSpec:
    """As much of a game as `check_config` looks at."""
    return GameSpec(
        name="some game",
        teams=facts.teams,
        agents_per_team=facts.agents_per_team,
        observation_space=spaces.Dict({"observation": spaces.Box(-1, 1, (3,), np.float32)}),
        action_space=spaces.Dict({"action": spaces.Discrete(2)}),
    )
