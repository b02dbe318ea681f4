"""The client of the Hub: requests that end, one loop that tries again, one tree of errors.

    api = HfApi(token=token)                    # it carries the endpoint and the token
    info = ask("read ada/tweets", lambda: api.repo_info("ada/tweets"), repo="ada/tweets")
    info = preflight("find ada/tweets", lambda: api.model_info("ada/tweets"))    # within 3 s
    path, revision = snapshot("openai-community/gpt2")
    with hub_session(Timeouts(answer_s=60.0), sent=count):    # a push: plain HTTP, a quiet library
        ask(...)

HubError (a TweetTuneError)
├── HubRefused             the Hub says no
│   ├── NotLoggedIn        there is no token, or the Hub does not take it
│   ├── NotAllowedOnHub    the token may not do that, or it needs a paid plan
│   ├── NotOnHub           there is no such repository, or none that this login may see
│   ├── GatedOnHub         its terms must be accepted first
│   └── HubConflict        somebody else has changed it meanwhile
├── HubBusy                the Hub says "later"; `retry_after_s` where it says when
└── HubSilent              no answer, a broken connection, or HF_HUB_OFFLINE

The client of huggingface_hub has no time-outs of its own (a silent server hangs it for ever), tries some
requests again for minutes, and has one session for the whole process. So importing this module puts a guard
around that session, in every process that imports it: a request that gets no answer `tries` times, or is
asked to come back much later, raises `GaveUp`, which the client does not try again.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx2
from huggingface_hub import HfApi, constants, get_token, set_client_factory
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils._http import default_client_factory, parse_ratelimit_headers
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from inference.common.errors import TweetTuneError
from inference.common.text import one_line

PREFLIGHT_S = 3.0
FILES = ["*.json", "*.safetensors", "merges.txt", "vocab.txt", "*.model"]
"""All that a plain model needs: no pickles, no code."""
CLIENT_ERRORS = (httpx2.HTTPError, OSError, RuntimeError, ValueError, KeyError)
"""What the Hub's client raises: most of its own are OSErrors, a bad name is a ValueError, and a KeyError is
an answer that lacks what the Hub's have."""
_LOG_IN = "Log in with `hf auth login`, or set HF_TOKEN to a token from huggingface.co/settings/tokens"
_LATER = (408, 425, 429, 500, 502, 503, 504)
_NO_ANSWER = (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError)
_BROKEN = (httpx2.ReadError, httpx2.WriteError, httpx2.RemoteProtocolError)
T = TypeVar("T")


class HubError(TweetTuneError):
    """The Hub can't do something. As text it is a sentence or two: what, why, and what to do."""

    def __init__(
        self, doing: str, why: str, todo: str, *, status: int = 0, retry_after_s: float | None = None
    ) -> None:
        super().__init__(doing, why, todo)
        self.doing, self.why, self.todo = doing, why, todo
        self.status = status  # of the Hub's answer, 0 without one
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"It was not possible to {self.doing}: {self.why}. {self.todo}."

    def changed(self, *, why: str = "", todo: str = "") -> "HubError":
        """Return the same error, explained otherwise."""
        return type(self)(
            self.doing,
            why or self.why,
            todo or self.todo,
            status=self.status,
            retry_after_s=self.retry_after_s,
        )


class HubRefused(HubError):  # noqa: N818
    """The Hub says no."""


class NotLoggedIn(HubRefused):
    """There is no token, or the Hub does not take it."""


class NotAllowedOnHub(HubRefused):
    """The token may not do that, or it needs a paid plan."""


class NotOnHub(HubRefused):
    """There is no such repository, or none that this login may see."""


class GatedOnHub(HubRefused):
    """The repository's terms must be accepted first."""


class HubConflict(HubRefused):
    """Somebody else has changed the repository meanwhile."""


class HubBusy(HubError):  # noqa: N818
    """The Hub says "later"."""


class HubSilent(HubError):  # noqa: N818
    """The Hub does not answer, the connection breaks, or HF_HUB_OFFLINE is set."""


class GaveUp(httpx2.TransportError):
    """The guard has given a request up; the text says why. `answer`: the Hub's, None for silence."""

    def __init__(self, why: str, request: httpx2.Request, answer: httpx2.Response | None = None) -> None:
        super().__init__(why, request=request)
        self.answer = answer


# Requests that end


