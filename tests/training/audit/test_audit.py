"""The audit finds what was put into the data on purpose, and nothing in clean data."""

import csv
import json
import re

import numpy as np
import pytest
from matplotlib.image import imread as read_image

from inference.common.errors import DataError
from inference.common.store import write_bytes
from tests.support import WORDS, tweets, write_csv
from training.audit.audit import audit, lengths, load_whole, script_of
from training.audit.findings import Audit, Flag
from training.audit.labels import base_features, label_errors
from training.audit.page import read_flags, write_flags, write_page
from training.cli.main import main
from training.data.add_labels import add_labels
from training.data.load import load_splits
from training.model.bases import resolve_base
from training.model.classifier import load_language_model
from training.recipes import DataSpec, Recipe
from training.runs.log import RunLog
from training.runs.process import Cancelled
from training.runs.run import long_runs
from training.studies import audit as study
from training.studies.audit_order import AuditOrder
from training.studies.pictures import audit_picture

LONG = "we waited two hours for the train to the coast and nobody told us anything at all"
TEXTS = [(f"{text} {' '.join(text.split()[::-1])}", label) for text, label in tweets(150)]


@pytest.fixture(scope="module")
def sick(tmp_path_factory):
    """Return a folder with one of each fault."""
    folder = tmp_path_factory.mktemp("sick")
    train = [
        *TEXTS[:120],
        (LONG, "neutral"),
        (LONG + " .", "positive"),  # a near duplicate of another label
        ("twice the same <b>", "neutral"),
        ("Twice the same <b>", "negative"),
        ("twice the SAME <b>", "negative"),  # and a contradiction
        ("in the test too", "positive"),
        ("это другой язык", "neutral"),
        ("🙂🙂🙂", "positive"),
        ("", "neutral"),
    ]
    write_csv(folder / "train.csv", train)
    write_csv(folder / "dev.csv", TEXTS[120:135])
    write_csv(folder / "test.csv", [*TEXTS[135:], ("In the TEST too", "positive"), (LONG + " !", "neutral")])
    return folder


def kinds(found):
    return {one.kind: one.count for one in found.findings}


def test_each_fault_is_found_and_counted(sick):
    found = audit(load_whole(DataSpec(dataset=str(sick))))
    assert kinds(found) == {
        "empty": 1,
        "repeated": 2,
        "leak_exact": 1,
        "leak_near": 2,
        "no_letters": 1,
        "scripts": 1,
        "conflicts": 1,
        "few_test_rows": 3,
        "near_within": 2,
        "near_conflicts": 2,
    }
    acts = {one.kind: one.act for one in found.findings if one.act}
    assert acts == {"leak_exact": "leak_gate=exact", "leak_near": "leak_gate=near"}
    assert found.rows["test"] == 17, "the test split is never cleaned"
    assert all(one.examples for one in found.findings if one.kind.startswith("leak")), "however near they are"
    conflict = next(flag for flag in found.flags if flag.text == "twice the same <b>")
    assert (conflict.label, conflict.suggested, conflict.split) == ("neutral", "negative", "train")
    text = " ".join(found.sentences())
    assert "Rows of train with an exact duplicate in test, where they would leak: 1." in text
    assert "Act: --set leak_gate=near." in text and "Cyrillic 1" in text


def test_what_the_gate_of_a_run_took_out_is_not_found_again(sick):
    for mode, leaks in (("exact", {"leak_near"}), ("near", set())):
        found = audit(load_splits(DataSpec(dataset=str(sick), leak_gate=mode)), deep=False)
        assert {kind for kind in kinds(found) if kind.startswith("leak")} == leaks


def test_clean_data_has_no_finding(tmp_path):
    write_csv(tmp_path / "train.csv", TEXTS[:90])
    write_csv(tmp_path / "dev.csv", TEXTS[90:105])
    write_csv(tmp_path / "test.csv", TEXTS[105:])
    found = audit(load_whole(DataSpec(dataset=str(tmp_path))))
    assert found.findings == found.flags == () and found.sentences()[1:] == ["Nothing else was found."]


def test_uneven_classes(tmp_path):
    rows = [row for row in TEXTS if row[1] != "positive"] + [r for r in TEXTS if r[1] == "positive"][:12]
    found = audit(load_whole(DataSpec(dataset=str(write_csv(tmp_path / "t.csv", rows)))))
    assert {"uneven", "few_test_rows"} <= set(kinds(found))


def test_many_classes_are_counted_where_they_are_not_all_named(tmp_path):
    rows = [(f"text {i} about {i % 30}", f"class {i % 30:02}") for i in range(180)]
    sentences = audit(load_whole(DataSpec(dataset=str(write_csv(tmp_path / "t.csv", rows))))).sentences()
    assert sentences[0].endswith("class 19 and 10 more).")
    assert any(
        line.startswith("Classes with under 10 test rows") and "and 20 more." in line for line in sentences
    )


def test_lengths_and_what_is_cut():
    (found,) = lengths([10] * 98 + [140, 300], max_length=128)
    assert (found.count, found.act) == (2, "max_length=288") and "longest has 300" in found.sentence
    assert lengths([10, 128], max_length=128) == []


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("so good", "LATIN"),
        ("это", "CYRILLIC"),
        ("好的", "CJK"),
        ("😀 1!", ""),
        ("", ""),
        ("ok это да", "CYRILLIC"),
    ],
)
def test_scripts(text, script):
    assert script_of(text) == script


