"""Charts as HTML: an SVG that stretches with its box, under labels that keep their size.

    line_chart([Series("validation", "validation", [(63, 0.66), (126, 0.61)])], title="Loss")

Colours are classes of theme.css, which handles light and dark. For a screen reader a chart is an image whose
name holds its last values. Knows nothing about runs or feeds.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from inference.common.intervals import Interval
from inference.selective import CoveragePoint
from training.evaluate.scores import TUNED, CalibrationBin, Evaluation, System
from ui.html import esc, label_class
from ui.translations import text

FEW = 10
"""A bar or a dot of fewer posts or answers is drawn pale."""
_MOST_TOOLTIPS = 24
"""About how many points of a line without dots have a tooltip."""
_WIDTH, _HEIGHT = 1000.0, 100.0  # units of the drawing, not pixels: it is stretched
_QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high`: its ticks, and how values are written."""

    low: float
    high: float
    ticks: Sequence[float]
    write: Callable[[float], str]
    log: bool = False
    exact: Callable[[float], str] | None = None
    """How a point's value is written, if not like a tick's."""

    def at_point(self, value: float) -> str:
        return (self.exact or self.write)(value)

    def place(self, value: float) -> float:
        """Return the position of a value: 0 at the low end, 1 at the high end."""
        low, high, value = (math.log(each) if self.log else each for each in (self.low, self.high, value))
        return (value - low) / ((high - low) or 1.0)


@dataclass(frozen=True)
class Series:
    """A line: its name, its class in theme.css (tt-s-…), its points, and how it is drawn."""

    name: str
    css: str
    points: Sequence[tuple[float, float]]
    dots: bool = False
    thin: bool = False
    dashed: bool = False
    alone: bool = False
    """Dots only, no line between them."""
    band: Sequence[tuple[float, float]] = ()
    """The interval of each point, (low, high)."""
    tooltips: Sequence[str] = ()
    """The tooltip of each point; by default the line's name and the point's values."""


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_last: float = 0,
    percent: bool = False,
    levels: Sequence[tuple[float, str]] = (),
) -> str:
    """Draw lines over a common x axis from 0 to the last x, or to `x_last` if that is larger.

    `levels`: (value, class) of dashed horizontal lines.
    """
    drawn = [line for line in series if line.points]
    if not drawn:
        return ""
    right = max([x_last, *(line.points[-1][0] for line in drawn)]) or 1
    x = Axis(0, right, [tick for tick in nice_ticks(0, right, most=5) if tick <= right], text.short)
    values = [y for line in drawn for _, y in line.points] + [level for level, _ in levels]
    return xy_chart(drawn, x=x, y=nice_axis(values, percent=percent), title=title, levels=levels)


