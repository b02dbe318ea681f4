"""Take the pictures of the app that the README and link previews show: `python -m benchmarks.pictures URL`.

The app runs there already, with the model of `make demo`. Writes docs/compare.png and docs/preview.png; needs
a Chromium on the PATH. It measures nothing, so it is none of the benchmarks that run without names.
"""

import io
import sys
from pathlib import Path

from PIL import Image

from benchmarks.startup import chromium

DOCS = Path(__file__).parent.parent / "docs"
SIZES = {"compare.png": (1440, 1430), "preview.png": (1200, 630)}


def main(url: str) -> None:
    """Open the app, which greets with a tweet that is answered, and write both pictures."""
    with chromium() as browser:
        for name, (width, height) in SIZES.items():
            page = browser.new_page(viewport={"width": width, "height": height}, locale="en-US")
            page.add_init_script("localStorage.setItem('tt-toured', '1')")
            page.goto(url)
            page.locator("#answers .tt-label").nth(2).wait_for()  # two answers and the true label
            page.wait_for_timeout(1500)
            if name == "preview.png":  # the answers, not the form
                for part in ("#models", "#try-these", "#many"):
                    page.locator(part).evaluate("part => { part.style.display = 'none'; }")
                page.wait_for_timeout(300)
            pixels = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            pixels.save(DOCS / name, "PNG", optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
