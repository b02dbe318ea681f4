"""What the files of a run's folder hold, and what is wrong with them.

    read_as(Status, folder / STATUS)               # None where there is no file; raises Damaged
    damage(folder, finished=True)                  # "" or "Its status.json can't be used (it is empty). …"
    events(folder / EVENTS)                        # those that are events; a torn line is passed over

Disks fill up, people edit, and other versions write other things: listing or reading
runs must not fail over that.
"""

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import psutil
from pydantic import Field

from inference.artifact import EVALUATION
from inference.common.errors import RecipeError
from inference.common.store import MOST_BYTES, Damaged, JsonObject, read_json, read_jsonl, validated
from training.evaluate.scores import Evaluation
from training.recipes import Recipe, load_recipe

RECIPE, ORDER, STATUS, WORKER = "recipe.toml", "run.json", "status.json", "worker.json"
SPENT, EVENTS, DISAGREEMENTS = "spent.json", "events.jsonl", "disagreements.jsonl"
PUSH_TO = "push.json"
State = Literal["queued", "running", "finished", "failed", "cancelled", "interrupted", "damaged"]
Seconds = Annotated[float, Field(ge=0, le=1e11)]
Pid = Annotated[int, Field(gt=0, lt=2**31)]
_LAST_SETTING = "onnx"  # every run's recipe has had it: without it, the file breaks off
_MOST_LINES_BYTES = 500_000_000
T = TypeVar("T")


@dataclass(frozen=True)
class Status:
    """The state of a run: its status.json."""

    state: State
    """interrupted: its process died; damaged: a record can't be used, and the message says which."""
    phase: str = ""
    progress: Annotated[float, Field(ge=0, le=1)] = 0.0
    """From 0 to 1, over the whole run."""
    time_left_s: Seconds | None = None
    message: str = ""
    pid: Pid | None = None
    started_at: Seconds | None = None
    finished_at: Seconds | None = None


