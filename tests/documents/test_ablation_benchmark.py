"""The ablation measures each variant once, on rows that no training saw, beside `quick` by the same seed."""

import json

import pytest

from benchmarks import ablation, results, tables
from inference.common.store import read_jsonl
from tests.support import tweets, write_csv
from training.recipes import change


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch, tiny_gpt2):
    monkeypatch.setattr(results, "FOLDER", tmp_path / "benchmarks" / "results")
    monkeypatch.setattr(results, "gflops", lambda seconds: 96.0)
    (tmp_path / "benchmarks").mkdir()
    monkeypatch.setattr(ablation, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(ablation, "DEV", 40)
    monkeypatch.setattr(ablation, "BASE", str(tiny_gpt2))
    smaller = {"n_train": "32", "n_validation": "16", "epochs": "1", "precision": "float32"}
    recipe = change(ablation.load_recipe("quick"), smaller)
    monkeypatch.setattr(ablation, "load_recipe", lambda name: recipe)
    monkeypatch.setattr(
        ablation,
        "VARIANTS",
        {
            "quick": {},
            "no noise": {"state_noise": "0"},
            "no prompt": {"prompt_prefix": "", "prompt_suffix": ""},
        },
    )
    return tmp_path / "kept"


def test_each_variant_is_trained_by_each_seed_and_a_second_go_trains_nothing(tmp_path, kept, monkeypatch):
    data = write_csv(tmp_path / "t.csv", tweets(200, seed=5))
    ablation.main(str(data), seeds=(1, 2))
    [(rows, dev)] = [[list(read_jsonl(kept / "data" / f"{name}.jsonl")) for name in ("train", "test")]]
    assert len(dev) == 40 and not {row["text"] for row in rows} & {row["text"] for row in dev}
    found = {
        seed: {one["name"]: one["accuracy"] for one in read_jsonl(kept / f"seed-{seed}.jsonl")}
        for seed in (1, 2)
    }
    record = json.loads((results.FOLDER / "ablation.json").read_text())
    assert [row["name"] for row in record["rows"]] == ["quick", "no noise", "no prompt"]
    for row in record["rows"][1:]:
        beside = [found[seed][row["name"]] - found[seed]["quick"] for seed in (1, 2)]
        assert row["difference"]["value"] == pytest.approx(sum(beside) / 2)
    table = tables.measured(results.FOLDER / "ablation.json")
    assert "mean of 2 draws of the training rows on 40 rows of the train split, none of test." in table
    assert "Data: t.csv." in table
    monkeypatch.setattr(ablation, "prepare", None)
    ablation.main(str(data), seeds=(1, 2))
    with pytest.raises(SystemExit, match="of other data or another `quick`"):
        ablation.main(str(tmp_path / "other.csv"), seeds=(1, 2))


def test_a_benchmark_that_was_stopped_keeps_what_it_has_measured(tmp_path, kept, monkeypatch):
    data = write_csv(tmp_path / "t.csv", tweets(200, seed=5))
    train, done = ablation.train, []

    def stopped(*args, **kwargs):
        if done:
            raise KeyboardInterrupt
        done.append(1)
        return train(*args, **kwargs)

    monkeypatch.setattr(ablation, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        ablation.main(str(data), seeds=(1, 2))
    assert [one["name"] for one in read_jsonl(kept / "seed-1.jsonl")] == ["quick"]
