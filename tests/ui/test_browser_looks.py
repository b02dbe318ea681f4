"""The findings of people who tried the app, on the screen: places, widths, what stays put."""

import shutil

import pytest
from gradio_client import Client
from playwright.sync_api import expect

from benchmarks.startup import WORDS_BEFORE, words_at_first_sight
from tests.support.browser import MARKS, covered, overflow, resize, stops, tab
from tests.support.served import app, with_run
from ui.delivery import preloaded

pytestmark = MARKS
_CUT = """[...document.querySelectorAll('button, label, th, .tt-label, .tt-btn, [role=tab]')].filter((it) =>
    it.offsetParent && !it.closest('.visually-hidden') && getComputedStyle(it).overflowX !== 'visible'
    && it.scrollWidth > it.clientWidth + 1).map((it) => it.outerHTML.slice(0, 160))"""
"""The texts that are cut off by their own box."""
_BOXES = """of => [...document.querySelectorAll(of)].filter((it) => it.checkVisibility()).map((it) => {
    const {left, top, right, bottom} = it.getBoundingClientRect(); return {left, top, right, bottom};
})"""
_FIELDS = """() => [...document.querySelectorAll('#train-form .row > .form')]
    .filter((it) => it.checkVisibility()).map((row) => [...row.children].map((field) => ({
        name: field.querySelector('[data-testid=block-info]')?.getBoundingClientRect().top,
        box: [...field.querySelectorAll('input, textarea, .wrap-inner')].find((it) => it.type !== 'checkbox')
            ?.closest('.wrap-inner, input, textarea').getBoundingClientRect().bottom,
    })))"""
"""Where the names of the fields beside each other begin, and where their boxes end."""


@pytest.fixture(scope="module")
def place(tmp_path_factory, trained_gpt2):
    home = with_run(tmp_path_factory.mktemp("looks"), trained_gpt2)
    shutil.copytree(trained_gpt2.run.path, home / "runs" / "20261101-120000-second")
    return home


@pytest.fixture(scope="module")
def url(place):
    with app(place, "--model", str(place / "runs" / "first" / "artifact"), cold=True) as url:
        yield url


def right_edge(locator):
    box = locator.bounding_box()
    return box["x"] + box["width"]


def test_on_a_phone_nothing_that_matters_is_off_to_the_right(opened, url):
    page = opened(url, width=390)
    expect(page.locator("#disagreements")).to_be_visible()
    for chip in page.locator("#disagreements tbody tr").first.locator(".tt-label").all():
        assert right_edge(chip) <= 390
    page.locator("#many .label-wrap").click()
    only = page.locator("#many label", has_text="Only where they disagree")
    expect(only).to_be_visible()
    assert only.bounding_box()["height"] < 40, "on one line"
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
        resize(page, 320)
        [*facts, tour] = page.evaluate(_BOXES, "#header .tt-tour-open, #header .tt-fact > *")
        assert len(facts) > 5 and all(fact["top"] >= tour["bottom"] for fact in facts), name


def test_each_tab_shows_at_first_sight_half_the_words_that_it_did(opened, url):
    counted = words_at_first_sight(opened(url))
    assert {tab: n for tab, n in counted.items() if not 40 < n <= WORDS_BEFORE[tab] / 2} == {}


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


@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_that_can_be_pressed_is_covered_at_first_sight(opened, url, width):
    page = opened(url, width=width)
    tab(page, "Train")
    page.get_by_role("button", name="Recipe files and studies").click()
    expect(page.locator("#expected")).not_to_be_empty()
    expect(page.locator("#run-list tbody tr").first).to_be_attached()
    expect(page.locator("#start-training")).to_be_in_viewport(ratio=1)
    assert covered(page) == []
    for button in ("recipe-save", "recipe-load", "start-tune", "start-forecast"):
        page.locator(f"#{button}").scroll_into_view_if_needed()
        assert covered(page, f"#{button}") == []
        expect(page.locator("#start-training")).to_be_in_viewport(ratio=1)


def test_titles_and_legends_of_charts_stand_apart(opened, url):
    page = opened(url)
    tab(page, "Train")
    page.locator("#run-panel summary", has_text="Curves").click()
    expect(page.locator("#run-panel .tt-charts .tt-legend").nth(1)).to_be_visible()
    for width in (1440, 720, 390):
        resize(page, width)
        boxes = page.evaluate(_BOXES, "#run-panel .tt-charts :is(h3, .tt-legend > span)")
        assert len(boxes) >= 7
        for place, one in enumerate(boxes):
            for other in boxes[place + 1 :]:
                if one["top"] < other["bottom"] and other["top"] < one["bottom"]:  # on one line
                    apart = max(one["left"], other["left"]) - min(one["right"], other["right"])
                    assert apart >= 12, (width, one, other)
        titles = page.evaluate(_BOXES, "#run-panel .tt-charts > div > .tt-row")
        if titles[0]["top"] == titles[1]["top"]:
            assert titles[1]["left"] - titles[0]["right"] >= 24, "the second chart's title"
        values, names = (page.evaluate(_BOXES, f"#run-panel .tt-tile .{css}") for css in "vk")
        for value in values:  # however many lines its name takes
            row = [one for one in values if abs(one["top"] - value["top"]) < 20]
            assert len({round(one["top"]) for one in row}) == 1, (width, row)
        assert len(values) == len(names) >= 5


