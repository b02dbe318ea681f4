"""The Hub's client, made safe for a push: time-outs, few retries, and errors in one sentence.

    with hub_client(Patience(), sent=count_bytes):
        with hub_errors("write to ada/tweets", repo_id="ada/tweets"):
            HfApi(endpoint=endpoint, token=token).create_commit(...)

The client of huggingface_hub has no time-outs of its own and one session for the whole process, so
`hub_client` belongs into a process that does nothing else, or into a test. It also turns Xet off: its
uploader has no time-outs, and its errors are not HTTP's. Knows nothing about models.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2
from huggingface_hub import constants, set_client_factory
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from inference.common.hub_client import guarded_client, make_client
from training.publish.errors import HubBusy, HubSilent, NotAllowed, NotLoggedIn, PublishError, RepoConflict

_SILENCE = "silence"
LATER = (408, 425, 429, 500, 502, 503, 504)
Sent = Callable[[int], None]
"""Is told how many bytes of an upload have just gone out."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for the Hub."""

    timeout_s: float = 60.0
    """For one answer, or for the next bytes of one."""
    connect_s: float = 10.0
    tries: int = 3
    """Of one request, while the Hub is silent or busy."""
    longest_wait_s: float = 20.0
    """A Hub that says "later than that" is busy; the push ends and says so."""


@contextmanager
def hub_client(patience: Patience, *, sent: Sent = lambda count: None) -> Iterator[None]:
    """Within it, the client of this process has time-outs, and uploads through plain HTTP."""

    before = constants.HF_HUB_DISABLE_XET
    library = logging.getLogger("huggingface_hub")
    level = library.level
    bars = not are_progress_bars_disabled()
    constants.HF_HUB_DISABLE_XET = True
    library.setLevel(logging.ERROR)  # its warnings of each try hold addresses that are signed
    disable_progress_bars()  # `sent` tells
    set_client_factory(lambda: guarded_client(lambda inner: _Guard(inner, patience, sent)))
    try:
        yield
    finally:
        set_client_factory(make_client)
        constants.HF_HUB_DISABLE_XET = before
        library.setLevel(level)
        if bars:
            enable_progress_bars()


class _Guard(httpx2.BaseTransport):
    """Ends a request that keeps failing, where the client would go on for minutes."""

    def __init__(self, inner: httpx2.BaseTransport, patience: Patience, sent: Sent) -> None:
        self.inner, self.patience, self.sent = inner, patience, sent
        self.failures: Counter[str] = Counter()
        self.lock = threading.Lock()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request. Raises HubSilent or HubBusy when it has failed too often."""
        key = f"{request.method} {request.url.host}{request.url.path}"
        request.extensions = {**request.extensions, "timeout": self._limits(request)}
        if request.method == "PUT":
            request.stream = _Counted(request.stream, self.sent)
        try:
            response = self.inner.handle_request(request)
        except (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError) as error:
            # A library may pass over a silent request and send the next one, so all silence counts.
            silent = isinstance(error, httpx2.TimeoutException)
            if self._failed(_SILENCE if silent else key) >= self.patience.tries:
                raise HubSilent(_silence(error, "go on")) from error
            raise  # huggingface_hub's own back-off tries again
        if response.status_code not in LATER:
            with self.lock:
                self.failures.pop(key, None)
                self.failures.pop(_SILENCE, None)
            return response
        wait_s = retry_after_s(response.headers)
        if self._failed(key) >= self.patience.tries or (wait_s or 0) > self.patience.longest_wait_s:
            response.close()
            raise busy(response.status_code, wait_s)
        return response

    def _limits(self, request: httpx2.Request) -> dict[str, float]:
        """Return a request's time-outs. Some calls of huggingface_hub set None, for ever, others a minute."""
        ours = httpx2.Timeout(self.patience.timeout_s, connect=self.patience.connect_s).as_dict()
        given = request.extensions.get("timeout") or {}
        return {key: min(limit or 0.0, given.get(key) or limit or 0.0) for key, limit in ours.items()}

    def _failed(self, key: str) -> int:
        with self.lock:
            self.failures[key] += 1
            return self.failures[key]

    def close(self) -> None:
        """Close the transport below."""
        self.inner.close()


