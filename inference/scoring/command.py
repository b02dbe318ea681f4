"""`python -m inference score IN --model M --output OUT`: score a file of texts.

The libraries that it needs are imported when it runs, so that help and mistakes come at once.
"""

import argparse
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

from inference.artifact import model_of
from inference.common.command import INTERRUPTED, MODEL, positive, print_json
from inference.engine import ENGINES

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `score` to a parser's commands."""
    score = commands.add_parser(
        "score",
        help="score a file",
        description="Score a file: every row gets a label. "
        "A run that was killed goes on when the same command is given again.",
    )
    score.add_argument(
        "input", metavar="IN", type=Path, help="a file of any type in docs/training.md, such as .csv"
    )
    score.add_argument("--model", metavar="M", required=True, help=MODEL)
    score.add_argument(
        "--output",
        metavar="OUT",
        type=Path,
        required=True,
        help="the file to write: CSV, TSV, JSONL or Parquet",
    )
    score.add_argument(
        "--text-column", metavar="NAME", default="", help="column of the texts (default: found by name)"
    )
    score.add_argument(
        "--key",
        metavar="NAME",
        default="",
        help="keep this column alone beside the new ones (default: keep all)",
    )
    score.add_argument(
        "--probabilities", action="store_true", help="add a column with each label's probability"
    )
    score.add_argument(
        "--precision",
        metavar="SHARE",
        type=float,
        help="add a column on which answers are sure enough for so many to be right, such as 0.9",
    )
    score.add_argument(
        "--abstain-below",
        metavar="SHARE",
        type=float,
        help="add a column on which answers are at least so sure, such as 0.7",
    )
    score.add_argument(
        "--out-of-scope", action="store_true", help="add a column on which texts are unlike the training's"
    )
    score.add_argument(
        "--engine",
        choices=(*ENGINES, "ray"),
        default="auto",
        help="what computes; ray: on a cluster (default: auto)",
    )
    score.add_argument(
        "--workers", metavar="N", type=positive, help="Ray's workers, one model each (default: one a CPU)"
    )
    score.add_argument(
        "--overwrite", action="store_true", help="replace OUT, and throw away parts of another scoring"
    )
    score.add_argument("--json", action="store_true", help="print one JSON object")
    score.add_argument("--debug", action="store_true", help="show the traceback of an error")
    score.set_defaults(command=_score)


def _score(given: argparse.Namespace) -> int:
    # All imports here wait for their turn: Arrow takes a moment and torch seconds, and mistakes come first.
    from inference.common.progress import shown_progress
    from inference.scoring.job import ScoringJob, open_input

    given.model = model_of(given.model)
    names = {field.name for field in fields(ScoringJob)}
    job = ScoringJob(**{name: value for name, value in vars(given).items() if name in names})
    table = open_input(job)
    from inference.scoring.score import Progress, score

    try:
        with shown_progress() as show:
            summary = score(job, table, Progress(show))
    except KeyboardInterrupt:
        sys.stderr.write("Stopped. Run the same command again: it goes on from the last whole part.\n")
        return INTERRUPTED
    for note in summary.notes:
        sys.stderr.write(f"{note}\n")
    if given.json:
        print_json(asdict(summary))
    else:
        sys.stdout.write(f"{summary.sentence}\n")
    if summary.nothing_scored:
        sys.stderr.write(
            f"Every row is bad, so nothing was scored; the column {summary.new_columns[-1]!r} says why.\n"
        )
    return int(summary.nothing_scored)
