"""Climb the ladder: measure each step on the same locked test rows, resumable step by step.

    climb(run, log)                        # the work of a run of the kind "ladder"
    Ladder.read(run.path).headline         # when it is finished

    runs/<id>/steps/NAME.json, NAME.npy    what was measured, and the probabilities on the test rows
              steps/rows.json              which rows: a resumed ladder must have the very same
              rungs/NAME/                  what answered, for whatever takes a model
              ladder.json, ladder.csv      the results
              intervals.png, cost.png      the pictures

All choices are made on validation rows; a step reads the test rows once, when it is built.
"""

import gc
import json
import shutil
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from transformers import AutoTokenizer

from inference.artifact import EVALUATION, PROVENANCE, RUNGS, read_record
from inference.baselines import Explained, Predictor
from inference.baselines.kept import keep, reader_of
from inference.classifier import Prediction
from inference.common.errors import BaseError, DataError, RunError, TweetTuneError
from inference.common.machine import cores, peak_memory_mb
from inference.common.store import sha256_of, write_bytes, write_json, write_text
from inference.common.wording import percent
from inference.reference import reference_of, save_reference, token_lengths
from inference.selective import CHOSEN_ON, coverage_curve, selective, threshold_for
from training.data.load import Splits, load_splits
from training.evaluate.calibration import best_temperature, scaled
from training.evaluate.evaluate import rows_read
from training.evaluate.metrics import scores
from training.evaluate.scores import read_all
from training.fit.estimate import gflops
from training.fit.prepare import base_prompt
from training.ladder.order import STEPS, Order, Step
from training.ladder.pictures import cost_picture, intervals_picture
from training.ladder.plan import Counted, planned
from training.ladder.results import Ladder, StepResult, pairs_of, to_csv
from training.ladder.rungs import BASE, BUILDERS, Materials
from training.model.classifier import words_for
from training.runs.log import RunLog
from training.runs.process import parameters_of
from training.runs.run import Run

AT_ONCE = 256
"""Texts between two reports of progress."""
Floats = NDArray[np.float64]
_UNKNOWN_PARAMETERS = 130_000_000


def climb(run: Run, log: RunLog) -> None:
    """Take a ladder from its order to its results. Killed at any moment, it can be called again."""
    order, folder = Order.from_json(run.order), run.path / STEPS
    folder.mkdir(exist_ok=True)
    with log.phase("prepare"):
        splits = load_splits(order.recipe.data)
        log.event("data", **splits.report.to_json(), sentences=splits.report.sentences())
        _check_rows(splits, folder / "rows.json")
        steps = order.steps(labels=_budgets(order, splits, log), classes=len(splits.labels))
        materials = Materials(order, run.path, splits, log)
        if any(step.kind.asks_base for step in steps):
            materials.find_base()  # before anything is measured: without it there is no ladder
        left = [step for step in steps if not (folder / f"{step.name}.json").is_file()]
        plan = planned(left, _counted(materials), flops_per_s=1e9 * gflops())
        log.plan({name: seconds.build + seconds.answer for name, seconds in plan.items()})
    left_out: dict[str, str] = {}
    for step in left:
        with log.phase(step.name):
            try:
                _measure(materials, step, folder, log, build_share=plan[step.name].build_share)
            except (RunError, BaseError):  # it is not the ladder that it was, or has no base
                raise
            except TweetTuneError as error:
                traceback.print_exc()  # to log.txt
                left_out[step.name] = str(error)
                log.note(f"{step.name} is left out: {error}")
    materials.forget()
    _complete(run, materials, steps, left_out)


def _budgets(order: Order, splits: Splits, log: RunLog) -> tuple[int, ...]:
    """Return the numbers of labels that the data can give, each once."""
    there, least = len(splits.train), len(splits.labels)
    for count in order.labels:
        if count > there:
            log.note(f"{count:,} labels were asked for, but only {there:,} are there; all are used.")
        elif count < least:
            log.note(
                f"{count:,} labels were asked for, but there are {least:,} classes; one of each is used."
            )
    return tuple(sorted({min(max(count, least), there) for count in order.labels}))


def _check_rows(splits: Splits, record: Path) -> None:
    """Raise DataError when the rows are not those that the first process saw."""
    parts = (splits.train, splits.validation, splits.test)
    rows = [[*part["text"], *part["label"]] for part in parts]
    found = {"sha256": sha256_of(json.dumps(rows).encode())}
    if (before := read_record(record.parent, record.name)) and before != found:
        raise DataError(
            "The data has changed since this ladder began, so its steps can't be compared. Start a new one."
        )
    write_json(record, found)


