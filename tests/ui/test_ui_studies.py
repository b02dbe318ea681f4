"""Searches and forecasts as runs of the Train tab; curves laid over each other; recipes as files."""

import json
import re
import shutil
from argparse import Namespace
from dataclasses import replace
from html import escape, unescape
from pathlib import Path

import pytest

from inference.common.errors import DataError, RecipeError, RunError
from inference.common.intervals import Interval
from inference.common.store import append_event, write_json
from tests.support.scored_files import write_rows
from tests.support.served import recipe_form, with_run
from tests.ui.test_ui_render import Checker
from training.audit.findings import Audit, Finding, Flag
from training.cli.studies import watch
from training.evaluate.scores import Bits
from training.ladder.order import Order
from training.recipes import change, load_recipe, save_recipe
from training.runs.run import (
    ADAPT,
    AUDIT,
    FORECAST,
    FORGETTING,
    TUNE,
    create_run,
    create_run_of,
    find_run,
    long_runs,
    running,
)
from training.studies.adapt_order import Adapted, AdaptOrder, Generation
from training.studies.audit_order import AuditOrder
from training.studies.forecast_order import Forecast, Point, Target
from training.studies.forgetting_order import DialPoint, Forgetting, Forgotten
from training.studies.order import Search, SearchOrder, TrialResult
from training.studies.pictures import adapted_picture
from ui import Workbench
from ui.account import SpaceSettings
from ui.train import tab as train
from ui.train.audit import audited_by
from ui.train.recipe_files import _pressed, filled_in
from ui.train.view import read_run, run_panel
from ui.translations import speaking

SEARCH = Search(
    recipe="quick",
    n_validation=500,
    best=3,
    optimism=0.012,
    trials=(
        TrialResult(number=0, state="complete", params={}, macro_f1=0.7),
        TrialResult(number=1, state="pruned", params={}, macro_f1=0.5),
        TrialResult(number=3, state="complete", params={}, macro_f1=0.74, by_seed=(0.73, 0.75)),
    ),
)
FORECASTS = [
    Forecast(
        recipe="quick",
        n_validation=500,
        points=(Point(labels=400, accuracies=(0.7, 0.71)),),
        targets=(Target(labels=9000, accuracy=Interval(0.75, 0.7, 0.8), minutes=12),),
        next_point=4000,
    ),
    Forecast(
        recipe="quick",
        n_validation=500,
        points=(Point(labels=400, accuracies=(0.7, 0.71)),),
        refused="accuracy does not rise with the labels by more than chance",
    ),
]


def ended(kind, found, name):
    run = create_run_of(kind, {"recipe": load_recipe("quick").model_dump()}, name="quick")
    write_json(run.path / "status.json", {"state": "finished"})
    write_json(run.path / f"{name}.json", found.to_json())
    return run


def trained(name, loss):
    run = create_run(change(load_recipe("smoke"), {"name": name}))
    for step in (5, 10):
        append_event(run.path / "events.jsonl", "step", step=step, total_steps=10, epoch=1.0, loss=loss)
        append_event(
            run.path / "events.jsonl", "validation", step=step, loss=loss, accuracy=0.6, macro_f1=0.5
        )
    write_json(run.path / "status.json", {"state": "finished"})
    return run


@pytest.mark.parametrize("kind", [AUDIT, TUNE, FORECAST])
def test_a_study_is_started_as_a_run_and_stands_in_the_list(home, monkeypatch, kind):
    begun = []
    monkeypatch.setattr(train, "start", lambda run, max_minutes: begun.append((run.id, run.kind)))
    run = train.begin(Workbench(), load_recipe("quick"), kind=kind)
    assert begun == [(run.id, kind)] and running() == run and [one.id for one in long_runs()] == [run.id]
    assert run.order["recipe"]["name"] == "quick"
    if kind == TUNE:
        assert SearchOrder.from_json(run.order).trials == train.TRIALS
    panel, runs = train.draw(Workbench(), "")
    assert run.id in panel and run.id in runs and "tt-tag" in runs and ">quick " in runs
    write_json(run.path / "status.json", {"state": "cancelled"})
    assert 'data-action="resume"' in train.draw(Workbench(), run.id)[0]
    with pytest.raises(RunError, match="There is no run"):
        train.act(Workbench(), "use", run.id)
    assert train.act(Workbench(), "delete", run.id) == "" and long_runs() == []


