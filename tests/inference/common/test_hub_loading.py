"""Every way by which a model comes from the Hub, through the local Hub with the real clients.

What must hold: the answers are the folder's own, only safe files are fetched, a login is used where it is
needed, what was fetched once is there when the Hub is away, and nothing waits for ever.
"""

import json
import time
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, constants
from transformers import GPT2ForSequenceClassification, pipeline

from inference.classifier import Classifier
from inference.cli import main
from inference.common.errors import ArtifactError, BaseError
from inference.common.hub import GaveUp, Timeouts, hub_session
from inference.scoring.job import ScoringJob, open_input
from inference.scoring.score import Progress, score
from inference.serving.service import Service
from inference.tables.rows import CHUNK_ROWS
from tests.support import WORDS, exporting
from tests.support.hub_fixtures import ADA, BOB
from training.model.bases import resolve_base
from training.model.classifier import load_language_model

TEXTS = ["i love it", "the table", "awful and sad"]
UNSAFE = {
    "pytorch_model.bin": b"\x80\x04",
    "training_args.bin": b"\x80\x04",
    "evil.py": b"1/0",
    "notes.md": b"-",
}


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory, tiny_gpt2, tiny_tokenizer):
    """Return the folder of a classifier that no run has made: any plain one can be loaded."""
    torch.manual_seed(0)
    names = dict(enumerate(WORDS))
    model = GPT2ForSequenceClassification.from_pretrained(
        tiny_gpt2,
        num_labels=3,
        id2label=names,
        label2id={name: n for n, name in names.items()},
        pad_token_id=0,
    )
    folder = tmp_path_factory.mktemp("plain") / "artifact"
    model.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def exported_files(tmp_path_factory, artifact):
    return files_of(exporting.exported(artifact, tmp_path_factory.mktemp("exported") / "gpt2"))


@pytest.fixture(scope="module")
def files(exported_files):
    """Return an artifact's files, without the exported network."""
    return {path: content for path, content in exported_files.items() if not path.startswith("onnx/")}


@pytest.fixture
def tweets_repo(online, files):
    online.lfs_over = 5000  # the weights come from the storage, as they do from the real Hub
    online.create_repo("ada/tweets", files=files | UNSAFE)
    return online


@pytest.fixture
def hurried(monkeypatch):
    """Let the client give up after half a second."""
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.5)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
    with hub_session(Timeouts(answer_s=0.5)):
        yield


LATE = "the Hub gave no answer in time; what arrived is kept. Check the network"


def probabilities(classifier):
    return [prediction.probabilities for prediction in classifier.predict(TEXTS)]


def refusal(repo: str = "ada/tweets") -> str:
    with pytest.raises(ArtifactError) as error:
        Classifier.load(repo)
    return str(error.value)


def test_a_classifier_by_its_id_answers_as_its_folder_does(tweets_repo, artifact):
    loaded = Classifier.load("ada/tweets")
    assert probabilities(loaded) == probabilities(Classifier.load(artifact, engine="torch"))
    assert (loaded.name_or_path, loaded.engine.name) == ("ada/tweets", "torch")
    fetched = {r.path.rsplit("/", 1)[1] for r in tweets_repo.requests if r.method == "GET"}
    assert not fetched & {*UNSAFE, "README.md"} and "config.json" in fetched
    assert not list(Path(constants.HF_HUB_CACHE).rglob("*.bin"))


def test_a_plain_pipeline_takes_it_by_its_id(tweets_repo):
    classify = pipeline("text-classification", "ada/tweets", top_k=None)
    [scores] = classify(TEXTS[:1])
    [prediction] = Classifier.load("ada/tweets").predict(TEXTS[:1])
    assert scores[0]["label"] == prediction.label
    assert scores[0]["score"] == pytest.approx(max(prediction.probabilities), abs=1e-5)


def test_the_exported_network_is_fetched_only_where_there_is_one(online, exported_files, tweets_repo):
    online.create_repo("ada/exported", files=exported_files)
    assert Classifier.load("ada/exported").engine.name in ("onnx", "onnx-int8")
    asked = [r.path for r in online.requests if ".onnx" in r.path]
    assert asked and all("/ada/exported/" in path for path in asked)


