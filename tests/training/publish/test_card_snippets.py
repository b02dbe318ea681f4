"""Every piece of code of a card runs as it stands, in the artifact's folder and from the Hub."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from inference.classifier import Classifier
from tests.support import REPOSITORY
from tests.support.cards import EVIL, artifact, changed
from tests.support.exporting import exported
from tests.support.serve import command as served
from training.publish.card import render_card

FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ASKED = ["what a day", "the train is late again"]
RUNNER = """
import contextlib, io, json, sys
said = []
for code in json.load(sys.stdin):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "snippet", "exec"), {"__name__": "__main__"})
    said.append(out.getvalue())
json.dump(said, sys.stdout)
"""


def code(card: str, language: str) -> list[str]:
    return [body for name, body in FENCED.findall(card) if name == language]


def run(snippets: list[str], folder, **environment: str) -> list[list[dict[str, float]]]:
    """Run each as a program of its own names, and return the probabilities that it printed, by text."""
    done = subprocess.run(
        [sys.executable, "-W", "error::SyntaxWarning", "-c", RUNNER],
        input=json.dumps(snippets),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [
        [printed(line) for line in text.splitlines()] for text in json.loads(done.stdout.splitlines()[-1])
    ]


def printed(line: str) -> dict[str, float]:
    pairs = re.findall(r"'(\w+)': ([\d.e-]+)", line) or re.findall(r"label='(\w+)', score=([\d.e-]+)", line)
    return {label: float(chance) for label, chance in pairs}


def expected(artifact) -> list[dict[str, float]]:
    classifier = Classifier.load(artifact, engine="torch")
    return [dict(zip(classifier.labels, p.probabilities, strict=True)) for p in classifier.predict(ASKED)]


@pytest.fixture(scope="module")
def folder(trained_gpt2, tmp_path_factory):
    """Return an exported artifact, with its base beside it as the card's sentence asks."""
    place = exported(trained_gpt2.artifact, tmp_path_factory.mktemp("card") / "artifact")
    (place / trained_gpt2.base.name).symlink_to(trained_gpt2.base)
    return place


@pytest.fixture
def named(folder, tmp_path):
    """Return a copy whose base is known by an id of the Hub."""
    place = shutil.copytree(folder, tmp_path / "named", symlinks=True)
    record = json.loads((place / "provenance.json").read_text())
    record["base"]["name"] = "ada/base"
    (place / "provenance.json").write_text(json.dumps(record))
    return place


def test_in_the_artifacts_folder(folder, tmp_path):
    card = render_card(folder).text
    python = code(card, "python")
    assert len(python) == 5 and all(f"\ntexts = {json.dumps(ASKED)}\n" in snippet for snippet in python)
    [serve] = code(card, "sh")
    assert serve.split()[:4] == ["python", "-m", "inference", "serve"]
    where = [folder if word == "." else word for word in serve.split()[4:]]
    assert where[1:] == ["--port", "8000"]
    with served(where[0], folder=tmp_path) as server:
        asks = [snippet.replace(":8000", f":{server.port}") for snippet in python]
        nobody = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}  # offline, it asks no server
        answers = run(asks, folder, **nobody)
    for snippet, answer in zip(python, answers, strict=True):
        check(answer, expected(folder), snippet)


def check(found: list[dict[str, float]], expected: list[dict[str, float]], snippet: str) -> None:
    assert len(found) == len(expected), snippet
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=2e-2), snippet  # int8 may answer, where it passes the gate


def test_from_the_hub(named, hub, trained_gpt2, tmp_path):
    """The repository as a push leaves it; its base is on the Hub too."""
    card = render_card(named, repo_id="ada/tweets")
    files = {
        str(p.relative_to(named)): p.read_bytes()
        for p in named.rglob("*")
        if p.is_file() and p.parent.name != trained_gpt2.base.name
    }
    hub.create_repo("ada/tweets", files={**files, **card.files, "README.md": card.text.encode()})
    hub.create_repo("ada/base", files={p.name: p.read_bytes() for p in trained_gpt2.base.iterdir()})
    python = [snippet for snippet in code(card.text, "python") if "InferenceClient" not in snippet]
    assert len(python) == 4 and all("'.'" not in snippet and '"."' not in snippet for snippet in python)
    for snippet, answer in zip(python, run(python, tmp_path, **hub.environment()), strict=True):
        check(answer, expected(named), snippet)


def test_an_adapter_alone_from_the_hub(named, hub, trained_gpt2, tmp_path):
    card = render_card(named, repo_id="ada/adapter", adapter_only=True)
    tokenizer = {name: (named / name).read_bytes() for name in ("tokenizer.json", "tokenizer_config.json")}
    adapter = {path.name: path.read_bytes() for path in (named / "adapter").iterdir()}
    hub.create_repo("ada/adapter", files={**tokenizer, **adapter, "README.md": card.text.encode()})
    hub.create_repo("ada/base", files={p.name: p.read_bytes() for p in trained_gpt2.base.iterdir()})
    [snippet] = code(card.text, "python")
    [answer] = run([snippet], tmp_path, **hub.environment())
    check(answer, expected(named), snippet)
    assert "These are the figures of the merged model" in card.text


def test_the_adapters_base_is_the_very_one_that_was_trained_as_deep_as_it_is(tmp_path):
    folder = artifact(tmp_path / "lora", ("negative", "neutral", "positive"))
    changed(folder, "config.json", n_layer=3)
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_config.json").write_text("{}")

    def adapter(alone: bool = False) -> str:
        return code(render_card(folder, repo_id="ada/x", adapter_only=alone).text, "python")[-1]

    for alone in (True, False):
        assert f'"openai-community/gpt2",\n    revision="{"c" * 40}",\n' in adapter(alone)
        assert ("subfolder" in adapter(alone)) is not alone
    assert "num_hidden_layers" not in adapter()
    recipe = json.loads((folder / "provenance.json").read_text())["recipe"] | {"depth": 3}
    base = {"name": "openai-community/gpt2", "revision": "wheel 1, Q4_1"}
    changed(folder, "provenance.json", base=base, recipe=recipe)
    assert "num_hidden_layers=3,  # the network ends early\n" in adapter() and "revision=" not in adapter()


def test_labels_with_quotes_and_newlines_are_still_python(tmp_path):
    evil = (*EVIL, 'say "no"', "it's", "back\\slash", "\ud800", '"""', "négatif")
    folder = artifact(tmp_path / "evil", evil)
    for place in ("adapter", "onnx"):
        (folder / place).mkdir()
    (folder / "adapter" / "adapter_config.json").write_text("{}")
    for name in ("packed.onnx", "model_quantized.onnx"):
        (folder / "onnx" / name).write_bytes(b"")
    python = code(render_card(folder, repo_id="ada/evil").text, "python")
    assert len(python) == 5
    for snippet in python:
        compile(snippet, "snippet", "exec")
    names: dict = {}
    exec(re.search(r"^labels = .*$", python[3], re.MULTILINE)[0], names)
    assert names["labels"] == list(evil)
