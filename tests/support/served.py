"""The app as its users get it: a real run on a tiny base, the real server in its own process."""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import gradio as gr

from tests.support import Trained, wait_for, warm
from training.recipes import change, load_recipe
from training.runs.process import start
from training.runs.run import create_run, find_run
from ui.train.form import RecipeForm

ROOT = Path(__file__).resolve().parent.parent.parent


def trained(base: Path, tweets: Path, folder: Path, *, timeout_s: float = 240, **changes: str):
    """Return a finished run of `smoke`, trained in a child process as the app does it."""
    settings = {"base": str(base), "dataset": str(tweets), **changes}
    run = create_run(change(load_recipe("smoke"), settings), run_dir=folder)
    start(run)
    wait_for(lambda: run.status().state in ("finished", "failed"), timeout_s)
    assert run.status().state == "finished", run.status().message
    return find_run(folder)


def with_run(home: Path, trained: Trained) -> Path:
    """Return a home whose only run, `first`, is a copy of a finished one."""
    shutil.copytree(trained.run.path, home / "runs" / "first")
    return home


def recipe_form(name: str) -> RecipeForm:
    """Return the Train tab's form. Without a running event loop Gradio would make one and leave it open."""

    async def build() -> RecipeForm:
        with gr.Blocks():
            return RecipeForm.build(load_recipe(name))

    return asyncio.run(build())


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def app(home: Path, *arguments: str, cwd: Path = ROOT, cold: bool = False, **environment: str):
    """Run `python app.py` and yield its URL; its output goes to app.log in its home.

    It starts warm, as do its trainings; `cold` is for tests of the start itself.
    """
    with app_process(home, *arguments, cwd=cwd, cold=cold, **environment) as (port, _):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def app_process(home: Path, *arguments: str, cwd: Path = ROOT, cold: bool = False, **environment: str):
    """Run it and yield its port and its process."""
    home.mkdir(parents=True, exist_ok=True)
    port = free_port()
    known = {**os.environ, "TWEETTUNE_HOME": str(home), "GRADIO_SERVER_PORT": str(port), **environment}
    known.pop("MODEL", None)
    with (home / "app.log").open("ab") as log, contextlib.nullcontext() if cold else warm.starts():
        process = subprocess.Popen(
            [sys.executable, "app.py", *arguments], cwd=cwd, env=known, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        wait_for(lambda: process.poll() is not None or answers(f"http://127.0.0.1:{port}/healthz"), 180)
        assert process.poll() is None, (home / "app.log").read_text()[-2000:]
        yield port, process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(url: str) -> str:
    """Return the answer of an address, "" without one."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()
    except OSError:
        return ""
