"""Publishing from the command line, and by the process that the app starts and may kill."""

import io
import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.support import REPOSITORY, command, train_arguments, tweets, wait_for, wait_until_ended
from tests.support.hub_fixtures import ADA
from tests.support.publishing import REPO, Here, copy_of
from training.cli.main import main
from training.publish.plan import export_for_push
from training.publish.pushing import push
from training.runs.process import start
from training.runs.run import create_run_of, find_run

pytestmark = pytest.mark.usefixtures("warm_starts")


@pytest.fixture
def artifact(trained_gpt2, tmp_path):
    return copy_of(trained_gpt2.artifact, tmp_path)


@pytest.fixture
def ada(online, monkeypatch):
    """Return this process's Hub, on which ada is logged in; nobody sits at the terminal.

    What is pushed is verified in this process, too: by others it is in the first test.
    """
    monkeypatch.setenv("HF_TOKEN", ADA)
    monkeypatch.setitem(push.__kwdefaults__, "verifier", Here)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    return online


@pytest.fixture
def run(ada, capsys):
    """Return a function that runs a command in this process: its exit status and what it wrote."""

    def run(*arguments):
        status = main([str(word) for word in arguments])
        return status, *capsys.readouterr()

    return run


def enough_rows(artifact):
    """Give the run of an artifact as many validation rows as an export needs."""
    rows = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in tweets(100))
    (artifact.parent / "validation.jsonl").write_text(rows)
    return rows


def test_the_command_exports_and_pushes(hub, artifact):
    enough_rows(artifact)
    done = command("training", "push", artifact, REPO, "--yes", "--json", env=hub.environment(ADA))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["changed"] and result["verified"]["n_texts"] == 32
    assert result["commit_url"] in done.stderr and "Pushed, and verified: 32 texts" in done.stderr
    assert ADA not in done.stdout + done.stderr
    assert "Exported to onnx/: int8 with float32" in done.stderr
    assert {
        f"onnx/{name}" for name in ("packed.onnx", "packed_int8.onnx", "model_quantized.onnx", "parity.json")
    } <= (hub.files(REPO).keys())


