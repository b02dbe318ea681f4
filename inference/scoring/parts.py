"""The folder OUT.partial: finished parts, safe from a kill, and a record of what they were made from.

    with open_parts(Path("scored.csv"), made_from, overwrite=False) as parts:
        parts.done                                  # whole parts of an earlier, killed run
        parts.write(data, RowCounts(rows=2048, bad=3, truncated=1))
        parts.finish(writer.join)                   # scored.csv is there, and the folder is gone

A part is written beside its name and renamed once it is on the disk, and its name holds its counts, so it is
whole or absent. Parts are numbered without a gap, one for each chunk of the input, in its order.
"""

import dataclasses
import fcntl
import json
import operator
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from inference.common.store import by_rename, sync_folder
from inference.scoring.job import ScoringError

MANIFEST = "made-from.json"
_NAME = re.compile(r"part-(\d{7,})-rows-(\d+)-bad-(\d+)-truncated-(\d+)(?:-unsure-(\d+))?(?:-outside-(\d+))?")
_OURS = re.compile(rf"lock|(joined|{re.escape(MANIFEST)}|{_NAME.pattern})(\.writing|\.\d+\.tmp)?")
Join = Callable[[Iterable[Path], BinaryIO], None]


@dataclass(frozen=True, order=True)
class RowCounts:
    """Rows, and how many of them are bad, were cut, have answers that are not sure, and are out of scope."""

    rows: int = 0
    bad: int = 0
    truncated: int = 0
    unsure: int = 0
    out_of_scope: int = 0

    def __add__(self, other: "RowCounts") -> "RowCounts":
        return RowCounts(*map(operator.add, dataclasses.astuple(self), dataclasses.astuple(other)))


class Parts:
    """The parts of one output, open for writing by one process."""

    def __init__(self, out: Path, folder: Path) -> None:
        self.out, self.folder = out, folder
        self.paths, self.counts = _whole_parts(folder)
        self.done = len(self.paths)
        """Parts that were there when the folder was opened."""

    def write(self, data: bytes, counts: RowCounts) -> None:
        """Add a part. Raises ScoringError when the disk is full, or the folder can't be written."""
        number = len(self.paths)
        name = f"part-{number:07}-rows-{counts.rows}-bad-{counts.bad}-truncated-{counts.truncated}"
        name += f"-unsure-{counts.unsure}" if counts.unsure else ""
        name += f"-outside-{counts.out_of_scope}" if counts.out_of_scope else ""
        with self._writable(), by_rename(self.folder / name, durable=True) as file:
            file.write(data)
        self.paths.append(self.folder / name)
        self.counts += counts

    def finish(self, join: Join) -> None:
        """Join the parts into the output, put that in its place, and remove the folder."""
        with self._writable():
            joined = self.folder / "joined"
            with by_rename(joined, durable=True) as file:
                join(self.paths, file)
            joined.replace(self.out)
            sync_folder(self.out.parent)
            shutil.rmtree(self.folder)

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ScoringError(
                f"{self.out} can't be written ({error.strerror or error}); {self.counts.rows:,} rows are "
                f"safe in {self.folder.name}. Mend that and run the same command again to go on from there."
            ) from error


@contextmanager
def open_parts(out: Path, made_from: Mapping[str, object], *, overwrite: bool) -> Iterator[Parts]:
    """Open the parts of an output: those of an earlier run that was made from the same, or none.

    `made_from`: input, model and options, as JSON can hold them. With `overwrite`, parts made from something
    else are thrown away. Raises ScoringError when that would be needed without it, when another process works
    on the same output, or when nothing can be written there.
    """
    folder = partial_folder(out)
    try:
        folder.mkdir(exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ScoringError(
            f"{out} can't be written ({reason}); check the path and its permissions."
        ) from error
    with lock:
        _lock(lock, out)
        _check_same(folder, made_from, overwrite=overwrite)
        yield Parts(out, folder)


def partial_folder(out: Path) -> Path:
    """Return the folder of an output's parts, beside it so that a rename suffices in the end."""
    return out.with_name(out.name + ".partial")


def _lock(lock: IO[str], out: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system lets go of it when the process dies
    except BlockingIOError as error:
        raise ScoringError(
            f"Another process is writing {out}; wait for it, or give another --output."
        ) from error


def _check_same(folder: Path, made_from: Mapping[str, object], *, overwrite: bool) -> None:
    expected = json.loads(json.dumps(made_from))
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = None
    except ValueError:
        found = {}
    if found == expected:
        return
    begun = any(_NAME.fullmatch(path.name) for path in folder.iterdir())
    if found is not None and begun and not overwrite:
        other = " and ".join(key for key in expected if found.get(key) != expected[key])
        raise ScoringError(
            f"{folder} holds part of a scoring with another {other}; run its command again to finish it, "
            "or give --overwrite to throw it away."
        )
    _clear(folder)
    with by_rename(folder / MANIFEST, durable=True) as file:
        file.write(json.dumps(expected, indent=1).encode())


def _clear(folder: Path) -> None:
    foreign = [path.name for path in folder.iterdir() if not _OURS.fullmatch(path.name)]
    if foreign:
        raise ScoringError(
            f"{folder} is needed for parts of the output, but holds other files (such as {min(foreign)}); "
            "move them away, or give another --output."
        )
    for path in folder.iterdir():
        if path.name != "lock":
            path.unlink()


def _whole_parts(folder: Path) -> tuple[list[Path], RowCounts]:
    found = sorted(
        (int(match[1]), RowCounts(*map(int, match.groups(default="0")[1:])), path)
        for path in folder.iterdir()
        if (match := _NAME.fullmatch(path.name))
    )
    paths, counts = [], RowCounts()
    for place, (number, of_part, path) in enumerate(found):
        if number != place:
            break  # someone removed a part: those behind the gap are made again
        paths.append(path)
        counts += of_part
    return paths, counts
