"""Typed values stay, errors are shown at their field, and the page follows a choice."""

import pytest
from playwright.sync_api import expect

from tests.support import tweets, wait_for, write_csv
from tests.support.browser import MARKS, tab
from tests.support.served import app, with_run

pytestmark = MARKS
_TOOLTIP = "dot => getComputedStyle(dot, '::after').content"


@pytest.fixture(scope="module")
def url(tmp_path_factory, trained_gpt2):
    with app(with_run(tmp_path_factory.mktemp("forms"), trained_gpt2), cold=True) as url:
        yield url


def test_an_error_is_told_at_its_field_and_stays_until_something_else_is_pressed(opened, url):
    page = opened(url)
    problem, toast = page.locator(".tt-problem"), page.locator(".toast-body")
    expect(page.locator("#answers [role=status]")).to_be_visible()
    page.locator("#tweet textarea").fill("")
    page.locator("#compare").click()
    expect(problem).to_have_text("There is no text to classify. Type a tweet or pick one of the examples.")
    expect(toast).to_have_count(0)
    assert page.locator("#question .tt-problem").count() == 1
    tab(page, "Train")
    settings = page.get_by_role("button", name="All settings")
    settings.click()
    rate = page.get_by_role("spinbutton", name="Learning rate")
    rate.fill("50")
    page.locator("#start-training").click()
    expect(problem).to_contain_text("“Learning rate” is 50. Give a value from 0 to 1")
    above = problem.evaluate("it => it.previousElementSibling.querySelectorAll('input')[0].value")
    assert above == "50", "it stands below the row of its field"
    page.wait_for_timeout(1000)
    expect(problem).to_be_visible()
    expect(toast).to_have_count(0)
    assert page.locator("#run-list tbody tr").count() == 1, "no run was made"
    settings.click()  # what is wrong in a closed fold opens it
    page.locator("#start-training").click()
    expect(problem).to_be_visible()
    expect(rate).to_be_visible()
    assert problem.evaluate("it => it.previousElementSibling.querySelectorAll('input')[0].value") == "50"
    rate.fill("0.001")
    page.locator("#preview-data").click()
    expect(problem).to_have_count(0)


def test_who_has_emptied_the_field_before_the_example_came_finds_it_empty(opened, url):
    page = opened(url)
    page.add_init_script("window.ttTyped = true; sessionStorage.clear()")
    page.reload()
    expect(page.locator("#scoreboard .tt-dots").first).to_be_visible()
    page.wait_for_timeout(2000)
    expect(page.locator("#tweet textarea")).to_have_value("")


def test_the_form_with_its_file_is_there_after_a_reload(opened, url, tmp_path):
    odd = tmp_path / "odd.csv"
    odd.write_text("Said,Mood\n" + "".join(f"text number {n},{'ab'[n % 2]}\n" for n in range(40)))
    page = opened(url)
    tab(page, "Train")
    page.get_by_label("Upload").check()
    page.locator("#data-file input[type=file]").set_input_files(str(odd))
    expect(page.locator("#data-preview")).to_contain_text("Class balance")
    expect(page.locator("#data-audit")).to_contain_text("What is wrong with the data")
    page.locator("#recipe input").click()
    page.get_by_role("option", name="smoke").click()
    page.get_by_role("button", name="All settings").click()
    page.get_by_role("spinbutton", name="Epochs", exact=True).fill("9")
    page.locator("#run-name textarea, #run-name input").fill("mine")
    page.get_by_role("spinbutton", name="Training rows").click()
    page.wait_for_timeout(500)
    page.reload()
    tab(page, "Train")
    page.get_by_role("button", name="All settings").click()
    expect(page.get_by_role("spinbutton", name="Epochs", exact=True)).to_have_value("9")
    expect(page.get_by_label("Upload")).to_be_checked()
    expect(page.locator("#data-file")).to_contain_text("odd")
    expect(page.locator("#recipe input")).to_have_value("smoke")
    expect(page.locator("#run-name textarea, #run-name input")).to_have_value("mine")
    page.locator("#preview-data").click()
    expect(page.locator("#data-preview")).to_contain_text("Class balance")
    page.get_by_label("Embedded tweets").check()
    expect(page.locator("#data-preview")).to_be_hidden()  # it was of other data


def test_an_audit_is_started_followed_and_leads_to_the_desk(opened, url, tmp_path, tiny_gpt2):
    rows = [*tweets(120), ("What a day at sea", "positive"), ("what a day at SEA", "negative")]
    page = opened(url, width=390)
    tab(page, "Train")
    page.get_by_label("Upload").check()
    page.locator("#data-file input[type=file]").set_input_files(str(write_csv(tmp_path / "sea.csv", rows)))
    expect(page.locator("#data-audit")).to_contain_text("under studies, looks for wrong labels too")
    page.locator("#base input").fill(str(tiny_gpt2))
    page.locator("#base input").press("Enter")
    page.get_by_role("button", name="Recipe files and studies").click()
    page.locator("#start-audit").click()
    check = page.locator("#run-panel [data-action=check]")
    expect(check).to_be_visible(timeout=180_000)
    expect(page.locator("#run-panel")).to_contain_text("Training rows by class")
    expect(page.locator("#run-panel")).to_contain_text("Texts that come with different labels: 1")
    expect(page.locator("#run-list tbody tr").first).to_contain_text("audit")
    page.locator("#run-list tbody button").first.click()  # another action of the panels goes nowhere
    expect(page.locator("#tab-train-button")).to_have_attribute("aria-selected", "true")
    check.click()
    expect(page.locator("#tab-live-button")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#live-duel-panel")).to_contain_text("labels in doubt of sea.csv")
    expect(page.locator("#live-duel-panel [data-action=label]").last).to_be_in_viewport()


def test_a_dot_of_a_chart_tells_its_value_and_the_code_follows_those_who_answer(opened, url):
    page = opened(url)
    page.locator("#scoreboard summary", has_text="Is it right when it is sure?").click()
    expect(page.locator("#scoreboard .tt-chart .dot").first).to_be_visible()
    dot = page.locator("#scoreboard .tt-chart .dot").first

    def shows_its_tooltip() -> bool:
        dot.hover(force=True)  # anew: what is above it may have grown meanwhile
        return dot.evaluate(_TOOLTIP).strip('"') == dot.get_attribute("data-tooltip")

    wait_for(shows_its_tooltip, seconds=20, every=0.2)
    code = page.locator("#code")
    code.locator("summary").click()
    expect(code.locator("pre").nth(1)).to_contain_text(f"{url}/v1/compare")
    page.locator("#models .token-remove").first.click()
    expect(code.locator("pre").nth(1)).to_contain_text(f"{url}/models/fine-tuned")
