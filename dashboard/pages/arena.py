"""The Arena: a game that is played while one watches, or a replay, and what a chosen agent thinks at every step."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping

from fastapi import Request, Response
from nicegui import app, ui

from quintet.dashboard.arena.request import ArenaError, StreamRequest, read_request
from quintet.dashboard.arena.stream_server import StreamServer
from quintet.dashboard.context import PageContext

TITLE = "Arena"
PATH = "/arena"
MOST_ASKED = 200  # frames of one answer

server = StreamServer()
_tickets: dict[str, PageContext] = {}  # of the pages that are open: which run each of them shows


def build(context: PageContext) -> None:
    """The place which `static/arena.js` fills."""
    ui.add_head_html('<link rel="stylesheet" href="/static/arena.css">')
    ui.add_head_html('<script type="module" src="/static/arena.js"></script>')
    ticket = secrets.token_urlsafe(12)
    _tickets[ticket] = context
    ui.context.client.on_delete(lambda: _tickets.pop(ticket, None))
    ui.element("div").props(f'id="arena" data-ticket="{ticket}"')


@app.get(PATH + "/{what}")
async def answer(what: str, request: Request) -> Response:
    """What the page fetches: `open`, a session's setting, and `frames`; what cannot be shown is {"error": why}."""
    told = dict(request.query_params)
    try:
        return _json(await _answer(what, told))
    except ArenaError as error:
        return _json(json.dumps({"error": str(error)}).encode())
    except LookupError as error:
        return _json(json.dumps({"error": str(error.args[0])}).encode(), status=404)


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json", headers={"cache-control": "no-store"})


async def _answer(what: str, told: Mapping[str, str]) -> bytes:
    """The body of an answer.

    Raises:
        ArenaError: it cannot be shown, and why.
        LookupError: there is no such page or address.
    """
    context = _tickets.get(told.get("ticket", ""))
    if context is None:
        raise LookupError("this page is from before the dashboard was started; load it again")
    wanted = read_request(told, folder=context.folder, redis_url=context.watch.place.redis_url or "")
    if what == "open":
        setting, epoch = await server.open(wanted)
        return b'{"epoch":"%s","setting":%s}' % (epoch.encode(), setting)
    if what == "frames":
        return await _frames(wanted, told)
    raise LookupError(f"there is no /arena/{what}")


async def _frames(wanted: StreamRequest, told: Mapping[str, str]) -> bytes:
    try:
        after, most = int(told.get("after", "-1")), int(told.get("most", "1"))
    except ValueError as error:
        raise ArenaError(f"'after' and 'most' must be whole numbers: {error}") from error
    found = await server.frames(wanted, after=after, most=max(0, min(most, MOST_ASKED)))
    head = {"epoch": found.epoch, "first": found.first, "made": found.made, "done": found.done}
    return json.dumps(head).encode()[:-1] + b',"frames":[' + b",".join(found.frames) + b"]}"


app.on_shutdown(server.close)
