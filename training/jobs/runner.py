"""Runs that a job of the Hub trains: `training.runs` does not know of jobs, so importing this registers them.

    import training.jobs.runner  # noqa: F401

Whoever lists, starts or cancels runs imports this once: the command lines and the app. Loads nothing heavy.
"""

import os

from training.jobs.record import FILE, RentedError, load
from training.runs.run import RUNNERS, Run


class JobsRunner:
    """A `Runner`: its runs have a rented.json."""

    def has(self, run: Run) -> bool:
        return os.path.lexists(run.path / FILE)

    def unfollowed(self, run: Run) -> str:
        rental = load(run.path)
        if not (rental and rental.open):
            return ""
        return (
            f"Nobody follows its job {rental.job_url}, which may go on and cost (stop it with "
            f"`python -m training cancel {run.id}`)"
        )

    def check_start(self, run: Run) -> None:
        if (rental := load(run.path)) and rental.lost:
            raise RentedError(
                f"The job of the run {run.id} has ended ({rental.ended}), and a rented run has no checkpoint "
                "here. Train again with `--on jobs`."
            )

    def cancel(self, run: Run) -> bool:
        from training.jobs.follow import cancel_now  # noqa: PLC0415  (a second, and only for this)

        if not ((rental := load(run.path)) and rental.open):
            return False
        cancel_now(run)
        return True

    def work(self, run: Run) -> int:
        from training.jobs.follow import main  # noqa: PLC0415  (a second, and only for this)

        return main(str(run.path))


RUNNERS["jobs"] = JobsRunner()
