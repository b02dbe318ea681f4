"""A forecast trains tiny runs on one trunk, and says what follows, or why nothing does."""

import json

import numpy as np
import pytest

from inference.common.errors import DataError
from inference.common.intervals import Interval
from tests.support import tweets, write_csv
from tests.support.tiny import tiny_recipe
from training.cli.main import main
from training.recipes import change
from training.runs.log import RunLog
from training.runs.process import Cancelled
from training.studies import forecast as forecasting
from training.studies.forecast import forecast
from training.studies.forecast_order import Forecast, ForecastOrder, Point, Target

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recipe(tiny_gpt2, tmp_path_factory):
    settings = {"n_train": 300, "n_validation": 60, "n_test": 8, "batch_size": 32, "learning_rate": 3e-3}
    folder = tmp_path_factory.mktemp("data")
    return tiny_recipe(tiny_gpt2, folder, rows=600, seed=9, epochs=1.0, **settings)


def run_of(recipe, **more):
    return ForecastOrder(recipe=recipe.model_dump(), **more).create(name="tiny")


@pytest.fixture(scope="module")
def stopped_once(recipe, tmp_path_factory):
    """Return the run of a forecast that was stopped at its second tiny run, and how many rows each had."""
    right, counts, shares = forecasting._right, [], []

    def stopping(some, place, report, seed):
        counts.append((len(some.train), seed))
        shares.append((report._done, report._part, report._total))
        if len(counts) == 2:
            raise Cancelled
        return right(some, place, report, seed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWEETTUNE_HOME", str(tmp_path_factory.mktemp("home")))
        for name, value in (("_right", stopping), ("LEAST_STEPS", 4), ("SIZES", 4), ("SEEDS", 2)):
            patch.setattr(forecasting, name, value)
        run = run_of(recipe, most=128)
        with pytest.raises(Cancelled):
            forecast(run, RunLog(run.path))
        forecast(run, RunLog(run.path))
    return run, counts, shares


def test_tiny_runs_rise_and_a_stopped_forecast_goes_on_with_the_next(stopped_once):
    run, counts, shares = stopped_once
    sizes = [32, 51, 81, 128]
    expected = [(n, seed) for n in sizes for seed in (42, 43)]
    assert list(dict.fromkeys(counts)) == expected, "in this order"
    assert len(counts) == len(expected) + 1 and counts.count(expected[1]) == 2, (
        "the one at work is begun again"
    )
    rows = 2 * sum(sizes)
    assert shares[:3] == [(0, 32, rows), (32, 32, rows), (0, 32, rows - 32)], "of what is left"
    found = Forecast.read(run.path)
    assert [point.labels for point in found.points] == sizes
    assert [len(point.accuracies) for point in found.points] == [2] * 4 and found.n_validation == 60
    record = json.loads((run.path / "forecast.json").read_text())
    assert record["sentences"] == found.sentences()
    assert (run.path / "forecast.png").read_bytes().startswith(b"\x89PNG")
    assert not list(run.path.glob("trunk-*")) and not (run.path / "tiny").exists()


class Ready:
    """A preparation of which only the figures of the estimate are asked."""

    def __init__(self, recipe):
        self.recipe, self.train = recipe, range(800)


@pytest.fixture
def a_minute_a_hundred(monkeypatch):
    monkeypatch.setattr(forecasting, "_minutes", lambda _, labels: labels / 100)


def made_right(truth, sizes, *, rows=1000):
    random = np.random.default_rng(0)
    shape = (len(sizes), 3, rows)
    return random.random(shape) < np.array([truth(n) for n in sizes])[:, None, None]


def test_what_is_said_holds_the_truth_and_tells_how_far_it_goes(recipe, a_minute_a_hundred):
    sizes = [32, 53, 88, 146, 242, 400]

    def truth(n):
        return 0.8 - 1.5 * n**-0.5

    found = forecasting._fitted(
        Ready(recipe), change(recipe, {"n_train": 1000}), sizes, made_right(truth, sizes), 6000
    )
    assert [one.labels for one in found.targets] == [1000, 6000]
    for one in found.targets:
        assert one.accuracy.low < truth(one.labels) < one.accuracy.high
        assert one.accuracy.high - one.accuracy.low < 0.25
    sentences = found.sentences()
    assert sentences[0].startswith("With 1,000 labels: ") and "in about 10 min" in sentences[0]
    assert (
        sentences[2]
        == "That is 15 times past the largest run (400 labels): a direction rather than a figure."
    )
    assert len(sentences) == 4 and "more point of accuracy" in sentences[3]
    widths = [one.accuracy.high - one.accuracy.low for one in found.targets]
    assert widths[1] > widths[0], "the farther, the less sure"


def test_a_small_rise_is_seen_since_all_runs_answer_the_same_rows(recipe, a_minute_a_hundred):
    sizes, random = [32, 53, 88, 146, 242, 400], np.random.default_rng(0)
    shares = np.linspace(0.55, 0.61, 6)[:, None, None]
    right = random.random(200) + random.normal(0, 0.1, (6, 3, 200)) < shares
    found = forecasting._fitted(Ready(recipe), recipe, sizes, right, 6000)
    assert not found.refused, "each row is about as hard for every run"
    shuffled = random.permuted(right, axis=2)
    assert forecasting._fitted(Ready(recipe), recipe, sizes, shuffled, 6000).refused, (
        "by other rows it is chance"
    )


def test_a_curve_that_does_not_rise_is_no_forecast(recipe, a_minute_a_hundred, capsys):
    sizes = [32, 53, 88, 146, 242, 400]
    found = forecasting._fitted(
        Ready(recipe), recipe, sizes, made_right(lambda n: 0.6, sizes, rows=200), 6000
    )
    assert found.refused and not found.targets
    assert found.sentences() == [
        "Nothing can be forecast: accuracy does not rise with the labels by more than chance. The largest "
        "run had 400 labels."
    ]


def test_too_few_rows_are_one_sentence(recipe, tmp_path):
    few = change(recipe, {"dataset": str(write_csv(tmp_path / "few.csv", tweets(40)))})
    with pytest.raises(
        DataError, match=r"needs 128 training rows and 50 validation rows or more \(found \d+ "
    ):
        forecast(run := run_of(few), RunLog(run.path))


def test_a_largest_run_that_is_too_small_is_refused_before_anything(home, capsys):
    assert main(["forecast", "quick", "--most", "40"]) == 1
    assert "--most is 40. Give 128 labels or more" in capsys.readouterr().err
    assert not (home / "runs").exists()


def test_a_next_point_that_no_number_of_labels_gives_is_said():
    point = Point(labels=400, accuracies=(0.7, 0.71))
    target = Target(labels=1000, accuracy=Interval(0.72, 0.7, 0.74), minutes=3)
    found = Forecast(recipe="x", n_validation=500, points=(point,), targets=(target,))
    assert found.sentences()[-1].startswith("By these curves no number of labels up to 100,000 gives")
