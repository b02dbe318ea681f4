"""handler.py as Inference Endpoints run it: alone in the model's repository, loaded by its path, behind HTTP.

The runtime here does what `huggingface-inference-toolkit` does, in a process that can't see this project: it
puts the repository first on sys.path, loads handler.py from its file, builds `EndpointHandler(folder)`, hands
each request's JSON to it and answers 400 with the text of an error.
"""

import contextlib
import importlib.util
import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from huggingface_hub import InferenceClient

from inference import Classifier
from inference.selective import asked_threshold
from tests.support import REPOSITORY, exporting, tweets

RUNTIME = """
import http.server, importlib.util, json, sys

folder = sys.argv[1]
spec = importlib.util.spec_from_file_location("handler.EndpointHandler", folder + "/handler.py")
sys.path.insert(0, folder)
module = importlib.util.module_from_spec(spec)
sys.modules["handler.EndpointHandler"] = module
spec.loader.exec_module(module)
handler = module.EndpointHandler(folder)


class Runtime(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        modules = sorted({name.split(".")[0] for name in sys.modules})
        self.answer(200, {"engine": handler.engine, "modules": modules})

    def do_POST(self):
        try:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if "inputs" not in request:
                raise ValueError("Body needs to provide a inputs key")
            self.answer(200, handler(request))
        except ValueError as error:
            self.answer(400, {"error": str(error)})

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Runtime)
print(server.server_address[1], flush=True)
server.serve_forever()
"""
TEXTS = [
    "i love this sunny day",
    "",
    "worst",
    "😀 \ud800 @friend http://x.y/z",
    "the train " * 200,
    "sad\x00 lost",
]


