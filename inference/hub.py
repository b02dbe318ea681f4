"""Fetch a model from the Hub without waiting for ever: a three-second preflight, then the download.

    path, revision = snapshot("openai-community/gpt2")

HubError
├── NotOnHub          no such public repository
├── GatedOnHub        its terms must be accepted first
└── HubUnreachable    no answer within the preflight's time, and nothing in the local cache

Only weights as safetensors, configuration and tokenizer files are fetched: no pickles, no code.
Knows nothing about what the model is.
"""

from pathlib import Path

import httpx2
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

PREFLIGHT_S = 3.0
FILES = ["*.json", "*.safetensors", "merges.txt", "vocab.txt", "*.model"]
_NO_ANSWER = (httpx2.HTTPError, OfflineModeIsEnabled, ConnectionError, LocalEntryNotFoundError)


class HubError(Exception):
    """A repository can't be had; the text says why, as the end of a sentence."""


class NotOnHub(HubError):  # noqa: N818
    """There is no such public repository."""


class GatedOnHub(HubError):  # noqa: N818
    """The repository's terms must be accepted first."""


class HubUnreachable(HubError):  # noqa: N818
    """The Hub did not answer, and the local cache does not have it."""


def snapshot(repo: str, *, api: HfApi | None = None) -> tuple[Path, str]:
    """Return a repository's folder in the local cache and its commit, downloaded where needed.

    Raises HubError. Without an answer from the Hub, what the cache has is taken.
    """
    api = api or HfApi()
    try:
        revision = str(api.model_info(repo, timeout=PREFLIGHT_S).sha)
    except GatedRepoError as error:
        raise GatedOnHub("it is gated: accept its terms on the Hub and log in") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise NotOnHub("it is neither a folder here nor a public model on the Hub") from error
    except (HfHubHTTPError, *_NO_ANSWER) as error:
        return _cached(repo, error)
    try:
        path = snapshot_download(repo, revision=revision, allow_patterns=FILES, endpoint=api.endpoint)
    except (HfHubHTTPError, OSError, *_NO_ANSWER) as error:
        raise HubUnreachable(f"its download failed ({' '.join(str(error).split())[:120]})") from error
    return Path(path), revision


def _cached(repo: str, why: Exception) -> tuple[Path, str]:
    try:
        path = Path(snapshot_download(repo, allow_patterns=FILES, local_files_only=True))
    except (OSError, HfHubHTTPError, *_NO_ANSWER):
        path = Path()
    if not (path / "config.json").is_file():
        what = "is switched off" if isinstance(why, OfflineModeIsEnabled) else "can't be reached"
        raise HubUnreachable(f"the Hub {what} and it is not in the local cache") from why
    return path, path.name
