"""The configuration: reading, writing, overriding, and one clear line for whatever does not fit."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from quintet.control.config import (
    SHIPPED_CONFIGS,
    ConfigError,
    RunConfig,
    check_alone,
    check_config,
    config_keys,
    dump_config,
    load_config,
    parse_config,
)
from quintet.games.api import GameSpec
from quintet.model.config import PolicyConfig
from quintet.optimizer.config import OptimizerConfig, PPOConfig, Ramp
from quintet.rollout_workers.config import RolloutConfig
from quintet.wire.config import WireConfig


def spec(*, teams: int = 1, agents: int = 1) -> GameSpec:
    return GameSpec(
        name="some game",
        teams=teams,
        agents_per_team=agents,
        observation_space=spaces.Dict({"observation": spaces.Box(-1, 1, (3,), np.float32)}),
        action_space=spaces.Dict({"action": spaces.Discrete(2)}),
    )


def small(**rollout: Any) -> RunConfig:
    """A configuration whose batch is 1,024 steps and whose games hold exactly one batch."""
    sizes = {"games_per_worker": 16, "bptt_steps": 16, "chunk_steps": 64} | rollout
    return RunConfig(rollout=RolloutConfig(**sizes), optimizer=OptimizerConfig(batch_steps=1024))


def test_an_empty_text_is_the_defaults() -> None:
    assert parse_config("") == RunConfig()


def test_a_file_changes_only_what_it_names() -> None:
    config = parse_config(
        'game = "a:b"\n[ppo]\nclip = 0.1\n[game_options]\nwrappers = [{ name = "x:y", hide = [1] }]\n'
    )
    assert config == RunConfig(
        game="a:b", ppo=PPOConfig(clip=0.1), game_options={"wrappers": [{"name": "x:y", "hide": [1]}]}
    )


def test_a_ramp_is_read_from_a_number_and_from_a_table() -> None:
    assert parse_config("ppo.learning_rate = 1e-4").ppo.learning_rate == Ramp(value=1e-4)
    assert parse_config("ppo.team_spirit = 1").ppo.team_spirit == Ramp(value=1.0)
    table = parse_config("ppo.learning_rate = { value = 1e-3, end = 1e-5, until_steps = 100 }")
    assert table.ppo.learning_rate == Ramp(value=1e-3, end=1e-5, until_steps=100)


def test_a_ramps_table_keeps_the_default_start_when_it_names_none() -> None:
    ramp = parse_config("ppo.learning_rate = { end = 1e-5, until_steps = 100 }").ppo.learning_rate
    assert ramp == Ramp(value=PPOConfig().learning_rate.value, end=1e-5, until_steps=100)


def test_whole_numbers_become_floats_where_a_float_is_wanted() -> None:
    minutes = parse_config("minutes = 3").minutes
    assert minutes == 3.0
    assert isinstance(minutes, float)


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("ppo.learning_rate=3e-4", "ppo.learning_rate", Ramp(value=3e-4)),
        ("wire.compress=true", "wire.compress", True),
        ("ppo.ratio=per_head", "ppo.ratio", "per_head"),
        ("ppo.dual_clip=3", "ppo.dual_clip", 3.0),
        ("game=gymnasium:CartPole-v1", "game", "gymnasium:CartPole-v1"),
        ("until=charts/episodic_return=475", "until", "charts/episodic_return=475"),
        (" model.lstm_units = 64 ", "model.lstm_units", 64),
        ("agent_steps=1_000", "agent_steps", 1000),
        ("agent_steps=none", "agent_steps", None),
        ("game_options.depth=3", "game_options", {"depth": 3}),
    ],
)
def test_an_override_wins_over_the_file(override: str, key: str, value: object) -> None:
    found: Any = parse_config("agent_steps = 5\n[model]\nlstm_units = 32\n", overrides=[override])
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value


def test_a_part_of_a_ramp_can_be_overridden_where_the_file_has_a_number() -> None:
    config = parse_config(
        "ppo.learning_rate = 2e-3", overrides=["ppo.learning_rate.end=1e-5", "ppo.learning_rate.until_steps=50"]
    )
    assert config.ppo.learning_rate == Ramp(value=2e-3, end=1e-5, until_steps=50)


def test_a_number_overrides_a_whole_ramp() -> None:
    text = "ppo.learning_rate = { value = 1e-3, end = 1e-5, until_steps = 100 }"
    assert parse_config(text, overrides=["ppo.learning_rate=1e-4"]).ppo.learning_rate == Ramp(value=1e-4)


def test_the_last_of_two_overrides_wins() -> None:
    assert parse_config("", overrides=["seed=3", "seed=4"]).seed == 4


finite = st.floats(allow_nan=False, allow_infinity=False)
ramps = (
    st.builds(Ramp, value=finite)
    | st.builds(Ramp, value=finite, end=finite, from_steps=st.integers(0, 10), until_steps=st.integers(11, 2**53))
    | st.builds(Ramp, value=finite, end=finite, until_minutes=st.floats(0.1, 1e6))
)
toml_values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | finite | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
configs = st.builds(
    RunConfig,
    game=st.text(),
    game_options=st.dictionaries(st.text(), toml_values, max_size=3),
    seed=st.integers(0, 2**31),
    agent_steps=st.none() | st.integers(1, 2**62),
    minutes=st.none() | finite,
    until=st.none() | st.text(),
    model=st.builds(PolicyConfig, lstm_units=st.integers(1, 4096), zero_state=st.booleans()),
    ppo=st.builds(PPOConfig, learning_rate=ramps, team_spirit=ramps, clip=finite),
    wire=st.builds(WireConfig, max_queued_batches=finite, compress=st.booleans()),
)


@settings(deadline=None)  # the machine may be busy
@given(configs)
def test_writing_and_reading_gives_the_same_configuration(config: RunConfig) -> None:
    assert parse_config(dump_config(config)) == config


def test_every_key_of_the_defaults_can_be_overridden_by_its_own_value() -> None:
    sections = {"model", "rollout", "ppo", "optimizer", "wire", "game_options"}
    for key in config_keys():
        value: Any = RunConfig()
        for part in key.split("."):
            value = getattr(value, part)
        if key not in sections and not isinstance(value, Ramp):
            text = f'"{value}"' if isinstance(value, str) else str(value).lower()
            assert parse_config("", overrides=[f"{key}={text}"]) == RunConfig(), key


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("ppo.lerning_rate=1", "there is no key 'ppo.lerning_rate' .*did you mean ppo.learning_rate?"),
        ("learning_rate=1", "there is no key 'learning_rate' .*did you mean ppo.learning_rate?"),
        ("zzz=1", "there is no key 'zzz' .*known here: game, game_options, seed"),
        ("ppo.learning_rate.ed=1", "did you mean ppo.learning_rate.end?"),
        ("ppo.epochs=1.5", r"ppo.epochs is 1.5 \(a number\); expected a whole number"),
        ("ppo.epochs=true", r"ppo.epochs is true \(a boolean\); expected a whole number"),
        ("ppo.clip=nan", "ppo.clip is nan .*expected a finite number"),
        ("ppo.learning_rate=fast", r"ppo.learning_rate is 'fast' \(a string\); expected a finite number"),
        ("wire.compress=1", r"wire.compress is 1 \(a whole number\); expected true or false"),
        ("wire.compress=True", r"wire.compress is 'True' \(a string\); expected true or false"),
        ("model.precision=fp16", "model.precision is 'fp16' .*expected one of auto, float32, bfloat16"),
        ("ppo=3", "ppo is 3 .*expected a table"),
        ("game=5", "game is 5 .*expected a string"),
        ("minutes=soon", "minutes is 'soon' .*expected a finite number"),
        ("game_options=5", "game_options is 5 .*expected a table"),
        ("rollout.chunk_steps=20", "rollout.chunk_steps is 20, .*multiple of rollout.bptt_steps = 16; set it to 16"),
        ("ppo.dual_clip=0.5", "ppo.dual_clip is 0.5; it must be at least 1, or 0 to turn it off"),
        ("ppo.ratio=both", "ppo.ratio is 'both' .*expected one of joint, per_head"),
        ("rollout.bptt_steps=0", "rollout.bptt_steps is 0; it must be positive"),
        ("ppo.learning_rate.end=1e-5", "a ramp from 0.001 to 1e-05 needs until_steps"),
        ("ppo.learning_rate={end=0, until_minutes=5, until_steps=9}", "ends by minutes or by steps"),
        ("seed", "--set takes KEY=VALUE, .*found 'seed'"),
        ("ppo..clip=1", "--set takes KEY=VALUE"),
        ("=1", "--set takes KEY=VALUE"),
    ],
)
def test_an_override_that_does_not_fit_gives_one_clear_line(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_config("", overrides=[override])
    assert "\n" not in str(caught.value)
    assert f"--set {override}" in str(caught.value) or "found" in str(caught.value)


def test_an_error_names_the_file_when_the_file_is_wrong_and_the_override_when_that_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[ppo]\nepoks = 3\n")
    with pytest.raises(ConfigError, match=r"'ppo.epoks' \(in .*mine.toml\); did you mean ppo.epochs"):
        load_config(path, ["seed=3"])
    path.write_text("[ppo]\nepochs = 3\n")
    with pytest.raises(ConfigError, match=r"\(in --set ppo.epochs=many\)"):
        load_config(path, ["ppo.epochs=many"])


def test_a_text_that_is_no_toml_says_where(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("seed = \n")
    with pytest.raises(ConfigError, match=r"mine.toml is not TOML: .*line 1"):
        load_config(path)


@pytest.mark.parametrize("coded", [b'\xef\xbb\xbfseed = 5\r\ngame = "counting"\r\n', b"seed = 5\n"])
def test_a_file_with_a_byte_order_mark_and_foreign_line_ends_is_read(coded: bytes, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(coded)
    assert load_config(tmp_path / "mine.toml").seed == 5


def test_a_missing_file_lists_the_ones_that_ship() -> None:
    with pytest.raises(ConfigError, match=r"no configuration file nowhere.toml.*cartpole_memory.toml"):
        load_config("nowhere.toml")


def test_a_bare_name_finds_a_shipped_configuration_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config("tic_tac_toe.toml") == load_config(SHIPPED_CONFIGS / "tic_tac_toe.toml")
    assert load_config("tic_tac_toe") == load_config(SHIPPED_CONFIGS / "tic_tac_toe.toml")


def test_an_unreadable_file_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes("seed = 5".encode("utf-16"))
    with pytest.raises(ConfigError, match=r"mine.toml is not UTF-8 text .*save it as UTF-8"):
        load_config(path)


def test_a_sound_configuration_has_no_notes() -> None:
    assert check_config(small(), spec()) == []


def test_more_open_chunks_than_a_batch_are_noted_with_all_numbers() -> None:
    (note,) = check_config(small(workers=2), spec(teams=2))
    assert "2 workers x 16 games x 2 teams x 64 rows x 1 agents = 4096 steps" in note
    assert "4.0 batches of 1024" in note
    assert "2.0 versions of staleness" in note


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("ppo.clip=0", "ppo.clip is 0.0; it must be greater than 0"),
        ("ppo.dual_clip=-1", "ppo.dual_clip is -1.0; it must be at least 0"),
        ("ppo.auxiliary_coefficient=-1", "ppo.auxiliary_coefficient is -1.0; it must be at least 0"),
        ("ppo.discount=1.01", "ppo.discount is 1.01; it must be at least 0 and at most 1"),
        ("ppo.gae_lambda=-0.1", "ppo.gae_lambda is -0.1; it must be at least 0"),
        ("ppo.entropy_coefficient=-1", "ppo.entropy_coefficient.value is -1.0; it must be at least 0"),
        ("ppo.team_spirit=2", "ppo.team_spirit.value is 2.0; .*at most 1"),
        ("ppo.epochs=0", "ppo.epochs is 0; it must be at least 1"),
        ("ppo.adam_beta2=1", "ppo.adam_beta2 is 1.0"),
        ("agent_steps=0", "agent_steps is 0; it must be at least 1"),
        ("minutes=0", "minutes is 0.0; it must be greater than 0"),
        ("optimizer.keep_checkpoints=0", "optimizer.keep_checkpoints is 0"),
        ("device=gpu", "device is 'gpu'; expected auto, cpu, cuda or cuda:N; did you mean cuda?"),
        ("until=charts/episodic_retrun=475", "no metric 'charts/episodic_retrun'; did you mean charts/episodic_return"),
        ("ppo.minibatches=65", "ppo.minibatches is 65, but optimizer.batch_steps = 1024 holds only 64 windows"),
        ("optimizer.batch_steps=15", "optimizer.batch_steps = 15 holds only 0 windows"),
        ("wire.max_queued_batches=-1", "wire.max_queued_batches is -1.0; it must be at least 0"),
    ],
)
def test_numbers_that_cannot_work_are_refused_with_both_numbers(override: str, message: str) -> None:
    config = parse_config(dump_config(small()), overrides=[override])
    with pytest.raises(ConfigError, match=message) as caught:
        check_config(config, spec())
    assert "\n" not in str(caught.value)


def test_a_repeatable_run_has_no_ramp_by_minutes() -> None:
    text = "ppo.entropy_coefficient = { end = 0.0, until_minutes = 2 }"
    check_alone(parse_config(text))
    with pytest.raises(ConfigError, match=r"deterministic is true, but ppo.entropy_coefficient.until_minutes is 2, .*"):
        check_alone(parse_config(text, overrides=["deterministic=true", "rollout.workers=1"]))


def test_the_end_of_a_ramp_is_checked_too() -> None:
    config = replace(small(), ppo=PPOConfig(team_spirit=Ramp(value=0.5, end=1.5, until_steps=10)))
    with pytest.raises(ConfigError, match=r"ppo.team_spirit.end is 1.5"):
        check_config(config, spec())


def test_agents_of_a_team_count_in_every_size() -> None:
    config = replace(small(), optimizer=OptimizerConfig(batch_steps=256), ppo=PPOConfig(minibatches=4))
    check_config(config, spec(agents=4))  # four windows of 16 x 4 steps just fit
    with pytest.raises(ConfigError, match=r"holds only 3 windows of 16 rows x 5 agents"):
        check_config(config, spec(agents=5))


def test_a_stream_with_no_batch_waiting_still_holds_the_one_in_training_and_a_chunk() -> None:
    wire = WireConfig(max_queued_batches=0.0)
    assert wire.max_queued_steps(batch_steps=100, chunk_steps=64) >= 100 + 64


def test_reading_a_configuration_loads_nothing_heavy() -> None:
    code = (
        "import sys, quintet.control.config as c; c.dump_config(c.load_config()); "
        "print([m for m in ('torch', 'ray', 'numba', 'gymnasium') if m in sys.modules])"
    )
    root = SHIPPED_CONFIGS.parent
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_deterministic_run_has_one_worker_and_keeps_the_checkpoint_that_it_goes_on_from() -> None:
    def deterministic(*overrides: str) -> RunConfig:
        return parse_config("deterministic = true\n", overrides=overrides)

    check_config(deterministic(), spec())
    with pytest.raises(ConfigError, match=r"rollout\.workers is 2; such a run has one"):
        check_config(deterministic("rollout.workers=2"), spec())
    with pytest.raises(ConfigError, match=r"keep_checkpoints is 1; such a run needs 2"):
        check_config(deterministic("optimizer.keep_checkpoints=1"), spec())


def test_overrides_that_are_one_text_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"overrides are a list, for example \['seed=2'\]"):
        load_config(None, "seed=2")
