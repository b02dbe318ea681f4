"""Wherever a model is named, a run's name or folder is its artifact, and an address of the Hub its id."""

import argparse
import io
import json
import shutil

import pytest

from inference import cli
from inference.artifact import model_of
from inference.classifier import Classifier
from inference.common.errors import ArtifactError, TweetTuneError
from inference.serving.models import _about, sources_of
from tests.support import REPOSITORY
from training.cli import main as training_cli
from training.recipes import load_recipe
from training.runs.run import create_run
from ui.account import SpaceSettings
from ui.state import Workbench

FINISHED = REPOSITORY / "tests" / "fixtures" / "2026-11" / "run"


@pytest.fixture
def runs(home, monkeypatch):
    """Return the folder of two runs: demo, which is finished, and young, which is not."""
    shutil.copytree(FINISHED, home / "runs" / "demo")
    create_run(load_recipe("smoke"), run_dir=home / "runs" / "young")
    monkeypatch.chdir(home)
    return home / "runs"


def test_a_run_is_its_artifact(runs):
    artifact = runs / "demo" / "artifact"
    for given in ("demo", "runs/demo", "runs/demo/", runs / "demo", artifact, "runs/demo/artifact"):
        assert (runs.parent / model_of(given)).samefile(artifact), given
    assert model_of("ada/tweets") == "ada/tweets" and model_of("nothing") == "nothing"
    assert model_of("https://huggingface.co/ada/tweets/tree/main") == "ada/tweets"
    (artifact / "config.json").unlink()  # a damaged one is still what was meant
    assert model_of("demo") == str(artifact)


def test_models_to_serve_are_called_as_their_runs(runs):
    assert sources_of(["demo"]) == {"demo": str(runs / "demo" / "artifact")}
    assert sources_of(["first=runs/demo", "https://hf.co/ada/tweets/tree/main"]) == {
        "first": "runs/demo/artifact",
        "tweets": "ada/tweets",
    }


def test_classify_takes_a_run(runs, capsys):
    assert cli.main(["classify", "runs/demo", "what a day", "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["predictions"]
    assert found["text"] == "what a day"


def of_a_model(parser):
    [commands] = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    return {
        name
        for name, sub in commands.choices.items()
        for action in sub._actions
        if "artifact" in str(action.help) and "folder" in str(action.help)
    }


REFUSED = {"young": "The run young has no model", "https://hf.co/spaces/a/b": "it is the page of a Space"}
TRIED = {
    cli: {
        "classify": ["{}", "hi"],
        "export": ["{}"],
        "score": ["runs/p.jsonl", "--model", "{}", "--output", "runs/o.jsonl"],
        "live": ["replay", "runs/p.jsonl", "--model", "{}"],
        "serve": ["{}", "--port", "0"],
        "mcp": ["{}"],
    },
    training_cli: {"evaluate": ["{}"]},
}


def test_every_command_of_a_model_takes_names_alike(runs, capsys):
    (runs / "p.jsonl").write_text('{"text": "hi"}\n')
    for command, tried in TRIED.items():
        assert of_a_model(command.parser()) == set(tried)
        for name, words in tried.items():
            for model, why in REFUSED.items():
                assert command.main([name, *(word.format(model) for word in words)]) == 1
                said = capsys.readouterr().err
                assert why in said and said.count("\n") == 1, said


def test_the_app_takes_names_alike(runs):
    workbench = Workbench(settings=SpaceSettings(), load_tuned=lambda source: pytest.fail(source))
    for model, kind in {"young": ArtifactError, "https://hf.co/spaces/a/b": TweetTuneError}.items():
        with pytest.raises(kind):
            workbench.use(model)


def test_a_files_name_as_a_text_is_asked_about(runs, capsys, monkeypatch):
    (runs.parent / "tweets.csv").write_text("text\nhi\n")
    assert cli.main(["classify", "demo", "hello", "tweets.csv"]) == 1
    assert capsys.readouterr().err == (
        "tweets.csv is a file here, so nothing was classified. Give --file tweets.csv for its lines, or its "
        "name on standard input if that is the text.\n"
    )
    monkeypatch.setattr("sys.stdin", open_terminal("y\n"))
    assert cli.main(["classify", "demo", "tweets.csv"]) == 0
    said = capsys.readouterr()
    assert "tweets.csv" in said.out and "Classify its name as a text? [y/N]" in said.err
    monkeypatch.setattr("sys.stdin", open_terminal("\n"))
    assert cli.main(["classify", "demo", "tweets.csv"]) == 1


def open_terminal(line: str):
    stdin = io.StringIO(line)
    stdin.isatty = lambda: True
    return stdin


def test_a_torn_provenance_keeps_no_model_from_answering(runs):
    artifact = runs / "demo" / "artifact"
    for content in (b"{", b"[]", b"\xff"):
        (artifact / "provenance.json").write_bytes(content)
        assert _about("demo", Classifier.load(artifact))["provenance"] == {}
