"""The first thing that runs in a job: fetch the crate, install what is missing, start `training.jobs.work`.

    python -c "<this file>"       # with HF_TOKEN (a secret) and TWEETTUNE_JOB (JSON) in the environment

It is sent as text, so it knows the standard library alone. An image that has every pin needs no installing.
"""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path


def say(text: str) -> None:
    """Print a line at once, for the job's log."""
    print(text, flush=True)  # noqa: T201  (a job speaks by its output)


def fetch(task: dict[str, str], name: str) -> Path:
    """Download a file of the crate."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    request = urllib.request.Request(f"{endpoint}/datasets/{task['crate']}/resolve/{task['revision']}/{name}")
    # Unredirected: the token must not follow a redirect to the storage's own address.
    request.add_unredirected_header("Authorization", f"Bearer {os.environ['HF_TOKEN']}")
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with urllib.request.urlopen(request, timeout=60) as answer:
        path.write_bytes(answer.read())
    return path


def missing(pins: list[str]) -> list[str]:
    """Return the pins that this machine does not have in that version."""
    wanted = []
    for pin in pins:
        name, _, version = pin.partition("==")
        try:
            found = importlib.metadata.version(name.split("[")[0])
        except importlib.metadata.PackageNotFoundError:
            found = ""
        if found.split("+")[0] != version:
            wanted.append(pin)
    return wanted


def install(pins: list[str], *, alone: list[str]) -> None:
    """Install pins; those of `alone` without what they ask for. Raises CalledProcessError."""
    by_uv = ["uv", "pip", "install", "--system"]
    command = by_uv if shutil.which("uv") else [sys.executable, "-m", "pip", "install"]
    for some, options in (
        ([p for p in pins if p not in alone], []),
        ([p for p in pins if p in alone], ["--no-deps"]),
    ):
        if some:
            subprocess.run([*command, *options, *some], check=True)


def main() -> int:
    """Prepare the job's folder and hand over. Returns the exit status."""
    task = json.loads(os.environ["TWEETTUNE_JOB"])
    folder = Path(task.get("folder", "tweettune-job")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    say(f"Fetching {len(task['files'])} files of {task['crate']} at {task['revision'][:8]}.")
    for name in task["files"]:
        fetch(task, name)
    with zipfile.ZipFile("code.zip") as archive:
        archive.extractall("tweettune")
    wanted = missing(task["requirements"])
    say(f"Installing {len(wanted)} of {len(task['requirements'])} packages.")
    install(wanted, alone=task["alone"])
    environment = {**os.environ, "PYTHONPATH": str(folder / "tweettune"), "PYTHONUNBUFFERED": "1"}
    os.execve(sys.executable, [sys.executable, "-m", "training.jobs.work"], environment)


if __name__ == "__main__":
    main()