@dataclass(frozen=True)
class Timeouts:
    """How long to wait for the Hub."""

    answer_s: float = 15.0
    """For one answer, or for the next bytes of one."""
    connect_s: float = 5.0
    tries: int = 2
    """Of one request, while the Hub is silent or busy."""
    longest_wait_s: float = 20.0
    """If the Hub asks for a longer pause, the request is given up."""


Sent = Callable[[int], None]
"""Called with the number of bytes of an upload that have just gone out; may raise to stop it."""


@dataclass(frozen=True)
class _Session:
    timeouts: Timeouts = Timeouts()
    sent: Sent | None = None


_session = _Session()  # the client is the process's, and uploads from threads of its own


@contextmanager
def hub_session(timeouts: Timeouts, *, sent: Sent | None = None) -> Iterator[None]:
    """Within it, this process uses these time-outs for the Hub and uploads by plain HTTP, counted by `sent`.

    Xet's uploader has no time-outs, and its errors are not HTTP's. The client's own warnings and bars are
    off: they hold signed addresses.
    """
    global _session
    library, before = logging.getLogger("huggingface_hub"), _session
    level, xet, no_bars = library.level, constants.HF_HUB_DISABLE_XET, are_progress_bars_disabled()
    _session = _Session(timeouts, sent)
    _Guard.failures.clear()
    constants.HF_HUB_DISABLE_XET = True
    library.setLevel(logging.ERROR)
    disable_progress_bars()
    try:
        yield
    finally:
        _session = before
        constants.HF_HUB_DISABLE_XET = xet
        library.setLevel(level)
        if not no_bars:
            enable_progress_bars()


class _Guard(httpx2.BaseTransport):
    """Gives every request time-outs, and ends one that keeps failing."""

    failures: dict[str, tuple[int, float]] = {}  # noqa: RUF012  (outlives the client, which an error renews)
    _lock = threading.Lock()

    def __init__(self, inner: httpx2.BaseTransport) -> None:
        self._inner = inner

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request. Raises GaveUp if sending it again is no use."""
        now, host = _session, request.url.netloc.decode()
        key = f"{request.method} {host}{request.url.path}"
        silence = f"silence of {host}"  # a library may pass over a silent request and send the next one
        request.extensions = {**request.extensions, "timeout": self._limits(request, now.timeouts)}
        if now.sent and request.method == "PUT":
            request.stream = _Counted(request.stream, now.sent)
        try:
            response = self._inner.handle_request(request)
        except _NO_ANSWER as error:
            timed_out = isinstance(error, httpx2.TimeoutException)
            if self._failed(silence if timed_out else key, now.timeouts) >= now.timeouts.tries:
                raise GaveUp(_silence(error), request) from error
            raise
        if response.status_code not in _LATER:
            with self._lock:
                self.failures.pop(key, None)
                self.failures.pop(silence, None)
            return response
        wait_s = _retry_after_s(response.headers)
        tries = self._failed(key, now.timeouts)
        if tries >= now.timeouts.tries or (wait_s or 0) > now.timeouts.longest_wait_s:
            response.close()
            response.request = request
            raise GaveUp(_busy(response.status_code), request, response)
        return response

    def _limits(self, request: httpx2.Request, ours: Timeouts) -> dict[str, float]:
        """Return the call's own time-outs or ours: some switch them off, and others wait for 60 or 100 s."""
        asked = request.extensions.get("timeout") or {}
        limits = {"connect": ours.connect_s} | dict.fromkeys(("read", "write", "pool"), ours.answer_s)
        found = {name: min(asked.get(name) or most, most) for name, most in limits.items()}
        if "/logs" in request.url.path and asked.get("read"):
            found["read"] = asked["read"]  # logs that are followed may be silent for long
        return found

    def _failed(self, key: str, timeouts: Timeouts) -> int:
        """Return how often in a row this has just failed."""
        now = time.monotonic()
        with self._lock:
            times, last = self.failures.get(key, (0, now))
            times = 1 if now - last > 60 + timeouts.answer_s else times + 1
            self.failures[key] = times, now
            return times

    def close(self) -> None:
        self._inner.close()


class _Counted(httpx2.SyncByteStream):
    def __init__(self, inner: httpx2.SyncByteStream | httpx2.AsyncByteStream, sent: Sent) -> None:
        assert isinstance(inner, httpx2.SyncByteStream)
        self._inner, self._sent = inner, sent

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._inner:
            yield piece
            self._sent(len(piece))


