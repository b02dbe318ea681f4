"""What fine-tuning forgot, and the dial between base and fine-tuned: accuracy against general language.

    forgetting(run, log)                       # the work of a run of the kind "forgetting"
    Forgetting.read(run.path).sentences()      # when it is finished

    runs/<id>/points.json                      each measurement; a resumed study keeps it
              forgetting.json, forgetting.png

The fine-tuned network is put under the true base's language head, and asked to predict general text. The dial
is a line between the weights, head included: WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903). For LoRA that
is what scaling the adapter is (`peft.helpers.rescale_adapter_scale`), and it serves full fine-tuning alike.
The lower layers that training froze are computed once for all of it. The test split is never read.
"""

from collections.abc import Callable, Mapping, Sequence
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
from inference.classifier import Progress
from inference.common.store import JsonObject, read_jsonl, sha256_of, write_bytes, write_json
from inference.engine.pytorch import quiet_loading
from inference.labels import labels_of
from training.evaluate.perplexity import bits_of, compared, general_texts, ids_of
from training.fit.estimate import gflops
from training.fit.rows import EncodedRows, TrainerRows, cache_trunk, encoded_rows
from training.fit.trainer import logits_of
from training.model.bases import Base
from training.model.classifier import LanguageModel, base_of, build_classifier, cut_depth, load_language_model
from training.runs.log import RunLog
from training.runs.process import parameters_of
from training.runs.run import Run, find_run
from training.studies.forgetting_order import (
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


@dataclass
class _Meter:
    """Shares out a study's progress, in tokens that go through a whole network."""

    log: RunLog
    total: float
    done: float = 0.0

    def part(self, tokens: float) -> Progress:
        """Return the progress of the next part of the work."""
        begun = self.done
        self.done += tokens
        return lambda done, of: self.log.progress(
            round(begun + tokens * done / max(of, 1)), round(self.total)
        )


@dataclass(frozen=True)
class _Asked:
    """A run under study."""

    run: Run
    record: JsonObject
    """Its provenance."""
    rows: EncodedRows
    general: Sequence[str]
    general_tokens: int
    measured: dict[str, Any]
    """Measurements so far, by share and "before"."""

    @property
    def frozen(self) -> float:
        """Tokens that the rows cost in the layers that training froze, in those of a whole network."""
        share: float = self.record["trunk_layers"] / self.record["depth"]
        return sum(self.rows.lengths) * share

    @property
    def left(self) -> float:
        """Tokens that are still to be computed."""
        shares = sum(str(share) not in self.measured for share in SHARES)
        each = sum(self.rows.lengths) - self.frozen + self.general_tokens
        before = 0 if "before" in self.measured else self.general_tokens
        return before + (self.frozen + shares * each if shares else 0.0)


def forgetting(run: Run, log: RunLog) -> None:
    """Take a study from its order to its results. Killed at any moment, it can be called again."""
    order = ForgettingOrder.from_json(run.order)
    general = general_texts(order.general)
    with log.phase("prepare"):
        known: dict[str, dict[str, Any]] = read_record(run.path, POINTS) or {}
        asked = [
            _asked(find_run(folder), general, known.setdefault(str(at), {}))
            for at, folder in enumerate(order.runs)
        ]
        meter = _Meter(log, sum(one.left for one in asked))
        size = max(parameters_of(str(one.run.artifact)) or 0 for one in asked)
        log.plan({"dial": 4 * size * meter.total / (1e9 * gflops())})  # at half the rate of plain products
    with log.phase("dial"):
        for at, one in enumerate(asked):
            _measure(one, run.path / f"trunk-{at}", meter, keep=lambda: write_json(run.path / POINTS, known))
    result = Forgetting(runs=tuple(map(_forgotten, asked)))
    write_bytes(run.path / "forgetting.png", forgetting_picture(result))
    result.write(run.path)
    for left_over in run.path.glob("trunk-*"):
        left_over.unlink()


def _asked(tuned: Run, general: Sequence[str], measured: dict[str, Any]) -> _Asked:
    """Return a run with those of its validation rows that are asked, as its tokenizer cuts them."""
    record, rows = check_finished(tuned), list(read_jsonl(tuned.path / VALIDATION))
    with quiet_loading():
        tokenizer = AutoTokenizer.from_pretrained(tuned.artifact)
    drawn = [rows[row] for row in np.random.RandomState(0).permutation(len(rows))[:MOST_ROWS]]
    labels = [record["labels"].index(row["label"]) for row in drawn]
    table = datasets.Dataset.from_dict({"text": [row["text"] for row in drawn], "label": labels})
    encoded = encoded_rows(tokenizer, table).sorted_by_length()
    return _Asked(tuned, record, encoded, general, sum(map(len, ids_of(tokenizer, general))), measured)


def _measure(asked: _Asked, trunk: Path, meter: _Meter, *, keep: Callable[[], None]) -> None:
    """Measure what is missing of a run; `keep` is called after each measurement."""
    mine, tokens = asked.measured, asked.general_tokens
    if "before" not in mine:
        lm = load_language_model(_true_base(asked.record))
        found = bits_of(lm.model, lm.tokenizer, asked.general, progress=meter.part(tokens))
        mine["before"] = found.tolist()
        keep()
        del lm
    left = [share for share in SHARES if str(share) not in mine]
    if not left:
        return
    dial, layers, frozen = dial_of(asked.run.artifact), int(asked.record["trunk_layers"]), asked.frozen
    fed: TrainerRows = asked.rows
    if layers:
        part = meter.part(frozen)
        fed = cache_trunk(dial.classifier, asked.rows, layers=layers, path=trunk, progress=part)
    for share in left:
        dial.turn(share)
        part = meter.part(sum(asked.rows.lengths) - frozen)
        right = logits_of(dial.classifier, fed, layers, progress=part).argmax(1) == np.array(fed.labels)
        bits = bits_of(dial.lm.model, dial.lm.tokenizer, asked.general, progress=meter.part(tokens))
        mine[str(share)] = {"accuracy": float(right.mean()), "bits": bits.tolist()}
        keep()


def _forgotten(asked: _Asked) -> Forgotten:
    mine, characters = asked.measured, sum(map(len, asked.general))
    return Forgotten(
        run=asked.run.id,
        method=asked.record["recipe"]["method"],
        base=_true_base(asked.record).name,
        rows=len(asked.rows),
        rows_sha256=sha256_of(asked.run.path / VALIDATION),
        general=compared(np.array(mine["before"]), np.array(mine["1.0"]["bits"]), asked.general),
        points=tuple(
            DialPoint(share=share, accuracy=found["accuracy"], bits=sum(found["bits"]) / characters)
            for share in SHARES
            for found in [mine[str(share)]]
        ),
    )


def _true_base(record: JsonObject) -> Base:
    """Return the language model at the root: the base, or that of the classifier a run went on from."""
    base = base_of(record["base"])
    inner = read_record(base.path, PROVENANCE)
    return _true_base(inner) if inner else base
