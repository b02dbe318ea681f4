"""Score a classifier, with 95 % intervals, and tell whether one classifier is really better than another.

    scores(references, probabilities, ("negative", "neutral", "positive")).accuracy
                                               # -> Interval(value=0.745, low=0.731, high=0.76)
    compare(references, base_probabilities, tuned_probabilities).sentence
                                               # -> "Fine-tuning is better: 210 tweets only it gets right …"
    ClassificationMetric().compute(predictions=[0], references=[0], probabilities=[[0.9, 0.1]])

References and predictions are class ids, probabilities have the shape (n, classes). No script is fetched, as
`evaluate.load` would do.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import datasets
import evaluate
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest
from sklearn import metrics as sk

from inference.common.errors import DataError, PredictionError
from inference.common.intervals import percentile
from training.evaluate.scores import BASE, SINGLE_SCORES, TUNED, CalibrationBin, Comparison, Scores

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

ECE_BINS = 15
SIGNIFICANCE = 0.05
_IN_A_SENTENCE = {TUNED: "fine-tuning"}  # any other system is "the" and its name
_CHUNK = 2_000_000  # rows drawn at once: about 50 MB


class ClassificationMetric(evaluate.Metric):  # type: ignore[misc]
    """The scores of this module, without intervals, as a metric of the `evaluate` library.

    `compute(predictions=[int], references=[int], probabilities=[[float]])` returns accuracy, macro_f1,
    macro_recall, expected_calibration_error, per_class_f1 (a list) and confusion_matrix (rows: true class).
    Raises what `scores` raises. Everything stays in memory; no folder is made.
    """

    def __init__(self, **options: object) -> None:
        super().__init__(**{"keep_in_memory": True, **options})

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Accuracy, macro F1 and recall, F1 by class, confusion matrix, calibration error.",
            citation="",
            inputs_description="\nArgs: predictions and references (class ids), probabilities (n, classes).",
            features=datasets.Features(
                {
                    "predictions": datasets.Value("int64"),
                    "references": datasets.Value("int64"),
                    "probabilities": datasets.List(datasets.Value("float64")),
                }
            ),
            reference_urls=["https://scikit-learn.org/stable/modules/model_evaluation.html"],
        )

    def _build_data_dir(self) -> str:
        """Give evaluate its path without making a folder there: memory needs none."""
        return str(self._data_dir_root) if self.keep_in_memory else str(super()._build_data_dir())

    def _compute(
        self, *, predictions: ArrayLike, references: ArrayLike, probabilities: ArrayLike
    ) -> dict[str, Any]:
        truth, chances = _checked(references, probabilities)
        predicted = np.asarray(predictions, dtype=np.int64)
        if predicted.min() < 0 or predicted.max() >= chances.shape[1]:
            raise PredictionError(
                f"Predictions must be class ids below {chances.shape[1]} (found {predicted.max()})."
            )
        return point_scores(truth, predicted, chances)


def scores(
    references: Sequence[int] | Ints,
    probabilities: ArrayLike,
    labels: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = 1000,
) -> Scores:
    """Return all scores of one classifier.

    `references`: class ids, shape (n,); `probabilities`: shape (n, classes), whose largest is the prediction.
    The interval is the 95 % percentile interval of `resamples` bootstrap resamples (Efron 1979). Macro F1 is
    the mean over the classes that are in the references or the predictions, macro recall over those in the
    references; a class that is in neither has an F1 of 0. The expected calibration error has 15 bins of equal
    width (Guo et al. 2017, arXiv 1706.04599).
    Raises DataError for no rows or a class id that has no label, PredictionError for probabilities of a wrong
    shape, NaN, or outside 0 to 1.
    """
    truth, chances = _checked(references, probabilities, classes=len(labels))
    predicted = chances.argmax(axis=1)
    values = point_scores(truth, predicted, chances)
    resampled = _bootstrap_scores(truth, predicted, chances, seed=seed, resamples=resamples)
    f1 = zip(labels, values["per_class_f1"], resampled["per_class_f1"].T, strict=True)
    return Scores(
        **{name: percentile(values[name], resampled[name]) for name in SINGLE_SCORES},
        per_class_f1={label: percentile(value, drawn) for label, value, drawn in f1},
        confusion_matrix=tuple(map(tuple, values["confusion_matrix"])),
        calibration=calibration(truth, chances),
    )


def point_scores(truth: Ints, predicted: Ints, probabilities: Floats) -> dict[str, Any]:
    """Return the scores without intervals, by scikit-learn; arguments as in `scores`, already checked."""
    ids = list(range(probabilities.shape[1]))
    seen = sorted(set(truth.tolist()) | set(predicted.tolist()))
    f1: Floats = sk.f1_score(truth, predicted, labels=ids, average=None, zero_division=0)
    recall: Floats = sk.recall_score(truth, predicted, labels=np.unique(truth), average=None, zero_division=0)
    return {
        "accuracy": float(sk.accuracy_score(truth, predicted)),
        "macro_f1": float(f1[seen].mean()),
        "macro_recall": float(recall.mean()),
        "expected_calibration_error": expected_calibration_error(truth, probabilities, predicted=predicted),
        "per_class_f1": [float(value) for value in f1],
        "confusion_matrix": sk.confusion_matrix(truth, predicted, labels=ids).tolist(),
    }


def expected_calibration_error(truth: Ints, probabilities: Floats, *, predicted: Ints | None = None) -> float:
    """Return the mean gap between confidence and accuracy over bins of equal width, weighted by their rows.

    Confidence is the largest probability. Source: Guo et al. 2017, arXiv 1706.04599, equation 3.
    """
    bin_of, gap = _calibration_gaps(truth, probabilities, predicted)
    return float(np.abs(np.bincount(bin_of, weights=gap, minlength=ECE_BINS)).sum() / len(truth))


def calibration(references: Sequence[int] | Ints, probabilities: ArrayLike) -> tuple[CalibrationBin, ...]:
    """Return what a reliability diagram shows: the bins of the calibration error that have rows.

    Raises what `scores` raises.
    """
    truth, chances = _checked(references, probabilities)
    bin_of, gap = _calibration_gaps(truth, chances)
    confidence = chances.max(axis=1)
    return tuple(
        CalibrationBin(
            low=place / ECE_BINS,
            high=(place + 1) / ECE_BINS,
            n=int((rows := bin_of == place).sum()),
            confidence=float(confidence[rows].mean()),
            accuracy=float((gap + confidence)[rows].mean()),
        )
        for place in sorted(set(bin_of.tolist()))
    )


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value of McNemar's test for the counts of rows that only one gets right.

    Source: McNemar 1947, doi 10.1007/BF02295996; exact by the binomial distribution. No such row gives 1.
    """
    n = only_first + only_second
    return float(binomtest(only_first, n, 0.5).pvalue) if n else 1.0