def test_labels_that_were_turned_are_found_by_features_that_show_the_class():
    rng = np.random.default_rng(0)
    labels = [row % 3 for row in range(240)]
    features = np.eye(3)[labels] * 6 + rng.normal(size=(240, 3))
    turned = set(range(0, 240, 20))
    given = [(label + 1) % 3 if row in turned else label for row, label in enumerate(labels)]
    texts = [f"text number {row}" for row in range(240)]
    (finding,), flags = label_errors(texts, given, tuple(WORDS), features.astype(np.float32))
    found = {texts.index(flag.text) for flag in flags}
    assert finding.count == len(flags) and found <= turned and len(found) >= len(turned) / 2
    assert all(flag.suggested == list(WORDS)[labels[texts.index(flag.text)]] != flag.label for flag in flags)


def test_too_few_texts_for_label_errors_is_said():
    (finding,), flags = label_errors(["a", "b", "c"], [0, 0, 1], ("x", "y"), np.zeros((3, 2), np.float32))
    assert not flags and "one text only" in finding.sentence


def test_features_come_from_the_untouched_base(tiny_gpt2):
    lm = load_language_model(resolve_base(str(tiny_gpt2)))
    texts = ["so good", "the train is late again " * 30, "x"]
    whole = base_features(lm, texts, tuple(WORDS), max_length=64)
    assert whole.shape == (3, 32)
    assert np.allclose(whole[2], base_features(lm, ["x"], tuple(WORDS), max_length=64)[0], atol=1e-5)


def test_the_files_hold_every_flag_and_no_markup(sick, tmp_path):
    found = audit(load_whole(DataSpec(dataset=str(sick))))
    write_flags(found, tmp_path / "flags.csv")
    rows = list(csv.DictReader((tmp_path / "flags.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == len(found.flags) and {"text", "label", "suggested", "reason", "split"} == set(rows[0])
    added = add_labels(DataSpec(dataset=str(sick)), tmp_path / "flags.csv").report
    assert added.read == len(rows), "the queue is a file of labels"
    assert [flag.text for flag in read_flags(tmp_path / "flags.csv")] == [flag.text for flag in found.flags]
    (tmp_path / "other.csv").write_text("text,mood\na,b\n")
    with pytest.raises(DataError, match=r"has no column label \(found: text, mood\)\. Give one with"):
        read_flags(tmp_path / "other.csv")
    write_page(found, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "twice the same &lt;b&gt;" in page and "<b>" not in page


def test_the_command(sick, tiny_gpt2, tmp_path, capsys):
    flags = tmp_path / "flags.csv"
    base = ["--base", str(tiny_gpt2)]
    assert main(["audit", str(sick), *base, "--json", "--csv", str(flags), "--max-length", "16"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert {"truncated", "leak_near"} <= {one["kind"] for one in record["findings"]}
    assert len(flags.read_text(encoding="utf-8").splitlines()) > len(record["flags"]) > 0
    assert main(["audit", str(sick), *base, "--no-labels"]) == 0
    out, err = capsys.readouterr()
    assert "rows are flagged, as a queue to relabel" in out and "audit.html, audit.png, flags.csv" in err
    assert main(["audit", str(sick), *base, "--max-length", "3"]) == 1
    assert "--max-length is 3. Give 8 or more." in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "page.html"
    assert main(["audit", str(sick), *base, "--no-labels", "--html", str(place)]) == 1
    assert re.search(
        r"page\.html can't be written \(.*\)\. It lies in .*audit\.html too", capsys.readouterr().err
    )


def test_an_audit_is_a_run_that_goes_on_where_it_was_stopped(sick, tiny_gpt2, home, monkeypatch, capsys):
    recipe = Recipe(name="sick", dataset=str(sick), base=str(tiny_gpt2))
    run = AuditOrder(recipe=recipe.model_dump(), label_rows=100).create(name="sick")
    read, stop = [], [True]

    def base_features_once(lm, texts, *given, **more):
        read.append(len(texts))
        if stop and len(read) > 1:
            raise Cancelled
        return base_features(lm, texts, *given, **more)

    monkeypatch.setattr(study, "base_features", base_features_once)
    monkeypatch.setattr(study, "BLOCK", 40)
    with pytest.raises(Cancelled):
        study.audit_data(run, RunLog(run.path))
    assert Audit.read(run.path) is None and len(list((run.path / "features").iterdir())) == 1
    stop.clear()
    study.audit_data(run, RunLog(run.path))
    assert read == [40, 40, 40, 20], "the first block is not read again"
    found, whole = Audit.read(run.path), audit(load_whole(recipe.data))
    assert found.findings[: len(whole.findings)] == whole.findings and found.classes == whole.classes
    assert set(whole.flags) <= set(found.flags) and found.rows["test"] == 17
    assert {path.name for path in run.path.iterdir()} >= {"audit.html", "audit.png", "flags.csv"}
    assert not (run.path / "features").exists() and run.path in [one.path for one in long_runs()]
    assert [flag.text for flag in read_flags(run.path / "flags.csv")] == [flag.text for flag in found.flags]
    left = [one["time_left_s"] for one in run.events("progress") if one["phase"] == "labels"]
    assert left and all(seconds is not None for seconds in left)
    assert read_image(run.path / "audit.png").shape[1] >= 800


@pytest.mark.parametrize(
    "found",
    [
        Audit(data="x", rows={}, classes={}),
        Audit(
            data="x",
            rows={"train": 2},
            classes={"日本": 1, "a" * 99: 1},
            flags=(Flag("t", "日本", "a" * 99, "", "train"),),
        ),
    ],
)
def test_the_picture_takes_no_rows_and_odd_labels(found, tmp_path):
    write_bytes(tmp_path / "x.png", audit_picture(found))
    assert read_image(tmp_path / "x.png").shape[0] >= 300
