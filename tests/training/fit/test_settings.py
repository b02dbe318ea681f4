"""Class weights, label smoothing, several seeds and temperature scaling do what their sentences say."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import pipeline
from transformers.models.gpt2.modeling_gpt2 import GPT2MLP

from inference.common.errors import RecipeError
from tests.support import wait_until_ended
from tests.support.tiny import tiny_recipe, trained_here
from tests.training.fit.test_trainer import distance, kind, make, trained
from training.evaluate.evaluate import evaluate_artifact
from training.evaluate.scores import Evaluation, read_evaluation
from training.fit.run import _calibrate
from training.fit.trainer import Tuned, TweetTrainer, _class_weights, arguments, logits_of
from training.runs import process
from training.runs.log import RunLog
from training.runs.provenance import read_record
from training.runs.run import create_run


@pytest.fixture(scope="module")
def run(tiny_gpt2, tmp_path_factory):
    """Return a finished run with all four settings."""
    folder = tmp_path_factory.mktemp("settings")
    settings = {"n_validation": 60, "n_test": 60, "epochs": 2.0, "learning_rate": 3e-3, "seeds": 2}
    settings |= {"calibrate": True, "class_weights": "balanced", "label_smoothing": 0.1}
    return trained_here(tiny_recipe(tiny_gpt2, folder, rows=360, **settings), folder / "run")


def test_several_seeds_are_reported_and_the_best_by_validation_is_kept(run):
    record = read_record(run.artifact, "provenance.json")
    scores = record["validation_macro_f1"]
    assert set(scores) == {"42", "43"} and scores["42"] != scores["43"]
    assert scores[str(record["trained_by_seed"])] == max(scores.values())
    [said] = [event["text"] for event in run.events("note") if "seeds:" in event["text"]]
    assert said.startswith("2 seeds: validation macro-F1 ") and "standard deviation" in said
    evaluations = run.events("validation")
    assert [event["seed"] for event in evaluations] == [42, 42, 43, 43], "no curve overwrites another"
    assert [event["step"] for event in evaluations] == [6, 12, 18, 24] and evaluations[-1][
        "total_steps"
    ] == 24


def test_the_temperature_is_in_the_plain_folder_and_the_evaluation_tells_what_it_does(run):
    temperature = read_record(run.artifact, "provenance.json")["temperature"]
    found = read_evaluation(run.path)
    assert found.calibrated.temperature == temperature != 1
    [said] = [line for line in found.sentences() if "temperature" in line]
    assert f"{100 * found.calibrated.error_before.value:.1f} % without" in said
    again = evaluate_artifact(run.artifact)
    assert again.calibrated.error_before.value == pytest.approx(found.calibrated.error_before.value, abs=0.01)
    assert Evaluation.from_json(json.loads(json.dumps(found.to_json()))) == found
    rows = [json.loads(line) for line in (run.path / "validation.jsonl").read_text().splitlines()]
    loss = []
    for factor in (1.0, 0.8, 1.25):
        answer = pipeline("text-classification", str(run.artifact), top_k=None)
        with torch.no_grad():
            answer.model.score.weight.mul_(factor)
        said = [{one["label"]: one["score"] for one in row} for row in answer([row["text"] for row in rows])]
        loss.append(-np.mean([np.log(one[row["label"]]) for one, row in zip(said, rows, strict=True)]))
    assert loss[0] == min(loss), "no other temperature fits the validation split better, in plain pipeline"
    adapter = load_file(run.artifact / "adapter" / "adapter_model.safetensors")
    head = load_file(run.artifact / "model.safetensors")["score.weight"]
    [mine] = [weight for name, weight in adapter.items() if "score" in name]
    assert torch.equal(mine, head), "the adapter's head is the same"


def test_rows_that_tell_no_temperature_scale_nothing(tmp_path):
    log = RunLog(tmp_path)
    sure = np.eye(3, dtype=np.float32)[[0, 1, 2] * 40] * 5
    tuned = Tuned(torch.nn.Linear(2, 2), 42, sure, {42: 1.0})
    assert _calibrate(tuned, [0, 1, 2] * 40, log) == 1
    assert _calibrate(Tuned(tuned.model, 42, sure[:30], {}), [1, 1, 2] * 10, log) == 1
    said = (tmp_path / "events.jsonl").read_text()
    assert "no validation row is wrong" in said and "only 30 validation rows" in said


def test_each_class_counts_alike_and_the_mean_weight_of_a_row_is_one():
    weights = _class_weights([0] * 6 + [1] * 3 + [3], 4)
    assert torch.allclose(weights[[0, 1, 3]], torch.tensor([10 / 18, 10 / 9, 10 / 3]))
    assert sum([6, 3, 0, 1] * weights.numpy()) == pytest.approx(10)


def test_the_loss_is_that_of_the_settings_in_training_and_plain_in_validation(tiny_gpt2, tmp_path):
    made = make(tiny_gpt2, n_train=16, class_weights="balanced", label_smoothing=0.2)
    weights = torch.tensor([3.0, 1.0, 0.5])
    trainer = TweetTrainer(
        model=made.model,
        args=arguments(made.recipe, tmp_path, every=1),
        train_dataset=made.train,
        eval_dataset=made.validation,
        data_collator=made.train.collate,
        like_length=False,
        label_smoothing=0.2,
        class_weights=weights,
    )
    batch = made.train.collate([made.train[row] for row in range(16)])
    logits = torch.from_numpy(logits_of(made.model, made.train, 0))
    plain = functional.cross_entropy(logits, batch["labels"])
    assert trainer.compute_loss(made.model, dict(batch)).item() == pytest.approx(plain.item(), abs=1e-5)
    made.model.training = True  # and nothing inside it, so that there is no dropout
    spread = 0.8 * torch.eye(3)[batch["labels"]] + 0.2 / 3
    expected = -(spread * weights * torch.log_softmax(logits, 1)).sum(1).mean()
    assert trainer.compute_loss(made.model, dict(batch)).item() == pytest.approx(expected.item(), abs=1e-5)


def test_a_recipe_without_them_is_trained_as_before(tiny_gpt2, tmp_path):
    plain, events = trained(make(tiny_gpt2, epochs=1.0), tmp_path / "plain")
    weighted, others = trained(make(tiny_gpt2, epochs=1.0, class_weights="balanced"), tmp_path / "weighted")
    assert distance(plain, weighted) < 1e-4, "48 rows, 16 of each class: every weight is 1"
    smooth, _ = trained(make(tiny_gpt2, epochs=1.0, label_smoothing=0.3), tmp_path / "smooth")
    assert distance(plain, smooth) > 1e-3
    assert [e["loss"] for e in kind(events, "validation")] == pytest.approx(
        [e["loss"] for e in kind(others, "validation")], abs=1e-4
    )


def test_gradient_checkpointing_computes_again_and_changes_nothing(tiny_gpt2, tmp_path, monkeypatch):
    """Noise and dropout are those of the first time."""
    counted, forward = [], GPT2MLP.forward

    def counting(self, *args, **kwargs):
        counted.append(torch.is_grad_enabled())
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(GPT2MLP, "forward", counting)
    settings = {"epochs": 1.0, "trunk_layers": "1", "state_noise": 1.0, "lora_dropout": 0.1}
    plain, _ = trained(make(tiny_gpt2, **settings), tmp_path / "plain", cached=True)
    once = sum(counted)
    spared, _ = trained(
        make(tiny_gpt2, **settings, gradient_checkpointing=True), tmp_path / "spared", cached=True
    )
    assert distance(plain, spared) < 1e-6 and sum(counted) - once == 2 * once > 0


@pytest.mark.usefixtures("warm_starts")
def test_trackio_keeps_the_curves_of_each_training_on_this_machine(tiny_gpt2, tmp_path, monkeypatch):
    """By its own client, which reads what it wrote; its folder is named before it is imported."""
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    recipe = tiny_recipe(tiny_gpt2, tmp_path, rows=120, report_to="trackio", seeds=2)
    run = create_run(recipe, run_dir=tmp_path / "run")
    process.start(run)
    assert wait_until_ended(run).state == "finished", (run.path / "log.txt").read_text()
    read = (
        "import json, trackio; from trackio.sqlite_storage import SQLiteStorage as kept; "
        "names = [run.name for run in trackio.Api().runs('tweettune')]; "
        "print(json.dumps({name: kept.get_logs('tweettune', name) for name in names}, default=str))"
    )
    done = subprocess.run([sys.executable, "-c", read], capture_output=True, text=True, check=True)
    kept = json.loads(done.stdout)
    assert sorted(kept) == ["run-seed-42", "run-seed-43"]
    for seed in (42, 43):
        evaluations = [event["macro_f1"] for event in run.events("validation") if event["seed"] == seed]
        logged = [entry["eval/macro_f1"] for entry in kept[f"run-seed-{seed}"] if "eval/macro_f1" in entry]
        assert logged == pytest.approx(evaluations) and evaluations


def test_trackio_that_is_not_installed_is_said_before_a_run_exists(tiny_gpt2, tmp_path, monkeypatch):
    monkeypatch.setattr("training.runs.run.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match="which is not installed"):
        create_run(tiny_recipe(tiny_gpt2, tmp_path, rows=120, report_to="trackio"), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
