"""Score a classifier on a split, beside its base and plain baselines on the same rows.

    found = evaluate(tuned, base, texts, references, split="test", baselines={"majority": …})
    found.evaluation.tuned.scores.accuracy     # -> Interval(value=0.74, low=0.725, high=0.755)
    evaluate_artifact(Path("runs/demo/artifact"), split="test")     # `python -m training evaluate`

Scores through the serving code, so what is measured is what is served. Where base and fine-tuned have lower
layers in common to the bit, those are computed once for both.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.artifact import PROVENANCE, read_record
from inference.baselines import Baseline
from inference.baselines.model import load_model
from inference.classifier import Classifier, Progress, no_progress, softmax
from inference.common.errors import ArtifactError, DataError, RecipeError
from inference.common.store import JsonObject, sha256_of
from inference.common.text import duplicate_key
from inference.selective import (
    PRECISIONS,
    CoveragePoint,
    asked_threshold,
    coverage_curve,
    selective,
    threshold_on,
)
from inference.side_by_side import SideBySide
from training.data.load import Splits, check_unchanged, load_labelled, load_splits, spec_of
from training.data.near import nearest
from training.data.read import read_path
from training.data.report import NEAR
from training.evaluate.metrics import compare, scores
from training.evaluate.scores import (
    ALL_ROWS,
    BASE,
    TUNED,
    Answer,
    Calibrated,
    Disagreement,
    Duplicates,
    Evaluation,
    RowsRead,
    System,
    read_evaluation,
)
from training.model.classifier import load_base_classifier
from training.recipes import DataSpec, load_recipe


@dataclass(frozen=True)
class DuplicateRows:
    """Rows that have an exact or near duplicate in train: taken out by the leak gate, or trained on."""

    removed: frozenset[int]
    learnt: frozenset[int]


@dataclass(frozen=True)
class Evaluated:
    """An evaluation, and what never leaves this machine."""

    evaluation: Evaluation
    disagreements: tuple[Disagreement, ...]
    """Rows on which base and fine-tuned disagree."""
    confidences: tuple[float, ...]
    """The fine-tuned model's probability of the label that it gave, by row."""
    token_ids: Sequence[Sequence[int]]
    """The texts as the fine-tuned model reads them."""
    shared_layers: int
    """Lower layers that were computed once for both."""


def evaluate(
    tuned: Classifier,
    base: Classifier | None,
    texts: Sequence[str],
    references: Sequence[int],
    *,
    split: str,
    seed: int = 42,
    progress: Progress = no_progress,
    baselines: Mapping[str, Baseline] | None = None,
    left_out: Mapping[str, str] | None = None,
    rows: RowsRead | None = None,
    duplicates: DuplicateRows | None = None,
    temperature: float = 1.0,
    chosen_on: Sequence[CoveragePoint] = (),
    precisions: Sequence[float] = PRECISIONS,
) -> Evaluated:
    """Score a classifier, its base and baselines on labelled texts, and compare each with the classifier.

    References are numbers in the classifier's label order, which the base and the baselines share.
    `left_out`: why a baseline is missing, by its name; `duplicates`: rows to score with and without.
    `temperature`: the one folded into the classifier's head; the evaluation also reports what the calibration
    error would be without it.
    `chosen_on`: the coverage curve of the validation rows, by which thresholds for `precisions` are chosen.
    Raises DataError when there is no text.
    """
    if not texts:
        raise DataError(f"The {split} split has no rows, so there is nothing to evaluate. Give one that has.")
    encoded = tuned.encode(texts)
    about, seconds, answers = {}, {}, {}
    for name, baseline in (baselines or {}).items():
        about[name], seconds[name] = baseline.about, baseline.seconds
        answers[name] = np.array([prediction.probabilities for prediction in baseline.predict(texts)])
    shared = 0
    if base is None:
        tuned_logits = tuned.logits(encoded.token_ids, progress=progress)
    else:
        shared, tuned_logits, base_logits = _both(tuned, base, texts, encoded.token_ids, progress)
        answers[BASE], about[BASE] = softmax(base_logits), base.name_or_path
    mine = softmax(tuned_logits)
    systems = [
        System(
            name=name,
            scores=scores(references, found, tuned.labels, seed=seed),
            about=about.get(name, ""),
            seconds=seconds.get(name),
        )
        for name, found in {**answers, TUNED: mine}.items()
    ]
    calibrated = None
    if temperature != 1:
        before = scores(references, softmax(tuned_logits * temperature), tuned.labels, seed=seed)
        calibrated = Calibrated(temperature, before.expected_calibration_error)
    evaluation = Evaluation(
        split=split,
        labels=tuple(tuned.labels),
        n=len(texts),
        truncated=sum(encoded.truncated),
        systems=tuple(systems),
        comparisons=tuple(
            compare(references, found, mine, names=(name, TUNED), seed=seed)
            for name, found in answers.items()
        ),
        left_out=dict(left_out or {}),
        rows=rows,
        calibrated=calibrated,
        absent=tuple(label for place, label in enumerate(tuned.labels) if place not in set(references)),
        twins=None
        if duplicates is None
        else _without(duplicates, references, {**answers, TUNED: mine}, tuned.labels, seed),
        coverage=coverage_curve(references, mine),
        chosen_on=tuple(chosen_on),
        selective=tuple(
            selective(
                references, mine, threshold=threshold_on(chosen_on, precision=precision), precision=precision
            )
            for precision in precisions
            if chosen_on
        ),
    )
    confidences = tuple(float(row.max()) for row in mine)
    differing = _disagreements(texts, references, answers[BASE], mine, tuned.labels) if base else ()
    return Evaluated(evaluation, differing, confidences, encoded.token_ids, shared)


