"""An artifact is a plain Transformers folder: strangers load it and get the Classifier's answers."""

import json
import re
import shutil
import subprocess
import sys

import pytest
import torch
from peft import AutoPeftModelForSequenceClassification
from safetensors.torch import load_file

from inference.artifact import check_artifact, read_record
from inference.classifier import Classifier
from inference.common.errors import ArtifactError
from tests.support import WORDS

NASTY = [
    "",
    "   \n",
    "what a day",
    "😀😀🔥👨‍👩‍👧",
    "שלום עולם, איזה יום",
    "مرحبا",
    "nul \x00 inside",
    "<b>love</b> &amp;",
    "@friend https://t.co/x #win",
    "happy " * 500,
    "\ufeffbom \u2028 line",
    "ЁЖ你好\u200d\u0301",
]

STRANGER = """
import json, sys
path, texts = sys.argv[1], json.load(sys.stdin)
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
tokenizer = AutoTokenizer.from_pretrained(path)
model = AutoModelForSequenceClassification.from_pretrained(path)
one_by_one = []
with torch.no_grad():
    for text in texts:
        batch = tokenizer(text, truncation=True, return_tensors="pt")
        one_by_one.append(model(**batch).logits.softmax(-1)[0].tolist())
    batch = tokenizer(texts, truncation=True, padding=True, return_tensors="pt")
    together = model(**batch).logits.softmax(-1).tolist()
classify = pipeline("text-classification", model=path, top_k=None)
piped = [{row["label"]: row["score"] for row in rows} for rows in classify(texts, truncation=True)]
batched = [{r["label"]: r["score"] for r in rows} for rows in classify(texts, truncation=True, batch_size=5)]
ours = [name for name in sys.modules if name.split(".")[0] in ("inference", "training", "ui", "app")]
json.dump({"one_by_one": one_by_one, "together": together, "piped": piped, "batched": batched, "ours": ours,
           "id2label": model.config.id2label, "problem": model.config.problem_type}, sys.stdout)
"""


