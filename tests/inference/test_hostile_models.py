"""Hostile model folders and model names: nothing in a folder is run, and no name becomes a path."""

import hashlib
import json
import pickle
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from safetensors.torch import load_file, save_file

from handler import EndpointHandler
from inference import Classifier
from inference.common.errors import ArtifactError
from tests.support import REPOSITORY, exporting
from tests.support.hostile import ask, fetch, shared_target

MARKER = "the-code-was-run"
CODE = f"import pathlib; pathlib.Path({MARKER!r}).touch()\n"


class Payload:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return exec, (CODE,)


@pytest.fixture
def folder(trained_gpt2, tmp_path, monkeypatch) -> Path:
    """Return a copy of an artifact that a test may spoil; code in it would leave a marker beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    shutil.copytree(trained_gpt2.artifact, tmp_path / "artifact")
    return tmp_path / "artifact"


def refused(folder: Path) -> str:
    """Return why a folder is refused: one sentence, and no code was run."""
    with pytest.raises(ArtifactError) as caught:
        Classifier.load(folder)
    assert not (folder.parent / MARKER).exists(), "code of the folder was run"
    assert "\n" not in str(caught.value)
    return str(caught.value)


def refused_by_the_handler(folder: Path) -> str:
    """Return why the handler of Inference Endpoints refuses a folder; no code was run either."""
    with pytest.raises(ValueError, match="holds its own model") as caught:
        EndpointHandler(str(folder))
    assert not (folder.parent / MARKER).exists(), "code of the folder was run"
    return str(caught.value)


def change(path: Path, **settings) -> None:
    """Change settings of a JSON file."""
    found = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**found, **settings}), encoding="utf-8")


def test_the_payload_would_run_if_it_were_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Payload()))
    assert (tmp_path / MARKER).exists()


def test_weights_that_were_cut_off(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert "can't be loaded as a classifier" in refused(folder)


def test_a_pickle_under_the_name_of_safetensors(folder):
    (folder / "model.safetensors").write_bytes(pickle.dumps(Payload()))
    assert "can't be loaded as a classifier" in refused(folder)


def test_a_pickle_instead_of_safetensors(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload()))
    assert "has no safetensors weights" in refused(folder)


def test_a_pickle_behind_another_safetensors_file(folder):
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload()))
    refused(folder)


def shard(folder: Path, name: str, weights: bytes) -> None:
    """Let an index name one file of weights."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(weights)
    index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, name)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    save_file({"a": next(iter(tensors.values())).clone()}, folder / "decoy.safetensors")


def test_an_index_that_names_a_pickle(folder):
    shard(folder, "w.bin", pickle.dumps(Payload()))
    assert "'w.bin' in its model.safetensors.index.json, which is no safetensors file" in refused(folder)
    assert "w.bin" in refused_by_the_handler(folder)


@pytest.mark.parametrize(
    "name", ["../other/model.safetensors", "sub/model.safetensors", "{folder}/x.safetensors"]
)
def test_an_index_that_names_weights_elsewhere(folder, name):
    shard(folder, name.format(folder=folder.parent), (folder / "model.safetensors").read_bytes())
    assert "in its model.safetensors.index.json, which is no safetensors file of the folder" in refused(
        folder
    )
    assert "may name weights elsewhere" in refused_by_the_handler(folder)


@pytest.mark.parametrize("index", [{}, {"weight_map": []}, {"weight_map": {"a": 5}}, {"weight_map": None}])
def test_an_index_that_is_none(folder, index):
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    refused(folder)


def test_shards_of_the_folder_itself_are_loaded(folder):
    expected = Classifier.load(folder).predict(["a day"])
    shard(folder, "model-00001-of-00001.safetensors", (folder / "model.safetensors").read_bytes())
    assert Classifier.load(folder).predict(["a day"]) == expected


def test_an_adapter_that_would_send_the_loader_to_another_folder(folder):
    shutil.copytree(folder, folder.parent / "other")
    config = {"peft_type": "LORA", "base_model_name_or_path": str(folder.parent / "other"), "r": 1}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    shutil.copy(folder / "model.safetensors", folder / "adapter_model.safetensors")
    assert "has adapter_config.json, which names another folder's model" in refused(folder)
    assert "adapter_config.json" in refused_by_the_handler(folder)


