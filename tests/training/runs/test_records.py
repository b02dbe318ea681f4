"""A record that is torn, empty or foreign: its run is listed as damaged, and nothing else is touched."""

import json
import os
import shutil

import psutil
import pytest

from inference.common.errors import RunError
from inference.common.store import append_event, write_json
from tests.support.broken_runs import DAMAGES, FINISHED, KINDS, RECORDS, finished
from training.cli.main import main
from training.recipes import load_recipe
from training.runs.process import cancel, resume, start
from training.runs.run import Run, create_run, find_run, list_runs, running

HARMLESS = {
    "events.jsonl": ["of another program", "not finite"],
    "disagreements.jsonl": ["empty", "of another program", "not finite"],
}
"""What can't be told from a record of ours."""


@pytest.fixture(params=KINDS)
def bad(request, home):
    """Return a run of each kind, beside a good one."""
    (home / "runs").mkdir(parents=True)
    finished(home / "runs" / "good")
    return KINDS[request.param](home / "runs" / "bad")


def inspect(run: Run) -> str:
    """Read a run by all its readers, none of which may raise but for a sentence; return its state."""
    found = {each.id: each for each in list_runs(kind=None)}
    assert found.keys() == {"good", "bad"}
    assert found["good"].status().state == "finished"
    status = found["bad"].status()
    seen = found["bad"]
    _ = seen.events(), seen.events("step"), seen.evaluation(), seen.disagreements()
    _ = seen.known_recipe, seen.order, seen.was_started
    assert running() is None
    if status.state == "damaged":
        assert status.message.count("can't be used (") >= 1 and status.message.endswith(".")
        assert str(run.path) not in status.message, "the app shows it to anybody"
        for act in (start, resume, cancel):
            if not (act is cancel and os.path.lexists(run.path / "rented.json")):  # a job may go on
                with pytest.raises(RunError, match="The run bad is damaged"):
                    act(seen)
    return status.state


def test_any_record_damaged_in_any_way_is_that_runs_own_affair(bad, capsys):
    whole = inspect(bad)
    for path in [path for path in sorted(bad.path.iterdir()) if path.is_file()]:
        content = path.read_bytes()
        for name, damaged in DAMAGES.items():
            path.write_bytes(damaged)
            state = inspect(bad)
            needed = path.name in RECORDS and name not in HARMLESS.get(path.name, ())
            assert state == ("damaged" if needed else whole), (path.name, name)
        assert main(["runs"]) == 0
        assert "good" in capsys.readouterr().out
        path.unlink()
        path.mkdir()
        assert inspect(bad) == ("damaged" if path.name in RECORDS else whole), path.name
        path.rmdir()
        path.symlink_to("nowhere")
        assert inspect(bad) == ("damaged" if path.name in RECORDS else whole), path.name
        path.unlink()
        with path.open("wb") as huge:
            huge.truncate(2**40)  # a file of holes
        assert inspect(bad) == ("damaged" if path.name in RECORDS else whole), path.name
        path.write_bytes(content)
        assert inspect(bad) == whole, path.name


def test_truncated_at_any_byte(bad):
    whole = inspect(bad)
    for path in [path for path in sorted(bad.path.iterdir()) if path.name in RECORDS]:
        content = path.read_bytes()
        last = content.rindex(b" # ") if path.suffix == ".toml" else len(content.rstrip())
        for at in {*range(0, last, max(1, last // 20)), *range(max(0, last - 3), last)}:
            path.write_bytes(content[:at])
            states = {run.id: run.status().state for run in list_runs(kind=None)}
            state = states.pop("bad")
            assert states == {"good": "finished"}
            between = path.suffix == ".jsonl" and (whole != "finished" or content[:at][-1:] in b"\n")
            if not between or (at == 0 and path.name == "events.jsonl"):
                assert state == "damaged", (path.name, at)
        path.write_bytes(content)


def test_what_is_wrong_and_what_to_do_is_listed(home, capsys):
    runs = home / "runs"
    for name in ("torn", "older", "foreign", "lost"):
        finished(runs / name)
    (runs / "torn" / "evaluation.json").write_text("{\n")
    recipe = runs / "older" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("state_noise", "a_setting_of_another_version"))
    (runs / "foreign" / "status.json").write_text("[]")
    (runs / "lost" / "recipe.toml").unlink()
    finished(runs / "good")
    assert main(["runs", "--json"]) == 0
    listed = {row["run"]: row for row in json.loads(capsys.readouterr().out)["runs"]}
    assert {name: row["state"] for name, row in listed.items()} == {
        "good": "finished",
        **dict.fromkeys(("torn", "older", "foreign", "lost"), "damaged"),
    }
    assert listed["torn"]["message"].startswith("Its evaluation.json can't be used (it is no whole JSON")
    assert listed["torn"]["message"].endswith("Copy that of the folder artifact over it.")
    assert "There is no setting 'a_setting_of_another_version'" in listed["older"]["message"]
    assert len(listed["older"]["message"]) < 250
    assert listed["foreign"]["message"] == (
        "Its status.json can't be used (it holds no JSON object). Delete that file, then resume the run."
    )
    assert listed["lost"]["message"].startswith("Its recipe.toml can't be used (it is missing).")
    for words in (["resume", "torn"], ["cancel", "older"], ["push", "torn", "ada/x", "--dry-run"]):
        assert main(words) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"The run {words[1]} is damaged. Its ") and said.count("\n") == 1
    shutil.copy(FINISHED / "artifact" / "evaluation.json", runs / "torn" / "evaluation.json")
    (runs / "foreign" / "status.json").unlink()
    assert find_run("torn").status().state == "finished", "the advice works"
    assert find_run("foreign").status().state == "interrupted"


def test_a_byte_order_mark_and_another_inode_are_no_damage(home):
    run = finished(home / "runs" / "x")
    for name in ("status.json", "recipe.toml", "evaluation.json"):
        content = (run.path / name).read_bytes()
        (run.path / name).write_bytes(b"\xef\xbb\xbf" + content)
    assert Run(run.path).status().state == "finished" and Run(run.path).recipe.name == "smoke"


def test_a_run_at_work_is_not_damaged_and_can_be_stopped(home):
    run = create_run(load_recipe("smoke"))
    (run.path / "events.jsonl").write_text("")
    write_json(run.path / "worker.json", {"pid": os.getpid(), "created": psutil.Process().create_time()})
    (run.path / "status.json").write_text("{")  # a record that is being written elsewhere
    assert run.status().state == "running" and running() == run


def test_a_lost_worker_is_reported_by_the_status(home):
    run = create_run(load_recipe("smoke"))
    write_json(run.path / "status.json", {"state": "running", "pid": 2**30})
    assert run.status().state == "interrupted"


def test_events_that_are_none_are_passed_over(home):
    run = create_run(load_recipe("smoke"))
    append_event(run.path / "events.jsonl", "note", text="before")
    with (run.path / "events.jsonl").open("ab") as file:
        for line in (b"{", b"[]", b"7", b"[" * 100_000, b'{"kind": []}', b'{"kind": "step", "time": 1}'):
            file.write(line + b"\n")
        file.write(b'{"kind": "step", "time": 1, "step": "x", "loss": 1}\n')
        file.write(
            b'{"kind": "note", "time": "now", "text": "x"}\n{"kind": "note", "time": 1, "text": null}\n'
        )
    append_event(run.path / "events.jsonl", "step", step=2, loss=0.5)
    assert [event["kind"] for event in run.events()] == ["note", "step"]
