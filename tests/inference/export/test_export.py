"""The exported networks answer as PyTorch does, whatever the batch; what fails the gate is not served."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from inference import Classifier, cli
from inference.common.errors import ArtifactError
from inference.engine.onnx import Session, margins
from inference.engine.parity import Parity
from inference.export.export import Measurement, export_onnx, leads, prompt_prefix, validation_rows, verdict
from inference.export.network import Form, Prefix, build_network, quantised_weight, weight_bits
from inference.export.smoothing import largest_inputs, smooth
from inference.export.weights import read_weights
from inference.trunk import pad_ids
from tests.support import command, tweets, write_csv
from tests.support.exporting import sessions
from tests.support.served import trained

ODD = ["", " ", "😀" * 40, "nul \x00", "שלום", "lone \ud800", "sunny " * 300]


def logits(path, texts, engine):
    classifier = Classifier.load(path, engine=engine)
    return classifier.logits(classifier.encode(texts).token_ids)


def measured(posts_per_s, *, labels_equal=1.0):
    return Measurement(Parity(200, labels_equal, 0.0), 0.0, posts_per_s)


def test_float32_gives_pytorchs_logits(exported_model):
    texts = [text for text, _ in tweets(60, seed=8)] + ODD
    exact, _, ids = sessions(exported_model[0], texts)
    expected = Classifier.load(exported_model[0], engine="torch").logits(ids)
    assert np.abs(exact.logits(ids) - expected).max() < 1e-4
    for row, text_ids in enumerate(ids):
        assert np.abs(exact.logits([text_ids]) - expected[row]).max() < 1e-4


def test_int8_is_another_network_yet_close(exported_model):
    texts = [text for text, _ in tweets(60, seed=8)] + ODD
    exact, quick, ids = sessions(exported_model[0], texts)
    difference = np.abs(quick.logits(ids) - exact.logits(ids))
    assert 1e-6 < difference.max() < 0.5


@pytest.mark.parametrize(("exact", "bits"), [(True, 8), (False, 7)])
def test_an_int8_product_that_overflows_costs_a_bit_of_the_weights(monkeypatch, exact, bits):
    """A stand-in for both kinds of CPU; which one this is, the tests above this one show."""
    product = np.full((1, 16), 255 * 127 * 64 if exact else 32767 * 32, dtype=np.int32)
    monkeypatch.setattr(
        "onnxruntime.InferenceSession", lambda *_, **__: SimpleNamespace(run=lambda *_: [product])
    )
    assert weight_bits.__wrapped__() == bits
    numbers, scales = quantised_weight(np.array([[3.0, -1.0], [-6.0, 0.5]], dtype=np.float32), bits=bits)
    assert np.abs(numbers).max() == 2 ** (bits - 1) - 1
    assert np.abs(numbers * scales - [[3, -1], [-6, 0.5]]).max() < 0.06


def test_the_batch_changes_no_answer_of_int8(exported_model):
    _, quick, ids = sessions(exported_model[0], [text for text, _ in tweets(30, seed=9)] + ODD)
    alone = np.concatenate([quick.logits([one]) for one in ids])
    assert np.abs(quick.logits(ids) - alone).max() < 1e-4


def test_what_the_gate_found_stands_beside_the_files(exported_model):
    path, record = exported_model
    exact, int8 = record["engines"]["float32"], record["engines"]["int8"]
    assert exact["n"] == int8["n"] == 120  # every second text; the others set the margin
    assert exact["labels_equal"] == 1
    assert exact["macro_f1_points"] == 0
    assert int8["labels_equal"] >= 0.99
    assert int8["labels_equal"] >= int8["labels_equal_without_close_calls"]
    assert 0 <= int8["close_calls"] <= 1
    assert record["choice"] in ("int8", "float32")
    assert sorted(file.name for file in (path / "onnx").iterdir()) == [
        "model_quantized.onnx",
        "packed.onnx",
        "packed_int8.onnx",
        "parity.json",
    ]
    assert (path / "onnx" / "packed_int8.onnx").stat().st_size < (
        path / "onnx" / "packed.onnx"
    ).stat().st_size


def test_without_a_prompt_there_is_no_prefix_and_the_answers_are_the_same(exported_model, tmp_path):
    classifier = Classifier.load(exported_model[0], engine="torch")
    prefix = prompt_prefix(classifier)
    assert prefix.token_ids
    assert all(
        ids[: len(prefix.token_ids)] == list(prefix.token_ids)
        for ids in classifier.encode(["", "a day", "1"]).token_ids
    )
    shutil.copytree(exported_model[0], tmp_path / "bare")
    content = json.loads((tmp_path / "bare" / "tokenizer.json").read_text())
    content["post_processor"] = None
    (tmp_path / "bare" / "tokenizer.json").write_text(json.dumps(content))
    bare = Classifier.load(tmp_path / "bare", engine="torch")
    assert prompt_prefix(bare).token_ids == ()
    rows = [(text, bare.predict([text])[0].label) for text, _ in tweets(120, seed=3)]
    export_onnx(tmp_path / "bare", [text for text, _ in rows], [label for _, label in rows])
    texts = ["", "love", "i hate the rain today"]
    assert (
        np.abs(logits(tmp_path / "bare", texts, "torch") - logits(tmp_path / "bare", texts, "onnx")).max()
        < 0.3
    )


def test_smoothing_changes_no_answer_of_the_network(exported_model):
    """What it takes from one weight it gives to the next: built in float32, the answers stay."""
    classifier = Classifier.load(exported_model[0], engine="torch")
    ids = classifier.encode([text for text, _ in tweets(32, seed=2)]).token_ids
    prefix = prompt_prefix(classifier)
    largest = largest_inputs(classifier.model, [pad_ids(ids, 0)], skip=len(prefix.token_ids))
    before, weights = read_weights(classifier.model), read_weights(classifier.model)
    values = [value.copy() for value in prefix.values]
    smooth(weights, values, largest)
    changed = np.abs(weights.layers[0].query_key.weight / before.layers[0].query_key.weight - 1).max()
    assert changed > 0.01
    file = exported_model[0].parent / "smooth.onnx"
    network = build_network(weights, Prefix(prefix.token_ids, prefix.keys, values), Form.FLOAT32)
    file.write_bytes(network.SerializeToString())
    assert np.abs(Session(file).logits(ids) - classifier.logits(ids)).max() < 1e-3


def test_the_verdict_takes_the_fastest_that_passes():
    def found(*measurements):
        return verdict(*measurements, close_calls=0.1)

    choice, why = found(measured(10), measured(30))
    assert choice == "int8" and why.endswith("it passes the gate, at 3.0 times float32's rate.")
    choice, why = found(measured(10), measured(9))
    assert choice == "float32" and why.endswith("but it is no faster here, so float32 answers.")
    choice, why = found(measured(10), measured(30, labels_equal=0.97))
    assert choice == "float32" and why.endswith("it fails the gate, so float32 answers.")
    with pytest.raises(ArtifactError, match=r"another label than PyTorch on 10\.0% of 200 texts"):
        found(measured(10, labels_equal=0.9), measured(30))


def test_leads_and_margins():
    one = np.float32([[1, 5, 3], [0, -1, -4]])
    assert margins(one).tolist() == [2, 1]
    assert leads(one).tolist() == [2, 1]
    assert leads(np.float32([[9, 1, 2], [0, 3, 1]]), of=one).tolist() == [-1, -3]


def test_too_few_texts_and_strange_labels(trained_gpt2):
    with pytest.raises(ArtifactError, match="needs at least 100 validation texts, found 2"):
        export_onnx(trained_gpt2.artifact, ["a", "b"], ["positive", "negative"])
    with pytest.raises(
        ArtifactError, match=r"labels that the model does not know \(anger; it knows negative"
    ):
        export_onnx(trained_gpt2.artifact, ["a"] * 100, ["anger"] * 100)
    assert not (trained_gpt2.artifact / "onnx").exists()


def test_an_export_that_fails_leaves_the_former_one(exported_llama, copy):
    with pytest.raises(ArtifactError):
        export_onnx(copy, ["a"] * 100, ["anger"] * 100)
    assert Classifier.load(copy, engine="onnx").predict(["what a day"])
    assert not (copy / "onnx.partial").exists()


def test_validation_rows(tmp_path):
    file = tmp_path / "v.jsonl"
    file.write_text('{"text": "a day", "label": "positive"}\n\n{"text": "", "label": "neutral"}\n')
    assert validation_rows(file) == (["a day", ""], ["positive", "neutral"])
    for bad in ('{"text": 3, "label": "a"}', '{"text": "a"}', "[]", "{torn"):
        file.write_text('{"text": "a", "label": "b"}\n' + bad)
        with pytest.raises(ArtifactError, match=r'v\.jsonl, line 2 is not \{"text": …, "label": …\}'):
            validation_rows(file)
    with pytest.raises(ArtifactError, match="can't be read"):
        validation_rows(tmp_path / "none.jsonl")


@pytest.mark.usefixtures("warm_starts")
def test_the_command_exports_by_labelled_texts(trained_llama, tmp_path, capsys):
    artifact = tmp_path / "artifact"
    shutil.copytree(trained_llama.artifact, artifact)
    file = tmp_path / "validation.jsonl"  # where a run keeps its own validation split
    rows = tweets(120, seed=4)
    file.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    done = command("inference", "export", artifact, "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["engines"]["float32"]["passes"]
    assert record == json.loads((artifact / "onnx" / "parity.json").read_text(encoding="utf-8"))
    other = file.rename(tmp_path / "other.jsonl")
    assert cli.main(["export", str(artifact)]) == 1
    missing = capsys.readouterr().err
    assert missing.startswith(f"The validation texts can't be read: {file} can't be read (")
    assert missing.endswith("Give labelled texts with --validation F.jsonl.\n")
    assert cli.main(["export", str(artifact), "--validation", str(other)]) == 0
    assert capsys.readouterr().out.startswith(f"{artifact / 'onnx'} is written: int8 with float32")
    answers = []
    for engine in ("onnx", "torch"):
        assert cli.main(["classify", str(artifact), "i love this", "--engine", engine]) == 0
        answers.append(capsys.readouterr().out.split())
    assert answers[0][0] == answers[1][0]
    assert float(answers[0][1].rstrip("%")) == pytest.approx(float(answers[1][1].rstrip("%")), abs=2)


@pytest.mark.usefixtures("warm_starts")
def test_a_run_that_is_asked_to_exports_at_its_end(tiny_gpt2, tmp_path):
    data = write_csv(tmp_path / "tweets.csv", tweets(1200))  # the gate needs a hundred validation texts
    run = trained(tiny_gpt2, data, tmp_path / "run", onnx="true", n_validation="100")
    record = json.loads((run.artifact / "onnx" / "parity.json").read_text(encoding="utf-8"))
    assert (run.artifact / "onnx" / "packed.onnx").is_file()
    assert f"ONNX: {record['why']}" in (run.path / "events.jsonl").read_text(encoding="utf-8")
    served = Classifier.load(run.artifact)
    assert served.engine.name in ("onnx", "onnx-int8") and served.engine.reason == record["why"]
    reference = Classifier.load(run.artifact, engine="torch")
    texts = [text for text, _ in tweets(30, seed=9)]
    assert [p.label for p in served.predict(texts)] == [p.label for p in reference.predict(texts)]
