"""The pictures of a model card: confusion matrix, calibration, learning curves; each a small PNG.

    draw_confusion([[17, 2], [3, 14]], ("negative", "positive"))       # bytes

Knows nothing about where the numbers come from.
"""

from collections.abc import Callable, Mapping, Sequence

from training.publish.card_facts import History
from training.publish.drawing import (
    BLUE,
    FAINT,
    GREY,
    GRID,
    INK,
    ORANGE,
    PAPER,
    Colour,
    Point,
    Sheet,
    blend,
    drawable,
)

Show = Callable[[float], str]
MOST_CELLS_WITH_NUMBERS = 12
"""Labels up to which a confusion matrix has its counts written in."""


def draw_confusion(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> bytes:
    """Return the confusion matrix as a PNG: rows are the true labels, colours the share of each row.

    A label that the font can't write is shown as "#" and its place in the labels, from 1.
    """
    count = len(labels)
    written = count <= MOST_CELLS_WITH_NUMBERS
    cell = max(14, min(84, 560 // count))
    names = [drawable(label, instead=f"#{place}") for place, label in enumerate(labels, 1)]
    left, top = 150, 60 if count <= 6 else 150
    sheet = Sheet(left + cell * count + 24, top + cell * count + 16)
    sheet.words((left, 16), "predicted", colour=FAINT)
    sheet.upright((14, top + cell * count / 2), "true", colour=FAINT)
    size = 13 if cell >= 26 else 9
    for place, name in enumerate(names):
        middle = place * cell + cell / 2
        sheet.words((left - 8, top + middle), name, anchor="rm", size=size)
        if count <= 6:
            sheet.words((left + middle, top - 12), name, anchor="mm", size=12)
        else:
            sheet.upright((left + middle, top - 60), name, size=size)
    for y, row in enumerate(matrix):
        total = max(sum(row), 1)
        for x, n in enumerate(row):
            share = n / total
            corner = (left + x * cell, top + y * cell)
            colour = BLUE if x == y else ORANGE
            sheet.box(
                corner, (corner[0] + cell - 2, corner[1] + cell - 2), fill=blend(0.06 + 0.94 * share, colour)
            )
            if written:
                _cell_words(sheet, corner, cell, n, share)
    return sheet.png()


def _cell_words(sheet: Sheet, corner: Point, cell: float, n: int, share: float) -> None:
    x, y = corner[0] + cell / 2 - 1, corner[1] + cell / 2
    ink = PAPER if share > 0.72 else INK
    if cell >= 56:
        sheet.words((x, y - 9), f"{n:,}", colour=ink, size=16, anchor="mm")
        sheet.words((x, y + 11), f"{100 * share:.0f} %", colour=ink, size=12, anchor="mm")
    else:
        sheet.words((x, y), f"{n}", colour=ink, size=11, anchor="mm")


class _Chart:
    """Axes with ticks, and the way from values to pixels."""

    def __init__(
        self,
        sheet: Sheet,
        box: tuple[float, float, float, float],
        *,
        x: tuple[float, float],
        y: tuple[float, float],
    ) -> None:
        self.sheet, self.box, self.x, self.y = sheet, box, x, y

    def at(self, x: float, y: float) -> Point:
        left, top, right, bottom = self.box
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        return left + across * (right - left), bottom - up * (bottom - top)

    def axes(
        self,
        *,
        across: Sequence[float],
        up: Sequence[float],
        shown: Show,
        name: str,
        shown_across: Show = "{:g}".format,
    ) -> None:
        left, _, right, bottom = self.box
        for value in up:
            _, y = self.at(self.x[0], value)
            self.sheet.line([(left, y), (right, y)], colour=GRID)
            self.sheet.words((left - 7, y), shown(value), colour=FAINT, size=12, anchor="rm")
        for value in across:
            x, _ = self.at(value, self.y[0])
            self.sheet.line([(x, bottom), (x, bottom + 4)], colour=FAINT)
            self.sheet.words((x, bottom + 14), shown_across(value), colour=FAINT, size=12, anchor="mm")
        self.sheet.line([(left, bottom), (right, bottom)], colour=FAINT)
        self.sheet.words(((left + right) / 2, bottom + 34), name, colour=FAINT, size=12, anchor="mm")

    def curve(self, points: Sequence[Point], colour: Colour, *, width: float = 2, dots: bool = False) -> None:
        places = [self.at(*point) for point in points]
        self.sheet.line(places, colour=colour, width=width)
        if dots:
            for place in places:
                self.sheet.dot(place, colour=colour)


def draw_calibration(tuned: Sequence[Mapping[str, float]], base: Sequence[Mapping[str, float]] = ()) -> bytes:
    """Return the reliability diagram as a PNG: how often each is right against how sure it is.

    Each of the bins has "confidence", "accuracy" and "n"; dots grow with a bin's share of the rows.
    """
    sheet = Sheet(460, 440)
    chart = _Chart(sheet, (64, 44, 436, 372), x=(0.0, 1.0), y=(0.0, 1.0))
    ticks = [place / 5 for place in range(6)]
    chart.axes(
        across=ticks, up=ticks, shown=_percent, shown_across=_percent, name="how sure it is (confidence)"
    )
    sheet.words((64, 18), "how often it is right", colour=FAINT, size=12)
    sheet.dashes(chart.at(0, 0), chart.at(1, 1), colour=GREY)
    for bins, colour in ((base, ORANGE), (tuned, BLUE)):
        total = sum(one["n"] for one in bins) or 1
        chart.curve([(one["confidence"], one["accuracy"]) for one in bins], colour)
        for one in bins:
            radius = 3 + 9 * (one["n"] / total) ** 0.5
            sheet.dot(chart.at(one["confidence"], one["accuracy"]), colour=colour, radius=radius)
    _legend(sheet, (80, 428), [("fine-tuned", BLUE), *([("base", ORANGE)] if base else []), ("ideal", GREY)])
    return sheet.png()


def draw_curves(history: History) -> bytes:
    """Return loss and validation scores over the epochs as a PNG of two charts, one above the other."""
    loss, check = history.loss, history.curve("loss")
    scores = [
        (name, history.curve(key), colour)
        for name, key, colour in (("accuracy", "accuracy", BLUE), ("macro-F1", "macro_f1", ORANGE))
    ]
    shown = [(name, curve, colour) for name, curve, colour in scores if curve]
    last = max((x for curve in (loss, check) for x, _ in curve), default=1.0)
    across = _ticks(0.0, last)
    sheet = Sheet(640, 540 if shown else 300)
    losses = [y for curve in (loss, check) for _, y in curve]
    up = _ticks(0.0, max(losses, default=1.0))
    chart = _Chart(sheet, (64, 44, 616, 224), x=(0.0, last), y=(0.0, up[-1]))
    chart.axes(across=across, up=up, shown="{:g}".format, name="epoch")
    chart.curve(loss, GREY)
    chart.curve(check, BLUE, dots=True)
    sheet.words((14, 18), "loss", size=14)
    _legend(sheet, (90, 18), [("training", GREY), *([("validation", BLUE)] if check else [])])
    if shown:
        values = [y for _, curve, _ in shown for _, y in curve]
        up = _ticks(max(0.0, min(values) - 0.02), min(1.0, max(values) + 0.02))
        chart = _Chart(sheet, (64, 324, 616, 484), x=(0.0, last), y=(up[0], up[-1]))
        chart.axes(across=across, up=up, shown=_percent, name="epoch")
        for _, curve, colour in shown:
            chart.curve(curve, colour, dots=True)
        sheet.words((14, 296), "validation", size=14)
        _legend(sheet, (110, 296), [(name, colour) for name, _, colour in shown])
    return sheet.png()


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _legend(sheet: Sheet, place: Point, entries: Sequence[tuple[str, Colour]]) -> None:
    x, y = place
    for name, colour in entries:
        sheet.dot((x, y), colour=colour, radius=4)
        sheet.words((x + 10, y), name, size=12)
        x += 34 + 7 * len(name)


def _ticks(low: float, high: float) -> list[float]:
    """Return round values from below the lowest to above the highest, four to seven of them."""
    span = max(high - low, 1e-6)
    step = 1e-6
    for exponent in range(-6, 7):
        for round_step in (1, 2, 2.5, 5):
            step = round_step * 10.0**exponent
            if span / step <= 5:
                first, last = int(low // step), -int(-high // step)
                return [round(place * step, 9) for place in range(first, last + 1)]
    return [low, high]
