"""Which engine answers, that it answers as PyTorch does, and what is refused."""

import json
import shutil

import numpy as np
import pytest

from inference import Classifier
from inference.common.errors import ArtifactError
from inference.engine.onnx import OnnxEngine, margins
from inference.engine.parity import parity
from tests.support import tweets
from tests.support.exporting import sessions


def refusal(path, engine="onnx"):
    with pytest.raises(ArtifactError) as caught:
        Classifier.load(path, engine=engine)
    return str(caught.value)


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
        "There is no engine 'quantum'. Choose one of: auto, torch, torch-float32, torch-bfloat16, onnx."
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


def test_auto_takes_what_passed_and_says_why(exported_model):
    path, record = exported_model
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


def test_close_calls_are_answered_in_float32_and_counted(exported_model):
    exact, quick, ids = sessions(exported_model[0], [text for text, _ in tweets(40, seed=11)])
    right, rough = exact.logits(ids), quick.logits(ids)
    middle = float(np.median(margins(rough)))
    engine = OnnxEngine(exact, quick, margin=middle, reason="")
    close = margins(rough) < middle
    found = engine.logits(ids)
    assert 0 < close.sum() < len(ids)
    assert np.allclose(found[close], right[close], atol=1e-4)
    assert np.allclose(found[~close], rough[~close], atol=1e-4)
    assert (engine.answered, engine.close_calls) == (40, close.sum())
    assert np.allclose(engine.without_close_calls().logits(ids), rough, atol=1e-4)
    assert OnnxEngine(exact, None, margin=0.0, reason="").without_close_calls() is None


def test_the_gate():
    reference = np.eye(3, dtype=np.float32)[np.arange(300) % 3]
    labels = list(np.arange(300) % 3)
    assert parity(reference, reference, labels).passes
    three_off = reference.copy()
    three_off[:3] = three_off[:3][:, ::-1] + np.float32([0.5, 0, 0])
    assert parity(reference, three_off, labels).labels_equal == pytest.approx(0.99, abs=0.004)
    assert not parity(reference, np.roll(reference, 1, axis=1), labels).passes
