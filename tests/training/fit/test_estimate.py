"""The plan follows the work: tokens times layers."""

from dataclasses import replace

import pytest
import torch

from inference.engine.precision import Precision
from inference.prompt import Prompt
from training.fit.estimate import gflops, measure
from training.fit.phases import Pace, Sizes, phases
from training.fit.rows import EncodedRows
from training.model.bases import resolve_base
from training.model.classifier import build_classifier, load_language_model, prompted_tokenizer
from training.recipes import Recipe

SIZES = Sizes(
    train_tokens=20_000,
    validation_tokens=5_000,
    test_tokens=10_000,
    train_rows=1_000,
    depth=30,
    base_depth=30,
    trunk=20,
    parameters=135_000_000,
)
PACE = Pace(layer_token_s=1e-4, gflops=100.0)


def test_the_plan_is_tokens_times_layers():
    plan = phases(PACE, Recipe(epochs=3.0), SIZES)
    assert list(plan) == ["cache", "train", "export", "evaluate"]
    assert plan["cache"] == pytest.approx(25_000 * 20 * 1e-4)
    assert plan["train"] == pytest.approx((3 * 20_000 * 10 * 2.2 + 3 * 5_000 * 10) * 1e-4)
    assert plan["evaluate"] == pytest.approx(10_000 * (20 + 10 + 10) * 1e-4 + 1.62, abs=0.01)


def test_without_a_trunk_nothing_is_cached_and_training_costs_the_whole_depth():
    plan = phases(PACE, Recipe(epochs=3.0), replace(SIZES, trunk=0))
    assert plan["cache"] == 0
    assert plan["train"] == pytest.approx(3 * phases(PACE, Recipe(epochs=3.0), SIZES)["train"])


@pytest.mark.parametrize(
    ("changes", "more"),
    [({"epochs": 6.0}, 2.0), ({"method": "full"}, 1.4), ({"method": "full", "batch_size": 1}, 2.5)],
)
def test_more_work_takes_more_time(changes, more):
    usual = phases(PACE, Recipe(epochs=3.0), SIZES)["train"]
    assert phases(PACE, Recipe(**{"epochs": 3.0, **changes}), SIZES)["train"] >= more * usual


@pytest.mark.parametrize("pad_to", [0, 64])
def test_the_measurement_is_seconds_of_a_token_in_a_layer(tiny_gpt2, pad_to):
    lm = load_language_model(resolve_base(str(tiny_gpt2)))
    model = build_classifier(lm, ("a", "b"), prompted_tokenizer(lm, Prompt(), max_length=128))
    rows = EncodedRows([[1] * length for length in (4, 9, 9, 9, 30)], [0] * 5, 0, 0, pad_to)
    tokens, ticks = [], iter(range(10_000))
    model.transformer.wte.register_forward_pre_hook(lambda _, inputs: tokens.append(inputs[0].numel()))
    pace = measure(model, rows, seconds=5.0, clock=lambda: float(next(ticks)))
    # The clock moves by a second each time it is read: before, after each forward pass, and at the end.
    seconds_each = 6 / 5
    assert set(tokens) == ({64} if pad_to else {5 * 30})
    assert pace.layer_token_s == pytest.approx(seconds_each / (tokens[0] * 3))
    assert pace.gflops > 0


def test_a_step_in_bfloat16_costs_more_of_its_forward_passes_and_the_rate_given_is_of_float32(tiny_llama):
    lm = load_language_model(resolve_base(str(tiny_llama)))
    model = build_classifier(lm, ("a", "b"), prompted_tokenizer(lm, Prompt(), max_length=128))
    rows, found, ticks = EncodedRows([[1] * 9] * 5, [0] * 5, 0, 0, 0), set(), iter(range(10_000))
    model.model.layers[0].mlp.up_proj.register_forward_hook(lambda *given: found.add(given[2].dtype))
    pace = measure(
        model, rows, precision=Precision("bfloat16"), seconds=3.0, clock=lambda: float(next(ticks))
    )
    assert found == {torch.bfloat16} and not torch.is_autocast_enabled("cpu")
    slow, usual = (
        phases(replace(PACE, step=step), Recipe(epochs=3.0), SIZES)["train"] for step in (pace.step, 1.0)
    )
    assert 1.2 * usual < slow < 2 * usual


def test_gflops_counts_two_operations_a_product():
    ticks = iter(range(100))
    rate = gflops(seconds=1.0, size=100, clock=lambda: float(next(ticks)))
    assert rate == pytest.approx(2 * 100**3 / 2 / 1e9)
