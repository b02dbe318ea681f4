"""Mend the texts of a data set: broken encodings, HTML entities, NUL bytes, lone surrogates.

    mend("I donâ€™t &amp; won't")      # -> Mended(text="I don’t & won't", changed=True, damaged=False)

A cell that is not UTF-8 arrives with its bytes as surrogate escapes and is decoded on its own, as
Windows-1252, as every door does. Typography (curly quotes, wide characters) is no damage and stays as it is,
since live posts hold it too.
"""

import re
from dataclasses import dataclass

import ftfy
from ftfy.badness import is_bad

from inference.tables.rows import decoded

_FIXES = ftfy.TextFixerConfig(
    unescape_html=True,
    uncurl_quotes=False,
    fix_character_width=False,
    fix_latin_ligatures=False,
    fix_line_breaks=False,
    explain=False,
)
# Only a text with one of these can need mending; a search costs a hundredth of what ftfy does.
_SUSPECT = re.compile(r"[^\t\n\r\x20-\x7e]|&#?\w+;")
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_BYTE = re.compile("[\udc80-\udcff]")  # a byte that was not UTF-8, as surrogateescape keeps it
_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
# Traces of a lost character in a cell that was not UTF-8: neighbours that no Western language writes.
_TRACES = re.compile(
    r"_[^\x00-\x7f]|[^\x00-\x7f]_"
    r"|(?![à-öø-ÿ]{2}|[“‘«¿¡—–][À-ÿ]|[À-ÿ][”’…»—–])[^\x00-\x7f]{2}"
)


@dataclass(frozen=True)
class Mended:
    """A text after mending; `damaged` when traces of a broken encoding are still in it."""

    text: str
    changed: bool
    damaged: bool


def mend(text: str) -> Mended:
    """Return the text with its encoding mended by ftfy (Speer 2019, doi 10.5281/zenodo.2591652).

    The result can always be encoded as UTF-8 and holds no NUL. Any length is taken; nothing is cut.
    """
    if not _SUSPECT.search(text):
        return Mended(text, changed=False, damaged=False)
    whole = _PAIR.sub(_join_pair, text.replace("\0", " "))
    raw_bytes = _BYTE.search(whole) is not None
    fixed: str = ftfy.fix_text(decoded(_LONE.sub("\ufffd", whole)), _FIXES)
    damaged = "\ufffd" in fixed or is_bad(fixed) or (raw_bytes and _TRACES.search(fixed) is not None)
    return Mended(fixed, changed=fixed != text, damaged=damaged)


def _join_pair(pair: re.Match[str]) -> str:
    return pair.group().encode("utf-16", "surrogatepass").decode("utf-16")
