"""Take the pictures of the app that README, docs and link previews show: `python -m benchmarks.pictures URL`.

The app runs there already, with the model of `make demo`. Writes into docs/; needs a Chromium on the PATH and
streams test tweets in Live for half a minute. It measures nothing, so a run of all benchmarks leaves it out.
"""

import io
import sys

from PIL import Image
from playwright.sync_api import Page

from benchmarks import ROOT
from benchmarks.startup import chromium

DOCS = ROOT / "docs"
SIZES = {
    "compare.png": (1440, 1430),
    "preview.png": (1200, 630),
    "train.webp": (1440, 1300),
    "live.webp": (1440, 1200),
}
LIVE_POSTS = 40


def main(url: str) -> None:
    """Open the app, which greets with a tweet that is answered, and write all pictures."""
    with chromium() as browser:
        for name, (width, height) in SIZES.items():
            page = browser.new_page(viewport={"width": width, "height": height}, locale="en-US")
            page.set_default_timeout(180_000)
            page.add_init_script("localStorage.setItem('tt-toured', '1')")
            tab = name.partition(".")[0]
            page.goto(f"{url}?tab={tab if tab in ('train', 'live') else 'compare'}")
            {"preview": _preview, "train": _train, "live": _live}.get(tab, _answered)(page)
            pixels = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            pixels.save(DOCS / name, optimize=True, **({"quality": 85} if name.endswith("webp") else {}))
            page.close()


def _answered(page: Page) -> None:
    page.locator("#answers .tt-label").nth(2).wait_for()  # two answers and the true label
    page.wait_for_timeout(1500)


def _preview(page: Page) -> None:
    _answered(page)
    for part in ("#models", "#try-these", "#many"):  # the answers, not the form
        page.locator(part).evaluate("part => { part.style.display = 'none'; }")
    page.wait_for_timeout(300)


def _train(page: Page) -> None:
    page.locator("#run-panel summary", has_text="Curves").click()
    page.locator("#run-panel .tt-chart").first.wait_for()
    page.wait_for_timeout(2000)


def _live(page: Page) -> None:
    page.locator("#rate input[type=number]").fill("4")
    page.locator("#live-start").click()
    page.wait_for_function(
        f"document.querySelectorAll('#live-posts li').length > {LIVE_POSTS}", timeout=180_000
    )
    page.wait_for_timeout(2000)
    page.evaluate("scrollTo(0, 0)")


if __name__ == "__main__":
    main(sys.argv[1])
