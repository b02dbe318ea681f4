"""The main way of the project: data → base → trunk → training → artifact → evaluation.

    train_run(run, log, stop)

Each step below is a module of this package. Everything is reported to the run's folder, by its log.
Killed at any moment, it can be called again and ends with the same weights.
"""

import copy
import dataclasses
import gc
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from inference.artifact import ADAPTER, EVALUATION, VALIDATION, read_record
from inference.baselines import Baseline
from inference.baselines.bag_of_words import BagOfWords, Majority
from inference.classifier import Classifier, softmax
from inference.common.errors import ArtifactError, DataError
from inference.common.machine import peak_memory_mb
from inference.common.store import JsonObject, read_jsonl, write_json, write_jsonl
from inference.engine.precision import Precision
from inference.engine.pytorch import TorchEngine
from inference.export.export import export_onnx
from inference.reference import needed, reference_of, save_reference, scope_of, token_lengths
from inference.selective import CoveragePoint, coverage_curve
from training.audit.audit import audit
from training.data.add_labels import LabelsReport
from training.data.load import Splits
from training.data.report import CleaningCounts
from training.evaluate.calibration import best_temperature
from training.evaluate.evaluate import duplicate_rows, evaluate, rows_read
from training.evaluate.scores import BAG_OF_WORDS, MAJORITY
from training.fit.prepare import Prepared, TrainingData, base_prompt, load_data, prepare
from training.fit.teachers import answers_of_teachers
from training.fit.trainer import Tuned, macro_f1, train_seeds
from training.model.bases import Base
from training.model.classifier import load_base_classifier, save_base_head
from training.publish.card import write_card
from training.publish.card.examples import EXAMPLES_FILE, classify_examples
from training.publish.scan import check_records
from training.runs import launch
from training.runs.log import RunLog
from training.runs.process import Cancelled
from training.runs.provenance import write_provenance
from training.runs.run import Run

LEAST_TO_CALIBRATE = 50
"""Validation rows below which a temperature would be chosen by chance."""


RATED = 200
"""Texts on which the rates of a student and its teacher are measured."""


class Stopping(Protocol):
    """A request to stop, which may come at any time."""

    asked: bool
    gently: bool
    """While it is true, the request only sets `asked`; otherwise it raises Cancelled."""


def train_run(run: Run, log: RunLog, stop: Stopping) -> None:
    """Take a run from its recipe to its artifact and evaluation. Raises Cancelled when asked to stop."""
    if (run.path / EVALUATION).is_file():  # killed while it tidied up
        return _tidy(run)
    recipe, artifact = run.recipe, run.path / "artifact.partial"
    with launch.first_alone():
        with log.phase("prepare"):
            data = load_data(recipe, next(iter(run.events("data")), None))
            _check_unchanged(run, data)
            log.event("data", **data.to_json())
            _audit(log, data.splits)
            write_jsonl(run.path / VALIDATION, _labelled(data.splits))
        prepared = prepare(recipe, run.path, data=data, report=log, precision=_chosen_before(run))
    checkpoints, stop.gently = run.path / "checkpoints", True
    answers = None
    if recipe.teachers:
        with log.phase("teach"):
            answers = answers_of_teachers(
                prepared, folder=checkpoints, report=log, stop_asked=lambda: stop.asked
            )
            if answers is None or stop.asked:
                raise Cancelled
            log.note(answers.sentence)
            log.event("teachers", **answers.to_json())
            prepared = answers.taught_to(prepared)
    with log.phase("train"):
        tuned = train_seeds(
            prepared, recipe, checkpoints=checkpoints, report=log, stop_asked=lambda: stop.asked
        )
        stop.gently = False
        if tuned is None or stop.asked:
            raise Cancelled
        if recipe.seeds > 1:
            log.note(tuned.sentence)
    launch.part()
    if not launch.is_first():
        return
    record = _record(prepared, tuned) | ({"teachers": answers.to_json()} if answers else {})
    with log.phase("export"):
        if recipe.calibrate:
            record["temperature"] = _calibrate(tuned, prepared.validation.labels, log)
        _export(prepared, tuned.model, artifact)
        write_provenance(artifact, record)
        if recipe.onnx:
            _export_onnx(run, log, artifact)
    base, temperature = prepared.base, record.get("temperature", 1.0)
    curve = coverage_curve(prepared.validation.labels, softmax(tuned.logits / temperature))
    del prepared, tuned  # the evaluation loads what was written, and needs the memory
    gc.collect()
    with log.phase("evaluate"):
        _evaluate(run, log, artifact, base=base, splits=data.splits, record=record, chosen_on=curve)
    _complete(run, log, artifact, record)


