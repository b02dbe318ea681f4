"""Is there room for a run: what it needs, what is free, and one sentence before anything starts."""

import io
import json
import os
import signal
import threading
from pathlib import Path

import psutil
import pytest

from inference.common.paths import has_bucket, home
from inference.common.store import append_event, write_json
from tests.support import REPOSITORY, wait_for, work_here
from training.recipes import change, load_recipe, save_recipe
from training.runs.process import (
    Cancelled,
    NotEnoughRoom,
    check_room,
    free_memory_bytes,
    need_of,
    parameters_of,
    spent_s,
    start,
    start_waiting,
    wait_in_queue,
)
from training.runs.run import (
    AUDIT,
    FORECAST,
    LADDER,
    TUNE,
    ahead_of,
    create_run,
    create_run_of,
    find_run,
    list_runs,
    running,
)

QUICK, FULL = change(load_recipe("quick"), {"onnx": False}), load_recipe("full")
GB = 1_000_000_000


def check(recipe, *, memory=64 * GB, disk=500 * GB, on_gpu=False):
    return check_room(recipe, Path(), free_memory=lambda: memory, free_disk=lambda path: disk, on_gpu=on_gpu)


def test_a_run_that_fits_is_let_through():
    assert check(QUICK, memory=2 * GB, disk=2 * GB) == ""


def test_too_little_memory_says_how_much_and_what_to_do():
    with pytest.raises(
        NotEnoughRoom, match=r"needs at least 1\.6 GB of memory and 1\.0 GB is free\. Take a sm"
    ):
        check(QUICK, memory=GB)
    with pytest.raises(NotEnoughRoom, match="Take method = lora, or a smaller base"):
        check(FULL, memory=2 * GB)
    assert check(FULL, memory=2 * GB, on_gpu=True) == "", "gradients and moments are on the GPU"


def test_too_little_disk_says_how_much_and_what_to_do():
    with pytest.raises(
        NotEnoughRoom, match=r"needs at least 496\.0 MB on the disk of the runs and 200\.0 MB is free"
    ):
        check(QUICK, disk=GB * 4 // 10)
    with pytest.raises(NotEnoughRoom, match=r"and 0 bytes is free\. Delete old runs there"):
        check(QUICK, disk=0)


def test_the_floor_is_below_what_was_measured():
    """The record of `quick` on the embedded base: a refusal of a run that works would be a fault."""
    record = json.loads((REPOSITORY / "benchmarks/results/quality.json").read_text())
    need = need_of(QUICK, parameters_of("embedded"))
    [measured] = [row["peak_memory_gb"] * 2**30 for row in record["rows"] if row["name"] == "quick"]
    assert 0.6 * measured < need.memory_bytes < measured


def test_full_and_onnx_need_more():
    assert need_of(FULL, 10**9).disk_bytes > 6 * need_of(QUICK, 10**9).disk_bytes
    with_onnx = change(QUICK, {"onnx": "true"})
    assert need_of(with_onnx, 10**9).disk_bytes == need_of(QUICK, 10**9).disk_bytes + 5 * 10**9


def test_a_folders_parameters_are_read_from_its_weights(tiny_gpt2, tmp_path):
    from safetensors.torch import load_file  # noqa: PLC0415

    elements = sum(tensor.numel() for tensor in load_file(tiny_gpt2 / "model.safetensors").values())
    assert parameters_of(str(tiny_gpt2)) == elements
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 20)
    assert parameters_of(str(tmp_path)) is None


def test_a_base_on_the_hub_tells_its_size_or_it_is_said_that_nothing_was_checked(online):
    said = check(change(QUICK, {"base": "ada/unknown"}))
    assert said == "Memory and disk were not checked: the size of the base ada/unknown is not known before."


def test_memory_is_the_containers_not_the_machines(tmp_path):
    assert free_memory_bytes(group=tmp_path) > 0, "no control group"
    for name, content in {
        "memory.max": "2000\n",
        "memory.current": "1500\n",
        "memory.stat": "inactive_file 300\n",
    }.items():
        (tmp_path / name).write_text(content)
    assert free_memory_bytes(group=tmp_path) == 800
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory_bytes(group=tmp_path) > 10**6


