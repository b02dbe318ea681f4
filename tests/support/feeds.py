"""Shared by the tests of feeds: posts, a model that answers at once, a source, and a clock to set."""

import threading
from dataclasses import dataclass

from inference.live.post import Post
from inference.live.sources import SourceStatus

LABELS = ("negative", "neutral", "positive")


@dataclass(frozen=True)
class Answer:
    """A model's answer."""

    label: str
    probabilities: tuple[float, ...] = (0.1, 0.2, 0.7)
    unknown_share: float | None = None
    truncated: bool = False


def posts(n, label=None):
    return [Post(id=str(i), text=f"post {i}", label=label) for i in range(n)]


def classify(texts):
    """Answer by the number that a text ends with."""
    return [Answer(LABELS[int(text.split()[-1]) % 3]) for text in texts]


class Given:
    """A source that hands over its posts at once, then, with `stay`, waits until it is stopped."""

    name = "given"
    status = SourceStatus()

    def __init__(self, given, *, stay=False):
        self.given, self.stay = given, stay
        self.handed_over = threading.Event()

    def posts(self, stop):
        yield from self.given
        self.handed_over.set()
        if self.stay:
            stop.wait()


class Clock:
    """A clock that the test sets."""

    def __init__(self, now=100.0):
        self.now = now

    def __call__(self):
        return self.now


def balanced(snapshot):
    """Return whether every post is in one place."""
    rest = sum(snapshot.filtered.values()) + snapshot.duplicates + snapshot.dropped + snapshot.pending
    return snapshot.received == snapshot.classified + rest
