"""The pictures of studies, as PNG.

search_picture(found), forecast_picture(found), adapted_picture(found), forgetting_picture(found)
audit_picture(found)
"""

from collections import Counter
from typing import TYPE_CHECKING

from training.audit.findings import Audit
from training.publish.card.pictures import BLUE, GREY, INK, ORANGE, drawable, plain_axes, png
from training.studies.adapt_order import Adapted
from training.studies.forecast_order import Forecast
from training.studies.forgetting_order import Forgetting
from training.studies.order import Search

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_BARS = 12


def search_picture(found: Search) -> bytes:
    """Return the trials' scores in their order with the best so far, and what each setting explains."""

    def draw(figure: "Figure") -> None:
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        left.xaxis.get_major_locator().set_params(integer=True)
        axes = plain_axes(left, x="trial", y="validation macro-F1, %")
        for state, colour in (("complete", BLUE), ("pruned", GREY)):
            some = [one for one in found.trials if one.state == state and one.macro_f1 is not None]
            scores = [100 * (one.macro_f1 or 0.0) for one in some]
            axes.plot([one.number for one in some], scores, "o", color=colour, markersize=5, label=state)
        complete = [one for one in found.trials if one.state == "complete"]
        best = [max(100 * (two.macro_f1 or 0.0) for two in complete[: n + 1]) for n in range(len(complete))]
        numbers = [one.number for one in complete]
        axes.step(numbers, best, where="post", color=ORANGE, linewidth=1.5, label="best so far")
        for one in found.trials:
            if one.by_seed:
                axes.plot([one.number] * len(one.by_seed), [100 * s for s in one.by_seed], "x", color=INK)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, borderaxespad=0.2, ncols=3)
        bars = plain_axes(right, x="share of the spread explained, %", y="")
        names = list(found.importances)[::-1]
        bars.barh(names, [100 * found.importances[name] for name in names], color=BLUE, height=0.6)
        if not names:
            bars.set(xticks=[], yticks=[])
            bars.set_xlabel("too few trials to tell which setting matters")

    return png(draw, width=860, height=340)


def forecast_picture(found: Forecast) -> bytes:
    """Return the tiny runs, the mean curve through them with its interval, and what is forecast."""

    def draw(figure: "Figure") -> None:
        axes = plain_axes(figure.subplots(), x="training labels", y="validation accuracy, %")
        axes.set_xscale("log")
        for one in found.points:
            scores = [100 * score for score in one.accuracies]
            axes.plot([one.labels] * len(scores), scores, "o", color=GREY, markersize=3.5)
            axes.plot([one.labels], [100 * one.mean], "o", color=BLUE, markersize=6)
        labels = [one.labels for one in found.curve]
        low, high = ([100 * getattr(one.accuracy, end) for one in found.curve] for end in ("low", "high"))
        axes.fill_between(labels, low, high, color=ORANGE, alpha=0.2, linewidth=0)
        axes.plot(labels, [100 * one.accuracy.value for one in found.curve], color=ORANGE, linewidth=1.5)
        for target in found.targets:
            value = 100 * target.accuracy.value
            axes.plot([target.labels], [value], "D", color=ORANGE, markersize=6)
            axes.annotate(
                f"{value:.1f} %",
                (target.labels, value),
                (-6, 8),
                textcoords="offset points",
                ha="right",
                color=INK,
            )
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set_xticks(
            [one.labels for one in found.points[::2]] + [one.labels for one in found.targets[-1:]]
        )
        axes.xaxis.set_minor_formatter(lambda value, _: "")
        if found.refused:
            axes.set_title(f"no forecast: {found.refused}", fontsize=9, color=INK)

    return png(draw, width=760, height=400)


def adapted_picture(found: Adapted) -> bytes:
    """Return the bits per character of held-out texts of the corpus and of general text, before and after."""

    def draw(figure: "Figure") -> None:
        axes = plain_axes(figure.subplots(), x="bits per character, fewer is better", y="")
        texts = {"general text": found.general, "held-out texts\nof the corpus": found.domain}
        for place, bits in enumerate(texts.values()):
            for height, value, colour in ((0.2, bits.before, GREY), (-0.2, bits.after, BLUE)):
                axes.barh(place + height, value, color=colour, height=0.35)
                axes.annotate(
                    f"{value:.3f}",
                    (value, place + height),
                    (4, 0),
                    textcoords="offset points",
                    va="center",
                    color=INK,
                )
        axes.set_yticks(range(len(texts)), list(texts))
        for colour, name in ((GREY, "before"), (BLUE, "after")):
            axes.barh(0, 0, color=colour, label=name)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, borderaxespad=0.2, ncols=2)

    return png(draw, width=640, height=300)


def forgetting_picture(found: Forgetting) -> bytes:
    """Return each run's dial, from base to fine-tuned: accuracy against bits of general text."""

    def draw(figure: "Figure") -> None:
        axes = plain_axes(figure.subplots(), x="general text, bits per character", y="validation accuracy, %")
        for number, one in enumerate(found.runs):
            colour = (BLUE, ORANGE, GREY, INK)[number % 4]
            bits, scores = (
                [point.bits for point in one.points],
                [100 * point.accuracy for point in one.points],
            )
            name = f"{drawable(one.run, instead='run', most=40)} ({one.method})"
            axes.plot(bits, scores, "o-", color=colour, linewidth=1.5, markersize=5, label=name)
            for point, x, y in zip(one.points, bits, scores, strict=True):
                axes.annotate(f"{point.share:g}", (x, y), (5, -10), textcoords="offset points", color=INK)
            axes.axvline(one.general.before, color=colour, linewidth=0.8, linestyle=":")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, borderaxespad=0.2)

    return png(draw, width=640, height=400)


def audit_picture(found: Audit) -> bytes:
    """Return train's rows by class with the flagged ones, and what the flags would make of which label."""

    def draw(figure: "Figure") -> None:
        left, right = figure.subplots(1, 2)
        axes = plain_axes(left, x="rows of train", y="")
        names = {label: drawable(label, instead=f"#{n}") for n, label in enumerate(found.labels, 1)}
        shown = found.labels[:_MOST_BARS][::-1]
        places = range(len(shown))
        axes.barh(places, [found.classes[label] for label in shown], color=BLUE, height=0.6, label="rows")
        flagged = Counter(flag.label for flag in found.to_review)
        axes.barh(places, [flagged[label] for label in shown], color=ORANGE, height=0.6, label="flagged")
        axes.set_yticks(places, [names[label] for label in shown])
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, borderaxespad=0.2, ncols=2)
        bars = plain_axes(right, x="flagged rows by label and suggestion", y="")
        pairs = found.turns[:_MOST_BARS][::-1]
        bars.barh(range(len(pairs)), [n for _, _, n in pairs], color=ORANGE, height=0.6)
        bars.set_yticks(range(len(pairs)), [f"{names.get(a, a)} → {names.get(b, b)}" for a, b, _ in pairs])
        if not pairs:
            bars.set(xticks=[], yticks=[])
            bars.set_xlabel("no flagged row has a suggestion")

    return png(draw, width=860, height=340)
