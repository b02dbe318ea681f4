"""onnx/model_quantized.onnx answers clients that know nothing of ours: ONNX Runtime, transformers.js."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from tokenizers import Tokenizer

from inference import Classifier
from tests.support.exporting import exported
from training.publish.card import render_card

TEXTS = [
    "what a day",
    "",
    "😀 thank you 🎉 so much",
    "the train is late again, of course",
    "שלום",
    "ok " * 90,
]
MODULES = os.environ.get("NODE_MODULES", "")


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def artifact(request, tmp_path_factory):
    run = request.getfixturevalue(f"trained_{request.param}")
    return exported(run.artifact, tmp_path_factory.mktemp("standard") / request.param)


def softmax(logits):
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def check(found, artifact, texts):
    expected = np.array([p.probabilities for p in Classifier.load(artifact, engine="torch").predict(texts)])
    assert np.abs(found - expected).max() < 0.03
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()


def test_plain_onnx_runtime_answers_a_batch_of_any_lengths(artifact):
    tokenizer = Tokenizer.from_file(str(artifact / "tokenizer.json"))
    tokenizer.enable_truncation(128)
    tokenizer.enable_padding(pad_id=0)
    encoded = tokenizer.encode_batch(TEXTS)
    session = onnxruntime.InferenceSession(
        artifact / "onnx" / "model_quantized.onnx", providers=["CPUExecutionProvider"]
    )
    feed = {
        "input_ids": np.array([text.ids for text in encoded], dtype=np.int64),
        "attention_mask": np.array([text.attention_mask for text in encoded], dtype=np.int64),
    }
    assert {given.name: given.type for given in session.get_inputs()} == dict.fromkeys(feed, "tensor(int64)")
    [logits] = session.run(["logits"], feed)
    check(softmax(logits), artifact, TEXTS)


def test_it_has_operators_of_the_standard_alone_and_int8_weights(artifact):
    network = onnx.load(artifact / "onnx" / "model_quantized.onnx")
    onnx.checker.check_model(network, full_check=True)
    assert [(used.domain, used.version) for used in network.opset_import] == [("", 21)]
    assert "SimplifiedLayerNormalization" not in {node.op_type for node in network.graph.node}  # not in ONNX
    large = [tensor for tensor in network.graph.initializer if np.prod(tensor.dims) >= 32 * 32]
    names = {tensor.name.rsplit("_", 1)[0] for tensor in large if tensor.data_type != onnx.TensorProto.INT8}
    assert names <= {"positions", "rotary"}


def test_the_record_says_how_alike_it_answers(artifact):
    record = json.loads((artifact / "onnx" / "parity.json").read_text())["standard"]
    assert record["n"] == 120 and record["labels_equal"] >= 0.95
    assert record["why"].startswith(
        "model_quantized.onnx, int8 weights for other clients, gives the same label"
    )
    assert record["why"] in render_card(artifact).text.replace("\\", "")


@pytest.mark.skipif(not shutil.which("node"), reason="Node is not installed")
@pytest.mark.skipif(
    not (Path(MODULES) / "@huggingface" / "transformers").is_dir() or not MODULES,
    reason="NODE_MODULES names no folder with @huggingface/transformers: `make js` fetches it",
)
def test_the_cards_snippet_runs_in_transformers_js(artifact, tmp_path):
    [code] = re.findall(r"^```js\n(.*?)^```$", render_card(artifact, repo_id="ada/tweets").text, re.S | re.M)
    texts = json.dumps([*TEXTS[:-1], "  it`s at https://t.co/x  "])
    local = 'import { env } from "@huggingface/transformers";\nenv.allowRemoteModels = false;\n'
    code = local + 'env.localModelPath = "/";\n' + code.replace('"ada/tweets"', json.dumps(str(artifact)))
    code = re.sub(r"^const texts = .*;$", lambda _: f"const texts = {texts};", code, flags=re.M)
    code = code.replace("console.log(text, ", "console.log(JSON.stringify(").replace(
        "(scores));", "(scores)));"
    )
    (tmp_path / "snippet.mjs").write_text(code)
    (tmp_path / "node_modules").symlink_to(MODULES)
    done = subprocess.run(
        ["node", "snippet.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers = [list(json.loads(line).values()) for line in done.stdout.splitlines() if line.startswith("{")]
    check(np.array(answers), artifact, json.loads(texts))
