"""`python -m inference score` from end to end: what it prints, what a kill or a full disk leaves behind."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys

import pytest

from inference.artifact import REFERENCE
from inference.cli import main
from inference.tables.rows import CHUNK_ROWS
from tests.support import REPOSITORY, WORDS, at_a_terminal, command, tweets, wait_for
from tests.support.scored_files import read_rows, write_rows

pytestmark = pytest.mark.usefixtures("warm_starts")

ROWS = 5 * CHUNK_ROWS + 100


def arguments(source, model, out, *more) -> list[str]:
    return ["score", *map(str, [source, "--model", model, "--output", out, *more])]


def refused(capsys, *given) -> str:
    """Return the one line of an error."""
    assert main(arguments(*given)) == 1
    stdout, stderr = capsys.readouterr()
    assert (stdout, stderr.count("\n")) == ("", 1)
    return stderr.strip()


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> dict:
    """Return the same posts as CSV and JSONL, enough of them for some parts; some rows are bad."""
    rng, folder = random.Random(3), tmp_path_factory.mktemp("many")
    words = [word for some in WORDS.values() for word in some]
    rows = [{"id": i, "text": " ".join(rng.choices(words, k=rng.randint(1, 12)))} for i in range(ROWS)]
    found = {suffix: write_rows(folder / f"many{suffix}", rows) for suffix in (".csv", ".jsonl")}
    for path, line in ((found[".csv"], b"bad\n"), (found[".jsonl"], b"bad\n")):
        content = path.read_bytes()
        middle = content.index(b"\n", len(content) // 2) + 1
        path.write_bytes(content[:middle] + line + content[middle:])
    return found


@pytest.mark.parametrize(
    ("read", "written", "stop"),
    [
        (".csv", ".csv", signal.SIGKILL),
        (".jsonl", ".parquet", signal.SIGKILL),
        (".csv", ".jsonl.gz", signal.SIGINT),
    ],
)
def test_a_killed_run_goes_on_to_the_same_bytes(read, written, stop, many, trained_gpt2, tmp_path, capsys):
    out, whole = tmp_path / f"out{written}", tmp_path / f"whole{written}"
    given = arguments(many[read], trained_gpt2.artifact, out)
    running = subprocess.Popen(
        [sys.executable, "-m", "inference", *given],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    wait_for(lambda: len(list(tmp_path.glob("out*.partial/part-*[0-9]"))) >= 1 or running.poll() is not None)
    running.send_signal(stop)
    _, said = running.communicate(timeout=60)
    assert not out.exists()
    if stop == signal.SIGINT:
        assert running.returncode == 130
        assert said.splitlines()[-1] == (
            "Stopped. Run the same command again: it goes on from the last whole part."
        )
    assert main([*given, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["rows_from_before"] >= CHUNK_ROWS
    assert summary["rows_from_before"] % CHUNK_ROWS == 0
    assert (summary["rows"], summary["bad"]) == (ROWS + 1, 1)
    assert main(arguments(many[read], trained_gpt2.artifact, whole)) == 0
    assert out.read_bytes() == whole.read_bytes()
    ids = [row["id"] for row in read_rows(out)]
    assert [int(i) for i in ids if i not in ("", None)] == list(range(ROWS))
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [out.name, whole.name]


def test_a_full_disk_loses_nothing(many, trained_gpt2, tmp_path, capsys):
    out = tmp_path / "out.csv"
    given = arguments(many[".csv"], trained_gpt2.artifact, out)

    def no_large_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, 250_000))  # parts fit, the joined file does not

    done = command("inference", *given, preexec_fn=no_large_files)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == (
        f"{out} can't be written (File too large); {ROWS + 1:,} rows are safe in out.csv.partial. "
        "Mend that and run the same command again to go on from there."
    )
    assert "Traceback" not in done.stderr
    assert main([*given, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["rows_from_before"], summary["rows"]) == (ROWS + 1, ROWS + 1)
    assert len(read_rows(out)) == ROWS + 1


def test_the_summary_is_a_sentence_or_one_json_object(trained_gpt2, tmp_path, capsys):
    rows = [{"text": "love it", "label": "x"}, {"text": None, "label": "y"}, {"text": "so sad " * 500}]
    source, out = write_rows(tmp_path / "in.jsonl", rows), tmp_path / "out.csv"
    assert main([*arguments(source, trained_gpt2.artifact, out), "--probabilities", "--json"]) == 0
    stdout, stderr = capsys.readouterr()
    assert (stdout.count("\n"), stderr) == (1, "")
    summary = json.loads(stdout)
    assert summary.pop("seconds") > 0
    assert summary.pop("rows_per_s") > 0
    assert summary.pop("engine") in ("torch", "onnx", "onnx-int8")
    assert summary == {
        "output": str(out),
        "rows": 3,
        "bad": 1,
        "first_problem": "the text is missing",
        "notes": [],
        "truncated": 1,
        "abstain_below": None,
        "unsure": 0,
        "out_of_scope_above": None,
        "out_of_scope": 0,
        "rows_from_before": 0,
        "model": str(trained_gpt2.artifact),
        "text_column": "text",
        "new_columns": [
            "tweettune_label",
            "score",
            "probability_negative",
            "probability_neutral",
            "probability_positive",
            "truncated",
            "error",
        ],
    }
    assert list(read_rows(out)[0]) == ["text", "label", *summary["new_columns"]]
    assert main([*arguments(source, trained_gpt2.artifact, out), "--overwrite"]) == 0
    assert capsys.readouterr().out.startswith(
        f"{out}: 3 rows, 1 bad (the first: the text is missing), 1 truncated; "
    )


def test_a_file_of_no_rows_and_one_of_none_but_bad_rows(trained_gpt2, tmp_path):
    (tmp_path / "in.csv").write_text("text\n")
    for name in ("out.csv", "out.parquet", "out.jsonl"):
        assert main(arguments(tmp_path / "in.csv", trained_gpt2.artifact, tmp_path / name)) == 0
    assert (tmp_path / "out.csv").read_text() == "text,label,score,truncated,error\n"
    assert read_rows(tmp_path / "out.parquet") == []
    assert (tmp_path / "out.jsonl").read_bytes() == b""
    (tmp_path / "in.csv").write_text("id,text\n1\n")
    assert main([*arguments(tmp_path / "in.csv", trained_gpt2.artifact, tmp_path / "bad.jsonl")]) == 1
    assert [row["label"] for row in read_rows(tmp_path / "bad.jsonl")] == [None]


def test_what_is_wrong_is_said_in_one_sentence(trained_gpt2, tmp_path, capsys):
    model = trained_gpt2.artifact
    source = write_rows(tmp_path / "in.csv", [{"text": "a"}])
    out = tmp_path / "out.csv"
    assert refused(capsys, source, model, "-") == (
        "Standard input and output can't be resumed; give the names of files."
    )
    assert refused(capsys, source, model, source, "--overwrite") == (
        f"{source} is the input itself; give another --output."
    )
    assert refused(capsys, source, model, out, "--workers", "2") == (
        "--workers is for Ray, and the engine is auto; give --engine ray as well."
    )
    assert refused(capsys, source, tmp_path, out).startswith(f"{tmp_path} has no config.json")
    assert not out.with_name("out.csv.partial").exists()
    out.write_text("mine")
    assert refused(capsys, source, model, out) == (
        f"{out} is there already; give another --output, or --overwrite to replace it."
    )
    assert out.read_text() == "mine"
    with pytest.raises(SystemExit):
        main(arguments(source, model, out, "--workers", "0"))
    assert "0 is not a number above 0" in capsys.readouterr().err


def test_a_file_that_breaks_off_leaves_its_parts_and_another_input_is_distinguished(
    many, trained_gpt2, tmp_path, capsys
):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.csv"
    many_keys = json.dumps(dict.fromkeys(map(str, range(1_001)))).encode()
    head = b"".join(many[".jsonl"].read_bytes().splitlines(keepends=True)[: 2 * CHUNK_ROWS])
    source.write_bytes(head + b'{"text": "end"}\n')
    given = (source, trained_gpt2.artifact, out)
    running = subprocess.Popen(
        [sys.executable, "-m", "inference", *arguments(*given)], cwd=REPOSITORY, stdout=subprocess.DEVNULL
    )
    wait_for(lambda: list(tmp_path.glob("out*.partial/part-*[0-9]")) or running.poll() is not None)
    running.kill()
    running.wait()
    source.write_bytes(head + many_keys)
    assert "has over 1,000 different keys" in refused(capsys, *given)
    source.write_bytes(head)
    assert refused(capsys, *given) == (
        f"{out}.partial holds part of a scoring with another input; run its command again to finish it, "
        "or give --overwrite to throw it away."
    )
    os.utime(trained_gpt2.artifact / "config.json")
    assert "with another input and model; run" in refused(capsys, *given)
    assert "another input and model and options; run" in refused(capsys, *given, "--probabilities")
    assert main([*arguments(*given), "--overwrite"]) == 0
    assert len(read_rows(out)) == 2 * CHUNK_ROWS


def test_mistakes_come_before_the_model_is_loaded():
    artifact = "tests/fixtures/2026-11/run/artifact"
    code = (
        "import sys; from inference.cli import main; "
        f"status = main(['score', 'no.csv', '--model', '{artifact}', "
        "'--output', 'out.csv']); print(status, 'torch' in sys.modules, 'ray' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "1 False False\n"
    assert done.stderr.startswith("There is no file no.csv ") and done.stderr.count("\n") == 1


def test_a_person_at_a_terminal_sees_a_bar_and_the_time_left(many, trained_gpt2, tmp_path):
    given = arguments(many[".csv"], trained_gpt2.artifact, tmp_path / "out.csv")
    said = at_a_terminal("inference", *given)
    assert "━".encode() in said and b" rows, 0:00:" in said and b" left" in said


@pytest.mark.parametrize("content", [b"id,text\n1,a,b\n2,b,c\n", b'id,text\n1,"a\n'])
def test_a_file_of_bad_rows_alone_ends_with_1_and_says_why(content, trained_gpt2, tmp_path, capsys):
    (tmp_path / "in.csv").write_bytes(content)
    assert main(arguments(tmp_path / "in.csv", trained_gpt2.artifact, tmp_path / "out.csv")) == 1
    stdout, stderr = capsys.readouterr()
    assert "2 bad (the first: the row has 3 cells" in stdout or "1 bad (the first: the quotes" in stdout
    assert "Every row is bad, so nothing was scored; the column 'error' says why." in stderr
    assert [row["label"] for row in read_rows(tmp_path / "out.csv")] == [""] * (content.count(b"\n") - 1)


def test_a_file_without_a_header_is_scored_and_it_is_said(trained_gpt2, tmp_path, capsys):
    (tmp_path / "in.csv").write_text("7,what a day it is,x\n8,so sunny today,x\n9,an awful long day,x\n")
    given = arguments(tmp_path / "in.csv", trained_gpt2.artifact, tmp_path / "out.csv")
    assert main([*given, "--text-column", "2"]) == 0
    assert (
        "in.csv has no header; its columns are named by their places: 1 (7), 2 (what"
        in capsys.readouterr().err
    )
    rows = read_rows(tmp_path / "out.csv")
    assert len(rows) == 3 and list(rows[0]) == ["1", "2", "3", "label", "score", "truncated", "error"]


def test_a_column_says_which_texts_are_out_of_scope(trained_gpt2, tmp_path, capsys):
    texts = ["so happy at work today", "обед был очень вкусный", "😡 " * 30]
    source = write_rows(tmp_path / "in.csv", [{"text": text} for text in texts])
    out = tmp_path / "out.jsonl"
    given = arguments(source, trained_gpt2.artifact, out, "--out-of-scope")
    assert main(given) == 0
    assert ", 2 out of scope; " in capsys.readouterr().out
    assert [row["out_of_scope"] for row in read_rows(out)] == [False, True, True]
    assert main(arguments(source, trained_gpt2.artifact, tmp_path / "plain.csv")) == 0
    assert "scope" not in capsys.readouterr().out + str(read_rows(tmp_path / "plain.csv")[0])
    shutil.copytree(trained_gpt2.artifact, tmp_path / "old")
    (tmp_path / "old" / REFERENCE).unlink()
    wrong = refused(capsys, source, tmp_path / "old", tmp_path / "x.csv", "--out-of-scope")
    assert "no text can be called out of scope. Train it again" in wrong


def test_a_column_says_which_answers_are_sure(trained_gpt2, tmp_path, capsys):
    source = write_rows(tmp_path / "in.csv", [{"text": text} for text, _ in tweets(60, seed=8)])
    given = arguments(
        source, trained_gpt2.artifact, tmp_path / "out.jsonl", "--abstain-below", "0.5", "--json"
    )
    assert main(given) == 0
    summary = json.loads(capsys.readouterr().out)
    found = read_rows(tmp_path / "out.jsonl")
    assert [row["sure"] for row in found] == [row["score"] >= 0.5 for row in found]
    assert summary["unsure"] == sum(not row["sure"] for row in found) and summary["abstain_below"] == 0.5
    curve = trained_gpt2.run.evaluation().chosen_on
    precision = max(point.right.value for point in curve)
    out = tmp_path / "wanted.csv"
    assert main(arguments(source, trained_gpt2.artifact, out, "--precision", str(precision))) == 0
    assert " not sure; " in capsys.readouterr().out
    threshold = min(point.threshold for point in curve if point.right.value >= precision)
    sure = [row["sure"] in (True, "true", "True") for row in read_rows(out)]
    assert sure == [float(row["score"]) >= threshold for row in read_rows(out)]
    both = ("--precision", "0.9", "--abstain-below", "0.5", "--overwrite")
    assert "both say when to abstain" in refused(capsys, source, trained_gpt2.artifact, out, *both)
    assert refused(capsys, source, "nowhere", tmp_path / "x.csv", "--precision", "90").endswith(
        "such as 0.9."
    )