def compare(
    references: Sequence[int] | Ints,
    first_probabilities: ArrayLike,
    second_probabilities: ArrayLike,
    *,
    names: tuple[str, str] = (BASE, TUNED),
    seed: int = 0,
    resamples: int = 1000,
) -> Comparison:
    """Compare two systems on the same rows: is the second one's accuracy really another?

    McNemar's exact test, and a paired bootstrap of the accuracy difference. Raises what `scores` raises.
    """
    truth, first = _checked(references, first_probabilities)
    _, second = _checked(references, second_probabilities, classes=first.shape[1])
    first_right, second_right = first.argmax(axis=1) == truth, second.argmax(axis=1) == truth
    gain = second_right.astype(np.int64) - first_right.astype(np.int64)
    # Resampling rows resamples their gains, so three counts (-1, 0, +1) tell all: one multinomial draw.
    counts = np.bincount(gain + 1, minlength=3)
    drawn = np.random.default_rng(seed).multinomial(len(gain), counts / len(gain), size=resamples)
    difference = percentile(float(gain.mean()), (drawn[:, 2] - drawn[:, 0]) / len(gain))
    only_first, only_second = int(counts[0]), int(counts[2])
    p = mcnemar_p(only_first, only_second)
    real = p < SIGNIFICANCE and (difference.low > 0 or difference.high < 0)
    found = Comparison(
        first=names[0],
        second=names[1],
        n=len(truth),
        only_first_right=only_first,
        only_second_right=only_second,
        mcnemar_p=p,
        accuracy_difference=difference,
        real=real,
        sentence="",
    )
    return dataclasses.replace(found, sentence=sentence_of(found))


def sentence_of(found: Comparison, *, corrected: str = "") -> str:
    """Say what a comparison shows; `corrected`: how its p was corrected for other comparisons."""
    first, second = (_IN_A_SENTENCE.get(name, f"the {name}") for name in (found.first, found.second))
    a, b, p, n = found.only_second_right, found.only_first_right, found.mcnemar_p, found.n
    difference = found.accuracy_difference
    points, low, high = (100 * value for value in (difference.value, difference.low, difference.high))
    shown_p = "p < 0.001" if p < 0.001 else f"p = {p:.{3 if p < 0.1 else 2}f}"
    numbers = f"({points:+.1f} points, 95 % interval {low:.1f} to {high:.1f}; McNemar {shown_p}{corrected})"
    tweets = "tweet" if a == 1 else "tweets"
    if a == b == 0:
        return f"No difference shown: both get the same tweets right (n = {n:,})."
    if not found.real:
        return f"No difference shown: {a:,} {tweets} only {second} gets right, {b:,} only {first} {numbers}."
    verdict = f"{second[:1].upper()}{second[1:]} is {'better' if points > 0 else 'worse'}"
    return f"{verdict}: {a:,} {tweets} only it gets right against {b:,} {numbers}."


