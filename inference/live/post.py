"""A post: one short text from a source, with what is known about it.

    Post(id="replay-17", text="what a day", label="positive")

What services send is written by strangers: `clean`, `moment` and `link` take any of it and let through only
text that can be encoded, times that exist and links that are web addresses. They never raise.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

_LONGEST_LINK = 2000
_NOT_IN_LINKS = re.compile(r"[\s\x00-\x20\x7f-\x9f<>\"'`\\]")


@dataclass(frozen=True)
class Post:
    """One text from a source. `label` is the true label where the source knows it, as Replay does.

    `id` is unique within its source. `created` is in UTC, None where it is not known. `languages` are tags
    such as "en" or "pt-BR", as the service or the author gave them, and often missing.
    """

    id: str
    text: str
    label: str | None = None
    author: str = ""
    url: str = ""
    source: str = ""
    created: datetime | None = None
    languages: tuple[str, ...] = ()
    is_reply: bool = False
    is_repost: bool = False
    sensitive: bool = False

    @property
    def language(self) -> str:
        """The first language, "" when none is known."""
        return self.languages[0] if self.languages else ""


@dataclass(frozen=True)
class ClassifiedPost:
    """A post, its label, and that label's probability; of a second model too, where there is one."""

    post: Post
    label: str
    probability: float
    second_label: str | None = None
    second_probability: float | None = None

    @property
    def disagrees(self) -> bool:
        """Whether two models were asked and gave different labels."""
        return self.second_label is not None and self.second_label != self.label


def clean(text: object) -> str:
    """Return a text that every encoder takes: halves of a character become U+FFFD; "" for what is no text."""
    if not isinstance(text, str):
        return ""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def moment(text: object) -> datetime | None:
    """Return an ISO 8601 time in UTC, None when it is none. A time without a zone is taken as UTC."""
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def link(url: object) -> str:
    """Return a web address unchanged, and "" for anything else, such as `javascript:…`."""
    if not isinstance(url, str) or len(url) > _LONGEST_LINK or _NOT_IN_LINKS.search(url):
        return ""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    except ValueError:
        return ""
    return url if usable else ""
