"""The app in a real browser: a newcomer's way, accessibility, narrow screens, no call to the outside."""

import json

import pytest
from playwright.sync_api import expect

from tests.support import wait_for
from tests.support.browser import MARKS, Gate, covered, drawn, overflow, resize, tab, violations
from tests.support.served import app, with_run

pytestmark = MARKS
_SHIFTS = """window.shift = 0; new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
}).observe({type: 'layout-shift', buffered: true});"""


@pytest.fixture(scope="module")
def place(tmp_path_factory, trained_gpt2):
    """Return a home with a finished run, whose tweets hold some that would like to be markup."""
    return with_run(tmp_path_factory.mktemp("browsed"), trained_gpt2)


@pytest.fixture(scope="module")
def url(place):
    with app(place, cold=True) as url:
        yield url


def test_a_newcomer_trains_reloads_uses_compares_and_streams(opened, tmp_path, tiny_gpt2, tiny_tweets):
    with app(tmp_path / "home", cold=True) as url:
        page = opened(url)
        expect(page.get_by_role("tab", name="Compare", exact=True)).to_have_attribute("aria-selected", "true")
        expect(page.locator("#header")).to_contain_text("none yet")
        expect(page.locator("#answers")).to_contain_text("Press Enter: the untouched base answers")
        expect(page.locator("#answers h2").first).to_have_text("Base, no example")
        expect(page.locator("#tweet textarea")).to_have_value("ugh my flight got cancelled again")
        tab(page, "Live")
        expect(page.locator("#live-start")).to_be_disabled()
        for button in ("live-export", "live-train-look", "live-erase", "live-publish"):
            expect(page.locator(f"#{button}")).to_be_hidden()
        expect(page.locator("#live-numbers")).to_contain_text("No model is loaded yet")
        expect(page.locator("#live-duel")).not_to_contain_text("No model is loaded yet")  # once is enough
        tab(page, "Compare")
        page.locator("#scoreboard").get_by_role("button", name="Open Train").click()
        expect(page.locator("#run-panel")).to_contain_text("No training yet")
        for width in (390, 1440):
            resize(page, width)
            for recipe in page.locator("#run-panel .tt-recipes button").all():
                recipe.scroll_into_view_if_needed()
                assert covered(page, f"button[data-value={recipe.inner_text()}]") == []
        page.get_by_role("button", name="All settings").click()
        page.locator("#run-panel").get_by_role("button", name="smoke").click()
        expect(page.get_by_role("spinbutton", name="Training rows")).to_have_value("96")
        expect(page.locator("#recipe input")).to_have_value("smoke")
        page.locator("#run-panel").get_by_role("button", name="quick").click()
        expect(page.get_by_role("spinbutton", name="Training rows")).to_have_value("1000")
        page.locator("#publish .label-wrap").click()
        expect(page.locator("#publish-look")).to_be_disabled()

        page.get_by_label("Upload").check()
        page.locator("#data-file input[type=file]").set_input_files(str(tiny_tweets))
        expect(page.locator("#data-file")).to_contain_text("tweets")
        page.locator("#preview-data").click()
        expect(page.locator("#data-preview")).to_contain_text("Class balance")
        expect(page.locator("#data-audit")).to_contain_text("What is wrong with the data")

        page.locator("#recipe input").click()
        page.get_by_role("option", name="smoke").click()
        expect(page.get_by_role("spinbutton", name="Training rows")).to_have_value("96")
        page.locator("#base input").fill(str(tiny_gpt2))
        page.keyboard.press("Enter")
        page.get_by_role("spinbutton", name="Epochs", exact=True).fill("50")
        page.locator("#start-training").click()
        panel = page.locator("#run-panel")
        expect(panel.locator(".tt-state.running")).to_be_visible()

        def points():
            line = panel.locator("polyline").first
            return len((line.get_attribute("points") or "").split()) if line.count() else 0

        first = wait_for(points)
        wait_for(lambda: points() > first)
        expect(panel.locator("[role=progressbar]")).to_be_visible()
        expect(panel).to_contain_text("left")
        expect(page.locator("#start-training")).to_have_text("Start after the others")

        page.reload()
        expect(page.locator("#header .tt-work")).to_contain_text("Training")
        expect(panel.locator("polyline").first).to_be_visible()
        expect(page.locator("#run-list tbody tr")).to_have_count(1)
        expect(panel.locator(".tt-state")).to_have_text("finished", timeout=120_000)

        panel.get_by_role("button", name="Use this model").click()
        expect(page.locator("#header")).to_contain_text("view run")
        tab(page, "Compare")
        expect(page.locator("#scoreboard")).to_contain_text("95 % intervals")
        page.locator("#tweet textarea").fill("what a wonderful day <img src=x onerror=alert(1)>")
        page.locator("#compare").click()
        expect(page.locator("#answers .tt-label").first).to_be_visible()
        if page.locator("#disagreements .tt-btn").count():
            page.locator("#disagreements .tt-btn").first.click()
            expect(page.locator("#tweet textarea")).not_to_have_value(
                "what a wonderful day <img src=x onerror=alert(1)>"
            )

        tab(page, "Live")
        page.locator("#live-start").click()
        expect(page.locator("#live-posts li").nth(2)).to_be_visible()
        page.reload()
        tab(page, "Live")
        expect(page.locator("#live-numbers .tt-state.running")).to_be_visible()
        page.locator("#live-pause").click()
        expect(page.locator("#live-numbers .tt-state.paused")).to_be_visible()
        expect(page.locator("#live-pause")).to_have_text("Resume")
        page.locator("#live-stop").click()
        expect(page.locator("#live-numbers")).to_contain_text("stopped")
        page.context.close()  # before its server ends


