"""The benchmark of kills: a training that is stopped and resumed loses nothing, and a loss would be seen."""

import json

import pytest

from benchmarks import kills, results, tables
from inference.common.store import append_event
from tests.support import tweets, write_csv
from tests.support.tiny import tiny_recipe
from training.runs.run import create_run

STEP = {"step": 9, "loss": 0.5}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, tiny_gpt2):
    monkeypatch.setattr(results, "FOLDER", tmp_path / "benchmarks" / "results")
    monkeypatch.setattr(results, "gflops", lambda seconds: 96.0)
    (tmp_path / "benchmarks").mkdir()
    monkeypatch.setattr(kills, "base", lambda folder: tiny_gpt2)
    return write_csv(tmp_path / "t.csv", tweets(200, seed=5))


@pytest.mark.slow
def test_two_stops_lose_nothing(warm_starts):
    kills.main("", stops=2)
    record = json.loads((results.FOLDER / "kills.json").read_text())
    assert len(record["stops"]) == 2 and not any(stop["lost"] for stop in record["stops"])
    assert "0 of " in tables.measured(results.FOLDER / "kills.json")


def test_what_is_lost_is_seen(tmp_path, tiny_gpt2, monkeypatch):
    run = create_run(tiny_recipe(tiny_gpt2, tmp_path, rows=60), run_dir=tmp_path / "run")
    whole = run.path / "checkpoints" / "checkpoint-7" / "trainer_state.json"
    whole.parent.mkdir(parents=True)
    whole.write_text('{"global_step": 7}')
    events = run.path / "events.jsonl"
    append_event(events, "note", text="said before")

    def restarted(run, *, command):
        events.unlink()
        append_event(events, "step", **STEP)
        (run.path / "status.json").write_text('{"state": "failed", "message": ""}')

    monkeypatch.setattr(kills, "start", restarted)
    found = kills._stopped(run, "full disk", 0.0, kills.random.Random(0))
    assert found["lost"][:2] == ["events", "a failed run without a sentence"]

    def skipped(run, *, command):
        append_event(events, "step", **STEP)

    monkeypatch.setattr(kills, "start", skipped)
    assert "steps 8 to 8" in kills._stopped(run, "full disk", 0.0, kills.random.Random(0))["lost"]