def _measure(
    materials: Materials, step: Step, folder: Path, log: RunLog, *, build_share: float = 0.0
) -> None:
    """Build a step's predictor, let it answer, and save the result.

    `build_share`: the planned share of the time for building it.
    """
    gc.collect()
    with suppress(OSError):  # on Linux only: resets the peak of memory
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    materials.begin(build_share)
    started = time.perf_counter()
    built = BUILDERS[step.rung](materials, step)
    prepared = time.perf_counter()
    (texts, labels), test = materials.validation, materials.splits.test
    total = round((len(texts) + len(test)) / (1 - build_share))
    before = total - len(texts) - len(test)
    log.progress(before, total)
    held_out = _answers(built.predictor, texts, lambda done: log.progress(before + done, total))
    before += len(texts)
    asked = time.perf_counter()
    found = _answers(built.predictor, list(test["text"]), lambda done: log.progress(before + done, total))
    seconds, seed = time.perf_counter() - asked, materials.order.seed
    chances = _probabilities(found)
    sure = _probabilities(held_out)
    temperature, precision = best_temperature(sure, labels), materials.order.precision
    threshold = threshold_for(labels, sure, precision=precision)
    scored, after = (
        scores(test["label"], each, materials.labels, seed=seed)
        for each in (chances, scaled(chances, temperature))
    )
    result = StepResult(
        name=step.name,
        rung=step.rung,
        about=built.about,
        labels_used=step.labels if built.labels_used is None else built.labels_used,
        n=len(test),
        scores=scored,
        calibration_error_after=after.expected_calibration_error,
        temperature=temperature,
        minutes_to_prepare=(prepared - started + materials.saved_s) / 60,
        ms_a_tweet=1000 * seconds / len(test),
        usd_a_thousand=materials.order.price * cores() * seconds / 3600 * 1000 / len(test),
        peak_memory_mb=peak_memory_mb(),
        truncated=sum(one.truncated for one in found),
        dropped=built.dropped + sum(one.dropped for one in found if isinstance(one, Explained)),
        weights_sha256=built.hash_weights(),
        selective=selective(test["label"], chances, threshold=threshold, precision=precision),
    )
    np.save(folder / f"{step.name}.npy", chances)
    if materials.order.keep or not step.kind.trains:
        _keep(materials, step, built.predictor, labels, sure)
    write_json(folder / f"{step.name}.json", asdict(result))  # last: without it the step is done again
    log.note(
        f"{step.name}: accuracy {percent(scored.accuracy)} %, {result.ms_a_tweet:.1f} ms a tweet"
        + (f", {result.dropped:,} examples did not fit." if result.dropped else ".")
    )


def _keep(
    materials: Materials, step: Step, predictor: Predictor, labels: Sequence[int], sure: Floats
) -> None:
    """Save a rung as a model, with the records behind its thresholds, data and scope.

    The scope is that of all the ladder's training texts, whether or not the rung has learnt from them.
    """
    place = materials.folder / RUNGS / step.name
    base, found = read_record(materials.folder / STEPS, BASE) or {}, materials.found_base
    keep(predictor, place, base={**base, "path": str(found.path) if found else ""})
    data = materials.splits.report.to_json()
    write_json(place / PROVENANCE, {"recipe": materials.recipe.model_dump(), "data": data, "base": base})
    write_json(place / EVALUATION, {CHOSEN_ON: [asdict(one) for one in coverage_curve(labels, sure)]})
    if reader := reader_of(predictor):
        reference = reference_of(
            reader.counted(list(materials.splits.train["text"])),
            validation=reader.counted(materials.validation[0]),
            confidences=sure.max(axis=1).tolist(),
            lengths=token_lengths(reader.tokenizer),
            seed=materials.order.seed,
        )
        save_reference(reference, place)


def _answers(predictor: Predictor, texts: list[str], progress: Callable[[int], None]) -> list[Prediction]:
    found: list[Prediction] = []
    for at in range(0, len(texts), AT_ONCE):
        found += predictor.predict(texts[at : at + AT_ONCE])
        progress(len(found))
    return found


def _probabilities(found: Sequence[Prediction]) -> Floats:
    return np.array([prediction.probabilities for prediction in found])


def _complete(run: Run, materials: Materials, steps: tuple[Step, ...], left_out: dict[str, str]) -> None:
    folder, splits, order = run.path / STEPS, materials.splits, materials.order
    records = [read_record(folder, f"{step.name}.json") for step in steps if step.name not in left_out]
    results = tuple(read_all(StepResult, records))
    if not results:
        raise DataError(f"No step of the ladder could be measured. {next(iter(left_out.values()), '')}")
    answers = {result.name: np.load(folder / f"{result.name}.npy") for result in results}
    ladder = Ladder(
        labels=splits.labels,
        n=len(splits.test),
        n_validation=len(splits.validation),
        steps=results,
        pairs=pairs_of([result.name for result in results], splits.test["label"], answers, seed=order.seed),
        left_out=left_out,
        rows=rows_read(splits, "test"),
        base=read_record(folder, BASE) or {},
        price=order.price,
        cores=cores(),
    )
    write_text(run.path / "ladder.csv", to_csv(ladder))
    write_bytes(run.path / "intervals.png", intervals_picture(ladder))
    write_bytes(run.path / "cost.png", cost_picture(ladder, order.cost))
    ladder.write(run.path)
    for pattern in ("lora-*", "checkpoints-*", "trunk-*", "index-*"):  # what only an unfinished one needs
        for left_over in run.path.glob(pattern):
            shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()


def _counted(materials: Materials) -> Counted:
    recipe, splits, base = materials.recipe, materials.splits, materials.found_base
    texts, tokens, words, size, context = splits.train["text"][:AT_ONCE], 0.0, 0.0, 0, 0
    if base:
        config = read_record(base.path, "config.json") or {}
        tokenizer = AutoTokenizer.from_pretrained(base.path)
        prompt = base_prompt(recipe)
        tokens = fmean(
            map(len, tokenizer([f"{prompt.prefix} {text}{prompt.suffix}" for text in texts])["input_ids"])
        )
        words = sum(len(tokenizer.tokenize(f" {word}")) - 1 for word in words_for(recipe, splits.labels))
        size = parameters_of(str(base.path)) or _UNKNOWN_PARAMETERS
        context = config.get("max_position_embeddings") or config.get("n_positions") or 1024
    return Counted(
        text_tokens=tokens,
        word_tokens=words,
        classes=len(splits.labels),
        validation=len(splits.validation),
        test=len(splits.test),
        unlabelled=len(materials.unlabelled),
        context=context,
        parameters=size,
        batch_size=recipe.batch_size,
        recipe=recipe,
    )
