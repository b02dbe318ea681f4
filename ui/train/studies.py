"""Results of a search, a forecast, an adaptation, a study of forgetting or an audit: sentences and a chart.

    study(run)        # HTML, "" before there is a result

The charts show the same as the pictures in the run's folder, in the visitor's language and colours.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise

from inference.common.errors import TweetTuneError
from inference.common.text import one_line
from training.audit.findings import Audit
from training.runs.run import ADAPT, AUDIT, FORECAST, FORGETTING, TUNE, Run
from training.studies.adapt_order import Adapted
from training.studies.forecast_order import Forecast
from training.studies.forgetting_order import Forgetting
from training.studies.order import Search
from ui.html import bars, esc, fold, muted, notes, row, table
from ui.plots import Axis, Series, legend, nice_axis, titled, xy_chart
from ui.sentences import said
from ui.train.audit import audited
from ui.translations import text

Study = Search | Forecast | Adapted | Forgetting | Audit
_KINDS: dict[str, type[Study]] = {
    TUNE: Search,
    FORECAST: Forecast,
    ADAPT: Adapted,
    FORGETTING: Forgetting,
    AUDIT: Audit,
}
_COLOURS = ("validation", "second", "train", "third")


def study(run: Run) -> str:
    """Draw the result of a run that is no training, "" before there is one."""
    found = None
    with suppress(TweetTuneError, OSError):
        found = _KINDS[run.kind].read(run.path) if run.kind in _KINDS else None
    if not found:
        return ""
    if isinstance(found, Audit):
        return audited(found, run.id)
    first, *more = (said(sentence) for sentence in found.sentences())
    return f'<p class="tt-lead">{esc(first)}</p>{_chart(found)}{notes(more)}'


def _chart(found: Search | Forecast | Forgetting | Adapted) -> str:
    if isinstance(found, Search):
        return _search(found)
    if isinstance(found, Forecast):
        return _forecast(found)
    return _forgetting(found) if isinstance(found, Forgetting) else _adapted(found)


def _search(found: Search) -> str:
    """Draw the trials' scores in order with the best so far, and the importance of each setting."""
    title = text("study.trials")

    def scores(state: str) -> list[tuple[float, float]]:
        return [(one.number, one.macro_f1) for one in found.trials if one.state == state and one.macro_f1]

    complete = scores("complete")
    best = [(at, max(score for _, score in complete[: place + 1])) for place, (at, _) in enumerate(complete)]
    steps = [step for (at, score), (then, _) in pairwise(best) for step in ((at, score), (then, score))]
    seeds = [(one.number, score) for one in found.trials for score in one.by_seed]
    lines = [
        Series(text("study.best"), "second", [*steps, *best[-1:]], thin=True),
        Series(text("study.pruned"), "train", scores("pruned"), alone=True),
        Series(text("study.seeds"), "third", seeds, alone=True),
        Series(text("study.complete"), "validation", complete, alone=True),
    ]
    drawn = [line for line in lines if line.points]
    y = nice_axis([score for line in drawn for _, score in line.points], percent=True)
    last = max(one.number for one in found.trials)
    ticks = sorted({round(last * part / 4) for part in range(5)})
    keys = legend([(f"tt-s-{line.css}", line.name) for line in drawn])
    chart = titled(
        title, keys, xy_chart(drawn, x=Axis(-0.5, last + 0.5, ticks, text.short), y=y, title=title)
    )
    shares = sorted(found.importances.items(), key=lambda item: -item[1])
    rows = [(text(f"setting.{name}"), 0, share, text.percent(share, 0)) for name, share in shares]
    importances = bars(rows) if rows else f'<p class="muted">{esc(text("study.too_few"))}</p>'
    return f'<div class="tt-two tt-charts">{chart}{titled(text("study.importances"), "", importances)}</div>'


