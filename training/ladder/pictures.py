"""The two pictures of a ladder: who is best, and what it costs.

intervals_picture(ladder), cost_picture(ladder, "minutes")      # PNG as bytes
"""

import textwrap
from typing import TYPE_CHECKING

from training.ladder.order import COSTS, Cost
from training.ladder.results import Ladder, StepResult
from training.publish.card.pictures import BLUE, GREY, INK, ORANGE, plain_axes, png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH = 760


def intervals_picture(ladder: Ladder) -> bytes:
    """Return the steps' accuracy with 95 % intervals, best first, and the honest sentence under them."""
    ranked, said = ladder.ranked, textwrap.fill(ladder.headline, 100)

    def draw(figure: "Figure") -> None:
        axes = plain_axes(figure.subplots(), x=f"accuracy on the same {ladder.n:,} test rows, %", y="")
        for place, step in enumerate(ranked):
            found = step.scores.accuracy
            middle, low, high = (100 * value for value in (found.value, found.low, found.high))
            axes.plot([low, high], [place, place], color=GREY, linewidth=2.5, solid_capstyle="round")
            axes.plot([middle], [place], "o", color=BLUE, markersize=6)
            axes.annotate(
                f"{middle:.1f}", (high, place), (6, 0), textcoords="offset points", va="center", color=INK
            )
        axes.set_yticks(range(len(ranked)), [_named(step) for step in ranked])
        axes.set_ylim(len(ranked) - 0.4, -0.6)
        axes.margins(x=0.12)
        axes.grid(axis="y", visible=False)
        figure.supxlabel(said, fontsize=9, color=INK)

    return png(draw, width=_WIDTH, height=90 + 14 * len(said.splitlines()) + 24 * len(ranked))


def _named(step: StepResult) -> str:
    labels = f"{step.labels_used:,} labels" if step.labels_used else "no label"
    return f"{step.rung} ({labels})"


def cost_of(step: StepResult, cost: Cost) -> float:
    """Return what a step costs, in the unit of COSTS."""
    found = {
        "ms": step.ms_a_tweet,
        "labels": float(step.labels_used),
        "minutes": step.minutes_to_prepare,
        "money": step.usd_a_thousand,
    }
    return found[cost]


def pareto_front(ladder: Ladder, cost: Cost) -> list[StepResult]:
    """Return the steps that no other one beats in both accuracy and cost, the cheapest first."""
    front: list[StepResult] = []
    for step in sorted(ladder.steps, key=lambda s: (cost_of(s, cost), -s.scores.accuracy.value)):
        if not front or step.scores.accuracy.value > front[-1].scores.accuracy.value:
            front.append(step)
    return front


def cost_picture(ladder: Ladder, cost: Cost) -> bytes:
    """Return accuracy against a cost, with the Pareto front drawn."""
    front = pareto_front(ladder, cost)

    def draw(figure: "Figure") -> None:
        axes = plain_axes(figure.subplots(), x=COSTS[cost], y="accuracy, %")
        costs = [cost_of(step, cost) for step in ladder.steps]
        least = min((value for value in costs if value > 0), default=1.0)
        axes.set_xscale("symlog", linthresh=max(least, max(costs) / 1e4))
        xs, ys = ([f(step) for step in front] for f in (lambda s: cost_of(s, cost), _percent))
        axes.step(xs, ys, where="post", color=ORANGE, linewidth=1.5, label="no other is better and cheaper")
        for place, step in enumerate(sorted(ladder.steps, key=lambda s: cost_of(s, cost))):
            on_front = step in front
            x, y = cost_of(step, cost), _percent(step)
            axes.plot([x], [y], "o", color=ORANGE if on_front else BLUE, markersize=6 if on_front else 4.5)
            axes.annotate(
                step.name,
                (x, y),
                (5, (4, -11)[place % 2]),  # neighbours would write over each other
                textcoords="offset points",
                fontsize=7.5,
                color=INK if on_front else GREY,
            )
        axes.margins(x=0.12, y=0.1)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, borderaxespad=0.2)

    return png(draw, width=_WIDTH, height=460)


def _percent(step: StepResult) -> float:
    return 100 * step.scores.accuracy.value
