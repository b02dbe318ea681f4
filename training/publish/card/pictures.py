"""Charts as PNG files, by matplotlib: confusion matrix, calibration, learning curves.

    confusion_picture([[17, 2], [3, 14]], ("negative", "positive"))       # bytes

    def draw(figure):                                  # any other chart, in the same style
        axes = plain_axes(figure.subplots(), x="rows", y="accuracy")
        axes.plot(rows, accuracy, color=BLUE)
    png(draw, width=640, height=300)

The same numbers give the same bytes: no date, no version, none of the user's settings of matplotlib. White
paper, so that they can be read on a dark page too. matplotlib takes a second to load, so it is only loaded
when there is something to draw.
"""

import functools
import io
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ParamSpec

import numpy as np

from training.evaluate.scores import CalibrationBin
from training.publish.card.facts import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

P = ParamSpec("P")
INK, FAINT, GRID = "#1f2328", "#656d76", "#dee2e6"
BLUE, ORANGE, GREY = "#005ab5", "#cc5500", "#8c959f"
"""Colour-blind people can tell them apart."""
DENSITY = 2
"""Pixels of the file for each pixel of the page, for dense screens."""
COLOURS = 64
"""Of a file: a palette takes a third of the bytes that matplotlib's own would."""
MOST_CELLS_WITH_NUMBERS = 12
"""Labels up to which a confusion matrix has its counts written in."""
_SETTINGS = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "text.parse_math": False,  # a label may hold a $
}


def png(draw: Callable[["Figure"], None], *, width: int, height: int) -> bytes:
    """Return what a function draws on a figure as a PNG; width and height are the page's pixels."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it talks of its font cache
    import matplotlib as mpl  # noqa: PLC0415  (a second)
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    with mpl.rc_context():
        mpl.rcdefaults()  # not the user's
        mpl.rcParams.update(_SETTINGS)  # type: ignore[arg-type]  # its type lists every key
        figure = Figure(figsize=(width / 100, height / 100), dpi=100 * DENSITY, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        draw(figure)
        canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    image = Image.fromarray(pixels).convert("RGB")
    out = io.BytesIO()
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def plain_axes(axes: "Axes", *, x: str, y: str) -> "Axes":
    """Return axes with faint lines across, named, without a frame."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    return axes


def drawable(word: str, *, instead: str, most: int = 16) -> str:
    """Return a word, cut; `instead` where the font lacks one of its letters."""
    from matplotlib.font_manager import FontProperties, findfont, get_font  # noqa: PLC0415  (a second)

    shown = " ".join(word.split())
    known = get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap()
    if not shown or not all(character.isprintable() and ord(character) in known for character in shown):
        return instead
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def _once(draw: Callable[P, bytes]) -> Callable[P, bytes]:
    """Keep the last picture: a push fills its card twice with the same numbers, the second time stamped."""
    last: dict[str, bytes] = {}

    @functools.wraps(draw)
    def drawn(*given: P.args, **options: P.kwargs) -> bytes:
        numbers = repr((given, options))
        if (picture := last.get(numbers)) is None:
            picture = draw(*given, **options)
            last.clear()
            last[numbers] = picture
        return picture

    return drawn


@_once
def confusion_picture(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> bytes:
    """Return a confusion matrix: rows are true labels, the darker a cell the larger its share of the row.

    A label that the font can't write is shown as "#" and its place in the labels, from 1.
    """
    count = len(labels)
    cell = max(14, min(84, 560 // count))

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        shares = [[n / max(sum(row), 1) for n in row] for row in matrix]
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        names = [drawable(label, instead=f"#{place}") for place, label in enumerate(labels, 1)]
        size = 9.5 if cell >= 26 else 7
        axes.set_xticks(range(count), names, rotation=0 if count <= 6 else 90, fontsize=size)
        axes.set_yticks(range(count), names, fontsize=size)
        axes.set(xlabel="predicted", ylabel="true")
        axes.xaxis.set_label_position("top")
        axes.tick_params(length=0, labelcolor=INK, top=True, labeltop=True, bottom=False, labelbottom=False)
        axes.spines[:].set_visible(False)
        for y, row in enumerate(matrix if count <= MOST_CELLS_WITH_NUMBERS else ()):
            for x, n in enumerate(row):
                share = shares[y][x]
                words = f"{n:,}\n{100 * share:.0f} %" if cell >= 56 else f"{n}"
                axes.text(x, y, words, ha="center", va="center", color="white" if share > 0.55 else INK)

    return png(draw, width=150 + cell * count, height=(70 if count <= 6 else 160) + cell * count)


@_once
def calibration_picture(tuned: Sequence[CalibrationBin], base: Sequence[CalibrationBin] = ()) -> bytes:
    """Return a reliability diagram: how often each is right against how sure it is, by bin.

    Dots grow with a bin's share of the rows.
    """

    def draw(figure: "Figure") -> None:
        axes = plain_axes(
            figure.subplots(), x="how sure it is (confidence)", y="how often it is right (accuracy)"
        )
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="ideal")
        for bins, name, colour in ((base, "base", ORANGE), (tuned, "fine-tuned", BLUE)):
            if not bins:
                continue
            total = sum(one.n for one in bins) or 1
            sure, right = [one.confidence for one in bins], [one.accuracy for one in bins]
            axes.plot(sure, right, color=colour, label=name)
            axes.scatter(sure, right, [20 + 260 * one.n / total for one in bins], color=colour, zorder=3)
        axes.set(xlim=(-0.02, 1.03), ylim=(-0.03, 1.05))
        _in_percent(axes.xaxis)
        _in_percent(axes.yaxis)
        _legend(axes)

    return png(draw, width=460, height=440)


@_once
def curves_picture(loss: Sequence[Point], validation: Mapping[str, Sequence[Point]]) -> bytes:
    """Return loss and validation scores over the epochs, one chart above the other.

    `validation`: points (epoch, value) by "loss", "accuracy" and "macro-F1"; each may be missing.
    """
    styles = {"accuracy": (BLUE, "-"), "macro-F1": (ORANGE, "--")}  # dashes: the two often lie on each other
    scores = [name for name in styles if validation.get(name)]

    def draw(figure: "Figure") -> None:
        charts = figure.subplots(2 if scores else 1, sharex=True, squeeze=False)[:, 0]
        axes = plain_axes(charts[0], x="" if scores else "epoch", y="loss")
        if loss:
            axes.plot(*zip(*loss, strict=True), color=GREY, label="training")
        if check := validation.get("loss"):
            axes.plot(*zip(*check, strict=True), color=BLUE, marker="o", markersize=4, label="validation")
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        _legend(axes)
        for name in scores:
            colour, line = styles[name]
            axes = plain_axes(charts[1], x="epoch", y="validation")
            epochs, values = zip(*validation[name], strict=True)
            axes.plot(epochs, values, line, color=colour, marker="o", markersize=4, label=name)
        if scores:
            _in_percent(axes.yaxis)
            _legend(axes)

    return png(draw, width=640, height=540 if scores else 300)


def _in_percent(axis: "Axis") -> None:
    axis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")


def _legend(axes: "Axes") -> None:
    """Name the lines above the chart, where no line runs."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, borderaxespad=0.2)
