"""What the tests of publishing start from."""

import pytest

from tests.support.publishing import copy_of


@pytest.fixture
def artifact(trained_gpt2, tmp_path):
    """Return a copy of a run's artifact, which the test may change."""
    return copy_of(trained_gpt2.artifact, tmp_path)