def guarded_client() -> httpx2.Client:
    """Return the Hub's own client, with all its requests going through the guard."""
    client = default_client_factory()
    client._transport = _Guard(client._transport)  # the factory takes no transport
    client._mounts = {pattern: _Guard(proxy) if proxy else None for pattern, proxy in client._mounts.items()}
    return client


set_client_factory(guarded_client)  # at import: later it would close connections that are in use


# Asking, and what went wrong


def ask(
    doing: str,
    call: Callable[[], T],
    *,
    repo: str = "",
    tries: int | None = None,
    when_silent: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Call the Hub, and again while it is busy or the connection breaks. Raises HubError.

    `doing` completes "it was not possible to …"; `repo`: the repository concerned; `tries`: 1 for a call that
    must not be repeated, by default those of the session. A call without an answer within the time-out is not
    tried again, unless `when_silent` asks for it: for a caller who would rather wait than fail. An error of
    ours that stopped the call, such as one of `Sent`, is raised as it is.
    """
    tries = tries or _session.timeouts.tries
    for attempt in range(1, tries + 1):
        try:
            return call()
        except CLIENT_ERRORS as error:
            if ours := next((one for one in _causes(error) if isinstance(one, TweetTuneError)), None):
                raise ours from error
            found = explained(error, doing, repo=repo)
            wait_s = 0.5 * 2**attempt if found.retry_after_s is None else found.retry_after_s
            soon = isinstance(found, HubBusy) and wait_s <= _session.timeouts.longest_wait_s
            broken = isinstance(error, _NO_ANSWER if when_silent else _BROKEN)
            if attempt == tries or not (soon or broken):
                raise found from error
            sleep(wait_s)
    raise AssertionError("the last try returns or raises")


def preflight(doing: str, call: Callable[[], T], *, repo: str = "", seconds: float = PREFLIGHT_S) -> T:
    """Call the Hub once, and end within `seconds` whatever the network does. Raises HubError.

    The call runs in a thread, abandoned if it takes too long: looking up a name has no time-out.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(call())
        except BaseException as error:  # noqa: BLE001  (carried over and raised in the caller's thread)
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True, name="hub-preflight")
    thread.start()
    thread.join(seconds + 0.5)
    try:
        if failed:
            raise failed[0]
        if not done:
            raise TimeoutError
    except CLIENT_ERRORS as error:
        raise explained(error, doing, repo=repo, within_s=seconds) from error
    return done[0]


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what is below it: the client hides what happened below errors of its own."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def token_of(api: HfApi, doing: str) -> str:
    """Return the token that an HfApi sends: its own, or else this machine's login. Raises NotLoggedIn."""
    token = get_token() if api.token is None or api.token is True else api.token
    if not token:
        raise NotLoggedIn(doing, "nobody is logged in to the Hub", _LOG_IN)
    return token


def explained(  # noqa: PLR0911  (a return for each error of the client)
    error: BaseException, doing: str, *, repo: str = "", within_s: float | None = None
) -> HubError:
    """Return the HubError for what the client raised."""
    for cause in _causes(error):
        match cause:
            case HubError():
                return cause
            case HfHubHTTPError():
                return _refusal(cause, cause.response, doing, repo)
            case GaveUp(answer=httpx2.Response() as answer):
                return _refusal(cause, answer, doing, repo)
            case OfflineModeIsEnabled():
                return HubSilent(
                    doing, "the Hub is switched off by HF_HUB_OFFLINE", "Unset that, then try again"
                )
            case httpx2.TransportError() | TimeoutError() | ConnectionError():
                why = str(cause) if isinstance(cause, GaveUp) else _silence(cause, within_s)
                return HubSilent(doing, why, "Check the network, then try again")
            case HFValidationError():
                return bad_name(repo, doing)
            case json.JSONDecodeError():
                return HubError(doing, "what answers is not the Hub (no JSON)", "Check HF_ENDPOINT")
    what = one_line(error).rstrip(".") or type(error).__name__
    return HubError(doing, what, "Mend that, then try again")


