"""Score an artifact on any labelled data: what `python -m training evaluate` does.

    evaluate_artifact(Path("runs/demo/artifact"), split="test")["accuracy"]

Without a data set it reads the one that the artifact was trained on, split as it was then, so that "test" is
the locked test split. Knows nothing about how to show scores.
"""

import dataclasses
from pathlib import Path
from typing import Any

from inference.artifact import PROVENANCE, read_record
from inference.classifier import Classifier
from inference.common.errors import ArtifactError, DataError
from training.data.load import load_splits, spec_of
from training.evaluate.evaluate import evaluate
from training.model.classifier import load_base_classifier
from training.recipes import DataSpec


def evaluate_artifact(
    artifact: Path,
    *,
    dataset: str | None = None,
    split: str = "test",
    limit: int = 0,
    with_base: bool = False,
    text_column: str | None = None,
    label_column: str | None = None,
) -> dict[str, Any]:
    """Return the scores as evaluation.json has them. Raises ArtifactError, BaseError or DataError."""
    tuned = Classifier.load(artifact, engine="torch")
    record = read_record(artifact, PROVENANCE) or {}
    own = spec_of(record)
    if dataset is None and own is None:
        raise ArtifactError(f"{artifact} does not say what data it was trained on. Name some with --dataset.")
    spec = own.whole() if own else DataSpec()
    if dataset:
        spec = DataSpec(dataset=dataset, seed=spec.seed)
    spec = dataclasses.replace(
        spec,
        text_column=text_column or spec.text_column,
        label_column=label_column or spec.label_column,
        n_train=limit if split == "train" else 0,
        n_validation=limit if split == "validation" else 0,
        n_test=limit if split == "test" else 0,
    )
    splits = load_splits(spec)
    rows = getattr(splits, split)
    unknown = sorted(set(splits.labels) - set(tuned.labels))
    if unknown:
        raise DataError(
            f"The data has labels that the model does not know ({', '.join(unknown[:5])}; it knows "
            f"{', '.join(tuned.labels)}). Give data with the model's labels."
        )
    numbers = [tuned.labels.index(splits.labels[label]) for label in rows["label"]]
    base = load_base_classifier(artifact) if with_base else None
    return evaluate(tuned, base, rows["text"], numbers, split=split, seed=spec.seed).scores
