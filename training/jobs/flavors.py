"""The machines that can be rented, what they cost and how fast they should be.

    flavor = find_flavor("l4x1", flavors(hub.hardware()))     # -> Flavor(usd_per_hour=0.8, gpu="L4", …)

Prices are the Hub's own answer where it gives one, else the table below. The speeds are stated assumptions:
no training of this project was ever timed on these machines. Knows nothing about jobs.
"""

import dataclasses
import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from training.jobs.errors import JobRefused

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
        """What it is, for people: "1x L4, 8 vCPU"."""
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


def flavors(listed: Iterable[Any] | None = None) -> dict[str, Flavor]:
    """Return the machines by name: those of the Hub's list of `JobHardwareInfo`, or of the table for None."""
    known = {flavor.name: flavor for flavor in _TABLE}
    if listed is None:
        return known
    return {hardware.name: _of_hub(hardware, known.get(hardware.name)) for hardware in listed}


def _of_hub(hardware: Any, known: Flavor | None) -> Flavor:
    minutes = {"second": 1 / 60, "minute": 1, "hour": 60}.get(hardware.unit_label, 1)
    price = {"usd_per_hour": round(60 * hardware.unit_cost_usd / minutes, 4), "price_source": PRICES_ASKED}
    if known:
        return dataclasses.replace(known, **price)
    gpu, digits = hardware.accelerator, "".join(c for c in hardware.cpu if c.isdigit())
    return Flavor(
        hardware.name,
        int(digits or 1),
        gpu=gpu.model.lower() if gpu else "",
        gpus=int(gpu.quantity) if gpu and str(gpu.quantity).isdigit() else int(bool(gpu)),
        **price,
    )


def find_flavor(name: str, known: dict[str, Flavor]) -> Flavor:
    """Return a machine by name. Raises JobRefused for an unknown one, and for several GPUs: we use one."""
    if name not in known:
        usable = [flavor for flavor in known if known[flavor].gpus <= 1]
        near = difflib.get_close_matches(name, usable, n=1, cutoff=0.4)
        others = [flavor for flavor in usable if flavor not in near]
        raise JobRefused(
            f"There is no machine {name!r} to rent. "
            f"Known: {', '.join([*near, *others])}; write --on jobs:{near[0] if near else DEFAULT}."
        )
    if known[name].gpus > 1:
        raise JobRefused(
            f"{name} has {known[name].gpus} GPUs, but a training uses one: the others would be paid for "
            f"nothing. Take one with a single GPU, such as --on jobs:{DEFAULT}."
        )
    return known[name]


def parse_target(target: str) -> str:
    """Return the machine's name of `jobs` or `jobs:NAME`. Raises JobRefused for anything else."""
    place, _, name = target.partition(":")
    if place != "jobs":
        raise JobRefused(f"--on is {target!r}. Give jobs, or jobs:MACHINE such as jobs:{DEFAULT}.")
    return name.strip() or DEFAULT
