"""The exported network answers as PyTorch does, whatever the batch; what fails the gate is not served."""

import json
import shutil

import numpy as np
import pytest

from inference import Classifier, cli
from inference.classifier import budgeted_batches
from inference.common.errors import ArtifactError
from inference.common.machine import cores
from inference.engine.onnx import OnnxEngine, Session, margins
from inference.engine.parity import Parity, parity
from inference.export.export import Measurement, export_onnx, leads, prompt_prefix, validation_rows, verdict
from inference.export.network import Form, Prefix, build_network
from inference.export.smoothing import largest_inputs, smooth
from inference.export.weights import read_weights
from inference.trunk import pad_ids
from tests.support import command, tweets, write_csv
from tests.support.exporting import exported
from tests.support.served import trained

ODD = ["", " ", "😀" * 40, "nul \x00", "שלום", "lone \ud800", "sunny " * 300]


def with_record(run, folder):
    """Return a copy of an artifact with its ONNX files, and the record of its parity."""
    path = exported(run.artifact, folder)
    return path, json.loads((path / "onnx" / "parity.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def gpt2(trained_gpt2, tmp_path_factory):
    return with_record(trained_gpt2, tmp_path_factory.mktemp("onnx") / "gpt2")


@pytest.fixture(scope="module")
def llama(trained_llama, tmp_path_factory):
    return with_record(trained_llama, tmp_path_factory.mktemp("onnx") / "llama")


@pytest.fixture(params=["gpt2", "llama"])
def model(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def copy(llama, tmp_path):
    shutil.copytree(llama[0], tmp_path / "artifact")
    return tmp_path / "artifact"


def refusal(path, engine="onnx"):
    with pytest.raises(ArtifactError) as caught:
        Classifier.load(path, engine=engine)
    return str(caught.value)


def logits(path, texts, engine):
    classifier = Classifier.load(path, engine=engine)
    return classifier.logits(classifier.encode(texts).token_ids)


def sessions(path, texts):
    """Return both networks of an artifact, and the texts as token ids."""
    ids = Classifier.load(path, engine="torch").encode(texts).token_ids
    return Session(path / "onnx" / "packed.onnx"), Session(path / "onnx" / "packed_int8.onnx"), ids


def test_float32_gives_pytorchs_logits(model):
    texts = [text for text, _ in tweets(60, seed=8)] + ODD
    exact, _, ids = sessions(model[0], texts)
    expected = Classifier.load(model[0], engine="torch").logits(ids)
    assert np.abs(exact.logits(ids) - expected).max() < 1e-4
    for row, text_ids in enumerate(ids):
        assert np.abs(exact.logits([text_ids]) - expected[row]).max() < 1e-4


def test_int8_is_another_network_yet_close(model):
    texts = [text for text, _ in tweets(60, seed=8)] + ODD
    exact, quick, ids = sessions(model[0], texts)
    difference = np.abs(quick.logits(ids) - exact.logits(ids))
    assert 1e-6 < difference.max() < 0.5


def test_the_batch_changes_no_answer_of_int8(model):
    _, quick, ids = sessions(model[0], [text for text, _ in tweets(30, seed=9)] + ODD)
    alone = np.concatenate([quick.logits([one]) for one in ids])
    assert np.abs(quick.logits(ids) - alone).max() < 1e-4


def test_what_the_gate_found_stands_beside_the_files(model):
    path, record = model
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


def test_auto_takes_what_passed_and_says_why(model):
    path, record = model
    engine = Classifier.load(path).engine
    assert engine.name == ("onnx-int8" if record["choice"] == "int8" else "onnx")
    assert engine.reason == record["why"]
    torch_engine = Classifier.load(path, engine="torch").engine
    assert (torch_engine.name, torch_engine.reason) == ("torch", "It was asked for.")


def test_auto_without_an_export_is_pytorch(trained_gpt2):
    engine = Classifier.load(trained_gpt2.artifact).engine
    assert engine.name == "torch"
    assert engine.reason == (
        "The model was not exported: `python -m inference export` makes it several times faster."
    )


def test_close_calls_are_answered_in_float32_and_counted(model):
    exact, quick, ids = sessions(model[0], [text for text, _ in tweets(40, seed=11)])
    right, rough = exact.logits(ids), quick.logits(ids)
    middle = float(np.median(margins(rough)))
    engine = OnnxEngine(exact, quick, margin=middle, reason="")
    close = margins(rough) < middle
    found = engine.logits(ids)
    assert 0 < close.sum() < len(ids)
    assert np.allclose(found[close], right[close], atol=1e-4)
    assert np.allclose(found[~close], rough[~close], atol=1e-4)
    assert (engine.answered, engine.close_calls) == (40, close.sum())


def test_without_a_prompt_there_is_no_prefix_and_the_answers_are_the_same(trained_gpt2, model, tmp_path):
    classifier = Classifier.load(model[0], engine="torch")
    prefix = prompt_prefix(classifier)
    assert prefix.token_ids
    assert all(
        ids[: len(prefix.token_ids)] == list(prefix.token_ids)
        for ids in classifier.encode(["", "a day", "1"]).token_ids
    )
    shutil.copytree(model[0], tmp_path / "bare")
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


def test_smoothing_changes_no_answer_of_the_network(model):
    """What it takes from one weight it gives to the next: built in float32, the answers stay."""
    classifier = Classifier.load(model[0], engine="torch")
    ids = classifier.encode([text for text, _ in tweets(32, seed=2)]).token_ids
    prefix = prompt_prefix(classifier)
    largest = largest_inputs(classifier.model, [pad_ids(ids, 0)], skip=len(prefix.token_ids))
    before, weights = read_weights(classifier.model), read_weights(classifier.model)
    values = [value.copy() for value in prefix.values]
    smooth(weights, values, largest)
    changed = np.abs(weights.layers[0].query_key.weight / before.layers[0].query_key.weight - 1).max()
    assert changed > 0.01
    file = model[0].parent / "smooth.onnx"
    network = build_network(weights, Prefix(prefix.token_ids, prefix.keys, values), Form.FLOAT32)
    file.write_bytes(network.SerializeToString())
    assert np.abs(Session(file).logits(ids) - classifier.logits(ids)).max() < 1e-3


@pytest.mark.parametrize("name", ["packed.onnx", "packed_int8.onnx"])
def test_a_torn_file_is_refused(copy, name):
    record = json.loads((copy / "onnx" / "parity.json").read_text())
    (copy / "onnx" / "parity.json").write_text(json.dumps(record | {"choice": "int8"}))
    file = copy / "onnx" / name
    file.write_bytes(file.read_bytes()[:-100])
    assert refusal(copy, "auto") == (
        f"{file} is not the file that was exported and checked. "
        "Export again: `python -m inference export MODEL`."
    )


def test_what_was_exported_under_the_former_names_has_to_be_exported_again(copy):
    (copy / "onnx" / "packed.onnx").rename(copy / "onnx" / "model.onnx")
    assert refusal(copy).endswith("Export again: `python -m inference export MODEL`.")


def test_other_weights_than_those_exported_are_refused(copy, trained_gpt2):
    shutil.copy(trained_gpt2.artifact / "model.safetensors", copy / "model.safetensors")
    assert "is not the file that was exported and checked" in refusal(copy)


def test_nothing_exported(trained_gpt2):
    path = trained_gpt2.artifact
    assert (
        refusal(path)
        == f"{path} has no onnx/parity.json. Export it first: `python -m inference export {path}`."
    )


@pytest.mark.parametrize("record", ["[]", "{}", '{"engines": 3, "weights_sha256": 1}', '{"torn'])
def test_a_record_that_export_did_not_write(copy, record):
    (copy / "onnx" / "parity.json").write_text(record)
    assert "xport" in refusal(copy) or "can't be read" in refusal(copy)


def test_an_unknown_engine(trained_gpt2):
    assert refusal(trained_gpt2.artifact, "quantum") == (
        "There is no engine 'quantum'. Choose one of: auto, torch, onnx."
    )


def test_a_cpu_whose_int8_differs_is_found_by_the_probes(copy):
    record = json.loads((copy / "onnx" / "parity.json").read_text())
    record["choice"] = "int8"
    record["engines"]["int8"]["probe_logits"][0][0] += 1
    (copy / "onnx" / "parity.json").write_text(json.dumps(record))
    engine = Classifier.load(copy).engine
    assert engine.name == "onnx"
    assert engine.reason == (
        "int8 passed where it was exported, but this CPU's int8 is off by 1.00 logits, so float32 answers."
    )


def measured(posts_per_s, *, labels_equal=1.0):
    return Measurement(Parity(200, labels_equal, 0.0), 0.0, posts_per_s)


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


def test_the_gate():
    reference = np.eye(3, dtype=np.float32)[np.arange(300) % 3]
    labels = list(np.arange(300) % 3)
    assert parity(reference, reference, labels).passes
    three_off = reference.copy()
    three_off[:3] = three_off[:3][:, ::-1] + np.float32([0.5, 0, 0])
    assert parity(reference, three_off, labels).labels_equal == pytest.approx(0.99, abs=0.004)
    assert not parity(reference, np.roll(reference, 1, axis=1), labels).passes


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


def test_an_export_that_fails_leaves_the_former_one(llama, copy):
    with pytest.raises(ArtifactError):
        export_onnx(copy, ["a"] * 100, ["anger"] * 100)
    assert Classifier.load(copy, engine="onnx").predict(["what a day"])
    assert not (copy / "onnx.partial").exists()


def test_batches_keep_to_their_budget_and_hold_every_row_once():
    lengths = [5, 90, 3, 30, 30, 30, 2000]
    batches = list(budgeted_batches(lengths, tokens=100))
    assert sorted(row for batch in batches for row in batch) == list(range(7))
    assert batches[0] == [6]  # too long for any budget: alone
    assert all(sum(lengths[row] for row in batch) <= 100 for batch in batches[1:])
    assert list(budgeted_batches([], tokens=100)) == []


def test_cores_of_a_container(tmp_path):
    quota = tmp_path / "cpu.max"
    assert cores(quota=quota) >= 1
    quota.write_text("150000 100000\n")
    assert cores(quota=quota) <= 2
    quota.write_text("50000 100000\n")
    assert cores(quota=quota) == 1
    quota.write_text("max 100000\n")
    assert cores(quota=quota) == cores(quota=tmp_path / "none")


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
