"""The token: who may look, who may change, and what the others are told."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from quintet.dashboard import auth
from quintet.dashboard.auth import MAY_CHANGE, Auth

TOKEN = "a-token-that-is-long-enough"
LOCAL = {"127.0.0.1", "localhost", "::1"}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "WRONG_TOKEN_S", 0.0)


def make_auth(*, public: bool = False, token: str | None = TOKEN) -> tuple[Auth, list[dict[str, Any]]]:
    """The token in front of an application that notes what reached it."""
    reached: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(dict(scope))
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"inside"})

    return Auth(app, token=token, hosts=LOCAL, public=public, cookie="quintet_1"), reached


def ask(
    gate: Auth,
    path: str = "/",
    *,
    host: str = "127.0.0.1:8230",
    query: str = "",
    method: str = "GET",
    kind: str = "http",
    body: bytes = b"",
    **headers: str,
) -> tuple[int, dict[str, str], str]:
    """Status (or a websocket's close code), headers and body of the answer."""
    sent: list[dict[str, Any]] = []
    named = {"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
    raw = [(name.encode(), value.encode()) for name, value in named.items()]
    scope = {"type": kind, "path": path, "query_string": query.encode(), "method": method, "headers": raw}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(gate(scope, receive, send))
    if not sent:
        return 0, {}, ""
    head = {name.decode(): value.decode() for name, value in sent[0].get("headers", [])}
    return int(sent[0].get("status", sent[0].get("code", 0))), head, (sent[-1].get("body") or b"").decode()


def cookie_of(headers: dict[str, str]) -> str:
    return headers["set-cookie"].partition(";")[0]


def test_on_loopback_everybody_may_look_and_nobody_may_change_without_the_token() -> None:
    gate, reached = make_auth()
    assert ask(gate)[0] == 200
    assert reached[0][MAY_CHANGE] is False


def test_the_token_in_the_address_becomes_a_cookie_and_leaves_the_address() -> None:
    gate, reached = make_auth()
    status, headers, _ = ask(gate, "/cluster", query=f"run=a&token={TOKEN}")
    assert (status, headers["location"]) == (303, "/cluster?run=a")
    assert "HttpOnly" in headers["set-cookie"]
    assert "SameSite=Strict" in headers["set-cookie"]
    assert TOKEN not in headers["set-cookie"]
    assert ask(gate, "/cluster", cookie=cookie_of(headers))[0] == 200
    assert reached[-1][MAY_CHANGE] is True


@pytest.mark.parametrize("given", ["", "wrong", TOKEN + "x", "ä"])
def test_a_wrong_token_opens_nothing(given: str) -> None:
    gate, reached = make_auth(public=True)
    assert ask(gate, query=f"token={given}&x=1", accept="text/html")[0] == 401
    assert ask(gate, "/login", method="POST", body=f"token={given}".encode())[0] == 401
    assert ask(gate, cookie=f"quintet_1={given}", accept="text/html")[0] == 401 if given.isascii() else True
    assert reached == []


def test_a_made_up_cookie_changes_nothing() -> None:
    gate, reached = make_auth()
    assert ask(gate, cookie="quintet_1=0123456789abcdef")[0] == 200
    assert reached[0][MAY_CHANGE] is False


def test_beyond_loopback_nobody_sees_a_page_or_a_socket_without_the_token() -> None:
    gate, reached = make_auth(public=True)
    status, _, page = ask(gate, "/runs", accept="text/html")
    assert (status, "<form" in page) == (401, True)
    assert ask(gate, "/metrics")[0] == 401
    assert ask(gate, "/_nicegui_ws/socket.io", kind="websocket")[0] == 1008
    assert reached == []


def test_a_program_gives_the_token_as_bearer() -> None:
    gate, reached = make_auth(public=True)
    assert ask(gate, "/metrics", authorization=f"Bearer {TOKEN}")[0] == 200
    assert ask(gate, "/metrics", authorization="Bearer wrong")[0] == 401
    assert len(reached) == 1


def test_the_login_form_goes_on_to_the_page_that_was_asked_for_and_never_elsewhere() -> None:
    gate, _ = make_auth(public=True)
    for target, expected in (("/runs", "/runs"), ("//evil.example", "/"), ("https://evil.example", "/")):
        body = f"token={TOKEN}&next={target}".encode()
        status, headers, _ = ask(gate, "/login", method="POST", body=body)
        assert (status, headers["location"]) == (303, expected)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8230", "", "127.0.0.1.evil.example"])
def test_a_foreign_name_that_was_pointed_at_this_machine_does_not_get_in(host: str) -> None:
    gate, reached = make_auth()
    assert ask(gate, host=host)[0] == 403
    assert ask(gate, host=host, kind="websocket")[0] == 1008
    assert reached == []


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "[::1]:8230", "[::1]", "127.0.0.1"])
def test_every_name_of_loopback_gets_in(host: str) -> None:
    gate, _ = make_auth()
    assert ask(gate, host=host)[0] == 200


def test_health_is_asked_without_a_token() -> None:
    gate, _ = make_auth(public=True)
    assert ask(gate, "/healthy")[0] == 200


def test_answers_tell_the_browser_not_to_guess_and_not_to_frame() -> None:
    gate, _ = make_auth()
    headers = ask(gate)[1]
    assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")


def test_a_form_that_is_too_large_is_not_read() -> None:
    gate, _ = make_auth(public=True)
    assert ask(gate, "/login", method="POST", body=f"token={TOKEN}&pad={'x' * 5000}".encode())[0] == 401


def test_what_a_visitor_typed_is_escaped() -> None:
    gate, _ = make_auth(public=True)
    page = ask(gate, '/"><script>', accept="text/html")[2]
    assert "<script>" not in page


def test_a_public_page_without_a_token_or_with_a_short_one_is_not_built() -> None:
    with pytest.raises(ValueError, match="a token is required"):
        make_auth(public=True, token=None)
    with pytest.raises(ValueError, match="at least 16"):
        make_auth(token="short")


@pytest.mark.parametrize("leaves", [True, False])
def test_a_browser_that_leaves_before_the_answer_is_no_error_but_a_missing_answer_is(leaves: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise RuntimeError("No response returned.")

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"} if leaves else {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    gate = Auth(app, token=TOKEN, hosts=LOCAL, public=False, cookie="quintet_1")
    scope = {"type": "http", "path": "/", "query_string": b"", "method": "GET", "headers": [(b"host", b"localhost:1")]}
    with contextlib.nullcontext() if leaves else pytest.raises(RuntimeError, match="No response"):
        asyncio.run(gate(scope, receive, send))