def repository_of(artifact: Path, folder: Path) -> Path:
    """Return a folder as the Endpoints runtime fetches it: a tokenizer that pads and does not truncate."""
    repository = folder / "repository"
    shutil.copytree(artifact, repository)
    shutil.copy(REPOSITORY / "handler.py", repository)
    tokenizer = json.loads((repository / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer |= {
        "truncation": None,
        "padding": {
            "strategy": {"Fixed": 250},
            "direction": "Left",
            "pad_to_multiple_of": None,
            "pad_id": 3,
            "pad_type_id": 0,
            "pad_token": "!",
        },
    }
    (repository / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    return repository


@contextlib.contextmanager
def endpoint(artifact: Path, folder: Path):
    """Run the Endpoints runtime on the files of a repository, and yield its URL."""
    log = (folder / "runtime.log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", RUNTIME, repository_of(artifact, folder)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    try:
        port = process.stdout.readline().strip()
        assert port, (folder / "runtime.log").read_text()[-2000:]
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.communicate()
        log.close()


def handler_of(artifact: Path, folder: Path):
    """Return the handler of a repository's own file, in this process."""
    repository = repository_of(artifact, folder)
    spec = importlib.util.spec_from_file_location("handler_of_a_repository", repository / "handler.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.EndpointHandler(str(repository))


@pytest.fixture(scope="module")
def gpt2(trained_gpt2, tmp_path_factory):
    with endpoint(trained_gpt2.artifact, tmp_path_factory.mktemp("endpoint")) as url:
        yield url


def post(url: str, content) -> list:
    request = urllib.request.Request(
        url, data=json.dumps(content).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def error_of(url: str, content) -> str:
    with pytest.raises(urllib.error.HTTPError) as caught:
        post(url, content)
    with caught.value as answer:
        assert answer.code == 400
        return json.load(answer)["error"]


def same(answer: list, prediction, labels) -> None:
    expected = dict(zip(labels, prediction.probabilities, strict=True))
    assert {row["label"]: row["score"] for row in answer} == pytest.approx(expected, abs=1e-5)
    assert [row["score"] for row in answer] == sorted((row["score"] for row in answer), reverse=True)
    assert answer[0]["label"] == prediction.label


def test_scores_are_the_classifiers_for_gpt2_and_llama(trained, tmp_path):
    classifier = Classifier.load(trained.artifact)
    answers = handler_of(trained.artifact, tmp_path)({"inputs": TEXTS})
    for answer, prediction in zip(answers, classifier.predict(TEXTS), strict=True):
        same(answer, prediction, classifier.labels)


def test_the_hubs_client_reads_it(gpt2, trained_gpt2, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # it asks the runtime on loopback
    [prediction] = Classifier.load(trained_gpt2.artifact).predict(["i love this"])
    found = InferenceClient(model=gpt2).text_classification("i love this")
    assert found[0].label == prediction.label
    assert found[0].score == pytest.approx(max(prediction.probabilities), abs=1e-5)
    assert len(found) == 3
    assert len(InferenceClient(model=gpt2).text_classification("i love this", top_k=2)) == 2


def test_one_text_and_a_list_have_the_same_form(gpt2):
    assert post(gpt2, {"inputs": "i love this"}) == post(gpt2, {"inputs": ["i love this"]})
    assert post(gpt2, {"inputs": []}) == []


def test_functions_to_apply(gpt2):
    def scores(**parameters):
        [answer] = post(gpt2, {"inputs": "i love this", "parameters": parameters})
        return {row["label"]: row["score"] for row in answer}

    raw, sigmoid = scores(function_to_apply="none"), scores(function_to_apply="sigmoid")
    assert sum(scores().values()) == pytest.approx(1)
    assert scores() == scores(function_to_apply="softmax", top_k=None)
    assert all(sigmoid[label] == pytest.approx(1 / (1 + 2.718281828459045 ** -raw[label])) for label in raw)
    assert len(scores(top_k=1)) == len(scores(return_all_scores=False)) == 1
    assert scores() == scores(return_all_scores=True, truncation=True, padding="longest", batch_size=4)


def test_it_says_which_texts_are_out_of_scope_as_the_classifier_does(trained_gpt2, tmp_path):
    handler, classifier = handler_of(trained_gpt2.artifact, tmp_path), Classifier.load(trained_gpt2.artifact)
    texts = [*(text for text, _ in tweets(40, seed=9)), "обед был очень вкусный", ""]
    found = handler({"inputs": texts, "parameters": {"out_of_scope": True, "top_k": 1}})
    expected = [one.is_out_of_scope(classifier.scope.above) for one in classifier.predict(texts)]
    assert [row[0]["out_of_scope"] for row in found] == expected and expected[-2] and not expected[0]
    handler.scope = None
    with pytest.raises(ValueError, match="no record by which a text is out of scope"):
        handler({"inputs": "a", "parameters": {"out_of_scope": True}})


def test_it_says_of_each_answer_whether_it_is_sure_as_the_server_does(trained_gpt2, tmp_path):
    handler = handler_of(trained_gpt2.artifact, tmp_path)
    [prediction] = Classifier.load(trained_gpt2.artifact).predict(["i love this"])
    confidence = max(prediction.probabilities)

    def sure(**parameters):
        [answer] = handler({"inputs": "i love this", "parameters": parameters})
        assert len({row["sure"] for row in answer}) == 1
        return answer[0]["sure"]

    assert sure(abstain_below=confidence - 1e-4, function_to_apply="none") is True
    assert sure(abstain_below=confidence + 1e-4) is False
    handler.curve = [(confidence + 1e-4, 0.95), (confidence - 1e-4, 0.9), (0.0, 0.5)]
    assert sure(precision=0.9) and not sure(precision=0.95, top_k=1)
    for parameters, sentence in (
        ({"precision": 0.97}, r"No threshold makes 97 % .* is 95.0 %"),
        ({"precision": 0.9, "abstain_below": 0.9}, "both say when to abstain"),
        ({"precision": True}, "a share above 0 and up to 1, such as 0.9"),
    ):
        with pytest.raises(ValueError, match=sentence):
            handler({"inputs": "a", "parameters": parameters})
    asked = asked_threshold(trained_gpt2.artifact, abstain_below=None, precision=0.01)
    handler.curve = handler_of(trained_gpt2.artifact, tmp_path / "again").curve
    assert handler._sure_from(0.01, None) == asked
    handler.curve = []
    with pytest.raises(ValueError, match="no record of its validation rows"):
        handler({"inputs": "a", "parameters": {"precision": 0.9}})


def test_a_long_text_is_cut_where_it_is_asked_or_refused(gpt2, trained_gpt2):
    long = "the train " * 200
    sentence = "Too long for the model: 1 of 2 texts. Let them be truncated."
    for truncation in (False, "do_not_truncate"):
        parameters = {"truncation": truncation}
        assert error_of(gpt2, {"inputs": ["a", long], "parameters": parameters}) == sentence
        assert len(post(gpt2, {"inputs": "a", "parameters": parameters})) == 1
    refused = error_of(gpt2, {"inputs": "a", "parameters": {"max_length": 1}})
    assert refused.startswith('"max_length" is 1, and the prompt alone has ')
    classifier = Classifier.load(trained_gpt2.artifact)
    encoded = classifier.encode(["i love this sunny day"], max_length=9)
    [expected] = classifier.predictions(classifier.logits(encoded.token_ids), encoded)
    [found] = post(gpt2, {"inputs": "i love this sunny day", "parameters": {"max_length": 9}})
    same(found, expected, classifier.labels)
    assert expected.truncated


NO_TEXTS = '"inputs" is neither a text nor a list of texts. Send {"inputs": "a text"}.'


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"inputs": 5}, NO_TEXTS),
        ({"inputs": "a", "top_k": 1}, "A request has no 'top_k'. Known: inputs, parameters, options."),
        ({"inputs": ["a", None]}, NO_TEXTS),
        (
            {"inputs": "a", "parameters": [1]},
            '"parameters" is list, not an object. Send {"top_k": 1}, or none.',
        ),
        (
            {"inputs": "a", "parameters": {"top_k": 0}},
            '"top_k" is 0, not a whole number from 1. Leave it out for all labels.',
        ),
        (
            {"inputs": "a", "parameters": {"top_k": True}},
            '"top_k" is True, not a whole number from 1. Leave it out for all labels.',
        ),
        (
            {"inputs": "a", "parameters": {"function_to_apply": "tanh"}},
            "\"function_to_apply\" is 'tanh', not one of softmax, sigmoid, none.",
        ),
        (
            {"inputs": "a", "parameters": {"function_to_apply": ["tanh"]}},
            "\"function_to_apply\" is ['tanh'], not one of softmax, sigmoid, none.",
        ),
        (
            {"inputs": "a", "parameters": {"truncate": True}},
            "\"parameters\" has no 'truncate'. Known: top_k, return_all_scores, out_of_scope, "
            "function_to_apply, truncation, max_length, padding, batch_size, precision, abstain_below.",
        ),
    ],
)
def test_a_wrong_request_is_an_error_of_one_sentence_and_the_next_is_answered(gpt2, request_, sentence):
    assert error_of(gpt2, request_) == sentence
    assert len(post(gpt2, {"inputs": "fine"})[0]) == 3


def about(url: str) -> dict:
    """Return the engine and the loaded packages of a runtime."""
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


def test_it_needs_nothing_of_this_project(gpt2):
    found = about(gpt2)
    assert found["engine"] == "torch: the repository has no onnx/parity.json"
    assert not set(found["modules"]) & {"inference", "training", "fastapi", "gradio", "peft"}


@pytest.fixture(scope="module")
def exported(trained_gpt2, tmp_path_factory) -> Path:
    """Return an artifact with its onnx/ folder."""
    return exporting.exported(trained_gpt2.artifact, tmp_path_factory.mktemp("exported") / "gpt2")


def choose(artifact: Path, folder: Path, choice: str, **int8) -> Path:
    """Return a copy of an artifact whose gate has decided so."""
    copy = folder / f"chosen-{choice}"
    shutil.copytree(artifact, copy)
    record = json.loads((copy / "onnx" / "parity.json").read_text(encoding="utf-8"))
    record["choice"] = choice
    record["engines"]["int8"] |= int8
    (copy / "onnx" / "parity.json").write_text(json.dumps(record), encoding="utf-8")
    return copy


@pytest.mark.parametrize(
    ("choice", "int8", "engine"),
    [
        ("int8", {}, "onnx-int8: it passed its gate"),
        ("int8", {"close_call_margin": 0.0}, "onnx-int8: it passed its gate"),
        ("int8", {"close_call_margin": 100.0}, "onnx-int8: it passed its gate"),
        ("float32", {}, "onnx: int8 did not pass its gate"),
        ("int8", {"probe_logits": [[9.0, 9.0, 9.0]]}, "onnx: this CPU's int8 is off by "),
    ],
)
def test_exported_it_answers_as_the_classifiers_engine(exported, tmp_path, choice, int8, engine):
    artifact = choose(exported, tmp_path, choice, **int8)
    classifier, handler = Classifier.load(artifact, engine="onnx"), handler_of(artifact, tmp_path)
    assert handler.engine.startswith(engine)
    assert handler.engine.split(":")[0] == classifier.engine.name
    for answer, prediction in zip(handler({"inputs": TEXTS}), classifier.predict(TEXTS), strict=True):
        same(answer, prediction, classifier.labels)


def test_exported_it_needs_no_pytorch_either(exported, tmp_path):
    with endpoint(choose(exported, tmp_path, "int8"), tmp_path) as url:
        found, answers = about(url), post(url, {"inputs": TEXTS})
    assert found["engine"] == "onnx-int8: it passed its gate" and len(answers) == len(TEXTS)
    assert not set(found["modules"]) & {"torch", "transformers"}


@pytest.mark.parametrize("name", ["onnx/packed_int8.onnx", "model.safetensors", None])
def test_what_was_not_checked_is_not_run(exported, tmp_path, monkeypatch, name):
    """A changed file, or no ONNX Runtime: PyTorch answers, from the weights."""
    artifact = choose(exported, tmp_path, "int8")
    expected = Classifier.load(artifact, engine="torch")
    if name is None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
    elif name == "model.safetensors":
        record = artifact / "onnx" / "parity.json"
        content = json.loads(record.read_text(encoding="utf-8"))
        record.write_text(json.dumps({**content, "weights_sha256": "another"}), encoding="utf-8")
    else:
        (artifact / name).write_bytes((artifact / name).read_bytes()[:-9])
    handler = handler_of(artifact, tmp_path)
    reason = f"{name} is not what was exported and checked" if name else "onnxruntime is not installed"
    assert handler.engine == f"torch: {reason}"
    for answer, prediction in zip(handler({"inputs": TEXTS}), expected.predict(TEXTS), strict=True):
        same(answer, prediction, expected.labels)


def test_a_repository_without_the_large_files_still_answers(exported, tmp_path):
    """Some images leave *.onnx out when they fetch a repository."""
    artifact = choose(exported, tmp_path, "int8")
    for file in (artifact / "onnx").glob("*.onnx"):
        file.unlink()
    handler = handler_of(artifact, tmp_path)
    assert handler.engine == "torch: onnx/packed.onnx is not what was exported and checked"
    assert len(handler({"inputs": "a day"})[0]) == 3
