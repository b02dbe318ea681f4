"""The machines that can be rented, and what a training takes on one: time, cost, time-out.

    flavor = find_flavor("l4x1", flavors(hub.hardware()))     # -> Flavor(usd_per_hour=0.8, gpu="L4", …)
    estimate_job(recipe, data, shape, flavor).sentences()   # before anything is paid or sent

Prices are the Hub's own answer where it gives one, else the table below. The speeds are assumptions: no
training of this project was ever timed on these machines. So the estimate, `training.fit.phases`' plan
with an assumed pace, may be wrong by a factor of three; the time-out is three times as long, and so is the
most that it can cost.
"""

import dataclasses
import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from huggingface_hub import JobHardwareInfo

from inference.common.wording import dollars, in_words
from training.fit.phases import Pace, Sizes, phases
from training.jobs.record import RentedError
from training.recipes import Recipe

if TYPE_CHECKING:
    from training.fit.prepare import TrainingData

DEFAULT = "l4x1"
"""The cheapest GPU that computes bfloat16 in hardware."""
PRICES_FROM = "the table of huggingface.co/docs/hub/jobs-pricing, read in November 2026"
PRICES_ASKED = "the Hub's own list, asked now"
_CPU_CORE_GFLOPS = 40.0  # float32; measured: 80 to 120 on two cores
_BUSY = 0.12  # share of a GPU's peak that small batches of short texts reach: an assumption
_PEAK_GFLOPS = {
    # Dense peak in the precision that training takes there: bfloat16, or float32 where there is none (T4).
    "t4": 8_100,
    "l4": 121_000,
    "a10g": 70_000,
    "l40s": 362_000,
    "a100": 312_000,
    "h200": 989_000,
    "rtx pro 6000": 500_000,
}


SETUP_S = {True: 240.0, False: 150.0}
"""Starting the machine and installing PyTorch, with and without a GPU: an assumption."""
PUSH_BYTES_S = 20e6
STEP_S = 0.08
"""The least a step takes on a GPU, however small: kernels have to be launched. An assumption."""
MARGIN = 3.0
LEAST_TIMEOUT_S = 1800
CHARACTERS_PER_TOKEN = 3.5  # measured on English tweets with GPT-2's tokenizer: 3.6


@dataclass(frozen=True)
class Flavor:
    """A machine that can be rented."""

    name: str
    cpus: int
    usd_per_hour: float
    gpu: str = ""
    """The GPU's model, in small letters; empty: none."""
    gpus: int = 0
    price_source: str = PRICES_FROM

    @property
    def gflops(self) -> float:
        """The rate that training should reach, in 10⁹ operations a second: an assumption."""
        if not self.gpu:
            return self.cpus * _CPU_CORE_GFLOPS
        return _BUSY * _PEAK_GFLOPS.get(self.gpu, min(_PEAK_GFLOPS.values()))

    @property
    def words(self) -> str:
        """A description for people: "1x L4, 8 vCPU"."""
        return f"{self.gpus}x {self.gpu.upper()}, {self.cpus} vCPU" if self.gpu else f"{self.cpus} vCPU"


_TABLE = [
    Flavor("cpu-basic", 2, 0.01),
    Flavor("cpu-upgrade", 8, 0.03),
    Flavor("cpu-xl", 16, 1.00),
    Flavor("cpu-performance", 32, 1.90),
    Flavor("t4-small", 4, 0.40, "t4", 1),
    Flavor("t4-medium", 8, 0.60, "t4", 1),
    Flavor("l4x1", 8, 0.80, "l4", 1),
    Flavor("l4x4", 48, 3.80, "l4", 4),
    Flavor("a10g-small", 4, 1.00, "a10g", 1),
    Flavor("a10g-large", 12, 1.50, "a10g", 1),
    Flavor("a10g-largex2", 24, 3.00, "a10g", 2),
    Flavor("a10g-largex4", 48, 5.00, "a10g", 4),
    Flavor("l40sx1", 8, 1.80, "l40s", 1),
    Flavor("l40sx4", 48, 8.30, "l40s", 4),
    Flavor("l40sx8", 192, 23.50, "l40s", 8),
    Flavor("a100-large", 12, 2.50, "a100", 1),
    Flavor("a100x4", 48, 10.00, "a100", 4),
    Flavor("a100x8", 96, 20.00, "a100", 8),
    Flavor("rtx-pro-6000", 23, 2.75, "rtx pro 6000", 1),
    Flavor("h200", 23, 5.00, "h200", 1),
]


