"""A real browser walks the web page of a real run: numbers, scaling, settings, keys, narrow and dark, and no errors."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil
import pytest

from quintet.cluster.processes.spawn import wait_gone
from quintet.wire.redis_link.link import RedisLink
from tests.support.live_run import LiveRun, command_line, live_run
from tests.support.needs import CHROMIUM, CHROMIUM_ARGUMENTS, IN_CHROMIUM, extra

if TYPE_CHECKING:
    from playwright.sync_api import Page, Request

PATIENCE_MS = 90_000
ENDLESS = ("--agent-steps", "1000000000", "--cores-per-worker", "0.25")

pytestmark = IN_CHROMIUM


@dataclass
class Visit:
    """One browser window at one run's web page, and whatever went wrong in it."""

    run: LiveRun
    page: Page
    address: str
    troubles: list[str] = field(default_factory=list)

    @property
    def base(self) -> str:
        return self.address.partition("/?")[0]

    def go(self, path: str) -> None:
        self.page.goto(self.base + path)
        self.page.wait_for_selector(".state.live")


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    """A run that learns, its web page as `quintet train` started it, and a browser that gave the token."""
    sync_api = extra("playwright.sync_api", "dev")
    with (
        live_run(tmp_path_factory.mktemp("web"), *ENDLESS, dashboard=True) as run,
        sync_api.sync_playwright() as driver,
    ):
        run.wait_for_versions(3)
        found = re.search(r"dashboard: (http://\S+)", run.output.read_text())
        assert found is not None
        hurry(run.find("quintet dashboard"))
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(CHROMIUM_ARGUMENTS))
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENCE_MS)
        page.set_default_navigation_timeout(PATIENCE_MS)
        visit = Visit(run, page, found[1])
        page.on("console", lambda m: visit.troubles.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: visit.troubles.append(str(error)))
        page.on("requestfailed", lambda request: _note_failure(visit, request))
        page.on("request", lambda r: None if _is_own(r.url, found[1]) else visit.troubles.append(f"foreign: {r.url}"))
        page.goto(visit.address)
        page.wait_for_selector(".state.live")
        yield visit
        browser.close()


def hurry(web_page: psutil.Process) -> None:
    """Let the web page have its share of a busy machine, where we may: these tests are not about being patient."""
    assert web_page.nice() == 19
    with contextlib.suppress(PermissionError):
        for thread in web_page.threads():
            os.setpriority(os.PRIO_PROCESS, thread.id, 0)


def _note_failure(visit: Visit, request: Request) -> None:
    """Requests that a page makes while it is left for another one are given up, and that is no failure."""
    if request.failure != "net::ERR_ABORTED":
        visit.troubles.append(f"failed: {request.url}: {request.failure}")


def _is_own(url: str, address: str) -> bool:
    return url.startswith((address.partition("/?")[0], "data:", "blob:"))


def link_of(visit: Visit) -> RedisLink:
    return RedisLink((visit.run.folder / "redis_url").read_text(), "live")


def until(visit: Visit, expression: str) -> None:
    """Wait until a JavaScript expression is true on the page."""
    visit.page.wait_for_function(expression)


def test_every_page_opens_by_its_key_and_logs_no_error(visit: Visit) -> None:
    visit.go("/")
    titles = visit.page.locator("nav.pages a span").all_inner_texts()
    assert titles[0] == "Overview"
    assert {"Cluster", "League", "Runs"} <= set(titles)
    for number, title in enumerate(titles, 1):
        visit.page.keyboard.press(str(number))
        visit.page.wait_for_selector(f".top h1:text-is('{title}')")
        visit.page.wait_for_selector(".state.live")
        visit.page.wait_for_timeout(1500)
        assert visit.page.locator(".banner.bad").count() == 0, visit.page.locator(".banner").all_inner_texts()
    assert visit.troubles == []


def test_the_token_left_the_address_when_it_had_been_given(visit: Visit) -> None:
    assert "token" not in visit.page.url


def test_numbers_on_the_page_are_those_in_redis(visit: Visit) -> None:
    """Between two looks at Redis the page shows a number that lies between them: the run goes on meanwhile."""
    visit.go("/")
    visit.page.wait_for_selector("[data-step=produced]")
    with link_of(visit) as link:
        before = link.counters()
        visit.page.wait_for_timeout(3000)
        shown = {
            name: int(visit.page.locator(f"[data-step={name}]").inner_text().replace(",", ""))
            for name in ("produced", "trained", "stale", "rejected", "lost")
        }
        after = link.counters()
    for name, value in shown.items():
        assert getattr(before, name) <= value <= getattr(after, name), name
    assert shown["produced"] > 0


