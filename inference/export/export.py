"""Export an artifact to ONNX, in float32 and int8, and hold both to the parity gate.

    exported = export_onnx(Path("runs/demo/artifact"), texts, labels)
    exported.choice, exported.why       # what "auto" will take

The texts are the validation split. Every second one sets what int8 needs (the smoothing, and the margin below
which float32 answers); the others are the gate. Writes onnx/packed.onnx and onnx/packed_int8.onnx, which
TweetTune serves, onnx/model_quantized.onnx for other clients, and onnx/parity.json; what was there stays
until all are whole.
"""

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch
from onnx import ModelProto

from inference.artifact import ONNX_FOLDER, PARITY, check_artifact
from inference.classifier import Classifier, Progress, budgeted_batches, no_progress
from inference.common.errors import ArtifactError, DataError
from inference.common.store import JsonObject, sha256_of
from inference.engine.onnx import OnnxEngine, Session
from inference.engine.parity import FLOAT32, INT8, PROBES, STANDARD, Array, Parity, parity
from inference.export.network import Form, Prefix, build_network, weight_bits
from inference.export.smoothing import largest_inputs, smooth
from inference.export.weights import read_weights
from inference.tables.objects import json_lines
from inference.trunk import backbone_of, pad_ids

LEAST_TEXTS = 100
CLOSE_CALL_QUANTILE = 0.95
"""The margin of a close call: int8 moves the lead of a label by less than this for 95 % of the texts."""
_STEPS = 5


@dataclass(frozen=True)
class Measurement:
    """How an exported file answers the gate's texts, compared with PyTorch."""

    parity: Parity
    largest_logit_difference: float
    posts_per_s: float

    def to_json(self) -> dict[str, float]:
        return {
            "n": self.parity.n,
            "labels_equal": round(self.parity.labels_equal, 5),
            "macro_f1_points": round(self.parity.macro_f1_points, 3),
            "largest_logit_difference": self.largest_logit_difference,
            "passes": self.parity.passes,
            "posts_per_s": round(self.posts_per_s, 1),
        }


@dataclass(frozen=True)
class Exported:
    """What an export found."""

    choice: str
    """The file that "auto" will take: float32 or int8."""
    why: str
    record: JsonObject
    """The content of parity.json."""


