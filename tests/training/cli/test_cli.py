"""The command line, from end to end: what a person or a script gets on each stream, and the exit status."""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from inference.cli import main as classify
from inference.cli import parser as inference_parser
from inference.common.command import positive, whole
from inference.selective import threshold_on
from tests.support import REPOSITORY, at_a_terminal, command, train_arguments, tweets, wait_for, write_csv
from training.cli.main import main, parser
from training.evaluate.scores import Evaluation
from training.recipes import available_recipes, settings
from training.runs import run as jobs

LONG = "a" * 400
"""A file's name that no system takes."""

pytestmark = [pytest.mark.usefixtures("warm_starts"), pytest.mark.slow]

TRAINING_COMMANDS = ["train", "evaluate", "data", "runs", "resume", "cancel"]


def one_object(stdout):
    """Parse standard output that must hold exactly one JSON object, on one line."""
    assert stdout.count("\n") == 1 and stdout.endswith("\n")
    return json.loads(stdout)


def check_scores(record):
    assert record["n"] > 0
    for system in record["systems"]:
        scores = system["scores"]
        for key in ("accuracy", "macro_f1", "macro_recall", "expected_calibration_error"):
            assert scores[key].keys() == {"value", "low", "high"}
            assert 0 <= scores[key]["low"] <= scores[key]["value"] <= scores[key]["high"] <= 1
        assert scores["per_class_f1"].keys() == {"negative", "neutral", "positive"}
        assert all(score.keys() == {"value", "low", "high"} for score in scores["per_class_f1"].values())


def refused(capsys, run, *arguments):
    """Return the one line of an error."""
    assert run([str(word) for word in arguments]) == 1
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr.count("\n") == 1 and "Traceback" not in stderr
    return stderr.strip()


# numbers


def test_a_number_below_what_an_option_takes_is_refused_under_the_name_that_was_given(capsys):
    tried = []
    for program in (parser(), inference_parser()):
        [commands] = (one for one in program._actions if isinstance(one, argparse._SubParsersAction))
        for name, sub in commands.choices.items():
            for each in (one for one in sub._actions if one.type in (int, whole, positive)):
                with pytest.raises(SystemExit):
                    program.parse_args([name, each.option_strings[0], "-3"])
                said = capsys.readouterr().err
                assert f"argument {each.option_strings[0]}: -3 is not a number" in said, name
                tried.append((name, each.option_strings[0]))
    assert {("evaluate", "--limit"), ("tune", "--trials"), ("live", "--limit"), ("ladder", "--seed")} <= {
        *tried
    }


@pytest.mark.parametrize(
    ("run", "words", "said"),
    [
        ("training", ["audit", "--max-length", "7"], "--max-length is 7."),
        ("training", ["ladder", "--price", "-1"], "--price is -1."),
        ("training", ["ladder", "--precision", "-1"], "--precision is -1."),
        ("training", ["tune", "quick", "--trials", "0"], "--trials is 0."),
        ("training", ["forecast", "quick", "--most", "3"], "--most is 3."),
        ("inference", ["serve", "x", "--max-queue", "0"], "max_queue is 0."),
        ("inference", ["serve", "x", "--deadline-s", "-1"], "deadline_s is -1."),
        ("inference", ["serve", "x", "--workers", "0"], "workers"),
        ("inference", ["live", "bluesky", "--model", "x", "--precision", "-1"], "precision is -1."),
    ],
)
def test_a_sentence_about_a_number_names_what_was_given_alone(run, words, said, capsys, home):
    message = refused(capsys, main if run == "training" else classify, *words)
    assert said in message
    given = {word for word in words if word.startswith("--")}
    assert {word for word in re.findall(r"--[a-z-]+", message)} <= given
    assert not (home / "runs").exists()


# train


def test_train_with_json_prints_one_object_with_scores_and_intervals(trained_gpt2):
    record = one_object(trained_gpt2.stdout)
    check_scores(record)
    names = [system["name"] for system in record["systems"]]
    assert names == ["majority", "bag of words", "base", "fine-tuned"]
    assert (record["split"], record["n"], record["run"]) == ("test", 60, "gpt2")
    assert record["artifact"] == str(trained_gpt2.artifact)
    assert [one["second"] for one in record["comparisons"] if one["sentence"]] == ["fine-tuned"] * 3


