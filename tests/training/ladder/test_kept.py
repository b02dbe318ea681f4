"""Each rung of a ladder is kept in a folder that every door takes as a model, and answers there as before."""

import json
import shutil

import numpy as np
import pytest

from inference.baselines import rests_on
from inference.baselines.index import Index
from inference.baselines.model import load_model
from inference.cli import main as inference
from inference.common.errors import ArtifactError, DataError, PredictionError, RunError
from inference.live.post import ClassifiedPost, Post
from inference.live.statistics import LiveStatistics
from inference.reference import needed
from inference.selective import asked_threshold
from inference.serving.service import Service
from tests.support import write_csv
from tests.support.serve import serving
from tests.training.ladder.conftest import LABELS
from training.cli.main import main as training
from training.data.load import load_splits
from training.ladder.order import RUNGS, Order
from ui.compare.lineup import Lineup
from ui.live.review import Duels
from ui.state import Model, Workbench

pytestmark = pytest.mark.slow
STEPS = [step.name for step in Order().steps(labels=(LABELS,), classes=3)]
HOSTILE = ["", "😀🎉", "\u202eشكرا جزيلا\u202c", "nul\0byte", "good " * 20_000, "\ud83d half", "=1+1"]
FOREIGN = ["съешь ещё этих мягких булок", "xqzj vkwq zzxq jjkq"]
every_rung = pytest.mark.parametrize("step", STEPS)


@pytest.fixture
def ladder(order, finished, home):
    """Return a ladder of every rung among the runs, and the texts of its test rows."""
    run, _ = finished
    (home / "runs").mkdir(parents=True)
    (home / "runs" / "tweets").symlink_to(run.path)
    return run, list(load_splits(order.recipe.data).test["text"])


def test_all_rungs_are_tried(ladder):
    assert {path.name for path in (ladder[0].path / "rungs").iterdir()} == set(STEPS)
    assert {name.removesuffix(f"-{LABELS}") for name in STEPS} == set(RUNGS)


@every_rung
def test_a_rung_answers_as_it_was_measured_by_each_way_to_ask(step, ladder):
    run, texts = ladder
    measured = np.load(run.path / "steps" / f"{step}.npy")
    rung = load_model(f"tweets/{step}")
    found = rung.predict(texts)
    np.testing.assert_allclose([one.probabilities for one in found], measured, atol=1e-4)
    if step.startswith(("retrieval", "nearest", "both")):
        assert rests_on(found[0])
    encoded = rung.encode(texts)
    parts = rung.predictions(rung.logits(encoded.token_ids), encoded)
    np.testing.assert_allclose([one.probabilities for one in parts], measured, atol=1e-4)
    assert [one.label for one in parts] == [one.label for one in found]
    assert rung.predict([]) == []


