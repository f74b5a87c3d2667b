"""A run in one process says that it goes on like any other, so that nobody takes it for silent."""

from __future__ import annotations

from pathlib import Path

import pytest

import quintet
from quintet.cluster import in_process
from quintet.optimizer import loop
from quintet.wire.memory_link import MemoryLink


def test_controller_and_optimizer_are_heard_of_all_the_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    heard: dict[str, list[int]] = {}
    beat = MemoryLink.beat

    def noted(link: MemoryLink, process: str, data: dict[str, float | int | str]) -> None:
        heard.setdefault(process, []).append(int(data.get("version", 0)))
        beat(link, process, data)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MemoryLink, "beat", noted)
    monkeypatch.setattr(loop, "BEAT_S", 0.0)
    monkeypatch.setattr(in_process, "TICK_S", 0.0)
    overrides = [
        "game=counting",
        "model.lstm_units=8",
        "agent_steps=2000",
        "optimizer.batch_steps=256",
        "ppo.minibatches=1",
    ]
    quintet.train(None, overrides, run="heard").wait()
    assert {"controller", "optimizer"} <= set(heard)
    versions = heard["optimizer"]
    assert len(set(versions)) > 3, "an optimizer that is heard of at its start and its end alone counts as silent"