def nice_axis(values: Sequence[float], *, percent: bool = False) -> Axis:
    """Return an axis with round ticks that spans all values."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    ticks = nice_ticks(min(finite), max(finite), most=4)
    digits = _digits(ticks)
    if not percent:
        return Axis(ticks[0], ticks[-1], ticks, text.short)
    return Axis(ticks[0], ticks[-1], ticks, lambda value: text.percent(value, digits), exact=text.percent)


def _digits(shares: Sequence[float]) -> int:
    """Return how many decimals these shares need as percent."""
    return 0 if all(abs(100 * share - round(100 * share)) < 1e-6 for share in shares) else 1


def xy_chart(
    series: Sequence[Series],
    *,
    x: Axis,
    y: Axis,
    title: str,
    levels: Sequence[tuple[float, str]] = (),
    marks: Sequence[tuple[float, str]] = (),
    spoken: str = "",
) -> str:
    """Draw lines and dots.

    `levels` and `marks`: (value, class) of dashed horizontal and vertical lines. `spoken`: what a screen
    reader says behind the title; by default each line's last value.
    """
    body, labels = _axes(x, y)
    dots = ""
    for value, css in levels:
        at = _HEIGHT * (1 - y.place(value))
        body += f'<line class="line dashed tt-s-{css}" x1="0" x2="{_WIDTH:.0f}" y1="{at:.2f}" y2="{at:.2f}"/>'
    for value, css in marks:
        at = _WIDTH * x.place(value)
        body += (
            f'<line class="line dashed tt-s-{css}" x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{_HEIGHT:.0f}"/>'
        )
    for line in series:
        body += _drawn(line, x, y)
        dots += _dots(line, x, y)
    last = spoken or ", ".join(
        f"{line.name} {y.at_point(line.points[-1][1])}" for line in series if line.points and not line.thin
    )
    return _frame(body, labels + dots, name=f"{title}: {last}")


def _axes(x: Axis, y: Axis) -> tuple[str, str]:
    """Draw the horizontal lines of a grid, and the ticks of both axes."""
    grid, ticks = "", ""
    for tick in y.ticks:
        css, at = ("grid" if y.place(tick) else "axis"), (1 - y.place(tick)) * _HEIGHT
        grid += f'<line class="{css}" x1="0" x2="{_WIDTH:.0f}" y1="{at:.2f}" y2="{at:.2f}"/>'
        written = esc(y.write(tick))
        ticks += f'<span class="tick y" style="bottom:{100 * y.place(tick):.2f}%">{written}</span>'
    for tick in x.ticks:
        at = x.place(tick)
        css = " first" if at < 0.02 else " last" if at > 0.98 else ""
        ticks += f'<span class="tick x{css}" style="left:{100 * at:.2f}%">{esc(x.write(tick))}</span>'
    return grid, ticks


def _of_shares(ticks: Sequence[float] = (0.0, 0.5, 1.0)) -> Axis:
    return Axis(0, 1, ticks, lambda share: text.percent(share, 0))


def _of_time(ago: str) -> Axis:
    """Return an axis until now, whose left end is named `ago`."""
    return Axis(0, 1, (0, 1), lambda end: text("live.now") if end else ago)


def _drawn(line: Series, x: Axis, y: Axis) -> str:
    def path(points: Sequence[tuple[float, float]]) -> str:
        placed = [(x.place(at), y.place(value)) for at, value in points if math.isfinite(value)]
        return " ".join(f"{a * _WIDTH:.1f},{(1 - b) * _HEIGHT:.2f}" for a, b in placed)

    body = ""
    if line.band:
        lower, upper = (
            [(p[0], b[end]) for p, b in zip(line.points, line.band, strict=True)] for end in (0, 1)
        )
        body += f'<polygon class="band tt-s-{line.css}" points="{path([*upper, *reversed(lower)])}"/>'
    if not line.alone:
        how = f"{'thin ' if line.thin else ''}{'dashed ' if line.dashed else ''}tt-s-{line.css}"
        body += f'<polyline class="line {how}" points="{path(line.points)}"/>'
    return body


def _dots(line: Series, x: Axis, y: Axis) -> str:
    """Draw the dots, each with a tooltip; a line without dots gets some invisible ones."""
    if line.thin:
        return ""
    seen = line.dots or line.alone
    step = 1 if seen else max(1, len(line.points) // _MOST_TOOLTIPS)
    tooltips = line.tooltips or [
        f"{line.name}, {x.at_point(at)}: {y.at_point(value)}" for at, value in line.points
    ]
    css = line.css if seen else f"{line.css} unseen"
    return "".join(
        _dot(x.place(at), y.place(value), css, tooltips[place])
        for place, (at, value) in enumerate(line.points)
        if math.isfinite(value) and place % step == 0
    )


def share_chart(
    windows: Sequence[Sequence[int]], labels: Sequence[str], *, slots: int, title: str, ago: str
) -> str:
    """Draw each label's share as one stacked bar a window, newest at the right; `ago` names the left end.

    The number of posts stands above the bars; bars of fewer than FEW posts are pale.
    """
    width, body, numbers = _WIDTH / slots, "", ""
    for back, window in enumerate(reversed(windows[-slots:])):
        total, top = sum(window), _HEIGHT
        if total and back % (1 + slots // 13) == 0:
            at = 100 - 100 * (back + 0.56) / slots
            numbers += f'<span class="tick n" style="left:{at:.2f}%">{esc(text.number(total))}</span>'
        for index, count in enumerate(window):
            height = _HEIGHT * count / total if total else 0.0
            top -= height
            if count:
                body += (
                    f'<rect class="{label_class(labels[index], index)}" '
                    f'style="fill:var(--c);opacity:{0.45 if total < FEW else 1}" '
                    f'x="{_WIDTH - (back + 1) * width:.1f}" y="{top:.2f}" width="{width * 0.88:.1f}" '
                    f'height="{height:.2f}"><title>n = {text.number(total)}</title></rect>'
                )
    grid, ticks = _axes(_of_time(ago), _of_shares())
    return _frame(grid + body, ticks + numbers, name=title)


def band_chart(
    bands: Sequence[Interval | None],
    *,
    slots: int,
    low: float,
    high: float,
    title: str,
    ago: str,
    percent: bool = False,
) -> str:
    """Draw shares with their intervals over time, newest at the right; None leaves a gap.

    `low` and `high`: the ends of the y axis, written in points or `percent`; `ago` names the left end.
    """
    write = partial(text.percent, digits=0) if percent else text.points
    x, y = _of_time(ago), Axis(low, high, (low, (low + high) / 2, high), write)
    body, ticks = _axes(x, y)
    for run in _runs(list(reversed(bands[-slots:]))):
        points = [(1 - (back + 0.5) / slots, band.value) for back, band in run]
        if len(run) > 1:
            body += _drawn(Series("", "validation", points, band=[(b.low, b.high) for _, b in run]), x, y)
            continue
        [(at, value)], [(_, band)] = points, run
        top, bottom = (_HEIGHT * (1 - y.place(end)) for end in (band.high, band.low))
        across = f'x1="{at * _WIDTH:.1f}" x2="{at * _WIDTH:.1f}"'
        body += f'<line class="whisker" {across} y1="{top:.2f}" y2="{bottom:.2f}"/>'
        ticks += _dot(at, y.place(value), "validation")
    return _frame(body, ticks, name=title)


def system_name(system: System) -> str:
    """Return the name of an evaluation's system as the page shows it."""
    key = f"system.{system.name.replace(' ', '_').replace('-', '_')}"
    return text(key) if text.has(key) else system.name


