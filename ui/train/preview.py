"""The preview of a data set in HTML: class balance, lengths, sample rows, and what was dropped or mended.

Draws a `training.data.preview.Preview`; knows nothing about files.
"""

from typing import TYPE_CHECKING

from ui.html import bars, button, esc, label_chip, notes, page, row, table, tiles
from ui.plots import histogram
from ui.translations import Texts

if TYPE_CHECKING:  # at run time it would import the datasets library before the first page
    from training.data.preview import Preview


def preview_panel(seen: "Preview", text: Texts) -> str:
    """Draw a preview."""
    report = seen.report
    sizes = [
        (text(f"split.{split}"), text.number(rows.used), text("preview.rows"))
        for split, rows in report.rows.items()
    ]
    sizes.append((text("preview.median"), text.number(seen.median_characters), text("preview.characters")))
    sizes.append((text("preview.longest"), text.number(seen.longest_characters), text("preview.characters")))
    close = button(text("preview.close"), action="close", value="")
    title = (
        f'<div class="tt-row"><h2>{esc(text("preview.title"))}</h2>'
        f'<span class="muted grow">{esc(report.source.name)}</span>{close}</div>'
    )
    return page(
        f'{title}{tiles(sizes)}<div class="tt-two">{_balance(seen, text)}{_lengths(seen, text)}</div>'
        f"{_rows(seen, text)}{notes(report.sentences())}",
        "tt-card tt-stack",
    )


def _balance(seen: "Preview", text: Texts) -> str:
    total = max(seen.n, 1)
    rows = [
        (label, index, count / total, f"{text.number(count)} · {text.percent(count / total)}")
        for index, (label, count) in enumerate(seen.balance.items())
    ]
    return f'<div><h3 style="margin-bottom:8px">{esc(text("preview.balance"))}</h3>{bars(rows, text)}</div>'


def _lengths(seen: "Preview", text: Texts) -> str:
    counts = [part.n for part in seen.lengths]
    edges = [part.low - 1 for part in seen.lengths] + [seen.lengths[-1].high]
    title = text("preview.lengths")
    return f"<div><h3>{esc(title)}</h3>{histogram(counts, edges, text=text, title=title)}</div>"


def _rows(seen: "Preview", text: Texts) -> str:
    places = {label: place for place, label in enumerate(seen.balance)}
    rows = [
        row(
            "",
            [
                (esc(seen_row.text), "text"),
                (label_chip(seen_row.label, places[seen_row.label], text), "chips"),
            ],
        )
        for seen_row in seen.rows
    ]
    head = [(text("preview.text"), ""), (text("preview.label"), "")]
    return table(head, rows, caption=text("preview.samples"))
