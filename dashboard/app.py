"""The web page as a process: pages, static files, metrics, and the token in front of all of them."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import uvicorn
from fastapi import FastAPI, Request, Response
from nicegui import app as nicegui_app
from nicegui import ui

from quintet.dashboard import layout
from quintet.dashboard.auth import LOOPBACK, MAY_CHANGE, Auth
from quintet.dashboard.context import PageContext
from quintet.dashboard.monitoring.exporter import CONTENT_TYPE, Exporter
from quintet.dashboard.run_watch import RunPlace, Watcher

STATIC = Path(__file__).parent / "static"


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """What is served, to whom, and where."""

    places: Callable[[], Sequence[RunPlace]]  # every run that there is, the newest first
    run: str | None  # shown where the visitor names none; None is the newest
    host: str
    port: int
    token: str | None  # who gives it may change things; beyond loopback, who does not sees nothing

    @property
    def is_public(self) -> bool:
        """Whether other machines can reach it."""
        return self.host not in LOOPBACK


def serve(site: Site, listener: socket.socket) -> None:
    """Serve the web page at an open socket until the process is asked to leave (SIGTERM, Ctrl-C).

    Raises:
        ValueError: beyond loopback without a token, or a token that is too short.
    """
    watcher = Watcher(site.places)
    try:
        config = uvicorn.Config(build(site, watcher), log_level="warning", timeout_graceful_shutdown=1)
        logging.getLogger("nicegui").setLevel(logging.WARNING)
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        watcher.close()


def build(site: Site, watcher: Watcher) -> Auth:
    """The ASGI application."""
    api = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    for page in layout.pages():
        _add_page(page, site, watcher)
    nicegui_app.add_static_files("/static", str(STATIC), max_cache_age=60)
    _add_endpoints(api, site, watcher)
    ui.run_with(
        api,
        title="Quintet",
        favicon=STATIC / "favicon.svg",
        dark=False,  # the layout's own script sets the theme
        tailwind=False,
        binding_refresh_interval=None,
        show_welcome_message=False,
        reconnect_timeout=10.0,
    )
    return Auth(
        api, token=site.token, hosts={*LOOPBACK, site.host}, public=site.is_public, cookie=f"quintet_{site.port}"
    )


def _add_page(page: ModuleType, site: Site, watcher: Watcher) -> None:
    @ui.page(page.PATH, title=f"{page.TITLE} · Quintet")
    def show(request: Request, run: str = "") -> None:
        places = watcher.places()
        watch = watcher.watch(run or site.run)
        if watch is None:
            layout.build_without_run(page, run, places)
            return
        context = PageContext(watcher, watch, may_change=bool(request.scope.get(MAY_CHANGE)))
        layout.build(page, context, places)


def _add_endpoints(api: FastAPI, site: Site, watcher: Watcher) -> None:
    @api.get("/healthy")
    def healthy() -> dict[str, str]:
        return {"status": "ok"}

    exporters: dict[str, Exporter] = {}

    @api.get("/metrics")
    def metrics(run: str = "") -> Response:
        watch = watcher.watch(run or site.run)
        if watch is None or watch.link is None:
            return Response("quintet_up 0\n", media_type=CONTENT_TYPE)
        exporter = exporters.setdefault(watch.place.run, Exporter(watch.link))
        return Response(exporter.text(), media_type=CONTENT_TYPE)
