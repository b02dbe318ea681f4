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
    monkeypatch.setattr(ablation, "CACHE", tmp_path / "cache")
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
    return tmp_path / "cache" / "ablation"


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
    assert [row["name"] for row in record["rows"]] == [
        *("quick", "no noise", "no prompt", ablation.UNTOUCHED)
    ]
    for row in record["rows"][1:-1]:
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


@pytest.mark.slow
def test_a_gpt2_of_noise_is_pre_trained_by_adapt_and_every_variant_starts_from_it(
    tmp_path, kept, monkeypatch
):
    size = {"n_layer": 3, "n_embd": 32, "n_head": 2, "n_positions": 64}
    for name, value in {"SMALL_GPT2": size, "VOCABULARY": 400, "ON_GPT2": ablation.VARIANTS}.items():
        monkeypatch.setattr(ablation, name, value)
    monkeypatch.setattr(
        ablation, "PRE_TRAINING", {"epochs": "1", "learning_rate": "3e-3", "max_length": "64"}
    )
    monkeypatch.setattr(ablation, "MORE_TEXTS", str(write_csv(tmp_path / "more.csv", tweets(120, seed=6))))
    data = write_csv(tmp_path / "t.csv", tweets(200, seed=5))
    ablation.gpt2(str(data), seeds=(1, 2))
    kept = tmp_path / "cache" / "gpt2"
    learnt = json.loads((kept / "base" / "adapt.json").read_text())
    assert learnt["domain"]["change"]["high"] < 0, "it has learnt to predict tweets"
    record = json.loads((results.FOLDER / "gpt2.json").read_text())
    assert record["base"]["name"] == "a GPT-2 of 3 layers, pre-trained on the texts of both data sets"
    assert [row["name"] for row in record["rows"]] == [*ablation.VARIANTS, ablation.UNTOUCHED]
    corpus = {row["text"] for row in read_jsonl(kept / "corpus.jsonl")}
    assert not corpus & {row["text"] for row in read_jsonl(kept / "data" / "test.jsonl")}
    monkeypatch.setattr(ablation, "_pre_train", None)
    ablation.gpt2(str(data), seeds=(1, 2))


def test_each_kind_of_adapter_is_trained_and_none_is_the_plain_one(tmp_path, kept, monkeypatch):
    data = write_csv(tmp_path / "t.csv", tweets(200, seed=5))
    trained, plain = {}, ablation.train

    def keep(*args, **kwargs):
        tuned = plain(*args, **kwargs)
        trained[len(trained)] = {
            name: tensor.clone() for name, tensor in tuned.state_dict().items() if "lora" in name
        }
        return tuned

    monkeypatch.setattr(ablation, "train", keep)
    ablation.adapters(str(data), seeds=(1, 2))
    record = json.loads((results.FOLDER / "adapters.json").read_text())
    kinds = ["quick", *ablation.ADAPTERS]
    assert [row["name"] for row in record["rows"]] == [*kinds, ablation.UNTOUCHED]
    of_quick = trained[0]
    for place, name in enumerate(kinds[1:], start=1):
        other = trained[place]
        apart = other.keys() != of_quick.keys() or any(
            (other[one] - tensor).abs().max() > 1e-6 for one, tensor in of_quick.items()
        )
        assert apart, name
    assert any("magnitude" in name for name in trained[kinds.index("DoRA")])