def test_a_stranger_gets_the_classifiers_probabilities(trained, tmp_path):
    done = subprocess.run(
        [sys.executable, "-I", "-c", STRANGER, str(trained.artifact)],
        input=json.dumps(NASTY),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    stranger = json.loads(done.stdout)
    assert stranger["ours"] == []
    classifier = Classifier.load(trained.artifact)
    expected = torch.tensor([prediction.probabilities for prediction in classifier.predict(NASTY)])
    assert list(stranger["id2label"].values()) == list(classifier.labels) == list(WORDS)
    assert expected.std(0).max() > 0.1, "answers that are all alike would compare anything with anything"
    for way in ("one_by_one", "together"):
        assert torch.allclose(torch.tensor(stranger[way]), expected, atol=1e-5), way
    for way in ("piped", "batched"):
        found = torch.tensor([[row[label] for label in classifier.labels] for row in stranger[way]])
        assert torch.allclose(found, expected, atol=1e-5), way


def test_the_adapter_alone_gives_the_same_answers(trained, monkeypatch):
    monkeypatch.chdir(trained.base.parent)  # the adapter names its base, as it would a Hub id
    config = json.loads((trained.artifact / "config.json").read_text())
    classifier = Classifier.load(trained.artifact)
    adapted = AutoPeftModelForSequenceClassification.from_pretrained(
        trained.artifact / "adapter",
        num_labels=3,
        pad_token_id=config["pad_token_id"],
        id2label={int(number): name for number, name in config["id2label"].items()},
    ).eval()
    ids = classifier.encode(NASTY).token_ids
    with torch.no_grad():
        found = [adapted(input_ids=torch.tensor([row])).logits[0] for row in ids]
    assert torch.allclose(torch.stack(found), torch.tensor(classifier.logits(ids)), atol=1e-4)
    assert adapted.config.id2label == dict(enumerate(WORDS))


def test_the_files_of_an_artifact(trained):
    files = {
        str(path.relative_to(trained.artifact)) for path in trained.artifact.rglob("*") if path.is_file()
    }
    assert files == {
        *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md"),
        *("evaluation.json", "provenance.json", "examples.json", "reference.json"),
        *("base_head.safetensors", "adapter/adapter_config.json", "adapter/adapter_model.safetensors"),
        *("assets/confusion.png", "assets/calibration.png", "assets/curves.png"),
    }


def test_no_file_tells_where_it_was_made(trained):
    given = {str(trained.base), str(trained.data)}
    for path in trained.artifact.rglob("*"):
        if not path.is_file():
            continue
        content = path.read_bytes()
        if path.name == "provenance.json":  # it records what was asked for, and nothing else of this machine
            record = json.loads(content)
            assert (record["recipe"]["base"], record["recipe"]["dataset"]) == tuple(
                map(str, (trained.base, trained.data))
            )
            for place in sorted(given):
                content = content.replace(place.encode(), b"")
        for place in (trained.run.path.parent, trained.base.parent, trained.data.parent):
            assert str(place).encode() not in content, (path.name, place)
        assert str(path.home()).encode() + b"/" not in content, path.name


def test_the_records_say_what_was_done(trained):
    evaluation = read_record(trained.artifact, "evaluation.json")
    assert evaluation == trained.run.evaluation().to_json()
    provenance = read_record(trained.artifact, "provenance.json")
    assert provenance["recipe"]["name"] == "smoke"
    assert provenance["seed"] == trained.run.recipe.seed
    assert provenance["base"]["name"] == trained.base.name
    assert provenance["base"]["revision"] == "local"
    assert provenance["sizes"] == {"train": 200, "validation": 40, "test": 60}
    assert (provenance["trunk_layers"], provenance["depth"]) == (2, 3)
    assert {"python", "torch", "transformers", "peft"} <= provenance["versions"].keys()
    assert provenance["machine"]["cores"] >= 1
    assert list(provenance["duration_s"]) == ["prepare", "cache", "train", "export", "evaluate"]
    assert re.fullmatch(r"[0-9a-f]{64}", provenance["data"]["source"]["sha256"])


def test_the_adapters_config_names_the_base_and_the_family(trained):
    config = json.loads((trained.artifact / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == trained.base.name
    assert config["layers_to_transform"] == [2]
    assert config["fan_in_fan_out"] is (trained.base.name == "tiny-gpt2")
    weights = load_file(trained.artifact / "adapter" / "adapter_model.safetensors")
    assert any("score" in name for name in weights)


@pytest.fixture
def copy(trained_gpt2, tmp_path):
    return shutil.copytree(trained_gpt2.artifact, tmp_path / "artifact")


def refusal(path):
    with pytest.raises(ArtifactError) as caught:
        Classifier.load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


TRAIN = "Train one with `python -m training train quick`."


def test_a_missing_folder_and_a_file(tmp_path):
    assert refusal(tmp_path / "none") == f"{tmp_path / 'none'} does not exist. {TRAIN}"
    (tmp_path / "model").write_text("")
    assert refusal(tmp_path / "model") == f"{tmp_path / 'model'} is a file, not a model folder. {TRAIN}"
    assert refusal("runs/none") == f"runs/none does not exist. {TRAIN}"


def test_a_folder_that_lacks_something(copy, tmp_path):
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty") == f"{tmp_path / 'empty'} has no config.json (found: nothing). {TRAIN}"
    (copy / "tokenizer.json").unlink()
    assert refusal(copy).startswith(f"{copy} has no tokenizer.json (found: README.md, adapter, ")


def test_weights_in_a_pickle_are_not_loaded(copy):
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    assert refusal(copy).startswith(f"{copy} has no safetensors weights (found: README.md, ")


def test_a_language_model_is_not_a_classifier(tiny_gpt2):
    assert refusal(tiny_gpt2) == (
        f"{tiny_gpt2} is not a classifier (its config names ['GPT2LMHeadModel']). {TRAIN}"
    )


def test_a_torn_config(copy):
    (copy / "config.json").write_text('{"architectures": ["GPT2For')
    assert refusal(copy).startswith(f"{copy / 'config.json'} can't be read (")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_torn_file(copy, name):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    assert refusal(copy).startswith(f"{copy} can't be loaded as a classifier (")


def test_a_repository_that_cant_be_reached():
    assert refusal("nobody/nothing").startswith(
        "nobody/nothing is no folder here, and can't be downloaded: the Hub is switched off by HF_HUB_OFFLINE"
    )


def test_a_record_that_is_not_there_is_none(tmp_path):
    assert read_record(tmp_path, "evaluation.json") is None
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(ArtifactError, match="it holds no JSON object"):
        read_record(tmp_path, "list.json")


def test_a_whole_artifact_passes(trained):
    check_artifact(trained.artifact)
