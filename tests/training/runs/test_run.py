"""Runs: their folders tell the truth at every moment, and no way of ending loses the work."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file

from inference.common.errors import DataError, RecipeError, RunError
from inference.common.store import append_event, read_jsonl, write_json
from tests.support import LONGER, tweets, wait_for, wait_until_ended, work_here, write_csv
from training.recipes import change, load_recipe, save_recipe
from training.runs.process import cancel, end, resume, start
from training.runs.run import (
    create_run,
    create_run_of,
    delete,
    find_run,
    list_runs,
    running,
    with_whole_paths,
)

pytestmark = [pytest.mark.usefixtures("warm_starts"), pytest.mark.slow]

SMOKE = load_recipe("smoke")


def longer(base, data):
    return change(SMOKE, {**LONGER, "base": str(base), "dataset": str(data)})


def kill(run):
    psutil.Process(json.loads((run.path / "worker.json").read_text())["pid"]).kill()


def log(run):
    return (run.path / "log.txt").read_text()


# The record of a run.


def test_a_new_run_is_a_folder_with_its_recipe(home):
    run = create_run(SMOKE)
    assert run.path.parent == home / "runs"
    assert run.id.endswith("-smoke")
    assert (run.status().state, run.events(), run.evaluation(), run.disagreements()) == (
        "queued",
        [],
        None,
        [],
    )
    assert not run.was_started
    assert find_run(run.id).recipe == SMOKE
    assert find_run(run.path) == run
    other = create_run(SMOKE)
    assert other.path != run.path
    assert running() in (run, other)


def test_runs_are_listed_newest_first_and_strangers_left_out(home):
    assert list_runs() == []
    old, new = create_run(SMOKE), create_run(SMOKE)
    os.utime(old.path / "recipe.toml", (1, 1))
    (home / "runs" / "notes").mkdir()
    assert list_runs() == [new, old]


def test_a_run_of_another_kind_is_found_only_by_who_asks_for_it(home):
    training = create_run(SMOKE)
    push = create_run_of("push", {"repo_id": "ada/x"}, name="ada/x")
    assert push.id.endswith("-push-ada-x") and (push.kind, training.kind) == ("push", "train")
    assert list_runs() == [training] and list_runs(kind="push") == [push]
    assert set(map(str, list_runs(kind=None))) == {str(training), str(push)}
    assert find_run(push.id, kind=None) == push and push.order == {"repo_id": "ada/x", "kind": "push"}
    with pytest.raises(RunError, match=f"There is no run '{push.id}'"):
        find_run(push.id)
    with pytest.raises(RecipeError, match="does not exist"):
        _ = push.recipe


def test_a_run_of_an_unknown_kind_fails_in_one_sentence(home):
    run = create_run_of("dance", {}, name="x")
    start(run)
    said = wait_until_ended(run).message
    known = "train, ladder, tune, forecast, adapt, forgetting, audit, push, push-data"
    assert said == f"{run.id} is of an unknown kind, 'dance' (known: {known})."


def test_the_files_of_a_run_are_found_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "tiny").mkdir()
    for name in ("tweets.csv", "more.jsonl"):
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path / "tiny")
    monkeypatch.setenv("HOME", str(tmp_path))
    given = {"base": "../tiny", "dataset": "~/tweets.csv", "more_data": "../more.jsonl"}
    recipe = with_whole_paths(change(SMOKE, given))
    monkeypatch.chdir("/")
    for name in ("base", "dataset", "more_data"):
        assert Path(getattr(recipe, name)).is_absolute() and Path(getattr(recipe, name)).exists(), name
    monkeypatch.chdir(tmp_path)
    others = {"base": "openai-community/gpt2", "dataset": "embedded", "more_data": "not-there.jsonl"}
    assert with_whole_paths(change(SMOKE, others)) == change(SMOKE, others)
    assert create_run(change(SMOKE, {"dataset": "."})).recipe.dataset == str(tmp_path)


def test_a_runs_log_takes_any_text_wherever_it_is_started():
    run = create_run_of("push", {}, name="x")
    narrow = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    start(run, environment=narrow, command=(sys.executable, "-c", r"print('great 😀 \ud83d')"))
    wait_for(lambda: log(run) == "great 😀 \\ud83d\n")


def test_an_unknown_run_names_the_known_ones(home):
    with pytest.raises(RunError) as caught:
        find_run("nothing")
    assert str(caught.value) == (
        "There is no run 'nothing' (runs: none yet). Start one with `python -m training train`."
    )
    run = create_run(SMOKE)
    with pytest.raises(RunError, match=rf"\(runs: {run.id}\)"):
        find_run("nothing")


def test_a_folder_with_a_recipe_of_ones_own_is_never_deleted(home, tmp_path, monkeypatch):
    """As `delete "$RUN"` would where the variable is not set, and `delete .`."""
    monkeypatch.chdir(tmp_path)
    save_recipe(SMOKE, tmp_path / "recipe.toml")
    with pytest.raises(RunError, match="There is no run ''"):
        find_run("")
    with pytest.raises(RunError, match="There is no run "):
        delete(find_run("."))
    assert (tmp_path / "recipe.toml").is_file()
    for run in (create_run(SMOKE), create_run(SMOKE, run_dir=tmp_path / "mine")):
        delete(find_run(run.path))
        assert not run.path.exists()


def test_texts_of_held_out_rows_are_refused_before_there_is_a_run(home, tmp_path, monkeypatch):
    """By command and form alike: both make their runs here."""
    monkeypatch.chdir(tmp_path)
    for split in ("validation", "test"):
        asked = change(load_recipe("unlabelled"), {"unlabelled": split})
        with pytest.raises(DataError, match=f"The rows of the {split} split are held out, so nothing may"):
            create_run(asked)
    with pytest.raises(DataError, match="posts"):
        create_run(change(asked, {"unlabelled": "posts"}))
    assert not (home / "runs").exists()
    write_csv(tmp_path / "test.csv", tweets(3))
    create_run(change(asked, {"unlabelled": "test.csv"}))


def test_a_place_that_is_taken_is_one_sentence(tmp_path):
    (tmp_path / "thesis.txt").write_text("do not lose")
    for place in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(RunError) as caught:
            create_run(SMOKE, run_dir=place)
        assert str(caught.value) == (
            f"{place} is not empty. Give --run-dir a new folder, or resume the run that is there."
        )
    assert (tmp_path / "thesis.txt").read_text() == "do not lose"


def test_a_place_that_cant_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "below"
    with pytest.raises(RunError) as caught:
        create_run(SMOKE, run_dir=place)
    assert str(caught.value) == (
        f"The run folder {place} can't be written (Not a directory). Give another --run-dir."
    )


def test_after_a_resume_the_newer_of_two_events_of_a_step_counts():
    run = create_run(SMOKE)
    for step, loss in ((1, 0.9), (2, 0.8), (3, 0.7), (2, 0.5), (4, 0.4)):
        append_event(run.path / "events.jsonl", "step", step=step, loss=loss)
    append_event(run.path / "events.jsonl", "note", text="hello")
    assert [(e["step"], e["loss"]) for e in run.events("step")] == [(1, 0.9), (2, 0.5), (3, 0.7), (4, 0.4)]
    assert len(run.events()) == 6


@pytest.fixture
def pretender():
    """Return a run whose "worker" is a process that only sleeps, and the process."""
    run = create_run(SMOKE)
    process = subprocess.Popen(["sleep", "300"])
    created = psutil.Process(process.pid).create_time()
    write_json(run.path / "worker.json", {"pid": process.pid, "created": created})
    write_json(run.path / "status.json", {"state": "running", "phase": "train", "progress": 0.4, "pid": 1})
    yield run, process
    process.kill()
    process.wait()


def test_a_dead_process_is_an_interrupted_run(pretender):
    run, process = pretender
    assert run.status().state == "running"
    process.kill()  # not waited for: a zombie is dead too
    status = wait_for(lambda: (s := run.status()).state != "running" and s)
    assert (status.state, status.phase, status.progress, status.pid) == ("interrupted", "train", 0.4, None)
    assert status.message == (
        f"Its process ended without a word; resume it with `python -m training resume {run.id}`."
    )


def test_another_process_of_the_same_number_is_not_the_worker(pretender):
    run, process = pretender
    write_json(run.path / "worker.json", {"pid": process.pid, "created": 12345.0})
    assert run.status().state == "interrupted"


def test_a_run_that_ends_while_it_is_looked_at_is_not_interrupted(pretender):
    run, process = pretender
    path = run.path / "status.json"
    path.unlink()
    os.mkfifo(path)  # the reader waits in the middle of its look until we write

    def end():
        with path.open("w") as pipe:
            process.kill()
            process.wait()
            pipe.write('{"state": "running"}')

    worker = threading.Thread(target=end)
    worker.start()
    seen = run.status().state
    worker.join()
    write_json(path, {"state": "finished"})
    assert (seen, run.status().state) == ("running", "finished")


def test_a_worker_asked_to_stop_before_it_can_listen_is_cancelled(pretender):
    run, process = pretender
    cancel(run)
    assert process.wait(timeout=10) == -signal.SIGTERM
    status = run.status()
    assert (status.state, status.message) == (
        "cancelled",
        f"Cancelled; resume it with `python -m training resume {run.id}`.",
    )


def test_what_cant_be_started_cancelled_or_resumed_says_why(pretender):
    run, _ = pretender
    with pytest.raises(RunError) as caught:
        start(run)
    assert str(caught.value) == f"The run {run.id} is running already. See it with `python -m training runs`."
    with pytest.raises(RunError) as caught:
        resume(run)
    assert str(caught.value) == (
        f"The run {run.id} is running: only a cancelled, failed, interrupted run can be resumed."
    )
    write_json(run.path / "status.json", {"state": "finished"})
    with pytest.raises(RunError, match=r"is finished already"):
        start(run)
    with pytest.raises(RunError) as caught:
        cancel(run)
    assert str(caught.value) == f"The run {run.id} is not running (finished): there is nothing to cancel."


SLEEPER = (sys.executable, "-c", "import time; time.sleep(300)")


def test_a_run_that_could_not_be_started_can_be_later(monkeypatch):
    """The disk is full when its process is to be noted: no process stays that nobody knows of."""
    run, before, resumed = create_run(SMOKE), set(psutil.Process().children()), []

    def on_a_full_disk(path, record):
        if path.name == "worker.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        write_json(path, record)

    monkeypatch.setattr("training.runs.process.write_json", on_a_full_disk)
    with pytest.raises(RunError, match=r"can't be started \(No space left on device\)\. Free the disk\."):
        start(run, command=SLEEPER)
    left = set(psutil.Process().children()) - before
    wait_for(lambda: all(one.status() == psutil.STATUS_ZOMBIE for one in left), seconds=10)
    assert run.status().state == "queued"
    monkeypatch.setattr("training.runs.process.start", lambda run, **options: resumed.append(run))
    resume(run)
    assert resumed == [run]


def test_of_several_who_start_a_run_one_does():
    run, found = create_run(SMOKE), []

    def begin():
        try:
            start(run, command=SLEEPER)
            found.append("started")
        except RunError as error:
            found.append(str(error))

    several = [threading.Thread(target=begin) for _ in range(4)]
    for one in several:
        one.start()
    for one in several:
        one.join()
    end(run)
    assert found.count("started") == 1 and len({*found}) == 2, found


# Real workers.


def test_a_finished_run_has_all_its_records(trained):
    run = trained.run
    status = run.status()
    assert (status.state, status.progress, status.time_left_s, status.pid) == ("finished", 1.0, None, None)
    assert status.started_at < status.finished_at
    assert sorted(path.name for path in run.path.iterdir()) == [
        *("artifact", "disagreements.jsonl", "evaluation.json", "events.jsonl", "log.txt", "recipe.toml"),
        *("status.json", "validation.jsonl", "worker.json"),
    ]
    assert run.recipe.base == str(trained.base)
    order = list(dict.fromkeys(event["kind"] for event in run.events()))
    assert set(order) == {"data", "audit", "note", "estimate", "progress", "step", "validation", "result"}
    assert [event["step"] for event in run.events("validation")] == list(range(25, 151, 25))
    assert run.events("step")[-1]["total_steps"] == 150
    shares = [event["progress"] for event in run.events("progress")]
    assert shares == sorted(shares)
    phases = dict.fromkeys(event["phase"] for event in run.events("progress"))
    assert list(phases) == ["prepare", "cache", "train", "export", "evaluate"]
    evaluation = run.evaluation()
    [result] = run.events("result")
    assert {**evaluation.to_json(), "kind": "result", "time": result["time"]} == result
    found = run.disagreements()
    comparison = evaluation.comparison("base", "fine-tuned")
    assert len(found) >= comparison.only_first_right + comparison.only_second_right
    for row in found:
        assert row.base.label != row.tuned.label
        assert row.label in evaluation.labels


def test_what_the_worker_prints_goes_to_its_log(trained):
    assert "eval_macro_f1" in log(trained.run)
    assert "Traceback" not in log(trained.run)


def test_a_run_outlives_the_command_that_started_it(trained_llama):
    # The fixture killed that command as soon as the run was at work.
    assert "GFLOP" not in trained_llama.stderr, "the command was killed too late for this test"
    assert trained_llama.run.status().state == "finished"


def test_killed_killed_again_cancelled_and_resumed_a_run_ends_with_the_same_weights(trained_gpt2, tmp_path):
    run = create_run(longer(trained_gpt2.base, trained_gpt2.data), run_dir=tmp_path / "run")
    checkpoints = run.path / "checkpoints"

    def steps_since(line):
        lines = list(read_jsonl(run.path / "events.jsonl"))[line:]
        return [event["step"] for event in lines if event["kind"] == "step"]

    def stop_at(step, stop):
        """Stop the worker at the given step or soon after; return how it ended and the steps it made."""
        line = len(run.events())
        start(run)
        wait_for(lambda: max(steps_since(line), default=0) >= step, every=0.001)
        stop(run)
        return wait_until_ended(run).state, steps_since(line)

    def whole_checkpoints():
        return [int(path.parent.name.split("-")[1]) for path in checkpoints.glob("*/trainer_state.json")]

    state, steps = stop_at(1, kill)
    assert (state, steps[0], whole_checkpoints()) == ("interrupted", 1, [])
    state, steps = stop_at(30, kill)
    assert (state, steps[0]) == ("interrupted", 1)
    kept = max(whole_checkpoints())
    assert 25 <= kept < 150
    state, steps = stop_at(kept + 10, cancel)
    assert (state, steps[0]) == ("cancelled", kept + 1), "it goes on from the checkpoint, not from the start"
    kept = max(whole_checkpoints())
    assert kept == steps[-1] < 150, "cancelling leaves a checkpoint of the last step"
    line = len(run.events())
    resume(run)
    assert wait_until_ended(run).state == "finished", log(run)
    assert steps_since(line)[0] == kept + 1
    expected = load_file(trained_gpt2.artifact / "model.safetensors")
    found = load_file(run.artifact / "model.safetensors")
    assert found.keys() == expected.keys()
    worst = max((found[name] - expected[name]).abs().max().item() for name in expected)
    assert worst < 1e-4
    evaluations = [each.evaluation() for each in (run, trained_gpt2.run)]
    timeless = [  # what a baseline took is no result
        replace(found, systems=tuple(replace(system, seconds=None) for system in found.systems))
        for found in evaluations
    ]
    assert timeless[0] == timeless[1]
    losses = [[event["loss"] for event in r.events("validation")] for r in (run, trained_gpt2.run)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_killed_while_it_tidies_up_a_run_only_has_to_end(trained_gpt2, tmp_path):
    run = create_run(longer(trained_gpt2.base, trained_gpt2.data), run_dir=tmp_path / "run")
    for name in ("artifact", "evaluation.json"):
        (run.path / name).symlink_to(trained_gpt2.run.path / name)
    (run.path / "checkpoints" / "checkpoint-150").mkdir(parents=True)
    (run.path / "trunk-train.f32").write_bytes(b"half")
    assert work_here(run) == 0
    assert run.status().state == "finished"
    assert not (run.path / "checkpoints").exists()
    assert not (run.path / "trunk-train.f32").exists()
    assert run.events("step") == []


def test_a_full_disk_is_a_failed_run_with_one_sentence(trained_gpt2, tmp_path, capsys):
    """The limit on a file's size makes the system fail a write in its middle, as a full disk does."""
    run = create_run(longer(trained_gpt2.base, trained_gpt2.data), run_dir=tmp_path / "run")
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, former[1]))
        assert work_here(run) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    status = run.status()
    assert status.state == "failed"
    assert status.message == (
        "The run folder run can't be written or read (File too large). Free the disk, then resume the run."
    )
    assert run.events("error")[-1]["message"] == status.message
    assert "Traceback" in capsys.readouterr().err, "the log has what a developer needs"
    assert not list(run.path.glob("*.tmp"))
    start_time = time.time()
    resume(run)
    assert wait_until_ended(run).state == "finished", log(run)
    assert run.status().started_at > start_time


def test_data_that_cant_be_learned_from_is_a_failed_run_with_the_datas_own_sentence(
    tiny_gpt2, tmp_path, capsys
):
    one_class = write_csv(tmp_path / "one.csv", [(text, "sad") for text, _ in tweets(30)])
    run = create_run(longer(tiny_gpt2, one_class), run_dir=tmp_path / "run")
    assert (work_here(run), run.status().state) == (1, "failed")
    assert run.status().message == (
        "The label column 'label' of one.csv has one class only ('sad'); at least two are needed."
    )
    assert "Traceback" in capsys.readouterr().err
