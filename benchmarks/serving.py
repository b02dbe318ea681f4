"""How fast is a model served? `Classifier` against `transformers.pipeline`, on the same tweets, in turns.

    python -m benchmarks serving --dataset DATA

Two networks: GPT-2's shape (124M, random weights: speed does not depend on their values) and the embedded
base fine-tuned by `make demo`. Both are exported first, and go through the parity gate on validation tweets.
Then all methods take turns, several rounds in one run; a ratio compares neighbours within a round.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import AutoTokenizer, GPT2Config, GPT2ForSequenceClassification, pipeline
from transformers.utils import logging as transformers_logging

from benchmarks import ROOT, results
from inference import Classifier
from inference.artifact import EVALUATION
from inference.classifier import budgeted_batches
from inference.export.export import Exported, export_onnx
from training.data.load import DataSpec, Splits, load_splits

DEMO = ROOT / "runs" / "demo" / "artifact"
GPT2 = "GPT-2's shape, random weights"
TUNED = "embedded base, fine-tuned"
ROUNDS = 5
ONE_BY_ONE, TOGETHER = 128, 640
GOALS = {  # name of a ratio: (slower, faster, goal); the first is of latencies
    "p50 of one tweet: pipeline / Classifier": ("pipeline, one by one", "Classifier, one by one", 2.5),
    "throughput: Classifier / pipeline one by one": ("pipeline, one by one", "Classifier", 4.0),
    "throughput: Classifier / pipeline in batches of 32": ("pipeline, batches of 32", "Classifier", 2.5),
}
Runs = dict[str, Callable[[], dict[str, float]]]


def main(dataset: str) -> None:
    """Measure, and write results/serving.json."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    splits = load_splits(DataSpec(dataset=dataset, n_train=100, n_validation=1000, n_test=TOGETHER))
    rows, ratios, parity, agreement = [], [], {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, artifact in (
            (GPT2, gpt2_shape(Path(folder) / "gpt2")),
            (TUNED, copied(Path(folder) / "tuned")),
        ):
            parity[name] = _exported(artifact, splits)
            print(f"{name}: {parity[name]['why']}", flush=True)
            found, agreement[name] = _measure(artifact, list(splits.test["text"]))
            rows += [{"base": name, "name": method, **_medians(rounds)} for method, rounds in found.items()]
            ratios += [{"base": name, **ratio} for ratio in _ratios(found)]
            for ratio in ratios[-len(GOALS) - 1 :]:
                print(json.dumps(ratio), flush=True)
    results.write(
        "serving",
        data=splits.report.to_json()["source"],
        rounds=ROUNDS,
        n_one_by_one=ONE_BY_ONE,
        n_together=TOGETHER,
        rows=rows,
        ratios=ratios,
        parity=parity,
        same_label_as_pipeline=agreement,
    )


def copied(folder: Path) -> Path:
    """Return a copy of the demo's artifact without its export, linked where the disk allows."""
    if not (DEMO / EVALUATION).is_file():
        raise SystemExit(f"{DEMO} is not there. Run `make demo` first: its model is measured.")
    shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns("onnx", "adapter"))
    return folder


def gpt2_shape(folder: Path, *, layers: int = 12) -> Path:
    """Return an artifact of GPT-2's width: random weights, the demo's tokenizer with the prompt inside."""
    if not DEMO.is_dir():
        raise SystemExit(f"{DEMO} is not there. Run `make demo` first: its tokenizer is used.")
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(DEMO)
    names = dict(enumerate(Classifier.load(DEMO, engine="torch").labels))
    config = GPT2Config(
        num_labels=len(names),
        n_layer=layers,
        id2label=names,
        pad_token_id=tokenizer.pad_token_id,
        label2id={name: number for number, name in names.items()},
    )
    GPT2ForSequenceClassification(config).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def exported(artifact: Path, splits: Splits) -> Exported:
    """Export an artifact, past the parity gate on the validation rows."""
    labels = [splits.labels[label] for label in splits.validation["label"]]
    return export_onnx(artifact, list(splits.validation["text"]), labels)


