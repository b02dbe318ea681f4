"""What each finding of those who tried the app asked for, on the screen: places, widths, what stays put."""

import shutil

import pytest
from gradio_client import Client
from playwright.sync_api import expect

from tests.support.browser import MARKS, overflow, resize, tab
from tests.support.served import app, with_run
from ui.delivery import preloaded

pytestmark = MARKS
_CUT = """[...document.querySelectorAll('button, label, th, .tt-label, .tt-btn, [role=tab]')].filter((it) =>
    it.offsetParent && !it.closest('.visually-hidden') && getComputedStyle(it).overflowX !== 'visible'
    && it.scrollWidth > it.clientWidth + 1).map((it) => it.outerHTML.slice(0, 160))"""
"""The pieces of text that are cut off inside their own box."""


@pytest.fixture(scope="module")
def place(tmp_path_factory, trained_gpt2):
    home = with_run(tmp_path_factory.mktemp("looks"), trained_gpt2)
    shutil.copytree(trained_gpt2.run.path, home / "runs" / "20261101-120000-second")
    return home


@pytest.fixture(scope="module")
def url(place):
    with app(place, "--model", str(place / "runs" / "first" / "artifact")) as url:
        yield url


def right_edge(locator):
    box = locator.bounding_box()
    return box["x"] + box["width"]


def test_on_a_phone_nothing_that_matters_is_off_to_the_right(opened, url):
    page = opened(url, width=390)
    expect(page.locator("#disagreements")).to_be_visible()
    for chip in page.locator("#disagreements tbody tr").first.locator(".tt-label").all():
        assert right_edge(chip) <= 390
    tab(page, "Train")
    use = page.locator("#run-list button[data-action=use]").first
    expect(use).to_be_visible()
    assert right_edge(use) <= 390
    for name in ("Compare", "Train", "Live"):
        tab(page, name)
        for width in (320, 390, 720):  # 720: a screen of 1,440 at a zoom of 200 %
            resize(page, width)
            assert overflow(page) <= 0, (name, width)
            assert page.evaluate(_CUT) == [], (name, width)


def test_start_stays_in_view_and_what_was_chosen_is_what_publish_proposes(opened, url):
    page = opened(url)
    tab(page, "Train")
    page.get_by_role("button", name="All settings").click()
    expect(page.get_by_role("spinbutton", name="Weight decay")).to_be_visible()
    expect(page.locator("#start-training")).to_be_in_viewport()
    page.locator("#publish .label-wrap").click()
    page.locator("#run-list button[data-action=show][data-value$=second]").click()
    expect(page.locator("#run-panel h2").first).to_have_text("second")
    expect(page.locator("#publish-run input")).to_have_value("second")
    expect(page.locator("#publish").get_by_label("Private")).to_be_checked()
    expect(page.locator("#publish-go")).to_be_hidden()


def test_what_a_loaded_recipe_leaves_out_is_said(opened, url, tmp_path):
    (tmp_path / "mine.toml").write_text('name = "mine"\ndataset = "/srv/far/odd.csv"\n')
    page = opened(url)
    tab(page, "Train")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Load a recipe").click()
    chooser.value.set_files(str(tmp_path / "mine.toml"))
    expect(page.locator(".toast-body")).to_contain_text(
        "The recipe's data is a file, odd.csv. Upload it here."
    )


def test_back_goes_to_the_tab_before_and_what_was_typed_outlives_a_reload(opened, url):
    page = opened(url)
    expect(page.locator("#answers [role=status]")).to_be_visible()
    page.locator("#tweet textarea").fill("half a tweet, not asked yet")
    assert "tt-stale" in page.locator("#answers").get_attribute("class"), "the answer is to another text"
    page.reload()
    expect(page.locator("#tweet textarea")).to_have_value("half a tweet, not asked yet")
    tab(page, "Train")
    tab(page, "Live")
    page.go_back()
    expect(page.get_by_role("tab", name="Train", exact=True)).to_have_attribute("aria-selected", "true")
    assert "tab=train" in page.url
    page.goto(f"{url}/?text=what+a+day&models=base,tuned")
    expect(page.locator("#tweet textarea")).to_have_value("what a day")
    expect(page.locator("#answers h2").first).to_have_text("Base")


def test_a_disagreement_brings_its_true_label_and_marks_along(opened, url):
    page = opened(url)
    rows = page.locator("#disagreements .tt-btn")
    expect(rows.first).to_be_visible()
    expect(page.locator("#filter label").first).to_contain_text("All · ")  # with its count
    asked = rows.last.inner_text()
    rows.last.click()
    expect(page.locator("#tweet textarea")).to_have_value(asked)
    expect(page.locator("#answers")).to_contain_text("True label")
    expect(page.locator("#answers .tt-mark")).to_have_count(2)
    expect(page.locator("#tweet")).to_be_in_viewport()
    before = rows.count()
    if page.locator("#more").is_visible():
        page.locator("#more").click()
        expect(rows.nth(before)).to_be_visible()


def test_another_windows_model_is_told_and_drawn(opened, url):
    page = opened(url)
    expect(page.locator("#header")).to_contain_text("first")
    client = Client(url, verbose=False)
    try:
        client.predict("use", "20261101-120000-second", api_name="/run_action")
        expect(page.locator(".toast-body")).to_contain_text("The model was changed to")
        expect(page.locator("#header")).to_contain_text("second")
        expect(page.locator("#answers")).to_contain_text("answered by 20261101-120000-second")
        client.predict("use", "first", api_name="/run_action")
    finally:
        client.close()


def test_the_page_names_the_scripts_that_it_needs_and_loads_one_style_sheet(opened, url):
    page = opened(url)
    expect(page.locator("#answers [role=status]")).to_be_visible()
    asked = page.evaluate("performance.getEntriesByType('resource').map((it) => it.name.split('?')[0])")
    files = {each.rpartition("/")[2] for each in asked if "/assets/" in each}
    assert files - {"tweettune.css"} == {name for name in preloaded() if not name.endswith(".css")}
