"""The browser and the live feeds, for all tests of the interface."""

import pytest

from tests.support.browser import browser, opened  # noqa: F401  (fixtures)
from ui.live.feeds import LiveFeeds


@pytest.fixture
def live():
    """Return the feeds of an app; none goes on after the test."""
    feeds = LiveFeeds()
    yield feeds
    feeds.stop_all()
