"""docker-compose.yml: what can be said of the file alone; and, where a Docker engine answers, the whole cluster."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import stat
import subprocess
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest

from quintet.cluster.compose_env import ROOT, USERS, fresh_env, secret_names, users_template, write_env
from quintet.control.errors import UsageError
from tests.support.needs import extra

EXAMPLE = (ROOT / ".env.example").read_text()
PATIENCE_S = 240.0
NO_CLIENT = "there is no docker with compose v2 on PATH: install Docker Engine and its compose plugin"
Found = TypeVar("Found")


@cache
def services() -> dict[str, dict[str, Any]]:
    yaml = extra("yaml", "dev")
    found: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return found


def test_every_service_says_whether_it_is_healthy_and_what_becomes_of_it_when_it_dies() -> None:
    for name, service in services().items():
        assert service["healthcheck"]["test"], name
        assert service["restart"].partition(":")[0] in ("unless-stopped", "on-failure"), name


def test_no_service_is_root_or_may_become_it_or_may_write_beside_its_volumes() -> None:
    image = (ROOT / "deploy" / "Dockerfile").read_text()
    assert re.findall(r"^USER (\S+)", image, re.MULTILINE) == ["quintet"]
    for name, service in services().items():
        assert service["image"] == "quintet" or service["user"] not in ("root", "0"), name
        assert [service["read_only"], service["init"]] == [True, True], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name


def test_nothing_is_published_beyond_loopback() -> None:
    published = [port for service in services().values() for port in service.get("ports", ())]
    assert published
    assert all(str(port).startswith("127.0.0.1:") for port in published)
    assert not any(service.get("network_mode") == "host" for service in services().values())


def test_no_secret_stands_in_the_file_and_every_variable_in_it_is_explained_in_the_example() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    # Docker's own `$$NAME` is a variable inside of a container.
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", text))
    explained = set(re.findall(r"^(\w+)=", EXAMPLE, re.MULTILINE))
    assert used == explained
    for name, service in services().items():
        for key, value in service.get("environment", {}).items():
            if key.endswith(("_PASSWORD", "_TOKEN")) or "_URL" in key:
                assert "${" in str(value), (name, key)


def test_the_example_holds_no_secret_and_what_is_written_holds_a_fresh_one_for_each() -> None:
    names = secret_names(EXAMPLE)
    assert len(names) == 9
    values = [dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE)) for text in (EXAMPLE, fresh_env(EXAMPLE))]
    assert [values[0][name] for name in names] == [""] * 9
    assert len({values[1][name] for name in names}) == 9
    assert all(len(values[1][name]) >= 32 for name in names)
    assert values[1]["QUINTET_CONFIG"] == values[0]["QUINTET_CONFIG"]
    assert fresh_env(EXAMPLE) != fresh_env(EXAMPLE)


def test_secrets_are_for_one_user_alone_and_are_not_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    write_env(path, force=False)
    before = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(UsageError, match="--force"):
        write_env(path, force=False)
    assert path.read_text() == before
    write_env(path, force=True)
    assert path.read_text() != before


def test_the_users_of_redis_are_those_of_the_wire() -> None:
    assert USERS.read_text() == users_template(), "write it anew: python -m quintet.cluster.compose_env"


def test_the_image_gets_every_package_and_needs_no_other_image_to_be_built() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert allowed[0] == "*"
    for package in project["tool"]["setuptools"]["packages"]:
        assert f"!{package.partition('.')[0]}" in allowed, package
    image = (ROOT / "deploy" / "Dockerfile").read_text()
    assert "# syntax" not in image
    assert {word for word in re.findall(r"^FROM (\S+)", image, re.MULTILINE) if ":" in word} == {"python:3.11-slim"}


def docker(*arguments: str, env: dict[str, str] | None = None, timeout_s: float = 900.0) -> str:
    """One call of the docker client; fails with what it said."""
    done = subprocess.run(
        ["docker", *arguments],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr[-3000:]}{done.stdout[-3000:]}"
    return done.stdout


def has_compose() -> bool:
    return (
        shutil.which("docker") is not None
        and not subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode
    )


def why_no_engine() -> str | None:
    """None where a Docker engine answers."""
    if not has_compose():
        return NO_CLIENT
    found = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False)
    if not found.returncode:
        return None
    return f"no Docker engine answers (start one, or give this user access to it): {found.stderr.strip()[-200:]}"


def test_compose_reads_the_file_and_names_what_lacks_without_secrets(tmp_path: Path) -> None:
    if not has_compose():
        pytest.skip(NO_CLIENT)
    env_file = tmp_path / ".env"
    write_env(env_file, force=False)
    files = ("-f", "docker-compose.yml", "-f", "docker-compose.gpu.yml")
    docker("compose", "--env-file", str(env_file), *files, "config", "-q")
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(AssertionError, match="quintet secrets"):
        docker("compose", "--env-file", str(empty), "config", "-q")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Compose:
    """The services of one project of a test's own."""

    def __init__(self, env_file: Path) -> None:
        self.project = f"quintet-test-{secrets.token_hex(3)}"
        self.env_file = env_file
        self.ports = {name: free_port() for name in ("DASHBOARD", "GRAFANA", "PROMETHEUS")}
        self.env = {f"QUINTET_{name}_PORT": str(port) for name, port in self.ports.items()}
        self.values = dict(re.findall(r"^(\w+)=(.*)$", env_file.read_text(), re.MULTILINE))

    def __call__(self, *arguments: str) -> str:
        return docker("compose", "-p", self.project, "--env-file", str(self.env_file), *arguments, env=self.env)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("exec", "-T", "controller", "quintet", "status", "--json"))
        return found

    def journal(self) -> str:
        return self("exec", "-T", "dashboard", "sh", "-c", "cat runs/*/journal.jsonl")

    def wait_for(self, look: Callable[[], Found], what: str) -> Found:
        deadline_s = time.monotonic() + PATIENCE_S
        while not (found := look()):
            assert time.monotonic() < deadline_s, f"{what} took too long\n{self('logs', '--tail', '30')}"
            time.sleep(1.0)
        return found

    def wait_for_live(self, workers: int) -> None:
        self.wait_for(lambda: self.status()["workers_live"] == workers, f"waiting for {workers} workers")

    def wait_for_training(self) -> None:
        trained = self.status()["steps"]["trained"]
        self.wait_for(lambda: self.status()["steps"]["trained"] > trained, "more steps trained")

    def scale(self, nodes: int) -> None:
        self("up", "-d", "--no-build", "--no-recreate", "-t", "75", "--scale", f"rollout-node={nodes}")

    def kill(self, service: str, command: str) -> None:
        """kill -9 of `quintet COMMAND`, inside its container, as a crash would."""
        wanted = ["quintet", command]
        code = f"import psutil\nfor p in psutil.process_iter():\n if p.cmdline()[2:4] == {wanted}: p.kill()"
        self("exec", "-T", service, "python", "-c", code)

    def get(self, service: str, path: str, **headers: str) -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports[service]}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, ""


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """The whole cluster, built and up, until the last of these tests."""
    reason = why_no_engine()
    if reason is not None:
        pytest.skip(reason)
    env_file = tmp_path_factory.mktemp("compose") / ".env"
    write_env(env_file, force=False)
    compose = Compose(env_file)
    compose("build")
    try:
        compose("up", "-d", "--no-build", "--wait", "--wait-timeout", "600")
        yield compose
    finally:
        compose("down", "-v", "-t", "20")


