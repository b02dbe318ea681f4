"""The benchmarks of bases, forecasts and forgetting, by the commands that a user would give."""

import contextlib
import io
import json

import pytest

from benchmarks import audit, bases, doctor, forecasts, forgetting, results, search, sharing, tables
from inference.common.intervals import Interval
from inference.common.store import read_jsonl
from tests.support import tweets, work_here, write_csv
from training.cli.main import main
from training.runs import process
from training.studies import forecast as forecasting
from training.studies.forecast_order import Forecast, Target

pytestmark = pytest.mark.slow
WORDS = ("@united", "Coachella", "driverless", "@united and #Apple")
SMALL = {"n_train": "48", "n_validation": "30", "n_test": "8", "epochs": "1", "precision": "float32"}


@pytest.fixture(autouse=True)
def given(tmp_path, monkeypatch):
    """Let commands work in this process, and return each one that was given."""
    monkeypatch.setattr(results, "FOLDER", tmp_path / "benchmarks" / "results")
    (tmp_path / "benchmarks").mkdir()
    monkeypatch.setattr(results, "gflops", lambda seconds: 96.0)
    monkeypatch.setattr(process, "start", work_here)
    commands = []

    def here(home, *words, **changes):
        commands.append(words[0])
        words += tuple(word for name, value in changes.items() for word in ("--set", f"{name}={value}"))
        monkeypatch.setenv("TWEETTUNE_HOME", home)
        monkeypatch.setattr("sys.stdin", io.StringIO())
        with contextlib.redirect_stdout(io.StringIO()) as said:
            assert main([*words, "--json"]) == 0
        return json.loads(said.getvalue().splitlines()[-1])

    monkeypatch.setattr(results, "of_command", here)
    return commands


@pytest.fixture
def dataset(tmp_path):
    return str(write_csv(tmp_path / "t.csv", tweets(400, seed=5)))


def record_of(name):
    return json.loads((results.FOLDER / f"{name}.json").read_text())


def of(module, monkeypatch, tmp_path, **values):
    for name, value in {"KEPT": tmp_path / "kept", **values}.items():
        monkeypatch.setattr(module, name, value)


def test_both_bases_meet_the_same_rows_and_the_untouched_ones_ladder_is_measured_once(
    tmp_path, dataset, tiny_gpt2, monkeypatch, given
):
    rows = [(f"{text} {WORDS[at % 4]}", label) for at, (text, label) in enumerate(tweets(800, seed=6))]
    near = [(f"{text}!", label) for text, label in tweets(400, seed=5) if len(text) > 50][:40]
    rows[: len(near)] = near
    sizes = {"LABELS": (16, 32), "ASKED": 40, "TEXTS": 60, "SOURCE_ROWS": 200}
    subjects = {"SUBJECT_LABELS": 24, "SUBJECT_ROWS": 60, "SUBJECT_ASKED": 20}
    changes = {"SOURCE_CHANGES": SMALL | {"onnx": "false"}, "BASE": str(tiny_gpt2)}
    source = {"SOURCE": str(write_csv(tmp_path / "s.csv", rows))}
    of(bases, monkeypatch, tmp_path, **sizes, **subjects, **changes, **source)
    bases.domain(dataset)
    found = record_of("domain")
    assert [row["name"] for row in found["rows"]] == ["16 labels", "32 labels"]
    for row in found["rows"]:
        assert row["n"] == 40
        gain = row["instead"]["value"] - row["untouched"]["value"]
        assert row["gain"]["value"] == pytest.approx(gain), "on the same rows"
    assert found["adapted"]["domain"]["texts"] == 12
    assert not any(text in json.dumps(found) for text in ("prompt", tweets(1, seed=5)[0][0])), "no tweet"
    table = tables.measured(results.FOLDER / "domain.json")
    assert "| general text | 24 |" in table and "from the other base, %" in table
    assert given == ["adapt", "ladder", "ladder"]

    bases.transfer(dataset)
    found = record_of("transfer")
    assert given[3:] == ["train", "ladder", "ladder", "ladder"], "not the one that domain has measured"
    names = ["t.csv, 16 labels", "t.csv, 32 labels", "the subject of a tweet, 24 labels"]
    assert [(row["name"], row["n"]) for row in found["rows"]] == list(zip(names, (40, 40, 20), strict=True))
    before = {row["name"]: row["untouched"] for row in record_of("domain")["rows"]}
    assert [row["untouched"] for row in found["rows"][:2]] == list(before.values())
    first = {row["text"] for row in read_jsonl(bases.KEPT / "source.jsonl")}
    assert first and not [text for text in first if text.endswith("!")], "the leak gate has taken them out"
    second = [
        row for name in ("train", "test") for row in read_jsonl(bases.KEPT / "subjects" / f"{name}.jsonl")
    ]
    assert {row["label"] for row in second} == {"airlines", "festival", "cars"}, "not those of two subjects"
    assert len(second) == 80 and not [
        row for row in second if row["label"] == "cars" and "driver" in row["text"]
    ]
    [left_out] = found["left_out"]
    assert left_out.startswith(f"{200 - len(first)} of 200 tweets")


