"""The live duel as HTML: a post to label, what was said of the last one, agreement, what training would add.

The post's card holds neither model's answer, not even hidden in the page. Knows nothing about stores.
"""

from typing import Any

from inference.live.review import Agreement, LabelCounts, LastAnswer, SessionView
from ui.html import empty, esc, label_chip, note, notes, page, row, table
from ui.live.render_posts import readable
from ui.translations import Texts

_LONGEST = 2_000
_KEYS = 9


def card(view: SessionView, labels: tuple[str, ...], text: Texts) -> str:
    """Draw the post that waits for a label, and the answers to the one before."""
    late = "duel.taken" if view.taken else "duel.gone" if view.gone else ""
    taken = note(text(late), "warn") if late else ""
    last = _last(view.last, labels, text) if view.last else ""
    undo = _button("undo", "", "u", text("duel.undo")) if view.counts.labelled + view.counts.skipped else ""
    if view.item is None:
        body = empty(text("duel.empty"), text("duel.empty_next"))
        answers = f'<div class="tt-row tt-answers">{undo}</div>' if undo else ""
        return page(
            f'{body}<div class="tt-case" data-item="0" tabindex="-1">{answers}</div>{taken}{last}', "tt-stack"
        )
    buttons = "".join(
        _button("label", label, str(place) if place <= _KEYS else "", text.label(label))
        for place, label in enumerate(labels, 1)
    )
    buttons += _button("skip", "", "s", text("duel.skip")) + undo
    return page(
        f'<div class="tt-case" data-item="{view.item.id}" tabindex="-1" role="group" '
        f'aria-label="{esc(text("duel.case"))}"><blockquote dir="auto">'
        f"{esc(readable(view.item.text, _LONGEST))}</blockquote>"
        f'<div class="tt-row tt-answers">{buttons}</div></div>{taken}{last}',
        "tt-stack",
    )


def _button(action: str, value: str, key: str, name: str) -> str:
    keys = f' data-key="{key}" aria-keyshortcuts="{key}"' if key else ""
    shown = f"<kbd>{key}</kbd> " if key else ""
    data = f'data-action="{action}" data-value="{esc(value)}"{keys}'
    return f'<button type="button" class="tt-btn {action}" {data}>{shown}{esc(name)}</button>'


def _last(last: LastAnswer, labels: tuple[str, ...], text: Texts) -> str:
    places = {label: place for place, label in enumerate(labels)}

    def said(name: str, label: str) -> str:
        mark = ("✓ " if label == last.label else "✗ ") if last.label else ""
        return f"<span>{mark}{esc(name)} {label_chip(label, places.get(label, 0), css='plain')}</span>"

    item = last.item
    yours = (
        said(text("duel.you"), last.label) if last.label else f"<span>{esc(text('duel.skipped_it'))}</span>"
    )
    return (
        f'<div class="tt-last" role="status"><span class="muted">{esc(text("duel.last"))}</span> '
        f"{yours.replace('✓ ', '', 1)}{said(item.first_model, item.first_label)}"
        f"{said(item.second_model, item.second_label)}</div>"
    )


def numbers(counts: LabelCounts, found: tuple[Agreement, ...], text: Texts) -> str:
    """Draw how many posts wait and were labelled, and how often each model said what people say."""
    told = " · ".join(
        text(f"duel.{name}", n=text.number(getattr(counts, name)))
        for name in ("waiting", "labelled", "skipped")
    )
    return page(
        f'<p class="muted num tt-left">{esc(told)}</p>{"".join(_pair(one, text) for one in found[:3])}',
        "tt-stack",
    )


def _pair(one: Agreement, text: Texts) -> str:
    def line(name: str, share: Any) -> str:
        interval = text.interval({"low": share.low, "high": share.high})
        return row(
            esc(name), [(esc(text.percent(share.value)), "num"), (f"({esc(interval)})", "num interval")]
        )

    rows = [line(one.first_model, one.first), line(one.second_model, one.second)]
    share = text.percent(one.neither / one.n)
    rows.append(row(esc(text("duel.neither")), [(esc(share), "num"), ("", "num")]))
    caption = text("duel.agreement", n=text.number(one.n))
    head = [(caption, ""), (text("live.share"), "num"), ("95 %", "num")]
    return table(head, rows, caption=caption, css="tt-account")


def review(report: Any, file: str, recipe: str, text: Texts) -> str:
    """Draw what training on the labels would add, and what is left out, before it is started."""
    kinds = ("read", "added", "duplicates", "conflicts", "leaks", "unusable")
    rows = [
        row(esc(text(f"duel.{kind}_rows")), [(esc(text.number(getattr(report, kind))), "num")])
        for kind in kinds
    ]
    balance = [
        row(label_chip(label, place, css="plain"), [(esc(text.number(count)), "num")])
        for place, (label, count) in enumerate(report.by_label.items())
    ]
    number, by_label = (text("live.number"), "num"), text("duel.added_labels")
    account = table([(text("live.posts"), ""), number], rows, caption=text("duel.review"), css="tt-account")
    added = table([(by_label, ""), number], balance, caption=by_label, css="tt-account")
    conflicts = [
        f"{readable(one.text, 160)} — {' / '.join(map(text.label, one.labels))}"
        for one in report.shown_conflicts
    ]
    doubles = [readable(one, 160) for one in report.shown_duplicates]
    lists = _listed(text("duel.conflicts_shown"), conflicts) + _listed(text("duel.duplicates_shown"), doubles)
    how = text("duel.review_how" if report.added else "duel.nothing_added", recipe=recipe, file=file)
    done = note(how, "" if report.added else "warn")
    return page(f"<h2>{esc(text('duel.review'))}</h2>{account}{added}{lists}{done}", "tt-card tt-stack")


def _listed(title: str, lines: list[str]) -> str:
    return f"<div><h3>{esc(title)}</h3>{notes(lines)}</div>" if lines else ""
