"""A run computes in what is faster on its machine; a forced bfloat16 learns and answers as float32 does."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoModelForSequenceClassification

from inference.classifier import Classifier, softmax
from inference.common.errors import ArtifactError, RecipeError
from inference.engine.precision import FLOAT32, Precision, choose_precision, faster, product_rate
from tests.support.tiny import tiny_recipe, trained_here
from training.fit.prepare import prepare
from training.fit.run import _chosen_before
from training.fit.trainer import logits_of, train
from training.model.classifier import final_states
from training.recipes import Recipe, change
from training.runs.provenance import read_record


@pytest.fixture(scope="module")
def recipe(tiny_llama, tmp_path_factory):
    settings = {"epochs": 3.0, "learning_rate": 5e-3, "state_noise": 0.2, "precision": "bfloat16"}
    folder = tmp_path_factory.mktemp("data")
    return tiny_recipe(tiny_llama, folder, rows=300, n_validation=60, **settings)


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory):
    """Return a finished run that was told to compute in bfloat16."""
    return trained_here(recipe, tmp_path_factory.mktemp("run") / "run")


def test_a_run_in_bfloat16_says_so_and_gives_a_float32_artifact_with_the_same_labels(run):
    record = read_record(run.artifact, "provenance.json")["precision"]
    assert (record["name"], record["reason"]) == ("bfloat16", "It was asked for.")
    assert record["same_labels"] >= 0.99 and abs(record["macro_f1"] - record["float32"]) <= 0.005
    notes = [event["text"] for event in run.events("note")]
    assert "Computed in bfloat16: It was asked for." in notes
    assert any(note.startswith("bfloat16 gives ") and "the label of float32" in note for note in notes)
    adapter = load_file(run.artifact / "adapter" / "adapter_model.safetensors")
    assert all(weight.any() for name, weight in adapter.items() if "lora_B" in name), "each has learnt"
    weights = load_file(run.artifact / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert [event["precision"]["name"] for event in run.events("estimate")] == ["bfloat16"]


def test_the_engine_computes_in_the_given_precision_and_both_agree(run):
    texts = [json.loads(line)["text"] for line in (run.path / "validation.jsonl").read_text().splitlines()]
    exact = Classifier.load(run.artifact, engine="torch-float32")
    cast = Classifier.load(run.artifact, engine="torch-bfloat16")
    assert cast.engine.name == exact.engine.name == "torch" and exact.engine.reason == "It was asked for."
    assert cast.engine.reason.endswith("Computed in bfloat16: It was asked for.")
    ids = exact.encode(texts).token_ids
    one, other = exact.logits(ids), cast.logits(ids)
    assert one.dtype == other.dtype == np.float32 and not np.array_equal(one, other)
    assert (one.argmax(1) == other.argmax(1)).mean() >= 0.99
    assert {weight.dtype for weight in cast.model.parameters()} == {torch.float32}
    with pytest.raises(ArtifactError, match="There is no engine 'torch-float16'"):
        Classifier.load(run.artifact, engine="torch-float16")


def test_all_weights_learn_in_bfloat16_what_they_learn_in_float32(recipe, tmp_path):
    answers, states = {}, {}
    for precision in (Precision("bfloat16"), FLOAT32):
        own = change(recipe, {"precision": precision.name, "method": "full", "state_noise": 0.0})
        prepared = prepare(own, tmp_path, precision=precision)
        states[precision.name] = prepared.train.state(0)
        before = {name: weight.clone() for name, weight in prepared.untouched.named_parameters()}
        tuned = train(prepared, own, checkpoints=tmp_path / precision.name)
        changed = [name for name, weight in tuned.named_parameters() if not torch.equal(weight, before[name])]
        assert len(changed) > 5, "a context around all steps would train nothing"
        answers[precision.name] = logits_of(tuned, prepared.validation, prepared.trunk, precision)
        plain = logits_of(tuned, prepared.validation, prepared.trunk)
        assert np.array_equal(plain, answers[precision.name]) is (precision == FLOAT32), "it casts no more"
    right = [softmax(found)[range(len(found)), prepared.validation.labels] for found in answers.values()]
    losses = [-np.log(one).mean() for one in right]
    assert losses[0] == pytest.approx(losses[1], abs=0.1) and losses[1] < 0.9
    assert states["float32"].dtype == states["bfloat16"].dtype == torch.float32
    assert not torch.equal(states["float32"], states["bfloat16"]), "the trunk was computed anew"
    assert torch.allclose(states["float32"], states["bfloat16"], atol=0.1)
    with pytest.raises(RecipeError, match="precision is 'bfloat16', but 'float32' was prepared"):
        prepared.check(recipe)


def test_the_untouched_head_is_solved_in_float32_whatever_the_network_computes_in(recipe, tmp_path):
    """Its regression in bfloat16 gave a head that answers by chance, from which training did not recover."""
    found = {}
    for name in ("bfloat16", "float32"):
        prepared = prepare(change(recipe, {"precision": name}), tmp_path)
        assert torch.equal(prepared.calibrated(prepared.untouched), prepared.base_head)
        states = final_states(prepared.untouched, _batches(prepared), precision=prepared.precision)
        assert states.dtype == prepared.base_head.dtype == torch.float32
        share = torch.softmax(states @ prepared.base_head.T, dim=-1).mean(0)
        assert torch.allclose(share, torch.full((3,), 1 / 3), atol=5e-3), "no label is preferred"
        offsets = states @ (prepared.base_head - prepared.words).T
        assert offsets.std(0).max() < 0.06 * offsets.mean(0).abs().max(), "nearly the same for every text"
        found[name] = offsets.mean(0)
    assert torch.allclose(found["bfloat16"], found["float32"], atol=0.05)


def _batches(prepared):
    rows = prepared.encoded_train
    return [rows.collate([rows[row] for row in range(len(rows))])]


def test_the_faster_one_wins_and_float32_where_it_is_close():
    chosen = faster({"float32": 176.2, "bfloat16": 926.0})
    assert (chosen.name, chosen.to_json()["gflops"]) == ("bfloat16", {"float32": 176.2, "bfloat16": 926.0})
    assert chosen.reason == (
        "Matrix products run at 176 GFLOP/s in float32 and 926 GFLOP/s in bfloat16 here."
    )
    assert faster({"float32": 100.0, "bfloat16": 140.0}).name == "float32", "casting takes time too"
    assert faster({"float32": 96.0, "bfloat16": 1.0}).name == "float32"
    ticks = iter(range(100))
    rate = product_rate(lambda: None, 10**9, seconds=2.0, clock=lambda: float(next(ticks)))
    assert rate == pytest.approx(2 / 3), "a second each time that the clock is read"


def test_auto_measures_both_once_on_the_shapes_in_use(recipe):
    assert choose_precision("auto", hidden=127) is FLOAT32
    found = choose_precision("auto", hidden=128, tokens=64)
    assert set(found.gflops) == {"float32", "bfloat16"} and min(found.gflops.values()) > 0
    assert (
        found.name == faster(found.gflops).name
        and found.gflops is choose_precision("auto", hidden=128, tokens=64).gflops
    )
    assert Recipe().precision == "auto"
    with pytest.raises(RecipeError, match=r"precision is 'float16'\. Give one of: auto, float32, bfloat16"):
        change(recipe, {"precision": "float16"})


@pytest.mark.parametrize("base", ["tiny_gpt2", "tiny_llama"])
def test_attention_is_trained_in_float32_and_answers_in_bfloat16(base, request, monkeypatch):
    model = AutoModelForSequenceClassification.from_pretrained(request.getfixturevalue(base))
    inputs = {"input_ids": torch.ones((1, 5), dtype=torch.long), "labels": torch.tensor([0])}
    seen, stock = [], functional.scaled_dot_product_attention

    def attend(*states, **settings):
        seen.append((found := stock(*states, **settings)).dtype)
        return found

    monkeypatch.setattr(functional, "scaled_dot_product_attention", attend)
    precision = Precision("bfloat16")
    with precision.training(), precision.on(model):
        torch.autograd.backward(model(**inputs).loss)
        with torch.inference_mode():
            model(**inputs)
    with precision.on(model):
        model(**inputs)
    layers = model.config.num_hidden_layers
    assert seen == [torch.float32] * layers + [torch.bfloat16] * 2 * layers
    assert all(weight.grad.any() for name, weight in model.named_parameters() if "attn" in name)


def test_a_model_elsewhere_than_where_it_was_measured_stays_float32(run):
    model = Classifier.load(run.artifact, engine="torch-float32").model
    for precision, casts in ((Precision("bfloat16", "", "cuda"), False), (Precision("bfloat16"), True)):
        with precision.on(model):
            assert torch.is_autocast_enabled("cpu") is casts


def test_a_run_that_goes_on_stays_with_what_it_has_chosen(run):
    assert _chosen_before(run) == Precision("bfloat16", "It was asked for.")
