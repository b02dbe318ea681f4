"""A warm start is as a cold one: what a process is given, what it says, and how it ends."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.support import command, warm

PROBE = """
import json, os, sys
streams = [(s.encoding, s.errors, s.line_buffering) for s in (sys.stdin, sys.stdout, sys.stderr)]
shown = open("/proc/self/cmdline").read().split(chr(0))[1:5]
found = dict(words=sys.argv[1:], folder=os.getcwd(), first=sys.path[0], name=__name__, read=sys.stdin.read(),
    variables={n: v for n, v in os.environ.items() if n != "LC_CTYPE"}, leads=os.getsid(0) == os.getpid(),
    streams=streams, shown=shown, open=len(os.listdir("/proc/self/fd")), torch="torch" in sys.modules)
print(json.dumps(found))
print("a word", file=sys.stderr)
if sys.argv[1] == "breaks":
    raise ValueError("broken")
import atexit
atexit.register(print, "the end")
sys.exit({"says": "why not", "counts": 7, "waits": None}[sys.argv[1]] if sys.argv[1] != "waits" else input())
"""


@pytest.fixture
def probed(tmp_path, monkeypatch):
    (tmp_path / "probe.py").write_text(PROBE)
    monkeypatch.setattr(warm, "COMMANDS", {"probe"})
    given = {"input": "words\n", "capture_output": True, "text": True, "start_new_session": True}
    given["env"] = dict(os.environ)  # what a library of C has set is not in it

    return lambda how, *flags: subprocess.run(
        [sys.executable, *flags, "-m", "probe", how, "zwei drei é"], cwd=tmp_path, **given
    )


@pytest.mark.parametrize("how", ["counts", "says", "breaks"])
def test_a_warm_start_is_as_a_cold_one(probed, how):
    cold = probed(how)
    with warm.starts():
        hot = probed(how)
    assert hot.returncode == cold.returncode
    (found, *rest), (wanted, *others) = hot.stdout.splitlines(), cold.stdout.splitlines()
    found, wanted = json.loads(found), json.loads(wanted)
    assert (found.pop("torch"), wanted.pop("torch")) == (True, False)
    assert found == wanted and rest == others
    assert hot.stderr.splitlines()[-1] == cold.stderr.splitlines()[-1]


def test_what_a_launcher_starts_unbuffered_is_warm_too(probed):
    with warm.starts():
        found = json.loads(probed("counts", "-u").stdout.splitlines()[0])
    assert found["torch"] and found["words"] == ["counts", "zwei drei é"]
    assert found["variables"]["PYTHONUNBUFFERED"] == "1"


def test_what_is_killed_says_so(warm_starts, tmp_path, monkeypatch):
    (tmp_path / "probe.py").write_text("import sys\nprint(1, flush=True)\nsys.stdin.read()\n")
    monkeypatch.setattr(warm, "COMMANDS", {"probe"})
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": tmp_path}
    with subprocess.Popen([sys.executable, "-m", "probe"], **pipes) as running:
        assert running.stdout.readline() == b"1\n" and running.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(0.1)
        running.kill()
        assert running.wait(30) == -signal.SIGKILL
    with subprocess.Popen([sys.executable, "-m", "probe"], **pipes) as running:
        running.communicate()
    assert running.returncode == 0


def test_our_own_commands_start_warm_and_what_changes_python_does_not():
    server = warm._server_for
    ours, known = [sys.executable, "-m", "training"], warm._Server.environment
    assert server(ours, known, warm.REPOSITORY) == "ours"
    assert server(ours, {**known, "TWEETTUNE_HOME": "x"}, warm.REPOSITORY) == "ours"
    assert server(ours, {**known, "HF_ENDPOINT": "x"}, warm.REPOSITORY) == "plain"
    assert server(ours, known, warm.REPOSITORY.parent) == "plain", "another folder's code"
    for name in ("PYTHONSTARTUP", "OMP_NUM_THREADS", "TZ", "LANG"):
        assert server(ours, {**known, name: "9"}, warm.REPOSITORY) == ""
    for words in (
        [sys.executable, "-c", "1"],
        ["sleep", "1"],
        [sys.executable, "-X", "importtime"],
        "training",
    ):
        assert server(words, known, warm.REPOSITORY) == ""


def test_the_children_have_the_tests_home(warm_starts, home):
    done = command("training", "runs")
    assert (done.returncode, done.stdout.split(".")[0]) == (0, "There are no runs yet"), done.stderr
