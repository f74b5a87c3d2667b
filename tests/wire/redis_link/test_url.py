"""A Redis URL, or a server set up in a way that cannot hold a run: one line that says which, and never the password."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from quintet.cluster.processes.redis_server import _free_port, find_server
from quintet.control.errors import USAGE, exit_code
from quintet.wire.errors import LinkAuthError, LinkDownError, LinkError, LinkSetupError
from quintet.wire.redis_link.client import check_maxmemory
from quintet.wire.redis_link.link import connect
from quintet.wire.redis_link.url import location_of


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("redis://h", "h:6379"),
        ("redis://:p%40s%2F%23@h:1/0", "h:1"),
        ("redis://user:p@ss@h:1", "h:1"),  # the last @ counts
        ("rediss://[::1]:7/2", "::1:7"),
        ("redis://h:1/0?password=p@ss", "h:1"),
        ("unix:///run/redis.sock", "/run/redis.sock"),
    ],
)
def test_host_and_port_are_what_is_shown_of_a_url(url: str, location: str) -> None:
    assert location_of(url) == location


@pytest.mark.parametrize("password", ["w/xq", "w#xq", "w?xq", "12/34", "12#34", "12?34", "p@xq:w/rd#1%", "x[q"])
def test_a_password_that_is_not_percent_encoded_is_said_to_be_that_and_not_shown(password: str) -> None:
    with pytest.raises(LinkSetupError, match="must be percent-encoded") as caught:
        location_of(f"redis://:{password}@127.0.0.1:7101/0")
    assert exit_code(caught.value) == USAGE
    assert not any(part in str(caught.value) for part in ("12", "34", "xq", "x["))


@pytest.mark.parametrize(
    ("url", "found"), [("http://h:1", "begins with http://"), ("h:6379", "no scheme"), (":secret@h:1", "no scheme")]
)
def test_another_scheme_is_named_and_a_missing_one_said(url: str, found: str) -> None:
    with pytest.raises(LinkSetupError, match=f"{found}.*expected redis://") as caught:
        location_of(url)
    assert "secret" not in str(caught.value)


@pytest.mark.redis
def test_a_wrong_password_says_how_one_is_written(redis_url: str, run_name: str) -> None:
    host = redis_url.rpartition("@")[2]
    with pytest.raises(LinkAuthError, match=r"refused the password or user.*percent-encoded"):
        connect(f"redis://:100%25@{host}", run_name, wait_s=0.0)


def test_a_host_that_nobody_knows_is_named(run_name: str) -> None:
    with pytest.raises(LinkDownError, match=r"Redis at nowhere\.invalid:6379 does not answer"):
        connect("redis://nowhere.invalid", run_name, wait_s=0.0)


@pytest.mark.redis
@pytest.mark.parametrize("mode", ["cluster", "sentinel"])
def test_a_server_in_cluster_or_sentinel_mode_is_refused_at_once_and_named(
    mode: str, tmp_path: Path, run_name: str
) -> None:
    port = next(port for port in iter(_free_port, 0) if port < 55_536)  # a cluster listens at 10,000 more, too
    configuration = tmp_path / "redis.conf"
    cluster = f"cluster-enabled yes\ncluster-config-file {tmp_path}/nodes.conf\n" if mode == "cluster" else ""
    configuration.write_text(f'bind 127.0.0.1\nport {port}\nsave ""\ndir {tmp_path}\n{cluster}')
    command = [find_server(), str(configuration), *(["--sentinel"] if mode == "sentinel" else [])]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        with pytest.raises(LinkSetupError, match=rf"127.0.0.1:{port} runs in {mode} mode; a run needs one ordinary"):
            connect(f"redis://127.0.0.1:{port}", run_name, wait_s=60.0)
        with pytest.raises(LinkError, match=f"{mode} mode"):
            check_maxmemory(f"redis://127.0.0.1:{port}", 1)
    finally:
        server.kill()
        server.wait()
