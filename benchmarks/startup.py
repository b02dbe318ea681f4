"""How fast, heavy and wordy is the app? Its first page, a cold visit, the imports, words a tab.

python -m benchmarks startup
python -m benchmarks words          # of the newest finished run, such as that of `make demo`
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from statistics import median

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks import results

TIMES = 5
LIMIT_S = 60
WORDS_BEFORE = {"compare": 707, "train": 375, "live": 177}
"""Of the app as three people tried it on 2026-11-25 (eb2a354), counted the same way, with a tiny GPT-2 that
`quick` had trained on 1,000 of the embedded tweets."""
_COUNT_JS = r"""() => {
  const shown = (it) => it.checkVisibility({visibilityProperty: true, opacityProperty: true})
    && !it.closest('script, style, template, desc, noscript, .visually-hidden, .sr-only')
    && it.getBoundingClientRect().width > 1;
  const texts = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) if (shown(walk.currentNode.parentElement)) texts.push(walk.currentNode.data);
  const fields = 'textarea, input:not([type=radio], [type=checkbox], [type=range], [type=file])';
  for (const field of document.querySelectorAll(fields))
    if (shown(field)) texts.push(field.value || field.placeholder);
  return texts.join('\n').match(/\S*[\p{L}\p{N}]\S*/gu).length;
}"""
"""Counts visible words with a letter or a digit, in the window and below it, fields included."""
SLOW_LINE = {"offline": False, "latency": 400, "downloadThroughput": 50_000, "uploadThroughput": 50_000}


def main(dataset: str) -> None:
    """Measure, and write results/startup.json."""
    pages = []
    for _ in range(TIMES):
        with _app() as (_, seconds):
            pages.append(seconds)
    imports = [_import("inference.classifier") for _ in range(TIMES)]
    results.write(
        "startup",
        rows=[
            {
                "name": "first page of the app",
                "n": TIMES,
                "seconds": median(pages),
                "worst_seconds": max(pages),
            },
            {
                "name": "import inference.classifier",
                "n": TIMES,
                "seconds": median(imports),
                "worst_seconds": max(imports),
            },
            *_visits(),
        ],
    )


def words(dataset: str) -> None:
    """Count the words of each tab, and write results/words.json."""
    with _app() as (url, _), chromium() as browser:
        page = browser.new_page(viewport={"width": 1440, "height": 900}, locale="en-US")
        page.set_default_timeout(1000 * LIMIT_S)
        page.add_init_script("localStorage.setItem('tt-toured', '1')")
        page.goto(url)
        found = words_at_first_sight(page)
    rows = [
        {"name": tab.title(), "words": count, "words on 2026-11-25": WORDS_BEFORE[tab]}
        for tab, count in found.items()
    ]
    results.write("words", rows=rows)


def words_at_first_sight(page: Page) -> dict[str, int]:
    """Return the number of words on each tab, header included, before any fold is opened."""
    page.locator("#answers [role=status]").wait_for()  # a tweet is answered on arrival
    page.locator("#disagreements tbody tr").first.wait_for()
    found = {}
    for tab, there in {"compare": "#answers", "train": "#run-list tbody tr", "live": "#live-duel"}.items():
        page.locator(f"#tab-{tab}-button").click()
        page.locator(there).first.wait_for()
        before = -1
        while (count := int(page.evaluate(_COUNT_JS))) != before:  # until all is drawn
            before = count
            page.wait_for_timeout(2000)
        found[tab] = count
    return found


def _visits() -> list[dict[str, object]]:
    """Return the figures of a browser with an empty cache, on this machine and over a slow line."""
    rows: list[dict[str, object]] = []
    with _app() as (url, _), chromium() as browser:
        for name, line in (("usable, cold cache", None), ("usable at 50 kB/s, 400 ms", SLOW_LINE)):
            found = [_visit(browser, url, line) for _ in range(TIMES)]
            times = [seconds for seconds, _ in found]
            row = {"name": name, "n": TIMES, "seconds": median(times), "worst_seconds": max(times)}
            rows.append({**row, "kilobytes": round(median(kilobytes for _, kilobytes in found))})
        asked = urllib.request.Request(url, headers={"Accept-Encoding": "br"})
        with urllib.request.urlopen(asked, timeout=30) as answer:
            rows.append({"name": "the page itself", "n": 1, "kilobytes": round(len(answer.read()) / 1000)})
    return rows


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run the Chromium of the PATH, headless."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def _visit(browser: Browser, url: str, line: dict[str, object] | None) -> tuple[float, float]:
    """Return the seconds until the page is usable, and the kB transferred until then."""
    context = browser.new_context()
    page, sizes = context.new_page(), [0.0]
    wire = context.new_cdp_session(page)
    wire.send("Network.enable")
    wire.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"] / 1000))
    if line:
        wire.send("Network.emulateNetworkConditions", line)
    started = time.perf_counter()
    page.goto(url, wait_until="commit", timeout=1000 * LIMIT_S)
    page.locator("#header h1").wait_for(timeout=1000 * LIMIT_S)  # the server's first answer
    page.locator("#compare").wait_for(timeout=1000 * LIMIT_S)
    seconds = round(time.perf_counter() - started, 2)
    context.close()
    return seconds, sum(sizes)


@contextlib.contextmanager
def _app() -> Iterator[tuple[str, float]]:
    """Start the app; yield its URL and the seconds until its first page."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.perf_counter()
    app = subprocess.Popen(
        [sys.executable, "app.py"],
        env={**os.environ, "GRADIO_SERVER_PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while time.perf_counter() - started < LIMIT_S:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
                    if b"gradio" in page.read():
                        break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05)
        else:
            raise SystemExit(f"The app had no page after {LIMIT_S} s.")
        yield f"http://127.0.0.1:{port}/", round(time.perf_counter() - started, 2)
    finally:
        app.terminate()
        app.wait()


def _import(module: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    return round(time.perf_counter() - started, 2)