def test_a_base_is_adapted_to_an_uploaded_file_and_then_is_a_base(home, monkeypatch, tmp_path):
    begun = []
    monkeypatch.setattr(train, "start", lambda run, max_minutes: begun.append(run.kind))
    rows = [{"day": f"{day}", "words": f"a text without a label, of the day {day}"} for day in range(30)]
    file = write_rows(tmp_path / "Own posts.csv", rows)
    recipe = change(load_recipe("quick"), {"dataset": "embedded", "label_column": "sentiment"})
    run = train.adapt(Workbench(), recipe, str(file))
    order = AdaptOrder.from_json(run.order)
    assert begun == [ADAPT] and Path(order.corpus).name == "Own posts.csv" and order.text_column == "words"
    assert (order.settings.dataset, order.settings.label_column) == ("embedded", "sentiment")
    assert run.id.endswith("-adapt-Own-posts")
    with pytest.raises(RunError, match=r"may have 20 texts here \(found 30\)"):
        train.adapt(Workbench(settings=SpaceSettings(max_train_rows=20)), recipe, str(file))
    with pytest.raises(DataError, match="No file was uploaded"):
        train.adapt(Workbench(), recipe, None)
    assert begun == [ADAPT] and 'data-action="onward"' not in run_panel(read_run(run), now=0.0)
    write_json(run.path / "status.json", {"state": "finished"})
    assert 'data-action="onward"' in run_panel(read_run(run), now=0.0)
    filled = _pressed(recipe_form("quick"), "onward", run.id, 20)
    assert filled[5] == str(run.artifact) and len(filled) == 20


def test_what_finished_trainings_forgot_is_studied_from_their_panel(home, monkeypatch, trained_gpt2):
    begun = []
    monkeypatch.setattr(train, "start", lambda run, max_minutes: begun.append(run.order["runs"]))
    with_run(home, trained_gpt2)
    shutil.copytree(home / "runs" / "first", home / "runs" / "second")
    drawn = run_panel(read_run(find_run("first")), now=0.0)
    assert 'data-action="forgetting"' in drawn and 'data-action="onward"' in drawn
    assert 'data-action="forgetting"' not in run_panel(read_run(find_run("first")), now=0.0, may=False)
    alone, both = (train.act(Workbench(), "forgetting", "first", other) for other in ("", "second"))
    places = [str(home / "runs" / name) for name in ("first", "second")]
    assert begun == [places[:1], places] and alone != both
    with pytest.raises(RunError, match="There is no run 'third'"):
        train.act(Workbench(), "forgetting", "first", "third")
    write_json(home / "runs" / "second" / "status.json", {"state": "failed"})
    shutil.rmtree(home / "runs" / "second" / "artifact")
    with pytest.raises(RunError, match="second is failed: it has no model"):
        train.act(Workbench(), "forgetting", "second")


def test_a_ladder_stands_in_the_list_and_can_be_cancelled_and_resumed_there(home):
    run = Order(dataset="embedded").create(name="tweets")
    write_json(run.path / "status.json", {"state": "running", "progress": 0.25, "time_left_s": 600})
    panel, runs = train.draw(Workbench(), run.id)
    assert run.id in panel and run.id in runs and 'data-action="cancel"' in panel, panel
    write_json(run.path / "status.json", {"state": "cancelled"})
    assert 'data-action="resume"' in train.draw(Workbench(), run.id)[0]


def test_a_search_shows_its_picture_what_it_found_and_gives_its_settings(home):
    run = ended(TUNE, SEARCH, "search")
    drawn = run_panel(read_run(run), now=0.0)
    Checker(drawn)
    assert "Validation macro-F1 by trial" in drawn and 'data-action="take"' in drawn
    assert drawn.count('class="dot') == 5 and 'data-tooltip="by seed, 3: 73.0\u00a0%"' in drawn
    assert "Too few trials" in drawn
    assert "Trial 3 is the best of 3: validation macro-F1 74.0 % on average over 2 seeds" in drawn
    assert 'data-action="use"' not in drawn and 'data-action="take"' not in run_panel(
        read_run(run), now=0.0, may=False
    )
    with speaking("pt-BR"):
        drawn = run_panel(read_run(run), now=0.0)
    assert "A tentativa 3 é a melhor de 3: macro-F1 de 74,0 %" in drawn
    assert not re.search(r"\b(the|of|were|has|Only)\b", re.sub("<.*?>", "", drawn))


