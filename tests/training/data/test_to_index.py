"""A run's index: its own rows, more of them by the command line, and no duplicate of a held-out row."""

import json

import pytest

from inference.cli import main as inference
from inference.common.errors import DataError
from training.cli.main import main as training
from training.data.load import load_splits
from training.data.to_index import to_index
from training.recipes import DataSpec


def test_a_run_gets_its_index_more_rows_are_added_and_answers_show_them(trained_gpt2, tmp_path, capsys):
    path, more = tmp_path / "index.sqlite", tmp_path / "more.csv"
    splits = load_splits(trained_gpt2.run.recipe.data)
    test_row = splits.test["text"][0]
    more.write_text(f'text,label\nthat gig was zorgle,Positive\n"{test_row.upper()}",positive\n,negative\n')
    run = str(trained_gpt2.run.path)
    assert training(["index", run, "--to", str(path)]) == 0
    assert f"{len(splits.train):,} added" in capsys.readouterr().out
    assert training(["index", run, str(more), "--to", str(path)]) == 0
    output = capsys.readouterr().out
    assert "Left out: 1 (rows that are broken, or without a text or a label)." in output
    assert "Training rows" not in output
    assert "more.csv: 1 added, 1 left out as duplicates of validation or test rows." in output
    assert f"{path} holds {len(splits.train) + 1:,} labelled texts" in output
    assert training(["index", run, str(more), "--to", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["added"]["more.csv"]["known"] == 1
    assert inference(["classify", str(trained_gpt2.artifact), "so zorgle", "--index", str(path)]) == 0
    assert "rests on: positive, that gig was zorgle" in capsys.readouterr().out
    words = ["classify", str(trained_gpt2.artifact), "so zorgle", "--index", str(path), "--json"]
    assert inference(words) == 0
    [answer] = json.loads(capsys.readouterr().out)["predictions"]
    assert answer["rests_on"][0]["text"] == "that gig was zorgle"
    assert inference(["classify", str(trained_gpt2.artifact), "a", "--index", str(tmp_path / "none")]) == 1
    assert "There is no index" in capsys.readouterr().err


def test_files_of_one_name_are_all_added_and_broken_rows_are_counted(tiny_tweets, tmp_path):
    files = [tmp_path / folder / "new.csv" for folder in "ab"]
    for file, word in zip(files, ("zorgle", "flimp"), strict=True):
        file.parent.mkdir()
        file.write_text(f"text,label\nso {word},positive\none,two,three\nvery {word},positive\n")
    found = to_index(DataSpec(dataset=str(tiny_tweets)), tmp_path / "index.sqlite", files)
    assert [found.added[str(file)].added for file in files] == [2, 2] and found.unusable == 2


def test_a_wrong_file_changes_nothing(trained_gpt2, tmp_path):
    path, wrong = tmp_path / "index.sqlite", tmp_path / "wrong.csv"
    wrong.write_text("text,label\nfine,angry\n")
    with pytest.raises(DataError, match="has the label 'angry', which the data lacks"):
        to_index(trained_gpt2.run.recipe.data, path, [wrong])
    assert not path.exists()
