"""A post: one short text from a source, with what is known about it.

    Post(id="replay-17", text="what a day", label="positive")
    plain("<p>hello<br>you</p><p>&lt;3 <a href='…'>#tag</a></p>")     # -> "hello\\nyou\\n\\n<3 #tag"

What services send is written by strangers: `clean`, `plain`, `moment` and `link` take any of it and let
through only text that can be encoded, times that exist and links that are web addresses. They never raise.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from html.parser import HTMLParser
from urllib.parse import urlsplit

from inference.common.text import whole

_LONGEST_LINK = 2000
_NOT_IN_LINKS = re.compile(r"[\s\x00-\x20\x7f-\x9f\ud800-\udfff<>\"'`\\]")
LONGEST_HTML = 50_000  # characters; what is longer is cut
_NO_TAG = re.compile(r"<(?=[^<>]*(?:<|\Z))")  # never closed: the parser would look for its end at length
_DECLARATION = re.compile(r"<![^<>]*>")  # comments too; the parser raises AssertionError on odd ones
_BLOCKS = frozenset({"p", "div", "blockquote", "ul", "ol", "pre", "h1", "h2", "h3", "h4", "h5", "h6"})
_DROPPED = frozenset({"script", "style", "template", "iframe", "object", "noscript", "textarea", "title"})
_QUOTE = "quote-inline"  # the class of "RE: https://…", for clients that show no quotes


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
    unknown_share: float = 0.0
    """Of its tokens, of those that the model's training texts hardly had; 0 if that is not known."""
    truncated: bool = False
    """Whether the model read only the beginning of its text."""

    @property
    def disagrees(self) -> bool:
        """Whether two models were asked and gave different labels."""
        return self.second_label is not None and self.second_label != self.label


def clean(text: object) -> str:
    """Return a text that every encoder takes (`inference.common.text.whole`); "" for anything but a text."""
    return whole(text) if isinstance(text, str) else ""


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


def plain(html: object) -> str:
    """Return the text of a post's HTML, "" for what is no text. It is text, not HTML: escape it to draw it.

    Paragraphs and line breaks are kept, links and mentions by their text; scripts and styles are dropped with
    their content, and so is the link to a quoted post.
    """
    parser = _Text()
    parser.feed(_DECLARATION.sub("", _NO_TAG.sub("&lt;", clean(html)[:LONGEST_HTML])))
    parser.close()
    text = re.sub(r" *\n *", "\n", "".join(parser.parts))
    return re.sub(r"\n{3,}", "\n\n", re.sub(r" {2,}", " ", text)).strip()


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._dropping = 0
        self._quote = ""  # the tag of a quote's link, while we are in it

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DROPPED:
            self._dropping += 1
        elif _QUOTE in (dict(attrs).get("class") or "").split():
            self._quote = tag
        elif tag in ("br", "li"):
            self._add("\n")
        elif tag in _BLOCKS:
            self._add("\n\n")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _DROPPED:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in _DROPPED:
            self._dropping = max(0, self._dropping - 1)
        elif tag == self._quote:
            self._quote = ""
        elif tag in _BLOCKS:
            self._add("\n\n")

    def handle_data(self, data: str) -> None:
        self._add(re.sub(r"[ \t\r\n\f]+", " ", data))  # in HTML a line break is a space

    def _add(self, text: str) -> None:
        if not (self._dropping or self._quote):
            self.parts.append(text)
