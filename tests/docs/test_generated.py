"""Pages that are written from the code are what the code says now."""

from __future__ import annotations

import pytest

from docs.generate import DOCS, PAGES
from quintet.cluster.__main__ import COMMANDS
from quintet.control.config import config_keys
from quintet.control.metrics import HELP


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_what_the_code_says_now(name: str) -> None:
    written = (DOCS / name).read_text(encoding="utf-8")
    assert written == PAGES[name](), f"docs/{name} is old; run: make docs (or: python -m docs.generate)"


def test_every_command_setting_and_metric_has_its_place() -> None:
    cli, configuration, metrics = (PAGES[name]() for name in ("cli.md", "configuration.md", "metrics.md"))
    assert [name for name in COMMANDS if f"\n## {name}\n" not in cli] == []
    names = {key.rpartition(".")[2] for key in config_keys()}
    assert [name for name in names if f"`{name}`" not in configuration and f"`[{name}]`" not in configuration] == []
    assert [name for name in HELP if f"| `{name}` |" not in metrics] == []


def test_an_option_stands_with_its_kind_default_and_meaning() -> None:
    cli = PAGES["cli.md"]()
    assert "| `--games INT` | `1000` | How many, split evenly over the seats. |" in cli
    assert "quintet eval CHECKPOINT [OPTIONS]" in cli
    assert "`--restart-behavior {resume,restart,overwrite}`" in cli
    assert "None" not in cli


def test_a_setting_stands_with_its_type_default_range_and_meaning() -> None:
    row = "| `clip` | number, greater than 0 | `0.2` | live | Epsilon of the clipped surrogate. |"
    assert row in PAGES["configuration.md"]()
