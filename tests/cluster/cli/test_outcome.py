"""The last lines of `quintet train`: what there was, whether it learned, and what to type next."""

from __future__ import annotations

from pathlib import Path

from quintet.cluster.cli.train import outcome
from quintet.control.config import RunConfig
from quintet.control.metrics import MetricsAggregator
from quintet.control.run_folder import RunFolder
from quintet.control.sinks import JsonlSink
from quintet.control.summary import build_summary
from quintet.wire.link import Counters
from tests.control.doctor.test_learning_rules import rows


def last_lines(folder: Path, *, learns: bool) -> str:
    """Of a run that did or did not."""
    run = RunFolder(folder / "run")
    run.path.mkdir()
    sink = JsonlSink(run.metrics)
    for row in rows(change=lambda k: {"charts/episodic_return": 22.0 + k} if learns else {}):
        sink.write(row)
    sink.close()
    summary = build_summary(
        RunConfig(), MetricsAggregator(), Counters(), wall_s=9.0, first_agent_steps=0, peak_rss_bytes=1
    )
    return outcome(run, "budget", summary)


def test_a_run_that_did_not_learn_ends_with_why(tmp_path: Path) -> None:
    lines = last_lines(tmp_path, learns=False).splitlines()
    assert lines[0].startswith("done (budget)")
    assert "1 gradient step per 4,096 steps; try ppo.epochs=4" in lines[1]
    assert lines[1].startswith("warning: learning: ")
    assert lines[-1].startswith("see what it learned")


def test_a_run_that_learned_ends_without(tmp_path: Path) -> None:
    assert "warning" not in last_lines(tmp_path, learns=True)