def test_a_config_that_names_a_file_of_weights(folder):
    (folder / "w.bin").write_bytes(pickle.dumps(Payload()))
    change(folder / "config.json", transformers_weights="w.bin")
    assert "has transformers_weights in its config.json" in refused(folder)
    assert "transformers_weights" in refused_by_the_handler(folder)


@pytest.mark.parametrize("length", [2**62, 2**31, 10**9, 0])
def test_a_header_of_weights_that_lies_about_its_length(folder, length):
    weights = folder / "model.safetensors"
    weights.write_bytes(struct.pack("<Q", length) + weights.read_bytes()[8:])
    refused(folder)


def test_weights_of_another_shape(folder):
    change(folder / "config.json", n_embd=64)
    refused(folder)


def test_a_config_that_asks_for_more_memory_than_there_is(folder):
    change(folder / "config.json", vocab_size=2**40)
    refused(folder)


@pytest.mark.parametrize("auto", ["AutoModelForSequenceClassification", "AutoConfig", "AutoTokenizer"])
def test_code_in_the_folder_is_never_run(folder, auto):
    (folder / "own.py").write_text(CODE, encoding="utf-8")
    name = "config.json" if auto != "AutoTokenizer" else "tokenizer_config.json"
    value = ["own.Own", "own.Own"] if auto == "AutoTokenizer" else "own.Own"
    change(folder / name, auto_map={auto: value})
    try:
        Classifier.load(folder).predict(["a day"])  # it has a class of Transformers' own: that one is taken
    except ArtifactError as error:
        assert "can't be loaded" in str(error)
    assert not (folder.parent / MARKER).exists()


def test_a_model_that_is_only_code(folder):
    (folder / "own.py").write_text(CODE, encoding="utf-8")
    change(
        folder / "config.json",
        model_type="own",
        architectures=["OwnForSequenceClassification"],
        auto_map={"AutoConfig": "own.Own", "AutoModelForSequenceClassification": "own.Own"},
    )
    refused(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", "null", "[" * 100_000, '{"a": 1}'])
def test_settings_that_are_broken(folder, name, content):
    (folder / name).write_text(content, encoding="utf-8")
    try:
        Classifier.load(folder).predict(["a day"])  # some settings are not needed
    except ArtifactError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("config.json", {"layer_norm_epsilon": 0}),
        ("config.json", {"n_head": True}),
        ("tokenizer_config.json", {"model_max_length": "x"}),
    ],
)
def test_a_setting_of_another_type(folder, name, setting):
    record = json.loads((folder / name).read_text(encoding="utf-8"))
    (folder / name).write_text(json.dumps(record | setting), encoding="utf-8")
    if name == "config.json":
        refused(folder)
    else:
        Classifier.load(folder).predict(["a day"])


@pytest.fixture(scope="module")
def exported_once(trained_gpt2, tmp_path_factory) -> Path:
    """Return an artifact with its onnx/ folder."""
    return exporting.exported(trained_gpt2.artifact, tmp_path_factory.mktemp("exported") / "gpt2")


@pytest.fixture
def exported(exported_once, folder) -> Path:
    """Return a copy of it that a test may spoil."""
    shutil.copytree(exported_once, folder, dirs_exist_ok=True)
    return folder


def onnx_file(folder: Path) -> Path:
    """Return the file that float32 runs from; it is in use whatever the gate said."""
    return folder / "onnx" / "packed.onnx"


def vouch_for(file: Path) -> None:
    """Write the hash of a changed file into the record, as a hostile author would."""
    record = file.with_name("parity.json")
    found = json.loads(record.read_text(encoding="utf-8"))
    found["engines"]["float32"]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    record.write_text(json.dumps(found), encoding="utf-8")


def test_a_network_that_was_cut_off(exported):
    file = onnx_file(exported)
    file.write_bytes(file.read_bytes()[:-1000])
    assert "is not the file that was exported and checked" in refused(exported)
    vouch_for(file)
    refused(exported)


def test_a_pickle_instead_of_a_network(exported):
    onnx_file(exported).write_bytes(pickle.dumps(Payload()))
    assert "is not the file that was exported and checked" in refused(exported)
    vouch_for(onnx_file(exported))
    assert "can't be loaded by ONNX Runtime" in refused(exported)


