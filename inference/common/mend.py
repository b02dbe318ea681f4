"""Mend a text before a model sees it: broken encodings, HTML entities, NUL bytes, halves of characters.

    mend("I donâ€™t &amp; won't")      # -> Mended(text="I don’t & won't", changed=True, damaged=False)
    mended([" &lt;3 "])                # -> ["<3"]

Training texts are mended when they are read and all others by `inference.classifier.encode`, so a model sees
every text as it does in training; mending twice changes nothing more. Typography (curly quotes, wide
characters) is no damage and stays. `inference.prompt` has the part that a tokenizer can do.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import ftfy
from ftfy.badness import is_bad
from ftfy.fixes import unescape_html

from inference.common.text import HALF_BYTE, whole

_FIXES = ftfy.TextFixerConfig(
    unescape_html=False,  # done before, by `_unescaped`
    uncurl_quotes=False,
    fix_character_width=False,
    fix_latin_ligatures=False,
    fix_line_breaks=False,
    explain=False,
)
# Only a text with one of these can need mending; a search costs a hundredth of what ftfy does.
_SUSPECT = re.compile(r"[^\t\n\r\x20-\x7e]|&#?\w+;")
_AMPERSANDS = re.compile(r"&(?:(?:amp|#0*38|#x0*26);)+", re.IGNORECASE)  # escaped once or many times over
BLANK = " \t\r\n\0"
"""Characters around a text that say nothing before it is mended; of other white space mending makes more."""
_MOST_LAYERS = 8  # of entities in entities: a text made to need thousands would hold up everybody
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
    fixed, again = "", whole(text.replace("\0", " "))
    for _ in range(_MOST_LAYERS):
        fixed = ftfy.fix_text(_unescaped(again), _FIXES)
        if (again := _unescaped(fixed)) == fixed:
            break
    raw_bytes = HALF_BYTE.search(text) is not None
    damaged = "\ufffd" in fixed or is_bad(fixed) or (raw_bytes and _TRACES.search(fixed) is not None)
    return Mended(fixed, changed=fixed != text, damaged=damaged)


def mended(texts: Iterable[str], *, longest: int | None = None) -> list[str]:
    """Return texts as a model sees them: mended, without white space around them.

    `longest`: characters that are looked at; blanks before the text don't count.
    """
    return [mend(text.strip(BLANK)[:longest]).text.strip() for text in texts]


def _unescaped(text: str) -> str:
    for _ in range(_MOST_LAYERS):
        before, text = text, unescape_html(_AMPERSANDS.sub("&", text))
        if text == before:
            break
    return text