@pytest.mark.parametrize("found", FORECASTS)
def test_a_forecast_shows_what_it_says_or_why_it_says_nothing(home, found):
    run = ended(FORECAST, found, "forecast")
    drawn = run_panel(read_run(run), now=0.0)
    Checker(drawn)
    assert "tiny runs" in drawn and 'data-tooltip="tiny runs, 400: 71.0\u00a0%"' in drawn
    assert ("9,000 labels: 75.0" in drawn) is bool(found.targets)
    with speaking("pt-BR"):
        drawn = run_panel(read_run(run), now=0.0)
    assert not re.search(r"\b(the|of|With|labels|had)\b", re.sub("<.*?>", "", drawn)), drawn


def test_a_study_of_forgetting_is_drawn_as_dials_from_the_base_on(home):
    bits = Bits(before=1.1, after=1.3, change=Interval(0.2, 0.1, 0.3), characters=9000, texts=40)
    points = tuple(DialPoint(share=s, accuracy=a, bits=b) for s, a, b in ((0, 0.5, 1.1), (1, 0.7, 1.3)))
    one = Forgotten(run="a", method="lora", base="b", rows=500, rows_sha256="x", general=bits, points=points)
    run = ended(FORGETTING, Forgetting(runs=(one, replace(one, run="<b>"))), "forgetting")
    drawn = run_panel(read_run(run), now=0.0)
    Checker(drawn)
    assert drawn.count('class="line dashed') == 2 and "100\u00a0% of the change: 70.0\u00a0% right" in drawn
    steps = json.loads(unescape(re.search('data-steps="(.*?)"', drawn)[1]))
    assert len(steps) == 2 and steps[1].startswith(
        "a: 100\u00a0% of the change: 70.0\u00a0% right, 1.300 bits · <b>"
    )
    assert f"<output>{escape(steps[1])}</output>" in drawn
    with speaking("pt-BR"):
        assert "da mudança: 70,0\u00a0% certas, 1,300 bits" in run_panel(read_run(run), now=0.0)


def test_an_adaptation_shows_its_bits_and_how_both_models_go_on(home):
    bits = Bits(before=1.25, after=1.0, change=Interval(-0.25, -0.3, -0.2), characters=9000, texts=40)
    other = replace(bits, before=0.5, after=0.6, change=Interval(0.1, 0.05, 0.2))
    spoken = (Generation(prompt="<b> so", before="it was", after="\u202eit is"),)
    found = Adapted(base="b", texts=900, tokens=9000, domain=bits, general=other, generations=spoken)
    run = ended(ADAPT, found, "adapt")
    drawn = run_panel(read_run(run), now=0.0)
    Checker(drawn)
    assert "Bits per character" in drawn and "width:100.0%" in drawn and "width:40.0%" in drawn
    assert "&lt;b&gt; so" in drawn and "How both go on" in drawn and 'data-action="onward"' in drawn
    with speaking("pt-BR"):
        drawn = run_panel(read_run(run), now=0.0)
    assert "Bits por caractere" in drawn and "1,250" in drawn
    assert (
        "How both" not in train.draw(Workbench(), ended(ADAPT, replace(found, generations=()), "adapt").id)[0]
    )
    assert adapted_picture(found).startswith(b"\x89PNG")


def test_an_audit_shows_what_it_found_and_leads_to_the_desk(home):
    flags = [("so good", "negative", "positive", "train"), ("<b>", "neutral", "", "test")]
    found = Audit(
        data="x",
        rows={"train": 1200, "validation": 90, "test": 80},
        classes={"negative": 700, "neutral": 400, "positive": 100},
        findings=(Finding("conflicts", 1, "Texts that come with different labels: 1 (2 rows).", ("<b>",)),),
        flags=tuple(Flag(said, label, other, "", split) for said, label, other, split in flags),
    )
    run = ended(AUDIT, found, "audit")
    drawn = run_panel(read_run(run), now=0.0)
    Checker(drawn)
    assert "1,200" in drawn and "700, 1 flagged" in drawn and "negative → positive" in drawn
    assert re.search(r"negative → positive</span><span class=\"track tt-l-positive\"", drawn), (
        "the suggestion's"
    )
    assert f'data-action="check" data-value="{run.id}"' in drawn and "1 labels of training rows" in drawn
    with speaking("pt-BR"):
        drawn = run_panel(read_run(run), now=0.0)
    assert "700, 1 em dúvida" in drawn and "Textos que vêm com" in drawn
    assert not re.search(r"\b(the|of|with|rows|labels)\b", re.sub("<.*?>", "", drawn)), drawn
    again, recipe = audited_by(run.id)
    assert again == found and recipe.name == "quick"
    (run.path / "audit.json").unlink()
    with pytest.raises(RunError, match="is finished: it has found nothing yet"):
        audited_by(run.id)
    with pytest.raises(RunError, match="There is no run"):
        audited_by("../x")


