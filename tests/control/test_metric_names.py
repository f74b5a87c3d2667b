"""Every metric says what it means."""

from __future__ import annotations

import re

import pytest

from quintet.control.metrics import (
    AGENT_STEPS,
    EVENTS,
    FAMILIES,
    HELP,
    NAMES,
    OPEN_FAMILIES,
    VERSION,
    family_labels,
    help_text,
)


@pytest.mark.parametrize("name", [*NAMES, VERSION, AGENT_STEPS])
def test_every_known_name_has_a_help_of_its_own(name: str) -> None:
    assert name in HELP or any(re.fullmatch(pattern, f"{name}_0") for pattern, _ in FAMILIES), name
    assert re.fullmatch(r"[A-Z0-9].{10,110}\.", help_text(name)), help_text(name)


@pytest.mark.parametrize("name", [f"{family}some/thing" for family in (*OPEN_FAMILIES, EVENTS)])
def test_families_whose_names_others_bring_have_a_help(name: str) -> None:
    name = {"heads/some/thing": "heads/some/entropy", "auxiliary/some/thing": "auxiliary/some/loss"}.get(name, name)
    name = {"phase/some/thing": "phase/some/thing_s"}.get(name, name)
    assert not help_text(name).startswith(name)


def test_an_unknown_name_is_said_to_be_what_it_is() -> None:
    assert help_text("losses/new") == "losses/new, as the process that made it reports it."
    assert family_labels("losses/new") == {}


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("phase/worker/play_s", {"process": "worker", "phase": "play"}),
        ("phase/optimizer/prefetch/wait_s", {"process": "optimizer/prefetch", "phase": "wait"}),
        ("heads/move/entropy", {"head": "move"}),
        ("game/win_rate_0", {"component": "win_rate_0"}),
        ("auxiliary/win/error", {"target": "win"}),
        ("losses/entropy", {}),
    ],
)
def test_what_varies_within_a_family_becomes_a_label(name: str, labels: dict[str, str]) -> None:
    assert family_labels(name) == labels