def _both(
    tuned: Classifier, base: Classifier, texts: Sequence[str], token_ids: list[list[int]], progress: Progress
) -> tuple[int, NDArray[np.float32], NDArray[np.float32]]:
    """Return the number of layers computed once for both, and the logits of both."""
    base_ids = base.encode(texts).token_ids
    pair = SideBySide.of(tuned, base) if base_ids == token_ids else None
    if pair:
        return pair.layers, *pair.logits(token_ids, progress=progress)
    half = 2 * len(texts)
    mine = tuned.logits(token_ids, progress=lambda done, _: progress(done, half))
    return 0, mine, base.logits(base_ids, progress=lambda done, _: progress(len(texts) + done, half))


def _without(
    duplicates: DuplicateRows,
    references: Sequence[int],
    answers: Mapping[str, NDArray[np.float64]],
    labels: Sequence[str],
    seed: int,
) -> Duplicates:
    """Score each system on the rows that have no duplicate in train."""
    gone = duplicates.removed | duplicates.learnt
    rest = [row for row in range(len(references)) if row not in gone]
    found = {}
    if gone and rest:
        truth = [references[row] for row in rest]
        found = {name: scores(truth, answer[rest], labels, seed=seed) for name, answer in answers.items()}
    return Duplicates(
        removed=len(duplicates.removed - duplicates.learnt),
        learnt=len(duplicates.learnt),
        cosine=NEAR,
        n=len(rest),
        accuracy={name: one.accuracy for name, one in found.items()},
        macro_f1={name: one.macro_f1 for name, one in found.items()},
    )


def _disagreements(
    texts: Sequence[str],
    references: Sequence[int],
    theirs: NDArray[np.float64],
    mine: NDArray[np.float64],
    labels: Sequence[str],
) -> tuple[Disagreement, ...]:
    def answer(row: NDArray[np.float64]) -> Answer:
        return Answer(labels[int(row.argmax())], tuple(round(float(p), 4) for p in row))

    return tuple(
        Disagreement(text, labels[reference], answer(their), answer(my))
        for text, reference, their, my in zip(texts, references, theirs, mine, strict=True)
        if their.argmax() != my.argmax()
    )


def duplicate_rows(splits: Splits, split: str = "test") -> DuplicateRows | None:
    """Find the rows of a held-out split with a duplicate in train, None for train itself."""
    if split == "train":
        return None
    keys = [duplicate_key(text) for text in getattr(splits, split)["text"]]
    learnt = [duplicate_key(text) for text in splits.train["text"]]
    found, exact = nearest(keys, learnt, least=NEAR), set(learnt)
    return DuplicateRows(
        removed=frozenset(
            i for i, key in enumerate(keys) if split == "test" and key in splits.test_duplicates
        ),
        learnt=frozenset(i for i, key in enumerate(keys) if found.left[i] or key in exact),
    )


def rows_read(splits: Splits, split: str) -> RowsRead:
    """Return where the rows of a split come from."""
    source, removed = splits.report.source, splits.report.duplicates_removed
    return RowsRead(source.name, source.revision, source.sha256, removed.get(f"train/{split}", 0))


