"""The process of one run: `python -m training run RUN_DIR`, started by the CLI and the app alike.

It hands the run to the pipeline and makes sure that its end, whatever ends it, is written to its status in
one sentence. Knows nothing about what a training does.
"""

import os
import signal
from types import FrameType

import datasets
from transformers.utils import logging as transformers_logging

from inference.artifact import read_record
from inference.common.errors import RunError
from training.fit.run import train_run
from training.runs.ending import Ending, Stop
from training.runs.journal import Journal
from training.runs.run import find_run


def main(path: str) -> int:
    """Take a run to its end. Returns the exit status."""
    run = find_run(path)
    journal = Journal(run.path)
    stop = Stop()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    datasets.disable_progress_bars()
    with Ending(journal) as ending:
        _limit(stop, ending, journal)
        train_run(run, journal, stop)
    return ending.exit_status


def _limit(stop: Stop, ending: Ending, journal: Journal) -> None:
    """Stop the run, with a checkpoint, after MAX_RUN_MINUTES, where that is set: the owner of a Space may.

    What its earlier processes took counts too. Raises RunError when nothing is left.
    """
    minutes = os.environ.get("MAX_RUN_MINUTES", "").strip()
    if not minutes.isdecimal() or minutes == "0":
        return
    spent = read_record(journal.run, "spent.json") or {}
    left_s = 60 * int(minutes) - spent.get("seconds", 0.0)
    if left_s <= 0:
        raise RunError(
            f"The run has had its {minutes} min, the most allowed here (MAX_RUN_MINUTES). "
            "Start one with fewer rows or epochs."
        )

    def too_long(number: int, frame: FrameType | None) -> None:
        ending.cancelled = (
            f"Stopped after {minutes} min, the most allowed here (MAX_RUN_MINUTES). "
            "Its last checkpoint is kept; start a run with fewer rows or epochs."
        )
        stop.on_signal(number, frame)

    signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, left_s)
