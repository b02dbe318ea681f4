"""The command that looks for what is wrong with a data set: `python -m training audit DATASET`.

add_audit(register, data_options, commands)
"""

import argparse
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from inference.common.command import print_json
from inference.common.errors import DataError
from training.cli.publish import Commands, Register

if TYPE_CHECKING:
    from training.audit.audit import Audit
    from training.data.load import Splits


def add_audit(
    register: Register, data_options: Callable[[argparse.ArgumentParser], None], commands: Commands
) -> None:
    """Add `audit` to the parser."""
    sub = register(
        commands,
        "audit",
        _audit,
        "look for what is wrong with a data set: duplicates, leaks, contradictions, probable label errors",
    )
    sub.add_argument(
        "dataset", nargs="?", default="auto", help="auto, embedded, a Hub id, a file or a folder"
    )
    data_options(sub)
    sub.add_argument("--base", default="auto", help="auto, embedded, a Hub id or a folder (default: auto)")
    sub.add_argument(
        "--max-length", type=int, default=128, metavar="N", help="tokens that are not cut (default: 128)"
    )
    sub.add_argument(
        "--labels",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="look for probable label errors, which takes a pass of the base over the rows (default: yes)",
    )
    sub.add_argument(
        "--label-rows",
        type=int,
        default=2000,
        metavar="N",
        help="training rows that are looked at for label errors; 0: all (default: 2000)",
    )
    sub.add_argument(
        "--csv", type=Path, metavar="F", help="write the flagged rows here, as a queue to relabel"
    )
    sub.add_argument("--html", type=Path, metavar="F", help="write a page here")
    sub.add_argument("--json", action="store_true", help="print it as one JSON object")


def _audit(given: argparse.Namespace) -> int:
    from training.audit.audit import audit, load_whole
    from training.audit.page import write_flags, write_page
    from training.recipes import DataSpec

    if given.max_length < 8 or given.label_rows < 0:
        raise DataError("--max-length takes a number from 8 on, and --label-rows one from 0 on.")
    spec = DataSpec(
        dataset=given.dataset, text_column=given.text_column or "", label_column=given.label_column or ""
    )
    splits = load_whole(spec)
    found = _by_base(audit(splits), splits, given)
    for path, write in ((given.csv, write_flags), (given.html, write_page)):
        if path:
            try:
                write(found, path)
            except OSError as error:
                raise DataError(f"{path} can't be written ({error.strerror}). Name another file.") from error
    if given.json:
        print_json(found.to_json())
        return 0
    sys.stdout.write("\n".join(found.sentences()) + "\n")
    if found.flags and not given.csv:
        sys.stdout.write(
            f"{len(found.flags):,} rows are flagged; --csv F writes them as a queue to relabel.\n"
        )
    return 0


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
