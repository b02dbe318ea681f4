"""The Train tab's plain functions: what the form asks for, one run at a time, runs found by id alone."""

import os
import time
from dataclasses import replace

import psutil
import pytest

from inference.common.errors import DataError, RecipeError, RunError
from inference.common.store import write_json
from tests.support import wait_for
from tests.support.served import recipe_form
from training.recipes import Recipe, available_recipes, change, load_recipe
from training.runs.run import create_run, list_runs
from ui.account import SettingsError, SpaceSettings
from ui.state import Workbench, known_run, newest_artifact, run_of
from ui.train import tab as train
from ui.train.form import ELSEWHERE


@pytest.fixture(scope="module")
def form():
    return recipe_form("quick")


def running_now(run):
    """Make a run's folder say that this very process works on it."""
    write_json(run.path / "status.json", {"state": "running", "phase": "train", "progress": 0.5})
    created = psutil.Process().create_time()
    write_json(run.path / "worker.json", {"pid": os.getpid(), "created": created})


def test_the_form_holds_every_setting_once(form):
    assert sorted([*form.fields, *ELSEWHERE]) == sorted(Recipe.model_fields)


@pytest.mark.parametrize("name", list(available_recipes()))
def test_a_recipe_goes_through_the_form_unchanged(form, name):
    recipe = load_recipe(name)
    assert form.recipe(name, form.values(recipe)) == recipe


def test_what_is_changed_in_the_form_changes_the_recipe(form):
    values = dict(zip(form.fields, form.values(load_recipe("quick")), strict=True))
    values |= {
        "epochs": 5,
        "learning_rate": 1e-4,
        "stratified": True,
        "label_words": "bad, so so, good",
        "n_train": 0,
    }
    recipe = form.recipe("quick", list(values.values()), base="some/base", prompt_suffix="\\nFeeling:")
    assert (recipe.epochs, recipe.learning_rate, recipe.stratified, recipe.n_train) == (5.0, 1e-4, True, 0)
    assert recipe.label_words == ("bad", "so so", "good") and recipe.base == "some/base"
    assert recipe.prompt_suffix == "\nFeeling:"


@pytest.mark.parametrize(
    ("name", "value", "says"), [("epochs", None, "epochs is ''"), ("batch_size", 0, "of at least 1")]
)
def test_a_bad_value_in_the_form_is_one_sentence(form, name, value, says):
    values = dict(zip(form.fields, form.values(load_recipe("quick")), strict=True))
    with pytest.raises(RecipeError, match=says):
        form.recipe("quick", list({**values, name: value}.values()))


@pytest.mark.parametrize("name", ["{}", "../../{}", "x.toml", "", "/etc/passwd"])
def test_a_recipe_of_the_form_is_never_a_file_of_the_server(form, tmp_path, name):
    file = tmp_path / "mine.toml"
    file.write_text("epochs = 9")
    with pytest.raises(RecipeError, match="There is no recipe named"):
        form.recipe(name.format(file), form.values(load_recipe("quick")))


def test_data_is_chosen_by_kind(tmp_path, home):
    assert train.chosen_data("auto", "ignored", None) == "auto"
    assert train.chosen_data("embedded", "", None) == "embedded"
    assert train.chosen_data("hub", " owner/name ", None) == "owner/name"
    upload = tmp_path / "my tweets;.csv"
    upload.write_text("text,label\na,b\n")
    kept = train.chosen_data("file", "", str(upload))
    upload.unlink()
    assert kept.startswith(str(home)) and kept.endswith("/my tweets;.csv"), (
        "it outlives the upload, for a resume, under its own name"
    )
    with open(kept) as file:
        assert file.read() == "text,label\na,b\n"


@pytest.mark.parametrize("odd", ["", "/etc/passwd", "../secrets", "a/b/c", "owner/na me", "~/x"])
def test_a_hub_id_is_never_a_path(odd):
    with pytest.raises(DataError, match="owner/name"):
        train.chosen_data("hub", odd, None)


def test_a_folder_that_exists_is_no_hub_id(tmp_path, monkeypatch):
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="not the id of a data set"):
        train.chosen_data("hub", "owner/name", None)


def test_without_a_file_the_error_says_what_to_choose():
    with pytest.raises(DataError, match="CSV, TSV, JSONL or Parquet"):
        train.chosen_data("file", "", None)


def waiting_since(run, started_at):
    """Make a run's folder say that this very process waits for its turn."""
    running_now(run)
    write_json(run.path / "status.json", {"state": "queued", "started_at": started_at})


def test_a_run_that_waits_is_shown_with_its_place_and_can_be_cancelled(home):
    first, second, third = (create_run(load_recipe("smoke")) for _ in range(3))
    running_now(first)
    waiting_since(third, 20.0)
    waiting_since(second, 10.0)
    panel, runs = train.draw(Workbench(), third.id)
    assert "Place 2 in the queue, after smoke, smoke-2." in panel and 'data-action="cancel"' in panel
    assert "place 1" in runs and "place 2" in runs
    assert first.id in train.draw(Workbench(), "")[0], "who is at work is shown first"


def test_no_more_runs_may_wait_than_the_limit(home, monkeypatch):
    monkeypatch.setattr(train, "MOST_WAITING", 1)
    waiting_since(create_run(load_recipe("smoke")), 10.0)
    with pytest.raises(RunError, match=r"1 runs are waiting already, the most that may. Cancel one"):
        train.begin(Workbench(), load_recipe("smoke"))