@pytest.mark.alone
def test_reuse_of_a_finished_run_takes_seconds_and_trains_nothing(trained_gpt2, capsys):
    before = (trained_gpt2.run.path / "events.jsonl").read_bytes()
    arguments = train_arguments(trained_gpt2.base, trained_gpt2.data, trained_gpt2.run.path)
    start = time.monotonic()
    assert main([*map(str, arguments), "--reuse"]) == 0
    assert time.monotonic() - start < 3
    stdout, stderr = capsys.readouterr()
    assert "Run gpt2, on the locked test split (n = 60, percent, 95 % interval)" in stdout
    assert "base, zero-shot" in stdout and "fine-tuned" in stdout
    assert stderr.endswith(f"The model is in {trained_gpt2.artifact}\n")
    assert (trained_gpt2.run.path / "events.jsonl").read_bytes() == before


def test_without_reuse_a_taken_folder_is_refused(trained_gpt2, capsys):
    said = refused(
        capsys, main, *train_arguments(trained_gpt2.base, trained_gpt2.data, trained_gpt2.run.path)
    )
    assert said.startswith(f"{trained_gpt2.run.path} is not empty. Give --run-dir a new folder")


def test_ctrl_c_cancels_the_run_reuse_and_resume_go_on_with_it(trained_gpt2, tmp_path, capsys):
    folder = tmp_path / "run"
    arguments = [str(word) for word in train_arguments(trained_gpt2.base, trained_gpt2.data, folder)]
    arguments += ["--set", "epochs=20"]  # time enough to be stopped twice, on a quick machine too
    terminal = subprocess.Popen(
        [sys.executable, "-m", "training", *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: (folder / "events.jsonl").exists() and jobs.find_run(folder).events("step"), every=0.01)
    os.killpg(terminal.pid, signal.SIGINT)
    stdout, stderr = terminal.communicate(timeout=60)
    run = jobs.find_run(folder)
    assert (terminal.returncode, stdout) == (1, "")
    assert "Cancelling: the run stops at its next step.\n" in stderr
    assert "Traceback" not in stderr
    assert run.status().state == "cancelled"
    assert stderr.splitlines()[-1] == run.status().message
    assert list((folder / "checkpoints").glob("checkpoint-*"))

    again = subprocess.Popen(
        [sys.executable, "-m", "training", *arguments, "--reuse", "--json"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    steps = len(run.events("step"))
    wait_for(lambda: len(run.events("step")) > steps + 5, every=0.01)
    assert main(["cancel", str(folder)]) == 0
    assert capsys.readouterr().out == (
        "run stops at its next step; resume it with `python -m training resume run`.\n"
    )
    stdout, stderr = again.communicate(timeout=60)
    assert (again.returncode, stdout) == (1, "")
    assert "Run run is cancelled: going on with it.\n" in stderr

    assert main(["resume", str(folder), "--json"]) == 0
    check_scores(one_object(capsys.readouterr().out))


def test_a_person_at_a_terminal_sees_a_bar_and_ci_sees_lines(trained_gpt2, tmp_path):
    arguments = ("train", "smoke", "--run-dir", str(trained_gpt2.run.path), "--reuse")
    said = at_a_terminal("training", *arguments)
    assert "━".encode() in said and b"%" in said
    again = command("training", *arguments, env={**os.environ, "CI": "true"})
    assert "This will take about" not in again.stderr  # a finished run is not told as if it were news
    arguments = train_arguments(trained_gpt2.base, trained_gpt2.data, tmp_path / "new")
    done = command("training", *arguments, env={**os.environ, "CI": "true"})
    assert done.returncode == 0
    assert "━" not in done.stderr
    assert "This will take about" in done.stderr
    assert "validation accuracy" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("train", "quik"), "There is no recipe named 'quik'. Known: quick, "),
        (("train", "smoke", "--set", "epoch=3"), "There is no setting 'epoch'. Did you mean epochs? Known"),
        (("train", "smoke", "--set", "epochs"), "--set epochs has no =. Write --set KEY=VALUE, such as "),
        (("train", "smoke", "--set", "epochs=x"), "epochs is 'x'. Give a number: passes over"),
        (("train", "none.toml"), "The recipe none.toml does not exist."),
        (("resume", "none"), "There is no run 'none' (runs: none yet)."),
        (("cancel", "none"), "There is no run 'none' (runs: none yet)."),
        (("evaluate", "none"), "none does not exist. Train one with `python -m training train quick`."),
        (("data", "none.csv"), "There is no file none.csv"),
    ],
)
def test_an_error_is_one_line_and_status_1(capsys, home, arguments, sentence):
    assert refused(capsys, main, *arguments).startswith(sentence)
    assert not (home / "runs").exists(), "nothing is begun"