@pytest.mark.parametrize("step", ["bag-of-words-24", "few-shot-4", "retrieval-words-24", "both-24"])
def test_every_door_takes_a_rung(step, ladder, tmp_path, capsys, monkeypatch):
    _, texts = ladder
    posts = write_csv(tmp_path / "posts.csv", [(text, "positive") for text in texts])
    name = f"tweets/{step}"
    expected = [one.label for one in load_model(name).predict(texts)]
    assert inference(["classify", name, *texts, "--json"]) == 0
    assert [one["label"] for one in json.loads(capsys.readouterr().out)["predictions"]] == expected
    out = tmp_path / "out.jsonl"
    assert (
        inference(["score", str(posts), "--model", name, "--output", str(out), "--abstain-below", "0.4"]) == 0
    )
    scored = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["tweettune_label"] for row in scored] == expected and {row["sure"] for row in scored} <= {
        True,
        False,
    }
    capsys.readouterr()
    assert inference(["live", "replay", str(posts), "--model", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classified"] == len(texts)
    assert training(["evaluate", name, "--dataset", str(posts), "--json"]) == 0
    right = json.loads(capsys.readouterr().out)["systems"][-1]["scores"]["accuracy"]["value"]
    assert right == pytest.approx(np.mean([label == "positive" for label in expected]))
    with Service({"rung": name.replace("tweets", str(ladder[0].path))}) as service:
        assert [one.label for one in service.predict(texts, model="rung")] == expected


@every_rung
def test_texts_of_all_kinds_are_answered_and_cuts_are_counted(step, ladder):
    rung = load_model(f"tweets/{step}")
    found = rung.predict(HOSTILE)
    assert all(np.isfinite(one.probabilities).all() for one in found) and len(found) == len(HOSTILE)
    encoded = rung.encode(HOSTILE)
    assert [one.truncated for one in found] == encoded.truncated
    assert encoded.truncated[4] and not encoded.truncated[0]
    alone = [rung.predict([text])[0].probabilities for text in HOSTILE]
    np.testing.assert_allclose([one.probabilities for one in found], alone, atol=1e-4)


@every_rung
def test_a_rung_marks_what_the_ladders_texts_are_unlike(step, ladder, order):
    rung, splits = load_model(f"tweets/{step}"), load_splits(order.recipe.data)
    if step.startswith(("majority", "bag-of-words")):
        assert rung.scope is None and rung.predict(FOREIGN)[0].unknown_share is None
        return
    scope, own = needed(rung.scope), list(splits.validation["text"])
    assert scope.n == len(own)
    outside = [one.is_out_of_scope(scope.above) for one in rung.predict([*own, *FOREIGN])]
    assert sum(outside[: len(own)]) <= 0.01 * len(own)
    assert all(outside[len(own) :])
    encoded = rung.encode(FOREIGN)
    served = rung.predictions(rung.logits(encoded.token_ids), encoded)
    assert [one.unknown_share for one in served] == [one.unknown_share for one in rung.predict(FOREIGN)]
    assert [one.unknown_share for one in rung.predict(FOREIGN, with_latency=True)] == [1.0] * len(FOREIGN)


@pytest.mark.parametrize("step", ["few-shot-4", "nearest-24", "lora-24", "both-24"])
def test_every_door_marks_them(step, ladder, order, tmp_path, capsys):
    run, texts = ladder
    name, n = f"tweets/{step}", len(FOREIGN)
    above = needed(load_model(name).scope).above
    outside = sum(one.is_out_of_scope(above) for one in load_model(name).predict(texts)) + n
    every = [*texts, *FOREIGN]
    posts = write_csv(tmp_path / "posts.csv", [(text, "positive") for text in every])
    assert inference(["classify", name, *every]) == 0
    assert f"{outside} of {len(every)} texts are out of scope" in capsys.readouterr().err
    out = tmp_path / "out.jsonl"
    assert inference(["score", str(posts), "--model", name, "--output", str(out), "--out-of-scope"]) == 0
    scored = [json.loads(line)["out_of_scope"] for line in out.read_text().splitlines()]
    assert sum(scored) == outside and scored[-n:] == [True] * n
    capsys.readouterr()
    assert inference(["live", "replay", str(posts), "--model", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["out_of_scope"] == outside
    with serving({"rung": run.path / "rungs" / step}, load=load_model) as server:
        asked = {"inputs": FOREIGN, "parameters": {"out_of_scope": True, "rests_on": True, "top_k": 1}}
        answers = server.ask(asked).json
    assert all(best["out_of_scope"] for [best] in answers)
    shown = [[one["text"] for one in best["rests_on"]] for [best] in answers]
    found = load_model(name).predict(FOREIGN)
    assert shown == [[one.text for one in rests_on(each)] for each in found]
    assert bool(shown[0]) == step.startswith(("nearest", "both"))
    [contender] = Lineup(Workbench(), recipe=order.recipe).of([name])
    assert all(one.is_out_of_scope(contender.scope.above) for one in contender.predict(FOREIGN))


def test_live_tells_the_drift_of_a_rung_by_its_tokens(ladder, order):
    splits, statistics = load_splits(order.recipe.data), LiveStatistics.of(load_model("tweets/nearest-24"))
    own = list(splits.train["text"])
    for at in range(60):
        statistics([ClassifiedPost(Post(str(at), own[at % len(own)]), "neutral", 0.5)])
    found = {one.name: one for one in statistics.view(60).drift.findings}
    assert found["length"].level == "alike" and found["tokens"].level == "alike"


def test_the_app_compares_rungs_and_duels_with_them(ladder, order):
    run, texts = ladder
    lineup = Lineup(Workbench(), recipe=order.recipe)
    assert {f"tweets/{step}" for step in STEPS} <= {key for _, key in lineup.choices()}
    one, other = lineup.of(["tweets/few-shot-4", "tweets/lora-24"])
    assert one.sure_from is None or 0 < one.sure_from <= 1
    expected = [np.load(run.path / "steps" / f"{name}.npy") for name in ("few-shot-4", "lora-24")]
    for contender, measured in zip((one, other), expected, strict=True):
        found = [answer.probabilities for answer in contender.predict(texts)]
        np.testing.assert_allclose(found, measured, atol=1e-4)
    with pytest.raises(RunError, match=r"There is no run '\.\./tweets/lora-24' here"):
        lineup.of(["../tweets/lora-24"])
    rung = load_model("tweets/nearest-24")
    model = Model("ready", source="x", tuned=rung)
    called, second = Duels(load_model).second("tweets/bag-of-words-24", model)
    assert called == "tweets/bag-of-words-24" and second.predict(texts)[0].label in rung.labels


def test_what_is_no_rung_is_said_in_one_sentence(ladder, tmp_path, home):
    with pytest.raises(
        ArtifactError, match=r"has kept no rung 'few-shot-9'\. Name one of: tweets/bag-of-words"
    ):
        load_model("tweets/few-shot-9")
    with pytest.raises(ArtifactError, match=r"tweets is a ladder, with a model a rung\. Name one of"):
        load_model("tweets")
    with pytest.raises(
        ArtifactError, match=r"is a rung of a ladder\. Name it with its ladder: tweets/few-shot-4"
    ):
        load_model("few-shot-4")
    with pytest.raises(ArtifactError, match="is a rung, which the engine onnx can't compute"):
        load_model("tweets/few-shot-4", engine="onnx")
    with pytest.raises(PredictionError, match="takes no max_length"):
        load_model("tweets/nearest-24").encode(["a"], max_length=8)
    with pytest.raises(PredictionError, match="no text can be called out of scope"):
        needed(load_model("tweets/bag-of-words-24").scope)


@pytest.mark.parametrize(
    ("step", "file", "content", "said"),
    [
        ("few-shot-4", "rung.json", b"{", "can't be read"),
        ("few-shot-4", "rung.json", b'{"labels": ["a"], "base": {}, "made_of": {"kind": "os"}}', "'os'"),
        ("few-shot-4", "rung.json", b'{"made_of": []}', "can't be read"),
        ("head-24", "learnt.npz", b"torn", "can't be read"),
        ("nearest-24", "index.sqlite", b"torn " * 400, "is no index of tweets"),
        ("lora-24", "network/model.safetensors", b"torn", "can't be loaded as a classifier"),
    ],
)
def test_a_damaged_rung_is_said_in_one_sentence(step, file, content, said, ladder, tmp_path):
    folder = shutil.copytree(ladder[0].path / "rungs" / step, tmp_path / step)
    (folder / file).write_bytes(content)
    with pytest.raises((ArtifactError, DataError), match=said) as found:
        load_model(folder)
    assert "\n" not in str(found.value)


def test_a_base_that_is_away_or_another_one_is_said(ladder, tmp_path, tiny_llama):
    folder = shutil.copytree(ladder[0].path / "rungs" / "zero-shot", tmp_path / "zero-shot")
    record = json.loads((folder / "rung.json").read_text())
    for path, said in (
        (tmp_path / "gone", "is no more in"),
        (tiny_llama, "is not the one that was measured"),
    ):
        record["base"]["path"] = str(path)
        (folder / "rung.json").write_text(json.dumps(record))
        with pytest.raises(ArtifactError, match=said):
            load_model(folder)


def test_a_rung_knows_its_locked_rows_and_a_threshold(ladder, capsys):
    _, texts = ladder
    assert training(["evaluate", "tweets/few-shot-4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert training(["evaluate", "tweets/few-shot-4", "--precision", "0.34", "--json"]) == 0
    [sure] = json.loads(capsys.readouterr().out)["selective"]
    assert sure["wanted"] == 0.34 and 0 < sure["threshold"] <= 1
    assert training(["evaluate", "tweets/few-shot-4", "--precision", "90"]) == 1
    assert "precision is 90. Give a share" in capsys.readouterr().err
    assert found["n"] >= len(texts) and found["chosen_on"] is not None
    assert 0 < asked_threshold(load_model("tweets/lora-24").folder, precision=0.34) <= 1


def test_an_index_of_a_rung_grows_and_its_answers_rest_on_that(ladder, tmp_path):
    folder = shutil.copytree(ladder[0].path / "rungs" / "nearest-24", tmp_path / "nearest-24")
    rung = load_model(folder)
    label = rung.labels[0]
    Index(folder / "index.sqlite").add(["a zorgle day"], [label])
    assert rest_of(rung, "a zorgle day")[0] == ("a zorgle day", label)


def rest_of(rung, text):
    return [(one.text, one.label) for one in rests_on(rung.predict([text])[0])]
