"""Faults that the local Hub plays on request: refusals, silence, broken and slow connections.

    faults = Faults()
    faults.add(Fault("POST /api/models/*/commit/*", status=503, times=2))
    faults.add(Fault("PUT /large/*", kind="cut", after_bytes=1000))
    faults.take("PUT", "/large/abc")     # -> the fault that this request meets, None for none

A pattern is "METHOD /path" with * for any characters, "*" for everything; queries are ignored. Every fault
strikes `times` times (None: always), in the order they were added.
"""

import threading
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

WORDS = {
    401: "Invalid credentials in Authorization header",
    403: "Forbidden: you must use a write token to upload to a repository.",
    404: "Repository not found",
    409: "Cannot create repo: it exists already",
    412: "A commit has happened since. Please refresh and try again.",
    413: "Payload too large",
    429: "We had to rate limit you. Please slow down.",
}


@dataclass
class Fault:
    """A fault that the next matching requests meet."""

    pattern: str
    kind: str = "status"
    """One of status, silent (taken, never answered), cut (broken off), lost (done, not answered), slow."""
    times: int | None = 1
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    code: str | None = None
    message: str | None = None
    after_bytes: int = 0
    bytes_per_s: float = 0.0

    def matches(self, method: str, path: str) -> bool:
        """Whether it strikes this request."""
        return self.times != 0 and fnmatchcase(f"{method} {path}", self.pattern)

    @property
    def words(self) -> str:
        """The message of the answer."""
        return self.message or WORDS.get(self.status, "Internal error, we are looking into it")


class Faults:
    """The faults that are still to come."""

    def __init__(self):
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Add a fault behind the waiting ones."""
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Forget them all."""
        with self._lock:
            self._faults.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault that a request meets, and count it."""
        with self._lock:
            for fault in self._faults:
                if fault.matches(method, path):
                    if fault.times is not None:
                        fault.times -= 1
                    return fault
            return None

    @property
    def waiting(self) -> list[str]:
        """The patterns of faults that have not struck yet."""
        with self._lock:
            return [fault.pattern for fault in self._faults if fault.times]
