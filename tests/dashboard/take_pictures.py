"""Takes the pictures of the web page in docs/images/, of a run that goes on.

    python -m tests.dashboard.take_pictures "http://127.0.0.1:8230/?token=..." docs/images

The address is the one that `quintet train` prints. Needs Chromium, and a run of skirmish.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from quintet.games.skirmish.rules import STEP_S
from tests.support.needs import CHROMIUM, CHROMIUM_ARGUMENTS

if TYPE_CHECKING:
    from playwright.sync_api import Page

PAGES = {
    "overview": "/",
    "cluster": "/cluster",
    "arena": "/arena",
    "league": "/league",
    "model": "/model",
    "runs": "/runs",
}
PATIENCE_MS = 240_000
GAME_S = 240.0  # into the Arena's game: heroes have met by then


def take_pictures(address: str, folder: Path) -> None:
    """Every page, light and wide; the overview also dark and on a phone."""
    from playwright.sync_api import sync_playwright

    if not CHROMIUM:
        raise SystemExit("take_pictures: there is no chromium on PATH: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(CHROMIUM_ARGUMENTS))
        page = browser.new_page(viewport={"width": 1280, "height": 960}, color_scheme="light")
        page.set_default_timeout(PATIENCE_MS)
        page.goto(address)
        base = page.url.partition("/?")[0].rstrip("/")
        for name, path in PAGES.items():
            _show(page, base + path, name)
            page.screenshot(path=folder / f"dashboard-{name}.png")
            print(f"{folder}/dashboard-{name}.png", flush=True)
        page.emulate_media(color_scheme="dark")
        _show(page, base, "overview")
        page.screenshot(path=folder / "dashboard-overview-dark.png")
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": 390, "height": 844})
        _show(page, base, "overview")
        page.screenshot(path=folder / "dashboard-overview-phone.png")
        browser.close()


def _show(page: Page, address: str, name: str) -> None:
    page.goto(address)
    page.wait_for_selector(".state.live")
    if name == "arena":
        page.wait_for_selector(".arena-curtain", state="hidden")
        page.get_by_label("Step of the game").fill(str(int(GAME_S / STEP_S)))
        page.wait_for_timeout(2_000)
        page.wait_for_function("!document.querySelector('.arena-clock').textContent.includes('working')")
    if name == "runs":
        page.wait_for_timeout(2_000)
        for box in page.locator("input[type=checkbox]").all()[1:3]:
            box.check()
    if name == "model":
        page.wait_for_selector("svg")
    page.wait_for_timeout(5_000)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    take_pictures(given.address, given.folder)


if __name__ == "__main__":
    main()
