"""The engine that runs an exported artifact in ONNX Runtime: int8 where that passed the gate, else float32.

    engine = load(Path("runs/demo/artifact"))
    engine.logits(token_ids)
    engine.close_calls, engine.answered      # texts that int8 left to float32, of all

int8 answers most texts. Where its two best labels are too close for it to decide (a margin that export
measured), float32 answers again.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from inference.artifact import ONNX_FOLDER, PARITY, read_record
from inference.common.errors import ArtifactError
from inference.common.machine import cores
from inference.common.store import sha256_of
from inference.engine.parity import FLOAT32, INT8

_PROBE_TOLERANCE = 0.05  # logits; kernels round differently, but one that overflows is off by far more
Array = NDArray[np.float32]


class Session:
    """One ONNX file in ONNX Runtime."""

    def __init__(self, path: Path, *, sha256: str | None = None) -> None:
        """Load a file. Raises ArtifactError when ONNX Runtime refuses it, or its hash is not `sha256`."""
        if sha256 is not None:
            _check_unchanged(path, sha256)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cores()
        options.log_severity_level = 3
        # Spinning threads answer sooner; after an answer they must leave the cores to the server.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ArtifactError(
                f"{path} can't be loaded by ONNX Runtime ({' '.join(str(error).split())[:200]}). "
                "Write it again: `python -m inference export MODEL`."
            ) from error

    def logits(self, token_ids: Sequence[Sequence[int]]) -> Array:
        longest = max(len(ids) for ids in token_ids)
        input_ids = np.zeros((len(token_ids), longest), dtype=np.int64)
        mask = np.zeros_like(input_ids)
        for row, ids in enumerate(token_ids):
            input_ids[row, : len(ids)] = ids
            mask[row, : len(ids)] = 1
        feed = {"input_ids": input_ids, "attention_mask": mask}
        answer: Array = self._session.run(None, feed)[0]
        return answer


class OnnxEngine:
    """float32 alone, or int8 with float32 for its close calls."""

    batch_tokens = 1024

    def __init__(self, exact: Session, quick: Session | None, *, margin: float, reason: str) -> None:
        self.name = "onnx-int8" if quick else "onnx"
        self.reason = reason
        self.answered = self.close_calls = 0
        self._exact, self._quick, self._margin = exact, quick, margin

    def without_close_calls(self) -> "OnnxEngine | None":
        """Return int8 alone, which is faster; None if float32 answers anyway."""
        if self._quick is None:
            return None
        return OnnxEngine(self._quick, None, margin=0.0, reason="Close calls are left to int8.")

    def logits(self, token_ids: Sequence[Sequence[int]]) -> Array:
        """Return logits of shape (texts, labels) for one batch of texts, none of which is empty."""
        if self._quick is None:
            return self._exact.logits(token_ids)
        logits = self._quick.logits(token_ids)
        close = np.flatnonzero(margins(logits) < self._margin).tolist()
        if close:
            logits[close] = self._exact.logits([token_ids[row] for row in close])
        self.answered += len(token_ids)
        self.close_calls += len(close)
        return logits


def margins(logits: Array) -> Array:
    """Return by how much the best logit of each text leads the second best."""
    best = np.partition(logits, -2, axis=1)[:, -2:]
    lead: Array = best[:, 1] - best[:, 0]
    return lead


def load(path: Path) -> OnnxEngine:
    """Load what export left in an artifact's onnx/. Raises ArtifactError where it is missing or changed."""
    folder = path / ONNX_FOLDER
    record = read_record(folder, PARITY)
    if not record:
        raise ArtifactError(
            f"{path} has no {ONNX_FOLDER}/{PARITY}. Export it first: `python -m inference export {path}`."
        )
    try:
        _check_unchanged(path / "model.safetensors", record["weights_sha256"])
        engines, why = record["engines"], record["why"]
        exact = Session(folder / FLOAT32, sha256=engines["float32"]["sha256"])
        if record["choice"] != "int8":
            return OnnxEngine(exact, None, margin=0.0, reason=why)
        int8 = engines["int8"]
        quick = Session(folder / INT8, sha256=int8["sha256"])
        off = float(np.abs(quick.logits(int8["probe_token_ids"]) - np.array(int8["probe_logits"])).max())
        if off <= _PROBE_TOLERANCE:
            return OnnxEngine(exact, quick, margin=float(int8["close_call_margin"]), reason=why)
    except (KeyError, TypeError) as error:
        raise ArtifactError(
            f"{folder / PARITY} is not what export writes ({error!r}). "
            f"Export again: `python -m inference export {path}`."
        ) from error
    why = (
        f"int8 passed where it was exported, but this CPU's int8 is off by {off:.2f} logits, "
        "so float32 answers."
    )
    return OnnxEngine(exact, None, margin=0.0, reason=why)


def _check_unchanged(file: Path, sha256: str) -> None:
    try:
        found = sha256_of(file)
    except OSError as error:
        raise ArtifactError(
            f"{file} can't be read ({error}). Export again: `python -m inference export MODEL`."
        ) from error
    if found != sha256:
        raise ArtifactError(
            f"{file} is not the file that was exported and checked. "
            "Export again: `python -m inference export MODEL`."
        )