def test_panels_have_frames_of_one_width_and_fields_stand_in_line(opened, url):
    page = opened(url)
    expect(page.locator("#disagreements tbody tr").first).to_be_visible()
    expect(page.locator("#answers [role=status]")).to_be_visible()
    frames = page.evaluate(
        """['#answers', '#scoreboard', '#disagreements'].map((id) => {
            const it = document.querySelector(id);
            const frame = it.closest('.tt-panel, .tt-card') || it.querySelector('.tt-card');
            const {left, right} = frame.getBoundingClientRect();
            return [left, right, getComputedStyle(frame).borderTopStyle];
        })"""
    )
    assert len({tuple(frame) for frame in frames}) == 1 and frames[0][2] == "solid", frames
    [title] = page.evaluate(_BOXES, "#disagree-title h2, .tt-filter h2")
    filters = page.evaluate(_BOXES, "#filter label")
    assert filters[0]["left"] - title["right"] < 160, "the filter stands beside its title"
    assert abs(title["top"] + title["bottom"] - filters[0]["top"] - filters[0]["bottom"]) <= 8
    tab(page, "Train")
    for width in (1440, 390):
        resize(page, width)
        for fold in page.locator("#train-form .label-wrap:not(.open)").all():
            sign, name = fold.locator(".icon").bounding_box(), fold.locator("span").first.bounding_box()
            assert sign["x"] + sign["width"] <= name["x"], "the sign stands before what it opens"
        page.evaluate(
            "document.querySelectorAll('#train-form .label-wrap:not(.open)').forEach((it) => it.click())"
        )
        expect(page.get_by_role("spinbutton", name="Weight decay")).to_be_visible()
        rows = [row for row in page.evaluate(_FIELDS) if len(row) > 1]
        assert len(rows) > 12
        for row in rows:
            for key in ("name", "box"):
                places = [field[key] for field in row if field.get(key) is not None]
                assert not places or max(places) - min(places) <= 1, (width, key, row)
    resize(page, 1440)
    head, act = page.locator("#run-list thead th").last, page.locator("#run-list .tt-actions").last
    right = act.evaluate(
        """it => {
            const inside = document.createRange();
            inside.selectNodeContents(it);
            return inside.getBoundingClientRect().right;
        }"""
    )
    assert abs(right_edge(head) - 10 - right) <= 2, "an action ends where its column's name ends"


def test_lives_controls_begin_at_one_height_and_the_slider_is_whole(opened, url):
    page = opened(url)
    tab(page, "Live")
    expect(page.locator("#live-start")).to_be_enabled()
    names = page.evaluate(_BOXES, "#live-source span, #rate label span, #live-second span")
    tops = [box["top"] for box in names if box["bottom"] > box["top"]]
    assert len(tops) >= 3 and max(tops) - min(tops) <= 4, names
    for width in (1440, 390):
        resize(page, width)
        cut = page.evaluate(
            "getComputedStyle(document.querySelector('#rate')).overflowY === 'visible' ? 0"
            " : document.querySelector('#rate').scrollHeight"
        )
        assert not cut, "the thumb is higher than its line"


@pytest.mark.parametrize("name", ["Compare", "Train"])
def test_every_stop_of_the_keyboard_has_a_name_and_a_ring_and_none_is_a_trap(opened, url, name):
    page = opened(url)
    expect(page.locator("#answers [role=status]")).to_be_visible()
    tab(page, name)
    if name == "Train":
        page.get_by_role("button", name="Recipe files and studies").click()
        page.locator("#recipe-load").wait_for()
    else:
        page.locator("#code summary").last.wait_for()
    tab(page, name)  # from here on
    found = stops(page)
    assert len(found) > 25
    assert [stop for stop in found if not (stop["name"].strip() and stop["ring"] and stop["clear"])] == []
    if name == "Compare":
        assert "Remove Fine-tuned" in [stop["name"] for stop in found], "not “Remove 1”"


def test_a_text_runs_in_the_direction_of_its_letters(opened, url):
    page = opened(f"{url}/?text=%D9%85%D8%B1%D8%AD%D8%A8%D8%A7+123+hello")
    expect(page.locator("#answers [role=status]")).to_be_visible()
    for place in ("#tweet textarea", "#disagreements td"):
        assert page.locator(place).first.evaluate("it => getComputedStyle(it).unicodeBidi") == "plaintext"


def test_a_comma_is_taken_in_a_number(opened, url):
    page = opened(url, locale="pt-BR")  # the browser's own language is English, whose fields know no comma
    tab(page, "Treinar")
    page.get_by_role("button", name="Todas as configurações").click()
    rate = page.get_by_role("spinbutton", name="Taxa de aprendizado")
    rate.fill("")
    rate.press_sequentially("0,0009")
    expect(rate).to_have_value("0.0009")


def test_what_a_loaded_recipe_leaves_out_is_said(opened, url, tmp_path):
    (tmp_path / "mine.toml").write_text('name = "mine"\ndataset = "/srv/far/odd.csv"\n')
    page = opened(url)
    tab(page, "Train")
    page.get_by_role("button", name="Recipe files and studies").click()
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
        expect(page.locator("#answers")).to_contain_text("20261101-120000-second")
        client.predict("use", "first", api_name="/run_action")
    finally:
        client.close()


def test_the_page_names_the_scripts_that_it_needs_and_loads_one_style_sheet(opened, url):
    page = opened(url)
    expect(page.locator("#answers [role=status]")).to_be_visible()
    asked = page.evaluate("performance.getEntriesByType('resource').map((it) => it.name.split('?')[0])")
    files = {each.rpartition("/")[2] for each in asked if "/assets/" in each}
    assert files - {"tweettune.css"} == {name for name in preloaded() if not name.endswith(".css")}
