"""The Compare tab's HTML: two answers side by side, the scoreboard, and the tweets on which they disagree.

Draws predictions and an `Evaluation`.
"""

from collections.abc import Sequence

from inference.classifier import Prediction
from training.evaluate.scores import BASE, SINGLE_SCORES, TUNED, Answer, Comparison, Disagreement, Evaluation
from ui.html import bars, button, empty, esc, label_chip, note, page, row, score_text, table
from ui.translations import text

_REAL = (
    '<svg viewBox="0 0 18 18" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="1.7" '
    'stroke-linecap="round" stroke-linejoin="round"><circle cx="9" cy="9" r="8"/><path d="{path}"/></svg>'
)
_CHECK, _DASH = "M5.2 9.4l2.500 2.500 5-5.500", "M5.500 9h7"


def answers(
    tuned: tuple[str, Sequence[str], Prediction],
    base: tuple[str, Sequence[str], Prediction] | None,
    *,
    no_base: str = "",
) -> str:
    """Draw the answers of base and fine-tuned, each as (name, labels, prediction)."""
    left = _answer(text("compare.base"), text("compare.base_how"), base) if base else _no_base(no_base)
    right = _answer(text("compare.tuned"), text("compare.tuned_how"), tuned)
    cut = note(text("compare.truncated"), "warn") if tuned[2].truncated else ""
    return page(f'<div class="tt-two">{left}{right}</div>{cut}', "tt-stack")


def _answer(title: str, how: str, side: tuple[str, Sequence[str], Prediction]) -> str:
    name, labels, prediction = side
    winner = labels.index(prediction.label)
    rows = [
        (label, index, share, text.percent(share))
        for index, (label, share) in enumerate(zip(labels, prediction.probabilities, strict=True))
    ]
    latency = f"{text.number(prediction.latency_ms)}\u00a0ms" if prediction.latency_ms is not None else ""
    return (
        f'<div class="tt-card"><div class="tt-stack"><div class="tt-row"><h2>{esc(title)}</h2>'
        f'<span class="muted small grow">{esc(how)}</span>'
        f'<span class="muted small num">{esc(latency)}</span></div>'
        f'<div class="tt-row">{label_chip(prediction.label, winner, css="big")}'
        f'<span class="muted num">{esc(text.percent(prediction.probabilities[winner]))}</span></div>'
        f'{bars(rows, winner=winner)}<p class="muted small">{esc(name)}</p></div></div>'
    )


def _no_base(reason: str) -> str:
    return (
        f'<div class="tt-card"><div class="tt-stack"><h2>{esc(text("compare.base"))}</h2>'
        f"{note(reason or text('compare.base_loading'), 'warn')}</div></div>"
    )


def scoreboard(evaluation: Evaluation | None) -> str:
    """Draw both on the test split: scores with intervals, is the difference real, confusion matrices."""
    if not evaluation or not evaluation.tuned:
        return page(empty(text("compare.no_scores"), text("compare.no_scores_next")))
    sides = [(text("compare.base"), evaluation.base), (text("compare.tuned"), evaluation.tuned)]
    head = [(text("compare.score"), ""), *((name, "num") for name, _ in sides)]
    keys = [
        (text(f"score.{key}"), [getattr(side.scores, key) if side else None for _, side in sides])
        for key in SINGLE_SCORES
    ]
    keys += [
        (
            text("score.f1_of", label=text.label(label)),
            [side.scores.per_class_f1.get(label) if side else None for _, side in sides],
        )
        for label in evaluation.tuned.scores.per_class_f1
    ]
    rows = [
        f'<tr><th scope="row">{esc(name)}</th>'
        + "".join(f'<td class="num">{score_text(score) if score else "–"}</td>' for score in pair)
        + "</tr>"
        for name, pair in keys
    ]
    title = text("compare.scoreboard")
    split = f"split.{evaluation.split}"
    split = text(split) if text.has(split) else evaluation.split
    about = text("compare.scoreboard_n", n=text.number(evaluation.n), split=split)
    matrices = "".join(
        _matrix(name, side.scores.confusion_matrix, evaluation.labels)
        for name, side in sides
        if side and len(side.scores.confusion_matrix) == len(evaluation.labels) > 0
    )
    return page(
        f'<div class="tt-row"><h2>{esc(title)}</h2><span class="muted small">{esc(about)}</span></div>'
        f"{verdict(evaluation.comparison(BASE, TUNED))}{table(head, rows, caption=title)}"
        f'<div class="tt-two">{matrices}</div>',
        "tt-card tt-stack",
    )


