"""The server that most tests of serving ask, with two models."""

import pytest

from tests.support.serve import serving


@pytest.fixture(scope="module")
def sources(trained_gpt2, trained_llama):
    return {"demo": trained_gpt2.artifact, "other": trained_llama.artifact}


@pytest.fixture(scope="module")
def server(sources):
    with serving(sources) as running:
        yield running
