"""The gate that an exported engine must pass: does it answer as the float32 PyTorch model does?

    found = parity(reference_logits, logits, references)
    found.passes            # labels equal on at least 99 %, macro-F1 within 0.5 points

Its figures stand beside the exported files, in onnx/parity.json.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FLOAT32 = "packed.onnx"  # ours alone; other clients look for model*.onnx
INT8 = "packed_int8.onnx"
STANDARD = "model_quantized.onnx"  # the name that transformers.js gives to 8 bits

LABELS_EQUAL_MIN = 0.99
MACRO_F1_POINTS_MAX = 0.5

PROBES = (
    "what a day",
    "I can't believe how good this is!",
    "the train is late again, of course",
    "ok",
    "Meeting moved to 3 pm tomorrow, same room.",
    "worst. service. ever.",
    "",
    "😀 thank you all so much 🎉",
)
"""Our own sentences, whose int8 logits are stored: a CPU whose int8 kernels overflow shows it on them."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Parity:
    """How alike two engines answer `n` texts."""

    n: int
    labels_equal: float
    macro_f1_points: float
    """Absolute difference of macro-F1, in points."""

    @property
    def passes(self) -> bool:
        return self.labels_equal >= LABELS_EQUAL_MIN and self.macro_f1_points <= MACRO_F1_POINTS_MAX


def parity(reference: Array, found: Array, labels: Sequence[int]) -> Parity:
    """Compare logits of shape (texts, labels) with the reference's; `labels`: the texts' true labels."""
    theirs, ours = reference.argmax(axis=1), found.argmax(axis=1)
    true, classes = np.asarray(labels), reference.shape[1]
    difference = abs(macro_f1(true, theirs, classes) - macro_f1(true, ours, classes)) * 100
    return Parity(len(true), float((theirs == ours).mean()), difference)


def macro_f1(true: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> float:
    """Return the mean over classes of F1, 0 to 1; a class that is neither true nor predicted counts as 0."""
    scores = []
    for label in range(classes):
        hits = int(((true == label) & (predicted == label)).sum())
        scores.append(2 * hits / max(1, int((true == label).sum() + (predicted == label).sum())))
    return float(np.mean(scores))