def systems_chart(evaluation: Evaluation, *, title: str) -> str:
    """Draw the accuracy of all systems of an evaluation on one axis."""
    rows = [
        (system_name(each), each.scores.accuracy, "validation" if each.name == TUNED else "train")
        for each in evaluation.systems
    ]
    return dot_chart(rows, title=title)


def dot_chart(rows: Sequence[tuple[str, Interval, str]], *, title: str) -> str:
    """Draw (name, score, class) rows with their intervals on one axis from 0 to 1; classes are tt-s-…."""
    drawn = ""
    for name, score, css in rows:
        low, high = (min(max(end, 0.0), 1.0) for end in (score.low, score.high))
        drawn += (
            f'<span class="name">{esc(name)}</span><span class="track tt-s-{css}">'
            f'<i class="whisker" style="left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"></i>'
            f'<i class="dot" style="left:{100 * score.value:.1f}%"></i></span>'
            f'<span class="num">{esc(text.percent(score.value))} '
            f'<span class="interval">({esc(text.interval(score))})</span></span>'
        )
    spoken = ", ".join(f"{name} {text.percent(score.value)}" for name, score, _ in rows)
    return f'<div class="tt-dots" role="img" aria-label="{esc(f"{title}: {spoken}")}">{drawn}</div>'


def reliability_chart(lines: Sequence[tuple[str, str, Sequence[CalibrationBin]]], *, title: str) -> str:
    """Draw accuracy against confidence for each (name, class, bins); the diagonal is perfect calibration."""
    x, y = _of_shares(_QUARTERS), _of_shares()
    body, ticks = _axes(x, y)
    body += f'<line class="grid diagonal" x1="0" y1="{_HEIGHT}" x2="{_WIDTH:.0f}" y2="0"/>'
    dots, spoken = "", []
    for name, css, bins in lines:
        if not bins:
            continue
        enough = [b for b in bins if b.n >= FEW]  # a line through one or two answers would mislead
        body += _drawn(Series(name, css, [(b.confidence, b.accuracy) for b in enough]), x, y)
        for each in bins:
            tooltip = f"{name}: {_sure_right(each.confidence, each.accuracy)} (n = {text.number(each.n)})"
            dots += _dot(each.confidence, each.accuracy, css if each.n >= FEW else f"{css} few", tooltip)
        n = sum(each.n for each in bins)
        sure, right = (sum(getattr(b, key) * b.n for b in bins) / n for key in ("confidence", "accuracy"))
        spoken.append(f"{name} {_sure_right(sure, right)}")
    keys = legend([(f"tt-s-{css}", name) for name, css, bins in lines if bins])
    return titled(title, keys, _frame(body, ticks + dots, name=f"{title}: {', '.join(spoken)}"))


