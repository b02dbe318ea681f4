"""Jobs for the local Hub: `Machine` executes a command as a container would, `Script` plays one quickly.

    hub.on_job = Machine(tmp_path)               # the real thing, in a child process
    hub.on_job = Script(hub, trained.run)        # logs the events of a finished run, and pushes its artifact

The child of a Machine has this machine's Python, and nothing of the test's environment but the path.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi

from inference.common.store import read_jsonl, sha256_of
from tests.support import REPOSITORY, wait_for
from training.jobs.work import RESULTS, event_line
from training.publish.files import allowed
from training.runs import process


def wait_until_gone():
    """Wait until the processes that runs of this process started have ended, and been reaped."""
    wait_for(lambda: all(child.poll() is not None for child in process._children))


def job_environment(spec: dict, folder: Path, mounts: dict[str, str]) -> dict[str, str]:
    """Return a container's environment: the spec's variables and secrets, and the machine's own."""
    bare = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    asked = {name: mounts.get(value, value) for name, value in spec["environment"].items()}
    return bare | asked | spec.get("secrets", {})


class Machine:
    """Executes jobs. `seen`: the files of the bundle, as they were when the job began."""

    def __init__(self, hub, folder: Path):
        self.hub, self.folder = hub, folder
        self.seen: dict[str, bytes] = {}

    def __call__(self, job):
        folder = self.folder / job.id
        [volume] = job.spec["volumes"]
        self.seen = self.hub.files(volume["source"], kind=volume["type"])
        mounted = folder / "mounted"
        for name, content in self.seen.items():
            path = mounted / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        work = folder / "work"
        assert REPOSITORY not in work.parents, "a job must not find the code that it is to be sent"
        work.mkdir(parents=True)
        with subprocess.Popen(
            self._command(job.spec["command"]),
            cwd=work,
            env=job_environment(job.spec, folder, {volume["mountPath"]: str(mounted)}),
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            threading.Thread(target=self._stop, args=(job, process), daemon=True).start()
            job.logs.extend(line.rstrip("\n") for line in process.stdout)
        if process.returncode:
            raise RuntimeError(f"exit status {process.returncode}")

    @staticmethod
    def _command(words: list[str]) -> list[str]:
        """Return the command of `uv run --with PIN … python …`, without installing the pins."""
        assert words[:2] == ["uv", "run"]
        options = words[2 : words.index("python")]
        assert set(options[::2]) <= {"--with", "--python"} and all("==" in o for o in options[1:-1:2])
        return [sys.executable, *words[words.index("python") + 1 :]]

    @staticmethod
    def _stop(job, process):
        job.ended.wait()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


class Script:
    """Plays a job that trains `run`'s model: its events as a log, its artifact as a push.

    `stop_at`: the log ends there until `go` is set. `line`: gets each line, returns what is logged of it.
    """

    def __init__(self, hub, run, *, stop_at: int | None = None, line=lambda line: [line]):
        self.hub, self.run, self.stop_at, self.line = hub, run, stop_at, line
        self.go = threading.Event()
        self.jobs = []

    def __call__(self, job):
        self.jobs.append(job)
        task = json.loads(job.spec["environment"]["TWEETTUNE_JOB"])
        api = HfApi(endpoint=self.hub.endpoint, token=job.spec["secrets"]["HF_TOKEN"])
        events = [e for e in read_jsonl(self.run.path / "events.jsonl")]
        job.logs.append("Installed 23 packages.")
        for number, event in enumerate(events, 1):
            if number == self.stop_at:
                while not self.go.wait(0.02):
                    if job.ended.is_set():
                        return
            self._tell(job, number, event)
        events.append(self._push(api, task))
        self._tell(job, len(events), events[-1])
        self._leave(api, task, events)

    def _tell(self, job, number, event):
        if line := event_line(number, event):
            job.logs.extend(self.line(line))

    def _push(self, api, task) -> dict:
        found = [path for path in self.run.artifact.rglob("*") if path.is_file()]
        named = {path.relative_to(self.run.artifact).as_posix(): path for path in found}
        files = {name: path for name, path in named.items() if allowed(name)}
        api.create_repo(task["model"], private=True)
        adds = [CommitOperationAdd(name, str(path)) for name, path in files.items()]
        commit = api.create_commit(task["model"], adds, commit_message="Add").oid
        sha256 = {name: sha256_of(path) for name, path in files.items()}
        return {"time": 1.0, "kind": "pushed", "repo": task["model"], "commit": commit, "sha256": sha256}

    def _leave(self, api, task, events):
        text = "".join(json.dumps(event) + "\n" for event in events)
        adds = [CommitOperationAdd("result/events.jsonl", text.encode())] + [
            CommitOperationAdd(f"result/{name}", str(self.run.path / name))
            for name in RESULTS[1:]
            if (self.run.path / name).is_file()
        ]
        api.create_commit(task["bundle"], adds, commit_message="Add", repo_type="dataset")
