"""Turn the HTML of a post into plain text, without trusting it.

    plain("<p>hello<br>you</p><p>&lt;3 <a href='…'>#tag</a></p>")     # -> "hello\\nyou\\n\\n<3 #tag"

Paragraphs and line breaks are kept, links and mentions by their text; scripts and styles are dropped with
what is in them. The result is text, not HTML: who draws it escapes it.
"""

import re
from html.parser import HTMLParser

from inference.live.post import clean

_LONGEST = 50_000  # characters of HTML; what is longer is cut
_NO_TAG = re.compile(r"<(?=[^<>]*(?:<|\Z))")  # never closed: the parser would look for its end at length
_DECLARATION = re.compile(r"<![^<>]*>")  # comments too; the parser raises AssertionError on odd ones
_BLOCKS = frozenset({"p", "div", "blockquote", "ul", "ol", "pre", "h1", "h2", "h3", "h4", "h5", "h6"})
_DROPPED = frozenset({"script", "style", "template", "iframe", "object", "noscript", "textarea", "title"})


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._dropping = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DROPPED:
            self._dropping += 1
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
        elif tag in _BLOCKS:
            self._add("\n\n")

    def handle_data(self, data: str) -> None:
        self._add(re.sub(r"[ \t\r\n\f]+", " ", data))  # in HTML a line break is a space

    def _add(self, text: str) -> None:
        if not self._dropping:
            self.parts.append(text)


def plain(html: object) -> str:
    """Return the text of a post's HTML; "" for what is no text."""
    parser = _Text()
    parser.feed(_DECLARATION.sub("", _NO_TAG.sub("&lt;", clean(html)[:_LONGEST])))
    parser.close()
    text = re.sub(r" *\n *", "\n", "".join(parser.parts))
    return re.sub(r"\n{3,}", "\n\n", re.sub(r" {2,}", " ", text)).strip()
