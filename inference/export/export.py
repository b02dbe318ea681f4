"""Export an artifact to ONNX, in float32 and int8, and let both through the parity gate.

    record = export_onnx(Path("runs/demo/artifact"), texts, labels)
    record["choice"], record["why"]       # what "auto" will take

The texts are the validation split. Every second one sets what int8 needs (the smoothing, and the margin below
which float32 answers); the others are the gate. Writes onnx/packed.onnx and onnx/packed_int8.onnx, which
TweetTune serves, onnx/model_quantized.onnx for other clients, and onnx/parity.json; what was there stays
until all are whole. Knows nothing about data sets.
"""

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import ModelProto

from inference.artifact import ONNX_FOLDER, PARITY, check_artifact
from inference.batches import Progress, budgeted_batches, no_progress
from inference.classifier import Classifier
from inference.common.errors import ArtifactError
from inference.engine.onnx import OnnxEngine, Session, file_sha256
from inference.engine.parity import FLOAT32, INT8, PROBES, STANDARD, Array, Parity, parity
from inference.export.network import Prefix, build_network
from inference.export.smoothing import largest_inputs, smooth
from inference.export.standard import build_standard
from inference.export.weights import read_weights
from inference.trunk import backbone_of, pad_ids

LEAST_TEXTS = 100
CLOSE_CALL_QUANTILE = 0.95
"""The margin of a close call: int8 moves the lead of a label by less than this for 95 % of the texts."""
_STEPS = 7