def test_a_subject_is_told_by_its_words_which_are_taken_out():
    texts = [
        "@USAirways is late",
        "self-driving #googlecars, wow",
        "apple car, driverless",
        "no subject",
        "Coachella",
    ]
    assert list(bases._with_subjects(texts, 10)) == [
        (texts[0], "is late", "airlines"),
        (texts[1], ", wow", "cars"),
    ]
    assert len(list(bases._with_subjects(texts, 1))) == 1


def test_what_is_forgotten_at_equal_accuracy_is_told_of_each_way(
    tmp_path, dataset, tiny_gpt2, monkeypatch, given
):
    ways = {name: {**changes, "epochs": "1"} for name, changes in forgetting.WAYS.items()}
    same = SMALL | {"onnx": "false", "batch_size": "8"}
    del same["epochs"]
    of(forgetting, monkeypatch, tmp_path, BASE=str(tiny_gpt2), WAYS=ways, SAME=same)
    forgetting.main(dataset)
    found = record_of("forgetting")
    assert [row["name"] for row in found["rows"]] == [*forgetting.WAYS]
    level, study = found["study"]["equal_accuracy"], found["study"]["runs"]
    assert [one["method"] for one in study] == ["lora", "full", "full"]
    for row, one in zip(found["rows"], study, strict=True):
        assert row["accuracy"]["value"] == pytest.approx(one["points"][-1]["accuracy"])
        assert row["accuracy"]["value"] >= 0 and max(p["accuracy"] for p in one["points"]) >= level
        assert float(row["after"]) == pytest.approx(one["general"]["after"], abs=1e-3)
    assert [row["name"].split()[0] for row in found["dial"]] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    start, end = found["dial"][0], found["dial"][-1]
    for way, one in zip(forgetting.WAYS, study, strict=True):
        assert start[way] == f"{100 * one['points'][0]['accuracy']:.1f} %, {one['points'][0]['bits']:.3f}"
        assert end[way].endswith(f"{one['points'][-1]['bits']:.3f}")
    assert f"Equal accuracy is {100 * level:.1f} %" in tables.measured(results.FOLDER / "forgetting.json")
    assert given == ["train", "train", "train", "forgetting"]
    forgetting.main(dataset)
    assert len(given) == 4, "nothing is measured twice"


def test_what_is_shared_gives_the_same_answers_and_its_time_stands_beside_the_other(
    tmp_path, dataset, tiny_gpt2, monkeypatch, given
):
    monkeypatch.setattr(sharing, "BASE", str(tiny_gpt2))
    monkeypatch.setattr(sharing, "TURNS", 2)
    sharing.main(dataset)
    found = record_of("sharing")
    prompt, pair = found["rows"]
    assert prompt["name"].startswith("examples of ") and "layers shared" in pair["name"]
    for row in found["rows"]:
        assert row["ratio"]["low"] <= row["ratio"]["value"] <= row["ratio"]["high"]
        assert row["second_ms_a_tweet"] > row["first_ms_a_tweet"] > 0
    assert given == ["train"] and "| ratio |" in tables.measured(results.FOLDER / "sharing.json")


def test_a_search_makes_more_trials_an_hour_than_trainings_without_the_cache(
    tmp_path, dataset, tiny_gpt2, monkeypatch, given
):
    rows = search.ROWS | {"n_train": "48", "n_validation": "40", "precision": "float32"}
    of(search, monkeypatch, tmp_path, BASE=str(tiny_gpt2), TRIALS=3, SEEDS=(1, 2), ROWS=rows)
    search.main(dataset)
    found = record_of("search")
    ours, others = found["rows"]
    assert ours["name"].startswith("a search of 3 trials") and others["name"].startswith("2 trainings")
    assert len(found["seconds"]["trials"]) == 3 and found["seconds"]["preparation"] > 0
    assert ours["seconds_a_trial"] > sum(found["seconds"]["trials"]) / 3, "the preparation counts"
    assert all(
        row["trials_an_hour"] == pytest.approx(3600 / row["seconds_a_trial"]) for row in (ours, others)
    )
    assert "times as many trials an hour" in tables.measured(results.FOLDER / "search.json")
    assert not found["data"]["location"].startswith("/")
    assert given == ["tune", "train", "train"]


def test_labels_made_wrong_are_among_the_flags_and_counted(dataset, tiny_gpt2, monkeypatch):
    for name, value in {"BASE": str(tiny_gpt2), "ROWS": 200, "SEEDS": (1, 2), "MADE_WRONG": (0, 0.1)}.items():
        monkeypatch.setattr(audit, name, value)
    audit.main(dataset)
    whole, wrong = record_of("audit")["rows"]
    assert (whole["name"], wrong["name"]) == ("0 % made wrong", "10 % made wrong")
    assert whole["made_errors_found"] is None and wrong["flags_a_draw"] > whole["flags_a_draw"]
    first = wrong["of_the_first_20"]
    assert first["part"] > first["of"] / 2, "the first are the most probable"
    assert f"{first['part']} of {first['of']} (" in tables.measured(results.FOLDER / "audit.json")


