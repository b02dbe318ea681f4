"""Fixtures of the local Hub: `hub`, a new one for each test, and `online`, which points this process at it.

A test that asks for `online` may use the clients of huggingface_hub and Transformers as they are, with no
endpoint given: HF_ENDPOINT and HF_HUB_OFFLINE, which are read at import, are set for the time of the test.
The datasets library keeps copies of them: it needs a process of its own, `env=hub.environment(token)`.
"""

import pytest
from huggingface_hub import constants, hf_api
from huggingface_hub.utils import close_session

from tests.servers.hub import LocalHub

ADA = "hf_" + "ada" * 11 + "a"
"""A token of realistic length that nobody has."""
BOB = "hf_" + "bob" * 11 + "b"


@pytest.fixture
def hub():
    """Return a Hub on loopback that knows ada, who may write for herself and for crew, and bob."""
    with LocalHub() as started:
        started.add_user("ada", token=ADA, orgs=("crew",))
        started.add_user("bob", token=BOB)
        yield started


@pytest.fixture
def online(hub, tmp_path, monkeypatch):
    """Return the Hub, as this process's own until the test ends: an empty cache, nobody logged in."""
    home = tmp_path / "hf-home"
    for name, value in {
        "HF_HUB_OFFLINE": False,
        "ENDPOINT": hub.endpoint,
        "HUGGINGFACE_CO_URL_HOME": f"{hub.endpoint}/",
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_DISABLE_XET": True,
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
        "HF_HUB_DISABLE_TELEMETRY": True,
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(hf_api.api, "endpoint", hub.endpoint)  # the module's own functions use this one
    monkeypatch.setattr("transformers.utils.hub._hf_api", None)  # kept with its first endpoint
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    yield hub
    close_session()


@pytest.fixture
def large(online):
    """Return the Hub, which takes the weights as large files, in parts; it is this process's Hub."""
    online.lfs_over, online.part_size = 50_000, 80_000
    return online