def assert_conserved(steps: dict[str, int]) -> None:
    parts = ("trained", "stale", "rejected", "lost", "in_flight")
    assert steps["produced"] == sum(steps[part] for part in parts), steps


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.timeout(1800)
class TestCluster:
    """In this order: each test leaves the cluster as it found it, training with one node."""

    def test_it_trains_with_no_more_than_up(self, compose: Compose) -> None:
        compose.wait_for(lambda: compose.status()["steps"]["trained"] > 0, "the first trained step")
        compose.wait_for_training()
        assert_conserved(compose.status()["steps"])
        assert "compiling" not in compose("logs", "rollout-node", "optimizer", "controller")

    def test_the_pages_answer_and_only_those_who_may_see_more_than_their_health(self, compose: Compose) -> None:
        assert compose.get("DASHBOARD", "/healthy")[0] == 200
        assert compose.get("DASHBOARD", "/api/runs")[0] in (401, 403, 404)
        assert compose.get("GRAFANA", "/api/health")[0] == 200
        assert compose.get("PROMETHEUS", "/-/healthy")[0] == 200
        up = "/api/v1/query?query=quintet_up"
        compose.wait_for(lambda: '"1"]' in compose.get("PROMETHEUS", up)[1], "Prometheus to see the run")

    def test_a_worker_cannot_write_weights(self, compose: Compose) -> None:
        code = (
            "import os; from quintet.wire.redis_link.client import RedisServer; "
            "RedisServer(os.environ['QUINTET_REDIS_URL'], timeout_s=5.0).command('SET', 'quintet:x:weights', 'mine')"
        )
        with pytest.raises(AssertionError, match="LinkAuthError"):
            compose("exec", "-T", "rollout-node", "python", "-c", code)

    def test_nodes_come_and_go_while_it_trains_and_not_a_step_is_lost(self, compose: Compose) -> None:
        compose.scale(3)
        compose.wait_for_live(3)
        compose.wait_for_training()
        compose.scale(1)
        compose.wait_for_live(1)
        compose.wait_for_training()
        steps = compose.status()["steps"]
        assert_conserved(steps)
        assert steps["lost"] == 0

    def test_a_node_that_vanishes_is_noticed_and_training_goes_on(self, compose: Compose) -> None:
        compose.scale(2)
        compose.wait_for_live(2)
        (vanished,) = [name for name in compose("ps", "--format", "{{.Name}}").split() if name.endswith("node-2")]
        docker("pause", vanished)
        try:
            compose.wait_for(lambda: "its node died" in compose.journal(), "the node's death to be noticed")
            compose.wait_for_training()
        finally:
            docker("unpause", vanished)
        compose.scale(1)
        compose.wait_for_live(1)
        assert_conserved(compose.status()["steps"])

    def test_a_controller_that_is_killed_is_followed_by_one_that_takes_over_its_workers(self, compose: Compose) -> None:
        compose.kill("ray-head", "controller")  # the controller's processes are those of the head
        compose.wait_for(lambda: "was playing already" in compose.journal(), "another controller")
        compose.wait_for_training()
        assert_conserved(compose.status()["steps"])

    def test_an_optimizer_that_is_killed_goes_on_from_its_checkpoint(self, compose: Compose) -> None:
        compose.kill("optimizer", "optimizer")
        resumed = '"kind": "resumed", "process": "optimizer"'
        compose.wait_for(lambda: resumed in compose.journal(), "the optimizer to come back")
        compose.wait_for_training()
        assert_conserved(compose.status()["steps"])

    def test_down_ends_the_run_in_order(self, compose: Compose) -> None:
        compose("stop", "controller")
        assert '"stopped"' in compose.journal()
        assert "latest" in compose("exec", "-T", "dashboard", "sh", "-c", "ls runs/*/checkpoints")