def evaluate_artifact(
    artifact: Path,
    *,
    dataset: str | None = None,
    split: str = "test",
    limit: int = 0,
    with_base: bool = False,
    text_column: str | None = None,
    label_column: str | None = None,
    label_map: Mapping[str, str] | None = None,
    precision: float | None = None,
) -> Evaluation:
    """Score an artifact on any labelled data; `precision`: the required share of right answers.

    Without a data set, or with the one that the artifact was trained on, it reads that one, split as it was
    then, so that "test" is the locked test split. Other data is scored whole, or the split of
    it: see `load_labelled`. Raises ArtifactError, BaseError or DataError, and PredictionError where the model
    has no threshold for the precision.
    """
    tuned = load_model(artifact, engine="torch")
    asked_threshold(tuned.folder, precision=precision)
    record = _record(artifact)
    own = spec_of(record)
    if dataset is None and own is None:
        raise ArtifactError(f"{artifact} does not say what data it was trained on. Name some with --dataset.")
    rows: tuple[Sequence[str], Sequence[int], RowsRead] | None = None
    duplicates = None
    if own and (dataset is None or _is_own(dataset, record, own, (text_column, label_column))):
        if label_map:
            raise DataError("This data is the model's own, so its labels need no --label-map. Leave it out.")
        spec = dataclasses.replace(
            own.whole(),
            dataset=dataset or own.dataset,
            text_column=text_column or own.text_column,
            label_column=label_column or own.label_column,
            n_train=limit if split == "train" else 0,
            n_validation=limit if split == "validation" else 0,
            n_test=limit if split == "test" else 0,
        )
        with suppress(*([DataError] if dataset else [])):  # it is scored like other data where it has changed
            rows, duplicates = _own_rows(spec, record, tuned, split, given=dataset is not None)
    if rows is None:
        spec = DataSpec(
            dataset=dataset or "",
            text_column=text_column or "",
            label_column=label_column or "",
            n_test=limit,
        )
        found = load_labelled(spec, tuned.labels, split=split, label_map=label_map)
        source, notes = found.source, (*found.notes, *_learnt(found.texts, own, record))
        rows = found.texts, found.labels, RowsRead(source.name, source.revision, source.sha256, notes=notes)
        split = ALL_ROWS if found.whole else split
    texts, numbers, read = rows
    base = load_base_classifier(artifact) if with_base else None
    scaled_by, known = record.get("temperature"), read_evaluation(tuned.folder or artifact)
    return evaluate(
        tuned,
        base,
        texts,
        numbers,
        split=split,
        seed=spec.seed,
        rows=read,
        duplicates=duplicates,
        temperature=scaled_by if isinstance(scaled_by, float) and scaled_by > 0 else 1.0,
        chosen_on=known.chosen_on if known else (),
        precisions=PRECISIONS if precision is None else (precision,),
    ).evaluation


def _record(artifact: Path) -> JsonObject:
    """Return provenance.json, with the data where the run beside the artifact has it."""
    record = read_record(artifact, PROVENANCE) or {}
    recipe = artifact.absolute().parent / "recipe.toml"
    if recipe.is_file():
        with suppress(RecipeError):
            record["recipe"] = load_recipe(recipe).model_dump()
    return record


def _data_of(record: JsonObject) -> JsonObject:
    data = record.get("data")
    return data if isinstance(data, dict) else {}


def _is_own(dataset: str, record: JsonObject, own: DataSpec, columns: tuple[str | None, str | None]) -> bool:
    """Whether the given data set is the one that the artifact was trained on."""
    if any(columns) and columns != (own.text_column, own.label_column):
        return False
    source, path = _data_of(record).get("source") or {}, Path(dataset).expanduser()
    if path.is_dir():
        return source.get("sha256") == read_path(path).sha256
    if path.is_file():  # a pipe would be waited for
        return source.get("sha256") == sha256_of(path)
    return dataset in (own.dataset, (record.get("recipe") or {}).get("dataset"))


def _own_rows(
    spec: DataSpec, record: JsonObject, tuned: Classifier, split: str, *, given: bool
) -> tuple[tuple[Sequence[str], Sequence[int], RowsRead], DuplicateRows | None]:
    """Return the rows of a split of the data that the artifact was trained on."""
    splits = load_splits(spec)
    todo = "Put it back to score its locked test split, or score other rows with --dataset."
    check_unchanged(_data_of(record), splits.report, todo=todo)
    part = getattr(splits, split)
    if set(splits.labels) - set(tuned.labels):
        raise DataError(
            f"The data has the labels {', '.join(splits.labels[:20])}, but the model has "
            f"{', '.join(tuned.labels)}. Score other rows with --dataset."
        )
    numbers = [tuned.labels.index(splits.labels[label]) for label in part["label"]]
    read = rows_read(splits, split)
    if given:
        note = f"The model was trained on {read.data}, so the {split} split is scored, as it was drawn then."
        read = dataclasses.replace(read, notes=(note,))
    return (part["text"], numbers, read), duplicate_rows(splits, split)


def _learnt(texts: Sequence[str], own: DataSpec | None, record: JsonObject) -> list[str]:
    """Say how many of the texts were trained on, where the model's data lies on this machine."""
    kind = (_data_of(record).get("source") or {}).get("kind")
    if own is None or kind not in ("file", "folder", "embedded"):
        return []
    try:
        splits = load_splits(own)
        check_unchanged(_data_of(record), splits.report, todo="")
    except DataError:
        return ["Whether the model was trained on some of them can't be told: its data is not here any more."]
    learnt = set(map(duplicate_key, splits.train["text"]))
    n = sum(duplicate_key(text) in learnt for text in texts)
    return [f"{n:,} of the {len(texts):,} texts are among those that the model was trained on."] if n else []
