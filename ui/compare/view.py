"""The Compare tab's HTML: answers side by side, what fine-tuning changed, and where base and tuned disagree.

Draws predictions and an `Evaluation`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from inference.baselines import Explained, rests_on
from inference.classifier import Prediction
from inference.common.mend import mend
from inference.explain import variants
from inference.reference import Scope
from inference.selective import USUAL_PRECISION, Selective
from training.evaluate.scores import (
    BASE,
    SINGLE_SCORES,
    TUNED,
    Answer,
    CalibrationBin,
    Comparison,
    Disagreement,
    Evaluation,
)
from ui.html import bars, button, empty, esc, fold, label_chip, muted, note, page, row, score_text, table
from ui.plots import coverage_chart, reliability_chart, system_name, systems_chart, titled
from ui.sentences import said
from ui.translations import text

_REAL = (
    '<svg viewBox="0 0 18 18" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="1.7" '
    'stroke-linecap="round" stroke-linejoin="round"><circle cx="9" cy="9" r="8"/><path d="{path}"/></svg>'
)
_CHECK, _DASH = "M5.2 9.4l2.500 2.500 5-5.500", "M5.500 9h7"
_SURE = 0.9


@dataclass(frozen=True)
class Side:
    """One model's answer, with its title on the page, a description, its own name and its labels."""

    title: str
    how: str
    name: str
    labels: Sequence[str]
    prediction: Prediction
    sure_from: float | None = None
    scope: Scope | None = None

    @property
    def is_outside(self) -> bool:
        """Whether the tweet is unlike the model's training tweets."""
        return self.scope is not None and self.prediction.is_out_of_scope(self.scope.above)

    @property
    def is_sure(self) -> bool:
        return self.sure_from is None or self.prediction.is_sure(self.sure_from)


def answers(
    sides: Sequence[Side], *, left_out: Sequence[tuple[str, str]] = (), tweet: str = "", truth: str = ""
) -> str:
    """Draw the answers to a tweet; `truth`: its true label, if known.

    `left_out`: the (title, reason) of those that can't answer.
    """
    cards = [_no_answer(*each) for each in left_out] + [_answer(side, truth) for side in sides]
    cut = note(text("compare.truncated"), "warn") if any(side.prediction.truncated for side in sides) else ""
    drawn = f'<div class="tt-{"two" if len(cards) < 3 else "many"}">{"".join(cards)}</div>'
    head = f"{_in_a_sentence(sides, truth)}{other_labels([(side.title, side.labels) for side in sides])}"
    return page(f"{head}{drawn}{cut}{_variations(tweet)}", "tt-stack")


def skeleton(titles: Sequence[str] = (), message: str = "") -> str:
    """Draw placeholders of the answers, and what to do to get them."""
    cards = "".join(
        f'<div class="tt-card tt-skeleton"><h2>{esc(title)}</h2></div>' for title in titles or ("", "")
    )
    head = f'<p class="muted">{esc(message)}</p>' if message else ""
    return page(f'{head}<div class="tt-two" aria-hidden="true">{cards}</div>', "tt-stack")


def _in_a_sentence(sides: Sequence[Side], truth: str) -> str:
    said_ = [text.label(side.prediction.label) for side in sides]
    if len(sides) == 1:
        sentence = text("compare.alone", name=sides[0].title, label=said_[0])
    elif len({side.prediction.label.casefold() for side in sides}) == 1:
        sentence = text("compare.agree" if len(sides) == 2 else "compare.agree_all", label=said_[0])
    else:
        who = ", ".join(
            text("compare.says", name=side.title, label=label)
            for side, label in zip(sides, said_, strict=True)
        )
        sentence = text("compare.differ", who=who)
    known = ""
    if truth:
        place = next((side.labels.index(truth) for side in sides if truth in side.labels), 0)
        known = f'<span class="muted small">{esc(text("compare.true"))}</span> {label_chip(truth, place)}'
    return f'<div class="tt-row"><p class="tt-lead" role="status">{esc(sentence)}</p>{known}</div>'