def coverage_chart(points: Sequence[CoveragePoint], *, title: str) -> str:
    """Draw the accuracy of the answers, with its interval, against the share of rows that are answered."""
    low = nice_ticks(min(point.right.low for point in points), 1.0, most=4)[0]
    line = Series(
        "",
        "validation",
        [(point.answered.value, point.right.value) for point in points],
        dots=True,
        band=[(point.right.low, point.right.high) for point in points],
        tooltips=[
            text("compare.coverage_at", threshold=text.percent(point.threshold, 0), **_shares(point))
            for point in points
        ],
    )
    levels = (low, (low + 1) / 2, 1.0)
    y = Axis(low, 1, levels, partial(text.percent, digits=_digits(levels)))
    ends = ", ".join(text("compare.coverage_is", **_shares(point)) for point in (points[0], points[-1]))
    return titled(title, "", xy_chart([line], x=_of_shares(_QUARTERS), y=y, title=title, spoken=ends))


def _shares(point: CoveragePoint) -> dict[str, str]:
    return {key: text.percent(getattr(point, key).value, 1) for key in ("answered", "right")}


def _sure_right(sure: float, right: float) -> str:
    return f"{text.percent(sure, 0)} → {text.percent(right, 0)}"


def _runs(bands: Sequence[Interval | None]) -> list[list[tuple[int, Interval]]]:
    """Return the runs of bands without a gap, each as (place, band) pairs."""
    runs: list[list[tuple[int, Interval]]] = [[]]
    for place, band in enumerate(bands):
        if band:
            runs[-1].append((place, band))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def histogram(counts: Sequence[int], edges: Sequence[float], *, title: str) -> str:
    """Draw a histogram; there is one more edge than counts."""
    ticks = nice_ticks(0, max([1, *counts]), most=3)
    high, width, body, dots = ticks[-1], _WIDTH / max(len(counts), 1), "", ""
    for index, count in enumerate(counts):
        height = _HEIGHT * count / high
        body += (
            f'<rect style="fill:var(--tt-accent)" x="{index * width:.1f}" y="{_HEIGHT - height:.2f}" '
            f'width="{width * 0.9:.1f}" height="{height:.2f}"/>'
        )
        tooltip = f"{text.number(edges[index])} – {text.number(edges[index + 1])}: {text.number(count)}"
        dots += _dot((index + 0.45) / len(counts), count / high, "validation unseen", tooltip)
    left, right = edges[0], edges[-1]
    marks = [tick for tick in nice_ticks(left, right, most=5) if left <= tick <= right]
    grid, labels = _axes(Axis(left, right, marks, text.number), Axis(0, high, ticks, text.number))
    return _frame(grid + body, labels + dots, name=title)


def nice_ticks(low: float, high: float, *, most: int) -> list[float]:
    """Return round numbers that span `low` to `high` in at most `most` + 1 steps."""
    if high - low < 1e-9:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    rough = (high - low) / most
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def legend(entries: Sequence[tuple[str, str]], *, square: bool = False) -> str:
    """Name the colours of a chart: (class, name) pairs."""
    shape = ' class="square"' if square else ""
    return (
        '<div class="tt-legend">'
        + "".join(f'<span class="{css}"><i{shape}></i>{esc(name)}</span>' for css, name in entries)
        + "</div>"
    )


def titled(title: str, keys: str, chart: str) -> str:
    """Put a title and a legend over a chart."""
    return (
        f'<div><div class="tt-row" style="margin-bottom:4px"><h3 class="grow">{esc(title)}</h3>{keys}</div>'
        f"{chart}</div>"
    )


def _frame(body: str, labels: str, *, name: str) -> str:
    return (
        f'<div class="tt-chart" role="img" aria-label="{esc(name)}"><div class="plot">'
        f'<svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" preserveAspectRatio="none" aria-hidden="true">'
        f"{body}</svg>{labels}</div></div>"
    )


def _dot(x: float, y: float, css: str, tooltip: str = "") -> str:
    """Draw a dot; its tooltip opens on hover or tap, towards the middle of the chart."""
    data = f' data-tooltip="{esc(tooltip)}"' if tooltip else ""
    css += " left" if x > 0.5 else ""
    return f'<span class="dot tt-s-{css}" style="left:{100 * x:.2f}%;bottom:{100 * y:.2f}%"{data}></span>'
