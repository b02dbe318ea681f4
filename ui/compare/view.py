"""The Compare tab's HTML: two answers side by side, the scoreboard, and the tweets on which they disagree.

Draws predictions and evaluation records; knows nothing about models or files.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from ui.html import bars, button, empty, esc, label_chip, note, page, row, score_text, table
from ui.translations import Texts

_SCORES = ("accuracy", "macro_f1", "macro_recall", "expected_calibration_error")
_REAL = (
    '<svg viewBox="0 0 18 18" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="1.7" '
    'stroke-linecap="round" stroke-linejoin="round"><circle cx="9" cy="9" r="8"/><path d="{path}"/></svg>'
)
_CHECK, _DASH = "M5.2 9.4l2.500 2.500 5-5.500", "M5.500 9h7"


class Predicted(Protocol):
    """What is read of a prediction."""

    label: str
    probabilities: tuple[float, ...]
    truncated: bool
    latency_ms: float | None


def answers(
    tuned: tuple[str, Sequence[str], Predicted],
    base: tuple[str, Sequence[str], Predicted] | None,
    text: Texts,
    *,
    no_base: str = "",
) -> str:
    """Draw the answers of base and fine-tuned, each as (name, labels, prediction)."""
    left = (
        _answer(text("compare.base"), text("compare.base_how"), base, text)
        if base
        else _no_base(no_base, text)
    )
    right = _answer(text("compare.tuned"), text("compare.tuned_how"), tuned, text)
    cut = note(text("compare.truncated"), "warn") if tuned[2].truncated else ""
    return page(f'<div class="tt-two">{left}{right}</div>{cut}', "tt-stack")


def _answer(title: str, how: str, side: tuple[str, Sequence[str], Predicted], text: Texts) -> str:
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
        f'<div class="tt-row">{label_chip(prediction.label, winner, text, css="big")}'
        f'<span class="muted num">{esc(text.percent(prediction.probabilities[winner]))}</span></div>'
        f'{bars(rows, text, winner=winner)}<p class="muted small">{esc(name)}</p></div></div>'
    )


def _no_base(reason: str, text: Texts) -> str:
    return (
        f'<div class="tt-card"><div class="tt-stack"><h2>{esc(text("compare.base"))}</h2>'
        f"{note(reason or text('compare.base_loading'), 'warn')}</div></div>"
    )


def scoreboard(scores: dict[str, Any] | None, text: Texts) -> str:
    """Draw both on the test split: scores with intervals, is the difference real, confusion matrices."""
    if not scores:
        return page(empty(text("compare.no_scores"), text("compare.no_scores_next")))
    base = scores.get("base")
    head = [(text("compare.score"), ""), (text("compare.base"), "num"), (text("compare.tuned"), "num")]
    keys = [(text(f"score.{key}"), [(base or {}).get(key), scores.get(key)]) for key in _SCORES]
    keys += [
        (
            text("score.f1_of", label=text.label(label)),
            [((base or {}).get("per_class_f1") or {}).get(label), score],
        )
        for label, score in (scores.get("per_class_f1") or {}).items()
    ]
    rows = [
        f'<tr><th scope="row">{esc(name)}</th>'
        + "".join(f'<td class="num">{score_text(score, text) if score else "–"}</td>' for score in pair)
        + "</tr>"
        for name, pair in keys
    ]
    title = text("compare.scoreboard")
    about = text(
        "compare.scoreboard_n", n=text.number(scores["n"]), split=text(f"split.{scores.get('split', 'test')}")
    )
    matrices = _matrices(scores, base, text)
    return page(
        f'<div class="tt-row"><h2>{esc(title)}</h2><span class="muted small">{esc(about)}</span></div>'
        f"{verdict(scores.get('comparison'), text)}{table(head, rows, caption=title)}"
        f'<div class="tt-two">{matrices}</div>',
        "tt-card tt-stack",
    )


def verdict(comparison: dict[str, Any] | None, text: Texts) -> str:
    """Say in one plain sentence whether the difference is real."""
    if not comparison:
        return ""
    sentence = comparison["sentence"]
    if text.language != "en":
        counts = {key: text.number(comparison[key]) for key in ("n", "only_tuned_right", "only_base_right")}
        points = text.number(100 * abs(comparison["accuracy_difference"]["value"]), 1)
        better = comparison["accuracy_difference"]["value"] > 0
        key = (
            ("compare.real_better" if better else "compare.real_worse")
            if comparison["real"]
            else "compare.not_real"
        )
        interval = text.interval(comparison["accuracy_difference"], points=True)
        sentence = text(key, points=points, interval=interval, **counts)
    icon = _REAL.format(path=_CHECK if comparison["real"] else _DASH)
    return (
        f'<div class="tt-verdict {"real" if comparison["real"] else ""}">{icon}<p>{esc(sentence)}</p></div>'
    )


def _matrices(scores: dict[str, Any], base: dict[str, Any] | None, text: Texts) -> str:
    sides = [(text("compare.base"), (base or {}).get("confusion_matrix"))]
    sides.append((text("compare.tuned"), scores.get("confusion_matrix")))
    return "".join(_matrix(name, matrix, scores["labels"], text) for name, matrix in sides if matrix)


def _matrix(name: str, matrix: Sequence[Sequence[int]], labels: Sequence[str], text: Texts) -> str:
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


def kind_of(told: dict[str, Any]) -> str:
    """Return who is right on a disagreement: "tuned", "base" or "neither"."""
    if told["tuned"]["label"] == told["label"]:
        return "tuned"
    return "base" if told["base"]["label"] == told["label"] else "neither"


def disagreements(
    rows: Sequence[dict[str, Any]], labels: Sequence[str], text: Texts, *, only: str, most: int
) -> str:
    """Draw the test tweets on which they disagree; `only` is "all", "tuned", "base" or "neither"."""
    if not rows:
        return page(empty(text("compare.no_disagreements"), text("compare.no_disagreements_next")))
    found = [told for told in rows if only in ("all", kind_of(told))]
    places = {label: place for place, label in enumerate(labels)}

    def chip(label: str) -> str:
        return label_chip(label, places.get(label, 0), text)

    def side(answer: dict[str, Any]) -> str:
        share = text.percent(max(answer["probabilities"]), 0)
        return f'{chip(answer["label"])} <span class="interval">{esc(share)}</span>'

    drawn = [
        row(
            "",
            [
                (button(told["text"], action="try", value=told["text"], css="link"), "text"),
                (chip(told["label"]), "chips"),
                (side(told["base"]), "chips"),
                (side(told["tuned"]), "chips"),
            ],
        )
        for told in found[:most]
    ]
    head = [(text(f"compare.{name}"), "") for name in ("tweet", "true", "base", "tuned")]
    shown = text("compare.shown", shown=text.number(len(drawn)), n=text.number(len(found)))
    return page(
        table(head, drawn, caption=text("compare.disagree"), css="tall")
        + f'<p class="muted small" style="margin-top:6px">{esc(shown)}</p>'
    )