def test_a_run_is_renamed_and_deleted_but_not_while_it_works_or_its_model_is_in_use(home):
    run, busy = create_run(load_recipe("smoke")), create_run(load_recipe("smoke"))
    running_now(busy)
    for action in ("rename", "delete"):
        with pytest.raises(RunError, match="at work, so it can't be"):
            train.act(Workbench(), action, busy.id, "x")
    bench = Workbench()
    bench.model = replace(bench.model, run=run)
    with pytest.raises(RunError, match=r"is in use\. Use another model first"):
        train.act(bench, "rename", run.id, "x")
    named = train.act(Workbench(), "rename", run.id, "My airlines/..")
    assert named.endswith("-My-airlines") and known_run(named).recipe.name == "smoke"
    assert train.act(Workbench(), "delete", named) == ""
    assert [one.id for one in list_runs()] == [busy.id]


def test_the_running_run_is_shown_first_and_a_chosen_one_before_it(home):
    old = create_run(load_recipe("smoke"))
    write_json(old.path / "status.json", {"state": "cancelled", "message": "Cancelled; it can be resumed."})
    now = create_run(load_recipe("quick"))
    running_now(now)
    panel, runs = train.draw(Workbench(), "")
    assert now.id in panel and old.id in runs and now.id in runs
    panel, _ = train.draw(Workbench(), old.id)
    assert "it can be resumed" in panel and now.id not in panel


def test_a_run_whose_process_died_is_interrupted_and_can_be_resumed(home):
    run = create_run(load_recipe("smoke"))
    write_json(run.path / "status.json", {"state": "running", "phase": "train", "progress": 0.5})
    write_json(run.path / "worker.json", {"pid": 2**22 - 3, "created": 1.0})
    panel, _ = train.draw(Workbench(), run.id)
    assert "interrupted" in panel and 'data-action="resume"' in panel


def test_runs_are_found_by_their_id_alone(home, tmp_path):
    run = create_run(load_recipe("smoke"))
    elsewhere = create_run(load_recipe("smoke"), run_dir=tmp_path / "elsewhere")
    assert known_run(run.id).path == run.path
    for other in (str(elsewhere.path), "../../elsewhere", "", "nope"):
        with pytest.raises(RunError, match="There is no run"):
            known_run(other)


def test_an_unfinished_run_has_no_model_to_use(home):
    run = create_run(load_recipe("smoke"))
    with pytest.raises(RunError, match="not finished"):
        train.act(Workbench(), "use", run.id)


def test_the_workbench_plans_to_load_the_newest_finished_run(home):
    assert Workbench().model.state == "none"
    runs = []
    for state in ("finished", "finished", "failed"):
        runs.append(create_run(load_recipe("smoke")))
        runs[-1].artifact.mkdir()
        write_json(runs[-1].path / "status.json", {"state": state})
        os.utime(runs[-1].path / "recipe.toml", (time.time(), time.time() + len(runs)))
    assert newest_artifact() == str(runs[1].artifact)
    model = Workbench().model
    assert (model.state, model.name) == ("loading", runs[1].id)
    assert run_of(str(runs[0].artifact)).id == runs[0].id
    assert run_of("owner/name") is None


def test_an_address_with_an_unknown_run_says_so(home):
    create_run(load_recipe("smoke"))
    panel, _ = train.draw(Workbench(), "nonsense<b>")
    assert "There is no run nonsense&lt;b&gt; here." in panel


def test_a_file_that_cannot_be_learned_from_leaves_no_run_behind(home, tmp_path):
    file = tmp_path / "few.csv"
    file.write_text("text,label\nso,a\n")
    with pytest.raises(DataError):
        train.begin(Workbench(), change(load_recipe("smoke"), {"dataset": str(file)}))
    assert list_runs() == []


def test_the_columns_of_a_file_are_guessed_by_what_they_hold(tmp_path):
    file = tmp_path / "odd.csv"
    rows = [f"{n},the customer said so much today {n},{'good' if n % 2 else 'bad'},x" for n in range(9)]
    file.write_text("Ticket #,Customer said,Mood (agent),notes\n" + "\n".join(rows))
    assert train.columns_of(str(file)) == (
        ("Ticket #", "Customer said", "Mood (agent)", "notes"),
        "Customer said",
        "Mood (agent)",
    )
    file.write_text("label,id,text\na,1,so long a text\nb,2,another\n")
    assert train.columns_of(str(file))[1:] == ("text", "label")


def test_a_first_run_is_trained_where_there_is_no_model_and_its_model_is_used(home, monkeypatch):
    used = []

    def trained(run, **_):
        run.artifact.mkdir()
        write_json(run.path / "status.json", {"state": "finished"})

    monkeypatch.setattr("ui.state.start", trained)
    monkeypatch.setattr(Workbench, "use", lambda self, source: used.append(source))
    bench = Workbench(settings=SpaceSettings(first_run="smoke", base="some/base"))
    bench.load_in_background()
    wait_for(lambda: used)
    (run,) = list_runs()
    assert used == [str(run.artifact)] and run.recipe.name == "smoke" and run.recipe.base == "some/base"
    write_json(run.path / "status.json", {"state": "failed"})
    Workbench(settings=SpaceSettings(first_run="smoke")).load_in_background()
    assert len(list_runs()) == 1, "it is tried once"
    with pytest.raises(SettingsError, match=r"FIRST_RUN is 'quik'\. Give "):
        SpaceSettings(first_run="quik")
