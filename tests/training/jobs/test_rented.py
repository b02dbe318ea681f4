"""A training on a rented machine: a job that is really executed, and jobs that meet all kinds of trouble."""

import json
import re

import psutil
import pytest

from inference.artifact import read_record
from inference.classifier import Classifier
from inference.common.errors import RunError
from tests.support import command, wait_for, wait_until_ended
from tests.support.hub_fixtures import ADA
from tests.support.rented_jobs import Machine, Script, wait_until_gone
from training.jobs.record import Rental, keep, load
from training.recipes import change, load_recipe
from training.runs import process
from training.runs import run as jobs
from ui.train.view import read_run

pytestmark = [pytest.mark.usefixtures("warm_starts"), pytest.mark.slow]

TEXTS = ["i love this", "the report is on the table", "worst monday"]


def every_byte(folder):
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def with_base(hub, tiny_gpt2):
    """Return the Hub with the tiny base in a private repository of ada's."""
    files = {path.name: path for path in tiny_gpt2.iterdir()}
    hub.create_repo("ada/tiny-base", private=True, files=files)
    return hub


def train_on(hub, machine, data, folder, *more, token=ADA, base="ada/tiny-base"):
    """Run `train smoke --on MACHINE` as a user would."""
    return command(
        "training",
        "train",
        "smoke",
        "--on",
        machine,
        "--base",
        base,
        "--dataset",
        data,
        "--run-dir",
        folder,
        *more,
        env=hub.environment(token) | {"TWEETTUNE_HOME": str(folder.parent)},
    )


def test_a_recipe_trained_by_a_job_looks_as_if_it_had_been_trained_here(with_base, tiny_tweets, tmp_path):
    hub, folder = with_base, tmp_path / "mine"
    hub.on_job = machine = Machine(hub, tmp_path / "machine")
    done = train_on(hub, "jobs:cpu-basic", tiny_tweets, folder, "--yes", "--json")
    assert done.returncode == 0, done.stderr + "".join(line + "\n" for job in hub.jobs for line in job.logs)
    run, [job] = jobs.find_run(folder), hub.jobs
    rental = load(run.path)
    # The record is that of a local run, and three files more.
    assert sorted(path.name for path in folder.iterdir()) == [
        *("artifact", "disagreements.jsonl", "evaluation.json", "events.jsonl", "job-training.log"),
        *("job.log", "log.txt", "recipe.toml", "rented.json", "status.json", "validation.jsonl"),
        "worker.json",
    ]
    status = run.status()
    assert (status.state, status.progress, status.pid) == ("finished", 1.0, None)
    assert json.loads(done.stdout)["systems"] == run.evaluation().to_json()["systems"]
    kinds = {event["kind"] for event in run.events()}
    assert kinds == {
        *("data", "audit", "note", "estimate", "progress", "step", "validation", "result", "pushed")
    }
    numbers = [event["job_seq"] for event in run.events() if "job_seq" in event]
    assert sorted(numbers) == list(range(1, len(numbers) + 1)), "every event once"
    phases = dict.fromkeys(event["phase"] for event in run.events("progress"))
    assert list(phases) == ["prepare", "cache", "train", "export", "evaluate", "push"]
    view = read_run(run)  # what the Train tab draws
    assert view.loss and view.validation and view.evaluation and view.estimate_s is not None
    # The model: here, private on the Hub, and the same.
    here = Classifier.load(run.artifact, engine="torch").predict(TEXTS)
    assert [p.label for p in here] and hub.repo(rental.model).private
    pushed = hub.files(rental.model)
    assert pushed["model.safetensors"] == (run.artifact / "model.safetensors").read_bytes()
    assert set(pushed) == {
        p.relative_to(run.artifact).as_posix() for p in run.artifact.rglob("*") if p.is_file()
    }
    assert "reference.json" in pushed  # Live's drift needs it
    assert not any(name.endswith((".jsonl", ".bin", ".pt", ".pkl", ".toml", ".zip")) for name in pushed)
    # The bundle had code, recipe and data, and is gone.
    assert {"training/jobs/work.py", "recipe.toml", "data/tweets.csv"} <= set(machine.seen)
    assert machine.seen["data/tweets.csv"] == tiny_tweets.read_bytes()
    assert hub.repo(rental.bundle, kind="dataset") is None
    # The token travelled as a secret, and nowhere else.
    assert job.spec["secrets"] == {"HF_TOKEN": ADA}
    public = json.dumps({key: value for key, value in job.spec.items() if key != "secrets"})
    left = public.encode() + b"".join([*machine.seen.values(), *pushed.values()])
    for what in (left, every_byte(folder), done.stdout.encode(), done.stderr.encode()):
        assert ADA.encode() not in what
    assert not [request.path for request in hub.requests if ADA in request.path]
    assert str(tmp_path).encode() not in left, "no path of this machine leaves it"
    assert str(tiny_tweets.parent).encode() not in left
    # Time and money were said before, and what came of them after.
    assert job.spec["timeoutSeconds"] == rental.timeout_s == 1800
    assert "Machine: cpu-basic (2 vCPU) at $0.01 an hour (the Hub's own list, asked now)." in done.stderr
    assert "Cost: under $0.01; at most under $0.01, since the job is stopped after 30 min." in done.stderr
    assert f"Sent, to the private data set {rental.bundle}: the code (" in done.stderr
    assert "your data file tweets.csv (18.4 kB)" in done.stderr
    assert any(event["text"].startswith("The job ran ") for event in run.events("note"))


