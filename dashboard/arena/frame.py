"""What the Arena sends a browser: one setting per session, and one frame per step; plain data for JSON."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import asdict
from io import BytesIO
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from PIL import Image

from quintet.dashboard.arena.policy_view import PolicyTrace
from quintet.games.api import Actions, Array, GameSpec, Target
from quintet.games.box_units import WIDEST

MOST_PICTURE_WIDTH = 640


class FrameSource(Protocol):
    """Where a session's frames come from, one after the other."""

    setting: dict[str, Any]

    def next(self) -> dict[str, Any] | None:
        """The next frame; None after the last."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


def encode(data: dict[str, Any]) -> bytes:
    """Compact JSON; a number that is none would be refused by every browser, so it is refused here."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).encode()


Namer = Callable[[str], list[str] | None]


def heads_setting(game: GameSpec, names: Namer | None = None, labels: Namer | None = None) -> list[dict[str, Any]]:
    """The heads of an action space, for people; `names` and `labels` say what choices are called."""
    found: list[dict[str, Any]] = []
    for name, space in game.action_space.spaces.items():
        found.append(
            {
                "name": name,
                "primary": name == game.primary_head,
                "choices": int(space.n) if isinstance(space, spaces.Discrete) else 0,
                "names": names(name) if names else None,
                "labels": labels(name) if labels else None,
                "group": space.group if isinstance(space, Target) else None,
                "low": _limits(space.low) if isinstance(space, spaces.Box) else None,
                "high": _limits(space.high) if isinstance(space, spaces.Box) else None,
            }
        )
    # What decides the others first, then whom it is aimed at, then choices with names.
    return sorted(found, key=lambda head: (not head["primary"], head["group"] is None, head["names"] is None))


def _limits(bounds: Array) -> list[float | None]:
    return [float(x) if abs(x) <= WIDEST else None for x in bounds.reshape(-1)]


def agent_frames(
    *,
    acting: Array,
    actions: Actions,
    traces: Sequence[list[PolicyTrace] | None],
    reward: Array,
    total: Array,
    parts: Array,
    sums: Array,
) -> list[dict[str, Any]]:
    """Every agent at one step, team by team.

    `acting`, `reward` and `total` are [teams, A], `actions` per head [teams, A, ...], `parts` and `sums` [teams, A, P],
    `traces` per team. `reward` and its `parts` are those of the step that led here, `total` and `sums` the same over
    the game so far.
    """
    return [
        {
            "acting": bool(acting[at]),
            "action": {name: array[at].tolist() for name, array in actions.items()},
            "reward": rounded(float(reward[at])),
            "total": rounded(float(total[at])),
            "parts": [rounded(part) for part in parts[at]],
            "sums": [rounded(part) for part in sums[at]],
            "mind": None if (team := traces[at[0]]) is None else _trace_data(team[at[1]]),
        }
        for at in np.ndindex(acting.shape)
    ]


def _trace_data(trace: PolicyTrace) -> dict[str, Any]:
    heads = {
        name: {key: value for key, value in asdict(head).items() if value is not None}
        for name, head in trace.heads.items()
    }
    return {
        "value": rounded(trace.value),
        "win": None if trace.win is None else rounded(trace.win),
        "heads": heads,
        "hidden": trace.hidden,
        "cell": trace.cell,
    }


def rounded(number: float) -> float:
    """Five significant digits: what a picture needs of a number."""
    return float(f"{number:.5g}")


def picture_url(pixels: Array) -> str:
    """uint8 [H, W, 3] as a data URL, made smaller where it is large."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if image.width > MOST_PICTURE_WIDTH:
        image = image.resize((MOST_PICTURE_WIDTH, round(image.height * MOST_PICTURE_WIDTH / image.width)))
    file = BytesIO()
    image.save(file, "WEBP", quality=85, method=0)
    return f"data:image/webp;base64,{b64encode(file.getvalue()).decode('ascii')}"
