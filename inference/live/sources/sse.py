"""Server-sent events, as Mastodon streams them.

    for event, data in events(response, halt):
        event, data              # ("update", '{"id": …}'); ("", "") for a heartbeat

`response` is a `requests.Response` that is read as it comes. Knows nothing about what is in the events.
"""

from collections.abc import Iterator
from threading import Event
from typing import Any

import requests

from inference.live.sources.errors import SourceUnavailable

_CHUNK_BYTES = 65536
_LARGEST_BYTES = 1_000_000  # of one event


def events(response: requests.Response, halt: Event) -> Iterator[tuple[str, str]]:
    """Yield (name, data) of each event, until the stream ends or `halt` is set.

    Raises SourceUnavailable for an event that is too large, and urllib3's errors when the connection breaks.
    """
    name, data, size = "", [], 0
    for line in _lines(response.raw, halt):
        size += len(line)
        if size > _LARGEST_BYTES:
            raise _too_large()
        field, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif line.startswith(b":"):
            yield "", ""
        elif not line:
            if data:
                yield name or "message", "\n".join(data)
            name, data, size = "", [], 0


def _lines(raw: Any, halt: Event) -> Iterator[bytes]:
    """Yield lines without their ends, as soon as they are whole."""
    rest = bytearray()
    while not halt.is_set():
        chunk = raw.read1(_CHUNK_BYTES, decode_content=True)
        if not chunk:
            return
        rest += chunk
        if len(rest) > _LARGEST_BYTES:
            raise _too_large()
        if b"\n" in chunk:
            *lines, last = bytes(rest).split(b"\n")
            rest = bytearray(last)
            for line in lines:
                yield line.removesuffix(b"\r")


def _too_large() -> SourceUnavailable:
    return SourceUnavailable(f"The stream sent an event of more than {_LARGEST_BYTES // 1000:,} kB.")