@pytest.mark.parametrize("place", ["../../outside.bin", "{outside}", "/dev/zero", "/proc/self/mem"])
def test_a_network_that_reads_a_file_outside_its_folder(exported, place):
    """Weights may lie in another file (ONNX external data): one outside the folder would be read aloud."""
    outside = exported.parent / "outside.bin"
    outside.write_bytes(b"\x00" * 4096)
    file = onnx_file(exported)
    network = onnx.load(file)
    weight = max(network.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    size = len(weight.raw_data)
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", place.format(outside=outside)), ("offset", "0"), ("length", str(size))):
        weight.external_data.add(key=key, value=value)
    outside.write_bytes(b"\x00" * size)
    file.write_bytes(network.SerializeToString())
    vouch_for(file)
    assert "can't be loaded by ONNX Runtime" in refused(exported)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "{}", '{"engines": 5, "weights_sha256": null}', "[" * 100_000]
)
def test_a_record_of_the_gate_that_is_broken(exported, content):
    (exported / "onnx" / "parity.json").write_text(content, encoding="utf-8")
    refused(exported)


@pytest.mark.usefixtures("warm_starts")
def test_a_server_on_a_broken_folder_ends_and_says_why(folder):
    (folder / "tokenizer.json").write_text("null", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "inference", "serve", str(folder), "--port", "0"],
        cwd=folder.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr[-1000:]
    assert "Traceback" not in done.stderr
    assert refused(folder) in done.stderr


NAMES = {
    "up": "../../../etc/passwd",
    "up, encoded": "..%2f..%2f..%2fetc%2fpasswd",
    "dots, encoded": "%2e%2e/%2e%2e/etc/passwd",
    "twice encoded": "%252e%252e%252fetc%252fpasswd",
    "backslashes": "..%5c..%5cetc%5cpasswd",
    "overlong": "%c0%ae%c0%ae%c0%af",
    "absolute": "/etc/passwd",
    "absolute, encoded": "%2fetc%2fpasswd",
    "nul": "gpt2%00.json",
    "a newline": "gpt2%0d%0aX-Injected:%20yes",
    "a url": "https:%2f%2fevil.example%2fmodel",
    "a repository": "openai-community/gpt2",
    "a repository, encoded": "openai-community%2fgpt2",
    "a file's url": "file:%2f%2f%2fetc%2fpasswd",
    "very long": "a" * 60_000,
    "the process": "%2fproc%2fself%2fenviron",
    "empty": "",
    "a dot": "%2e",
    "template": "%7b%7b7*7%7d%7d",
}


@pytest.fixture(scope="module")
def server(trained_gpt2):
    return shared_target(trained_gpt2.artifact)


@pytest.mark.parametrize("kind", NAMES)
def test_a_name_is_never_a_path(server, kind):
    status, answer = fetch_post(server.port, f"/models/{NAMES[kind]}")
    assert status in (400, 404, 405), answer
    for secret in (b"root:", b"PATH=", b"Traceback", b"No such file", b"49"):
        assert secret not in answer
    server.still_answers()


def fetch_post(port: int, path: str) -> tuple[int, bytes]:
    body = b'{"inputs": "a"}'
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    return fetch(port, path, "POST", body=body, **headers)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "gpt2\x00", "gpt2/../gpt2", "\ud800", ""]
)
def test_a_name_in_a_body_is_never_a_path(server, name):
    status, answer = ask(server.port, {"inputs": "a", "models": ["gpt2", name]}, "/v1/compare")
    assert status in (404, 422)
    assert "Known: gpt2, demo." in answer["error"]
    server.still_answers()


@pytest.mark.parametrize(
    "path", ["/../etc/passwd", "/%2e%2e/etc/passwd", "//etc/passwd", "/static/../../x", "/%00"]
)
def test_no_route_serves_files(server, path):
    status, answer = fetch(server.port, path)
    assert status in (400, 404, 405)
    assert b"root:" not in answer


def test_nothing_tells_where_the_models_folder_is(server, trained_gpt2):
    for path in ("/version", "/metrics", "/readyz", "/healthz", "/openapi.json"):
        assert str(trained_gpt2.artifact.parent.parent).encode() not in fetch(server.port, path)[1]
