"""Publishing from the app: each push is a run of its own, one at a time, visible to its owner alone.

    publications = Publications()
    publications.start("ada", Order(run_id="demo", source="runs/demo", repo_id="ada/tweets"), token="hf_…")
    publications.newest("ada")           # -> Publication: steps so far, plan, result or error
    publications.cancel("ada")

A push goes on when the app ends, and is found again by its folder. Its process gets the token by standard
input, and also this process's own secrets, to make sure that no file holds one. Neither is stored.
"""

import dataclasses
import os
import shutil
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from inference.common.errors import RunError
from inference.common.store import JsonObject
from training.runs.process import cancel, end, start
from training.runs.run import ACTIVE, Run, create_run_of, list_runs
from ui.account import on_space

_KINDS = {"model": "push", "dataset": "push-data"}
_SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OAUTH_CLIENT_SECRET", "X_BEARER_TOKEN", "TWEETTUNE_TOKENS")
_MOST_KEPT = 64
_WORKER = (sys.executable, "-m", "training.worker")


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to publish, and where."""

    kind: str = "model"
    """model, or dataset: a file of labelled texts."""
    run_id: str
    """Its name on the page."""
    source: str
    repo_id: str
    private: bool = False
    pr: bool = False
    adapter_only: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Publication:
    """The state of an order."""

    order: Order
    state: str = "running"
    """running, done, failed or cancelled."""
    step: JsonObject = dataclasses.field(default_factory=dict)
    """Its phase and, during an upload, the bytes done and in total."""
    plan: JsonObject | None = None
    result: JsonObject | None = None
    error: str = ""

    @classmethod
    def of(cls, run: Run) -> "Publication":
        fields = {name: value for name, value in run.order.items() if name in Order.__dataclass_fields__}
        order = Order(**{**fields, "kind": "model" if run.kind == _KINDS["model"] else "dataset"})
        status = run.status()
        newest = {event.pop("kind"): event for event in run.events() if event.pop("time", None)}
        plan, result, progress = (newest.get(kind) for kind in ("plan", "result", "progress"))
        step = {"phase": status.phase}
        if progress and progress["phase"] == status.phase and progress.get("total", 1) > 1:
            step |= {"done": progress.get("done", 0), "total": progress["total"]}
        state = {"finished": "done", "cancelled": "cancelled"}.get(status.state, "failed")
        if result or (plan and order.dry_run):
            state = "done"  # the process only has to end
        elif status.state in ACTIVE:
            state = "running"
        return cls(order, state, step, plan, result, status.message if state == "failed" else "")


class Publications:
    """The newest order of each person. Thread-safe."""

    def __init__(self, *, command: Sequence[str] = _WORKER) -> None:
        self._command = tuple(command)
        self._lock = threading.Lock()
        self._known: dict[str, Run | None] = {}

    def newest(self, who: str) -> Publication | None:
        if who not in self._known:  # an earlier process of the app may have started it
            self._known[who] = next((run for run in _pushes() if run.order.get("who") == who), None)
        run = self._known[who]
        return Publication.of(run) if run and run.order else None

    def start(self, who: str, order: Order, *, token: str | None) -> None:
        """Start a push in a child process. Raises RunError while another one is running."""
        with self._lock:
            pushes = _pushes()
            for run in pushes:
                if not _is_active(run):
                    continue
                found, mine = Publication.of(run), run.order.get("who") == who
                if not (mine and found.state != "running"):
                    what = {"model": "model", "dataset": "data set"}[found.order.kind]
                    whose = f"This {what}" if mine else f"Another {what}"
                    raise RunError(
                        f"{whose} is being published. Wait for its end, or cancel it if it is yours."
                    )
                end(run)  # it is done; exiting by itself would take a while
            _forget(pushes, who)
            run = create_run_of(
                _KINDS[order.kind], {**dataclasses.asdict(order), "who": who}, name=order.repo_id
            )
            secrets = [os.environ[name] for name in _SECRETS if os.environ.get(name)]
            handed = {"token": token, "secrets": secrets}
            self._known[who] = run
            start(run, handed=handed, environment=_environment(), command=self._command)

    def cancel(self, who: str) -> None:
        """Cancel somebody's own order and wait for its end. Raises RunError if none is running."""
        run = self._known.get(who) if self.newest(who) else None
        if run is None or not _is_active(run):
            raise RunError("Nothing of yours is being published, so there is nothing to cancel.")
        cancel(run)
        end(run)


def _pushes() -> list[Run]:
    """Return the pushes that the app has started, newest first."""
    needed = ("who", "run_id", "source", "repo_id")
    pushes = [run for run in list_runs(kind=None) if run.kind in _KINDS.values()]
    return [run for run in pushes if all(isinstance(run.order.get(name), str) for name in needed)]


def _is_active(run: Run) -> bool:
    return run.was_started and run.status().state in ACTIVE


def _forget(pushes: Sequence[Run], who: str) -> None:
    """Remove the folders of somebody's previews, which sent nothing, and of the oldest pushes."""
    for number, run in enumerate(pushes):
        is_preview = run.order.get("who") == who and run.order.get("dry_run")
        if (is_preview or number >= _MOST_KEPT) and not _is_active(run):
            shutil.rmtree(run.path, ignore_errors=True)


def _environment() -> dict[str, str]:
    """Return the child's environment: without this process's secrets, and on a Space without its login."""
    known = {name: value for name, value in os.environ.items() if name not in _SECRETS}
    if on_space():
        known["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"
    return known
