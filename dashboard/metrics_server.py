"""A small web server for the exporter alone: /metrics behind a token, /healthy for whoever watches the process."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from dashboard.exporter import CONTENT_TYPE

PATIENCE_S = 5.0
"""A client that takes longer to send its request, or to read the answer, is left."""


class MetricsServer(ThreadingHTTPServer):
    """Serves a page of text at /metrics; use `serve_forever` and `shutdown` of `http.server`."""

    daemon_threads = True

    def __init__(self, host: str, port: int, page: Callable[[], bytes], token: str) -> None:
        """`token` may be empty on loopback alone.

        Raises:
            ValueError: it is empty beyond loopback.
            OSError: the port is taken.
        """
        if not token and not is_loopback(host):
            raise ValueError(f"{host} can be reached from other machines, so a token is needed")
        self.page, self.token = page, token
        super().__init__((host, port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: MetricsServer
    timeout = PATIENCE_S
    server_version, sys_version = "quintet", ""

    def do_GET(self) -> None:
        """Answer one request."""
        path = urlsplit(self.path).path
        if path == "/healthy":
            self._answer(200, b"ok\n")
        elif path != "/metrics":
            self._answer(404, b"there are /metrics and /healthy\n")
        elif allowed(self.headers.get("Authorization"), self.server.token):
            self._answer(200, self.server.page(), CONTENT_TYPE)
        else:
            self._answer(401, b"a token is needed: Authorization: Bearer TOKEN, or as a password\n")

    def _answer(self, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="quintet", charset="UTF-8"')
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a scrape every few seconds is no news."""


def allowed(authorization: str | None, token: str) -> bool:
    """Whether a request's Authorization header shows the token: as a bearer, or as the password of any user.

    An empty token asks nothing of anybody.
    """
    if not token:
        return True
    scheme, _, shown = (authorization or "").partition(" ")
    if scheme.lower() == "basic":
        try:
            shown = base64.b64decode(shown.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(shown.strip().encode(), token.encode())


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address. A name other than localhost may be anything, so it is not."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
