"""What does a training example cost? `quick` against the guide's recipe and against a well-tuned Trainer.

    python -m benchmarks speed

Seconds that one training tweet costs over three epochs, on real tweets, with GPT-2's shape (124M, random
weights: speed does not depend on their values) and with the embedded base. Every method runs a few steps of
the real Trainer and is extrapolated; the first step is left out, the cache is counted. The methods take
turns in one run, twice, so that a machine that changes its pace changes it for all.
"""

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, TrainerCallback
from transformers.utils import logging as transformers_logging

from benchmarks import results
from inference.trunk import trunk_skipped
from training.data.load import load_splits
from training.fit.prepare import prompt_of
from training.fit.rows import cache_trunk, encoded_rows
from training.fit.trainer import fit
from training.model.bases import Base, embedded_base
from training.model.classifier import (
    add_lora,
    build_classifier,
    freeze_trunk,
    load_language_model,
    prompted_tokenizer,
    trunk_depth,
)
from training.recipes import Recipe, change, load_recipe

EPOCHS = 3
ROUNDS = 2
WELL_TUNED = {
    "prompt_prefix": "",
    "prompt_suffix": "",
    "head": "random",
    "method": "full",
    "trunk_layers": "0",
    "batch_size": "16",
    "gradient_accumulation_steps": "1",
    "padding": "longest",
    "like_length_batches": "true",
    "state_noise": "0",
}
ROWS = {"tutorial": 8, "well-tuned Trainer": 96, "quick": 320}


class StepTimes(TrainerCallback):  # type: ignore[misc]
    """Notes when each optimizer step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.ends.append(time.perf_counter())

    def seconds_each(self) -> float:
        """Return the seconds of a step, the first left out."""
        return (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1)


def main(dataset: str) -> None:
    """Measure, and write results/speed.json."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    recipes = {
        "tutorial": load_recipe("tutorial"),
        "well-tuned Trainer": change(load_recipe("quick"), WELL_TUNED),
        "quick": load_recipe("quick"),
    }
    embedded = embedded_base("it is measured")
    splits = load_splits(change(recipes["quick"], {"dataset": dataset, "n_train": "320"}).data)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for shape, base in (
            ("GPT-2's shape, random weights", _gpt2(Path(folder), embedded)),
            ("embedded base", embedded),
        ):
            seconds = _measure(base, recipes, splits, Path(folder))
            rows += [
                {"base": shape, "name": name, "seconds_per_example": each} for name, each in seconds.items()
            ]
            for other in ("tutorial", "well-tuned Trainer"):
                print(f"{shape}: {other} / quick = {seconds[other] / seconds['quick']:.1f}", flush=True)
    results.write(
        "speed",
        epochs=EPOCHS,
        rounds=ROUNDS,
        data=splits.report.to_json()["source"],
        rows=rows,
        ratios=_ratios(rows),
    )


def _ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = {(row["base"], row["name"]): row["seconds_per_example"] for row in rows}
    return [
        {"base": base, "name": f"{name} / quick", "ratio": round(seconds / found[base, "quick"], 1)}
        for (base, name), seconds in found.items()
        if name != "quick"
    ]


def _gpt2(folder: Path, embedded: Base) -> Base:
    """Return a base of GPT-2's shape: its weights are random, its tokenizer is the embedded base's."""
    torch.manual_seed(0)
    path = folder / "gpt2-shape"
    GPT2LMHeadModel(GPT2Config()).save_pretrained(path)
    AutoTokenizer.from_pretrained(embedded.path).save_pretrained(path)
    return Base("GPT-2's shape", path, "random", "it is measured")


def _measure(base: Base, recipes: dict[str, Recipe], splits: Any, folder: Path) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in recipes}
    for turn in range(ROUNDS):
        for name, recipe in recipes.items():
            with tempfile.TemporaryDirectory(dir=folder) as place:
                taken[name].append(
                    _seconds_per_example(base, recipe, splits.train.select(range(ROWS[name])), Path(place))
                )
            print(f"{base.name}, round {turn + 1}, {name}: {taken[name][-1]:.3f} s an example", flush=True)
    return {name: round(median(seconds), 4) for name, seconds in taken.items()}


def _seconds_per_example(base: Base, recipe: Recipe, texts: Any, folder: Path) -> float:
    lm = load_language_model(base)
    tokenizer = prompted_tokenizer(lm, prompt_of(recipe), max_length=recipe.max_length)
    model = build_classifier(lm, texts.features["label"].names, tokenizer)
    rows = encoded_rows(tokenizer, texts, padding=recipe.padding)
    trunk = trunk_depth(recipe, lm.model.config)
    times = StepTimes()
    once = change(recipe, {"epochs": "1", "evals_per_epoch": "1", "patience": "0"})
    per_step = recipe.batch_size * recipe.gradient_accumulation_steps
    sample = encoded_rows(tokenizer, texts.select(range(2)), padding=recipe.padding)
    if not trunk:
        freeze_trunk(model, 0)
        fit(model, rows, sample, once, checkpoints=folder / "c", more_callbacks=[times])
        return EPOCHS * times.seconds_each() / per_step
    started = time.perf_counter()
    cached = cache_trunk(model, rows, layers=trunk, path=folder / "train")
    cache_each = (time.perf_counter() - started) / len(rows)
    seen = cache_trunk(model, sample, layers=trunk, path=folder / "sample")
    tuned = add_lora(model, recipe, trunk)
    tuned.peft_config["default"].base_model_name_or_path = str(base.path)
    with trunk_skipped(tuned, trunk):
        fit(tuned, cached, seen, once, checkpoints=folder / "c", more_callbacks=[times])
    return cache_each + EPOCHS * times.seconds_each() / per_step
