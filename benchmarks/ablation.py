"""Does each setting of `quick` earn its place? One is changed at a time, over several seeds.

    python -m benchmarks ablation --dataset DATA

The test split is not read: 2,000 rows of the train split are set aside as dev rows, which take no part in
training or in the choice of the epoch. A seed draws the training rows and all that is random in training.
Told are the mean accuracy on the dev rows over the seeds, and the mean difference to `quick` by the same
seeds, each with Student's 95 % interval. What is measured is kept in .cache/ablation, so that a benchmark
that was stopped goes on.
"""

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import results
from inference.common.store import JsonObject, read_json, read_jsonl, write_json, write_jsonl
from training.data.load import load_splits
from training.fit.prepare import SHARED, Prepared, prepare
from training.fit.rows import TrainerRows, cache_trunk, encoded_rows
from training.fit.trainer import logits_of, train
from training.recipes import Recipe, change, load_recipe

BASE, DEV, SEEDS = "embedded", 2_000, (1, 2, 3)
VARIANTS: dict[str, dict[str, str]] = {
    "quick": {},
    "half as many frozen layers, learning rate 5e-4, 4 epochs": {
        "trunk_layers": "10",
        "learning_rate": "5e-4",
        "epochs": "4",
    },
    "all weights of the upper third, learning rate 1e-4": {"method": "full", "learning_rate": "1e-4"},
    "no noise on the states": {"state_noise": "0"},
    "head from noise, not from the label words": {"head": "random"},
    "no prompt": {"prompt_prefix": "", "prompt_suffix": ""},
}
KEPT = results.FOLDER.parent.parent / ".cache" / "ablation"


def main(dataset: str, seeds: Sequence[int] = SEEDS) -> None:
    """Measure what is not measured yet, and write results/ablation.json."""
    data = KEPT / "data"
    _set_dev_aside(dataset, data)
    measured = [one for seed in seeds for one in _of_seed(data, seed)]
    results.write(
        "ablation",
        **measured[0]["made_from"],
        data={"name": Path(dataset).name},
        dev_rows=DEV,
        draws=len(seeds),
        rows=[_row(name, measured) for name in VARIANTS],
    )


def _set_dev_aside(dataset: str, folder: Path) -> None:
    """Write the train split's rows as a data set of their own, with dev rows for a test split."""
    asked = {"dataset": str(Path(dataset).absolute()), "recipe": load_recipe("quick").model_dump(mode="json")}
    if (folder / "test.jsonl").is_file():
        if read_json(folder / "asked.json") != asked:
            raise SystemExit(f"{KEPT} holds what was measured of other data or another `quick`. Remove it.")
        return
    every = change(load_recipe("quick"), {"dataset": dataset, "n_train": "0", "n_validation": "1"})
    splits = load_splits(every.data)
    rows = [
        {"text": text, "label": splits.labels[label]}
        for text, label in zip(splits.train["text"], splits.train["label"], strict=True)
    ]
    order = np.random.default_rng(0).permutation(len(rows)).tolist()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_json(folder / "asked.json", asked)
    write_jsonl(folder / "train.jsonl", (rows[row] for row in order[DEV:]))
    write_jsonl(folder / "test.jsonl", (rows[row] for row in order[:DEV]))


def _by_preparation() -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for name, changes in VARIANTS.items():
        key = json.dumps({name: to for name, to in changes.items() if name in (*SHARED, "trunk_layers")})
        groups.setdefault(key, []).append(name)
    return list(groups.values())


def _recipe(data: Path, seed: int, changes: dict[str, str]) -> Recipe:
    given = {"dataset": str(data), "base": BASE, "seed": str(seed), "n_test": "0", "onnx": "false"}
    return change(load_recipe("quick"), given | changes)


def _of_seed(data: Path, seed: int) -> list[JsonObject]:
    """Return what all variants gave by one seed, measured now or before."""
    kept = KEPT / f"seed-{seed}.jsonl"
    found = list(read_jsonl(kept)) if kept.is_file() else []
    for names in _by_preparation():
        known = {one["name"] for one in found}
        if wanted := [name for name in names if name not in known]:
            for one in _measure(data, seed, wanted):
                found.append(one)
                write_jsonl(kept, found)
    return found


def _measure(data: Path, seed: int, names: Sequence[str]) -> Iterator[JsonObject]:
    """Train the variants of one preparation by one seed."""
    work = KEPT / f"work-{seed}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    prepared = prepare(_recipe(data, seed, VARIANTS[names[0]]), work)
    dev = _dev_rows(prepared, work)
    for name in names:
        started = time.perf_counter()
        tuned = train(prepared, _recipe(data, seed, VARIANTS[name]), checkpoints=work / "checkpoints")
        assert tuned is not None
        seconds = time.perf_counter() - started
        logits = logits_of(tuned, dev, prepared.trunk, prepared.precision)
        right = float((logits.argmax(1) == np.array(dev.labels)).mean())
        print(f"seed {seed}, {name}: {100 * right:.2f} %, {seconds / 60:.1f} min of training", flush=True)
        shutil.rmtree(work / "checkpoints")
        yield {"name": name, "accuracy": right, "made_from": _made_from(prepared)}
    shutil.rmtree(work)


def _made_from(prepared: Prepared) -> JsonObject:
    sizes = {"train": len(prepared.encoded_train), "validation": len(prepared.encoded_validation)}
    base = {"name": prepared.base.name, "revision": prepared.base.revision}
    return {"base": base, "sizes": sizes, "precision": prepared.precision.name}


def _dev_rows(prepared: Prepared, work: Path) -> TrainerRows:
    rows = encoded_rows(prepared.tokenizer, prepared.splits.test, padding=prepared.recipe.padding)
    if not prepared.trunk:
        return rows
    return cache_trunk(
        prepared.untouched, rows, layers=prepared.trunk, path=work / "dev", precision=prepared.precision
    )


def _row(name: str, measured: Sequence[JsonObject]) -> dict[str, Any]:
    accuracy, beside = ([one["accuracy"] for one in measured if one["name"] == of] for of in (name, "quick"))
    row: dict[str, Any] = {"name": name, "accuracy": results.mean_of(accuracy)}
    if name != "quick":
        row["difference"] = results.mean_of(np.subtract(accuracy, beside).tolist())
    return row
