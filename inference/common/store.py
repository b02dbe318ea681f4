"""The files of a run folder, written so that a killed process or a full disk never leaves half of one.

    write_json(run / "status.json", {...})           # by rename: old or new, never a part
    append_event(run / "events.jsonl", "note", text="Base: …")

Knows nothing about what the records mean.
"""

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a JSON object by rename. Raises OSError when the disk is full or read-only."""
    with _by_rename(path) as file:
        file.write(json.dumps(record, ensure_ascii=False, indent=2) + "\n")


def write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write JSON objects, one a line, by rename."""
    with _by_rename(path) as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


@contextmanager
def _by_rename(path: Path) -> Iterator[IO[str]]:
    temporary = path.with_name(f"{path.name}.{threading.get_native_id()}.tmp")  # threads may write at once
    try:
        with temporary.open("w", encoding="utf-8") as file:
            yield file
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)  # a full disk needs the room
        raise


def write_status(
    run: Path,
    state: str,
    message: str,
    *,
    phase: str,
    progress: float,
    time_left_s: float | None,
    started_at: float,
    now: float,
) -> None:
    """Write a run's status.json; in any state but "running" it has ended now. Times are Unix seconds."""
    ended = state != "running"
    write_json(
        run / "status.json",
        {
            "state": state,
            "phase": phase,
            "progress": 1.0 if state == "finished" else round(progress, 4),
            "time_left_s": None if ended else time_left_s,
            "message": message,
            "pid": None if ended else os.getpid(),
            "started_at": started_at,
            "finished_at": now if ended else None,
        },
    )


def append_event(path: Path, kind: str, **content: Any) -> None:
    """Append one event, with its time in seconds since the epoch, to a JSONL file."""
    line = json.dumps({"time": round(time.time(), 3), "kind": kind, **content}, ensure_ascii=False) + "\n"
    with path.open("ab+") as file:
        if file.tell() and _last_byte(path) != b"\n":
            line = "\n" + line  # a process was killed while it wrote: its torn line stays alone
        file.write(line.encode("utf-8"))


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSONL file; a torn line is passed over. A missing file has none."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    for line in content.split(b"\n"):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record
