"""Untrusted text: whole characters, one line without control characters, the key that duplicates share.

    whole("x \\ud83d y")                # -> "x \\ufffd y"
    one_line("a\\x1b[31m\\u202eb")      # -> "a[31mb"
    duplicate_key("Hi  @Ann")         # -> "hi @user"

`one_line` escapes nothing: HTML and Markdown are for whoever draws.
"""

import re
import unicodedata
from collections.abc import Collection

LONGEST_SHOWN = 200
INVISIBLE = ("Cc", "Cf", "Cs", "Co")
"""Unicode's categories: control, format (bidi too), halves of characters, private use."""
_MOST_MARKS = 2  # accents on one letter: more would run over the lines above and below
_USER = re.compile(r"(?<!\w)@\w+")
_LINK = re.compile(r"(?:https?://|www\.)\S+")
_JOINERS = "\u200c\u200d"  # letters of Persian and parts of an emoji hang together by these

_SURROGATE = re.compile("[\ud800-\udfff]")
_HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")
HALF_BYTE = re.compile("[\udc80-\udcff]")
"""A byte that was not UTF-8, as `surrogateescape` keeps it."""


def whole(text: str) -> str:
    """Return a text that every encoder takes: pairs of halves joined, other halves as U+FFFD.

    Where it holds bytes that were not UTF-8 (see `HALF_BYTE`) all of it is taken for Windows-1252.
    """
    if not _SURROGATE.search(text):
        return text
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return _HALF.sub("\ufffd", decoded(joined))


def decoded(text: str) -> str:
    """Return a text whose bytes were not all UTF-8 as Windows-1252; any other stays as it is."""
    if not HALF_BYTE.search(text):
        return text
    return _HALF.sub("\ufffd", text).encode("utf-8", "surrogateescape").decode("cp1252", "replace")


def one_line(text: object, *, longest: int = LONGEST_SHOWN, leave_out: Collection[str] = INVISIBLE) -> str:
    """Return a text as one line of at most `longest` characters; "…" stands for what is cut off.

    Characters of the categories in `leave_out` go (so every ANSI sequence loses its start), line ends become
    blanks, and of accents piled on a letter two stay.
    """
    kept: list[str] = []
    marks = 0
    for character in " ".join(str(text)[: 20 * longest].split()):
        kind = unicodedata.category(character)
        marks = marks + 1 if kind in ("Mn", "Me") else 0
        if marks > _MOST_MARKS or (kind in leave_out and character not in _JOINERS):
            continue
        kept.append(character)
    line = "".join(kept)
    return line if len(line) <= longest else line[: longest - 1] + "…"


def duplicate_key(text: str) -> str:
    """Return the key of exact duplicates: NFKC, case folded, one user name, one link, single spaces."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(_USER.sub("@user", _LINK.sub("http", folded)).split())
