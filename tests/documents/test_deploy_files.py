"""What a deployment sends, looked at before anything is sent; and the example of a CI job."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml

from tests.support import REPOSITORY
from tests.support.deploying import FOLDER, deploy, hub_calls, space_files
from tests.support.hub_fixtures import ADA

WORKFLOW = REPOSITORY / ".github" / "workflows" / "deploy-space.yml"


@pytest.fixture
def checkout(tmp_path):
    """Return a folder with the files that must be there."""
    for name in space_files.ALLOWED:
        if "*" not in name:
            (tmp_path / name).write_text("x", encoding="utf-8")
    (tmp_path / "ui").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("content", "says"),
    [(f"token = '{ADA}'", "what looks like a token"), ("p = '/ho" + "me/ada/x'", "a folder of this machine")],
)
def test_a_file_with_a_token_or_a_machines_path_stops_it(checkout, content, says):
    (checkout / "ui" / "page.py").write_text(content, encoding="utf-8")
    with pytest.raises(hub_calls.DeployError, match=f"ui/page.py .*{says}"):
        space_files.collect(checkout)


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
    assert set(space_files.collect(checkout)) == {n for n in space_files.ALLOWED if "*" not in n} | {
        "ui/a.py"
    }
    (checkout / "app.py").unlink()
    with pytest.raises(hub_calls.DeployError, match=r"lacks app\.py"):
        space_files.collect(checkout)


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


def test_the_script_needs_the_hubs_client_alone():
    """A CI job installs two packages, not torch."""
    text = "".join(
        (FOLDER / f"{name}.py").read_text(encoding="utf-8") for name in ("deploy", "hub_calls", "space_files")
    )
    named = set(re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE)) - set(sys.stdlib_module_names)
    assert named == {"huggingface_hub", "httpx2", "hub_calls", "space_files"}
    assert Path(deploy.ROOT) == REPOSITORY