def test_it_opens_on_compare_with_a_model_and_on_the_run_of_an_address(opened, url):
    page = opened(url)
    expect(page.get_by_role("tab", name="Compare", exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#header")).to_contain_text("first")
    page.get_by_role("link", name="view run").click()
    expect(page.get_by_role("tab", name="Train", exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#run-panel h2")).to_have_text("first")


@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_hardly_jumps_while_it_loads(opened, url, width):
    page = opened(url, width=width, before=_SHIFTS)
    expect(page.locator("#answers [role=status]")).to_be_visible()
    expect(page.locator("#scoreboard")).to_contain_text("Scoreboard")
    page.wait_for_timeout(1000)
    assert (shift := page.evaluate("window.shift")) < 0.1, shift


def test_a_link_names_who_answers_and_the_tour_has_five_stops_and_stays_away(opened, url):
    page = opened(f"{url}/?models=tuned,base", first=True)
    expect(page.locator("#models .token").first).to_contain_text("Fine-tuned")
    tour = page.locator(".tt-tour")
    expect(tour).to_contain_text("New here?")
    tour.get_by_role("button", name="Show me").click()
    for stop in range(1, 6):
        expect(tour).to_contain_text(f"{stop} of 5")
        tour.locator("[data-action=tour-next]").click()
    expect(tour).to_have_count(0)
    page.reload()
    expect(page.locator("#answers [role=status]")).to_be_visible()
    expect(tour).to_have_count(0)
    page.get_by_role("button", name="Tour", exact=True).click()
    page.keyboard.press("Escape")
    expect(tour).to_have_count(0)


def test_a_tab_pressed_before_the_server_has_answered_stays_open(opened, url):
    gate = Gate()
    page = opened(url, hold=gate)
    expect(page.get_by_role("tab", name="Compare", exact=True)).to_have_attribute("aria-selected", "true")
    tab(page, "Live")
    wait_for(lambda: page.wait_for_timeout(50) or gate.held)
    gate.open()
    expect(page.locator("#header")).to_contain_text("first")
    expect(page.locator("#live-start")).to_be_visible()
    page.wait_for_timeout(1000)
    expect(page.get_by_role("tab", name="Live", exact=True)).to_have_attribute("aria-selected", "true")


def test_the_list_of_posts_holds_still_under_the_pointer(opened, url):
    page = opened(url)
    wait_for(lambda: page.locator("#header").inner_text().count("loading") == 0)
    tab(page, "Live")
    page.locator("#live-start").click()
    first = page.locator("#live-posts li .text").first
    expect(first).to_be_visible()
    page.locator("#live-posts").hover()
    before = first.inner_text()
    received = page.locator("#live-numbers .tt-tile").first.inner_text()
    wait_for(lambda: page.locator("#live-numbers .tt-tile").first.inner_text() != received)
    page.wait_for_timeout(1500)
    assert first.inner_text() == before
    page.mouse.move(5, 5)
    wait_for(lambda: first.inner_text() != before)
    page.locator("#live-stop").click()


def test_the_keyboard_alone_is_enough(opened, url):
    page = opened(url)
    expect(page.locator("#scoreboard")).to_contain_text("Scoreboard")
    expect(page.locator("#answers [role=status]")).to_be_visible()  # the first example is answered on arrival
    page.locator("#tweet textarea").fill("")
    page.keyboard.type("so happy today")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("really")
    page.keyboard.press("Enter")
    expect(page.locator("#heat .tt-heat").first).to_contain_text("really")
    assert "text=so+happy+today%0Areally" in page.url
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "compare"
    page.get_by_role("tab", name="Train", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#run-list")).to_be_visible()
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.id || document.activeElement.dataset.action || ''"))
    assert {"preview-data", "start-training", "show"} <= seen


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_serious_and_nothing_overflows(opened, url, dark):
    page = opened(url, width=390, dark=dark, locale="pt-BR" if dark else "en-US")
    names = ("Treinar", "Comparar", "Ao vivo") if dark else ("Train", "Compare", "Live")
    page.locator("#scoreboard summary").first.click()  # the table of all scores is in a fold
    expect(page.locator("#scoreboard table").first).to_be_visible()
    page.locator("#tweet textarea").fill("so happy today")
    page.locator("#compare").click()
    expect(page.locator("#answers .tt-label").first).to_be_visible()
    tab(page, names[2])
    page.locator("#live-start").click()
    expect(page.locator("#live-posts li").first).to_be_visible()
    found = {}
    for width in (390, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        for name in names:
            tab(page, name)
            drawn(page)
            assert overflow(page) <= 0, (name, width)
            if serious := violations(page):
                found[f"{name} at {width}"] = serious
    tab(page, names[2])
    page.locator("#live-stop").click()
    assert found == {}, json.dumps(found, indent=1)


def test_a_browser_in_portuguese_reads_portuguese(opened, url):
    page = opened(url, locale="pt-BR")
    expect(page.get_by_role("tab", name="Comparar", exact=True)).to_be_visible()
    expect(page.locator("#header")).to_contain_text("Modelo")
    assert page.evaluate("document.documentElement.lang") == "pt-BR"
    expect(page.locator("#answers [role=status]")).to_be_visible()
    page.locator("#tweet textarea").fill("")
    page.locator("#compare").click()
    expect(page.locator(".tt-problem")).to_contain_text("Não há texto para classificar")