def test_an_error_is_one_line_whatever_the_names_in_it(capsys, home):
    message = refused(capsys, main, "data", "no\nfile \x1b[31m.csv")
    assert message.startswith("There is no file no file [31m.csv"), "nothing there can colour a terminal"


@pytest.mark.parametrize(
    "words", ["train smoke", "tune smoke", "forecast smoke", "adapt corpus.csv", "ladder"]
)
def test_a_base_or_data_that_is_not_there_is_one_line_and_leaves_no_run(
    capsys, home, tiny_tweets, monkeypatch, words
):
    monkeypatch.chdir(tiny_tweets.parent)
    tiny_tweets.with_name("corpus.csv").write_bytes(tiny_tweets.read_bytes())
    message = refused(capsys, main, *words.split(), "--base", "./none")
    assert message == "The base folder ./none does not exist. Give a folder that does, or a Hub id."
    message = refused(capsys, main, *words.split(), "--dataset", "none.csv")
    assert message.startswith("There is no file none.csv (data files beside it: ")
    assert not (home / "runs").exists()


def test_debug_shows_the_traceback():
    done = command("training", "train", "quik", "--debug")
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert "RecipeError: There is no recipe named 'quik'" in done.stderr


@pytest.mark.parametrize("name", TRAINING_COMMANDS)
def test_help_reads_well(capsys, name):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: python -m training {name}")
    assert "None" not in said
    assert "--debug" in said


