"""The order and the result of a search over settings: `python -m training tune`.

    space = read_space(["learning_rate=1e-4..2e-3", "lora_r=4,8,16"], recipe)
    order = SearchOrder(recipe=recipe.model_dump(), trials=20, space=space)
    Search.read(run.path).sentences()                   # None before it is finished

Importing this loads nothing heavy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from inference.common.errors import RecipeError, RunError
from training.recipes import Recipe, change
from training.runs.run import TUNE
from training.runs.study import RecipeOrder, Result

BEST = "best.toml"
REPEATED = 3
"""The best trials that are run by more seeds, and the seeds that each of them has then."""
FIXED = (
    *("name", "description", "base", "dataset", "text_column", "label_column", "label_names", "label_words"),
    *("prompt_prefix", "prompt_suffix", "more_data", "n_train", "n_validation", "n_test", "stratified"),
    *("teacher", "teachers", "teacher_epochs", "teacher_temperature", "unlabelled", "n_unlabelled"),
    *("leak_gate", "seed", "seeds", "max_length", "padding", "precision", "depth", "trunk_layers"),
    *("gradient_checkpointing", "report_to", "onnx", "calibrate"),
)
"""Settings that no trial may change: all trials share rows and trunk, and the rest changes no answer."""
Value = float | int | str | bool


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """A setting that is searched: from `low` to `high`, or one of the choices."""

    name: str
    low: float | None = None
    high: float | None = None
    choices: tuple[Value, ...] = ()

    def holds(self, value: object) -> bool:
        """Whether a trial could draw this value."""
        if self.low is None or self.high is None:
            return value in self.choices
        return isinstance(value, int | float) and self.low <= value <= self.high


@dataclass(frozen=True, kw_only=True)
class SearchOrder(RecipeOrder):
    """The order of a search."""

    KIND: ClassVar[str] = TUNE
    trials: int
    space: tuple[Dimension, ...]

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise RunError(f"--trials is {self.trials}. Give a number of trials, 1 or more, such as 20.")
        if not self.space:
            raise RunError(
                "The search space is empty: no setting may change. Give one with --space, such as "
                "--space learning_rate=1e-4..2e-3."
            )


def read_space(given: Sequence[str], recipe: Recipe) -> tuple[Dimension, ...]:
    """Return the dimensions that are given as NAME=LOW..HIGH or NAME=A,B,C; without any, the usual ones.

    Raises RecipeError for a setting that can't be searched, or a value that it can't have.
    """
    if not given:
        return usual_space(recipe)
    found: dict[str, Dimension] = {}
    for text in filter(str.strip, given):
        name, equals, values = (part.strip() for part in text.partition("="))
        if not equals or not values:
            raise RecipeError(f"--space {text} has no values. Write NAME=LOW..HIGH or NAME=A,B,C.")
        if name in FIXED:
            raise RecipeError(
                f"{name} can't be searched: all trials share rows, base and trunk. Leave it out."
            )
        low, dots, high = values.partition("..")
        ends = [getattr(change(recipe, {name: end.strip()}), name) for end in ([low, high] if dots else [])]
        choices = [] if dots else [getattr(change(recipe, {name: one}), name) for one in values.split(",")]
        if dots and not all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends):
            raise RecipeError(f"{name} has no values between two. Write {name}=A,B,C.")
        if dots and ends[0] > ends[1]:
            raise RecipeError(
                f"--space {text} goes from {ends[0]} down to {ends[1]}. Write the lower one first."
            )
        if len(set(ends or choices)) == 1:
            raise RecipeError(
                f"--space {text} has one value alone, which is no search. Give more, or fix it with "
                f"--set {name}={values.partition('..')[0].split(',')[0]}."
            )
        if name in found:
            raise RecipeError(f"--space names {name} twice. Give all its values in one.")
        found[name] = (
            Dimension(name=name, low=ends[0], high=ends[1])
            if dots
            else Dimension(name=name, choices=tuple(dict.fromkeys(choices)))
        )
    return tuple(found.values())


def usual_space(recipe: Recipe) -> tuple[Dimension, ...]:
    """Return the default search space around a recipe."""
    rate, epochs = recipe.learning_rate, recipe.epochs
    found = [
        Dimension(name="learning_rate", low=rate / 5, high=min(5 * rate, 1.0)),
        Dimension(name="batch_size", choices=_around(recipe.batch_size, (8, 16, 32))),
        Dimension(
            name="epochs", choices=_around(epochs, (max(round(epochs / 2), 1), round(1.5 * epochs) or 1))
        ),
        Dimension(name="label_smoothing", low=0.0, high=max(0.2, recipe.label_smoothing)),
    ]
    if recipe.method == "lora":
        found.append(Dimension(name="lora_r", choices=_around(recipe.lora_r, (4, 8, 16, 32))))
    if recipe.trunk_layers != "0":
        found.append(Dimension(name="state_noise", low=0.0, high=max(3.0, recipe.state_noise)))
    return tuple(one for one in found if one.low is not None or len(one.choices) > 1)


def _around(own: float, others: Sequence[float]) -> tuple[Value, ...]:
    kind = type(own)
    return tuple(sorted({own, *map(kind, others)}))


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """One trial of a search; its scores are those of the validation split."""

    number: int
    """From 0 on; 0 is the recipe as it was."""
    state: str
    """complete, pruned or failed."""
    params: Mapping[str, Value]
    seconds: float = 0.0
    macro_f1: float | None = None
    """Score of the weights that were kept; of a pruned trial the last one seen."""
    accuracy: float | None = None
    by_seed: tuple[float, ...] = ()
    """Macro-F1 by each seed, this trial's own first, where more were run."""
    why: str = ""

    @property
    def mean(self) -> float:
        found = self.by_seed or (self.macro_f1 or 0.0,)
        return sum(found) / len(found)


@dataclass(frozen=True, kw_only=True)
class Search(Result):
    """The result of a search."""

    FILE: ClassVar[str] = "search.json"

    recipe: str
    n_validation: int
    trials: tuple[TrialResult, ...]
    best: int
    """The trial with the best mean over its seeds, of those that had several."""
    importances: Mapping[str, float] = field(default_factory=dict)
    """The share of the spread of the scores that each setting explains; empty where too few trials tell."""
    optimism: float | None = None
    """Points of accuracy, from 0 to 1, by which the best of all looks better than it is; None for one."""

    @property
    def winner(self) -> TrialResult:
        return next(trial for trial in self.trials if trial.number == self.best)

    def sentences(self) -> list[str]:
        best, own = self.winner, next((one for one in self.trials if one.number == 0), None)
        seeds = f"{100 * min(best.by_seed):.1f} to {100 * max(best.by_seed):.1f}" if best.by_seed else ""
        lines = [
            f"Trial {best.number} is the best of {len(self.trials)}: validation macro-F1 "
            f"{100 * best.mean:.1f} %"
            + (f" on average over {len(best.by_seed)} seeds ({seeds})." if seeds else ".")
        ]
        if own and own.macro_f1 is not None and own.number != best.number:
            lines.append(f"The recipe as it was, trial 0, has {100 * own.mean:.1f} %.")
        counts = [sum(one.state == state for one in self.trials) for state in ("pruned", "failed")]
        if any(counts):
            lines.append(f"{counts[0]} trials were pruned and {counts[1]} failed.")
        if self.optimism is not None:
            lines.append(
                f"The best of {len(self.trials)} trials on {self.n_validation:,} rows is optimistic by about "
                f"{100 * self.optimism:.1f} points: measured by choosing on one half of these rows and "
                "scoring on the other. Only the test split tells what was gained: train the recipe."
            )
        return lines
