"""The exporter's small web server: what it answers to whom."""

from __future__ import annotations

import base64
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from quintet.cluster.cli.commands import exporter
from quintet.control.errors import UsageError
from quintet.dashboard.monitoring.exporter import MetricsServer, allowed, is_loopback

TOKEN = "correct horse"


@contextmanager
def serving(token: str) -> Iterator[str]:
    with MetricsServer("127.0.0.1", 0, lambda: b"quintet_up 1\n", token) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def get(url: str, authorization: str = "") -> tuple[int, str]:
    request = urllib.request.Request(url, headers={"Authorization": authorization} if authorization else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"prometheus:{password}".encode()).decode()


def test_without_a_token_the_page_is_there_for_everybody_on_this_machine() -> None:
    with serving("") as url:
        assert get(f"{url}/metrics") == (200, "quintet_up 1\n")
        assert get(f"{url}/metrics?x=1")[0] == 200
        assert get(f"{url}/")[0] == 404


def test_with_a_token_only_who_shows_it_gets_the_page() -> None:
    with serving(TOKEN) as url:
        assert get(f"{url}/metrics")[0] == 401
        assert get(f"{url}/metrics", "Bearer wrong")[0] == 401
        assert get(f"{url}/metrics", f"Bearer {TOKEN}") == (200, "quintet_up 1\n")
        assert get(f"{url}/metrics", basic(TOKEN))[0] == 200
        assert get(f"{url}/healthy") == (200, "ok\n")


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer x",
        TOKEN,
        f"Digest {TOKEN}",
        "Basic",
        "Basic %%%",
        "Basic /w==",
        basic("x"),
    ],
)
def test_nothing_else_opens_it(authorization: str | None) -> None:
    assert not allowed(authorization, TOKEN)


@pytest.mark.parametrize("authorization", [f"Bearer {TOKEN}", f"bearer  {TOKEN} ", basic(TOKEN)])
def test_the_token_opens_it_in_each_of_its_forms(authorization: str) -> None:
    assert allowed(authorization, TOKEN)


@pytest.mark.parametrize("token", ["ü€", "a:b:c"])
def test_any_token_can_be_shown_as_a_password(token: str) -> None:
    assert allowed(basic(token), token)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "", "192.168.1.1", "::", "my-machine"])
def test_what_others_may_reach_is_no_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_beyond_loopback_a_token_is_demanded_before_anything_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="a token is needed"):
        MetricsServer("0.0.0.0", 0, bytes, "")
    monkeypatch.delenv("QUINTET_METRICS_TOKEN", raising=False)
    with pytest.raises(UsageError, match=r"--host 0\.0\.0\.0 .* set QUINTET_METRICS_TOKEN"):
        exporter(host="0.0.0.0", redis_url="redis://127.0.0.1:1", run="any")