def _refusal(error: Exception, answer: httpx2.Response, doing: str, repo: str) -> HubError:
    status, login = answer.status_code, "authorization" in answer.request.headers
    said = one_line(getattr(error, "server_message", None) or "").rstrip(".")
    because = f"({status}: {said})" if said else f"({status})"
    kind: type[HubError] = HubRefused
    wait_s, todo = None, "Mend that, then try again"
    if isinstance(error, GatedRepoError):
        kind, why = GatedOnHub, "it is gated"
        todo = "Accept its terms on the Hub and log in with `hf auth login`"
    elif status in _LATER:
        wait_s, why = _retry_after_s(answer.headers), _busy(status)
        kind, todo = HubBusy, f"Try again in {f'{wait_s:.0f} s' if wait_s else 'a few minutes'}"
    elif (status == 404 and repo) or isinstance(error, RepositoryNotFoundError):
        kind, what = NotOnHub, repo or "such repository"
        why = (
            f"there is no {what} on the Hub that this login may see"
            if login
            else f"the Hub has no public {what}"
        )
        todo = f"Check its name, or log in {'as another user' if login else 'with `hf auth login`'}"
    elif status == 401:
        kind, todo = NotLoggedIn, _LOG_IN
        why = f"the Hub {'does not take the token of this login' if login else 'wants a login'} {because}"
    elif status == 402:
        kind, why = NotAllowedOnHub, f"the Hub wants a paid plan or credit for that {because}"
        todo = "See huggingface.co/pricing and huggingface.co/settings/billing"
    elif status == 403:
        kind, why = NotAllowedOnHub, f"the token may not do that {because}"
        todo = "Make one that may, at huggingface.co/settings/tokens"
    elif status in (409, 412):
        kind, why = HubConflict, f"{repo or 'it'} was changed meanwhile {because}"
        todo = "Look at it, then try again"
    else:
        why = f"the Hub refuses it {because}"
    return kind(doing, why, todo, status=status, retry_after_s=wait_s)


def bad_name(repo: str, doing: str) -> NotOnHub:
    """Return the error for what can't be a repository's name."""
    todo = "Write OWNER/NAME with letters, digits, -, _ and dots, such as ada/tweets-gpt2"
    return NotOnHub(doing, f"{repo!r} can't be a repository's name", todo)


def _busy(status: int) -> str:
    return f"the Hub asks to slow down ({status})" if status == 429 else f"the Hub has trouble ({status})"


def _silence(error: BaseException, within_s: float | None = None) -> str:
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return "the Hub can't be reached"
    if isinstance(error, httpx2.TimeoutException | TimeoutError):
        return f"the Hub gave no answer in {f'{within_s:g} s' if within_s else 'time'}"
    return "the connection to the Hub broke"


def _retry_after_s(headers: httpx2.Headers) -> float | None:
    """Return when an answer asks to be asked again, in seconds; None when it does not say."""
    found = headers.get("retry-after", "").strip()
    if found.isdigit():
        return float(found)
    limit = parse_ratelimit_headers(headers)
    return float(limit.reset_in_seconds) if limit and not limit.remaining else None


# Models


def snapshot(repo: str, *, api: HfApi | None = None, also: Sequence[str] = ()) -> tuple[Path, str]:
    """Return a model's folder in the local cache and its commit, downloaded where needed.

    A preflight of three seconds comes first; without an answer from the Hub the cached files are used.
    `also`: patterns of files that a plain model does not need. Raises HubError.
    """
    api, files, doing = api or HfApi(), [*FILES, *also], f"download {repo}"
    try:
        preflight(doing, lambda: api.model_info(repo, timeout=PREFLIGHT_S), repo=repo)
    except (NotOnHub, GatedOnHub):
        raise
    except HubError as error:
        path = _cached(api, repo, files)
        if path is None:
            raise error.changed(why=f"{error.why}, and it is not in the local cache") from error
        return path, path.name
    try:
        # By its branch and not by its commit: that is how the cache finds it again when the Hub is away.
        path = Path(api.snapshot_download(repo, allow_patterns=files))
    except CLIENT_ERRORS as error:
        found = explained(error, doing, repo=repo)
        if isinstance(found, NotOnHub | GatedOnHub):  # a gated repository's information is public
            raise found from error
        raise found.changed(why=f"{found.why}; what arrived is kept") from error
    return path, path.name


def _cached(api: HfApi, repo: str, files: list[str]) -> Path | None:
    try:
        path = Path(api.snapshot_download(repo, allow_patterns=files, local_files_only=True))
    except CLIENT_ERRORS:
        return None
    return path if (path / "config.json").is_file() else None
