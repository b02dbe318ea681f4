"""Spaces and jobs of the local Hub, driven by the real client."""

import threading

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, Volume
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, JobNotFoundError

from tests.support import wait_for
from tests.support.hub_fixtures import ADA

FILES = {"README.md": b"---\nsdk: gradio\napp_file: app.py\n---\n", "app.py": b"print()"}


@pytest.fixture
def ada(online):
    return HfApi(token=ADA)


@pytest.fixture
def space(hub, ada):
    ada.create_repo("ada/demo", repo_type="space", space_sdk="gradio", space_hardware="t4-small")
    return hub.space("ada/demo")


def deploy(ada, files=FILES):
    operations = [CommitOperationAdd(path, content) for path, content in files.items()]
    return ada.create_commit("ada/demo", operations, commit_message="deploy", repo_type="space")


def test_a_space_comes_up_after_some_looks(hub, ada, space):
    assert (space.stage, space.hardware) == ("NO_APP_FILE", "t4-small")
    made = deploy(ada)
    assert (space.stage, space.builds) == ("BUILDING", 1)
    space.url, space.polls = "http://127.0.0.1:7860", 3
    stages = [ada.get_space_runtime("ada/demo").stage for _ in range(3)]
    assert stages == ["BUILDING", "APP_STARTING", "RUNNING"]
    runtime = ada.wait_for_space("ada/demo", timeout=5, poll_interval=0.01)
    assert (runtime.hardware, runtime.raw["sha"]) == ("t4-small", made.oid)
    assert runtime.raw["domains"][0]["domain"] == "127.0.0.1:7860"
    info = ada.space_info("ada/demo")
    assert (info.host, info.sdk, info.subdomain) == ("http://127.0.0.1:7860", "gradio", "ada-demo")


@pytest.mark.parametrize(
    ("files", "stage"),
    [
        ({"app.py": b""}, "CONFIG_ERROR"),
        ({"README.md": FILES["README.md"]}, "NO_APP_FILE"),
        (FILES, "RUNTIME_ERROR"),
    ],
)
def test_a_space_that_does_not_come_up_says_why(hub, ada, space, files, stage):
    space.ends_as, space.error = "RUNTIME_ERROR", "exit code 1"
    deploy(ada, files)
    space.logs["run"].append("Traceback")
    assert ada.wait_for_space("ada/demo", timeout=5, poll_interval=0.01).stage == stage
    assert list(ada.fetch_space_logs("ada/demo")) == ["Traceback"]
    if stage == "RUNTIME_ERROR":
        assert ada.get_space_runtime("ada/demo").raw["errorMessage"] == "exit code 1"


def test_a_spaces_settings(hub, ada, space):
    deploy(ada)
    ada.wait_for_space("ada/demo", timeout=5, poll_interval=0.01)
    ada.add_space_secret("ada/demo", "HF_TOKEN", "secret value", description="for pushes")
    assert space.stage == "RUNNING_APP_STARTING" and space.secrets == {"HF_TOKEN": "secret value"}
    [secret] = ada.get_space_secrets("ada/demo").values()
    assert secret.description == "for pushes" and "secret value" not in str(vars(secret))
    assert ada.add_space_variable("ada/demo", "MODEL_ID", "ada/m")["MODEL_ID"].value == "ada/m"
    with pytest.raises(BadRequestError, match="Collision"):
        ada.add_space_secret("ada/demo", "MODEL_ID", "x")
    assert ada.delete_space_variable("ada/demo", "MODEL_ID") == {}
    assert ada.request_space_hardware("ada/demo", "cpu-upgrade", sleep_time=600).sleep_time == 600
    assert ada.pause_space("ada/demo").stage == "PAUSED"
    assert ada.restart_space("ada/demo").stage == "APP_STARTING"
    volume = Volume(type="bucket", source="ada/runs", mount_path="/data")
    with pytest.raises(HfHubHTTPError, match="Bucket not found"):
        ada.set_space_volumes("ada/demo", [volume])
    assert ada.create_bucket("ada/runs", private=True).bucket_id == "ada/runs"
    ada.create_bucket("ada/runs", exist_ok=True)
    ada.set_space_volumes("ada/demo", [volume])
    assert ada.get_space_runtime("ada/demo").volumes == [volume] and ada.bucket_info("ada/runs").private


