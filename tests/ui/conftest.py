"""The browser, for all tests of the interface."""

from tests.support.browser import browser, opened  # noqa: F401  (fixtures)