@pytest.mark.parametrize("away", ["error", "silent", "closed", "offline"])
def test_what_was_fetched_once_is_there_when_the_hub_is_away(tweets_repo, monkeypatch, away):
    loaded = Classifier.load("ada/tweets")
    if away == "error":
        tweets_repo.fail("*", status=503, times=None)
    elif away == "silent":
        tweets_repo.silence("*", times=None)
    elif away == "closed":
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    else:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    began = time.monotonic()
    assert probabilities(Classifier.load("ada/tweets")) == probabilities(loaded)
    assert time.monotonic() - began < 5


def test_a_new_commit_is_taken(tweets_repo, files):
    Classifier.load("ada/tweets")
    config = files["config.json"].replace(b"negative", b"unhappy")
    tweets_repo.commit("ada/tweets", {"config.json": config})
    assert "unhappy" in Classifier.load("ada/tweets").labels


def test_the_server_tells_where_a_model_by_its_id_comes_from(online, files):
    record = {"recipe": {"name": "quick"}, "base": {"name": "/srv/models/gpt2"}, "seed": 42}
    online.create_repo("ada/tweets", files={**files, "provenance.json": json.dumps(record).encode()})
    with Service({"tweets": "ada/tweets"}) as service:
        about = service.models.get().about
    assert about["provenance"] == {"recipe": "quick", "base": "gpt2", "seed": 42}


def stop_in_the_second_chunk(share, sentence):
    """Show how far a scoring is, as somebody would see it who presses Ctrl-C then."""
    if sentence.startswith(f"{CHUNK_ROWS + 1:,} rows"):
        raise KeyboardInterrupt


def test_a_scoring_by_another_commit_of_the_model_is_distinguished(online, files, tmp_path, capsys):
    online.create_repo("ada/tweets", files=files)
    (tmp_path / "in.csv").write_text("text\n" + "a day\n" * (CHUNK_ROWS + 1))
    job = ScoringJob(tmp_path / "in.csv", tmp_path / "out.csv", model="ada/tweets")
    with pytest.raises(KeyboardInterrupt):
        score(job, open_input(job), Progress(stop_in_the_second_chunk))
    again = ["score", str(job.input), "--model", "ada/tweets", "--output", str(job.output)]
    weights = bytearray(files["model.safetensors"])
    weights[-1] ^= 1
    online.commit("ada/tweets", {"model.safetensors": bytes(weights)})
    assert main(again) == 1
    assert "holds part of a scoring with another model" in capsys.readouterr().err
    online.commit("ada/tweets", {"model.safetensors": files["model.safetensors"], "notes.md": b"back again"})
    assert main(again) == 0
    assert len(job.output.read_text().splitlines()) == CHUNK_ROWS + 2


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ({"status": 500}, "the Hub has trouble (500), and it is not in the local cache. Try again in a few"),
        ({"status": 401}, "the Hub wants a login (401: Invalid credentials in Authorization header), and"),
        ({"status": 429}, "the Hub asks to slow down (429), and it is not in the local cache. Try again in"),
    ],
)
def test_a_hub_that_refuses_is_one_sentence(tweets_repo, fault, sentence):
    tweets_repo.fail("*", times=None, **fault)
    assert refusal().startswith(f"ada/tweets is no folder here, and can't be downloaded: {sentence}")


@pytest.mark.parametrize(
    ("pattern", "seconds", "sentence"),
    [
        ("GET /api/models/ada/tweets", 4, "the Hub gave no answer in 3 s, and it is not in the local cache"),
        ("GET /api/models/ada/tweets/revision/*", 4, LATE),
        ("GET /api/models/ada/tweets/tree/*", 4, LATE),
        ("GET /get/*", 9, LATE),
        ("HEAD *", 4, LATE),
    ],
)
def test_a_silent_hub_is_one_sentence_and_soon(tweets_repo, hurried, pattern, seconds, sentence):
    tweets_repo.silence(pattern, times=None)
    began = time.monotonic()
    assert sentence in refusal()
    assert time.monotonic() - began < seconds
    tweets_repo.faults.clear()
    Classifier.load("ada/tweets")


