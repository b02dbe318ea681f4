"""How a job tells its events by its log: marked lines, numbered, short enough for any log.

    for line in lines(3, {"kind": "note", "text": "…"}): print(line)
    reader = Reader(); reader.take(line)          # -> (3, {"kind": "note", …}), or None

A container's log cuts long lines, so an event may take several. Lines without the mark are plain output.
"""

import json
from collections.abc import Iterator
from typing import Any

MARK = "::tweettune::"
PART = 3000
"""Characters of an event in one line; container logs cut lines at 16 kB, some at 4 kB."""


def lines(number: int, event: dict[str, Any]) -> Iterator[str]:
    """Yield the lines that tell an event. `number` counts a job's events from 1."""
    text = json.dumps(event)  # ASCII, so that no part ends within a character
    parts = [text[at : at + PART] for at in range(0, len(text), PART)]
    for at, part in enumerate(parts, 1):
        yield f"{MARK} {number} {at}/{len(parts)} {part}|"  # the bar saves a part's last blanks


class Reader:
    """Puts events together again. Torn ones are dropped and counted in `torn`."""

    def __init__(self) -> None:
        self.torn = 0
        self._number, self._parts = 0, [""][:0]

    @staticmethod
    def marked(line: str) -> bool:
        """Whether a line tells an event, and is no plain output."""
        return line.startswith(MARK)

    def take(self, line: str) -> tuple[int, dict[str, Any]] | None:
        """Take a marked line; return the event's number and the event when it is whole, else None."""
        try:
            number, at, total, part = self._split(line)
        except ValueError:
            self.torn += 1
            return None
        if at == 1:
            self.torn += bool(self._parts)  # an event was begun and never ended
            self._number, self._parts = number, []
        if number != self._number or at != len(self._parts) + 1:
            self.torn += bool(self._parts)
            self._number, self._parts = 0, []
            return None
        self._parts.append(part)
        if at < total:
            return None
        text, self._parts = "".join(self._parts), []
        try:
            event = json.loads(text)
        except ValueError:
            self.torn += 1
            return None
        return (number, event) if isinstance(event, dict) else None

    @staticmethod
    def _split(line: str) -> tuple[int, int, int, str]:
        mark, number, place, part = line.rstrip("\r\n ").split(" ", 3)
        at, _, total = place.partition("/")
        if mark != MARK or not part.endswith("|"):
            raise ValueError(line)
        return int(number), int(at), int(total), part[:-1]
