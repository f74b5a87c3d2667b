"""The web page's process: what `quintet dashboard` serves, and the child that `quintet train` starts beside a run."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from quintet.cluster.processes.spawn import spawn
from quintet.control.errors import REDIS_URL, UsageError
from quintet.control.output import say
from quintet.control.run_folder import RUNS, RunFolder, checked, list_runs
from quintet.dashboard.run_watch import RunPlace

TOKEN = "QUINTET_DASHBOARD_TOKEN"  # the environment variable: a command line can be read by every user
PORT = 8230
NICE = 19
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def run_places(runs: Path = RUNS) -> Sequence[RunPlace]:
    """Every run of this folder, the newest first."""
    return [_place(folder) for folder in list_runs(runs)]


def _place(folder: RunFolder) -> RunPlace:
    try:
        url: str | None = folder.read_redis_url()
    except UsageError:
        url = None
    return RunPlace(run=folder.run, folder=folder.path, redis_url=url, is_live=folder.is_live)


def places_at(redis_url: str, run: str | None, runs: Path = RUNS) -> Sequence[RunPlace]:
    """The same where the run named `run` is open on a Redis of its own: a controller elsewhere may hold it."""
    here = run_places(runs)
    if run is None:
        run = here[0].run if here else None
    if run is None:
        return here
    named = RunPlace(run=run, folder=runs / run, redis_url=redis_url, is_live=True)
    return [named, *(place for place in here if place.run != run)]


def serve_here(
    *,
    run: str | None,
    port: int | None,
    host: str,
    token: str | None,
    redis_url: str | None,
    listening: int | None = None,
) -> None:
    """Serve the web page from this process until it is asked to leave.

    Raises:
        UsageError: no token beyond loopback, one that is too short, or a port that is taken.
    """
    os.nice(NICE - os.nice(0))
    given = token or os.environ.get(TOKEN)
    if host not in LOOPBACK and not given:
        raise UsageError(
            f"--host {host} lets other machines in: give a token by {TOKEN}=... (at least 16 characters) or --token"
        )
    listener = listen(host, port) if listening is None else socket.socket(fileno=listening)
    token = given or new_token()
    if listening is None and not given:
        say(f"dashboard: {address(host, port_of(listener), token)}")
    from quintet.dashboard.app import Site, serve

    runs = RUNS.absolute()  # a game that is shown may change the current folder

    def places() -> Sequence[RunPlace]:
        return run_places(runs) if redis_url is None else places_at(redis_url, run, runs)

    site = Site(
        places=places, run=None if run is None else checked(run), host=host, port=port_of(listener), token=token
    )
    try:
        serve(site, listener)
    except ValueError as error:
        raise UsageError(str(error)) from error


def listen(host: str, port: int | None) -> socket.socket:
    """A socket that takes connections: at `port`, or where that is None at 8230, else at any port that is free.

    Raises:
        UsageError: the port is taken, or the host is no address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for wanted in (PORT, 0) if port is None else (port,):
        try:
            return socket.create_server((host, wanted), family=family)
        except OSError as error:
            if wanted == 0 or port is not None:
                raise UsageError(
                    f"cannot listen at {host}, port {wanted}: {error.strerror}; try another --port"
                ) from error
    raise AssertionError("unreachable")


def port_of(listener: socket.socket) -> int:
    """The port that a socket listens at."""
    port: int = listener.getsockname()[1]
    return port


def address(host: str, port: int, token: str) -> str:
    """What a person opens; the token in it lets them change things."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/?token={token}"


def new_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(18)


class WebPage:
    """The web page as a child of `quintet train`: nice 19, gone with its parent; a crash of it touches nobody.

    The socket is open before the child is there, so that the address holds and a browser that is early waits.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._token = new_token()
        self._listener = listen("127.0.0.1", None)
        self.address = address("127.0.0.1", port_of(self._listener), self._token)
        """What a person opens."""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it answers after some seconds."""
        number = self._listener.fileno()
        self._process = spawn(
            [sys.executable, "-m", "quintet", "dashboard", "--run", self._folder.run, "--listening", str(number)],
            env={TOKEN: self._token, REDIS_URL: ""},
            log=self._folder.logs / "dashboard.log",
            keep=[number],
            cwd=self._folder.path.parent.parent,  # where it finds runs/
        )
        self._listener.close()

    def stop(self) -> None:
        """End it; it holds nothing that could be lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
