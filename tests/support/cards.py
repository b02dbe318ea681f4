"""Artifacts with a card's records but without a training, for other labels and odd names."""

import json
from pathlib import Path

import numpy as np

from training.evaluate.metrics import compare, scores
from training.evaluate.scores import BAG_OF_WORDS, BASE, TUNED, Evaluation, System

EVIL = (
    "**bold** | <img src=x onerror=alert(1)>",
    "](http://evil.example) [click",
    "```\nimport os",
    "---\nlicense: evil",
    "{{ 71 * 73 }} {% raw %}",
    "@everyone www.evil.example $$x$$",
    "\u202eevil\u0000 </details><script>",
)
"""Odd names of labels and files."""


def answers(count: int, classes: int, *, skill: float, seed: int = 0):
    """Return references (count,) and probabilities (count, classes) of a classifier of some skill."""
    random = np.random.default_rng(seed)
    truth = np.random.default_rng(99).integers(classes, size=count)
    logits = random.normal(size=(count, classes))
    logits[np.arange(count), truth] += skill
    chances = np.exp(logits)
    return truth, chances / chances.sum(axis=1, keepdims=True)


def evaluation(labels: tuple[str, ...], *, count: int = 300) -> Evaluation:
    """Return a real evaluation of made-up answers, with base and bag of words."""
    truth, mine = answers(count, len(labels), skill=2.0)
    _, base = answers(count, len(labels), skill=0.5, seed=1)
    _, bag = answers(count, len(labels), skill=1.9, seed=2)
    made = {BAG_OF_WORDS: (bag, "TF-IDF", 1.0), BASE: (base, "some-base", None), TUNED: (mine, "", None)}
    return Evaluation(
        split="test",
        labels=labels,
        n=count,
        systems=tuple(
            System(
                name=name, scores=scores(truth, found, labels, resamples=200), about=about, seconds=seconds
            )
            for name, (found, about, seconds) in made.items()
        ),
        comparisons=tuple(
            compare(truth, made[name][0], mine, names=(name, TUNED)) for name in (BAG_OF_WORDS, BASE)
        ),
    )


def provenance(labels: tuple[str, ...], **source: object) -> dict:
    """Return the provenance of a run on 240 rows of a file."""
    counts = dict.fromkeys(labels, 240 // len(labels))
    data_source = {
        "name": "posts.csv",
        "kind": "file",
        "location": "somewhere/posts.csv",
        "reason": "",
        "sha256": "ab" * 32,
        "revision": None,
        "licence": None,
        "bytes": 1,
        **source,
    }
    return {
        "recipe": {
            "name": "mine",
            "base": "somewhere/base",
            "dataset": "somewhere/posts.csv",
            "method": "lora",
            "lora_r": 8,
            "epochs": 3.0,
            "learning_rate": 1e-3,
            "batch_size": 8,
            "max_length": 64,
            "depth": 0,
            "label_names": list(labels),
            "prompt_prefix": "Post:",
        },
        "base": {"name": "openai-community/gpt2", "revision": "c" * 40, "reason": "", "wanted": "auto"},
        "data": {
            "source": data_source,
            "labels": list(labels),
            "counts": {},
            "class_balance": {"train": counts},
            "rows": {"train": {"read": 300, "kept": 250, "used": 240}},
            "twins_removed": {"train/test": 56, "train/validation": 3, "validation/test": 1},
            "sentences": ["Data: posts.csv.", "Rows used: 240 train.", "12 rows had an empty text."],
        },
        "sizes": {"train": 240, "validation": 40, "test": 300},
        "truncated": {"train": 2, "validation": 0},
        "seed": 42,
        "trunk_layers": 8,
        "depth": 12,
        "duration_s": {"prepare": 20.0, "train": 180.0},
        "versions": {"python": "3.11.7"},
        "machine": {"processor": "A CPU", "cores": 2, "memory_gb": 16.0, "gpu": None},
    }


def artifact(folder: Path, labels: tuple[str, ...], *, with_records: bool = True, **source: object) -> Path:
    """Return a folder with the records of a model, and none of its weights."""
    folder.mkdir(parents=True)
    names = {str(number): label for number, label in enumerate(labels)}
    write(folder, "config.json", {"id2label": names, "pad_token_id": 0, "model_type": "gpt2"})
    if with_records:
        write(folder, "evaluation.json", evaluation(labels).to_json())
        write(folder, "provenance.json", provenance(labels, **source))
    return folder


def write(folder: Path, name: str, record: dict) -> None:
    """Write a record."""
    (folder / name).write_text(json.dumps(record))


def changed(folder: Path, name: str, **changes: object) -> Path:
    """Change the top level of a record; None takes a key out."""
    record = {**json.loads((folder / name).read_text()), **changes}
    write(folder, name, {key: value for key, value in record.items() if value is not None})
    return folder