def test_help_of_train_names_every_recipe_and_every_setting(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    said = capsys.readouterr().out
    for name, recipe in available_recipes().items():
        assert f"  {name} " in said and recipe.description in said
    for setting in settings():
        if setting.name not in ("name", "description"):
            assert f"  {setting.name} " in said and setting.help in said


def test_help_names_the_commands_for_people_only():
    said = parser().format_help()
    assert all(f"    {name} " in said for name in TRAINING_COMMANDS)
    assert "\n    run " not in said


# evaluate, data, runs, resume, cancel


def test_evaluate_prints_one_object(trained_gpt2, capsys):
    assert main(["evaluate", str(trained_gpt2.artifact), "--limit", "30", "--with-base", "--json"]) == 0
    record = one_object(capsys.readouterr().out)
    check_scores(record)
    assert [system["name"] for system in record["systems"]] == ["base", "fine-tuned"]
    assert (record["split"], record["n"]) == ("test", 30)


def test_evaluate_says_what_thresholds_of_the_validation_rows_leave(trained_gpt2, capsys):
    own = trained_gpt2.run.evaluation()
    assert own.chosen_on and own.coverage[-1].answered.value == 1
    assert own.coverage[-1].right.value == pytest.approx(own.tuned.scores.accuracy.value)
    assert main(["evaluate", str(trained_gpt2.artifact), "--limit", "30", "--json"]) == 0
    found = Evaluation.from_json(json.loads(capsys.readouterr().out))
    assert [sure.wanted for sure in found.selective] == [0.8, 0.9, 0.95] and found.chosen_on == own.chosen_on
    for sure in found.selective:
        assert sure.threshold == threshold_on(own.chosen_on, precision=sure.wanted)
    assert main(["evaluate", str(trained_gpt2.artifact), "--limit", "30"]) == 0
    said = capsys.readouterr().out
    assert said.count("I don't know") + said.count("No threshold makes") == 3


def test_evaluate_prints_a_table(trained_gpt2, capsys):
    data = str(trained_gpt2.data)
    assert main(["evaluate", str(trained_gpt2.artifact), "--dataset", data, "--split", "validation"]) == 0
    said = capsys.readouterr().out
    assert "validation split (n = " in said
    assert "macro f1" in said and "base" not in said


def test_evaluate_names_labels_and_says_what_it_scores(trained_gpt2, tmp_path, capsys):
    path = write_csv(tmp_path / "n.csv", [(text, "02"[i % 2]) for i, (text, _) in enumerate(tweets(27))])
    given = ["evaluate", str(trained_gpt2.artifact), "--dataset", str(path), "--label-map"]
    assert main([*given, "0=negative,2=positive"]) == 0
    said = capsys.readouterr().out
    assert "all rows of n.csv (n = 27, percent" in said and "No row is labelled neutral: macro recall" in said
    assert main([*given, "0:negative"]) == 1
    assert "--label-map 0:negative has no =. Write OLD=NEW" in capsys.readouterr().err
    assert main(["evaluate", str(trained_gpt2.artifact), "--label-map", "negative=positive"]) == 1
    assert "its labels need no --label-map. Leave it out." in capsys.readouterr().err


def test_data_shows_what_is_in_a_file(tiny_tweets, capsys):
    assert main(["data", str(tiny_tweets), "--json"]) == 0
    record = one_object(capsys.readouterr().out)
    assert record["class_balance"].keys() == {"negative", "neutral", "positive"}
    assert sum(record["class_balance"].values()) == record["n"]
    assert main(["data", str(tiny_tweets)]) == 0
    said = capsys.readouterr().out
    assert "negative" in said and record["rows"][0]["text"] in said


def test_runs_lists_what_there_is(trained_gpt2, home, capsys):
    assert main(["runs"]) == 0
    assert "There are no runs yet." in capsys.readouterr().out
    (home / "runs").mkdir(parents=True)
    (home / "runs" / "mine").symlink_to(trained_gpt2.run.path)
    assert main(["runs", "--json"]) == 0
    [row] = one_object(capsys.readouterr().out)["runs"]
    assert (row["run"], row["recipe"], row["state"], row["n"]) == ("mine", "smoke", "finished", 60)
    assert row["accuracy"].keys() == {"value", "low", "high"}
    assert main(["runs"]) == 0
    assert "finished     100%  accuracy " in capsys.readouterr().out


def test_a_finished_run_is_neither_resumed_nor_cancelled(trained_gpt2, capsys):
    said = refused(capsys, main, "resume", trained_gpt2.run.path)
    assert said == "The run gpt2 is finished: only a cancelled, failed, interrupted run can be resumed."
    said = refused(capsys, main, "cancel", trained_gpt2.run.path)
    assert said == "The run gpt2 is not running (finished): there is nothing to cancel."


def test_a_run_of_this_machine_is_not_reused_on_another(capsys, trained_gpt2):
    words = ("train", "smoke", "--reuse", "--run-dir", trained_gpt2.run.path, "--on", "jobs:l4x1")
    said = refused(capsys, main, *words)
    assert said == (
        f"{trained_gpt2.run.path} holds a run on this machine, so --on jobs:l4x1 can't be done with --reuse. "
        "Leave out --on, or give a new --run-dir."
    )


# classify


def test_classify_prints_one_object(trained_gpt2, capsys):
    texts = ["what a sunny day", "lone \udcff surrogate", ""]
    assert classify(["classify", str(trained_gpt2.artifact), *texts, "--json"]) == 0
    record = one_object(capsys.readouterr().out)
    assert record["labels"] == ["negative", "neutral", "positive"]
    assert [row["text"] for row in record["predictions"]] == [texts[0], "lone \ufffd surrogate", ""]
    assert all(abs(sum(row["probabilities"]) - 1) < 1e-6 for row in record["predictions"])


def test_classify_prints_a_line_a_text(trained_gpt2, capsys):
    assert classify(["classify", str(trained_gpt2.artifact), "sunny\nday " * 100, "ok"]) == 0
    stdout, stderr = capsys.readouterr()
    assert stdout.count("\n") == 2
    scope, cut = stderr.splitlines()
    assert scope.startswith("2 of 2 texts are out of scope: "), "neither word is in the tiny model's training"
    assert cut == "1 of 2 texts were longer than the model's limit and were cut."


TWEETS = "first\u2028still first\r\n\r\nthird\x0bstill third\n"


def test_classify_reads_a_file_one_text_a_line(trained_gpt2, tmp_path, capsys):
    (tmp_path / "tweets.txt").write_bytes(b"\xef\xbb\xbf" + TWEETS.encode())
    arguments = ["classify", str(trained_gpt2.artifact), "--file", str(tmp_path / "tweets.txt"), "--json"]
    assert classify(arguments) == 0
    rows = one_object(capsys.readouterr().out)["predictions"]
    assert [row["text"] for row in rows] == ["first\u2028still first", "", "third\x0bstill third"]
    (tmp_path / "tweets.txt").write_bytes(b"")
    assert refused(capsys, classify, *arguments).startswith("tweets.txt is empty")


def test_classify_reads_a_table_and_counts_what_it_leaves_out(trained_gpt2, tmp_path, capsys):
    lines = '1,"Mon",café\n2,"Tue",so sunny today\n2\n1,"Wed",what an awful long day\n'
    (tmp_path / "tweets.csv").write_bytes(lines.encode("cp1252"))
    model = str(trained_gpt2.artifact)
    assert classify(["classify", model, "--file", str(tmp_path / "tweets.csv"), "--text-column", "3"]) == 0
    stdout, stderr = capsys.readouterr()
    assert [line.split("%  ")[1] for line in stdout.splitlines()] == [
        "café",
        "so sunny today",
        "what an awful long day",
    ]
    assert "tweets.csv has no header; its columns are named by their places: 1 (1), 2 (Mon)" in stderr
    assert "1 of 4 rows are left out (the first: the row has 1 cells where the header has 3)." in stderr
    (tmp_path / "none.jsonl").write_text('{"text": null}\n[]\n')
    said = refused(capsys, classify, "classify", model, "--file", tmp_path / "none.jsonl")
    assert said.endswith(
        "holds no text to classify. 2 of 2 rows are left out (the first: the text is missing)."
    )


def test_classify_reads_standard_input(trained_gpt2):
    done = command("inference", "classify", trained_gpt2.artifact, "--json", input="one\ntwo")
    assert done.returncode == 0, done.stderr
    assert [row["text"] for row in one_object(done.stdout)["predictions"]] == ["one", "two"]
    assert done.stderr == ""


def test_classify_reads_other_encodings_and_refuses_what_is_no_text(trained_gpt2, tmp_path, capsys):
    (tmp_path / "latin").write_bytes("café".encode("latin-1"))
    assert classify(["classify", str(trained_gpt2.artifact), "--file", str(tmp_path / "latin")]) == 0
    assert capsys.readouterr().out.endswith("  café\n")
    said = refused(capsys, classify, "classify", "m", "--file", tmp_path / "none.txt")
    assert said.startswith(f"There is no file {tmp_path / 'none.txt'}")
    (tmp_path / "latin.txt").write_bytes(b"PK\x03\x04")
    said = refused(capsys, classify, "classify", "m", "--file", tmp_path / "latin.txt")
    assert said.startswith("latin.txt is a binary file")
    said = refused(capsys, classify, "classify", "m", "a text", "--file", tmp_path / "latin.txt")
    assert said == "Texts and --file were both given. Give one of them."
    done = subprocess.run(
        [sys.executable, "-m", "inference", "classify", "m"],
        input=b"\x89PNG\r\n",
        cwd=REPOSITORY,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(b"Standard input is binary and no text")


def test_classify_without_a_model_is_one_line(capsys):
    said = refused(capsys, classify, "classify", "runs/none/artifact", "a text")
    assert said.startswith("runs/none/artifact does not exist. Train one with")


@pytest.mark.parametrize(
    "words",
    [
        ["train", "quick", "--base", LONG],
        ["train", LONG],
        ["audit", LONG, "--base", LONG],
        ["evaluate", LONG],
        ["resume", LONG],
        ["forgetting", LONG],
        ["distil", LONG, "--depth", "1"],
    ],
)
def test_a_name_that_no_system_takes_is_one_sentence(words, home, capsys):
    assert main(words) == 1
    error = capsys.readouterr().err
    assert error.endswith("is too long a name for this system. Give a shorter one.\n"), error
    assert error.count("\n") == 1


def test_a_run_of_data_with_a_long_name_has_a_shorter_one(home):
    run = jobs.create_run_of("audit", {}, name=LONG)
    assert run.id.endswith("-audit-" + "a" * 54) and jobs.find_run(run.id, kind=None) == run
