"""What is told of a training before it exists: more work takes longer, and nothing is loaded for it."""

import subprocess
import sys

import pytest

from tests.support import REPOSITORY
from training.fit import beforehand as module
from training.fit.beforehand import beforehand
from training.recipes import available_recipes, change, load_recipe

QUICK = change(load_recipe("quick"), {"base": "embedded"})


@pytest.fixture(autouse=True)
def rate(monkeypatch):
    monkeypatch.setattr(module, "_gflops", lambda: 170.0)


def test_quick_takes_minutes_and_trains_the_upper_third():
    found = beforehand(QUICK)
    assert 100 < found.low_s < 419 < found.high_s < 1200, "419 s were measured at this rate"
    assert (found.trained, found.layers) == (10, 30) and 1e9 < found.memory_bytes < 3e9


@pytest.mark.parametrize(
    "more",
    [
        {"n_train": "4000"},
        {"epochs": "9"},
        {"trunk_layers": "0", "state_noise": "0"},
        {"base": "openai-community/gpt2-medium"},
    ],
)
def test_more_work_takes_longer(more):
    assert beforehand(change(QUICK, more)).high_s > 1.2 * beforehand(QUICK).high_s


def test_uncounted_rows_have_no_time_and_an_unknown_base_no_estimate():
    found = beforehand(change(QUICK, {"n_train": "0"}))
    assert (found.low_s, found.high_s) == (0, 0) and found.memory_bytes > 1e9
    assert beforehand(change(QUICK, {"base": "ada/own"})) is None


@pytest.mark.parametrize("name", list(available_recipes()))
def test_every_recipe_has_an_estimate(name):
    assert beforehand(load_recipe(name)).layers > 0


def test_nothing_heavy_is_loaded():
    code = "import sys, training.fit.beforehand; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
