"""Fetch a model from the Hub without waiting for ever: a three-second preflight, then the download.

    path, revision = snapshot("openai-community/gpt2")

HubError
├── NotOnHub          no such repository, or none that may be seen
├── GatedOnHub        its terms must be accepted first
└── HubUnreachable    no answer within the preflight's time, and nothing in the local cache

Only weights as safetensors, configuration and tokenizer files are fetched: no pickles, no code.
What was fetched once is had from the cache when the Hub is away. Knows nothing about what the model is.
"""

from collections.abc import Sequence
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, get_token, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from inference.common.hub_client import GaveUp, within

PREFLIGHT_S = 3.0
FILES = ["*.json", "*.safetensors", "merges.txt", "vocab.txt", "*.model"]
_NO_ANSWER = (httpx2.HTTPError, OfflineModeIsEnabled, OSError)


class HubError(Exception):
    """A repository can't be had; the text says why, as the end of a sentence."""


class NotOnHub(HubError):  # noqa: N818
    """There is no such repository, or none that may be seen."""


class GatedOnHub(HubError):  # noqa: N818
    """The repository's terms must be accepted first."""


class HubUnreachable(HubError):  # noqa: N818
    """The Hub did not answer, and the local cache does not have it."""


def snapshot(repo: str, *, api: HfApi | None = None, also: Sequence[str] = ()) -> tuple[Path, str]:
    """Return a repository's folder in the local cache and its commit, downloaded where needed.

    `also`: patterns of files that a plain model does not need. Raises HubError. Without an answer from the
    Hub, what the cache has is taken.
    """
    api, files = api or HfApi(), [*FILES, *also]
    try:
        within(PREFLIGHT_S, lambda: api.model_info(repo, timeout=PREFLIGHT_S))
    except (GatedRepoError, RepositoryNotFoundError, HFValidationError) as error:
        raise _refused(error, api) from error
    except (HfHubHTTPError, *_NO_ANSWER) as error:
        return _cached(repo, files, error)
    try:
        # By its branch and not by its commit: that is how the cache finds it again when the Hub is away.
        path = Path(snapshot_download(repo, allow_patterns=files, endpoint=api.endpoint, token=api.token))
    except (GatedRepoError, RepositoryNotFoundError) as error:  # a gated repository's information is public
        raise _refused(error, api) from error
    except (HfHubHTTPError, *_NO_ANSWER) as error:
        raise HubUnreachable(f"its download failed ({_cause(error)}); what arrived is kept") from error
    return path, path.name


def _refused(error: Exception, api: HfApi) -> HubError:
    if isinstance(error, GatedRepoError):
        return GatedOnHub("it is gated: accept its terms on the Hub and log in with `hf auth login`")
    if api.token or (api.token is None and get_token()):
        return NotOnHub("it is neither a folder here nor a model on the Hub that this login may see")
    return NotOnHub(
        "it is neither a folder here nor a public model on the Hub; a private one needs `hf auth login`"
    )


def _cause(error: BaseException) -> str:
    """Say what broke a download: the client hides it below an error of its own."""
    while isinstance(error, LocalEntryNotFoundError) and error.__cause__:
        error = error.__cause__
    match error:
        case HfHubHTTPError():
            return f"the Hub answers with an error, {error.response.status_code}"
        case httpx2.TimeoutException():
            return "the Hub gave no answer in time"
        case httpx2.NetworkError() | httpx2.RemoteProtocolError():
            return "the connection to the Hub broke"
        case _:
            return " ".join(str(error).split())[:120] or type(error).__name__


def _cached(repo: str, files: list[str], why: Exception) -> tuple[Path, str]:
    try:
        path = Path(snapshot_download(repo, allow_patterns=files, local_files_only=True))
    except (HfHubHTTPError, *_NO_ANSWER):
        path = Path()
    if not (path / "config.json").is_file():
        raise HubUnreachable(_why_not(why)) from why
    return path, path.name


def _why_not(error: Exception) -> str:
    missing = "and it is not in the local cache"
    match error:
        case OfflineModeIsEnabled():
            return f"the Hub is switched off {missing}; unset HF_HUB_OFFLINE"
        case HfHubHTTPError() if error.response.status_code == 401:
            return (
                f"the Hub refuses the token of this login {missing}; "
                "log in again with `hf auth login`, or unset HF_TOKEN"
            )
        case HfHubHTTPError():
            return f"the Hub answers with an error ({error.response.status_code}) {missing}"
        case httpx2.TimeoutException() | TimeoutError():
            return f"the Hub gave no answer in {PREFLIGHT_S:g} s {missing}"
        case GaveUp():
            return f"{error} {missing}"
        case _:
            return f"the Hub can't be reached {missing}"
