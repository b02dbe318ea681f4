"""Markdown that data can't break: text, code, table cells.

    text("a|b <script> @all")      # "a\\|b &lt;script&gt; &#64;all": shown as it is, and nothing else
    table(("label", "n"), rows)    # a table; its cells must be escaped already

A label, a file's name or a sentence of a data set may hold anything. Knows nothing about cards.
"""

import re
from collections.abc import Iterable, Sequence

from inference.common.text import one_line

_BACKSLASHED = re.compile(r"([\\`*\[\]|~#!$^{}]|(?<![^\W_])_|_(?![^\W_]))")  # a_b is no emphasis
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;"}
_LINKS = re.compile(r"(?i)(https?|ftp)://|(www)\.|(mailto):")
_AT_START = re.compile(r"^(\d+)([.)])(?=\s|$)|^([-+=:])")


def text(content: object, *, limit: int = 300) -> str:
    """Return content as one line of Markdown that reads as written: no markup, link, mention, HTML or LaTeX.

    Control characters and characters that turn the direction of reading go; a longer text is cut.
    """
    line = plain(content, limit=limit)
    line = "".join(_ENTITIES.get(character, character) for character in line)
    line = _BACKSLASHED.sub(r"\\\1", line)
    line = line.replace("&\\#", "&#")  # the entity of "@", written just above
    line = _LINKS.sub(_unlinked, line)
    return _AT_START.sub(_not_a_block, line)


def plain(content: object, *, limit: int = 300) -> str:
    """Return content as one line without control characters, cut where it is longer than the limit."""
    return one_line(content, longest=limit)


def code(content: object, *, limit: int = 120) -> str:
    """Return content as inline code, as HTML: a code span of Markdown can't hold a backtick or a bar."""
    return f"<code>{text(content, limit=limit)}</code>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """Return a table whose first `left` columns are left-aligned and the others right-aligned."""
    rules = ["---" if place < left else "---:" for place in range(len(head))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rules, *rows))


def _unlinked(match: re.Match[str]) -> str:
    """Write the sign that would make a link as an entity."""
    scheme, www, mail = match.groups()
    return f"{scheme}&#58;//" if scheme else f"{www}&#46;" if www else f"{mail}&#58;"


def _not_a_block(match: re.Match[str]) -> str:
    """Keep a line's start from opening a list, a heading's rule or a table's rule."""
    number, dot, sign = match.groups()
    return f"{number}\\{dot}" if number else f"\\{sign}"
