"""No command fails on its streams: without UTF-8, on a full disk, without a reader."""

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from inference import cli as inference_cli
from inference.common.command import BROKEN_PIPE, run_command
from inference.common.errors import TweetTuneError
from inference.common.store import write_json
from tests.support import REPOSITORY
from tests.support.deploying import deploy
from training.cli import main as training_cli
from training.recipes import load_recipe
from training.runs.run import create_run

ARTIFACT = REPOSITORY / "tests" / "fixtures" / "2026-11" / "run" / "artifact"
TEXT = "great 😀 dæy — ¡olé! \u2028 \ud83d"
ODD = "no-such-😀"
COMMANDS = {
    inference_cli: {
        "classify": [str(ARTIFACT), TEXT],
        "export": [ODD],
        "score": ["{posts}", "--model", str(ARTIFACT), "--output", "{out}"],
        "live": ["replay", "{posts}", "--model", str(ARTIFACT)],
        "serve": [ODD, "--port", "0"],
        "mcp": [ODD],
    },
    training_cli: {
        "train": [f"{ODD}.toml"],
        "evaluate": [ODD],
        "data": ["{posts}"],
        "index": [ODD],
        "audit": [ODD],
        "runs": [],
        "resume": [ODD],
        "cancel": [ODD],
        "rename": [ODD, "new"],
        "delete": [ODD],
        "ladder": ["--labels", ODD],
        "advise": [ODD],
        "freshness": [ODD],
        "doctor": [ODD],
        "distil": [ODD, "--depth", "1"],
        "tune": [f"{ODD}.toml"],
        "forecast": [f"{ODD}.toml"],
        "adapt": [f"{ODD}.txt"],
        "forgetting": [ODD],
        "push": [str(ARTIFACT), "ada/x", "--dry-run"],
        "push-data": ["{posts}", "ada/x", "--dry-run"],
    },
}
"""The call of each command, with text that no narrow encoding takes. A new command needs a line here."""
CASES = [(cli, name) for cli, commands in COMMANDS.items() for name in commands]


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    [commands] = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    return dict(commands.choices)


class Kept(io.BytesIO):
    """A stream's content, readable after it is closed."""

    def close(self) -> None:
        pass


@contextlib.contextmanager
def narrow(monkeypatch, encoding: str) -> Iterator[tuple[io.BytesIO, io.BytesIO]]:
    """Context in which standard output and error have this encoding and raise for other characters."""
    raw = Kept(), Kept()
    with monkeypatch.context() as patch:
        for name, into in zip(("stdout", "stderr"), raw, strict=True):
            patch.setattr(sys, name, io.TextIOWrapper(into, encoding=encoding, write_through=True))
        patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
        yield raw


@pytest.fixture
def places(tmp_path, home) -> dict[str, str]:
    """Return the files that the commands are tried on; there is a run that has failed, too."""
    posts = tmp_path / "posts-😀.jsonl"
    rows = [{"text": f"{TEXT} {n}", "label": f"{'☺☹'[n % 2]}"} for n in range(40)]
    posts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = create_run(load_recipe("smoke"))
    write_json(run.path / "status.json", {"state": "failed", "message": TEXT})
    return {"posts": str(posts), "out": str(tmp_path / "out.jsonl")}


def test_all_commands_are_tried():
    for cli, commands in COMMANDS.items():
        assert set(subparsers(cli.parser())) == set(commands)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize(("cli", "name"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_no_command_stumbles_where_output_is_no_utf8(cli, name, encoding, places, monkeypatch):
    words = [name, *(word.format(**places) for word in COMMANDS[cli][name])]
    with narrow(monkeypatch, encoding) as (out, error):
        status = cli.main(words)
    error_text = error.getvalue().decode(encoding)
    assert "Traceback" not in error_text
    assert (status == 0) is (ODD not in " ".join(words)), error_text
    assert status == 0 or error_text.count("\n") == 1 or name == "serve"  # which logs, too
    if "--json" in subparsers(cli.parser())[name].format_help() and status == 0:
        with contextlib.suppress(FileNotFoundError):
            os.remove(places["out"])
        with narrow(monkeypatch, encoding) as (out, _):
            assert cli.main([*words, "--json"]) == 0
        assert json.loads(out.getvalue().decode("ascii"))


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_no_help_stumbles_either(encoding, monkeypatch):
    for cli in COMMANDS:
        for words in ([], *([name] for name in subparsers(cli.parser()))):
            with narrow(monkeypatch, encoding) as (out, _), pytest.raises(SystemExit) as ended:
                cli.main([*words, "--help"])
            assert ended.value.code == 0 and out.getvalue()
    with narrow(monkeypatch, encoding) as (_, error):
        assert deploy.main([ODD]) == 1
    assert error.getvalue().count(b"\n") == 1


def test_json_is_ascii_everywhere(places, monkeypatch):
    with narrow(monkeypatch, "utf-8") as (out, _):
        assert training_cli.main(["runs", "--json"]) == 0
    assert json.loads(out.getvalue().decode("ascii"))["runs"][0]["message"] == TEXT


SPEAKING = """
import sys, argparse
from inference.common.command import run_command
def speak(given):
    for number in range(int(sys.argv[1])):
        print("a long line", number)
    return 0
parser = argparse.ArgumentParser()
parser.set_defaults(command=speak)
parser.add_argument("lines")
sys.exit(run_command(lambda: parser))
"""
DRAWING = SPEAKING.replace("print(", "Console().print(").replace(
    "import sys", "from rich.console import Console\nimport sys"
)


@pytest.mark.parametrize("script", [SPEAKING, DRAWING])
@pytest.mark.parametrize("lines", [1, 2_000])
def test_a_command_ends_quietly_without_a_reader_and_in_a_sentence_where_the_disk_is_full(script, lines):
    def end(where, into):
        done = subprocess.run(
            ["bash", "-c", f'"$@" {where}', "-", sys.executable, "-c", script, into],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr

    assert end("| true; exit ${PIPESTATUS[0]}", str(lines)) in [(BROKEN_PIPE, ""), (0, "")]
    full = (
        "What was asked for can't be written (No space left on device). Make room, or give another place.\n"
    )
    assert end("> /dev/full", str(lines)) == (1, full)
    assert end(">&- 2>&-", str(lines)) == (0, "")


def test_what_this_system_cant_encode_is_one_sentence(capsys):
    def open_it(given):
        raise UnicodeEncodeError("ascii", "dünn.csv", 1, 2, "ordinal not in range(128)")

    parser = argparse.ArgumentParser()
    parser.set_defaults(command=open_it)
    assert run_command(lambda: parser, []) == 1
    assert capsys.readouterr().err == (
        r"'d\xfcnn.csv' can't be written in the encoding of this system (ascii). "
        "Set PYTHONUTF8=1, or give another name.\n"
    )
    parser.set_defaults(debug=True, command=lambda given: (_ for _ in ()).throw(TweetTuneError("No.")))
    with pytest.raises(TweetTuneError):
        run_command(lambda: parser, [])
