"""A run's record of its rented machine, `rented.json` in its folder, and the errors of renting.

    rental = load(run.path)                   # None for a run on this machine
    rental = keep(run.path, rental, job_id="687f…")

No token is ever in it. Light: `python -m training runs` asks it for every run.

RentedError (a RunError)     what was asked for can't be rented or sent
└── JobFailed                the job ended without a model

What the Hub refuses or does not answer is a HubError: inference/common/hub.py.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.common.errors import RunError
from inference.common.store import read_json, validated, write_json
from inference.common.text import one_line

FILE = "rented.json"


class RentedError(RunError):
    """A run can't be made on a rented machine."""


class JobFailed(RentedError):  # noqa: N818
    """The job ended without a model."""


@dataclass(frozen=True)
class Rental:
    """A rented machine and what is known about its job."""

    flavor: str
    gpu: bool
    usd_per_hour: float
    price_source: str
    namespace: str
    nonce: str
    """Names this rental: in the job's label and in the repositories' names."""
    bundle: str
    """The private data set with code, recipe and data; deleted when the job has ended."""
    model: str
    """The private model repository that the job pushes to."""
    estimated_s: float
    timeout_s: int
    job_id: str = ""
    job_url: str = ""
    ended: str = ""
    """The stage in which the job ended; empty while it may run."""

    @property
    def open(self) -> bool:
        """Whether there is a job that may still run, and cost."""
        return bool(self.job_id) and not self.ended

    @property
    def lost(self) -> bool:
        """Whether the job has ended without a model to fetch: nothing is left to resume."""
        return bool(self.ended) and self.ended != "COMPLETED"

    def cost_usd(self, seconds: float) -> float:
        """Return what so many seconds cost: each minute that was begun counts."""
        return self.usd_per_hour * -(-seconds // 60) / 60


def load(run: Path) -> Rental | None:
    """Return a run's rental, None for a run on this machine. Raises RentedError where it can't be read."""
    try:
        record = read_json(run / FILE)
        if record and "crate" in record:  # the bundle's name until November 2026
            record["bundle"] = record.pop("crate")
        return validated(Rental, record) if record is not None else None
    except ValueError as error:
        raise RentedError(
            f"The rented.json of the run {run.name} can't be used ({one_line(error)}). Its job may go on and "
            "cost: see huggingface.co/settings/jobs, and train again."
        ) from error


def keep(run: Path, rental: Rental, **changes: Any) -> Rental:
    """Write a run's rental, changed, and return it."""
    rental = dataclasses.replace(rental, **changes)
    write_json(run / FILE, dataclasses.asdict(rental))
    return rental