def test_others_see_a_space_but_not_its_settings(hub, space):
    with pytest.raises(HfHubHTTPError, match="401"):
        HfApi(token=False).get_space_secrets("ada/demo")
    hub.add_user("ada", token="hf_" + "r" * 34, role="read")
    with pytest.raises(HfHubHTTPError, match="403"):
        HfApi(token="hf_" + "r" * 34).add_space_secret("ada/demo", "A", "b")
    assert space.secrets == {}


def run(ada, **options):
    return ada.run_job(image="python:3.11", command=["python", "-c", "print()"], **options)


def test_a_job_does_the_tests_work_and_its_logs_are_followed(hub, ada):
    go = threading.Event()

    def work(job):
        job.logs.append("first")
        assert go.wait(10)
        job.logs.append("last")

    hub.on_job = work
    job = run(
        ada, flavor="t4-small", secrets={"HF_TOKEN": ADA}, env={"A": "b"}, timeout="2h", labels={"x": "y"}
    )
    assert hub.jobs[0].spec["secrets"] == {"HF_TOKEN": ADA} and hub.jobs[0].spec["timeoutSeconds"] == 7200
    lines = iter(ada.fetch_job_logs(job_id=job.id, follow=True))
    assert next(lines) == "first"
    seen = ada.inspect_job(job_id=job.id)
    assert (seen.status.stage, seen.flavor, seen.environment) == ("RUNNING", "t4-small", {"A": "b"})
    assert list(seen.secrets) == ["HF_TOKEN"] and ADA not in str(seen)
    go.set()
    assert list(lines) == ["last"]
    assert ada.wait_for_job(job.id, timeout=5, poll_interval=0.01).status.stage == "COMPLETED"
    assert [j.id for j in ada.list_jobs(labels={"x": "y"}, namespace="ada")] == [job.id]
    assert not list(ada.list_jobs(status="RUNNING", namespace="ada"))


def test_a_job_is_cancelled_fails_or_takes_too_long(hub, ada):
    def work(job):
        if job.spec["environment"].get("FAIL"):
            raise RuntimeError("exit code 1")
        assert job.ended.wait(10)

    hub.on_job = work
    cancelled, late = run(ada), run(ada, timeout=1)
    ada.cancel_job(job_id=cancelled.id)
    assert wait_for(lambda: hub.jobs[0].ended.is_set())
    failed = run(ada, env={"FAIL": "1"})
    states = ada.wait_for_job([cancelled.id, late.id, failed.id], timeout=10, poll_interval=0.05)
    assert [(s.status.stage, s.status.message) for s in states] == [
        ("CANCELED", None),
        ("ERROR", "Job timeout"),
        ("ERROR", "Job failed: exit code 1"),
    ]


def test_a_job_that_can_not_be_had_is_refused(hub, ada):
    with pytest.raises(BadRequestError, match="Invalid flavor"):
        run(ada, flavor="h9000")
    with pytest.raises(HfHubHTTPError, match="403"):
        run(ada, namespace="bob")
    with pytest.raises(JobNotFoundError):
        ada.inspect_job(job_id="0" * 24)
    hub.add_user("eve", token="hf_" + "e" * 34, paying=False)
    with pytest.raises(HfHubHTTPError, match="402"):
        run(HfApi(token="hf_" + "e" * 34))
    assert hub.jobs == []
    assert {row.name: row.unit_cost_usd for row in ada.list_jobs_hardware()}["t4-small"] == 0.006667
