"""What is saved where work is shared: a prompt's examples by all texts, lower layers by base and tuned model.

    python -m benchmarks sharing --dataset DATA

Both ways take turns on the same texts in one process. A prompt of eight examples a class is computed once,
or anew for each text. A tuned model whose lower layers are the base's answers alone, or beside the base, as
Compare and `evaluate --with-base` ask both.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import results
from inference.baselines.prompting import Prompted, balanced
from inference.classifier import Classifier, softmax
from inference.side_by_side import SideBySide
from training.data.load import load_splits
from training.model.bases import resolve_base
from training.model.classifier import load_base_classifier, load_language_model
from training.recipes import change, load_recipe

BASE, EXAMPLES, TEXTS, TURNS = "embedded", 8, 32, 5


def main(dataset: str) -> None:
    """Measure, and write results/sharing.json."""
    splits = load_splits(change(load_recipe("quick"), {"dataset": dataset}).data)
    texts, names = list(splits.test["text"])[:TEXTS], splits.labels
    base = resolve_base(BASE)
    lm = load_language_model(base)
    examples = balanced(list(splits.train["text"]), list(splits.train["label"]), names, k=EXAMPLES, seed=42)
    few_shot = Prompted.build(lm.model, lm.tokenizer, names, examples=examples)
    with tempfile.TemporaryDirectory() as home:
        found = results.of_command(home, "train", "smoke", base=BASE, dataset=dataset)
        tuned = Classifier.load(found["artifact"], engine="torch-float32")
        untuned = load_base_classifier(Path(found["artifact"]), base=base, precision="float32")
        pair = SideBySide.of(tuned, untuned)
    assert pair, "the recipe leaves the lower layers as they are"
    results.write(
        "sharing",
        data=splits.report.to_json()["source"],
        base={"name": base.name},
        texts=TEXTS,
        turns=TURNS,
        rows=[prompt_row(few_shot, texts), pair_row(pair, texts)],
    )


def prompt_row(few_shot: Prompted, texts: Sequence[str]) -> dict[str, Any]:
    """Return what a prompt computed once takes, beside the whole prompt for each text."""
    engine, token_ids = few_shot.engine, few_shot.encode(texts).token_ids
    whole = [[*engine.prefix, *ids[engine.opening :]] for ids in token_ids]
    once, anew = engine.logits(token_ids), engine.scores([], whole)
    assert np.abs(softmax(once) - softmax(anew)).max() < 1e-4, "the same answers"
    return {
        "name": f"examples of {len(engine.prefix):,} tokens in the prompt: computed once; for each text",
        **in_turns(lambda: engine.logits(token_ids), lambda: engine.scores([], whole), len(texts)),
    }


def pair_row(pair: SideBySide, texts: Sequence[str]) -> dict[str, Any]:
    """Return what a tuned model takes alone, and with its base beside it."""
    model = pair.first.model
    assert model is not None, "both are PyTorch's"
    layers = f"{pair.layers} of {model.config.num_hidden_layers} layers shared"
    return {
        "name": f"tuned model: alone; beside its base, {layers}",
        **in_turns(lambda: pair.first.predict(texts), lambda: pair.predict(texts), len(texts)),
    }


def in_turns(first: Callable[[], object], second: Callable[[], object], texts: int) -> dict[str, Any]:
    """Return the milliseconds a text of two ways, and the mean of the turns' ratios with its interval."""
    seconds: list[list[float]] = []
    for turn in range(TURNS):
        took = [0.0, 0.0]
        for place in (0, 1) if turn % 2 else (1, 0):
            began = time.perf_counter()
            (first, second)[place]()
            took[place] = time.perf_counter() - began
        seconds.append(took)
    mine, other = np.mean(seconds, axis=0) / texts * 1000
    return {
        "first_ms_a_tweet": float(mine),
        "second_ms_a_tweet": float(other),
        "ratio": results.mean_of([late / early for early, late in seconds]),
    }