def test_a_fault_of_the_base_is_no_fault_found_and_healthy_draws_have_a_row():
    records = [
        {"fault": "leak", "found": ["leak", "upper case"]},
        {"fault": "leak", "found": ["upper case"]},
        {"fault": "healthy", "found": ["upper case"], "seed": 1, "accuracy": 0.9},
        {"fault": "healthy", "found": ["leak"], "seed": 2, "accuracy": 0.9},
        {"fault": "under-fitting", "found": ["under-fitting"], "seed": 1, "accuracy": 0.8},
        {"fault": "under-fitting", "found": [], "seed": 2, "accuracy": 0.89},
    ]
    row = doctor._row("leak", records)
    half = results.share(1, 2)
    assert row["found"] == row["false_alarms"] == row["this_or_another_fault_found"] == half
    assert doctor._any_fault(records[2:4]) == half
    short = doctor._row("under-fitting", records)
    assert short["found"] == results.share(1, 1) and short["made_by"].endswith("1 of 2 did harm")


@pytest.fixture
def few(tmp_path, dataset, tiny_gpt2, monkeypatch):
    small = {"base": str(tiny_gpt2), "depth": "3", "trunk_layers": "2", "batch_size": "16", "epochs": "1"}
    sizes = {"MORE": dataset, "DRAWS": 1, "TRAIN": 160, "VALIDATION": 50, "TEST": 6, "MOST": 128}
    small = forecasts.SMALL | small | {"precision": "float32", "learning_rate": "3e-3"}
    recipes = {"one": {}, "two": {"state_noise": "0"}, "three": {}}
    of(forecasts, monkeypatch, tmp_path, SMALL=small, RECIPES=recipes, **sizes)
    for name, value in {"SIZES": 4, "SEEDS": 2, "LEAST_STEPS": 4, "RESAMPLES": 20}.items():
        monkeypatch.setattr(forecasting, name, value)


def test_each_forecast_stands_beside_its_real_run_and_a_second_go_measures_nothing(few, dataset, monkeypatch):
    intervals = [Interval(0.5, 0.0, 1.0), Interval(0.5, 0.001, 0.002), None]

    def forecast(run, log):
        forecasting.forecast(run, log)
        real = Forecast.read(run.path)
        assert real.points[-1].labels == 128 and real.n_validation == 50
        interval = intervals.pop(0)
        targets = (Target(labels=160, accuracy=interval, minutes=1),) if interval else ()
        refused = "" if interval else "no curve fits the points"
        found = Forecast(recipe="x", n_validation=50, points=real.points, targets=targets, refused=refused)
        found.write(run.path)

    monkeypatch.setattr(forecasts, "forecast", forecast)
    forecasts.main(dataset)
    found = record_of("forecasts")
    first, second, third = found["forecasts"]
    assert first["held"] and not second["held"] and "real" not in third
    assert first["labels"] == 160 and (first["real"] * 50) == pytest.approx(round(first["real"] * 50))
    assert [(row["name"], row["refused"]) for row in found["rows"]] == [
        *(("t.csv, one", 0), ("t.csv, two", 0), ("t.csv, three", 1), ("all", 1))
    ]
    assert found["base"]["name"] and found["rows"][-1]["forecasts"] == 3
    assert "1 of 2 (9 to 91 %)" in tables.measured(results.FOLDER / "forecasts.json")
    parts = [{row["text"] for row in read_jsonl(file)} for file in forecasts.KEPT.glob("t.csv-1/*.jsonl")]
    assert sorted(map(len, parts)) == [6, 50, 160] and len(set.union(*parts)) == 216
    monkeypatch.setattr(forecasts, "forecast", None)
    forecasts.main(dataset)
    with pytest.raises(SystemExit, match="holds what was measured of other data or recipes"):
        forecasts.main("other.csv")


def test_the_share_of_intervals_that_hold_leaves_refused_ones_out():
    def one(value, real, held):
        interval = Interval(value, value - 0.04, value + 0.06).to_json()
        return {"refused": "", "forecast": interval, "real": real, "held": held}

    row = forecasts._row(
        "all", [one(0.7, 0.72, True), one(0.6, 0.7, False), {"refused": "no curve fits the points"}]
    )
    assert row["forecasts"] == 3 and row["refused"] == 1
    assert row["intervals_that_hold_the_real_run"] == results.share(1, 2)
    assert row["points_off_on_average"] == pytest.approx(6.0)
    assert row["points_from_low_to_high"] == pytest.approx(10.0)