def test_an_audit_of_a_shared_space_reads_no_more_rows_than_a_training_may(home, monkeypatch):
    monkeypatch.setattr(train, "start", lambda run, max_minutes: None)
    recipe = change(load_recipe("quick"), {"n_train": 0})
    for most, rows in ((0, 2000), (300, 300), (9000, 2000)):
        workbench = Workbench(settings=SpaceSettings(max_train_rows=most))
        order = AuditOrder.from_json(train.begin(workbench, recipe, kind=AUDIT).order)
        assert order.label_rows == rows


def test_a_torn_result_of_a_study_leaves_the_run_to_be_looked_at(home):
    run = ended(TUNE, SEARCH, "search")
    (run.path / "search.json").write_text('{"recipe"')
    assert "finished" in run_panel(read_run(run), now=0.0)


@pytest.mark.parametrize(
    ("kind", "found", "emptied"),
    [(TUNE, SEARCH, {"best": 9}), (TUNE, SEARCH, {"trials": []}), (FORECAST, FORECASTS[0], {"points": []})],
)
def test_a_result_that_was_edited_so_that_it_says_nothing_is_none(home, kind, found, emptied):
    run = ended(kind, found, kind if kind == FORECAST else "search")
    write_json(run.path / found.FILE, {**found.to_json(), **emptied})
    assert type(found).read(run.path) is None and "finished" in run_panel(read_run(run), now=0.0)
    with pytest.raises(RunError, match=rf"has no {found.FILE} that can be used\. Start the {kind} again\."):
        watch(run, Namespace(json=True))


def test_two_runs_are_laid_over_each_other_and_apart_again(home):
    first, second = trained("first", 0.5), trained("second", 0.9)
    study, curveless = ended(TUNE, SEARCH, "search"), create_run(change(load_recipe("smoke"), {"name": "x"}))
    write_json(curveless.path / "status.json", {"state": "failed"})
    alone, _ = train.draw(Workbench(), first.id)
    assert "dashed" not in alone and f'data-action="over" data-value="{second.id}"' in alone
    assert (
        study.id not in alone
        and curveless.id not in alone
        and f'data-action="over" data-value="{first.id}"' not in alone
    )
    both, _ = train.draw(Workbench(), first.id, over=second.id)
    Checker(both)
    assert both.count('class="line dashed') == 4 and "second, train 0.9" in both
    assert 'data-action="over" data-value=""' in both
    for odd in (first.id, study.id, "../x"):
        assert "dashed" not in train.draw(Workbench(), first.id, over=odd)[0]


@pytest.mark.parametrize("dataset", ["auto", "embedded", "ada/tweets", "imdb"])
def test_a_recipe_comes_back_from_its_file_through_the_form(tmp_path, dataset):
    form = recipe_form("quick")
    recipe = change(
        load_recipe("lora"), {"dataset": dataset, "base": "ada/gpt2", "text_column": "t", "epochs": 7}
    )
    save_recipe(recipe, tmp_path / "mine.toml")
    kind, hub, text_column, label_column, names, base, _, name, *rest = filled_in(
        form, load_recipe(tmp_path / "mine.toml")
    )
    values = (kind, hub["value"], None, text_column, label_column, names, base, "quick", *rest)
    again = train._recipe(form, values)
    same = {**recipe.model_dump(), "name": "quick", "description": load_recipe("quick").description}
    assert again.model_dump() == same and name == "lora"


@pytest.mark.parametrize("path", ["/etc/passwd", "tweets.csv", "~/x", "data/tweets.jsonl.gz", "../a"])
def test_a_recipe_of_a_file_leaves_the_servers_files_alone(path):
    kind, hub, *_ = filled_in(recipe_form("quick"), change(load_recipe("quick"), {"dataset": path}))
    assert (kind, hub["value"]) == ("file", "")


def test_an_odd_recipe_file_is_one_sentence(tmp_path):
    (tmp_path / "odd.toml").write_text("epoch = 3")
    with pytest.raises(RecipeError, match=r"There is no setting 'epoch'\. Did you mean epochs\?"):
        load_recipe(tmp_path / "odd.toml")
