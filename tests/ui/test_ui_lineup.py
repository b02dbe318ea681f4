"""Which models are compared: without any model, with a run and others, and which texts each is asked."""

import dataclasses
import json
import os
import shutil
from urllib.request import Request, urlopen

import brotli
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from inference.artifact import EVALUATION, read_record
from inference.common.errors import DataError, PredictionError, RunError
from inference.common.paths import runs_dir
from inference.common.store import write_json
from tests.support import wait_for
from tests.support.live_app import live_app
from tests.training.ladder.test_advice import fresh, learnt, made
from tests.ui.test_ui_render import Checker
from training.data.load import load_splits
from training.evaluate.scores import read_evaluation
from training.ladder.freshness import save_freshness
from training.ladder.results import Ladder
from training.recipes import change, load_recipe
from training.runs.run import LADDER, create_run, create_run_of
from ui.compare.ladder import ladder_card, newest_ladder, number
from ui.compare.learn import became, labels_of
from ui.compare.lineup import FIRST, UNTRAINED, Lineup
from ui.compare.tab import ask, explain
from ui.compare.view import Side
from ui.delivery import preloaded
from ui.state import Model, Workbench, run_of
from ui.translations import speaking


def _share(value):
    return {"value": value, "low": value, "high": value}


@pytest.fixture
def recipe(tiny_gpt2, tiny_tweets):
    return change(load_recipe("quick"), {"base": str(tiny_gpt2), "dataset": str(tiny_tweets)})


def with_model(trained, run_id="first"):
    """Return a Workbench whose model is loaded, of a run in this test's home."""
    shutil.copytree(trained.run.path, runs_dir() / run_id)
    workbench = Workbench(model=str(runs_dir() / run_id / "artifact"))
    workbench.use(workbench.model.source)
    return workbench


def test_without_any_model_the_untouched_base_answers_with_and_without_examples(recipe, home):
    lineup = Lineup(Workbench(), recipe=recipe)
    assert [key for _, key in lineup.choices()] == list(UNTRAINED)
    assert lineup.standard([]) == FIRST and not lineup.is_there(FIRST)
    drawn = ask(lineup, "so happy today", FIRST)
    Checker(drawn)
    assert "Base, no example" in drawn and "Base, 4 examples a class" in drawn
    assert drawn.count('class="tt-label') == 2 and "They " in drawn and lineup.is_there(FIRST)
    assert explain(lineup, "so happy today", FIRST).count('class="tt-heat"') == 2
    four = ask(lineup, "so happy today", [*FIRST, "retrieval-words", "bag-of-words"])
    assert "tt-many" in four and "Rests on 12 labelled tweets" in four and "TF-IDF" in four
    with pytest.raises(PredictionError, match="No model is loaded yet"):
        ask(lineup, "so happy today")
    with pytest.raises(PredictionError, match="There is no text"):
        ask(lineup, "  ", FIRST)


def test_a_loaded_model_is_compared_with_its_base_and_with_others(trained_gpt2, home):
    workbench = with_model(trained_gpt2)
    shutil.copytree(trained_gpt2.run.path, runs_dir() / "second")
    lineup = Lineup(workbench)
    keys = [key for _, key in lineup.choices()]
    assert keys == ["base", "tuned", *UNTRAINED, "second"]
    assert lineup.standard([]) == lineup.standard(FIRST) == ["base", "tuned"]  # nobody has chosen
    assert lineup.standard(["tuned", "second"]) == ["tuned", "second"]
    curve = [{"threshold": 1.0, "answered": _share(0.5), "right": _share(0.95)}]
    record = read_record(workbench.model.folder, EVALUATION)
    write_json(workbench.model.folder / EVALUATION, {**record, "chosen_on": curve})
    known = [each.sure_from for each in lineup.of(["base", "tuned"]) if each.key == "tuned"]
    assert known == [1.0] and "right it takes 100" in ask(lineup, "so happy today", ["tuned"])
    wait_for(lambda: workbench.model.base_state != "loading")
    contenders = lineup.of(["base", "tuned"])
    together, [pair] = lineup.answers(contenders, ["so happy today"]), [lineup._pair[1]]
    assert pair.layers == 2
    for one, [found] in zip(contenders, together, strict=True):
        assert found.probabilities == pytest.approx(
            one.predict(["so happy today"])[0].probabilities, abs=1e-4
        )
        assert found.latency_ms > 0
    drawn = ask(lineup, "so happy today", ["tuned", "second", "few-shot-4"])
    assert "They " in drawn and ">second<" in drawn
    with pytest.raises(RunError, match="There is no run 'nope' here"):
        lineup.of(["tuned", "nope"])
    with pytest.raises(PredictionError, match="5 models were chosen, and 4 can be"):
        lineup.of(["tuned", "base", "second", *FIRST])
    with pytest.raises(RunError, match="no run '/etc' here"):
        lineup.of(["/etc"])


