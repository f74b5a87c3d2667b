"""What a person asks of a run that goes on is done, or refused with what to do instead."""

from __future__ import annotations

import pytest

from quintet.control.autoscale import Bounds
from quintet.control.config import ConfigError, RunConfig, dump_config, parse_config
from quintet.control.errors import UsageError
from quintet.control.operations import change_settings, config_in_force, scale
from quintet.wire.memory_link import MemoryLink
from quintet.wire.settings import BEFORE_ALL

CONFIG = RunConfig()


def a_run(config: RunConfig = CONFIG, **said: float) -> MemoryLink:
    """A run that is open, whose controller said this."""
    link = MemoryLink("one")
    link.open_run(spec_hash="spec", config_text=dump_config(config), max_queued_steps=100, max_queue_bytes=10_000)
    link.set_wanted_workers(1)
    if said:
        link.beat("controller", dict(said))
    return link


@pytest.mark.parametrize("wish", [3, Bounds(1, 3)])
def test_more_workers_than_there_are_cores_for_are_refused(wish: int | Bounds) -> None:
    link = a_run(capacity=2, cores_per_worker=1.0)
    with pytest.raises(UsageError, match=r"3 workers do not fit: run one has cores for 2, at 1\.0 cores each"):
        scale(link, "one", wish)
    assert (link.wanted_workers(), link.autoscale()) == (1, "")
    assert scale(link, "one", 2) == (1, False)
    assert link.wanted_workers() == 2


def test_where_cores_come_and_go_any_number_may_be_wanted() -> None:
    for link in (a_run(), a_run(capacity=-1)):
        assert scale(link, "one", 3) == (1, False)
        assert link.wanted_workers() == 3


def test_a_negative_number_is_refused_and_zero_pauses() -> None:
    link = a_run()
    with pytest.raises(UsageError, match="-1 workers are not possible; 0 pauses"):
        scale(link, "one", -1)
    assert scale(link, "one", 0) == (1, False)
    assert link.wanted_workers() == 0


@pytest.mark.parametrize("wish", [2, Bounds(1, 2)])
def test_a_deterministic_run_has_one_worker(wish: int | Bounds) -> None:
    link = a_run(parse_config("deterministic = true"))
    assert scale(link, "one", 1) == (1, False)
    with pytest.raises(UsageError, match="deterministic"):
        scale(link, "one", wish)
    assert link.wanted_workers() == 1


def test_a_run_chooses_within_bounds_until_somebody_names_a_number() -> None:
    link = a_run()
    assert scale(link, "one", Bounds(1, 4)) == (1, False)
    assert (link.wanted_workers(), link.autoscale()) == (1, "1:4")
    assert scale(link, "one", 3) == (1, True)
    assert (link.wanted_workers(), link.autoscale()) == (3, "")


def test_a_setting_is_asked_for_only_if_it_can_be() -> None:
    link = a_run()
    assert change_settings(link, CONFIG, {"clip": " 0.1 "}, "ada@lab (dashboard)") == {"ppo.clip": ("0.2", "0.1")}
    with pytest.raises(ConfigError, match="at least 0"):
        change_settings(link, CONFIG, {"ppo.learning_rate": "-3"}, "ada@lab")
    with pytest.raises(ConfigError, match="fixed when a run is made"):
        change_settings(link, CONFIG, {"model.lstm_units": "64"}, "ada@lab")
    (asked,) = link.settings(BEFORE_ALL)
    assert (asked.changes, asked.by) == ({"ppo.clip": "0.1"}, "ada@lab (dashboard)")
    found = config_in_force(link, "one")
    assert found is not None
    assert found.ppo.clip == 0.1


def test_a_run_that_is_not_open_has_no_configuration() -> None:
    assert config_in_force(MemoryLink("one"), "one") is None