def _forecast(found: Forecast) -> str:
    """Draw the tiny runs, the curve through their means with its interval, and the forecasts."""
    title = text("study.forecast")
    runs = [(float(one.labels), score) for one in found.points for score in one.accuracies]
    means = [(float(one.labels), one.mean) for one in found.points]
    curve = [(float(one.labels), one.accuracy.value) for one in found.curve]
    band = [(one.accuracy.low, one.accuracy.high) for one in found.curve]
    targets = [(float(one.labels), one.accuracy.value) for one in found.targets]
    tooltips = [
        text(
            "study.target",
            n=text.number(one.labels),
            share=text.percent(one.accuracy.value),
            interval=text.interval(one.accuracy),
        )
        for one in found.targets
    ]
    lines = [
        Series(text("study.curve"), "second", curve, band=band),
        Series(text("study.runs"), "train", runs, alone=True),
        Series(text("study.means"), "validation", means, alone=True),
        Series(text("study.targets"), "second", targets, alone=True, tooltips=tooltips),
    ]
    drawn = [line for line in lines if line.points]
    labels = [at for line in drawn for at, _ in line.points]
    y = nice_axis(
        [*(v for line in drawn for _, v in line.points), *(end for ends in band for end in ends)],
        percent=True,
    )
    ticks = [one.labels for one in found.points[::2]] + [one.labels for one in found.targets[-1:]]
    x = Axis(min(labels) / 1.1, max(labels) * 1.1, ticks, text.number, log=True)
    keys = legend([(f"tt-s-{line.css}", line.name) for line in drawn[:3]])
    return titled(title, keys, xy_chart(drawn, x=x, y=y, title=title))


def _adapted(found: Adapted) -> str:
    """Draw the bits of both kinds of text before and after, and how both models go on after some openings."""
    kinds = {"domain": found.domain, "general": found.general}
    most = max(value for bits in kinds.values() for value in (bits.before, bits.after))
    rows = [
        (f"{text(f'study.{kind}')}, {text(f'study.{when}')}", place, value / most, text.number(value, 3))
        for kind, bits in kinds.items()
        for place, (when, value) in enumerate((("before", bits.before), ("after", bits.after)))
    ]
    chart = titled(text("study.bits"), "", bars(rows))
    names = ("opening", "before", "after")
    said_by = [
        row("", [(esc(one_line(part)), "text") for part in (one.prompt, one.before, one.after)])
        for one in found.generations
    ]
    title = text("study.generations")
    head = [(text(f"study.{name}"), "") for name in names]
    return chart + (fold(title, table(head, said_by, caption=title)) if said_by else "")


def _forgetting(found: Forgetting) -> str:
    """Draw each run's dial, from base to fine-tuned: accuracy against bits of general text."""
    title, lines, marks, steps = text("study.dial"), [], [], []
    for place, one in enumerate(found.runs):
        css = _COLOURS[place % len(_COLOURS)]
        tooltips = [
            text(
                "study.at",
                share=text.percent(point.share, 0),
                right=text.percent(point.accuracy),
                bits=text.number(point.bits, 3),
            )
            for point in one.points
        ]
        steps.append([f"{said(one.run)}: {each}" if found.runs[1:] else each for each in tooltips])
        points = [(point.bits, point.accuracy) for point in one.points]
        lines.append(Series(said(one.run), css, points, dots=True, tooltips=tooltips))
        marks.append((one.general.before, css))
    x = nice_axis([*(at for line in lines for at, _ in line.points), *(at for at, _ in marks)])
    y = nice_axis([value for line in lines for _, value in line.points], percent=True)
    keys = legend([(f"tt-s-{line.css}", line.name) for line in lines])
    how = muted(text("study.dial_how"))
    chart = titled(title, keys, xy_chart(lines, x=x, y=y, title=title, marks=marks))
    return chart + how + _dial([" · ".join(step) for step in zip(*steps, strict=False)])


def _dial(steps: Sequence[str]) -> str:
    """Draw a slider from the base to the fine-tuned model that says what each step gives: see ui/page.js."""
    last = len(steps) - 1
    return (
        f'<label class="tt-dial"><span class="small">{esc(text("study.turn"))}</span>'
        f'<input type="range" min="0" max="{last}" value="{last}" data-steps="{esc(json.dumps(steps))}">'
        f"<output>{esc(steps[last])}</output></label>"
    )
