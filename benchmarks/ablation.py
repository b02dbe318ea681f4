"""Does each setting of `quick` earn its place? One is changed at a time, over several seeds.

    python -m benchmarks ablation --dataset DATA      # on the embedded base
    python -m benchmarks gpt2 --dataset DATA          # on a small GPT-2 that is pre-trained first
    python -m benchmarks adapters --dataset DATA      # other kinds of LoRA, as peft has them

The test split is not read: 2,000 rows of the train split are set aside as dev rows, which take no part in
training or in the choice of the epoch. A seed draws the training rows and all that is random in training.
The results are the mean accuracy on the dev rows over the seeds, and the mean difference to `quick` with the
same seeds, each with Student's 95 % interval. Measurements are kept in .cache, so that a stopped benchmark
goes on.

GPT-2's own weights are not needed: a GPT-2 of six layers starts from noise and learns to predict the embedded
tweets and the train split's texts, by the command `adapt`. It shows whether settings that were tuned on the
embedded base, of Llama's family, hold for the other family and its code path.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from peft import LoraConfig
from peft.optimizers import create_loraplus_optimizer
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast

from benchmarks import CACHE, results
from inference.common.store import JsonObject, read_json, read_jsonl, write_json, write_jsonl
from training.data.load import load_splits
from training.fit.prepare import SHARED, Prepared, prepare
from training.fit.rows import TrainerRows, cache_trunk, encoded_rows
from training.fit.trainer import TweetTrainer, logits_of, train
from training.recipes import Recipe, change, load_recipe

BASE, MORE_TEXTS, DEV, SEEDS = "embedded", "embedded", 2_000, (1, 2, 3)
QUICK, UNTOUCHED = "quick", "the untouched base, zero-shot"
VARIANTS: dict[str, dict[str, str]] = {
    QUICK: {},
    "half as many frozen layers, learning rate 5e-4, 4 epochs": {
        "trunk_layers": "0.33",
        "learning_rate": "5e-4",
        "epochs": "4",
    },
    "all weights of the upper third, learning rate 1e-4": {"method": "full", "learning_rate": "1e-4"},
    "no noise on the states": {"state_noise": "0"},
    "head from noise, not from the label words": {"head": "random"},
    "no prompt": {"prompt_prefix": "", "prompt_suffix": ""},
}
ON_GPT2 = VARIANTS | {
    "half the noise": {"state_noise": "0.8"},
    "learning rate 2e-4": {"learning_rate": "2e-4"},
    "learning rate 2e-3": {"learning_rate": "2e-3"},
}
Patch = Callable[[], AbstractContextManager[object]]


def _adapters(**options: object) -> Patch:
    """Return a patch with which adapters are made with more of peft's options."""
    return lambda: mock.patch("training.model.classifier.LoraConfig", partial(LoraConfig, **options))


def _lora_plus() -> AbstractContextManager[object]:
    """Learn the adapters' second matrices at 16 times the rate (Hayou et al. 2024, arXiv 2402.12354)."""

    def create_optimizer(trainer: TweetTrainer, *_: object) -> torch.optim.Optimizer:
        trainer.optimizer = create_loraplus_optimizer(
            trainer.model,
            torch.optim.AdamW,
            lr=trainer.args.learning_rate,
            loraplus_lr_ratio=16,
            loraplus_weight_decay=trainer.args.weight_decay,
        )
        return trainer.optimizer

    return mock.patch.object(TweetTrainer, "create_optimizer", create_optimizer)


ADAPTERS: dict[str, Patch] = {
    "rsLoRA": _adapters(use_rslora=True),
    "DoRA": _adapters(use_dora=True),
    "PiSSA": _adapters(init_lora_weights="pissa_niter_4"),
    "LoRA+, ratio 16": _lora_plus,
}
SMALL_GPT2 = {"n_layer": 6, "n_embd": 192, "n_head": 3, "n_positions": 256}
VOCABULARY = 8_000
PRE_TRAINING = {"epochs": "3", "learning_rate": "1e-3", "batch_size": "16", "warmup": "0.05"}