def test_a_model_of_the_hub_is_loaded_only_for_whoever_may(trained_gpt2, home, monkeypatch):
    asked = []
    monkeypatch.setattr("ui.compare.lineup.load_tuned", lambda name: asked.append(name) or found)
    workbench = with_model(trained_gpt2)
    found, lineup = workbench.model.tuned, Lineup(workbench)
    with pytest.raises(PredictionError, match="Only people who may train here"):
        ask(lineup, "so happy", ["tuned", "owner/name"], may_load=False)
    assert asked == []
    assert ">owner/name<" in ask(lineup, "so happy", ["tuned", "owner/name"])
    ask(lineup, "so sad", ["tuned", "owner/name"], may_load=False)  # it is there now
    assert asked == ["owner/name"]
    lineup.of([f"owner/{number}" for number in range(3)])
    assert not lineup.is_there(["owner/name"])  # three are kept


def test_a_base_that_is_missing_is_said_and_the_others_answer(trained_gpt2, home):
    workbench = with_model(trained_gpt2)
    workbench.model = dataclasses.replace(workbench.model, base=None, base_message="No wheel.")
    lineup = Lineup(workbench)
    assert "No wheel." in ask(lineup, "so happy") and "No wheel." in ask(
        lineup, "so happy", ["base", "tuned"]
    )
    assert "No wheel." not in ask(lineup, "so happy", ["tuned"])
    assert run_of(workbench.model.source).id == "first"


def test_a_labelled_tweet_that_is_added_is_what_the_next_answer_rests_on(trained_gpt2, home):
    workbench = with_model(trained_gpt2)
    lineup, new = Lineup(workbench), "so zorgle"
    keys = [key for _, key in lineup.choices()]
    assert "taught" not in keys and lineup.standard(["tuned", "taught"]) == ["tuned"]
    with pytest.raises(PredictionError, match="No labelled tweet was added yet"):
        ask(lineup, new, ["taught"])
    with pytest.raises(PredictionError, match="Its label is missing"):
        lineup.knowledge.add(new, "")
    assert "Added." in became(lineup.knowledge.add("that gig was zorgle", "positive"))
    assert "already" in became(lineup.knowledge.add("That gig was zorgle", "positive"))
    assert "under another label" in became(lineup.knowledge.add("that gig was zorgle", "negative"))
    splits = load_splits(workbench.model.run.recipe.data)
    assert "measured on" in became(lineup.knowledge.add(splits.test["text"][0], "positive"))
    assert len(lineup.knowledge.index()) == len(splits.train) + 1, "the training rows are there, too"
    assert [key for _, key in lineup.choices()][:3] == ["base", "tuned", "taught"]
    drawn = ask(lineup, new, ["tuned", "taught"])
    Checker(drawn)
    assert "Rests on 1 labelled tweets" in drawn and "that gig was zorgle" in drawn
    alone, taught = (each.predict([new])[0] for each in lineup.of(["tuned", "taught"]))
    assert taught.probabilities[0] > alone.probabilities[0] and taught.unknown_share == alone.unknown_share
    workbench.model = dataclasses.replace(workbench.model, run=None)
    assert labels_of(workbench.model) == () and not lineup.knowledge.is_there()
    with pytest.raises(PredictionError, match="has no run here that could keep the tweet"):
        lineup.knowledge.add(new, "positive")


def test_a_tweet_that_is_unlike_the_training_is_marked_where_that_is_known(trained_gpt2, home):
    lineup = Lineup(with_model(trained_gpt2))
    foreign = "обед был очень вкусный"
    drawn = ask(lineup, foreign, ["tuned"])
    Checker(drawn)
    assert "Unlike the training tweets" in drawn
    assert "Unlike the training tweets" not in ask(lineup, "so happy at work today", ["tuned"])
    with speaking("pt-BR"):
        assert "Diferente dos tweets de treino" in ask(lineup, foreign, ["tuned"])
    old = dataclasses.replace(lineup.of(["tuned"])[0], scope=None)
    assert not Side("", "", "", old.labels, old.predict([foreign])[0], None, old.scope).is_outside


