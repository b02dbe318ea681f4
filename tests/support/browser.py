"""A real Chromium, whose pages must have no error and call no other host, and axe's findings.

Needs a Chromium on the PATH (Debian: `apt-get install chromium`), downloads none, and is skipped without it.
The browser is one for a file: while Playwright runs, this thread has an event loop, and others need theirs.
"""

import shutil
from pathlib import Path

import axe_playwright_python
import pytest
from playwright.sync_api import expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
SLOW_MS = 60_000  # of patience with a busy machine
expect.set_options(timeout=SLOW_MS)

STILL = """document.addEventListener('DOMContentLoaded', () => {
    const style = document.createElement('style');
    style.textContent =
        '*, *::before, *::after { transition: none !important; animation-duration: 0s !important }';
    document.head.append(style);
})"""
"""Runs in each page and stops all motion: axe would measure the contrast of a fading colour."""

LEFT = ("AbortError: signal is aborted without reason", "Unexpected error Connection errored out.")
"""What Gradio's client says of the answers it still awaits when its page is left or loaded anew."""

MARKS = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH"),
]
"""The marks of every file of browser tests."""


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--disable-background-networking",
                "--disable-component-update",
                "--no-first-run",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """Return a function that opens pages; at the end no page may have had an error or called another host.

    `before` is a script that runs in the page first; at the `first` visit the tour is offered.
    With `hold`, a Gate, the server gets the page's requests only when the test opens it.
    """
    contexts, problems = [], []

    def seen(message):
        if message.type == "error":
            problems.append(message.text)

    def open_page(url, *, width=1440, dark=False, locale="en-US", hold=None, before="", first=False):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", locale=locale
        )
        contexts.append(context)
        context.add_init_script(STILL)
        page = context.new_page()
        page.add_init_script(before if first else f"localStorage.setItem('tt-toured', '1'); {before}")
        page.set_default_timeout(SLOW_MS)
        page.on("console", seen)
        page.on("pageerror", lambda error: problems.append(str(error)))
        for name in ("goto", "reload", "go_back"):
            setattr(page, name, forgiven(getattr(page, name), problems))
        page.on("request", lambda request: inside(request.url) or problems.append(f"outside: {request.url}"))
        if hold is not None:
            page.route("**/gradio_api/run/**", hold.take)
        page.goto(url)
        page.wait_for_selector("#header h1" if hold is None else "[role=tab]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == [], problems


def forgiven(leave, problems):
    """Wrap a page's method that leaves it, to drop the errors that leaving causes."""

    def leaving(*arguments, **options):
        before = len(problems)
        try:
            return leave(*arguments, **options)
        finally:
            problems[before:] = [each for each in problems[before:] if not each.startswith(LEFT)]

    return leaving


class Gate:
    """Holds a page's requests back until it is opened."""

    def __init__(self):
        self.held, self.is_open = [], False

    def take(self, route):
        route.continue_() if self.is_open else self.held.append(route)

    def open(self):
        self.is_open = True
        for route in self.held:
            route.continue_()


def inside(url):
    return url.startswith(("http://127.0.0.1:", "data:", "blob:"))


def tab(page, name):
    page.get_by_role("tab", name=name, exact=True).click()


def violations(page):
    """Return the serious violations that axe finds on the page as it is."""
    page.evaluate(AXE)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        (each["id"], each["impact"], [node["html"][:200] for node in each["nodes"][:3]])
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]


def covered(page, of="button, a, input, textarea, summary"):
    """Return the controls in the window whose centre is covered by something else."""
    return page.evaluate(
        """of => [...document.querySelectorAll(of)].filter(it => {
            const {x, y, width, height} = it.getBoundingClientRect();
            const [left, top] = [x + width / 2, y + height / 2];
            if (width < 4 || height < 4) return false;
            if (top < 0 || top > innerHeight || left < 0 || left > innerWidth) return false;
            if (!it.checkVisibility({visibilityProperty: true, opacityProperty: true})) return false;
            const found = document.elementFromPoint(left, top);
            return !(it.contains(found) || found?.closest('label')?.contains(it));
        }).map(it => it.id || it.textContent.trim() || it.outerHTML.slice(0, 120))""",
        of,
    )


def stops(page, most=120):
    """Press Tab through the page; return each stop's name, and whether its focus ring is fully visible."""
    session, found = page.context.new_cdp_session(page), []
    page.evaluate("document.activeElement.blur(); getSelection().removeAllRanges()")
    for _ in range(most):
        page.keyboard.press("Tab")
        here = session.send("Runtime.evaluate", {"expression": "document.activeElement"})["result"]
        if page.evaluate("document.activeElement === document.body") and found:
            return found  # around once
        [node] = session.send(
            "Accessibility.getPartialAXTree", {"objectId": here["objectId"], "fetchRelatives": False}
        )["nodes"]
        seen = page.evaluate(
            """() => {
                const it = document.activeElement, style = getComputedStyle(it);
                const {x, y, width, height} = it.getBoundingClientRect();
                const on = document.elementFromPoint(x + width / 2, y + height / 2);
                const out = parseFloat(style.outlineWidth) + parseFloat(style.outlineOffset), cut = [];
                for (let box = it.parentElement; box && box !== document.body; box = box.parentElement) {
                    const css = getComputedStyle(box), edge = box.getBoundingClientRect();
                    if (css.overflowY === 'visible' || css.display === 'contents') continue;
                    if (y - out < edge.top - 1 || y + height + out > edge.bottom + 1) cut.push(box.className);
                    if (x - out < edge.left - 1 || x + width + out > edge.right + 1) cut.push(box.className);
                }
                return {
                    what: it.id || it.outerHTML.slice(0, 100),
                    ring: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 && !cut.length,
                    cut,
                    clear: it.contains(on) || !!on?.closest('label')?.contains(it),
                };
            }"""
        )
        found.append(seen | {"name": node.get("name", {}).get("value", "")})
    raise AssertionError(f"the keyboard does not get around: {found[-5:]}")


def resize(page, width):
    """Set the page's width, and wait until it is drawn."""
    page.set_viewport_size({"width": width, "height": 900})
    drawn(page)


def drawn(page):
    """Wait until the page's current state is drawn."""
    page.evaluate("new Promise((then) => requestAnimationFrame(() => requestAnimationFrame(then)))")


def overflow(page):
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