@dataclass(frozen=True)
class Trials:
    """The variants, their base, and the folder for what is measured."""

    kept: Path
    base: str
    variants: Mapping[str, Mapping[str, str]]
    title: str = ""
    """The base's name in a table, if its own name says nothing."""
    patches: Mapping[str, Patch] = field(default_factory=dict)
    """Context managers for variants that no setting of a recipe can express."""

    @property
    def data(self) -> Path:
        """The train split's rows, as a data set of their own."""
        return self.kept / "data"


def main(dataset: str, seeds: Sequence[int] = SEEDS) -> None:
    """Measure what is not measured yet, and write results/ablation.json."""
    trials = Trials(CACHE / "ablation", BASE, VARIANTS)
    _set_dev_aside(dataset, trials)
    _measured("ablation", trials, dataset, seeds)


def gpt2(dataset: str, seeds: Sequence[int] = SEEDS) -> None:
    """Pre-train a small GPT-2, measure what is not measured yet, and write results/gpt2.json."""
    kept = CACHE / "gpt2"
    title = f"a GPT-2 of {SMALL_GPT2['n_layer']} layers, pre-trained on the texts of both data sets"
    trials = Trials(kept, str(kept / "base" / "artifact"), ON_GPT2, title)
    _set_dev_aside(dataset, trials)
    if not Path(trials.base).is_dir():
        _pre_train(trials)
    _measured("gpt2", trials, dataset, seeds)


def adapters(dataset: str, seeds: Sequence[int] = SEEDS) -> None:
    """Measure what is not measured yet, and write results/adapters.json."""
    variants: dict[str, dict[str, str]] = {name: {} for name in (QUICK, *ADAPTERS)}
    trials = Trials(CACHE / "adapters", BASE, variants, patches=ADAPTERS)
    _set_dev_aside(dataset, trials)
    _measured("adapters", trials, dataset, seeds)


def _measured(name: str, trials: Trials, dataset: str, seeds: Sequence[int]) -> None:
    measured = [one for seed in seeds for one in _of_seed(trials, seed)]
    results.write(
        name,
        **measured[0]["made_from"],
        data={"name": Path(dataset).name},
        dev_rows=DEV,
        draws=len(seeds),
        rows=[_row(one, measured) for one in (*trials.variants, UNTOUCHED)],
    )


def _pre_train(trials: Trials) -> None:
    """Write the corpus and a GPT-2 of noise, and let `adapt` train it."""
    own = list(read_jsonl(trials.data / "train.jsonl"))
    every = change(load_recipe("quick"), {"dataset": MORE_TEXTS, "n_train": "0", "n_validation": "1"})
    texts = [*(row["text"] for row in own), *load_splits(every.data).train["text"]]
    write_jsonl(trials.kept / "corpus.jsonl", ({"text": text} for text in texts))
    end = "<|endoftext|>"
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, vocab_size=VOCABULARY, special_tokens=[end], show_progress=False)
    noise = trials.kept / "noise"
    noise.mkdir(exist_ok=True)
    bpe.save_model(str(noise))
    tokenizer = GPT2TokenizerFast.from_pretrained(noise)
    tokenizer.save_pretrained(noise)
    torch.manual_seed(0)
    ends = dict.fromkeys(("bos_token_id", "eos_token_id"), tokenizer.eos_token_id)
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **SMALL_GPT2, **ends)).save_pretrained(noise)
    changes = {"base": str(noise), "dataset": str(trials.data), **PRE_TRAINING}
    found = results.of_command(str(trials.kept), "adapt", str(trials.kept / "corpus.jsonl"), **changes)
    shutil.rmtree(trials.kept / "base", ignore_errors=True)
    (trials.kept / "runs" / found["run"]).rename(trials.kept / "base")


