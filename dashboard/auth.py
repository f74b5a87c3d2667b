"""Who may come in: on loopback all of this machine may look; beyond it, and for every change, one needs the token."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from html import escape
from typing import Any
from urllib.parse import parse_qsl, urlencode

from fastapi.requests import HTTPConnection
from fastapi.responses import HTMLResponse, Response

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
LEAST_TOKEN = 16
"""Characters of a token at least: nobody guesses it over a network."""
WRONG_TOKEN_S = 1.0
"""How long the answer to a wrong token takes."""
MAX_FORM_BYTES = 4096
MAY_CHANGE = "quintet.may_change"
"""The scope's entry that says whether the visitor gave the token."""
OPEN_PATHS = frozenset({"/healthy"})


class Auth:
    """ASGI middleware around everything that is served, pages and websockets alike."""

    def __init__(self, app: App, *, token: str | None, hosts: Iterable[str], public: bool, cookie: str) -> None:
        """`public`: it is reached from beyond this machine, so that nobody may look without the token.

        `hosts` are the names that a browser may use for a page without a token: a foreign site whose name was pointed
        at this machine's loopback address does not get in.
        """
        if public and not token:
            raise ValueError("beyond loopback a token is required")
        if token is not None and len(token) < LEAST_TOKEN:
            raise ValueError(f"the token has {len(token)} characters; it must have at least {LEAST_TOKEN}")
        self._app, self._token, self._hosts, self._public, self._cookie = app, token, set(hosts), public, cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] not in ("http", "websocket") or scope.get("path") in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        visitor = HTTPConnection(scope)
        trusted = self._is_trusted(visitor)
        if scope["type"] == "http" and (answer := await self._login(visitor, receive)) is not None:
            await answer(scope, receive, _with_headers(send))
            return
        if not trusted and (self._public or _host(visitor) not in self._hosts):
            await self._refuse(visitor, receive, send)
            return
        scope[MAY_CHANGE] = trusted
        await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on to the pages. A browser that left before it had its answer is no error."""
        left = False

        async def heard() -> MutableMapping[str, Any]:
            nonlocal left
            message = await receive()
            left = left or message["type"] == "http.disconnect"
            return message

        try:
            await self._app(scope, heard, _with_headers(send))
        except RuntimeError:  # Starlette's "No response returned."
            if not left:
                raise

    def _is_trusted(self, visitor: HTTPConnection) -> bool:
        scheme, _, given = visitor.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._fits(given.strip()):
            return True
        found = visitor.cookies.get(self._cookie, "")
        return self._token is not None and hmac.compare_digest(found.encode(), self._secret().encode())

    def _fits(self, given: str) -> bool:
        return self._token is not None and hmac.compare_digest(given.encode(), self._token.encode())

    def _secret(self) -> str:
        """What the cookie holds: made of the token, but not the token."""
        return hmac.new((self._token or "").encode(), b"quintet dashboard cookie", hashlib.sha256).hexdigest()

    async def _login(self, visitor: HTTPConnection, receive: Receive) -> Response | None:
        """A token in the address or from the login form: check it, keep it in a cookie, go on without it.

        None where there is neither.
        """
        scope = visitor.scope
        query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1")))
        if "token" in query:
            given, target = query.pop("token"), scope["path"]
        elif scope["path"] == "/login" and scope["method"] == "POST":
            form = dict(parse_qsl((await _body(receive)).decode("latin-1")))
            given, target = form.get("token", ""), form.get("next", "/")
        else:
            return None
        if not self._fits(given):
            await asyncio.sleep(WRONG_TOKEN_S)
            return HTMLResponse(login_page(target, "That was not the token."), 401)
        if not target.startswith("/") or target.startswith("//"):
            target = "/"
        location = target + (f"?{urlencode(query)}" if query else "")
        cookie = f"{self._cookie}={self._secret()}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000"
        return HTMLResponse("", 303, {"location": location, "set-cookie": cookie})

    async def _refuse(self, visitor: HTTPConnection, receive: Receive, send: Send) -> None:
        scope = visitor.scope
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        if not self._public:
            names = ", ".join(sorted(self._hosts))
            text = f"This page answers to {names}, not to {_host(visitor)}: give it the token, or use one of those."
            answer = HTMLResponse(f"<!doctype html><title>Quintet</title><p>{escape(text)}</p>", 403)
        else:
            wants_page = "text/html" in visitor.headers.get("accept", "")
            answer = HTMLResponse(login_page(scope["path"]) if wants_page else "the token is missing or wrong", 401)
        await answer(scope, receive, _with_headers(send))


def _host(visitor: HTTPConnection) -> str:
    host = visitor.headers.get("host", "")
    return host.rpartition(":")[0].strip("[]") if ":" in host.rpartition("]")[2] else host.strip("[]")


def _with_headers(send: Send) -> Send:
    """Add what keeps a browser from guessing types, from framing the page and from telling others its address."""
    extra = [
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
        (b"referrer-policy", b"no-referrer"),
    ]

    async def wrapped(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *extra]}
        await send(message)

    return wrapped


async def _body(receive: Receive) -> bytes:
    body = b""
    while len(body) <= MAX_FORM_BYTES:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            break
    return body if len(body) <= MAX_FORM_BYTES else b""


def login_page(target: str, problem: str = "") -> str:
    """The page that asks for the token; complete in itself, since nothing else is served before."""
    return f"""<!doctype html><html lang="en"><head><title>Quintet</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>:root{{color-scheme:light dark}}body{{font:15px/1.5 system-ui,sans-serif;display:grid;place-items:center;
min-height:90vh;margin:0}}form{{display:grid;gap:.7rem;width:min(22rem,88vw)}}h1{{font-size:1.1rem;margin:0}}
input,button{{font:inherit;padding:.5rem .7rem;border-radius:6px;border:1px solid #8888}}p{{margin:0}}</style></head>
<body><form method="post" action="/login"><h1>Quintet</h1>
<p>{escape(problem) or "Give the token that stands in the address which was printed when it started."}</p>
<input type="hidden" name="next" value="{escape(target)}">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" autofocus>
<button>Come in</button></form></body></html>"""
