"""The URL of a Redis server as people write it: what can be wrong with one, said without showing what it holds."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from quintet.wire.errors import LinkSetupError

SCHEMES = ("redis", "rediss", "unix")
EXPECTED = "expected redis://[[user]:password@]host:port[/db], rediss:// for TLS, or unix:///path/of/its/socket"
ENCODE = "in a user or password, @ : / ? # [ ] and % must be percent-encoded (%40 %3A %2F %3F %23 %5B %5D %25)"


def location_of(url: str) -> str:
    """Host and port, or the socket's path: what may be shown of a URL that holds a password.

    Raises:
        LinkSetupError: it is no URL of a Redis server; what it holds is not shown.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme.lower() not in SCHEMES:
        is_scheme = separator and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme)
        raise LinkSetupError(f"Redis URL: it begins with {f'{scheme}://' if is_scheme else 'no scheme'}; {EXPECTED}")
    try:
        parts = urlsplit(url)
        if scheme.lower() == "unix":
            return parts.path
        host, port = parts.hostname, parts.port
    except ValueError:  # whose text may hold a piece of the password
        raise LinkSetupError(f"Redis URL: its host or port cannot be read; {ENCODE}; {EXPECTED}") from None
    if _password_spilt(parts):
        raise LinkSetupError(f"Redis URL: the password spills over into the rest of it; {ENCODE}")
    return f"{host or 'localhost'}:{port or 6379}"


def _password_spilt(parts: SplitResult) -> bool:
    """Whether a bare / ? or # in the password ended the host's part, so that the rest of it and the @ stand behind."""
    return "@" in parts.path + parts.fragment or ("@" in parts.query and not parts.hostname)