def test_charts_are_drawn(visit: Visit) -> None:
    visit.go("/")
    until(visit, "document.querySelectorAll('.chart canvas').length >= 10")
    until(visit, "[...document.querySelectorAll('.legend b')].filter(b => b.textContent !== '–').length >= 8")


def test_scaling_on_the_page_changes_the_live_workers(visit: Visit) -> None:
    visit.go("/cluster")
    visit.page.fill("#workers", "2")
    visit.page.click("button:has-text('Scale')")
    visit.page.wait_for_selector(".said.good")
    with link_of(visit) as link:
        visit.run.wait_for(
            lambda: sum(beat.process.startswith("worker/") for beat in link.heartbeats()) == 2,
            "waiting for a second worker",
        )
    visit.page.wait_for_selector("table.data td.k:has-text('worker/1')")
    visit.page.fill("#workers", "999")
    visit.page.click("button:has-text('Scale')")
    visit.page.wait_for_selector(".said.bad:has-text('cores for')")


def test_a_setting_made_on_the_page_reaches_the_optimizer(visit: Visit) -> None:
    visit.go("/runs")
    visit.page.fill("#value", "-1")
    visit.page.wait_for_selector(".said.bad:has-text('at least 0')")
    visit.page.fill("#value", "1.25e-4")
    visit.page.wait_for_timeout(500)
    visit.page.click("button:has-text('Set')")
    visit.page.wait_for_selector(".said.good")
    changed = visit.run.wait_for(lambda: visit.run.journal("set"), "waiting for the journal")
    assert "0.000125" in changed[0]["text"]
    assert "dashboard" in changed[0]["text"]
    visit.run.wait_for(
        lambda: last_row(visit)["losses/learning_rate"] == pytest.approx(1.25e-4), "waiting for the update"
    )


def test_the_network_is_drawn_unasked_and_a_chunk_explained_on_request(visit: Visit) -> None:
    visit.go("/model")
    await_explanations(visit, 1)
    visit.page.click("button:has-text('Explain: from reward to loss')")
    await_explanations(visit, 2)


def await_explanations(visit: Visit, n: int) -> None:
    """Wait for so many pictures; those who compute them are given their share of the machine."""

    def are_there() -> bool:
        for process in visit.run.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                if "quintet.explain.process" in command_line(process) and process.nice() == 19:
                    hurry(process)
        failed = visit.page.locator("text=It cannot be explained").all_inner_texts()
        assert not failed, failed
        return visit.page.locator("img[src^='data:image/svg+xml']").count() == n

    visit.run.wait_for(are_there, f"waiting for {n} explanations")


def last_row(visit: Visit) -> dict[str, float]:
    from quintet.control.sinks import last_jsonl

    return last_jsonl(visit.run.folder / "metrics.jsonl")


def test_a_visitor_without_the_token_may_look_and_finds_no_controls(visit: Visit) -> None:
    assert visit.page.context.browser is not None
    stranger = visit.page.context.browser.new_page()
    stranger.set_default_timeout(PATIENCE_MS)
    stranger.goto(visit.base + "/cluster")
    stranger.wait_for_selector(".state.live")
    assert stranger.locator("button:has-text('Scale')").count() == 0
    stranger.close()


def test_dark_and_narrow_nothing_is_wider_than_the_screen(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 390, "height": 844})
    try:
        for path in ("/", "/cluster", "/arena", "/league", "/model", "/runs"):
            visit.go(path)
            visit.page.wait_for_timeout(1500)
            wide = visit.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, f"{path} is {wide} pixels too wide"
        for expected in ("light", "dark"):
            visit.page.keyboard.press("t")
            assert visit.page.evaluate("document.documentElement.dataset.theme") == expected
    finally:
        visit.page.set_viewport_size({"width": 1280, "height": 900})


def test_an_unknown_run_is_said_to_be_unknown(visit: Visit) -> None:
    visit.page.goto(visit.base + "/?run=nobodys")
    visit.page.wait_for_selector("text=There is no run 'nobodys'")


def test_the_page_is_gone_when_its_run_is(visit: Visit) -> None:
    """The last test of this file: it ends the run."""
    assert visit.troubles == []
    page = visit.run.find("quintet dashboard")
    assert visit.run.interrupt() == 130
    assert wait_gone([page], timeout_s=10.0) == []
