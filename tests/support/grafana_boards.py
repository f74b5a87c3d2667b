"""The Grafana boards of deploy/grafana/ as tests read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).absolute().parents[2] / "deploy" / "grafana" / "dashboards"
BOARDS: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """The panels of a board that ask for something: all but the headings of its rows."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def marks(board: dict[str, Any]) -> str:
    """What a board asks for the marks that it draws on every panel."""
    (annotation,) = board["annotations"]["list"]
    return str(annotation["expr"]).removesuffix(" > 0")