def test_a_run_that_is_refused_is_not_at_work_and_can_be_tried_again(tmp_path, monkeypatch):
    """A base of this size fits nowhere."""
    folder = tmp_path / "huge"
    folder.mkdir()
    header = json.dumps({"w": {"dtype": "F32", "shape": [10**7, 10**7], "data_offsets": [0, 0]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    run = create_run(QUICK)
    save_recipe(change(QUICK, {"base": str(folder)}), run.path / "recipe.toml")
    with pytest.raises(NotEnoughRoom, match="of memory"):
        start(run)
    status = find_run(run.id).status()
    assert status.state == "failed" and "needs at least" in status.message
    assert running() is None and [each.id for each in list_runs()] == [run.id]


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no alarms here")
def test_a_run_that_takes_too_long_is_stopped_with_a_checkpoint(monkeypatch, tiny_gpt2, tiny_tweets):
    asked = []
    monkeypatch.setattr(signal, "setitimer", lambda which, seconds: asked.append(seconds))
    changes = {"base": str(tiny_gpt2), "dataset": str(tiny_tweets), "epochs": "4000"}
    run = create_run(change(load_recipe("smoke"), changes))

    def ring():
        wait_for(lambda: run.events("step"))
        os.kill(os.getpid(), signal.SIGALRM)

    alarm = threading.Thread(target=ring)
    alarm.start()
    assert (work_here(run, "--max-minutes", "2"), asked[0]) == (1, 120)
    alarm.join()
    status = run.status()
    assert status.state == "cancelled"
    assert status.message.startswith("Stopped after 2 min, the most allowed here (MAX_RUN_MINUTES).")
    assert list((run.path / "checkpoints").glob("checkpoint-*"))
    write_json(run.path / "spent.json", {"seconds": 120})  # as `resume` notes it
    assert work_here(run, "--max-minutes", "2") == 1
    assert run.status().message.startswith("The run has had its 2 min, the most allowed here")


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no alarms here")
@pytest.mark.parametrize("kind", [AUDIT, LADDER, TUNE, FORECAST])
def test_the_minutes_of_other_long_work_are_limited_too(home, monkeypatch, kind):
    monkeypatch.setattr("sys.stdin", io.StringIO("{}\n"))
    run = create_run_of(kind, {"recipe": {}}, name="x")
    write_json(run.path / "spent.json", {"seconds": 120})
    assert work_here(run, "--max-minutes", "2") == 1
    assert run.status().message.startswith("The run has had its 2 min, the most allowed here")


def test_the_time_of_all_processes_of_a_run_counts(tmp_path):
    run = create_run(load_recipe("smoke"))
    assert spent_s(run) == 0
    write_json(run.path / "worker.json", {"pid": 1, "created": 1000.0})
    append_event(run.path / "events.jsonl", "note", text="at work")
    for name in ("events.jsonl", "status.json"):
        os.utime(run.path / name, (1090, 1090))
    assert spent_s(run) == 90
    write_json(run.path / "spent.json", {"seconds": 30.0})
    assert spent_s(run) == 120


def test_runs_are_on_the_bucket_of_a_space_without_a_setting(monkeypatch, tmp_path):
    mounts = [Path(p) for p in ("/dev/shm", "/") if Path(p).is_mount()]
    assert not has_bucket(mounts[0]), "this is no Space"
    monkeypatch.setenv("SPACE_ID", "ada/x")
    assert has_bucket(mounts[0])
    assert not has_bucket(tmp_path), "nothing is mounted there"
    monkeypatch.delenv("TWEETTUNE_HOME")
    assert home() == Path("/data") if has_bucket() else home() == Path.cwd()


def started(run, at, state="queued", *, worker=None):
    """Make a run's folder say that a process of it, this one unless told, was started then."""
    created = psutil.Process().create_time()
    write_json(run.path / "status.json", {"state": state, "started_at": at})
    write_json(run.path / "worker.json", worker or {"pid": os.getpid(), "created": created})
    return run


def test_runs_take_turns_in_the_order_of_their_start(tmp_path):
    smoke = load_recipe("smoke")
    third, first, second = (create_run(smoke) for _ in range(3))
    started(first, 90.0, "running")
    started(second, 10.0)
    started(third, 20.0)
    assert [ahead_of(run) for run in (first, second, third)] == [[], [first], [first, second]]
    assert running() == first
    started(create_run_of("push", {}, name="p"), 1.0, "running")
    started(create_run(smoke, run_dir=tmp_path / "elsewhere"), 1.0, "running")
    started(create_run(smoke), 1.0, worker={"pid": 2**22 - 3, "created": 1.0})
    assert ahead_of(second) == [first], "pushes, other folders and dead processes keep nobody waiting"
    assert ahead_of(started(create_run_of(LADDER, {}, name="l"), 30.0)) == [first, second, third]


def test_a_run_waits_in_the_queue_and_that_time_is_not_counted(monkeypatch):
    first, second = create_run(load_recipe("smoke")), create_run(load_recipe("smoke"))
    started(first, 1.0, "running")
    started(second, 2.0)
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 2:
            write_json(first.path / "status.json", {"state": "finished"})

    monkeypatch.setattr("time.monotonic", iter([100.0, 160.0]).__next__)
    wait_in_queue(second, sleep=sleep)
    assert len(slept) == 2 and second.worker().waited_s == 60
    os.utime(second.path / "status.json", (second.worker().created + 90,) * 2)
    assert spent_s(second) == pytest.approx(30)


def test_a_waiting_run_is_cancelled_and_can_be_resumed(monkeypatch):
    first, second = create_run(load_recipe("smoke")), create_run(load_recipe("smoke"))
    started(first, 1.0, "running")
    started(second, 2.0)
    seen = []

    def cancelled(run, **_):
        seen.append(run.status().state)
        raise Cancelled

    monkeypatch.setattr("training.worker.wait_in_queue", cancelled)
    assert work_here(second) == 1
    assert seen == ["queued"] and second.status().state == "cancelled"
    assert second.status().message == "Cancelled; it can be resumed."


def test_runs_that_waited_when_the_machine_went_down_are_started_again_in_their_order(monkeypatch):
    dead = {"pid": 2**22 - 3, "created": 1.0}
    runs = [create_run(load_recipe("smoke")) for _ in range(4)]
    for run, at in zip(runs, (30.0, 10.0, 20.0, 5.0), strict=True):
        started(run, at, worker=dead)
    write_json(runs[2].path / "worker.json", {**dead, "cancelled": True})
    write_json(runs[3].path / "status.json", {"state": "running", "started_at": 5.0})
    began = []
    monkeypatch.setattr("training.runs.process.start", lambda run, max_minutes: began.append(run.id))
    start_waiting()
    assert began == [runs[1].id, runs[0].id], "not the cancelled one, nor the one that was at work"
