"""`python -m inference score IN --model M --output OUT`: score a file of texts.

The libraries that it needs are imported when it runs, so that help and mistakes come at once.
"""

import argparse
import sys
from dataclasses import asdict, fields
from pathlib import Path

from inference.artifact import model_of
from inference.common.command import INTERRUPTED, MODEL, Commands, add_command, option, positive, print_json
from inference.engine import ENGINES


def add_parser(commands: Commands) -> None:
    """Add the command `score` to a parser's commands."""
    score = add_command(
        commands,
        "score",
        _score,
        "score a file",
        description="Score a file: every row gets a label. "
        "A run that was killed goes on when the same command is given again.",
    )
    option(score, "input IN", "a file of any type in docs/training.md, such as .csv", type=Path)
    option(score, "--model M", MODEL, required=True)
    option(score, "--output OUT", "the file to write: CSV, TSV, JSONL or Parquet", type=Path, required=True)
    option(score, "--text-column NAME", "column of the texts (default: found by name)", default="")
    option(score, "--key NAME", "keep this column alone beside the new ones (default: keep all)", default="")
    option(score, "--probabilities", "add a column with each label's probability")
    option(
        score,
        "--precision SHARE",
        "add a column on which answers are sure enough for so many to be right, such as 0.9",
        type=float,
    )
    option(
        score,
        "--abstain-below SHARE",
        "add a column on which answers are at least so sure, such as 0.7",
        type=float,
    )
    option(score, "--out-of-scope", "add a column on which texts are unlike the training's")
    option(score, "--engine", "what computes; ray: on a cluster", default="auto", choices=(*ENGINES, "ray"))
    option(score, "--workers N", "Ray's workers, one model each (default: one a CPU)", type=positive)
    option(score, "--overwrite", "replace OUT, and throw away parts of another scoring")


def _score(given: argparse.Namespace) -> int:
    # All imports here are late: Arrow takes a moment and torch seconds, and mistakes are reported first.
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