def export_onnx(
    path: Path, texts: Sequence[str], labels: Sequence[str], *, progress: Progress = no_progress
) -> Exported:
    """Export and measure. Raises ArtifactError when the model can't be exported.

    `texts` and `labels` (label names): the validation split, at least 100 rows.
    """
    check_artifact(path)
    classifier = Classifier.load(path, engine="torch-float32")
    if len(texts) < LEAST_TEXTS:
        raise ArtifactError(
            f"The parity gate needs at least {LEAST_TEXTS} validation texts, found {len(texts)}. Give more."
        )
    if unknown := sorted(set(labels) - set(classifier.labels)):
        raise ArtifactError(
            f"The validation texts have labels that the model does not know ({', '.join(unknown[:5])}; "
            f"it knows {', '.join(classifier.labels)}). Give texts with the model's labels."
        )
    references = [classifier.labels.index(label) for label in labels]
    partial = path / f"{ONNX_FOLDER}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        exported = _write_and_measure(classifier, texts, references, partial, progress)
        exported.record["weights_sha256"] = sha256_of(path / "model.safetensors")
        (partial / PARITY).write_text(json.dumps(exported.record, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(path / ONNX_FOLDER, ignore_errors=True)
        partial.rename(path / ONNX_FOLDER)
    except OSError as error:
        raise ArtifactError(f"{partial} can't be written ({error}). Make room, then export again.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return exported


def _write_and_measure(
    classifier: Classifier, texts: Sequence[str], references: Sequence[int], folder: Path, progress: Progress
) -> Exported:
    steps = count(1)

    def step() -> None:
        progress(next(steps), _STEPS)

    def write(name: str, network: ModelProto) -> Session:
        (folder / name).write_bytes(network.SerializeToString())
        step()
        return Session(folder / name)

    def sha256(name: str) -> dict[str, str]:
        return {"sha256": sha256_of(folder / name)}

    token_ids = classifier.encode(texts).token_ids
    reference = classifier.logits(token_ids)
    step()
    prefix = prompt_prefix(classifier)
    tune, gate = slice(0, None, 2), slice(1, None, 2)
    gate_ids, gate_reference, gate_labels = token_ids[gate], reference[gate], references[gate]
    exact = write(FLOAT32, build_network(read_weights(classifier.model), prefix, Form.FLOAT32))
    quick = write(INT8, _int8_network(classifier, token_ids[tune], prefix))
    lead = leads(reference[tune]) - leads(_logits(quick, token_ids[tune]), of=reference[tune])
    margin = float(np.quantile(np.abs(lead), CLOSE_CALL_QUANTILE))
    both = OnnxEngine(exact, quick, margin=margin, reason="")
    float32 = _measure(exact, gate_ids, gate_reference, gate_labels)
    int8 = _measure(both, gate_ids, gate_reference, gate_labels)
    close_calls = round(both.close_calls / max(1, both.answered), 4)
    choice, why = verdict(float32, int8, close_calls=close_calls)
    probes = classifier.encode(PROBES).token_ids
    int8_alone = parity(gate_reference, _logits(quick, gate_ids), gate_labels)
    int8_record = {
        **int8.to_json(),
        "weight_bits": weight_bits(),
        "close_call_margin": margin,
        "close_calls": close_calls,
        "labels_equal_without_close_calls": int8_alone.labels_equal,
        "probe_token_ids": probes,
        "probe_logits": quick.logits(probes).tolist(),
        **sha256(INT8),
    }
    step()
    plain = write(STANDARD, build_network(read_weights(classifier.model), prefix, Form.STANDARD))
    # The file for other clients is kept even if it fails the gate: the record says how closely it agrees.
    standard = _measure(plain, gate_ids, gate_reference, gate_labels)
    record = {
        "choice": choice,
        "why": why,
        "engines": {"float32": {**float32.to_json(), **sha256(FLOAT32)}, "int8": int8_record},
        "standard": {**standard.to_json(), **sha256(STANDARD), "why": standard_in_words(standard.parity)},
    }
    return Exported(choice, why, record)


def _int8_network(classifier: Classifier, token_ids: Sequence[Sequence[int]], prefix: Prefix) -> ModelProto:
    weights, values = read_weights(classifier.model), [value.copy() for value in prefix.values]
    batches = (
        pad_ids([token_ids[row] for row in rows], classifier.model.config.pad_token_id)
        for rows in budgeted_batches([len(ids) for ids in token_ids], tokens=1024)
    )
    smooth(weights, values, largest_inputs(classifier.model, batches, skip=len(prefix.token_ids)))
    return build_network(weights, Prefix(prefix.token_ids, prefix.keys, values), Form.INT8)


def _measure(
    engine: Session | OnnxEngine, token_ids: Sequence[Sequence[int]], reference: Array, labels: Sequence[int]
) -> Measurement:
    _logits(engine, token_ids[:32])  # warm up
    began = time.perf_counter()
    found = _logits(engine, token_ids)
    rate = len(token_ids) / (time.perf_counter() - began)
    return Measurement(parity(reference, found, labels), float(np.abs(found - reference).max()), rate)


def _logits(engine: Session | OnnxEngine, token_ids: Sequence[Sequence[int]]) -> Array:
    """Return the logits of all texts, in input order."""
    parts = [
        (rows, engine.logits([token_ids[row] for row in rows]))
        for rows in budgeted_batches([len(ids) for ids in token_ids], tokens=OnnxEngine.batch_tokens)
    ]
    result = np.zeros((len(token_ids), parts[0][1].shape[1]), dtype=np.float32)
    for rows, logits in parts:
        result[rows] = logits
    return result


def leads(logits: Array, *, of: Array | None = None) -> Array:
    """Return how far apart the two best labels of `of` (default: the logits themselves) are in the logits."""
    order = np.argsort(logits if of is None else of, axis=1)
    rows = np.arange(len(logits))
    lead: Array = logits[rows, order[:, -1]] - logits[rows, order[:, -2]]
    return lead


def verdict(float32: Measurement, int8: Measurement, *, close_calls: float) -> tuple[str, str]:
    """Return the faster of the files that pass, and why. Raises ArtifactError if float32 fails."""
    if not float32.parity.passes:
        raise ArtifactError(
            f"The exported network gives another label than PyTorch on {1 - float32.parity.labels_equal:.1%} "
            f"of {float32.parity.n} texts, so it was not kept. Serve this model with --engine torch."
        )
    found = (
        f"int8 with float32 for close calls ({close_calls:.1%}) gives the same label as PyTorch on "
        f"{int8.parity.labels_equal:.1%} of {int8.parity.n} validation texts, "
        f"macro-F1 {int8.parity.macro_f1_points:.2f} points apart"
    )
    ratio = int8.posts_per_s / float32.posts_per_s
    if not int8.parity.passes:
        return "float32", f"{found}: it fails the gate, so float32 answers."
    if ratio <= 1:
        return "float32", f"{found}, but it is no faster here, so float32 answers."
    return "int8", f"{found}: it passes the gate, at {ratio:.1f} times float32's rate."


def standard_in_words(found: Parity) -> str:
    """Return how alike the file for other clients answers, in a sentence."""
    gate = "it passes the gate" if found.passes else "less than the gate asks for"
    return (
        f"{STANDARD}, int8 weights for other clients, gives the same label as PyTorch on "
        f"{found.labels_equal:.1%} of {found.n} validation texts, macro-F1 "
        f"{found.macro_f1_points:.2f} points apart: {gate}."
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


def validation_rows(path: Path) -> tuple[list[str], list[str]]:
    """Return the texts and label names of a JSONL file. Raises ArtifactError, naming a wrong line."""
    texts, labels = [], []
    try:
        for line in json_lines(path):
            text, label = line.row.get("text"), line.row.get("label")
            if not (isinstance(text, str) and isinstance(label, str)):
                found = line.problem or f"found the keys {', '.join(line.row) or 'none'}"
                raise ArtifactError(
                    f'{path}, line {line.number} is not {{"text": …, "label": …}} ({found}). Mend that line.'
                )
            texts.append(text)
            labels.append(label)
    except DataError as error:
        raise ArtifactError(
            f"The validation texts can't be read: {error} Give labelled texts with --validation F.jsonl."
        ) from error
    return texts, labels
