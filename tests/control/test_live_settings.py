"""Which settings change while a run goes on, and what a change must pass."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from quintet.control.config import RunConfig, config_keys, parse_config, value_of
from quintet.control.config_reader import ConfigError
from quintet.control.live_settings import (
    LiveConfig,
    LiveError,
    changed,
    check_changes,
    in_force,
    live_keys,
    setting_text,
    who_asks,
)
from quintet.optimizer.config import PPOConfig, Ramp
from quintet.wire.settings import Setting

CONFIG = RunConfig()


def request(number: int, **changes: str) -> Setting:
    return Setting(id=f"{number}-0", by="ada@lab", changes={k.replace("__", "."): v for k, v in changes.items()})


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("ppo.clip", "0.1", 0.1),
        ("ppo.epochs", " 3 ", 3),
        ("ppo.ratio", "per_head", "per_head"),
        ("ppo.normalize_advantages", "false", False),
        ("ppo.advantage_unit", "100", 100.0),
        ("ppo.learning_rate", "3e-5", Ramp(value=3e-5)),
        ("ppo.learning_rate.value", "3e-5", 3e-5),
        ("ppo.learning_rate", "{value=1e-3, end=1e-5, until_steps=9}", Ramp(value=1e-3, end=1e-5, until_steps=9)),
        ("ppo.learning_rate", "{value=1e-3, end=1e-5, until_minutes=9}", Ramp(value=1e-3, end=1e-5, until_minutes=9)),
        ("team_spirit.value", "0.6", 0.6),
        ("team_spirit", "0.6", Ramp(value=0.6)),
        ("optimizer.max_staleness", "2", 2),
        ("agent_steps", "5000", 5000),
        ("minutes", "2.5", 2.5),
        ("until", "charts/episodic_return=475", "charts/episodic_return=475"),
        ("until", "none", None),
    ],
)
def test_a_change_becomes_a_value_of_its_type(key: str, text: str, value: object) -> None:
    (full,) = changes = check_changes(CONFIG, {key: text})
    assert value_of(changed(CONFIG, changes), full) == value


@pytest.mark.parametrize(
    ("key", "text", "says"),
    [
        ("model.lstm_units", "64", "is fixed when a run is made: start a new run with --set model.lstm_units"),
        ("rollout.bptt_steps", "8", "is fixed when a run is made"),
        ("game", "x", "is fixed when a run is made"),
        ("rollout.workers", "2", "quintet scale N"),
        ("optimizer.batch_steps", "64", "stop it, and go on with --resume --set optimizer.batch_steps"),
        ("ppo.minibatches", "2", "--resume --set ppo.minibatches"),
        ("wire.compress", "true", "--resume"),
        ("ppo", "3", "is a section; set one of its keys"),
        ("ppo.lerning_rate", "1", "did you mean ppo.learning_rate"),
        ("value", "1", "did you mean ppo.learning_rate.value or "),
        ("ppo.clip", "x", r"ppo\.clip is 'x' \(a string\); expected a finite number"),
        ("ppo.clip", "nan", "expected a finite number"),
        ("ppo.clip", "0", "must be greater than 0"),
        ("ppo.advantage_unit", "0", "must be greater than 0"),
        ("ppo.team_spirit", "1.5", "must be at least 0 and at most 1"),
        ("ppo.epochs", "1.5", "expected a whole number"),
        ("ppo.ratio", "both", "expected one of joint, per_head"),
        ("ppo.dual_clip", "0.5", "must be at least 1, or 0"),
        ("ppo.learning_rate.end", "1e-5", "needs until_steps"),
        ("learning_rate", "{end=0, until_minutes=5, until_steps=9}", "ends by minutes or by steps"),
        ("until", "soon", "expected NAME=VALUE"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do_instead(key: str, text: str, says: str) -> None:
    with pytest.raises(LiveError, match=says) as caught:
        check_changes(CONFIG, {key: text})
    assert isinstance(caught.value, ConfigError | ValueError)
    assert "\n" not in str(caught.value)


def test_changes_that_go_together_only_are_judged_together() -> None:
    ramp = {"learning_rate.end": "1e-5", "learning_rate.until_steps": "100"}
    assert check_changes(CONFIG, ramp) == {f"ppo.{key}": text for key, text in ramp.items()}
    with pytest.raises(LiveError):
        check_changes(CONFIG, {**ramp, "ppo.clip": "-1"})


def test_a_ramps_part_leaves_its_other_parts_and_a_number_replaces_all_of_them() -> None:
    falling = Ramp(value=1e-3, end=1e-5, until_steps=100)
    config = replace(CONFIG, ppo=PPOConfig(learning_rate=falling))
    part = changed(config, {"ppo.learning_rate.value": "5e-4"})
    assert part.ppo.learning_rate == replace(falling, value=5e-4)
    assert changed(part, {"ppo.learning_rate": "2e-4"}).ppo.learning_rate == Ramp(value=2e-4)


def test_a_repeatable_run_refuses_a_ramp_by_minutes_while_it_goes_on_too() -> None:
    config, ramp = replace(CONFIG, deterministic=True), {"ppo.learning_rate": "{end=0, until_minutes=5}"}
    check_changes(CONFIG, ramp)
    with pytest.raises(LiveError, match="until_minutes is 5, and no two runs take the same time"):
        check_changes(config, ramp)


def test_every_live_key_can_be_set_to_what_it_is_and_says_what_it_means() -> None:
    keys = live_keys()
    assert {"ppo.learning_rate", "ppo.learning_rate.end", "agent_steps"} <= {known.key for known in keys}
    assert [known.key for known in keys if not known.doc or not known.type] == []
    for known in keys:
        text = setting_text(CONFIG, known.key)
        assert changed(CONFIG, {known.key: text}) == CONFIG, known


def test_every_other_key_is_refused() -> None:
    live = {known.key for known in live_keys()}
    for key in set(config_keys()) - live:
        with pytest.raises(LiveError):
            check_changes(CONFIG, {key: "1"})


def test_a_request_is_put_into_force_whole_or_not_at_all() -> None:
    live = LiveConfig(CONFIG)
    assert live.apply(request(1, ppo__clip="0.1", ppo__learning_rate="1e-4")) == {
        "ppo.clip": ("0.2", "0.1"),
        "ppo.learning_rate": ("0.001", "0.0001"),
    }
    with pytest.raises(LiveError):
        live.apply(request(2, ppo__epochs="2", ppo__clip="-1"))
    assert (live.ppo.clip, live.ppo.epochs, live.agent_steps) == (0.1, 1, None)
    assert parse_config(live.text) == live.config


def test_the_configuration_in_force_is_the_opened_one_and_every_request_that_could_be_carried_out() -> None:
    requests = [request(1, ppo__clip="0.1"), request(2, model__lstm_units="9"), request(3, agent_steps="700")]
    found = in_force(CONFIG, requests)
    assert found == replace(CONFIG, ppo=PPOConfig(clip=0.1), agent_steps=700)
    assert in_force(found, requests) == found


def test_whoever_asks_is_named_with_the_machine() -> None:
    user, _, host = who_asks().partition("@")
    assert user
    assert host


def test_a_falling_ramp_is_shown_as_its_way() -> None:
    config = replace(CONFIG, ppo=PPOConfig(learning_rate=Ramp(value=1e-3, end=1e-5, until_steps=100)))
    assert setting_text(config, "ppo.learning_rate") == "0.001 to 1e-05 (steps 0 to 100)"
    by_minutes = replace(CONFIG, ppo=PPOConfig(learning_rate=Ramp(value=1e-3, end=1e-5, until_minutes=7.5)))
    assert setting_text(by_minutes, "ppo.learning_rate") == "0.001 to 1e-05 (in 7.5 minutes)"
    assert math.isclose(float(setting_text(config, "ppo.learning_rate.end")), 1e-5)
