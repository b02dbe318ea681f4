"""What is forgotten is measured against the true base; for LoRA the dial is the scale of the adapter."""

import json

import pytest
import torch
from peft import PeftModel
from peft.helpers import rescale_adapter_scale
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from inference.artifact import ADAPTER, BASE_HEAD, VALIDATION
from inference.common.errors import RunError
from inference.common.intervals import Interval
from inference.common.store import write_jsonl
from tests.support.tiny import tiny_recipe
from training.cli.main import main
from training.evaluate.perplexity import bits_of, general_texts
from training.evaluate.scores import Bits
from training.fit.prepare import prepare
from training.fit.run import _export, _labelled, _record
from training.fit.trainer import train_seeds
from training.model.bases import resolve_base
from training.model.classifier import build_classifier, load_language_model
from training.recipes import change
from training.runs.log import RunLog
from training.runs.process import Cancelled
from training.runs.provenance import write_provenance
from training.runs.run import create_run
from training.studies import forgetting as forgetting_study
from training.studies.forgetting import dial_of, forgetting
from training.studies.forgetting_order import DialPoint, Forgetting, ForgettingOrder, Forgotten

IDS = torch.tensor([[5, 9, 30, 41, 7, 102]])


@pytest.fixture(scope="module")
def recipe(tiny_gpt2, tmp_path_factory):
    return tiny_recipe(tiny_gpt2, tmp_path_factory.mktemp("data"), n_test=8, learning_rate=1e-2)


def finished(recipe, folder):
    """Return a run with its model and its validation rows; nothing is evaluated."""
    run = create_run(recipe, run_dir=folder)
    prepared = prepare(recipe, run.path)
    tuned = train_seeds(prepared, recipe, checkpoints=run.path / "checkpoints", report=RunLog(run.path))
    record = _record(prepared, tuned)
    _export(prepared, tuned.model, run.artifact)
    write_provenance(run.artifact, record)
    write_jsonl(run.path / VALIDATION, _labelled(prepared.splits))
    return run


@pytest.fixture(scope="module")
def lora(recipe, tmp_path_factory):
    return finished(recipe, tmp_path_factory.mktemp("runs") / "lora")


@pytest.fixture(scope="module")
def full(recipe, tmp_path_factory):
    """Return a run that trained all weights of the first two layers of three, the embedding too."""
    changes = {"method": "full", "trunk_layers": "0", "depth": 2, "learning_rate": 1e-3}
    return finished(change(recipe, changes), tmp_path_factory.mktemp("runs") / "full")


def answers(model):
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def test_for_lora_the_dial_is_what_peft_makes_of_the_adapter(lora, tiny_gpt2):
    dial = dial_of(lora.artifact)
    lm = load_language_model(resolve_base(str(tiny_gpt2)))
    tokenizer = AutoTokenizer.from_pretrained(lora.artifact)
    classifier = build_classifier(lm, ("negative", "neutral", "positive"), tokenizer)
    adapted = PeftModel.from_pretrained(classifier, str(lora.artifact / ADAPTER))
    start = load_file(lora.artifact / BASE_HEAD)["score.weight"]
    head = adapted.base_model.model.score.modules_to_save["default"].weight
    end = head.detach().clone()
    for share in (0.0, 0.4, 1.0):
        dial.turn(share)
        with torch.no_grad(), rescale_adapter_scale(adapted, share):
            head.copy_(torch.lerp(start, end, share))
            assert torch.allclose(answers(dial.classifier), answers(adapted), atol=1e-5)
            assert torch.allclose(answers(dial.lm.model), answers(lm.model), atol=1e-5), "and its language"


def test_at_its_ends_the_dial_is_the_base_and_the_fine_tuned_network_under_the_bases_language_head(
    full, tiny_gpt2
):
    dial, base = dial_of(full.artifact), AutoModelForCausalLM.from_pretrained(tiny_gpt2)
    base.transformer.h = base.transformer.h[:2]
    assert torch.allclose(answers(dial.lm.model), answers(base), atol=1e-5)
    dial.turn(1.0)
    tuned = AutoModelForSequenceClassification.from_pretrained(full.artifact)
    assert torch.allclose(answers(dial.classifier), answers(tuned), atol=1e-5)
    with torch.no_grad():
        states = tuned.transformer(input_ids=IDS).last_hidden_state
    assert torch.allclose(answers(dial.lm.model), states @ base.lm_head.weight.T, atol=1e-4)
    assert not torch.equal(tuned.transformer.wte.weight, base.lm_head.weight), (
        "training changed the embedding"
    )