def _chosen_before(run: Run) -> Precision | None:
    """Return the precision that an earlier process of the run chose: a resumed run keeps it."""
    for event in run.events("estimate"):
        if chosen := event.get("precision"):
            device = "cuda" if torch.cuda.is_available() else "cpu"
            return Precision(chosen["name"], chosen["reason"], device, chosen.get("gflops", {}))
    return None


def _audit(log: RunLog, splits: Splits) -> None:
    """Report what is wrong with the rows that are used; what reading dropped is reported already."""
    reported = ("conflicts", *CleaningCounts.__dataclass_fields__)
    found = [one for one in audit(splits, deep=False).findings if one.kind not in reported]
    for one in found:
        log.note(one.sentence)
    log.event("audit", findings={one.kind: one.count for one in found})


def _check_unchanged(run: Run, data: TrainingData) -> None:
    """Raise DataError when a run is resumed and its file of labels has changed: other rows, another model."""
    records = (event["more_data"] for event in run.events("data") if event.get("more_data"))
    first = next(map(LabelsReport.from_json, records), None)
    if data.added and first and first.sha256 != data.added.sha256:
        raise DataError(
            f"{data.added.name} has changed since the run began ({first.read:,} rows then, "
            f"{data.added.read:,} now). Start a new run."
        )


def _labelled(splits: Splits) -> Iterator[dict[str, str]]:
    for text, label in zip(splits.validation["text"], splits.validation["label"], strict=True):
        yield {"text": text, "label": splits.labels[label]}


def _record(prepared: Prepared, tuned: Tuned) -> JsonObject:
    recipe, base, splits = prepared.recipe, prepared.base, prepared.splits
    train, validation = prepared.encoded_train, prepared.encoded_validation
    return {
        "recipe": recipe.model_dump()
        | {name: Path(getattr(recipe, name)).name for name in ("more_data", "teacher", "unlabelled")},
        "base": {"name": base.name, "revision": base.revision, "reason": base.reason, "wanted": recipe.base},
        "base_prompt": dataclasses.asdict(base_prompt(recipe)),
        "labels": list(splits.labels),
        "data": prepared.data.to_json(),
        "sizes": {"train": len(splits.train), "validation": len(validation), "test": len(splits.test)},
        "truncated": {"train": train.truncated, "validation": validation.truncated},
        "seed": recipe.seed,
        "trained_by_seed": tuned.seed,
        "validation_macro_f1": {str(seed): round(score, 4) for seed, score in tuned.macro_f1.items()},
        "trunk_layers": prepared.trunk,
        "depth": recipe.depth or prepared.lm.depth,
        "precision": prepared.precision.to_json(),
        "processes": launch.processes(),
        "estimated_s": {name: round(seconds, 1) for name, seconds in prepared.plan.items()},
        "gflops": round(prepared.pace.gflops, 1),
    }


