"""What a rented training will take: time, cost, time-out. Known before anything is paid or sent.

    estimate = estimate_job(recipe, splits, shape, flavor)
    estimate.sentences()

The time is `training.fit.estimate`'s plan with the pace of an assumed machine (see `flavors`) instead of a
measured one, so it may be wrong by a factor of three; the time-out is three times as long, and so is the most
that it can cost.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from inference.common.wording import dollars, in_words
from training.fit.estimate import Pace, Sizes, phases
from training.jobs.flavors import Flavor
from training.recipes import Recipe

SETUP_S = {True: 240.0, False: 150.0}
"""Starting the machine and installing PyTorch, with and without a GPU: an assumption."""
PUSH_BYTES_S = 20e6
STEP_S = 0.08
"""The least a step takes on a GPU, however small: kernels have to be launched. An assumption."""
MARGIN = 3.0
LEAST_TIMEOUT_S = 1800
CHARACTERS_PER_TOKEN = 3.5  # measured on English tweets with GPT-2's tokenizer: 3.6


@dataclass(frozen=True)
class Shape:
    """A base's shape, read from its config."""

    name: str
    layers: int
    layer_parameters: int
    parameters: int
    trunk: int
    revision: str = ""


@dataclass(frozen=True)
class JobEstimate:
    """What a job should take."""

    flavor: Flavor
    phases_s: dict[str, float]
    timeout_s: int

    @property
    def seconds(self) -> float:
        """All phases together."""
        return sum(self.phases_s.values())

    @property
    def usd(self) -> float:
        """The cost by the estimate; a minute that was begun counts whole."""
        return self.flavor.usd_per_hour * math.ceil(self.seconds / 60) / 60

    @property
    def most_usd(self) -> float:
        """The cost when the job runs into its time-out."""
        return self.flavor.usd_per_hour * self.timeout_s / 3600

    def sentences(self) -> list[str]:
        """Say it, for people."""
        flavor, setup = self.flavor, self.phases_s["setup"]
        about = "about " if self.usd >= 0.01 else ""
        return [
            f"Machine: {flavor.name} ({flavor.words}) at ${flavor.usd_per_hour:.2f} an hour "
            f"({flavor.price_source}).",
            f"Time: about {in_words(self.seconds)}, of which {in_words(setup)} to set the machine up; "
            f"by an assumed {flavor.gflops / 1000:.1f} TFLOP/s, so it may be wrong by a factor of "
            f"{MARGIN:g}.",
            f"Cost: {about}{dollars(self.usd)}; at most {dollars(self.most_usd)}, "
            f"since the job is stopped after {in_words(self.timeout_s)}.",
        ]


def tokens(texts: Iterable[str], recipe: Recipe) -> int:
    """Return about how many padded tokens some texts have, prompt included."""
    prompt = math.ceil(len(recipe.prompt_prefix + recipe.prompt_suffix) / CHARACTERS_PER_TOKEN)
    if recipe.padding == "max":
        return sum(recipe.max_length for _ in texts)
    return sum(min(math.ceil(len(text) / CHARACTERS_PER_TOKEN) + prompt, recipe.max_length) for text in texts)


def estimate_job(
    recipe: Recipe, splits: Any, shape: Shape, flavor: Flavor, *, timeout_s: int = 0
) -> JobEstimate:
    """Return what a job should take. `splits` has train, validation and test with a text column."""
    sizes = Sizes(
        train_tokens=tokens(splits.train["text"], recipe),
        validation_tokens=tokens(splits.validation["text"], recipe),
        test_tokens=tokens(splits.test["text"], recipe),
        train_rows=len(splits.train),
        depth=recipe.depth or shape.layers,
        base_depth=shape.layers,
        trunk=shape.trunk,
        parameters=shape.parameters,
    )
    pace = Pace(2 * shape.layer_parameters / (flavor.gflops * 1e9), flavor.gflops)
    planned = phases(pace, recipe, sizes)
    if flavor.gpu:
        planned["train"] += STEP_S * recipe.epochs * sizes.train_rows / recipe.batch_size
    seconds = {
        "setup": SETUP_S[bool(flavor.gpu)] + 4 * shape.parameters / PUSH_BYTES_S,
        **planned,
        "push": 30 + 2 * 4 * shape.parameters / PUSH_BYTES_S,
    }
    wanted = max(LEAST_TIMEOUT_S, MARGIN * sum(seconds.values()))
    return JobEstimate(flavor, seconds, timeout_s or 300 * math.ceil(wanted / 300))
