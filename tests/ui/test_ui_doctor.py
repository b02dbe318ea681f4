"""Train shows what is wrong with a run, and a button fills the form with the changed recipe."""

import json
import shutil

import pytest

from inference.common.store import write_text
from tests.support import REPOSITORY
from tests.support.served import recipe_form
from training.doctor.diagnose import changed, examine
from training.recipes import change, save_recipe
from training.runs.run import Run
from ui.train.doctor import check_up
from ui.train.recipe_files import filled_in
from ui.train.view import read_run, run_panel
from ui.translations import speaking


@pytest.fixture
def run(tmp_path):
    """Return yesterday's run with 30 validation rows of 100."""
    run = Run(shutil.copytree(REPOSITORY / "tests" / "fixtures" / "2026-11" / "run", tmp_path / "demo"))
    events = [json.loads(line) for line in (run.path / "events.jsonl").read_text().splitlines()]
    data = next(event for event in events if event["kind"] == "data")
    data["rows"]["validation"]["used"] = 30
    write_text(run.path / "events.jsonl", "".join(json.dumps(event) + "\n" for event in events))
    return run


def test_the_panel_tells_the_faults_and_the_change_in_the_visitors_language(run):
    drawn = run_panel(read_run(run), now=0.0)
    assert "too few validation rows to choose by: 30" in drawn and 'data-action="take"' in drawn
    assert "Validation rows: all" in drawn, "0 stands for all of them"
    with speaking("pt-BR"):
        drawn = run_panel(read_run(run), now=0.0)
    assert (
        "Há linhas de validação de menos" in drawn
        and "Linhas de validação: todas" in drawn
        and "too few" not in drawn
    )
    assert check_up((), run, "running") == "" and "Nothing wrong" in check_up((), run, "finished")


def test_what_the_button_puts_into_the_form_is_the_changed_recipe(run):
    form = recipe_form("smoke")
    expected = changed(run.recipe, examine(run))
    assert (run.recipe.n_validation, expected.n_validation) == (120, 0)
    *_, base, _, name = filled_in(form, expected)[:8]
    shown = form.recipe(name, filled_in(form, expected)[8:], base=base, dataset=expected.dataset)
    assert shown.model_dump(exclude={"description"}) == expected.model_dump(exclude={"description"})


def test_a_student_has_no_button_since_the_form_has_no_teacher(run):
    save_recipe(change(run.recipe, {"teacher": "runs/other"}), run.path / "recipe.toml")
    found = examine(Run(run.path))
    drawn = check_up(found, Run(run.path), "finished")
    assert "too few" in drawn and "data-action" not in drawn
