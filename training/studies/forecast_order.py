"""The order and the result of a forecast: `python -m training forecast`.

    Forecast.read(run.path).sentences()                 # None before it is finished

Importing this loads nothing heavy.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from inference.common.errors import RunError
from inference.common.intervals import Interval
from training.runs.run import FORECAST
from training.runs.study import RecipeOrder, Result

LEAST_LABELS = 32
LEAST_ROWS = 4 * LEAST_LABELS
"""Training rows below which there is no curve to see."""
LEAST_VALIDATION = 50
FAR = 10
"""A forecast this many times past the largest run is said to be a guess."""


@dataclass(frozen=True, kw_only=True)
class ForecastOrder(RecipeOrder):
    """The order of a forecast."""

    KIND: ClassVar[str] = FORECAST
    most: int = 0
    """Labels of the largest run; 0: a tenth of the rows, from 400 to 2,000."""

    def __post_init__(self) -> None:
        if self.most and self.most < LEAST_ROWS:
            raise RunError(f"--most is {self.most}. Give {LEAST_ROWS} labels or more, or leave it out.")
        if self.recipe.get("teachers"):
            raise RunError(
                "A forecast follows training on labels alone, and this recipe learns from teachers too. "
                "Forecast one without them, such as quick."
            )


@dataclass(frozen=True, kw_only=True)
class Point:
    """The accuracy of runs with so many labels on the validation split."""

    labels: int
    accuracies: tuple[float, ...]
    """By seed, each with rows of its own."""

    @property
    def mean(self) -> float:
        return sum(self.accuracies) / len(self.accuracies)


@dataclass(frozen=True, kw_only=True)
class Target:
    """The forecast for a number of labels."""

    labels: int
    accuracy: Interval
    """With the 95 % interval of the bootstrap, in which one run should lie."""
    minutes: float
    """Of a training with these labels on the forecast's machine, evaluation included."""


@dataclass(frozen=True, kw_only=True)
class Forecast(Result):
    """The result of a forecast."""

    FILE: ClassVar[str] = "forecast.json"

    recipe: str
    n_validation: int
    points: tuple[Point, ...]
    targets: tuple[Target, ...] = ()
    """The fewest labels first; () where it is refused."""
    curve: tuple[Target, ...] = ()
    """The same from the smallest run on, for the picture."""
    next_point: int | None = None
    """Labels beyond the last target's for one more point of accuracy; None where no number gives it."""
    weights: dict[str, float] = field(default_factory=dict)
    """The weight of each curve."""
    refused: str = ""
    """Why nothing is forecast."""

    def sentences(self) -> list[str]:
        largest = self.points[-1].labels
        if self.refused:
            return [f"Nothing can be forecast: {self.refused}. The largest run had {largest:,} labels."]
        lines = []
        for one in self.targets:
            accuracy = one.accuracy
            lines.append(
                f"With {one.labels:,} labels: {100 * accuracy.value:.1f} % on the validation split (95 % "
                f"interval {100 * accuracy.low:.1f} to {100 * accuracy.high:.1f}), in about "
                f"{one.minutes:.0f} min on this machine."
            )
            if one.labels > FAR * largest:
                lines.append(
                    f"That is {one.labels / largest:.0f} times past the largest run ({largest:,} labels): a "
                    "direction rather than a figure."
                )
        last = self.targets[-1].labels
        lines.append(
            f"One more point of accuracy would take about {self.next_point:,} labels more than {last:,}."
            if self.next_point
            else f"By these curves no number of labels up to {100 * last:,} gives one more point of accuracy."
        )
        return lines