def _calibrate(tuned: Tuned, labels: Sequence[int], log: RunLog) -> float:
    """Divide the head by the temperature that fits the validation rows, and return it.

    The head has no bias, so its logits are divided; 1, and a note, where the rows can't tell.
    """
    wrong = int((tuned.logits.argmax(1) != np.array(labels)).sum())
    if len(labels) < LEAST_TO_CALIBRATE or not wrong:
        why = f"only {len(labels)} validation rows" if wrong else "no validation row is wrong"
        log.note(f"The probabilities are left as they are: {why}, which tells no temperature.")
        return 1.0
    temperature = best_temperature(softmax(tuned.logits), list(labels))
    with torch.no_grad():
        for name, parameter in tuned.model.named_parameters():
            if "score." in name:  # twice in a model with adapters: as it was, and as it is trained
                parameter.div_(temperature)
    return round(temperature, 6)


def _export(prepared: Prepared, tuned: PreTrainedModel | PeftModel, artifact: Path) -> None:
    """Write a plain Transformers folder, with the adapters beside the weights they are merged into."""
    shutil.rmtree(artifact, ignore_errors=True)
    artifact.mkdir(parents=True)
    if prepared.recipe.method == "lora":
        tuned.peft_config["default"].base_model_name_or_path = prepared.base.name  # not this machine's path
        tuned.save_pretrained(artifact / ADAPTER, save_embedding_layers=False)
        (artifact / ADAPTER / "README.md").unlink()  # peft's empty form, with this machine's path in it
        tuned = tuned.merge_and_unload(safe_merge=True)
    tuned.save_pretrained(artifact)
    prepared.tokenizer.save_pretrained(artifact)
    save_base_head(prepared.base_head, artifact)


def _export_onnx(run: Run, log: RunLog, artifact: Path) -> None:
    """Export to ONNX; a model that can't be is served by PyTorch, and the run says so."""
    rows = list(read_jsonl(run.path / VALIDATION))
    try:
        texts, labels = ([row[name] for row in rows] for name in ("text", "label"))
        exported = export_onnx(artifact, texts, labels, progress=log.progress)
        log.note(f"ONNX: {exported.why}")
    except ArtifactError as error:
        log.note(f"ONNX: not exported. {error}")


def _evaluate(
    run: Run,
    log: RunLog,
    artifact: Path,
    *,
    base: Base,
    splits: Splits,
    record: JsonObject,
    chosen_on: Sequence[CoveragePoint],
) -> None:
    """Read the locked test split, once: everything that is chosen has been chosen."""
    precision = record["precision"]["name"]
    tuned = Classifier.load(artifact, engine=f"torch-{precision}")
    untouched = load_base_classifier(artifact, base=base, precision=precision)
    if precision != "float32":
        record["precision"] |= _beside_float32(tuned, splits, precision, log)
    baselines, left_out = _baselines(splits)
    result = evaluate(
        tuned,
        untouched,
        splits.test["text"],
        splits.test["label"],
        split="test",
        seed=run.recipe.seed,
        progress=log.progress,
        baselines=baselines,
        left_out=left_out,
        rows=rows_read(splits, "test"),
        duplicates=duplicate_rows(splits),
        temperature=record.get("temperature", 1.0),
        chosen_on=chosen_on,
    )
    write_json(artifact / EVALUATION, result.evaluation.to_json())
    write_json(artifact / EXAMPLES_FILE, classify_examples(tuned, untouched).to_json())
    texts = list(splits.train["text"])
    reference = reference_of(
        tuned.encode(texts).token_ids,
        validation=tuned.encode(list(splits.validation["text"])).token_ids,
        confidences=result.confidences,
        lengths=token_lengths(tuned.tokenizer),
        seed=run.recipe.seed,
    )
    save_reference(reference, artifact)
    scope = needed(scope_of(artifact, tuned.tokenizer))
    marked = sum(scope.unknown_share(ids) > scope.above for ids in result.token_ids)
    log.note(
        f"A text is called out of scope where more than {100 * scope.above:.0f} % of its tokens were hardly "
        f"in training, or where it falls into more pieces than others: so are at most 1 % of {scope.n:,} "
        f"validation texts, and {marked:,} of {len(result.token_ids):,} test texts."
    )
    check_records(artifact, [*texts, *splits.validation["text"], *splits.test["text"]])
    write_jsonl(run.path / "disagreements.jsonl", map(dataclasses.asdict, result.disagreements))
    if run.recipe.teacher.strip():
        _tell_student(
            run, log, tuned, untouched, texts, agreed=1 - len(result.disagreements) / len(splits.test)
        )
    if result.shared_layers:
        log.note(f"Base and fine-tuned share {result.shared_layers} layers, computed once for both.")