@dataclass(frozen=True)
class Worker:
    """The process that runs a run: its worker.json."""

    pid: Pid
    created: Seconds
    """When it began: its number can be given to another process."""
    cancelled: bool = False
    """Whether it was asked to stop."""
    waited_s: Seconds = 0.0
    """How long it waited in the queue."""

    @property
    def alive(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            same: bool = abs(process.create_time() - self.created) < 1
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


@dataclass(frozen=True)
class Spent:
    """The time that earlier processes of a run took: its spent.json."""

    seconds: Seconds = 0.0


@dataclass(frozen=True)
class PushTo:
    """Where `train --push` is to put the model, until it is there: its push.json."""

    repo_id: str
    private: bool = False


def read_as(kind: type[T], path: Path) -> T | None:
    """Return a JSON record as a dataclass, None where there is no such file. Raises Damaged."""
    record = read_json(path)
    return None if record is None else validated(kind, record)


def read_recipe(path: Path) -> Recipe:
    """Return a run's recipe. Raises RecipeError, also for one that breaks off between two lines."""
    if path.is_file() and path.stat().st_size > MOST_BYTES:
        raise RecipeError(f"The recipe {path} is too large ({path.stat().st_size:,} bytes). Train again.")
    recipe = load_recipe(path)
    if _LAST_SETTING not in recipe.model_fields_set:
        raise RecipeError(f"The recipe {path} breaks off: its last settings are missing. Train again.")
    return recipe


def events(path: Path) -> list[JsonObject]:
    """Return the events of a run; lines that are torn, or no events, are passed over."""
    return [record for record in lines(path) if _is_event(record)]


def lines(path: Path) -> list[JsonObject]:
    """Return the objects of a JSONL file, none where it can't be read."""
    with contextlib.suppress(OSError):
        return list(read_jsonl(path)) if path.stat().st_size <= _MOST_LINES_BYTES else []
    return []


_TYPES: dict[type | tuple[type, ...], tuple[str, ...]] = {
    (int, float): (
        *("time", "step", "total_steps", "epoch", "loss", "accuracy", "macro_f1", "seconds", "gflops"),
        *("done", "total", "job_seq"),
    ),
    str: ("kind", "text", "message", "phase", "repo", "commit"),
    list: ("sentences", "files"),
    dict: ("sha256",),
}
_NEEDED = {
    "note": {"text"},
    "error": {"message"},
    "data": {"sentences"},
    "estimate": {"seconds", "gflops"},
    "step": {"step", "loss"},
    "validation": {"step"},
    "progress": {"phase"},
    "pushed": {"repo", "commit", "sha256"},
}
"""The keys that an event of a kind needs."""


def _is_event(record: JsonObject) -> bool:
    kind = record.get("kind")
    typed = kind == "result" or all(  # an evaluation, whose accuracy is no number
        isinstance(record[key], found) for found, keys in _TYPES.items() for key in keys if key in record
    )
    return typed and {"time", "kind", *_NEEDED.get(str(kind), ())} <= record.keys()


# What is wrong


def damage(folder: Path, *, finished: bool) -> str:
    """Say which records of a run can't be used, and what to do; "" for none.

    `finished`: whether its status says so. What was found is kept until a file changes.
    """
    try:
        os.scandir(folder).close()
    except OSError as error:
        return f"Its folder can't be read ({error.strerror}). Ask its owner for the right to read it."
    return _damage(folder, finished, tuple(_stamp(folder / name) for name in _CHECKS))


def _stamp(path: Path) -> tuple[int, ...]:
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns
    return (os.path.lexists(path),)


@lru_cache(maxsize=512)
def _damage(folder: Path, finished: bool, stamps: tuple[tuple[int, ...], ...]) -> str:
    found = []
    for name, (check, advice) in _CHECKS.items():
        try:
            check(folder / name, finished)
        except (Damaged, OSError) as error:
            why = (error.strerror if isinstance(error, OSError) else str(error)) or "unknown"
            found.append(f"Its {name} can't be used ({why.rstrip('.')}). {advice}.")
    return " ".join(found)


def _check_recipe(path: Path) -> None:
    if not os.path.lexists(path):
        if os.path.lexists(path.with_name(ORDER)):
            return  # it is a run of another kind
        raise Damaged("it is missing")
    try:
        read_recipe(path)
    except RecipeError as error:
        why = error.__cause__ or str(error).split(" Known settings:")[0].replace(f"{path.parent}{os.sep}", "")
        raise Damaged(getattr(why, "strerror", None) or str(why)) from error


def _check_order(path: Path) -> None:
    if (order := read_json(path)) is not None and not isinstance(order.get("kind"), str):
        raise Damaged("it does not say of what kind the run is")


def _check_evaluation(path: Path) -> None:
    if (record := read_json(path)) and not Evaluation.from_json(record).n:
        raise Damaged("it is no evaluation")


def _check_lines(path: Path, finished: bool) -> None:
    """Check both ends of a JSONL file: it may be long, and a line in the middle may be torn."""
    if not path.exists():
        if path.is_symlink():
            raise Damaged("it is a link that leads nowhere")
        return
    if (size := path.stat().st_size) > _MOST_LINES_BYTES:
        raise Damaged(f"it is too large: {size:,} bytes")
    with path.open("rb") as file:
        first = file.readline(MOST_BYTES)
        file.seek(max(size - 1, 0))
        if finished and size and file.read(1) != b"\n":
            raise Damaged("it breaks off")
    try:
        record = json.loads(first.decode("utf-8-sig") or "{}")
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or (path.name == EVENTS and not first):
        raise Damaged("its first line is no record" if first else "it is empty")


_CHECKS: dict[str, tuple[Callable[[Path, bool], object], str]] = {
    RECIPE: (lambda path, _: _check_recipe(path), "Mend it, or train again; a finished model is not touched"),
    ORDER: (lambda path, _: _check_order(path), "Start that again, and delete this run"),
    STATUS: (lambda path, _: read_as(Status, path), "Delete that file, then resume the run"),
    WORKER: (lambda path, _: read_as(Worker, path), "Delete that file"),
    SPENT: (lambda path, _: read_as(Spent, path), "Delete that file"),
    EVALUATION: (lambda path, _: _check_evaluation(path), "Copy that of the folder artifact over it"),
    EVENTS: (_check_lines, "Delete that file: only curves and notes are lost"),
    DISAGREEMENTS: (_check_lines, "Delete that file: only the rows shown with the comparison are lost"),
    PUSH_TO: (lambda path, _: read_as(PushTo, path), "Delete that file, then push the model"),
    "rented.json": (
        lambda path, _: read_json(path),
        "See huggingface.co/settings/jobs for what may go on and cost, and train again",
    ),
}
"""The records that are read of a run, how each is checked, and what to do where it can't be used."""
