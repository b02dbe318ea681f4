"""A post: one short text from a source, with what is known about it.

Post(id="replay-17", text="what a day", label="positive")
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Post:
    """One text from a source. `label` is the true label where the source knows it, as Replay does."""

    id: str
    text: str
    label: str | None = None
    author: str = ""
    url: str = ""