def export_onnx(
    path: Path, texts: Sequence[str], labels: Sequence[str], *, progress: Progress = no_progress
) -> dict[str, Any]:
    """Export, measure, and return what parity.json says. Raises ArtifactError when it can't be exported.

    `texts` and `labels` (label names): the validation split, at least 100 rows.
    """
    check_artifact(path)
    classifier = Classifier.load(path, engine="torch")
    references = _references(classifier, texts, labels)
    partial = path / f"{ONNX_FOLDER}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        record = _Export(classifier, partial, progress).run(texts, references)
        record["weights_sha256"] = file_sha256(path / "model.safetensors")
        (partial / PARITY).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(path / ONNX_FOLDER, ignore_errors=True)
        partial.rename(path / ONNX_FOLDER)
    except OSError as error:
        raise ArtifactError(f"{partial} can't be written ({error}). Make room, then export again.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return record


def _references(classifier: Classifier, texts: Sequence[str], labels: Sequence[str]) -> list[int]:
    if len(texts) < LEAST_TEXTS:
        raise ArtifactError(
            f"The parity gate needs at least {LEAST_TEXTS} validation texts, found {len(texts)}. Give more."
        )
    unknown = sorted(set(labels) - set(classifier.labels))
    if unknown:
        raise ArtifactError(
            f"The validation texts have labels that the model does not know ({', '.join(unknown[:5])}; "
            f"it knows {', '.join(classifier.labels)}). Give texts with the model's labels."
        )
    return [classifier.labels.index(label) for label in labels]


class _Export:
    def __init__(self, classifier: Classifier, folder: Path, progress: Progress) -> None:
        self.classifier, self.folder, self._progress, self._done = classifier, folder, progress, 0
        self.model = classifier.model

    def _step(self) -> None:
        self._done += 1
        self._progress(self._done, _STEPS)

    def run(self, texts: Sequence[str], references: Sequence[int]) -> dict[str, Any]:
        token_ids = self.classifier.encode(texts).token_ids
        reference = self.classifier.logits(token_ids)
        self._step()
        prefix = prompt_prefix(self.classifier)
        self._write(build_network(read_weights(self.model), prefix, int8=False), FLOAT32)
        self._step()
        self._write(self._int8_network(token_ids[::2], prefix), INT8)
        self._step()
        exact, quick = Session(self.folder / FLOAT32), Session(self.folder / INT8)
        self._step()
        tune, gate = slice(0, None, 2), slice(1, None, 2)
        lead = leads(reference[tune]) - leads(_all(quick, token_ids[tune]), of=reference[tune])
        margin = float(np.quantile(np.abs(lead), CLOSE_CALL_QUANTILE))
        self._step()
        both = OnnxEngine(exact, quick, margin=margin, reason="")
        exact_record = self._measure(exact, token_ids[gate], reference[gate], references[gate])
        int8_record = self._measure(both, token_ids[gate], reference[gate], references[gate])
        alone = parity(reference[gate], _all(quick, token_ids[gate]), references[gate])
        probes = self.classifier.encode(PROBES).token_ids
        int8_record |= {
            "close_call_margin": margin,
            "close_calls": round(both.close_calls / max(1, both.answered), 4),
            "labels_equal_without_close_calls": alone.labels_equal,
            "probe_token_ids": probes,
            "probe_logits": quick.logits(probes).tolist(),
        }
        self._step()
        engines = {
            "float32": exact_record | {"sha256": file_sha256(self.folder / FLOAT32)},
            "int8": int8_record | {"sha256": file_sha256(self.folder / INT8)},
        }
        return verdict(engines) | {
            "standard": self._standard(token_ids[gate], prefix, reference[gate], references[gate])
        }

    def _standard(
        self, token_ids: Sequence[Sequence[int]], prefix: Prefix, reference: Array, labels: Sequence[int]
    ) -> dict[str, Any]:
        """Write the file for other clients; how alike it answers is told, whatever the gate says of it."""
        self._write(build_standard(read_weights(self.model), prefix), STANDARD)
        file = self.folder / STANDARD
        record = self._measure(Session(file), token_ids, reference, labels) | {"sha256": file_sha256(file)}
        self._step()
        return {**record, "why": standard_in_words(record)}

    def _int8_network(self, token_ids: Sequence[Sequence[int]], prefix: Prefix) -> ModelProto:
        weights, values = read_weights(self.model), [value.copy() for value in prefix.values]
        pad = self.model.config.pad_token_id
        batches = (
            pad_ids([token_ids[row] for row in rows], pad)
            for rows in budgeted_batches([len(ids) for ids in token_ids], tokens=1024)
        )
        largest = largest_inputs(self.model, batches, skip=len(prefix.token_ids))
        smooth(weights, values, largest)
        return build_network(weights, Prefix(prefix.token_ids, prefix.keys, values), int8=True)

    def _write(self, network: ModelProto, name: str) -> None:
        (self.folder / name).write_bytes(network.SerializeToString())

    def _measure(
        self,
        engine: Session | OnnxEngine,
        token_ids: Sequence[Sequence[int]],
        reference: Array,
        labels: Sequence[int],
    ) -> dict[str, Any]:
        _all(engine, token_ids[:32])
        began = time.perf_counter()
        found = _all(engine, token_ids)
        rate = len(token_ids) / (time.perf_counter() - began)
        result: Parity = parity(reference, found, labels)
        return {
            "n": result.n,
            "labels_equal": round(result.labels_equal, 5),
            "macro_f1_points": round(result.macro_f1_points, 3),
            "largest_logit_difference": float(np.abs(found - reference).max()),
            "passes": result.passes,
            "posts_per_s": round(rate, 1),
        }


def leads(logits: Array, *, of: Array | None = None) -> Array:
    """Return how far apart the two best labels of `of` (default: the logits themselves) are in the logits."""
    order = np.argsort(logits if of is None else of, axis=1)
    rows = np.arange(len(logits))
    lead: Array = logits[rows, order[:, -1]] - logits[rows, order[:, -2]]
    return lead


def verdict(engines: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return parity.json: the fastest engine that passes, and why. Raises ArtifactError if float32 fails."""
    exact, int8 = engines["float32"], engines["int8"]
    if not exact["passes"]:
        raise ArtifactError(
            f"The exported network gives another label than PyTorch on {1 - exact['labels_equal']:.1%} of "
            f"{exact['n']} texts, so it was not kept. Serve this model with --engine torch."
        )
    found = (
        f"int8 with float32 for close calls ({int8['close_calls']:.1%}) gives the same label as PyTorch on "
        f"{int8['labels_equal']:.1%} of {int8['n']} validation texts, "
        f"macro-F1 {int8['macro_f1_points']:.2f} points apart"
    )
    ratio = int8["posts_per_s"] / exact["posts_per_s"]
    if int8["passes"] and ratio > 1:
        choice, why = "int8", f"{found}: it passes the gate, at {ratio:.1f} times float32's rate."
    elif int8["passes"]:
        choice, why = "float32", f"{found}, but it is no faster here, so float32 answers."
    else:
        choice, why = "float32", f"{found}: it fails the gate, so float32 answers."
    return {"choice": choice, "why": why, "engines": engines}


def standard_in_words(record: dict[str, Any]) -> str:
    """Return how alike the file for other clients answers, in a sentence."""
    gate = "it passes the gate" if record["passes"] else "less than the gate asks for"
    return (
        f"{STANDARD}, int8 weights for other clients, gives the same label as PyTorch on "
        f"{record['labels_equal']:.1%} of {record['n']} validation texts, macro-F1 "
        f"{record['macro_f1_points']:.2f} points apart: {gate}."
    )


def prompt_prefix(classifier: Classifier) -> Prefix:
    """Return the token ids that begin every text, with their keys and values; a text keeps at least one."""
    examples = classifier.encode(["", "a", "1"]).token_ids
    common = 0
    while common < min(len(ids) for ids in examples) - 1 and len({ids[common] for ids in examples}) == 1:
        common += 1
    if not common:
        return Prefix((), [], [])
    token_ids = examples[0][:common]
    with torch.inference_mode():
        past = backbone_of(classifier.model)(torch.tensor([token_ids]), use_cache=True).past_key_values
    return Prefix(
        tuple(token_ids),
        [layer.keys[0].float().cpu().numpy() for layer in past.layers],
        [layer.values[0].float().cpu().numpy() for layer in past.layers],
    )


def _all(engine: Session | OnnxEngine, token_ids: Sequence[Sequence[int]]) -> Array:
    lengths = [len(ids) for ids in token_ids]
    parts = [
        (rows, engine.logits([token_ids[row] for row in rows]))
        for rows in budgeted_batches(lengths, tokens=OnnxEngine.batch_tokens)
    ]
    result = np.zeros((len(token_ids), parts[0][1].shape[1]), dtype=np.float32)
    for rows, logits in parts:
        result[rows] = logits
    return result
