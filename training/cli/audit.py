"""The command that looks for what is wrong with a data set: `python -m training audit DATASET`.

add_commands(commands)
"""

import argparse
import random
from pathlib import Path
from typing import TYPE_CHECKING

from inference.common.command import Commands, add_command, option, print_found
from inference.common.errors import DataError
from training.cli.options import BASE, DATASET, data_of, data_options

if TYPE_CHECKING:
    from training.audit.audit import Audit
    from training.data.load import Splits


def add_commands(commands: Commands) -> None:
    """Add `audit` to the parser."""
    sub = add_command(
        commands,
        "audit",
        _audit,
        "look for what is wrong with a data set: duplicates, leaks, contradictions, probable label errors",
    )
    option(sub, "dataset", DATASET, default="auto", nargs="?")
    data_options(sub)
    option(sub, "--base BASE", BASE, default="auto")
    option(sub, "--max-length N", "tokens that are not cut", default=128)
    option(
        sub,
        "--labels",
        "look for probable label errors, which takes a pass of the base over the rows (default: yes)",
        default=True,
        action=argparse.BooleanOptionalAction,
    )
    option(sub, "--label-rows N", "training rows that are looked at for label errors; 0: all", default=2000)
    option(sub, "--csv F", "write the flagged rows here, as a queue to relabel", type=Path)
    option(sub, "--html F", "write a page here", type=Path)


def _audit(given: argparse.Namespace) -> int:
    from training.audit.audit import audit, load_whole
    from training.audit.page import write_flags, write_page

    if given.max_length < 8:
        raise DataError(f"--max-length is {given.max_length}. Give 8 or more.")
    splits = load_whole(data_of(given))
    found = _by_base(audit(splits), splits, given)
    for path, write in ((given.csv, write_flags), (given.html, write_page)):
        if path:
            try:
                write(found, path)
            except OSError as error:
                raise DataError(f"{path} can't be written ({error.strerror}). Name another file.") from error
    lines = found.sentences()
    if found.flags and not given.csv:
        lines.append(f"{len(found.flags):,} rows are flagged; --csv F writes them as a queue to relabel.")
    return print_found(given, found.to_json(), lines)


def _by_base(found: "Audit", splits: "Splits", given: argparse.Namespace) -> "Audit":
    """Add what needs the base: lengths in tokens, and probable label errors."""
    from inference.common.progress import shown_progress
    from inference.prompt import Prompt
    from training.audit.audit import lengths
    from training.audit.labels import base_features, label_errors
    from training.model.bases import resolve_base
    from training.model.classifier import load_language_model, prompted_tokenizer

    lm = load_language_model(resolve_base(given.base))
    texts = [text for part in (splits.train, splits.validation, splits.test) for text in part["text"]]
    tokenizer = prompted_tokenizer(lm, Prompt(), max_length=given.max_length).backend_tokenizer
    tokenizer.no_truncation()
    tokenizer.no_padding()
    found = found.plus(
        lengths([len(one.ids) for one in tokenizer.encode_batch(texts)], max_length=given.max_length)
    )
    if not given.labels:
        return found
    rows = list(range(len(splits.train)))
    if given.label_rows and given.label_rows < len(rows):
        rows = sorted(random.Random(42).sample(rows, given.label_rows))
    part = splits.train.select(rows)
    with shown_progress() as show:
        features = base_features(
            lm,
            part["text"][:],
            splits.labels,
            max_length=given.max_length,
            progress=lambda done, total: show(done / total, f"{done:,} of {total:,} rows", "labels"),
        )
    return found.plus(*label_errors(part["text"][:], part["label"][:], splits.labels, features))