def other_labels(sides: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Say which labels not all models have; `sides`: (title, labels) of each model."""
    known = [{label.casefold() for label in labels} for _, labels in sides]
    if not known or all(each == known[0] for each in known):
        return ""
    common = set.intersection(*known)
    listed = "; ".join(f"{title}: {', '.join(map(text.label, labels))}" for title, labels in sides)
    key = "compare.other_labels" if common else "compare.no_common_labels"
    return note(text(key, told=listed, common=", ".join(map(text.label, sorted(common)))), "warn")


def _answer(side: Side, truth: str) -> str:
    labels, prediction = side.labels, side.prediction
    winner = list(labels).index(prediction.label)
    rows = [
        (label, index, share, text.percent(share))
        for index, (label, share) in enumerate(zip(labels, prediction.probabilities, strict=True))
    ]
    latency = f"{text.number(prediction.latency_ms)}\u00a0ms" if prediction.latency_ms is not None else ""
    mark = ""
    if truth in labels:
        right = truth == prediction.label
        word = esc(text("compare.is_right" if right else "compare.is_wrong"))
        mark = f'<span class="tt-mark {"right" if right else "wrong"}">{"✓" if right else "✗"} {word}</span>'
    unsure = "" if side.is_sure else note(_unsure(side), "warn")
    unsure += note(_outside(side), "warn") if side.is_outside else ""
    return (
        f'<div class="tt-card"><div class="tt-stack"><div class="tt-row">'
        f"<h2>{esc(side.title)}</h2>"
        f'<span class="muted small grow">{esc(" · ".join(filter(None, (side.how, said(side.name)))))}</span>'
        f'<span class="muted small num">{esc(latency)}</span></div>'
        f'<div class="tt-row">{label_chip(prediction.label, winner, css="big")}{mark}</div>'
        f"{unsure}{bars(rows, winner=winner)}{_grounds(prediction)}</div></div>"
    )


def _unsure(side: Side) -> str:
    return text(
        "compare.unsure",
        share=text.percent(max(side.prediction.probabilities), 0),
        threshold=text.percent(side.sure_from or 0, 0),
        wanted=text.percent(USUAL_PRECISION, 0),
    )


def _outside(side: Side) -> str:
    return text(
        "compare.outside",
        share=text.percent(side.prediction.unknown_share or 0, 0),
        above=text.percent(side.scope.above if side.scope else 0, 0),
    )


def _grounds(prediction: Prediction) -> str:
    """Draw the labelled tweets that an answer is based on."""
    found, drawn = rests_on(prediction), ""
    if found:
        lines = "".join(
            f'<li dir="auto">{esc(one.text)} <span class="interval">{esc(text.label(one.label))}</span></li>'
            for one in found
        )
        title = text("compare.rests_on", n=text.number(len(found)))
        drawn = fold(title, f'<ul class="tt-notes">{lines}</ul>')
    left_out = prediction.dropped if isinstance(prediction, Explained) else 0
    return drawn + (note(text("compare.no_room", n=text.number(left_out)), "warn") if left_out else "")


def _no_answer(title: str, reason: str) -> str:
    return (
        f'<div class="tt-card"><div class="tt-stack"><h2>{esc(title)}</h2>'
        f"{note(reason or text('compare.base_loading'), 'warn')}</div></div>"
    )


def _variations(tweet: str) -> str:
    """Draw buttons that ask again with a small change of the tweet."""
    buttons = "".join(
        button(text(f"compare.with_{name}"), action="try", value=other, css="chip")
        for name, other in variants(tweet).items()
    )
    if not buttons:
        return ""
    return f'<div class="tt-row"><span class="muted small">{esc(text("compare.with"))}</span>{buttons}</div>'


def heat(
    sides: Sequence[tuple[str, str, Sequence[tuple[str, float]]]], flipped: Sequence[Mapping[str, str]] = ()
) -> str:
    """Draw which words moved each answer: (title, label, (piece of the text, weight) pairs).

    `flipped`: for each, the small changes that give another label, with that label.
    """
    lines = ""
    for place, (side, label, pieces) in enumerate(sides):
        most = max([0.05, *(abs(weight) for _, weight in pieces)])
        marked = " ".join(
            f'<span class="{"for" if weight > 0 else "against"}" style="--heat:{abs(weight) / most:.2f}" '
            f'title="{esc(text.points(weight, 1))}">{esc(piece)}</span>'
            for piece, weight in pieces
        )
        head = text("compare.heat_of", side=side, label=text.label(label))
        lines += f'<div class="k muted small">{esc(head)}</div><p class="tt-heat" dir="auto">{marked}</p>'
        if place < len(flipped):
            lines += muted(_flips(flipped[place]))
    how = muted(text("compare.heat_how"))
    return page(f"<h3>{esc(text('compare.heat'))}</h3>{lines}{how}", "tt-card tt-heat-card") if lines else ""


def _flips(changes: Mapping[str, str]) -> str:
    listed = ", ".join(
        f"{text(f'compare.with_{name}')} ({text.label(label)})" for name, label in changes.items()
    )
    return text("compare.flips", changes=listed) if listed else text("compare.no_flip")


def scoreboard(evaluation: Evaluation | None) -> str:
    """Draw what fine-tuning changed on the test split: systems, difference, calibration, matrices."""
    if not evaluation or not evaluation.tuned:
        return page(empty(text("compare.no_scores"), text("compare.no_scores_next")))
    split = f"split.{evaluation.split}"
    split = text(split) if text.has(split) else evaluation.split
    about = text("compare.scoreboard_n", n=text.number(evaluation.n), split=split)
    title, comparison = text("compare.scoreboard"), evaluation.comparison(BASE, TUNED)
    chart = systems_chart(evaluation, title=text("compare.systems"))
    changed = _changed(evaluation, comparison)
    matrices = f'<div class="tt-three">{_matrices(evaluation)}</div>'
    return page(
        f'<div class="tt-row"><h2>{esc(title)}</h2><span class="muted small">{esc(about)}</span></div>'
        f"{verdict(comparison)}"
        f'<div class="{"tt-two tt-charts" if changed else ""}">'
        f"{titled(text('compare.systems'), '', chart)}{changed}</div>"
        f"{fold(text('compare.scores'), _scores(evaluation, title))}{_when_unsure(evaluation)}"
        f"{fold(text('compare.matrices'), matrices)}",
        "tt-card tt-stack",
    )


def _scores(evaluation: Evaluation, caption: str) -> str:
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
        for label in (evaluation.tuned.scores.per_class_f1 if evaluation.tuned else ())
    ]
    rows = [
        f'<tr><th scope="row">{esc(name)}</th>'
        + "".join(f'<td class="num">{score_text(score) if score else "–"}</td>' for score in pair)
        + "</tr>"
        for name, pair in keys
    ]
    return table(head, rows, caption=caption)


def verdict(comparison: Comparison | None) -> str:
    """Say in one sentence whether the difference is significant."""
    if not comparison:
        return ""
    difference = comparison.accuracy_difference
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


def _changed(evaluation: Evaluation, comparison: Comparison | None) -> str:
    """Draw right and wrong before and after as one bar; its parts filter the disagreements."""
    if not comparison or not evaluation.base or not comparison.n:
        return ""
    gained, lost = comparison.only_second_right, comparison.only_first_right
    kept = max(0, round(evaluation.base.scores.accuracy.value * comparison.n) - lost)
    parts = [
        ("kept", kept, ""),
        ("gained", gained, "tuned"),
        ("lost", lost, "base"),
        ("still", max(0, comparison.n - kept - gained - lost), "neither"),
    ]
    bar = "".join(f'<span class="{name}" style="flex-grow:{count}"></span>' for name, count, _ in parts)
    keys = ""
    for name, count, only in parts:
        caption = f"{text(f'compare.part_{name}')}: {text.number(count)}"
        shown = button(caption, action="filter", value=only, css="link") if only else esc(caption)
        keys += f'<span class="tt-part {name}"><i></i>{shown}</span>'
    spoken = ", ".join(f"{text(f'compare.part_{name}')} {text.number(count)}" for name, count, _ in parts)
    return (
        f'<div><h3 class="tt-h3">{esc(text("compare.changed"))}</h3>'
        f'<div class="tt-change" role="img" aria-label="{esc(spoken)}">{bar}</div>'
        f'<div class="tt-legend">{keys}</div></div>'
    )


def _calibration(evaluation: Evaluation) -> str:
    found = [(system, system.scores.calibration) for system in (evaluation.base, evaluation.tuned) if system]
    if not any(bins for _, bins in found):
        return ""
    lines = [
        (system_name(system), "validation" if system.name == TUNED else "train", bins)
        for system, bins in found
    ]
    sure = _when_sure(evaluation.tuned.scores.calibration if evaluation.tuned else ())
    remark = muted(sure) if sure else ""
    return f"<div>{reliability_chart(lines, title=text('compare.reliability'))}{remark}</div>"


def _when_unsure(evaluation: Evaluation) -> str:
    drawn = _calibration(evaluation) + _coverage(evaluation)
    return fold(text("compare.sure_title"), f'<div class="tt-two tt-charts">{drawn}</div>') if drawn else ""


def _coverage(evaluation: Evaluation) -> str:
    """Draw coverage without unsure answers, and the results of the chosen thresholds."""
    if not evaluation.coverage:
        return ""
    chart = coverage_chart(evaluation.coverage, title=text("compare.coverage"))
    lines = "".join(f"<li>{esc(_selective(one))}</li>" for one in evaluation.selective)
    listed = f'<ul class="tt-notes">{lines}</ul>' if lines else ""
    return f"<div>{chart}{listed}</div>"


def _selective(one: Selective) -> str:
    wanted = text.percent(one.wanted, 0)
    if one.threshold is None or one.right is None:
        return text("compare.no_threshold", wanted=wanted)
    return text(
        "compare.selective",
        wanted=wanted,
        threshold=text.percent(one.threshold, 0),
        answered=text.score(one.answered),
        right=text.score(one.right),
    )


def _when_sure(bins: Sequence[CalibrationBin]) -> str:
    sure = [each for each in bins if each.confidence >= _SURE]
    n = sum(each.n for each in sure)
    if not n:
        return ""
    return text(
        "compare.when_sure",
        sure=text.percent(sum(each.confidence * each.n for each in sure) / n, 0),
        right=text.percent(sum(each.accuracy * each.n for each in sure) / n, 0),
        n=text.number(n),
    )


def _matrices(evaluation: Evaluation) -> str:
    sides = [
        (text(f"compare.{name}"), side.scores.confusion_matrix)
        for name, side in (("base", evaluation.base), ("tuned", evaluation.tuned))
        if side and len(side.scores.confusion_matrix) == len(evaluation.labels) > 0
    ]
    drawn = "".join(
        _matrix(text("compare.matrix", name=name), evaluation.labels, [_shares(matrix)], [matrix])
        for name, matrix in sides
    )
    if len(sides) == 2:
        shares = [_shares(matrix) for _, matrix in sides]
        drawn += _matrix(text("compare.matrix_change"), evaluation.labels, shares, [])
    return drawn


def _shares(matrix: Sequence[Sequence[int]]) -> list[list[float]]:
    return [[count / (sum(counts) or 1) for count in counts] for counts in matrix]


def _matrix(
    caption: str,
    labels: Sequence[str],
    shares: Sequence[Sequence[Sequence[float]]],
    counted: Sequence[Sequence[Sequence[int]]],
) -> str:
    """Draw a matrix of row shares with counts; of two, the second minus the first in points."""
    head = "".join(f'<th scope="col">{esc(text.label(label))}</th>' for label in labels)
    rows = ""
    for line, label in enumerate(labels):
        cells = ""
        for column in range(len(labels)):
            share = shares[-1][line][column] - (shares[0][line][column] if len(shares) == 2 else 0.0)
            written = text.percent(share, 0) if counted else text.points(share)
            count = f"<small>{text.number(counted[0][line][column])}</small>" if counted else ""
            css = "hit" if line == column else ""
            cells += f'<td class="{css}" style="--heat:{abs(share):.3f}">{esc(written)}{count}</td>'
        rows += f'<tr><th scope="row">{esc(text.label(label))}</th>{cells}</tr>'
    return (
        f'<div><h3>{esc(caption)}</h3><p class="muted small">{esc(text("compare.matrix_how"))}</p>'
        f'<div class="tt-matrix-box" tabindex="0" role="region" aria-label="{esc(caption)}">'
        f'<table class="tt-matrix"><thead><tr><td style="background:none"></td>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></div>"
    )


def found_among(rows: Sequence[Disagreement], only: str, search: str = "") -> list[Disagreement]:
    """Return the rows of a filter ("all", "tuned", "base", "neither") and a search, surest mistakes first.

    Texts with broken characters come last.
    """

    def surest(one: Disagreement) -> tuple[bool, float]:
        wrong = [side for side in (one.base, one.tuned) if side.label != one.label]
        return _is_damaged(one.text), -max((max(side.probabilities) for side in wrong), default=0.0)

    query = search.strip().casefold()
    kept = [one for one in rows if only in ("all", one.right) and query in one.text.casefold()]
    return sorted(kept, key=surest)


@lru_cache(maxsize=20_000)
def _is_damaged(written: str) -> bool:
    return mend(written).damaged


def disagreements(
    rows: Sequence[Disagreement], labels: Sequence[str], *, only: str, most: int, search: str = ""
) -> str:
    """Draw the test tweets on which base and tuned disagree, as `found_among` finds them."""
    if not rows:
        return page(empty(text("compare.no_disagreements"), text("compare.no_disagreements_next")))
    found = found_among(rows, only, search)
    places = {label: place for place, label in enumerate(labels)}

    def chip(name: str, label: str, more: str = "") -> str:
        """Draw a cell's label; on narrow screens its column's name stands before it."""
        drawn = label_chip(label, places.get(label, 0))
        return f'<span class="k">{esc(text(f"compare.{name}"))}</span>{drawn}{more}'

    def side(name: str, answer: Answer, truth: str) -> str:
        share = f' <span class="interval">{esc(text.percent(max(answer.probabilities), 0))}</span>'
        return chip(name, answer.label, share + (" ✓" if answer.label == truth else " ✗"))

    drawn = [
        row(
            "",
            [
                (button(one.text, action="try", value=one.text, css="link"), "text"),
                (chip("true", one.label), "chips"),
                (side("base", one.base, one.label), "chips"),
                (side("tuned", one.tuned, one.label), "chips"),
            ],
        )
        for one in found[:most]
    ]
    head = [(text(f"compare.{name}"), "") for name in ("tweet", "true", "base", "tuned")]
    shown = text("compare.shown", shown=text.number(len(drawn)), n=text.number(len(found)))
    return page(
        table(head, drawn, caption=text("compare.disagree"), css="tt-cards")
        + f'<p class="muted small tt-shown">{esc(shown)}</p>'
    )