def test_the_command_shows_what_it_would_send_and_sends_nothing(run, ada, artifact, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    status, stdout, _ = run("push", artifact, REPO, "--dry-run", "--json")
    assert status == 0
    shown = json.loads(stdout)
    assert {"path": "model.safetensors", "size": (artifact / "model.safetensors").stat().st_size} in shown[
        "files"
    ]
    assert shown["card"].startswith("---\n") and shown["size"] == sum(file["size"] for file in shown["files"])
    assert f"Nothing was sent to {REPO}." in run("push", artifact, REPO, "--dry-run")[2]
    assert not ada.requests


def test_a_push_exports_first_or_says_why_not(run, artifact):
    """A dry run says it will; --no-onnx leaves it out; too few texts, and the push goes on without."""
    rows = enough_rows(artifact)
    _, stdout, stderr = run("push", artifact, REPO, "--dry-run")
    assert "onnx/ is not there yet: the push exports it first, unless --no-onnx is given." in stderr
    assert not (artifact / "onnx").exists() and "onnx/parity.json" not in stdout
    _, stdout, stderr = run("push", artifact, REPO, "--dry-run", "--no-onnx")
    assert "onnx/parity.json" not in stdout and "the push exports it first" not in stderr
    (artifact.parent / "validation.jsonl").write_text(rows[:1000].rpartition("\n")[0])
    note = export_for_push(artifact, dry_run=False)
    assert note.startswith(
        "It goes without onnx/. The parity gate needs at least 100 validation texts, found "
    )
    (artifact / "onnx").mkdir()
    (artifact / "onnx" / "model_quantized.onnx").write_bytes(b"")
    assert export_for_push(artifact, dry_run=False) == "", "what is there is not made again"


def test_the_command_asks_before_anything_becomes_public(run, ada, artifact):
    status, _, stderr = run("push", artifact, REPO)
    assert status == 1 and ada.repo(REPO) is None
    assert "ada/tweets will be public" in stderr
    assert "Nobody is there to agree, so nothing was sent. Add --yes, or --private." in stderr


def test_the_command_says_what_is_wrong_in_one_sentence(run, artifact, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    assert run("push", artifact, REPO) == (
        1,
        "",
        "It was not possible to push to ada/tweets: nobody is logged in to the Hub. Log in with `hf auth "
        "login`, or set HF_TOKEN to a token from huggingface.co/settings/tokens.\n",
    )


def test_a_training_that_is_to_be_pushed_asks_for_the_right_first(run, tiny_gpt2, tiny_tweets, tmp_path):
    arguments = [*train_arguments(tiny_gpt2, tiny_tweets, tmp_path / "run"), "--push", "bob/tweets"]
    status, _, stderr = run(*arguments)
    assert status == 1 and "ada may not create repositories for bob" in stderr
    assert not (tmp_path / "run").exists()  # nothing was trained


def test_a_training_whose_model_would_be_public_asks_first(run, ada, tiny_gpt2, tiny_tweets, tmp_path):
    status, _, stderr = run(*train_arguments(tiny_gpt2, tiny_tweets, tmp_path / "run"), "--push", REPO)
    assert status == 1 and "ada/tweets will be public" in stderr
    assert "Nobody is there to agree, so nothing was sent. Add --yes, or --private." in stderr
    assert not (tmp_path / "run").exists() and ada.repo(REPO) is None


def test_a_finished_training_is_pushed(run, ada, trained_gpt2, tmp_path):
    folder = shutil.copytree(trained_gpt2.run.path, tmp_path / "run")
    arguments = train_arguments(trained_gpt2.base, trained_gpt2.data, folder)
    status, stdout, stderr = run(*arguments, "--reuse", "--push", REPO, "--private", "--json")
    assert status == 0, stderr
    result = json.loads(stdout)
    assert result["systems"] and result["pushed"]["verified"]["n_texts"] == 32
    assert ada.repo(REPO).private and "verification.json" in ada.files(REPO)
    assert not (folder / "push.json").exists()


def test_a_push_is_not_forgotten_when_the_command_is_killed(run, hub, tiny_gpt2, tiny_tweets, tmp_path):
    """The training goes on without it; `resume` then does what was asked, without --push."""
    folder = tmp_path / "run"
    words = [*train_arguments(tiny_gpt2, tiny_tweets, folder), "--set", "epochs=1", "--push", REPO, "--yes"]
    first = subprocess.Popen(
        [sys.executable, "-m", "training", *map(str, words)],
        cwd=REPOSITORY,
        env=hub.environment(ADA),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for((folder / "worker.json").is_file, seconds=120)
    first.kill()
    first.wait()
    assert ADA not in "".join(path.read_text() for path in folder.glob("*.json"))
    wait_for(lambda: find_run(folder).status().state == "finished", seconds=300)
    assert hub.repo(REPO) is None and (folder / "push.json").is_file()
    hub.fail("POST /api/repos/create", status=403)
    status, _, stderr = run("resume", folder)
    assert status == 1 and f"`python -m training resume {folder}` tries again" in stderr
    status, stdout, stderr = run("resume", folder, "--json")
    assert status == 0, stderr
    assert json.loads(stdout)["pushed"]["changed"] and "verification.json" in hub.files(REPO)
    status, _, stderr = run("resume", folder)
    assert status == 1 and "only a cancelled, failed, interrupted run can be resumed" in stderr


def test_a_killed_push_leaves_nothing_half_and_the_next_one_completes(hub, artifact, tmp_path, capsys):
    """A push of the app is a run: its token comes by standard input, and killing it is safe."""
    lone_process = tmp_path / "temporary"
    lone_process.mkdir()
    hub.lfs_over = 50_000
    hub.slow("PUT /put/*", bytes_per_s=20_000)
    environment = {**os.environ, **hub.environment(), "TMPDIR": str(lone_process)}

    def begin():
        run = create_run_of("push", {"source": str(artifact), "repo_id": REPO}, name=REPO)
        start(run, handed={"token": ADA}, environment=environment)
        return run

    first = begin()
    wait_for(lambda: any(r.method == "PUT" for r in hub.requests), seconds=60)
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert "training.worker" in processes and ADA not in processes
    assert main(["runs", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["runs"]
    assert [(row["run"], row["kind"], row["state"]) for row in listed] == [(first.id, "push", "running")]
    assert main(["cancel", first.id]) == 0
    assert capsys.readouterr().out == f"{first.id} is stopped: nothing is half published.\n"
    assert wait_until_ended(first).state == "cancelled" and hub.files(REPO) == {}
    wait_for(lambda: not list(lone_process.glob("tweettune-verify-*")), seconds=30)
    hub.faults.clear()
    second = begin()
    assert wait_until_ended(second).state == "finished", second.status().message
    [result] = second.events("result")
    assert result["changed"] and second.events("plan")[0]["files"]
    phases = dict.fromkeys(event["phase"] for event in second.events("progress"))
    assert {"rights", "prepare", "compare", "upload", "verify", "stamp"} <= phases.keys()
    written = b"".join(path.read_bytes() for path in first.path.parent.rglob("*") if path.is_file())
    assert ADA.encode() not in written
