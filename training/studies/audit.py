"""Audit a recipe's data as a run, the base's probable label errors included.

audit_data(run, log)                     # the work of a run of the kind "audit"
Audit.read(run.path).sentences()         # when it is finished

runs/<id>/features/      what the base makes of the training rows; a resumed audit keeps it
          audit.json, audit.png, flags.csv, audit.html
"""

import hashlib
import random
import shutil
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from inference.common.store import write_bytes
from inference.prompt import Prompt
from training.audit.audit import audit, lengths, load_whole
from training.audit.findings import Finding, Flag
from training.audit.labels import base_features, label_errors
from training.audit.page import write_flags, write_page
from training.data.load import Splits
from training.fit.estimate import gflops
from training.model.bases import resolve_base
from training.model.classifier import LanguageModel, load_language_model, prompted_tokenizer
from training.runs.log import RunLog
from training.runs.process import parameters_of
from training.runs.run import Run
from training.studies.audit_order import AuditOrder
from training.studies.pictures import audit_picture

BLOCK = 500
"""Rows after which what the base makes of them is kept."""


def audit_data(run: Run, log: RunLog) -> None:
    """Take an audit from its order to its files. Killed at any moment, it can be called again."""
    order = AuditOrder.from_json(run.order)
    recipe = order.settings
    with log.phase("audit"):
        splits = load_whole(recipe.data)
        found = audit(splits)
        base = resolve_base(recipe.base)
        lm = load_language_model(base)
        tokens = _tokens(lm, splits, recipe.max_length)
        found = found.plus(lengths(tokens, max_length=recipe.max_length))
    if order.look_at_labels:
        rows = list(range(len(splits.train)))
        if 0 < order.label_rows < len(rows):
            rows = sorted(random.Random(42).sample(rows, order.label_rows))
        work = sum(min(tokens[row], recipe.max_length) for row in rows)
        parameters = parameters_of(str(base.path)) or 0
        log.plan({"labels": 4 * parameters * work / (1e9 * gflops())})  # at half the rate of plain products
        with log.phase("labels"):
            found = found.plus(*_label_errors(run, log, lm, splits, rows, max_length=recipe.max_length))
    write_flags(found, run.path / "flags.csv")
    write_page(found, run.path / "audit.html")
    write_bytes(run.path / "audit.png", audit_picture(found))
    found.write(run.path)
    shutil.rmtree(run.path / "features", ignore_errors=True)


def _tokens(lm: LanguageModel, splits: Splits, max_length: int) -> list[int]:
    """Return the length of each text in the prompt, in tokens, train's first; nothing is cut."""
    tokenizer = prompted_tokenizer(lm, Prompt(), max_length=max_length).backend_tokenizer
    tokenizer.no_truncation()
    tokenizer.no_padding()
    texts = [text for part in (splits.train, splits.validation, splits.test) for text in part["text"]]
    return [len(one.ids) for one in tokenizer.encode_batch(texts)]


def _label_errors(
    run: Run, log: RunLog, lm: LanguageModel, splits: Splits, rows: Sequence[int], *, max_length: int
) -> tuple[list[Finding], list[Flag]]:
    (folder := run.path / "features").mkdir(exist_ok=True)
    part = splits.train.select(rows)
    texts = part["text"][:]
    blocks: list[NDArray[np.float32]] = []
    for start in range(0, len(texts), BLOCK):
        some = texts[start : start + BLOCK]
        digest = hashlib.sha256("\0".join(some).encode()).hexdigest()  # a file may change before a resume
        file = folder / f"{digest}.npy"
        if not file.is_file():
            report = partial(_report, log, start, len(texts))
            found = base_features(lm, some, splits.labels, max_length=max_length, progress=report)
            np.save(half := file.with_suffix(".partial.npy"), found)
            half.rename(file)
        blocks.append(np.load(file))
    return label_errors(texts, part["label"][:], splits.labels, np.concatenate(blocks))


def _report(log: RunLog, before: int, total: int, done: int, of: int) -> None:
    log.progress(before + done, total)