def _set_dev_aside(dataset: str, trials: Trials) -> None:
    """Write the train split's rows as a data set of their own, with dev rows for a test split."""
    folder = trials.data
    asked = {"dataset": str(Path(dataset).absolute()), "recipe": load_recipe("quick").model_dump(mode="json")}
    if (folder / "test.jsonl").is_file():
        if read_json(folder / "asked.json") != asked:
            raise SystemExit(
                f"{trials.kept} holds what was measured of other data or another `quick`. Remove it."
            )
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


def _by_preparation(trials: Trials) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for name, changes in trials.variants.items():
        key = json.dumps({name: to for name, to in changes.items() if name in (*SHARED, "trunk_layers")})
        groups.setdefault(key, []).append(name)
    return list(groups.values())


def _recipe(trials: Trials, seed: int, name: str) -> Recipe:
    given = {
        "dataset": str(trials.data),
        "base": trials.base,
        "seed": str(seed),
        "n_test": "0",
        "onnx": "false",
    }
    return change(load_recipe("quick"), given | dict(trials.variants[name]))


def _of_seed(trials: Trials, seed: int) -> list[JsonObject]:
    """Return the records of all variants for one seed, measured now or before."""
    kept = trials.kept / f"seed-{seed}.jsonl"
    found = list(read_jsonl(kept)) if kept.is_file() else []
    for names in _by_preparation(trials):
        known = {one["name"] for one in found}
        if missing := [name for name in names if name not in known]:
            for one in _measure(trials, seed, missing):
                found.append(one)
                write_jsonl(kept, found)
    return found


def _measure(trials: Trials, seed: int, names: Sequence[str]) -> Iterator[JsonObject]:
    """Train the variants of one preparation with one seed, and evaluate the untouched base."""
    work = trials.kept / f"work-{seed}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    prepared = prepare(_recipe(trials, seed, names[0]), work)
    dev, made_from = _dev_rows(prepared, work), _made_from(trials, prepared)

    def right(model: Any) -> float:
        logits = logits_of(model, dev, prepared.trunk, prepared.precision)
        return float((logits.argmax(1) == np.array(dev.labels)).mean())

    with torch.no_grad():
        prepared.untouched.score.weight.copy_(prepared.base_head)
    untouched = right(prepared.untouched)
    for name in names:
        started = time.perf_counter()
        with trials.patches.get(name, nullcontext)():
            tuned = train(prepared, _recipe(trials, seed, name), checkpoints=work / "checkpoints")
        minutes, accuracy = (time.perf_counter() - started) / 60, right(tuned)
        print(f"seed {seed}, {name}: {100 * accuracy:.2f} %, {minutes:.1f} min of training", flush=True)
        shutil.rmtree(work / "checkpoints")
        yield {"name": name, "accuracy": accuracy, "untouched": untouched, "made_from": made_from}
    shutil.rmtree(work)


def _made_from(trials: Trials, prepared: Prepared) -> JsonObject:
    sizes = {"train": len(prepared.encoded_train), "validation": len(prepared.encoded_validation)}
    base = {"name": trials.title or prepared.base.name, "revision": prepared.base.revision}
    return {"base": base, "sizes": sizes, "precision": prepared.precision.name}


def _dev_rows(prepared: Prepared, work: Path) -> TrainerRows:
    rows = encoded_rows(prepared.tokenizer, prepared.splits.test, padding=prepared.recipe.padding)
    if not prepared.trunk:
        return rows
    return cache_trunk(
        prepared.untouched, rows, layers=prepared.trunk, path=work / "dev", precision=prepared.precision
    )


def _row(name: str, measured: Sequence[JsonObject]) -> dict[str, Any]:
    beside = [one["accuracy"] for one in measured if one["name"] == QUICK]
    if name == UNTOUCHED:
        accuracy = [one["untouched"] for one in measured if one["name"] == QUICK]
    else:
        accuracy = [one["accuracy"] for one in measured if one["name"] == name]
    row: dict[str, Any] = {"name": name, "accuracy": results.mean_of(accuracy)}
    if name != QUICK:
        row["difference"] = results.mean_of(np.subtract(accuracy, beside).tolist())
    return row