def test_a_gpu_that_cant_be_used_stops_the_job_before_it_costs_more(with_base, tiny_tweets, tmp_path):
    hub, folder = with_base, tmp_path / "run"
    hub.on_job = Machine(hub, tmp_path / "machine")
    done = train_on(hub, "jobs", tiny_tweets, folder, "--yes")
    assert done.returncode == 1
    [job] = hub.jobs
    assert (job.spec["flavor"], job.status) == ("l4x1", "ERROR")
    assert re.fullmatch(
        r"The job failed: The job's machine has a GPU, but PyTorch [\w.+]+ can't use it, so it was stopped "
        r"before it cost more\. Report it, or take --on jobs:cpu-upgrade\.",
        done.stderr.splitlines()[-1],
    )
    assert "Machine: l4x1 (1x L4, 8 vCPU) at $0.80 an hour" in done.stderr
    rental = load(folder)
    assert (rental.ended, hub.repo(rental.bundle, kind="dataset")) == ("ERROR", None)
    again = command("training", "resume", folder, env=hub.environment(ADA))
    assert again.stderr.strip() == (
        "The job of the run run has ended (ERROR), and a rented run has no checkpoint here. "
        "Train again with `--on jobs`."
    )


# Runs whose jobs are played.


@pytest.fixture
def rented(online, trained_gpt2, tmp_path, monkeypatch):
    """Return a function that starts a run whose job is played by a script, and the script."""
    hub = online
    for name, value in hub.environment(ADA).items():
        monkeypatch.setenv(name, value)

    def start(**script):
        hub.on_job = played = Script(hub, trained_gpt2.run, **script)
        recipe = change(load_recipe("smoke"), {"base": "ada/tiny-base", "dataset": str(trained_gpt2.data)})
        run = jobs.create_run(recipe, run_dir=tmp_path / "run")
        keep(
            run.path,
            Rental(
                flavor="cpu-basic",
                gpu=False,
                usd_per_hour=0.01,
                price_source="a test",
                namespace="ada",
                nonce="abcd1234",
                bundle="ada/tweettune-job-abcd1234",
                model="ada/tweettune-abcd1234",
                estimated_s=60.0,
                timeout_s=1800,
            ),
        )
        process.start(run)
        return run, played

    yield start
    for job in hub.jobs:
        job.end("CANCELED")
    wait_until_gone()


def copied(run):
    """Return the numbers of the job's events that came home."""
    return [event["job_seq"] for event in run.events() if "job_seq" in event]


def kill_follower(run):
    psutil.Process(read_record(run.path, "worker.json")["pid"]).kill()
    wait_for(lambda: run.status().state == "interrupted")


def notes(run):
    return " ".join(event["text"] for event in run.events("note"))


def finished(run):
    status = wait_until_ended(run)
    assert status.state == "finished", status.message + (run.path / "log.txt").read_text()
    numbers = copied(run)
    assert sorted(numbers) == list(range(1, len(numbers) + 1)), "every event once"
    return status


