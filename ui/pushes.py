"""Publishing as the app follows it: a child process for each push, one at a time, seen by its owner alone.

    publications = Publications()
    publications.start("ada", Order(source, "ada/tweets"), token="hf_…")
    publications.look("ada")             # -> Publication: steps so far, plan, result or error
    publications.cancel("ada")

The token goes to the child by its standard input and is not kept; so do this process's own secrets, which the
child looks for in what it sends. Knows nothing about Gradio or the Hub.
"""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inference.common.errors import RunError
from ui.account.rights import on_space

_CODE = Path(__file__).resolve().parent.parent
_COMMANDS = {
    "model": (sys.executable, "-m", "training.publish.work"),
    "dataset": (sys.executable, "-m", "training.publish.labels_work"),
}
_SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OAUTH_CLIENT_SECRET", "X_BEARER_TOKEN", "TWEETTUNE_TOKENS")
_MOST_KEPT = 64
_END_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be published, and where to."""

    kind: str = "model"
    """model, or dataset: a file of labelled texts."""
    run_id: str
    """What it is called on the page."""
    source: str
    repo_id: str
    private: bool = False
    pr: bool = False
    adapter_only: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Publication:
    """How an order stands."""

    order: Order
    state: str = "running"
    """running, done, failed or cancelled."""
    step: dict[str, Any] = dataclasses.field(default_factory=dict)
    plan: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    error: str = ""


class Publications:
    """All orders, the newest of each person. Thread-safe."""

    def __init__(self, *, command: Sequence[str] = ()) -> None:
        self._command = tuple(command)
        self._lock = threading.Lock()
        self._known: dict[str, Publication] = {}
        self._process: subprocess.Popen[str] | None = None
        self._busy = ""
        self._follower: threading.Thread | None = None

    def look(self, who: str) -> Publication | None:
        """Return the newest order of somebody, None when there is none."""
        return self._known.get(who)

    def start(self, who: str, order: Order, *, token: str | None) -> None:
        """Begin in a child process. Raises RunError while another one is at work."""
        self._end_what_is_done(who)
        with self._lock:
            if self._process is not None:
                what = {"model": "model", "dataset": "data set"}[self._known[self._busy].order.kind]
                mine = f"This {what}" if self._busy == who else f"Another {what}"
                raise RunError(f"{mine} is being published. Wait for its end, or cancel it if it is yours.")
            self._process = process = subprocess.Popen(
                self._command or _COMMANDS[order.kind],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                env=_environment(),
                start_new_session=True,
            )
            self._busy = who
            self._known.pop(who, None)
            for old in list(self._known)[: max(0, len(self._known) - _MOST_KEPT)]:
                del self._known[old]
            self._known[who] = Publication(order)
            secrets = [os.environ[name] for name in _SECRETS if os.environ.get(name)]
            line = json.dumps({**dataclasses.asdict(order), "token": token, "secrets": secrets})
            hidden = (*filter(None, [token]), *secrets)
            self._follower = threading.Thread(
                target=self._follow, args=(who, process, line, hidden), name="publish", daemon=True
            )
            self._follower.start()

    def _end_what_is_done(self, who: str) -> None:
        """A process that has said all takes seconds to end by itself."""
        with self._lock:
            process, follower = self._process, self._follower
            done = self._busy == who and self._known[who].state != "running"
        if process is not None and follower is not None and done:
            _end(process, follower)

    def cancel(self, who: str) -> None:
        """End somebody's own order, and wait for that. Raises RunError when none is at work."""
        with self._lock:
            process, follower = self._process if self._busy == who else None, self._follower
            if process is None or follower is None:
                raise RunError("Nothing of yours is being published, so there is nothing to cancel.")
            if self._known[who].result is None:  # else all is done, and the process only has to end
                self._put(who, state="cancelled")
        _end(process, follower)

    def stop(self) -> None:
        """End whatever is at work: the app ends."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGTERM)

    def _put(self, who: str, **changes: Any) -> None:
        self._known[who] = replace(self._known[who], **changes)

    def _follow(self, who: str, process: subprocess.Popen[str], order: str, hidden: Sequence[str]) -> None:
        assert process.stdin and process.stdout and process.stderr
        errors: list[str] = []
        reader = threading.Thread(target=lambda: errors.extend(process.stderr or ()), daemon=True)
        reader.start()
        try:
            with process.stdin as stdin:
                stdin.write(order + "\n")
        except OSError:
            pass  # it has ended already; what it said is read below
        for line in process.stdout:
            self._hear(who, line)
        status = process.wait()
        reader.join(timeout=5)
        process.stdout.close()
        process.stderr.close()
        with self._lock:
            self._process, self._busy = None, ""
            explained = bool(self._known[who].error)
            if self._known[who].state == "running" or self._known[who].result is not None:
                self._finish(who, status)
        if status > 0 and not explained and errors:
            text = "".join(errors[-20:])
            for secret in hidden:
                text = text.replace(secret, "***")
            sys.stderr.write(text)

    def _hear(self, who: str, line: str) -> None:
        try:
            said = json.loads(line)
            kind = said.pop("kind")
        except (ValueError, KeyError, AttributeError):
            return  # a library's own words
        with self._lock:
            match kind:
                case "step":
                    self._put(who, step=said)
                case "plan" if self._known[who].order.dry_run and self._known[who].state == "running":
                    self._put(who, plan=said, state="done")
                case "plan":
                    self._put(who, plan=said)
                case "done":
                    self._put(who, result=said)
                case "error":
                    self._put(who, error=str(said.get("text", "")))

    def _finish(self, who: str, status: int) -> None:
        known = self._known[who]
        if known.result is not None:
            return self._put(who, state="done")
        self._put(
            who,
            state="failed",
            error=known.error
            or (
                f"The process that publishes ended without a word (exit status {status}). Publish again: "
                "what has arrived already is not sent twice."
            ),
        )


def _end(process: subprocess.Popen[str], follower: threading.Thread) -> None:
    """End a process with its children, kindly first, and wait for that."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        follower.join(timeout=_END_S)
        if not follower.is_alive():
            return


def _environment() -> dict[str, str]:
    """Return the child's environment: without this process's secrets, and on a Space without its login."""
    known = {name: value for name, value in os.environ.items() if name not in _SECRETS}
    known["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_CODE), os.environ.get("PYTHONPATH")]))
    known["PYTHONUNBUFFERED"] = "1"
    if on_space():
        known["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"
    return known
