"""Files written so that a killed process or a full disk never leaves half of one; JSON lines; checksums.

write_json(run / "status.json", {...})           # by rename: old or new, never a part
append_event(run / "events.jsonl", "note", text="Base: …")
sha256_of(run / "artifact" / "model.safetensors")    # or of bytes
validated(Status, record)                            # a dataclass, checked
"""

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

JsonObject = dict[str, Any]
"""A JSON object as read from a file or a wire: its content has not been checked."""
MOST_BYTES = 64_000_000
"""A record is never larger."""


class Damaged(ValueError):  # noqa: N818
    """A file is not what its name says. The text says why, without the path: "it is empty"."""


@contextmanager
def by_rename(path: Path, *, durable: bool = False) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its place when the block ends without an error, and else is removed.

    `durable`: the content outlives a power cut too (two waits for the disk). Raises OSError when the disk is
    full or read-only.
    """
    temporary = path.with_name(f"{path.name}.{threading.get_native_id()}.tmp")  # threads may write at once
    try:
        with temporary.open("wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # a full disk needs the room
        raise
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names of a folder's files are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file by rename."""
    with by_rename(path) as file:
        file.write(content)


def write_text(path: Path, content: str) -> None:
    """Write a UTF-8 file by rename; line ends stay as they are."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, record: object) -> None:
    """Write a JSON object by rename."""
    write_bytes(path, _utf8(json.dumps(record, ensure_ascii=False, indent=2) + "\n"))


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")  # half of a character becomes JSON's own escape for it


def write_jsonl(path: Path, records: Iterable[object]) -> None:
    """Write JSON objects, one a line, by rename."""
    with by_rename(path) as file:
        file.writelines(_utf8(f"{json.dumps(record, ensure_ascii=False)}\n") for record in records)


def append_event(path: Path, kind: str, **content: object) -> None:
    """Append one event, with its time in seconds since the epoch, to a JSONL file."""
    line = json.dumps({"time": round(time.time(), 3), "kind": kind, **content}, ensure_ascii=False) + "\n"
    with path.open("ab+") as file:
        if file.tell() and _last_byte(path) != b"\n":
            line = "\n" + line  # a process was killed while it wrote: its torn line stays alone
        file.write(_utf8(line))


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)


def read_json(path: Path) -> JsonObject | None:
    """Return the JSON object in a file, None where there is no such file. Raises Damaged."""
    content = b""
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise Damaged(f"it is too large: {size:,} bytes")
        content = path.read_bytes()
        record = json.loads(content.decode("utf-8-sig"))
    except FileNotFoundError:
        if path.is_symlink():
            raise Damaged("it is a link that leads nowhere") from None
        return None
    except OSError as error:
        raise Damaged(error.strerror or str(error)) from error
    except Damaged:
        raise
    except (ValueError, RecursionError) as error:
        raise Damaged(f"it is no whole JSON: {error}" if content.strip() else "it is empty") from error
    if not isinstance(record, dict):
        raise Damaged("it holds no JSON object")
    return record


def validated(kind: type[T], record: object) -> T:
    """Return a record as a dataclass. Raises Damaged, which names the first field that can't be used."""
    from pydantic import ValidationError  # noqa: PLC0415  (a tenth of a second, which --help must not wait for)

    try:
        return cast("T", _adapter(kind).validate_python(record))  # type: ignore[arg-type]  # it is hashable
    except ValidationError as error:
        first = error.errors()[0]
        raise Damaged(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


@cache
def _adapter(kind: type[object]) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter  # noqa: PLC0415  (as above)

    return TypeAdapter(kind)


def read_jsonl(path: Path) -> Iterator[JsonObject]:
    """Yield the objects of a JSONL file; a torn line is passed over. A missing file has none."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    for line in content.split(b"\n"):
        try:
            record = json.loads(line.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            yield record


def sha256_of(source: Path | bytes) -> str:
    """Return the SHA-256 of a file or of bytes, in hexadecimal. Raises OSError where there is no file."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