def test_a_job_goes_on_when_nobody_follows_and_resume_takes_it_up(rented, hub, trained_gpt2):
    run, played = rented(stop_at=60)
    wait_for(lambda: 59 in copied(run))
    assert run.status().phase == "train"
    kill_follower(run)
    url = load(run.path).job_url
    assert run.status().message == (
        f"Nobody follows its job {url}, which may go on and cost (stop it with "
        f"`python -m training cancel {run.id}`); resume it with "
        f"`python -m training resume {run.id}`."
    )
    played.go.set()
    wait_for(lambda: hub.jobs[0].over)
    process.resume(run)
    finished(run)
    assert len(hub.jobs) == 1
    assert run.evaluation() == trained_gpt2.run.evaluation()
    assert run.disagreements() == trained_gpt2.run.disagreements()


def test_cancel_stops_the_job_and_removes_what_was_sent(rented, hub):
    run, _ = rented(stop_at=60)
    wait_for(lambda: 59 in copied(run))
    done = command("training", "cancel", run.path)
    assert done.stdout == "run stops its job on the Hub; see it with `python -m training runs`.\n"
    status = wait_until_ended(run)
    assert (status.state, status.message) == (
        "cancelled",
        "Cancelled: its job was stopped, and costs no more.",
    )
    assert (hub.jobs[0].status, load(run.path).ended) == ("CANCELED", "CANCELED")
    assert not hub.store.repos, "the bundle with the data is gone"
    with pytest.raises(RunError, match=r"The job of the run run has ended \(CANCELED\)"):
        process.resume(run)


def test_cancel_reaches_a_job_that_nobody_follows(rented, hub):
    run, _ = rented(stop_at=60)
    wait_for(lambda: 59 in copied(run))
    kill_follower(run)
    hub.fail("POST /api/jobs/ada/*/cancel", status=503, times=None)
    done = command("training", "cancel", run.path)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "The job could not be cancelled: the Hub has trouble (503). It may go on and cost $0.01 an hour, "
        "until its time-out. Try `python -m training cancel run` again, or stop it at "
        f"{load(run.path).job_url}."
    )
    hub.faults.clear()
    assert command("training", "cancel", run.path).returncode == 0
    assert (run.status().state, hub.jobs[0].status) == ("cancelled", "CANCELED")


def test_an_answer_that_is_lost_starts_no_second_job(rented, hub):
    hub.lose("POST /api/jobs/ada")
    run, _ = rented()
    finished(run)
    assert len(hub.jobs) == 1


def test_a_log_that_breaks_off_is_read_again_and_no_event_comes_twice(rented, hub):
    hub.cut("GET /api/jobs/ada/*/logs", after_bytes=5000, times=2)
    hub.fail("GET /api/jobs/ada/*", status=503, times=1)
    run, _ = rented()
    finished(run)


def test_events_that_the_log_lost_are_fetched_and_counted(rented, hub):
    lost = re.compile(r"::tweettune:: (20|21|22) ")
    run, _ = rented(line=lambda line: [] if lost.match(line) else [line, f"my token is {ADA}"])
    finished(run)
    assert "3 of the job's events were not in its log, and were fetched." in notes(run)
    assert "my token is ***" in (run.path / "job.log").read_text()
    assert ADA.encode() not in every_byte(run.path)


def test_a_model_that_is_not_what_the_job_pushed_is_not_taken(rented, hub):
    def tamper(line):
        return [re.sub(r'("model.safetensors": ")\w{4}', r"\g<1>0000", line)]

    run, _ = rented(line=tamper)
    status = wait_until_ended(run)
    assert re.fullmatch(
        r"1 of \d+ files of ada/tweettune-abcd1234 are not what the job pushed "
        r"\(first: model\.safetensors\)\. "
        r"Fetch them again: `python -m training resume run`\.",
        status.message,
    )
    assert not run.artifact.exists() and not (run.path / "artifact.partial").exists()
    assert ("dataset", "ada/tweettune-job-abcd1234") in hub.store.repos, "kept, so that resume can go on"


def test_a_time_out_says_what_to_do(rented, hub):
    run, _ = rented(stop_at=10)
    wait_for(lambda: 9 in copied(run))
    hub.jobs[0].end("ERROR", "Job timeout")
    assert wait_until_ended(run).message == (
        "The job ended as ERROR before it had a model (The Hub says of the job: Job timeout). "
        "Give a longer --job-timeout and train again."
    )


def test_a_download_that_fails_is_fetched_by_resume_without_a_second_job(rented, hub):
    hub.fail("GET /ada/tweettune-abcd1234/resolve/*/model.safetensors", status=500, times=None)
    run, _ = rented()
    status = wait_until_ended(run)
    assert status.state == "failed"
    hub.faults.clear()
    process.resume(run)
    finished(run)
    assert len(hub.jobs) == 1
