"""A real Prometheus reads a real run; every expression of every panel and of every alert finds data there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.grafana_boards import BOARDS, marks, panels
from tests.support.live_run import ROOT, environment, live_run
from tests.support.needs import needs_prometheus

DEPLOY = ROOT / "deploy"
GAME = "game=pettingzoo:pettingzoo.classic.tictactoe_v3"  # it has a winner, so there is something under game/
TOKEN = "a token of the test"
PATIENCE_S = 60.0
LEARNING_S = 240.0  # until a run on a busy machine has learned for a while
COMPARED = re.compile(r"(quintet:\w+) (<|>|==|!=) [\d.]+")


@needs_prometheus("promtool")
def test_the_rules_fire_at_what_they_should_and_at_nothing_else() -> None:
    result = subprocess.run(
        ["promtool", "test", "rules", "alerts_test.yml"], cwd=DEPLOY, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


@needs_prometheus("promtool")
def test_the_configuration_is_one() -> None:
    command = ["promtool", "check", "config", "--syntax-only", str(DEPLOY / "prometheus.yml")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


class Prometheus:
    """A Prometheus with the project's own configuration, which scrapes one exporter of this machine."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, **query: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def finds(self, expr: str) -> bool:
        return bool(self.ask("query", query=expr)["result"])


@contextmanager
def child(command: list[str], cwd: Path, log: Path, **env: str) -> Iterator[None]:
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=cwd, env={**environment(), **env}, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def read_until(log: Path, pattern: str) -> re.Match[str]:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := re.search(pattern, log.read_text(errors="replace") if log.exists() else "")):
        assert time.monotonic() < deadline, f"no {pattern} in {log.read_text()}"
        time.sleep(0.05)
    return found


@contextmanager
def prometheus(folder: Path, exporter: str) -> Iterator[Prometheus]:
    config = (DEPLOY / "prometheus.yml").read_text()
    (folder / "token").write_text(TOKEN)
    for before, after in (
        ("exporter:9464", exporter),
        ("/run/secrets/metrics_token", str(folder / "token")),
        ("scrape_interval: 5s", "scrape_interval: 1s"),
    ):
        assert before in config
        config = config.replace(before, after)
    (folder / "prometheus.yml").write_text(config)
    shutil.copy(DEPLOY / "alerts.yml", folder)
    log = folder / "prometheus.log"
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
    ]
    with child(command, folder, log):
        address = read_until(log, r'msg="Listening on"[^\n]*address=(127\.0\.0\.1:\d+)')[1]
        read_until(log, "Server is ready")
        yield Prometheus(f"http://{address}")


@contextmanager
def exporter(cwd: Path) -> Iterator[str]:
    log = cwd / "exporter.log"
    command = [sys.executable, "-m", "quintet", "exporter", "--run", "live", "--port", "0"]
    with child(command, cwd, log, QUINTET_METRICS_TOKEN=TOKEN):
        yield read_until(log, r"http://(127\.0\.0\.1:\d+)/metrics \(with the token\)")[1]


def panel_expressions() -> dict[str, str]:
    """Every expression of every panel, asked of all runs."""
    found = {
        f"{uid}: {panel['title']}: {target['legendFormat']}": target["expr"]
        for uid, board in BOARDS.items()
        for panel in panels(board)
        for target in panel["targets"]
    } | {f"{uid}: marks": marks(board) for uid, board in BOARDS.items()}
    return {name: expr.replace("$run", ".+") for name, expr in found.items()}


def rule_expressions(server: Prometheus) -> dict[str, str]:
    """What every recorded quantity asks; every alert compares one of these, by its name, with a number."""
    rules = [rule for group in server.ask("rules")["groups"] for rule in group["rules"]]
    recorded = {rule["name"]: rule["query"] for rule in rules if rule["type"] == "recording"}
    alerts = {rule["name"]: rule["query"] for rule in rules if rule["type"] == "alerting"}
    assert len(alerts) >= 5
    compared = {name: COMPARED.fullmatch(query) for name, query in alerts.items()}
    assert {name: found and found[1] in recorded for name, found in compared.items()} == dict.fromkeys(alerts, True)
    assert {found[1] for found in compared.values() if found} == set(recorded)
    return recorded


@pytest.mark.slow
@pytest.mark.redis
@needs_prometheus("prometheus")
@pytest.mark.timeout(420)
def test_every_expression_finds_data_in_a_live_run(tmp_path: Path) -> None:
    settings = [word for setting in (GAME, "optimizer.replay_error_versions=2") for word in ("--set", setting)]
    with live_run(tmp_path, *settings) as run:
        run.wait_for((run.folder / "config.toml").exists, "starting")
        with exporter(tmp_path) as address, prometheus(tmp_path, address) as server:
            missing = panel_expressions() | rule_expressions(server)
            deadline = time.monotonic() + LEARNING_S
            while missing and time.monotonic() < deadline:
                time.sleep(1.0)
                assert run.process.poll() is None, run.output.read_text()
                missing = {name: expr for name, expr in missing.items() if not server.finds(expr)}
            assert missing == {}
            assert server.finds('up{job="quintet"} == 1')
            assert not server.finds("quintet_steps_unaccounted != 0")
            assert server.ask("query", query="quintet_version")["result"][0]["metric"]["run"] == "live"
        assert run.interrupt() == 130
