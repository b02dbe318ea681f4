"""The Dockerfile, without an engine to build it: hadolint's rules, and what those can't know of it."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from inference import __version__
from tests.support import REPOSITORY, exporting, wait_for

DOCKERFILE = REPOSITORY / "Dockerfile"
HADOLINT = Path(sys.executable).with_name("hadolint")


def instructions() -> list[tuple[str, str]]:
    """Return (instruction, the rest), with continued lines joined and comments dropped."""
    lines = [line for line in DOCKERFILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def given(name: str) -> list[str]:
    return [rest for found, rest in instructions() if found == name]


def environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for rest in given("ENV") for pair in shlex.split(rest))


def lint(text: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [HADOLINT, "--no-color", "-"], input=text, capture_output=True, text=True, timeout=60, check=False
    )


def test_hadolint_finds_nothing():
    done = lint(DOCKERFILE.read_text(encoding="utf-8"))
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_find_a_fault():
    done = lint(DOCKERFILE.read_text(encoding="utf-8").replace("--no-cache-dir", ""))
    assert done.returncode == 1
    assert "DL3042" in done.stdout


def test_the_base_is_a_slim_python_pinned_to_its_patch_version():
    [base] = given("FROM")
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", base)


def test_what_is_copied_exists_and_is_let_through_by_dockerignore():
    ignored = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored, "the context is an allow-list"
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    sources = {source.rstrip("/") for rest in given("COPY") for source in rest.split()[:-1]}
    assert sources == allowed
    for source in sources:
        assert (REPOSITORY / source).exists(), source


def test_only_inference_and_its_licence_go_in():
    targets = [rest.split() for rest in given("COPY")]
    assert [words[0] for words in targets] == ["requirements-serve.txt", "LICENSE", "inference/"]
    assert not given("ADD")


def test_requirements_come_before_code_so_that_a_change_of_code_installs_nothing():
    order = [f"{name} {rest}" for name, rest in instructions()]
    install = next(place for place, line in enumerate(order) if "pip install" in line)
    code = next(place for place, line in enumerate(order) if line.startswith("COPY inference/"))
    assert install < code
    assert "--only-binary=:all:" in order[install], "no wheel is built, so no build tools are needed"
    assert not re.search(r"apt-get|build-essential|gcc", "\n".join(order))


def test_the_user_is_a_number_and_not_root_from_before_the_start():
    [user] = given("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    names = [name for name, _ in instructions()]
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert "RUN" not in names[names.index("USER") :]


def test_the_server_is_process_1_and_gets_sigterm():
    [entry] = given("ENTRYPOINT")
    assert json.loads(entry) == ["python", "-m", "inference", "serve", "--host", "0.0.0.0"]
    assert given("STOPSIGNAL") == ["SIGTERM"]
    assert not given("CMD")


def test_the_health_check_runs_and_asks_whether_the_server_is_ready():
    [check] = given("HEALTHCHECK")
    options, command = check.split("CMD", 1)
    assert "--start-period=" in options
    words = json.loads(command)
    assert words[:2] == ["python", "-c"]
    assert "/readyz" in words[2]
    done = subprocess.run(
        [sys.executable, *words[1:]],
        env={"PORT": "9"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "Connection refused" in done.stderr


def test_port_and_model_are_set():
    known = environment()
    assert given("EXPOSE") == [known["PORT"]]
    assert known["MODEL"] == "/model"


def test_the_labels_name_licence_and_version():
    text = " ".join(given("LABEL"))
    assert f"VERSION={__version__}" in given("ARG")
    for name in ("title", "description", "version", "licenses"):
        assert f"org.opencontainers.image.{name}=" in text


@pytest.mark.parametrize("word", ["TOKEN", "SECRET", "PASSWORD", "KEY"])
def test_no_secret_is_baked_in(word):
    assert not [name for name in environment() if word in name]


def pins(name: str) -> dict[str, str]:
    """Return the packages of a requirements file with their versions."""
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)==([\w.+]+)", text, re.MULTILINE))


def test_the_images_requirements_are_the_projects_own_pins():
    known, served = pins("requirements.txt"), pins("requirements-serve.txt")
    assert served
    assert {name: known.get(name) for name in served} == served
    assert not served.keys() & {"torch", "transformers", "gradio", "peft", "datasets", "scikit-learn"}


ONLY = '''
"""Runs at the interpreter's start: what is not installed in the image can't be imported."""

import sys


class Image:
    missing = frozenset({missing!r})

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.missing:
            raise ModuleNotFoundError(f"No module named {{name!r}} in the image", name=name)


sys.meta_path.insert(0, Image())
'''


def installed_with(names: Iterable[str]) -> set[str]:
    """Return distributions with all that they require here, by their normal names."""
    found: set[str] = set()
    waiting = [canonicalize_name(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        needed = map(Requirement, metadata.requires(name) or [])
        waiting += [
            canonicalize_name(one.name)
            for one in needed
            if not one.marker or one.marker.evaluate({"extra": ""})
        ]
    return found


@pytest.fixture
def image(tmp_path) -> tuple[Path, dict[str, str]]:
    """Return the image's work folder, and its environment, in which only its packages can be imported."""
    there = installed_with(pins("requirements-serve.txt"))
    owners = metadata.packages_distributions().items()
    missing = sorted(name for name, by in owners if not {canonicalize_name(each) for each in by} & there)
    assert {"torch", "transformers", "gradio"} <= set(missing)
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(ONLY.format(missing=missing), encoding="utf-8")
    app = tmp_path / "app"
    shutil.copytree(REPOSITORY / "inference", app / "inference", ignore=shutil.ignore_patterns("__pycache__"))
    known = environment() | {
        "HF_HOME": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(site),
    }
    return app, known | {"PATH": os.environ["PATH"]}


def start(image: tuple[Path, dict[str, str]], log: Path, **environment: str) -> subprocess.Popen:
    """Start the image's entry point, without a container."""
    folder, known = image
    _, *words = json.loads(given("ENTRYPOINT")[0])
    words = ["127.0.0.1" if word == "0.0.0.0" else word for word in words]
    with log.open("w") as output:
        return subprocess.Popen(
            [sys.executable, *words], cwd=folder, env=known | environment, stdout=output, stderr=output
        )


def test_the_image_serves_an_exported_model_and_stops_when_told(image, trained_gpt2, tmp_path):
    artifact = exporting.exported(trained_gpt2.artifact, tmp_path / "model")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = start(image, tmp_path / "log", MODEL=str(artifact), PORT=str(port))
    try:
        check = json.loads(given("HEALTHCHECK")[0].split("CMD", 1)[1])[1:]
        wait_for(lambda: process.poll() is not None or healthy(check, port), seconds=60, every=0.2)
        assert process.poll() is None, (tmp_path / "log").read_text()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/", b'{"inputs": "a day"}', {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert len(json.load(answer)[0]) == 3
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, (tmp_path / "log").read_text()
    finally:
        process.kill()
        process.wait()


def healthy(check: list[str], port: int) -> bool:
    """Run the image's health check."""
    done = subprocess.run(
        [sys.executable, *check], env={"PORT": str(port)}, capture_output=True, timeout=30, check=False
    )
    return done.returncode == 0


def test_the_image_says_what_a_model_lacks_that_was_not_exported(image, trained_gpt2, tmp_path):
    process = start(image, tmp_path / "log", MODEL=str(trained_gpt2.artifact), PORT="0")
    try:
        assert process.wait(60) == 1
    finally:
        process.kill()
        process.wait()
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said
    assert "inference export" in said
