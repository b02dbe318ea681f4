"""The command that says what is wrong with a training: `python -m training doctor RUN`.

add_commands(commands)
"""

import argparse
from itertools import islice
from typing import TYPE_CHECKING

from inference.artifact import VALIDATION
from inference.common.command import Commands, add_command, option, print_found
from inference.common.errors import TweetTuneError
from inference.common.store import read_jsonl
from training.cli.options import RUN
from training.runs.records import RECIPE
from training.runs.run import Run, find_run

if TYPE_CHECKING:
    from training.doctor.behaviour import Check


def add_commands(commands: Commands) -> None:
    """Add `doctor` to the parser."""
    sub = add_command(
        commands,
        "doctor",
        _doctor,
        "say what is wrong with a training and how its model behaves, and the changed recipe to try next",
    )
    option(sub, *RUN)


def _doctor(given: argparse.Namespace) -> int:
    from training.doctor.diagnose import check_examinable, command, examine

    run = find_run(given.run)
    check_examinable(run)
    found = examine(run)
    checks, why = _behaviour(run)
    again = command(run.path / RECIPE, found)
    record = {"run": run.id, "diagnoses": [one.to_json() for one in found], "command": again or None}
    record |= {"behaviour": [one.to_json() for one in checks], "behaviour_left_out": why or None}
    lines = [one.sentence for one in found] or [f"Nothing wrong is found with the run {run.id}."]
    lines += [f"Try: {again}"] if again else []
    lines += [f"{'Behaviour, a fault' if one.fault else 'Behaviour'}: {one.sentence}" for one in checks]
    lines += [f"How the model behaves was not looked at: {why}"] if why else []
    return print_found(given, record, lines)


def _behaviour(run: Run) -> "tuple[list[Check], str]":
    """Return how a run's model behaves on its validation rows, or why that can't be measured."""
    from inference.classifier import Classifier
    from training.doctor.behaviour import TEXTS, behaviour

    if not run.artifact.is_dir():
        return [], f"the run is {run.status().state} and has no model yet."
    try:
        texts = [str(row["text"]) for row in islice(read_jsonl(run.path / VALIDATION), TEXTS)]
        return behaviour(Classifier.load(run.artifact, engine="torch"), texts), ""
    except TweetTuneError as error:
        return [], str(error)
