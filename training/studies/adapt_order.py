"""The order and the result of an adaptation of a base: `python -m training adapt`.

    Adapted.read(run.path).sentences()                  # None before it is finished

Importing this loads nothing heavy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from inference.common.errors import RecipeError
from training.evaluate.scores import Bits
from training.recipes import Recipe, change
from training.runs.run import ADAPT, Run
from training.runs.study import RecipeOrder, Result

LEAST_TEXTS = 20
"""Texts below which there is nothing to adapt to, and nothing to hold out."""
SETTINGS = (
    *("base", "dataset", "text_column", "label_column", "label_names", "leak_gate", "seed", "trunk_layers"),
    *("learning_rate", "batch_size", "gradient_accumulation_steps", "epochs", "warmup", "weight_decay"),
    *("schedule", "max_length", "evals_per_epoch"),
)
"""The settings of a recipe that mean something here; `max_length`: tokens of a block."""
DEFAULTS = {
    "method": "full",
    "trunk_layers": "0",
    "leak_gate": "near",
    "learning_rate": 5e-5,
    "batch_size": 4,
    "max_length": 256,
}


def adapt_recipe(name: str, changes: Mapping[str, object]) -> Recipe:
    """Return the settings of an adaptation. Raises RecipeError, also for settings that mean nothing here."""
    idle = sorted({*changes} & {*Recipe.model_fields} - {*SETTINGS})
    if idle:
        raise RecipeError(
            f"{idle[0]} means nothing to an adaptation, which has no labels. It takes: {', '.join(SETTINGS)}."
        )
    return change(Recipe(name=name), {**DEFAULTS, **changes})


@dataclass(frozen=True, kw_only=True)
class AdaptOrder(RecipeOrder):
    """The order of an adaptation."""

    KIND: ClassVar[str] = ADAPT
    corpus: str
    """Path of the file of texts."""
    text_column: str = ""
    general: str = ""
    """Path of a file of general text; empty: the passages that come with the project."""

    def create(self, *, name: str) -> Run:
        """Make the folder of a run of it. Raises BaseError, for a classifier too, or DataError."""
        from training.model.bases import check_named, check_no_classifier  # noqa: PLC0415  (heavy)

        if base := check_named(self.settings.base):
            check_no_classifier(base)
        return super().create(name=name)


@dataclass(frozen=True, kw_only=True)
class Generation:
    """How both models go on from the first words of a held-out text."""

    prompt: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Adapted(Result):
    """The result of an adaptation."""

    FILE: ClassVar[str] = "adapt.json"

    base: str
    texts: int
    """Learnt from."""
    tokens: int
    domain: Bits
    """On held-out texts of the corpus."""
    general: Bits
    generations: tuple[Generation, ...] = ()

    def sentences(self) -> list[str]:
        better = self.domain.change
        learnt = (
            "It predicts such texts better than before."
            if better.high < 0
            else "No gain on such texts is shown: more text or more epochs may help."
            if better.low <= 0
            else "It predicts such texts worse than before: lower learning_rate, or fewer epochs."
        )
        lost = self.general.change
        forgot = (
            "It has forgotten some general language: lower learning_rate, or freeze layers with trunk_layers."
            if lost.low > 0
            else "No loss of general language is shown."
        )
        return [
            f"Adapted {self.base} on {self.texts:,} texts ({self.tokens:,} tokens).",
            f"Held-out texts of the corpus: {self.domain.figures}. {learnt}",
            f"General text: {self.general.figures}. {forgot}",
        ]