def _beside_float32(tuned: Classifier, splits: Splits, precision: str, log: RunLog) -> JsonObject:
    """Say how far the answers in another precision are those of float32, on the validation rows."""
    exact = copy.copy(tuned)
    exact.engine = TorchEngine(tuned.model, reason="To compare with.")
    ids, labels = tuned.encode(splits.validation["text"][:]).token_ids, splits.validation["label"][:]
    mine, theirs = tuned.logits(ids), exact.logits(ids)
    same = float((mine.argmax(1) == theirs.argmax(1)).mean())
    scores = [macro_f1(mine, labels), macro_f1(theirs, labels)]
    log.note(
        f"{precision} gives {100 * same:.1f} % of the validation rows the label of float32; macro-F1 "
        f"{100 * scores[0]:.1f} and {100 * scores[1]:.1f} %."
    )
    return {"same_labels": round(same, 4), "macro_f1": round(scores[0], 4), "float32": round(scores[1], 4)}


def _tell_student(
    run: Run, log: RunLog, student: Classifier, base: Classifier, texts: list[str], *, agreed: float
) -> None:
    """Report how often a student agrees with its teacher, and how much faster it is, if that is its base."""
    if Path(run.recipe.teacher) != Path(run.recipe.base):
        return
    rates = []
    for one in (base, student):
        one.predict(texts[:8])
        started = time.perf_counter()
        one.predict(texts[:RATED])
        rates.append(len(texts[:RATED]) / (time.perf_counter() - started))
    log.event("student", agreed=round(agreed, 4), teacher_rate=round(rates[0], 1), rate=round(rates[1], 1))
    log.note(
        f"Student and teacher agree on {100 * agreed:.1f} % of the test rows. The student classifies "
        f"{rates[1]:,.1f} texts a second, the teacher {rates[0]:,.1f}: {rates[1] / rates[0]:.1f} times."
    )


def _baselines(splits: Splits) -> tuple[dict[str, Baseline], dict[str, str]]:
    """Return the baselines by name, and why one of them is left out."""
    texts, labels = splits.train["text"], splits.train["label"]
    found: dict[str, Baseline] = {MAJORITY: Majority.fit(labels, names=splits.labels)}
    validation = (splits.validation["text"], splits.validation["label"])
    try:
        found[BAG_OF_WORDS] = BagOfWords.fit(texts, labels, names=splits.labels, validation=validation)
    except ValueError as error:  # scikit-learn's: one class alone, or no word at all
        return found, {BAG_OF_WORDS: f"it can't learn from this data ({str(error).split('.')[0]})"}
    return found, {}


def _complete(run: Run, log: RunLog, artifact: Path, record: JsonObject) -> None:
    scores = read_record(artifact, EVALUATION) or {}
    record["duration_s"] = {name: round(seconds, 1) for name, seconds in log.seconds.items()}
    record["peak_memory_mb"] = round(peak_memory_mb() or 0) or None
    write_provenance(artifact, record)
    write_card(artifact, run=run.path)
    shutil.rmtree(run.artifact, ignore_errors=True)
    artifact.rename(run.artifact)
    log.event("result", **scores)
    write_json(run.path / EVALUATION, scores)
    _tidy(run)


def _tidy(run: Run) -> None:
    """Remove what only an unfinished run needs."""
    for left_over in [*run.path.glob("trunk-*"), run.path / "checkpoints"]:
        shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()
