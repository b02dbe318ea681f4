"""Calls to the Hub that end: a time-out, another attempt where that can help, one sentence when it can't.

    use_timeouts()
    info = ask("Looking at owner/name", lambda: api.space_info("owner/name"))

Knows nothing about what is asked.
"""

import sys
import time
from collections.abc import Callable
from typing import TypeVar

import httpx2
import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

TIMEOUT_S = 30.0
TRIES = 4
T = TypeVar("T")


class DeployError(Exception):
    """Why the Space is not deployed, in one sentence."""


def use_timeouts() -> None:
    """Give the Hub's client a time-out: its own waits for ever."""
    hooks = huggingface_hub.get_session().event_hooks
    huggingface_hub.set_client_factory(
        lambda: httpx2.Client(event_hooks=hooks, follow_redirects=True, timeout=TIMEOUT_S)
    )


def ask(what: str, call: Callable[[], T]) -> T:
    """Call the Hub, again where that can help. Raises DeployError in one sentence with the next step."""
    for attempt in range(1, TRIES + 1):
        try:
            return call()
        except (HfHubHTTPError, httpx2.HTTPError, OfflineModeIsEnabled, HFValidationError, OSError) as error:
            pause_s = _pause(error, attempt)
            if pause_s is None or attempt == TRIES:
                raise DeployError(_reason(what, error)) from error
            sys.stderr.write(f"{what}: {_short(error)}; again in {pause_s:.0f} s.\n")
            time.sleep(pause_s)
    raise AssertionError("the last attempt returns or raises")


def _status(error: Exception) -> int:
    response = getattr(error, "response", None) if isinstance(error, HfHubHTTPError) else None
    return int(response.status_code) if response is not None else 0


def _pause(error: Exception, attempt: int) -> float | None:
    """Return the seconds to wait before the next attempt, None when none would help."""
    status = _status(error)
    if isinstance(error, OfflineModeIsEnabled | HFValidationError):
        return None
    if status == 429 or status >= 500:
        given = error.response.headers.get("Retry-After", "")  # type: ignore[attr-defined]
        return min(float(given), 60.0) if given.isdecimal() else float(2 ** (attempt - 1))
    return float(2 ** (attempt - 1)) if isinstance(error, httpx2.TransportError) else None


def _short(error: Exception) -> str:
    return f"the Hub answered {_status(error)}" if _status(error) else type(error).__name__


def _reason(what: str, error: Exception) -> str:
    status = _status(error)
    said = " ".join((getattr(error, "server_message", None) or str(error)).split())[:160]
    next_steps = {
        401: "the Hub does not accept this token (401). Log in again with `hf auth login`, or mend HF_TOKEN.",
        402: "the Hub asks for a paid plan (402): a new Gradio Space needs PRO or Team, except on ZeroGPU. "
        "Subscribe, or give --hardware zero-a10g.",
        403: "this token may not do that (403). Use one that may write to this owner's repositories.",
        404: "the Hub does not find it (404). Check the name, and whether the token may see it.",
        409: f"the Hub reports a conflict (409: {said}). Wait a moment and run this again.",
        429: "the Hub asks to slow down (429), and did so again. Wait some minutes and run this again.",
    }
    if status >= 500:
        return f"{what} failed: the Hub has trouble ({status}), {TRIES} times. Run this again later."
    if status:
        return (
            f"{what} failed: {next_steps.get(status, f'the Hub refused it ({status}: {said}). Mend that.')}"
        )
    if isinstance(error, OfflineModeIsEnabled):
        return f"{what} failed: the Hub is switched off here. Unset HF_HUB_OFFLINE."
    if isinstance(error, httpx2.TimeoutException):
        return f"{what} failed: the Hub did not answer within {TIMEOUT_S:.0f} s. Run this again later."
    if isinstance(error, httpx2.HTTPError):
        return f"{what} failed: the Hub can't be reached ({type(error).__name__}). Check the network."
    return f"{what} failed: {said}. Mend that and run this again."