def test_a_hub_that_goes_away_is_asked_twice_and_not_six_times(tweets_repo):
    api = HfApi(endpoint=tweets_repo.endpoint)
    tweets_repo.stop()
    began = time.monotonic()
    with pytest.raises(GaveUp, match="the Hub can't be reached"):
        list(api.list_repo_tree("ada/tweets"))
    assert time.monotonic() - began < 4


def test_a_hub_that_wants_a_long_pause_is_not_waited_for(tweets_repo):
    tweets_repo.fail("GET /api/models/*/tree/*", status=429, times=None, headers={"Retry-After": "300"})
    began = time.monotonic()
    assert "the Hub asks to slow down (429); what arrived is kept. Try again in 300 s" in refusal()
    assert time.monotonic() - began < 4


def test_a_download_that_breaks_is_one_sentence_and_the_next_one_completes_it(tweets_repo):
    tweets_repo.cut("GET /get/*", after_bytes=2000, times=None)
    assert "the connection to the Hub broke; what arrived is kept" in refusal()
    tweets_repo.faults.clear()
    before = len(tweets_repo.requests)
    Classifier.load("ada/tweets")
    again = [r.path for r in tweets_repo.requests[before:] if r.method == "GET"]
    assert not [path for path in again if path.endswith("/config.json")]  # it was there already


def test_a_private_model_needs_a_login_that_may_see_it(online, files, monkeypatch):
    online.create_repo("ada/tweets", private=True, files=files)
    assert refusal() == (
        "ada/tweets is no folder here, and can't be downloaded: the Hub has no public ada/tweets. "
        "Check its name, or log in with `hf auth login`, or give an artifact's folder."
    )
    monkeypatch.setenv("HF_TOKEN", BOB)
    assert "there is no ada/tweets on the Hub that this login may see" in refusal()
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)
    said = refusal()
    assert "the Hub does not take the token of this login (401" in said and "set HF_TOKEN" in said
    monkeypatch.setenv("HF_TOKEN", ADA)
    Classifier.load("ada/tweets")


def test_a_gated_model_needs_its_terms_accepted(online, files, monkeypatch):
    online.create_repo("ada/tweets", gated=True, files=files)
    gated = "it is gated. Accept its terms on the Hub and log in with `hf auth login`"
    assert gated in refusal()
    monkeypatch.setenv("HF_TOKEN", BOB)
    assert gated in refusal()
    online.grant("ada/tweets", "bob")
    Classifier.load("ada/tweets")


def test_a_download_without_a_classifier_is_reported(online, tiny_gpt2):
    online.create_repo("ada/base", files=files_of(tiny_gpt2))
    assert "is not a classifier (its config names ['GPT2LMHeadModel'])" in refusal("ada/base")
    online.create_repo("ada/pickle", files={"config.json": b"{}", "tokenizer.json": b"{}"} | UNSAFE)
    assert "has no safetensors weights" in refusal("ada/pickle")


def test_a_base_by_its_id(online, tiny_base, monkeypatch):
    sha = online.create_repo("ada/base", private=True, files=files_of(tiny_base))
    with pytest.raises(BaseError, match="or log in with `hf auth login`"):
        resolve_base("ada/base")
    base = resolve_base("ada/base", api=HfApi(token=ADA))  # a token of the caller's own is used throughout
    assert (base.name, base.revision, base.reason) == ("ada/base", sha, "it was asked for")
    assert load_language_model(base).model.config.num_hidden_layers == 3
    online.silence("*", times=None)
    began = time.monotonic()
    assert resolve_base("ada/base").path == base.path
    assert time.monotonic() - began < 5


def test_auto_takes_gpt2_where_the_hub_has_it(online, tiny_gpt2):
    online.create_repo("openai-community/gpt2", files=files_of(tiny_gpt2))
    assert resolve_base("auto").reason == "found on the Hub"
    assert resolve_base("auto").reason == "found in the local cache"
