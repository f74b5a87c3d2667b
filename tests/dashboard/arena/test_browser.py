"""A real browser watches a game in the Arena: it moves, pauses, steps, shows another head, and logs no error."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.support.arena_run import SKIRMISH, arena_run
from tests.support.live_run import environment
from tests.support.needs import CHROMIUM, CHROMIUM_ARGUMENTS, IN_CHROMIUM, extra

if TYPE_CHECKING:
    from playwright.sync_api import Page

PATIENCE_MS = 240_000

pytestmark = [*IN_CHROMIUM, pytest.mark.timeout(600)]


def hurry(server: psutil.Process) -> None:
    """Page and player have the lowest priority; these tests are not about being patient."""
    for process in (server, *server.children(recursive=True)):
        try:
            process.nice(0)
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            return  # then they take their time


@dataclass(frozen=True)
class Served:
    """A run that is no longer trained, at an address."""

    base: str
    server: psutil.Process


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    arena_run(tmp_path / "runs" / "one", SKIRMISH, 4)
    command = [sys.executable, "-m", "quintet", "dashboard", "--run", "one", "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            found = re.search(r"dashboard: (http://[\w.:]+)/", server.stdout.readline())
            assert found is not None
            yield Served(found[1], psutil.Process(server.pid))
        finally:
            server.terminate()


@pytest.fixture
def page() -> Iterator[Page]:
    sync_api = extra("playwright.sync_api", "dev")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(CHROMIUM_ARGUMENTS))
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENCE_MS)
        yield page
        browser.close()


def test_a_game_moves_pauses_steps_and_shows_whose_head_one_asks_for(served: Served, page: Page) -> None:
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    hurry(served.server)
    page.goto(f"{served.base}/arena?run=one&opponent=bot:middle")
    page.wait_for_selector(".arena-curtain")
    while page.locator(".arena-curtain:visible").count():
        hurry(served.server)  # the player, too, as soon as it is there
        page.wait_for_timeout(1000)
    clock = page.locator(".arena-transport .arena-clock")
    page.wait_for_function("document.querySelector('.arena-clock').textContent > '0:03'")
    assert page.locator(".arena-side b").all_inner_texts() == ["version 4", "bot:middle"]
    assert page.locator(".arena-head:visible").count() >= 2
    assert page.locator(".arena-figure").first.inner_text().startswith("value ")

    page.keyboard.press(" ")
    page.wait_for_timeout(300)
    stood, slider = clock.inner_text(), page.locator(".arena-transport input[type=range]")
    at = int(slider.input_value())
    page.wait_for_timeout(1500)
    assert (clock.inner_text(), int(slider.input_value())) == (stood, at)
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"document.querySelector('.arena-transport input[type=range]').value == {at - 1}")

    page.keyboard.press("n")  # the bot's hero, who does not think
    page.wait_for_selector(".arena-empty:visible")
    page.keyboard.press("p")
    page.wait_for_selector(".arena-empty", state="hidden")
    page.locator(".segments .button").nth(2).click()
    assert page.locator(".segments .button[aria-pressed=true]").inner_text() == "red's eyes"
    assert troubles == []
