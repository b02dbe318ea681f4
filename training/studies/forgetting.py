"""What fine-tuning forgot, and the dial between base and fine-tuned: accuracy against general language.

    forgetting(run, log)                       # the work of a run of the kind "forgetting"
    read_forgetting(run.path).sentences()      # when it is finished

    runs/<id>/points.json                      each measurement; a resumed study keeps it
              forgetting.json, forgetting.png

The fine-tuned network is put under the true base's language head, and asked to predict general text. The dial
is a line between the weights, head included: WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903). For LoRA that
is what scaling the adapter is (`peft.helpers.rescale_adapter_scale`), and it serves full fine-tuning alike.
The lower layers that training froze are computed once for all of it. The test split is never read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from inference.artifact import BASE_HEAD, PROVENANCE, VALIDATION, read_record
from inference.common.store import JsonObject, read_jsonl, sha256_of, write_bytes, write_json
from inference.engine.pytorch import quiet_loading
from inference.labels import labels_of
from training.evaluate.perplexity import bits_of, compared, general_texts
from training.fit.prepare import Inner
from training.fit.rows import TrainerRows, cache_trunk, encoded_rows
from training.fit.trainer import logits_of
from training.model.bases import Base
from training.model.classifier import LanguageModel, base_of, build_classifier, cut_depth, load_language_model
from training.runs.log import RunLog
from training.runs.run import Run, find_run
from training.studies.forgetting_order import (
    FORGETTING_FILE,
    DialPoint,
    Forgetting,
    ForgettingOrder,
    Forgotten,
    check_finished,
)
from training.studies.pictures import forgetting_picture

POINTS = "points.json"
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
MOST_ROWS = 1000
"""Validation rows that are asked: enough for a point of accuracy, few enough for minutes."""
_STEPS = len(SHARES) + 1


@dataclass(frozen=True)
class Dial:
    """A classifier that can be anything between a base and its fine-tuned self, and its language head."""

    classifier: PreTrainedModel
    lm: LanguageModel
    """On the very same network, under the true base's language head."""
    ends: Mapping[str, tuple[Tensor, Tensor]]
    """What fine-tuning changed, by name: as it was, and as it became."""

    def turn(self, share: float) -> None:
        """Set all that fine-tuning changed to a share of the change."""
        parameters = dict(self.classifier.named_parameters())
        with torch.no_grad():
            for name, (start, end) in self.ends.items():
                parameters[name].copy_(torch.lerp(start, end, share))


def dial_of(artifact: Path) -> Dial:
    """Return the dial of an artifact, turned to its base. Raises BaseError when the base can't be loaded."""
    record = read_record(artifact, PROVENANCE) or {}
    lm = load_language_model(base_of(record["base"]))
    with quiet_loading():
        tuned = AutoModelForSequenceClassification.from_pretrained(artifact, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(artifact)
    true_base = load_language_model(_true_base(record)) if lm.trained_head is not None else lm
    output = true_base.model.get_output_embeddings().weight.detach().clone()
    # No longer the embedding's own weight, which training may have changed.
    lm.model.get_output_embeddings().weight = nn.Parameter(output)
    classifier = build_classifier(lm, labels_of(tuned.config), tokenizer)
    cut_depth(classifier, tuned.config.num_hidden_layers)
    with torch.no_grad():
        classifier.score.weight.copy_(load_file(artifact / BASE_HEAD)["score.weight"])
    became = dict(tuned.named_parameters())
    ends = {
        name: (start.detach().clone(), became[name].detach())
        for name, start in classifier.named_parameters()
        if not torch.equal(start, became[name])
    }
    return Dial(classifier, lm, ends)


def forgetting(run: Run, log: RunLog) -> None:
    """Take a study from its order to its results. Killed at any moment, it can be called again."""
    order = ForgettingOrder.from_json(run.order)
    general = general_texts(Path(order.general) if order.general else None)
    log.plan({"dial": 60.0 * len(order.runs)})
    with log.phase("dial"):
        found = [
            _forgotten(at, find_run(folder), general, run.path, Inner(log, at, len(order.runs)))
            for at, folder in enumerate(order.runs)
        ]
    result = Forgetting(runs=tuple(found))
    write_bytes(run.path / "forgetting.png", forgetting_picture(result))
    write_json(run.path / FORGETTING_FILE, result.to_json())
    for left_over in run.path.glob("trunk*"):
        left_over.unlink()


def _forgotten(at: int, tuned: Run, general: Sequence[str], folder: Path, report: Inner) -> Forgotten:
    record = check_finished(tuned)
    rows = list(read_jsonl(tuned.path / VALIDATION))
    drawn = np.random.RandomState(0).permutation(len(rows))[:MOST_ROWS]
    measured = read_record(folder, POINTS) or {}
    mine: dict[str, Any] = measured.setdefault(str(at), {})
    if len(mine) < _STEPS:
        if "before" not in mine:
            true_base = load_language_model(_true_base(record))
            mine["before"] = bits_of(true_base.model, true_base.tokenizer, general).tolist()
        dial, trunk = dial_of(tuned.artifact), int(record["trunk_layers"])
        fed = _fed(dial, tuned, [rows[row] for row in sorted(drawn)], trunk, folder / f"trunk-{at}")
        for done, share in enumerate(SHARES, 1):
            report.progress(done, _STEPS)
            if str(share) in mine:
                continue
            dial.turn(share)
            right = logits_of(dial.classifier, fed, trunk).argmax(1) == np.array(fed.labels)
            bits = bits_of(dial.lm.model, dial.lm.tokenizer, general)
            mine[str(share)] = {"accuracy": float(right.mean()), "bits": bits.tolist()}
            write_json(folder / POINTS, measured)
    report.progress(_STEPS, _STEPS)
    characters = sum(map(len, general))
    return Forgotten(
        run=tuned.id,
        method=record["recipe"]["method"],
        base=_true_base(record).name,
        rows=len(drawn),
        rows_sha256=sha256_of(tuned.path / VALIDATION),
        general=compared(np.array(mine["before"]), np.array(mine["1.0"]["bits"]), general),
        points=tuple(
            DialPoint(share=share, accuracy=at_share["accuracy"], bits=sum(at_share["bits"]) / characters)
            for share in SHARES
            for at_share in [mine[str(share)]]
        ),
    )


def _true_base(record: JsonObject) -> Base:
    """Return the language model at the root: the base, or that of the classifier a run went on from."""
    base = base_of(record["base"])
    inner = read_record(base.path, PROVENANCE)
    return _true_base(inner) if inner else base


def _fed(dial: Dial, tuned: Run, rows: Sequence[Mapping[str, str]], trunk: int, path: Path) -> TrainerRows:
    """Return validation rows as the classifier takes them, past the layers that were frozen."""
    with quiet_loading():
        tokenizer = AutoTokenizer.from_pretrained(tuned.artifact)
    labels = labels_of(dial.classifier.config)
    table = {"text": [row["text"] for row in rows], "label": [labels.index(row["label"]) for row in rows]}
    encoded = encoded_rows(tokenizer, datasets.Dataset.from_dict(table))
    if not trunk:
        return encoded
    return cache_trunk(dial.classifier, encoded, layers=trunk, path=path)
