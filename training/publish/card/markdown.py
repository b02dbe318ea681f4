"""Markdown that data can't break, and the templates that are filled with it.

    escape("a|b <script> @all")    # "a\\|b &lt;script&gt; &#64;all": shown as it is, and nothing else
    table(("label", "n"), rows)    # a table; its cells must be escaped already
    fill("model_card.md", name="tweets", …)    # from .huggingface/, where `| md` escapes

A label, a file's name or a sentence of a data set may hold anything.
"""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import jinja2

from inference.common.text import one_line

TEMPLATES = Path(__file__).resolve().parents[3] / ".huggingface"
_BACKSLASHED = re.compile(r"([\\`*\[\]|~#!$^{}]|(?<![^\W_])_|_(?![^\W_]))")  # a_b is no emphasis
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;"}
_LINKS = re.compile(r"(?i)(https?|ftp)://|(www)\.|(mailto):")
_AT_START = re.compile(r"^(\d+)([.)])(?=\s|$)|^([-+=:])")


def escape(content: object, *, limit: int = 300) -> str:
    """Return content as one line of Markdown that reads as written: no markup, link, mention, HTML or LaTeX.

    Control characters and characters that turn the direction of reading go; a longer text is cut.
    """
    line = one_line(content, longest=limit)
    line = "".join(_ENTITIES.get(character, character) for character in line)
    line = _BACKSLASHED.sub(r"\\\1", line)
    line = line.replace("&\\#", "&#")  # the entity of "@", written just above
    line = _LINKS.sub(_unlinked, line)
    return _AT_START.sub(_not_a_block, line)


def code(content: object) -> str:
    """Return content as inline code, as HTML: a code span of Markdown can't hold a backtick or a bar."""
    return f"<code>{escape(content, limit=120)}</code>"


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


def literal(word: str) -> str:
    """Return a string literal of Python, in double quotes where that is safe."""
    return json.dumps(word, ensure_ascii=False) if word.isprintable() else repr(word)


_ENVIRONMENT = jinja2.Environment(  # compiles a template once
    loader=jinja2.FileSystemLoader(TEMPLATES),
    autoescape=False,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {"md": escape, "code": code, "py": literal}


def fill(template: str, **values: object) -> str:
    """Return a template of .huggingface/ filled with values; a name that is not among them is an error."""
    filled = _ENVIRONMENT.get_template(template).render(values)
    lines = (line.rstrip() for line in filled.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"
