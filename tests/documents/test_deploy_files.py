"""The files that a deployment would send, and the example of a CI job."""

import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from tests.support import REPOSITORY
from tests.support.deploying import SCRIPT, deploy
from tests.support.hub_fixtures import ADA

WORKFLOW = REPOSITORY / ".github" / "workflows" / "deploy-space.yml"


@pytest.fixture
def checkout(tmp_path):
    """Return a folder with the files that must be there."""
    (tmp_path / "ui").mkdir()
    for name in deploy.ALLOWED:
        if "*" not in name:
            (tmp_path / name).write_text("x", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("content", "says"),
    [(f"token = '{ADA}'", "what looks like a token"), ("p = '/ho" + "me/ada/x'", "a folder of this machine")],
)
def test_a_file_with_a_token_or_a_machines_path_stops_it(checkout, content, says):
    (checkout / "ui" / "page.py").write_text(content, encoding="utf-8")
    with pytest.raises(deploy.DeployError, match=f"ui/page.py .*{says}"):
        deploy.collect(checkout)


def test_only_files_of_the_allow_list_are_collected(checkout):
    for name in (
        "ui/a.py",
        "ui/a.txt",
        ".env",
        "ui/__pycache__/a.py",
        "notes.md",
        "runs/x/model.safetensors",
    ):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("x", encoding="utf-8")
    (checkout / "ui" / "link.py").symlink_to(checkout / ".env")
    assert set(deploy.collect(checkout)) == {n for n in deploy.ALLOWED if "*" not in n} | {"ui/a.py"}
    (checkout / "app.py").unlink()
    with pytest.raises(deploy.DeployError, match=r"lacks app\.py"):
        deploy.collect(checkout)


# --- the example of a CI job


def test_the_workflow_runs_the_script_with_the_pins_of_the_project():
    job = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    steps = job["jobs"]["deploy"]["steps"]
    commands = [step["run"] for step in steps if "run" in step]
    pins = dict(
        re.findall(r"^([\w-]+)==([\w.]+)", (REPOSITORY / "requirements.txt").read_text(), re.MULTILINE)
    )
    named = dict(word.split("==") for word in commands[0].split() if "==" in word)
    assert named == {name: pins[name] for name in named} and "huggingface_hub" in named
    words = shlex.split(commands[-1])
    assert words[:2] == ["python", ".huggingface/deploy.py"]
    deploy.parser().parse_args(words[2:])
    assert not [command for command in commands if "${{" in command], "nothing is pasted into a shell"
    assert steps[-1]["env"]["HF_TOKEN"] == "${{ secrets.HF_TOKEN }}"
    assert job["permissions"] == {"contents": "read"}


def needed_by(*names: str) -> set[str]:
    """Return these packages and all that pip installs with them, in small letters."""
    found, waiting = set(), list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name not in found:
            found.add(name)
            try:
                asked = metadata.requires(name) or []
            except metadata.PackageNotFoundError:  # one of another system's
                asked = []
            waiting += [re.match(r"[\w.-]+", line)[0] for line in asked if "extra ==" not in line]
    return found


def test_the_script_needs_the_hubs_client_alone():
    """A CI job installs two packages, not torch: it runs with every other package of this machine away."""
    there = needed_by("huggingface_hub", "httpx2")
    away = [
        module
        for module, packages in metadata.packages_distributions().items()
        if not {re.sub(r"[-_.]+", "-", name).lower() for name in packages} & there
    ]
    assert {"torch", "transformers", "gradio", "numpy"} <= set(away)
    code = f"import runpy, sys\nfor name in {away!r}: sys.modules[name] = None\n" + (
        f"sys.argv = ['deploy.py', '--help']\nrunpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "") and "OWNER/NAME" in done.stdout
    assert Path(deploy.ROOT) == REPOSITORY