def flavors(listed: Iterable[JobHardwareInfo] | None = None) -> dict[str, Flavor]:
    """Return the machines by name: those of the Hub's list of `JobHardwareInfo`, or of the table for None."""
    known = {flavor.name: flavor for flavor in _TABLE}
    if listed is None:
        return known
    return {hardware.name: _of_hub(hardware, known.get(hardware.name)) for hardware in listed}


def _of_hub(hardware: JobHardwareInfo, known: Flavor | None) -> Flavor:
    minutes = {"second": 1 / 60, "minute": 1, "hour": 60}.get(hardware.unit_label, 1)
    if known is None:
        gpu, digits = hardware.accelerator, "".join(c for c in hardware.cpu if c.isdigit())
        gpus = int(gpu.quantity) if gpu and str(gpu.quantity).isdigit() else int(bool(gpu))
        known = Flavor(hardware.name, int(digits or 1), 0.0, gpu.model.lower() if gpu else "", gpus)
    price = round(60 * hardware.unit_cost_usd / minutes, 4)
    return dataclasses.replace(known, usd_per_hour=price, price_source=PRICES_ASKED)


def find_flavor(name: str, known: dict[str, Flavor]) -> Flavor:
    """Return a machine by name. Raises RentedError for an unknown one, and for several GPUs: we use one."""
    if name not in known:
        usable = [flavor for flavor in known if known[flavor].gpus <= 1]
        near = difflib.get_close_matches(name, usable, n=1, cutoff=0.4)
        others = [flavor for flavor in usable if flavor not in near]
        raise RentedError(
            f"There is no machine {name!r} to rent. "
            f"Known: {', '.join([*near, *others])}; write --on jobs:{near[0] if near else DEFAULT}."
        )
    if known[name].gpus > 1:
        raise RentedError(
            f"{name} has {known[name].gpus} GPUs, but a training uses one: the others would be paid for "
            f"nothing. Take one with a single GPU, such as --on jobs:{DEFAULT}."
        )
    return known[name]


def parse_target(target: str) -> str:
    """Return the machine's name of `jobs` or `jobs:NAME`. Raises RentedError for anything else."""
    place, _, name = target.partition(":")
    if place != "jobs":
        raise RentedError(f"--on is {target!r}. Give jobs, or jobs:MACHINE such as jobs:{DEFAULT}.")
    return name.strip() or DEFAULT


@dataclass(frozen=True)
class Shape:
    """A base's shape, read from its config."""

    name: str
    layers: int
    layer_parameters: int
    parameters: int
    trunk: int


@dataclass(frozen=True)
class JobEstimate:
    """The estimate of a job."""

    flavor: Flavor
    phases_s: dict[str, float]
    timeout_s: int

    @property
    def seconds(self) -> float:
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
    recipe: Recipe, data: "TrainingData", shape: Shape, flavor: Flavor, *, timeout_s: int = 0
) -> JobEstimate:
    """Return what a job should take."""
    splits, more = data.splits, data.unlabelled.texts if data.unlabelled else ()
    unlabelled = tokens(more, recipe)
    sizes = Sizes(
        train_tokens=tokens(splits.train["text"], recipe) + unlabelled,
        validation_tokens=tokens(splits.validation["text"], recipe),
        test_tokens=tokens(splits.test["text"], recipe),
        train_rows=len(splits.train) + len(more),
        unlabelled_tokens=unlabelled,
        unlabelled_rows=len(more),
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
    needed = max(LEAST_TIMEOUT_S, MARGIN * sum(seconds.values()))
    return JobEstimate(flavor, seconds, timeout_s or 300 * math.ceil(needed / 300))
