"""The order of a ladder: which rungs, with how many labels, on which data.

    order = Order(rungs=("zero-shot", "lora"), labels=(96, 1000), limit=500)
    order.steps(labels=(96, 1000), classes=3)   # -> (Step("zero-shot", …), Step("lora-96", …), …)

A step is a rung with its number of training labels. Importing this loads nothing heavy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from inference.common.errors import RunError
from inference.selective import USUAL_PRECISION
from training.recipes import Recipe, change, load_recipe
from training.runs import study
from training.runs.run import LADDER

STEPS = "steps"
"""Folder of what was measured, in the run's."""
MADE = "made.json"
"""Beside the steps: the seconds spent on what several steps share."""
N_VALIDATION = 500
"""Labelled validation rows, on which epochs, k, weights and temperature are chosen: for every rung alike."""
CORE_HOUR_USD = 0.04
Cost = Literal["ms", "labels", "minutes", "money"]
COSTS: dict[Cost, str] = {
    "ms": "milliseconds a tweet",
    "labels": "training labels",
    "minutes": "minutes to prepare",
    "money": "dollars for 1,000 posts",
}
"""Costs to draw accuracy against."""


@dataclass(frozen=True)
class RungKind:
    """A way to classify."""

    about: str
    labels: Literal["none", "few", "all"] = "all"
    """Whether it uses no training label, `k` of each class, or as many as it is given."""
    k: int = 0
    trains: bool = False
    """Whether the network is trained, which takes most of its time."""
    asks_base: bool = True
    """Whether the base takes part."""


RUNGS: dict[str, RungKind] = {
    "majority": RungKind("always the most frequent label", asks_base=False),
    "bag-of-words": RungKind("TF-IDF with logistic regression", asks_base=False),
    "zero-shot": RungKind("the base answers a prompt", "none"),
    "zero-shot-contextual": RungKind("the same, calibrated on inputs without content", "none"),
    "zero-shot-batch": RungKind("the same, calibrated over unlabelled training texts", "none"),
    "zero-shot-prompts": RungKind("the mean of several prompts, each calibrated", "none"),
    "few-shot-1": RungKind("1 example of each class in the prompt, calibrated", "few", 1),
    "few-shot-4": RungKind("4 examples of each class", "few", 4),
    "few-shot-8": RungKind("8 examples of each class", "few", 8),
    "few-shot-16": RungKind("16 examples of each class", "few", 16),
    "retrieval-words": RungKind("the 8 nearest labelled tweets in the prompt, by words (BM25)"),
    "retrieval-features": RungKind("the 8 nearest labelled tweets in the prompt, by the base's features"),
    "nearest": RungKind("the vote of the nearest labelled tweets, by the base's features"),
    "head": RungKind("only a head is trained, on the frozen base"),
    "contrastive": RungKind("adapters pull like labels together (SetFit's idea), then a head", trains=True),
    "lora": RungKind("adapters on the upper third: the recipe quick, not lora", trains=True),
    "full": RungKind("all weights are fine-tuned", trains=True),
    "both": RungKind("the model of lora with the neighbours' vote", trains=True),
}
"""All rungs, the plainest first."""


@dataclass(frozen=True)
class Step:
    """A rung with its number of training labels."""

    name: str
    rung: str
    labels: int

    @property
    def kind(self) -> RungKind:
        return RUNGS[self.rung]


@dataclass(frozen=True, kw_only=True)
class Order(study.Order):
    """The order of a ladder."""

    KIND: ClassVar[str] = LADDER

    rungs: tuple[str, ...] = tuple(RUNGS)
    labels: tuple[int, ...] = (1000,)
    """How many training rows the rungs with labels get; each of these is a step."""
    balanced: bool = False
    """Whether as many of these rows are drawn of each class, as protocols with few labels do."""
    limit: int = 0
    """Test rows, and the most validation rows; 0: all."""
    base: str = "auto"
    dataset: str = "auto"
    text_column: str = ""
    label_column: str = ""
    seed: int = 42
    price: float = CORE_HOUR_USD
    """Dollars that a core costs for an hour."""
    precision: float = USUAL_PRECISION
    """The required share of right answers where a step may say "I don't know"."""
    cost: Cost = "ms"
    """The cost that the second picture draws accuracy against."""
    keep: bool = False
    """Whether trained networks are kept, too, each as large as the base; the other rungs always are."""

    def __post_init__(self) -> None:
        if unknown := [name for name in self.rungs if name not in RUNGS]:
            raise RunError(f"There is no rung {unknown[0]!r}. Take some of: {', '.join(RUNGS)}.")
        if not self.rungs or not self.labels or min(self.labels) < 2:
            raise RunError("A ladder needs a rung, and two training labels or more, as --labels 96,1000.")
        if self.limit < 0:
            raise RunError(f"--limit is {self.limit}. Give a number of rows, 0 for all.")
        if not 0 <= self.price < float("inf"):
            raise RunError(f"--price is {self.price:g}. Give dollars, 0 or more.")
        if not 0 < self.precision <= 1:
            raise RunError(f"--precision is {self.precision:g}. Give a share above 0 and up to 1, as 0.9.")

    @property
    def settings(self) -> Recipe:
        """Its recipe; the base does not matter where no rung asks it."""
        asks = any(RUNGS[name].asks_base for name in self.rungs)
        return self.recipe if asks else change(self.recipe, {"base": "auto"})

    @property
    def recipe(self) -> Recipe:
        """The recipe of the data, and of the adapters: quick with the most labels."""
        changes = {
            "base": self.base,
            "dataset": self.dataset,
            "text_column": self.text_column,
            "label_column": self.label_column,
            "n_train": 0 if self.balanced else max(self.labels),
            "n_validation": min(N_VALIDATION, self.limit or N_VALIDATION),
            "n_test": self.limit,
            "stratified": True,
            "seed": self.seed,
        }
        return change(load_recipe("quick"), changes)

    def steps(self, *, labels: Sequence[int], classes: int) -> tuple[Step, ...]:
        """Return the steps in the ladder's order; `labels`: the numbers of rows that the data can give."""
        found = []
        for name, kind in RUNGS.items():
            if name not in self.rungs:
                continue
            if kind.labels == "all":
                found += [Step(f"{name}-{count}", name, count) for count in labels]
            else:
                found.append(Step(name, name, kind.k * classes))
        return tuple(found)