def test_a_study_goes_on_where_it_was_stopped_and_compares_at_equal_accuracy(
    lora, full, tiny_gpt2, monkeypatch
):
    order = ForgettingOrder(runs=(str(lora.path), str(full.path)))
    run = order.create(name="x")
    turn, turned = forgetting_study.Dial.turn, []

    def stopping(dial, share):
        turned.append(share)
        if len(turned) == 3:
            raise Cancelled
        turn(dial, share)

    monkeypatch.setattr("training.runs.log._QUIET_S", 0.0)
    monkeypatch.setattr(forgetting_study.Dial, "turn", stopping)
    with pytest.raises(Cancelled):
        forgetting(run, RunLog(run.path))
    forgetting(run, RunLog(run.path))
    assert turned == [0.0, 0.2, 0.4, 0.4, 0.6, 0.8, 1.0, *forgetting_study.SHARES]
    events = [event for event in run.events("progress") if event["phase"] == "dial"]
    assert events[-1]["done"] == events[-1]["total"] < events[1]["total"], "what is left when it goes on"
    assert all(event["time_left_s"] is not None for event in events)
    found = Forgetting.read(run.path)
    one, other = found.runs
    general = general_texts()
    base = [kind.from_pretrained(tiny_gpt2) for kind in (AutoModelForCausalLM, AutoTokenizer)]
    true_bits = bits_of(*base, general).sum() / sum(map(len, general))
    assert one.general.before == other.general.before == pytest.approx(true_bits, rel=1e-5)
    assert one.points[0].bits == pytest.approx(true_bits, rel=1e-5)
    assert other.points[0].bits != pytest.approx(true_bits, rel=1e-3), "a layer less is not the true base"
    assert one.points[-1].bits == pytest.approx(one.general.after, rel=1e-6)
    assert (one.method, other.method, one.rows) == ("lora", "full", 30)
    assert one.points[-1].accuracy > one.points[0].accuracy
    record = json.loads((run.path / "forgetting.json").read_text())
    assert record["sentences"] == found.sentences() and "At equal accuracy" in found.sentences()[-1]
    assert (run.path / "forgetting.png").read_bytes().startswith(b"\x89PNG")
    assert not list(run.path.glob("trunk*"))


def made(run, points, *, rows="a", change=0.1):
    general = Bits(
        texts=24, characters=9000, before=1.0, after=1.0 + change, change=Interval(change, change, change)
    )
    dial = tuple(DialPoint(share=s, accuracy=a, bits=b) for s, a, b in points)
    return Forgotten(
        run=run, method="lora", base="b", rows=100, rows_sha256=rows, general=general, points=dial
    )


def test_the_sentences_follow_from_the_points():
    one = made("one", [(0.0, 0.5, 1.0), (0.5, 0.745, 1.04), (1.0, 0.75, 1.1)])
    other = made("other", [(0.0, 0.5, 1.0), (1.0, 0.7, 1.2)])
    assert one.advised.share == 0.5 and other.advised.share == 1.0
    assert one.bits_at(0.6225) == pytest.approx(1.02) and one.bits_at(0.8) is None and one.bits_at(0.4) == 1.0
    sentences = Forgetting(runs=(one, other)).sentences()
    assert sentences[1] == (
        "Turned down to 0.5: accuracy 74.5 % instead of 75.0 %, general text 1.040 instead of 1.100 bits."
    )
    assert sentences[3] == "Nothing is gained by turning it down."
    assert sentences[4].endswith("one (lora) 1.033, other (lora) 1.200.") and "70.0 %" in sentences[4]
    apart = Forgetting(runs=(one, made("third", [(0.0, 0.5, 1.0), (1.0, 0.7, 1.2)], rows="b")))
    assert apart.equal_accuracy is None and "can't be compared" in apart.sentences()[-1]


def test_a_run_without_a_model_is_one_sentence(recipe, home, capsys):
    run = create_run(recipe)
    assert main(["forgetting", run.id]) == 1
    assert f"The run {run.id} is queued: it has no model to look at yet." in capsys.readouterr().err
    with pytest.raises(RunError, match="can't be used"):
        ForgettingOrder.from_json({"runs": 3})
