"""`.env`: the secrets and settings of `docker compose`, made of `.env.example` with fresh random values.

`python -m quintet.cluster.compose_env` writes deploy/users.acl anew, the users of Redis as compose starts it.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from quintet.control.errors import UsageError
from quintet.wire.redis_link.acl import ROLES, users_acl

ROOT = Path(__file__).absolute().parents[2]
EXAMPLE = ROOT / ".env.example"
USERS = ROOT / "deploy" / "users.acl"
SECRET_BYTES = 24
SECRET_ENDINGS = ("_PASSWORD", "_TOKEN")  # of the names of variables that hold a secret


def fresh_env(example: str) -> str:
    """The text of `.env.example` with a fresh random value behind every name of a secret."""
    return "".join(_filled(line) for line in example.splitlines(keepends=True))


def write_env(path: Path, *, force: bool) -> str:
    """Write a new `.env`, for this user's eyes alone; returns what to tell the person.

    Raises:
        UsageError: there is one, and it is not to be replaced.
    """
    text = fresh_env(EXAMPLE.read_text())
    if path.exists() and not force:
        raise UsageError(
            f"{path} exists; --force replaces it, and then what runs must be started again: docker compose up -d "
            "--force-recreate"
        )
    aside = path.with_name(f"{path.name}.new")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    os.replace(aside, path)
    return f"wrote {path} with {len(secret_names(text))} fresh secrets; now: docker compose up"


def secret_names(text: str) -> list[str]:
    """The variables of such a file that hold a secret."""
    return [name for name in map(_name, text.splitlines()) if name.endswith(SECRET_ENDINGS)]


def _name(line: str) -> str:
    """The variable that a line sets; empty for a comment."""
    return "" if line.lstrip().startswith("#") else line.partition("=")[0].strip()


def _filled(line: str) -> str:
    name = _name(line)
    return f"{name}={secrets.token_hex(SECRET_BYTES)}\n" if name.endswith(SECRET_ENDINGS) else line


def users_template() -> str:
    """The text of deploy/users.acl: every role of `wire.redis_link.acl`, a variable's name where a password goes."""
    return users_acl({role.name: f"${{REDIS_{role.name.upper()}_PASSWORD}}" for role in ROLES})


if __name__ == "__main__":
    USERS.write_text(users_template())
