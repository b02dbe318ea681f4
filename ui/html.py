"""HTML helpers that all tabs share, and the component that shows them.

    label_chip("positive", 2)            # a dot in the label's colour, and the word
    panel = html(elem_id="run-panel", actions=True)

Every text from outside goes through `esc`. The three sentiments have fixed colours; any other label takes its
colour from a palette by its index, the same everywhere.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

from inference.common.intervals import Interval
from inference.common.text import whole
from inference.labels import SENTIMENT
from ui.sentences import said
from ui.translations import text

_PALETTE = 8  # tt-l-0 … tt-l-7 in theme.css
_MEANS = {
    **dict.fromkeys(("neg", "bad", "angry", "unhappy", "negativo", "negativa", "ruim"), "negative"),
    **dict.fromkeys(("neu", "none", "ok", "mixed", "neutro", "neutra"), "neutral"),
    **dict.fromkeys(("pos", "good", "happy", "positivo", "positiva", "bom", "boa"), "positive"),
}
"""Synonyms of the sentiments, so that they get the same colours."""


HEADING = '<div class="tt"><h2>${value}</h2></div>'
REMARK = '<div class="tt"><p class="muted small">${value}</p></div>'
"""The templates of a section's title and of a remark, whose values are translated texts."""

HIDDEN: dict[str, Any] = {"show_progress": "hidden"}
QUIET: dict[str, Any] = {**HIDDEN, "queue": False, "api_visibility": "private"}
"""The options of an event that shows no progress, and of one that is also at once and no part of the API."""
SAVE_JS = "() => {{ setTimeout(() => document.querySelector('#{0}, #{0} button, #{0} a').click(), 300); }}"
"""Presses the hidden download button once the file is made: Gradio saves a file only on a press."""
ACTIONS_JS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-action]');
  if (!button || (button.dataset.confirm && !confirm(button.dataset.confirm))) return;
  const answer = button.dataset.ask ? prompt(button.dataset.ask, button.dataset.answer) : '';
  if (answer === null) return;
  trigger('select', {action: button.dataset.action, value: button.dataset.value, answer});
});
"""


def esc(value: object) -> str:
    """Escape a value for HTML, in an element or in a quoted attribute.

    Half a character is replaced: it would break the stream by which a page gets all its answers.
    """
    return escape(whole(str(value)), quote=True).replace("\x00", "\N{REPLACEMENT CHARACTER}")


def page(body: str, css: str = "") -> str:
    """Wrap HTML in the scope of our style sheet."""
    return f'<div class="tt {css}">{body}</div>'


def label_class(label: str, index: int) -> str:
    """Return the CSS class of a label's colour; words such as "good" take the sentiment's."""
    name = _MEANS.get(label.lower(), label.lower())
    return f"tt-l-{name}" if name in SENTIMENT else f"tt-l-{index % _PALETTE}"


def label_chip(label: str, index: int, *, css: str = "") -> str:
    """Draw a label with its colour."""
    return f'<span class="tt-label {label_class(label, index)} {css}">{esc(text.label(label))}</span>'


def bars(rows: Sequence[tuple[str, int, float, str]], *, winner: int = -1, like: Sequence[str] = ()) -> str:
    """Draw (label, index, share, text) rows as bars; the text of the row `winner` is bold.

    `like`: the labels whose colours the bars have, where they are not their own.
    """
    cells = ""
    for place, (label, index, share, written) in enumerate(rows):
        css = "num win" if place == winner else "num"
        cells += (
            f'<span class="name">{esc(text.label(label))}</span>'
            f'<span class="track {label_class(like[place] if like else label, index)}"><span class="fill" '
            f'style="display:block;width:{100 * min(max(share, 0), 1):.1f}%"></span></span>'
            f'<span class="{css}">{esc(written)}</span>'
        )
    return f'<div class="tt-bars">{cells}</div>'


def table(head: Sequence[tuple[str, str]], rows: Sequence[str], *, caption: str, css: str = "") -> str:
    """Draw a table in a box it scrolls in: head as (text, class) pairs, rows as ready <tr> elements."""
    cells = "".join(f'<th scope="col" class="{kind}">{esc(name)}</th>' for name, kind in head)
    return (
        f'<div class="tt-scroll {css}" tabindex="0" role="region" aria-label="{esc(caption)}">'
        f'<table class="tt-table"><caption class="visually-hidden">{esc(caption)}</caption>'
        f"<thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def row(head: str, cells: Sequence[tuple[str, str]], *, css: str = "") -> str:
    """Draw a table row from ready HTML: its head (none if empty), and cells as (HTML, class)."""
    first = f'<th scope="row" class="nowrap">{head}</th>' if head else ""
    others = "".join(f'<td class="{kind}">{cell}</td>' for cell, kind in cells)
    return f'<tr class="{css}">{first}{others}</tr>'


def tiles(entries: Sequence[tuple[str, str, str]]) -> str:
    """Draw numbers side by side: (what it is, the number, its unit or interval)."""
    return (
        '<div class="tt-tiles">'
        + "".join(
            f'<div class="tt-tile"><span class="k">{esc(name)}</span>'
            f'<span><span class="v">{esc(value)}</span> <span class="u">{esc(unit)}</span></span></div>'
            for name, value, unit in entries
        )
        + "</div>"
    )


def empty(title: str, next_step: str, *, act: str = "") -> str:
    """Draw an empty state: what is missing, what to do next, and a button that leads there."""
    below = f"<p>{act}</p>" if act else ""
    return f'<div class="tt-empty"><b>{esc(said(title))}</b>{esc(said(next_step))}{below}</div>'


def busy(message: str) -> str:
    """Draw a progress bar for work of unknown length."""
    return page(
        f'<div class="tt-row" role="status"><span class="muted">{esc(message)}</span></div>'
        '<div class="tt-progress endless"><div></div></div>',
        "tt-card tt-stack",
    )


def note(message: str, css: str = "") -> str:
    """Draw one remark; the classes `warn` and `bad` stand out."""
    return f'<p class="tt-note {css}">{esc(said(message))}</p>'


def fold(title: str, body: str) -> str:
    """Draw a fold: a title that opens the body."""
    return f'<details class="tt-details"><summary>{esc(title)}</summary>{body}</details>'


def notes(sentences: Sequence[str]) -> str:
    """Draw remarks as a list."""
    if not sentences:
        return ""
    return f'<ul class="tt-notes">{"".join(f"<li>{esc(said(sentence))}</li>" for sentence in sentences)}</ul>'


def button(
    name: str,
    *,
    action: str,
    value: str,
    css: str = "",
    about: str = "",
    confirm: str = "",
    ask: tuple[str, str] | None = None,
) -> str:
    """Draw a button whose click reaches Python as event data `action` and `value` (see `html`).

    `confirm`: a question that must be confirmed first. `ask`: a prompt and its default answer; the data's
    `answer` holds the reply.
    """
    spoken = f' aria-label="{esc(name)}: {esc(about)}"' if about else ""
    spoken += f' data-confirm="{esc(confirm)}"' if confirm else ""
    spoken += f' data-ask="{esc(ask[0])}" data-answer="{esc(ask[1])}"' if ask else ""
    return (
        f'<button type="button" class="tt-btn {css}" data-action="{esc(action)}" data-value="{esc(value)}"'
        f"{spoken}>{esc(name)}</button>"
    )


def muted(words: str) -> str:
    """Draw an explanation in small, pale letters."""
    return f'<p class="muted small">{esc(words)}</p>'


def score_text(score: Interval) -> str:
    """Write a score as per cent with its 95 % interval, as HTML."""
    return f'{text.percent(score.value)} <span class="interval">({text.interval(score)})</span>'


def state_chip(state: str) -> str:
    """Draw the state of a run or a feed as a dot and a word."""
    return f'<span class="tt-state {esc(state)}">{esc(text(f"state.{state}"))}</span>'


def html(value: object = "", *, actions: bool = False, **options: Any) -> gr.HTML:
    """Return a component for HTML that we draw; with `actions` a pressed button triggers `select`."""
    options.setdefault("js_on_load", ACTIONS_JS if actions else None)
    return gr.HTML(value, apply_default_css=False, **options)


def into_view(elem_id: str) -> str:
    """Return the script that scrolls a part of the page into view, unless it is visible already."""
    shown = f"document.getElementById('{elem_id}')?.scrollIntoView({{block: 'nearest'}})"
    return f"() => {{ setTimeout(() => {shown}, 300); }}"  # after the part was drawn