def _exported(artifact: Path, splits: Splits) -> dict[str, Any]:
    record = exported(artifact, splits).record
    for engine in record["engines"].values():
        for long in ("probe_token_ids", "probe_logits", "sha256"):
            engine.pop(long, None)
    return record


def _measure(artifact: Path, texts: list[str]) -> tuple[dict[str, list[dict[str, float]]], float]:
    """Return each method's figures by round, and the share of texts on which pipeline agrees."""
    stock = pipeline("text-classification", model=str(artifact), device="cpu", dtype=torch.float32)
    classifier = Classifier.load(artifact)
    print(f"engine: {classifier.engine.name}", flush=True)
    few = texts[:ONE_BY_ONE]
    token_ids = classifier.encode(texts).token_ids

    methods: Runs = {
        "pipeline, one by one": lambda: _one_by_one(lambda text: stock(text), few),
        "pipeline, batches of 32": lambda: _together(lambda: stock(texts, batch_size=32), len(texts)),
        "Classifier, one by one": lambda: _one_by_one(lambda text: classifier.predict([text]), few),
        "Classifier": lambda: _together(lambda: classifier.predict(texts), len(texts)),
        "bare loop over like-length batches": lambda: _together(
            lambda: bare(classifier, token_ids), len(texts)
        ),
    }
    theirs = [answer["label"] for answer in stock(texts, batch_size=32)]
    ours = [prediction.label for prediction in classifier.predict(texts)]
    same = sum(a == b for a, b in zip(theirs, ours, strict=True)) / len(texts)
    print(f"same label as pipeline on {same:.1%} of {len(texts)} test tweets", flush=True)
    classifier.predict(few[:8])
    return _turns(methods), round(same, 4)


def bare(classifier: Classifier, token_ids: Sequence[Sequence[int]]) -> None:
    """Let the engine alone answer, in batches of like length."""
    for batch in budgeted_batches([len(ids) for ids in token_ids], tokens=classifier.engine.batch_tokens):
        classifier.engine.logits([token_ids[row] for row in batch])


def _turns(methods: Runs) -> dict[str, list[dict[str, float]]]:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    for turn in range(ROUNDS):
        for name, run in methods.items():
            found[name].append(run())
            print(f"round {turn + 1}, {name}: {found[name][-1]}", flush=True)
    return found


def _one_by_one(answer: Callable[[str], object], texts: Sequence[str]) -> dict[str, float]:
    times = []
    for text in texts:
        began = time.perf_counter()
        answer(text)
        times.append(time.perf_counter() - began)
    return {"p50_ms": median(times) * 1000, "posts_per_s": len(texts) / sum(times)}


def _together(work: Callable[[], object], n: int) -> dict[str, float]:
    began = time.perf_counter()
    work()
    return {"posts_per_s": n / (time.perf_counter() - began)}


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(median(found[key] for found in rounds), 2) for key in rounds[0]}


def _ratios(found: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """Return the ratios of each round's neighbours: median, lowest and highest."""
    ratios = []
    for name, (slower, faster, goal) in GOALS.items():
        key = "p50_ms" if name.startswith("p50") else "posts_per_s"
        rounds = [
            one[key] / other[key] if key == "p50_ms" else other[key] / one[key]
            for one, other in zip(found[slower], found[faster], strict=True)
        ]
        ratios.append({"name": name, "ratio": results.spread(rounds), "goal": f"at least {goal}"})
    against_bare = [
        alone["posts_per_s"] / ours["posts_per_s"]
        for alone, ours in zip(found["bare loop over like-length batches"], found["Classifier"], strict=True)
    ]
    return [
        *ratios,
        {
            "name": "throughput: bare loop / Classifier",
            "ratio": results.spread(against_bare),
            "goal": "at most 1.25",
        },
    ]
