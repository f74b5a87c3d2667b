"""`quintet explain` with fewer and shorter games."""

from __future__ import annotations

import pytest

from quintet.explain import gradients, loss, lstm, observation


def play_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the real thing, from as little as it can be computed from."""
    for function, small in (
        (gradients.explain_gradients, {"games": 4, "rows": 12, "span": 4}),
        (loss.explain_loss, {"games": 4, "skip_rows": 4}),
        (lstm.explain_lstm, {"games": 8, "rows": 48}),
        (observation.explain_observation, {"games": 2, "rows": 8}),
    ):
        monkeypatch.setattr(function, "__kwdefaults__", {"seed": 7, **small})
