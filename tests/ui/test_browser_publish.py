"""Signing in, the Publish panel and the duel's labels in a real Chromium, as on a Space, with a local Hub."""

import shutil

import pytest
from playwright.sync_api import expect

from tests.servers.hub import LocalHub
from tests.support.browser import MARKS, SLOW_MS, STILL, drawn, overflow, resize, tab, violations
from tests.support.hub_fixtures import BOB
from tests.support.space_app import session, space

OAUTH = "hf_oauth_" + "b" * 40

pytestmark = MARKS


@pytest.fixture(scope="module")
def hub():
    with LocalHub() as started:
        started.add_user("ada", token=OAUTH, role="oauth", scopes=("contribute-repos",))
        started.add_user("bob", token=BOB)
        yield started


@pytest.fixture(scope="module")
def url(tmp_path_factory, trained_gpt2, hub):
    """Return the address of a Space with one finished run, whose owner has given it a token."""
    home = tmp_path_factory.mktemp("published")
    shutil.copytree(trained_gpt2.run.path, home / "runs" / "first")
    online = {name: value for name, value in hub.environment(BOB).items() if name.startswith("HF_")}
    with space(home, **online) as url:
        yield url


def sign_in(page, url):
    name, _, value = session("ada", token=OAUTH).partition("=")
    page.context.add_cookies([{"name": name, "value": value, "url": url}])
    page.reload()


def looked_at(page):
    """Return the findings of axe and of the widths on the current page."""
    drawn(page)
    return [*violations(page), *(["it overflows"] if overflow(page) > 0 else [])]


@pytest.fixture
def page(browser, url):
    """Return a page of a narrow screen. On a Space Gradio's own script asks other hosts: none is reached."""
    context = browser.new_context(viewport={"width": 390, "height": 900}, locale="en-US")
    context.route(lambda address: not address.startswith(url), lambda route: route.abort())
    context.add_init_script(STILL)
    context.add_init_script("localStorage.setItem('tt-toured', '1')")
    opened = context.new_page()
    opened.set_default_timeout(SLOW_MS)
    opened.goto(url)
    opened.wait_for_selector("#header h1")
    yield opened
    context.close()


def test_a_visitor_signs_in_looks_and_publishes(page, url, hub):
    tab(page, "Train")
    expect(page.get_by_role("button", name="Sign in with Hugging Face")).to_be_visible()
    expect(page.locator("#standing")).to_contain_text("Sign in with Hugging Face to train and publish")
    expect(page.locator("#start-training")).to_be_disabled()
    assert looked_at(page) == []

    sign_in(page, url)
    tab(page, "Train")
    expect(page.locator("#standing")).to_contain_text("You are signed in as ada")
    page.locator("#publish > button").click()
    page.locator("#publish-repo input, #publish-repo textarea").fill("ada/seen")
    page.locator("#publish-look").click()
    expect(page.locator("#publish-panel")).to_contain_text("model.safetensors", timeout=3 * SLOW_MS)
    for width in (390, 1440):
        resize(page, width)
        assert looked_at(page) == [], width
    assert hub.repo("ada/seen") is None

    page.locator("#publish-go").click()
    expect(page.locator("#publish-panel")).to_contain_text("Verified: downloaded again", timeout=3 * SLOW_MS)
    link = page.locator("#publish-panel").get_by_role("link", name="See the commit")
    assert link.get_attribute("href").startswith(f"{hub.endpoint}/ada/seen/commit/")
    assert looked_at(page) == []
    assert {commit.author for commit in hub.commits("ada/seen")} == {"ada"}