def _checked(
    references: ArrayLike, probabilities: ArrayLike, *, classes: int | None = None
) -> tuple[Ints, Floats]:
    truth = np.asarray(references)
    chances = np.asarray(probabilities, dtype=np.float64)
    if truth.ndim != 1 or len(truth) == 0:
        raise DataError(f"There is nothing to score: {len(np.atleast_1d(truth))} rows; give at least one.")
    if chances.ndim != 2 or len(chances) != len(truth) or classes not in (None, chances.shape[1]):
        expected = f"({len(truth)}, {classes or 'classes'})"
        raise PredictionError(
            f"The probabilities have the shape {chances.shape}, where {expected} is needed."
        )
    bad = ~np.isfinite(chances).all(axis=1) | (chances < 0).any(axis=1) | (chances > 1 + 1e-6).any(axis=1)
    if bad.any():
        row = int(bad.argmax())
        raise PredictionError(
            f"{int(bad.sum())} of {len(truth)} rows have probabilities that are NaN or outside 0 to 1, "
            f"first in row {row} ({chances[row].tolist()}); the model is broken, train it anew, more slowly."
        )
    if truth.dtype.kind not in "iu" or truth.min() < 0 or truth.max() >= chances.shape[1]:
        raise DataError(
            f"The references must be class ids from 0 to {chances.shape[1] - 1} (found {truth.min()} to "
            f"{truth.max()}); score with the labels the model was trained with."
        )
    return truth.astype(np.int64), chances


def _calibration_gaps(
    truth: Ints, probabilities: Floats, predicted: Ints | None = None
) -> tuple[Ints, Floats]:
    """Return each row's bin, shape (n,), and its hit minus its confidence, shape (n,)."""
    confidence = probabilities.max(axis=1)
    hit = (probabilities.argmax(axis=1) if predicted is None else predicted) == truth
    bin_of = np.clip(np.ceil(confidence * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)  # (low, high]
    return bin_of, hit - confidence


def _bootstrap_scores(
    truth: Ints, predicted: Ints, probabilities: Floats, *, seed: int, resamples: int
) -> dict[str, Floats]:
    """Return each score over the resamples: shape (resamples,), for per_class_f1 (resamples, classes)."""
    k = probabilities.shape[1]
    cells = truth * k + predicted
    bin_of, gap = _calibration_gaps(truth, probabilities, predicted)
    parts: list[tuple[Ints, Floats]] = []
    for rows in _resamples(len(truth), seed=seed, resamples=resamples):
        r = len(rows)
        shift = np.arange(r)[:, None]
        counts = np.bincount((cells[rows] + shift * k * k).ravel(), minlength=r * k * k).reshape(r, k, k)
        sums = np.bincount(
            (bin_of[rows] + shift * ECE_BINS).ravel(), weights=gap[rows].ravel(), minlength=r * ECE_BINS
        )
        parts.append((counts, np.abs(sums.reshape(r, ECE_BINS)).sum(axis=1) / len(truth)))
    confusion = np.concatenate([counts for counts, _ in parts])
    calibration = np.concatenate([errors for _, errors in parts])
    return {**_confusion_scores(confusion), "expected_calibration_error": calibration}


def _resamples(n: int, *, seed: int, resamples: int) -> Iterator[Ints]:
    random = np.random.default_rng(seed)
    size = max(1, _CHUNK // n)
    for start in range(0, resamples, size):
        yield random.integers(n, size=(min(size, resamples - start), n))


def _confusion_scores(confusion: Ints) -> dict[str, Floats]:
    """Return the scores of confusion matrices of shape (resamples, true classes, predicted classes)."""
    hits = np.diagonal(confusion, axis1=1, axis2=2).astype(np.float64)
    true, predicted = confusion.sum(axis=2), confusion.sum(axis=1)
    f1 = np.divide(2 * hits, true + predicted, out=np.zeros_like(hits), where=true + predicted > 0)
    recall = np.divide(hits, true, out=np.zeros_like(hits), where=true > 0)
    return {
        "accuracy": hits.sum(axis=1) / confusion.sum(axis=(1, 2)),
        "macro_f1": f1.sum(axis=1) / (true + predicted > 0).sum(axis=1),
        "macro_recall": recall.sum(axis=1) / (true > 0).sum(axis=1),
        "per_class_f1": f1,
    }