def test_the_newest_finished_ladder_is_drawn_with_its_sentence_and_the_advice(home):
    assert newest_ladder() is None and ladder_card(None) == ""
    run = create_run_of(LADDER, {}, name="tweets")
    write_json(run.path / Ladder.FILE, made().to_json())
    assert newest_ladder() is None  # not finished
    write_json(run.path / "status.json", {"state": "finished"})
    drawn = ladder_card(newest_ladder())
    Checker(drawn)
    assert "Every way on the same" in drawn and "Fine-tune, retrieve, or both?" in drawn
    assert "10,000 posts a day" in drawn and "better" in drawn
    assert "What a new word does to a fine-tuned model was not measured here" in drawn
    few = ladder_card(newest_ladder(), posts_a_day=5, changes_a_month=2, labels=0)
    assert "With 0 labels there is no choice" in few and "Changes of the subject a month: 2<" in few
    assert 'data-action="posts" data-value="5 2 0"' in few, "each button asks for its number anew"
    assert number("50 000") == 50_000
    for wrong in ("", "many", "-1", "nan", None):
        with pytest.raises(DataError, match="is no number of 0 or more"):
            number(wrong)
    write_json(run.path / Ladder.FILE, {**made().to_json(), "rows": {"data": "x"}})
    save_freshness(fresh(learnt("index", 170)), create_run(load_recipe("smoke")))
    found = ladder_card(newest_ladder())
    assert "with 8 labelled tweets added beside it" in found and "85.0" in found
    save_freshness(fresh(learnt("index", 35)), create_run(load_recipe("smoke")))
    assert "are not shown to help" in ladder_card(newest_ladder())
    with speaking("pt-BR"):
        card = ladder_card(newest_ladder())
    assert "10.000 posts por dia" in card and "Always" not in card
    (run.path / Ladder.FILE).write_text("{")
    assert newest_ladder() is None  # torn


def test_open_pages_read_the_records_of_a_model_once_until_they_change(trained_gpt2, home, monkeypatch):
    read = []
    monkeypatch.setattr(
        "ui.state.read_evaluation", lambda folder: read.append(folder) or read_evaluation(folder)
    )
    shutil.copytree(trained_gpt2.artifact, home / "artifact")
    model = Model(state="ready", source=str(home / "artifact"))
    first = [model.evaluation() for _ in range(3)]
    assert len(read) == 1 and first[0] is first[2] and first[0].n
    os.utime(home / "artifact" / "evaluation.json", ns=(1, 1))
    assert model.evaluation() == first[0] and len(read) == 2
    assert model.provenance() is model.provenance()
    (home / "artifact" / "evaluation.json").write_text("{")
    assert model.evaluation() is None


def test_the_app_asks_those_that_are_named_and_its_page_is_light_and_says_what_it_is(trained_gpt2, home):
    run = shutil.copytree(trained_gpt2.run.path, runs_dir() / "first")  # an index is added to it
    with live_app(run / "artifact") as app:
        with urlopen(Request(app.url, headers={"Accept-Encoding": "gzip, br"}), timeout=30) as answer:
            packed = answer.read()
            assert answer.headers["content-encoding"] == "br"
        assert len(packed) < 50_000
        page = brotli.decompress(packed).decode()
        for name in (preloaded()[0], preloaded()[-1], "tweettune.css"):
            address = f"{app.url.rstrip('/')}/assets/{name}"
            with urlopen(Request(address, headers={"Accept-Encoding": "br"}), timeout=30) as answer:
                assert "immutable" in answer.headers["cache-control"]
                small = brotli.decompress(answer.read())
            with urlopen(address, timeout=30) as answer:
                assert answer.read() == small and not answer.headers["content-encoding"]
        assert page.count('content="TweetTune"') >= 2 and "Click to try out the app" not in page
        assert "A small language model, before and after" in page.partition("</head>")[0]
        assert "header-image.jpg" not in page and 'content="Gradio"' not in page
        assert page.count(f'content="{app.url.rstrip("/")}/preview.png"') >= 2
        with urlopen(f"{app.url.rstrip('/')}/preview.png", timeout=30) as picture:
            assert picture.read(4) == b"\x89PNG"
        client = Client(app.url, verbose=False)
        try:
            assert ">Fine-tuned<" in client.predict("so happy", api_name="/compare")
            named = client.predict("so happy", ["tuned", "bag-of-words"], api_name="/compare")
            assert "Bag of words" in named and ">Base<" not in named
            asked, url = {"data": [["half \ud83d"], []]}, f"{app.url.rstrip('/')}/gradio_api/call/answers"
            of_json = {"Content-Type": "application/json"}
            with urlopen(Request(url, json.dumps(asked).encode(), of_json), timeout=30) as begun:
                number = json.load(begun)["event_id"]
            with urlopen(f"{url}/{number}", timeout=30) as answer:
                assert b'"text": "half \\ufffd", "base": {"label"' in answer.read()
            for wrong in (None, 5, [], ["a"] * 65):
                with pytest.raises(AppError, match="Give from 1 to 64 texts at once"):
                    client.predict(wrong, None, api_name="/answers")
            many = client.predict("so\nbad", None, False, ["tuned", "base"], api_name="/compare_many")
            assert "2 tweets" in many[0]
            outcome, who = client.predict("so zorgle", "positive", ["tuned"], api_name="/add_to_index")
            assert "Added." in outcome and who["value"] == ["tuned", "taught"]
            assert "Rests on 1" in client.predict("zorgle!", ["taught"], api_name="/compare")
        finally:
            client.close()