def verdict(comparison: Comparison | None) -> str:
    """Say in one plain sentence whether the difference is real."""
    if not comparison:
        return ""
    sentence, difference = comparison.sentence, comparison.accuracy_difference
    if text.language != "en":
        better = "compare.real_better" if difference.value > 0 else "compare.real_worse"
        sentence = text(
            better if comparison.real else "compare.not_real",
            n=text.number(comparison.n),
            only_tuned_right=text.number(comparison.only_second_right),
            only_base_right=text.number(comparison.only_first_right),
            points=text.number(100 * abs(difference.value), 1),
            interval=text.interval(difference, points=True),
        )
    icon = _REAL.format(path=_CHECK if comparison.real else _DASH)
    return f'<div class="tt-verdict {"real" if comparison.real else ""}">{icon}<p>{esc(sentence)}</p></div>'


def _matrix(name: str, matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> str:
    caption = text("compare.matrix", name=name)
    head = "".join(f'<th scope="col">{esc(text.label(label))}</th>' for label in labels)
    rows = ""
    for index, counts in enumerate(matrix):
        total = sum(counts) or 1
        cells = "".join(
            f'<td class="{"hit" if index == column else ""}" style="--heat:{count / total:.3f}" '
            f'title="{esc(text.percent(count / total))}">{text.number(count)}</td>'
            for column, count in enumerate(counts)
        )
        rows += f'<tr><th scope="row">{esc(text.label(labels[index]))}</th>{cells}</tr>'
    return (
        f'<div><h3 style="margin-bottom:2px">{esc(caption)}</h3>'
        f'<p class="muted small">{esc(text("compare.matrix_how"))}</p>'
        f'<div class="tt-matrix-box" tabindex="0" role="region" aria-label="{esc(caption)}">'
        f'<table class="tt-matrix"><thead><tr><td style="background:none"></td>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></div>"
    )


def disagreements(rows: Sequence[Disagreement], labels: Sequence[str], *, only: str, most: int) -> str:
    """Draw the test tweets on which they disagree; `only` is "all", "tuned", "base" or "neither"."""
    if not rows:
        return page(empty(text("compare.no_disagreements"), text("compare.no_disagreements_next")))
    found = [one for one in rows if only in ("all", one.right)]
    places = {label: place for place, label in enumerate(labels)}

    def chip(label: str) -> str:
        return label_chip(label, places.get(label, 0))

    def side(answer: Answer) -> str:
        share = text.percent(max(answer.probabilities), 0)
        return f'{chip(answer.label)} <span class="interval">{esc(share)}</span>'

    drawn = [
        row(
            "",
            [
                (button(one.text, action="try", value=one.text, css="link"), "text"),
                (chip(one.label), "chips"),
                (side(one.base), "chips"),
                (side(one.tuned), "chips"),
            ],
        )
        for one in found[:most]
    ]
    head = [(text(f"compare.{name}"), "") for name in ("tweet", "true", "base", "tuned")]
    shown = text("compare.shown", shown=text.number(len(drawn)), n=text.number(len(found)))
    return page(
        table(head, drawn, caption=text("compare.disagree"), css="tall")
        + f'<p class="muted small" style="margin-top:6px">{esc(shown)}</p>'
    )