class _Counted(httpx2.SyncByteStream):
    def __init__(self, inner: object, sent: Sent) -> None:
        self.inner, self.sent = inner, sent

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.inner:  # type: ignore[attr-defined]
            yield piece
            self.sent(len(piece))


def retry_after_s(headers: httpx2.Headers) -> float | None:
    """Return when an answer asks to be asked again, in seconds; None when it does not say."""
    found = headers.get("retry-after", "").strip()
    return float(found) if found.isdigit() else None


def busy(status: int, wait_s: float | None) -> HubBusy:
    """Return the error for an answer that says "later"."""
    when = f"in {wait_s:.0f} s" if wait_s else "in a few minutes"
    what = "asks to slow down" if status == 429 else "has trouble of its own"
    return HubBusy(
        f"The Hub {what} ({status}). Start the same push again {when}; what has arrived is not sent twice.",
        retry_after_s=wait_s,
    )


def _silence(error: BaseException, doing: str) -> str:
    if isinstance(error, httpx2.TimeoutException):
        what = "The Hub does not answer"
    elif isinstance(error, httpx2.ConnectError):
        what = "The Hub can't be reached"
    else:
        what = "The connection to the Hub broke"
    return (
        f"{what}, so it was not possible to {doing}. "
        "Check the network, then start the same push again; what has arrived is not sent twice."
    )


@contextmanager
def hub_errors(doing: str, *, repo_id: str) -> Iterator[None]:
    """Within it, what the Hub's client raises becomes a PublishError. `doing` completes "may not …"."""
    try:
        yield
    except PublishError:
        raise
    except HFValidationError as error:
        raise bad_name(repo_id) from error
    except (httpx2.HTTPError, OSError, RuntimeError, ValueError, KeyError) as error:
        # The client's own are OSErrors; a KeyError is an answer that lacks what the Hub's have.
        raise translated(error, doing, repo_id) from error


def translated(error: BaseException, doing: str, repo_id: str) -> PublishError:
    """Return the PublishError for what the client raised; it wraps what happened in errors of its own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, PublishError):
            return cause
        if isinstance(cause, HfHubHTTPError):
            return refusal(
                cause.response.status_code, cause.response.headers, cause.server_message or "", doing, repo_id
            )
        if isinstance(cause, OfflineModeIsEnabled):
            return HubSilent("The Hub is switched off by HF_HUB_OFFLINE. Unset it, then push again.")
        if isinstance(cause, httpx2.HTTPError | ConnectionError):
            return HubSilent(_silence(cause, doing))
        cause = cause.__cause__ or cause.__context__
    what = " ".join(str(error).split())[:200].rstrip(".")
    return PublishError(f"It was not possible to {doing} ({what}). Mend that, then push again.")


def refusal(status: int, headers: httpx2.Headers, said: str, doing: str, repo_id: str) -> PublishError:
    """Return the error for an answer of the Hub that is a refusal."""
    if status in LATER:
        return busy(status, retry_after_s(headers))
    said = " ".join(said.split())[:200].rstrip(".")
    because = f"{status}: {said}" if said else str(status)
    conflict = RepoConflict(
        f"{repo_id} has changed while this push was under way ({status}). "
        "Look at its history, then push again; nothing of this push is in it."
    )
    known: dict[int, PublishError] = {
        401: NotLoggedIn(
            "The Hub does not take the token (401). Log in again with `hf auth login`, or set HF_TOKEN "
            "to a token from huggingface.co/settings/tokens."
        ),
        402: NotAllowed(f"The Hub wants a paid plan for that ({because}). See huggingface.co/pricing."),
        403: NotAllowed(
            f"The token may not {doing} ({because}). Make one that may write to {repo_id}, "
            "at huggingface.co/settings/tokens, or push with --pr."
        ),
        404: NotAllowed(
            f"The Hub knows no {repo_id} that this token may see, so it may not {doing} ({because}). "
            "Check the name, and that the token covers it."
        ),
        409: conflict,
        412: conflict,
    }
    other = PublishError(f"The Hub refuses to {doing} ({because}). Mend that, then push again.")
    return known.get(status, other)


def bad_name(repo_id: str) -> PublishError:
    """Return the error for what can't be a repository's name."""
    return PublishError(
        f"{repo_id!r} can't be a repository's name. Write OWNER/NAME with letters, digits, -, _ and dots, "
        "such as ada/tweets-gpt2."
    )
