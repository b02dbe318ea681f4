"""The tables of the ladder and of few labels are made of finished ladders, those of one kind alone."""

import json
import re
from dataclasses import replace

import pytest

from benchmarks import ladder as benchmark
from benchmarks import results, tables
from inference.common.machine import cores
from inference.common.store import write_json
from tests.training.ladder.test_results import TRUTH, answers, result
from training.evaluate.scores import RowsRead
from training.ladder.order import RUNGS, Order
from training.ladder.results import Ladder, pairs_of

ANSWERS = {"zero-shot": answers(wrong=range(200)), "lora": answers(wrong=range(100))}


@pytest.fixture(autouse=True)
def written(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FOLDER", tmp_path / "benchmarks" / "results")
    results.FOLDER.mkdir(parents=True)
    monkeypatch.setattr(results, "gflops", lambda seconds: 96.0)
    monkeypatch.setattr(benchmark, "PICTURE", tmp_path / "ladder.png")
    return lambda name: tables.measured(results.FOLDER / f"{name}.json")


def finished(*, seed=1, lora=0.75, **changed):
    steps = (result("zero-shot", 0.5), result("lora", lora, ms=12.0, labels=96, minutes=2.0))
    found = Ladder(
        labels=("a", "b"),
        n=400,
        n_validation=50,
        steps=steps,
        rows=RowsRead("my tweets", sha256="1" * 64),
        base={"name": "owner/base", "sha256": "2" * 64},
        cores=cores(),
        left_out={"full": "It has no room."},
        pairs=pairs_of(["zero-shot", "lora"], TRUTH, ANSWERS, seed=1),
    )
    run = Order(seed=seed).create(name="x")
    write_json(run.path / "ladder.json", replace(found, **changed).to_json())
    (run.path / "intervals.png").write_bytes(b"picture")
    return run.id


def test_a_finished_ladder_becomes_the_table_with_all_that_it_rests_on(written):
    benchmark.main("auto", runs=[finished()])
    lines = written("ladder").splitlines()
    assert lines[2].startswith("| lora | 96 | 400 | 75.0 (") and "| 2.0 | 12.0 |" in lines[2]
    assert lines[3].startswith("| zero-shot | 0 | 400 | 50.0 (")
    for said in (
        "What is chosen is chosen on 50 more labelled rows.",
        "Left out: full (It has no room.)",
        "Data: my tweets. Base: owner/base. Machine:",
    ):
        assert said in lines[-1]
    record = json.loads((results.FOLDER / "ladder.json").read_text())
    assert record["base"]["sha256"] == "2" * 64 and record["data"]["sha256"] == "1" * 64
    assert benchmark.PICTURE.read_bytes() == b"picture"
    [pair] = record["pairs"]
    assert pair["holm_p"] < 0.001 and pair["sentence"].startswith("The lora is better")


def test_the_nearest_stand_beside_as_many_drawn_examples(written):
    names = {"few-shot-4": "few-shot-4", "retrieval-words-1000": "retrieval-words"}
    steps = tuple(
        replace(result(name, accuracy, labels=labels), rung=rung, about="the 12 nearest of 1,000 texts")
        for (name, rung), accuracy, labels in zip(names.items(), (0.6, 0.5), (12, 1000), strict=True)
    )
    pairs = pairs_of([*names], TRUTH, dict(zip(names, ANSWERS.values(), strict=True)), seed=1)
    benchmark.retrieval("auto", runs=[finished(steps=steps, pairs=pairs)])
    lines = written("retrieval").splitlines()
    assert [line.split(" | ")[0] for line in lines[2:4]] == ["| few-shot-4", "| retrieval-words"]
    assert "12 examples in the prompt, the nearest (retrieval-words-1000) or drawn ones" in lines[-1]
    with pytest.raises(SystemExit, match="has no pair of few-shot-4 and retrieval-words of one number"):
        benchmark.retrieval("auto", runs=[finished()])


def test_the_readmes_ladder_has_every_rung_on_all_test_rows():
    record = json.loads((tables.RESULTS / "ladder.json").read_text())
    assert {row["name"] for row in record["rows"]} == set(RUNGS) and record["left_out"] == {}
    assert {row["n"] for row in record["rows"]} == {3534} == {record["sizes"]["test"]}
    readme = (tables.ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"!\[.*?\]\((.*?)\)", readme)[1] == "docs/ladder.png"
    assert re.search(r"<!-- table:(\w+) -->", readme)[1] == "ladder"


def test_draws_become_their_mean_with_students_interval(written):
    benchmark.few_labels("auto", runs=[finished(seed=n, lora=lora) for n, lora in ((1, 0.70), (2, 0.80))])
    [best, _] = json.loads((results.FOLDER / "few_labels.json").read_text())["rows"]
    assert best["accuracy"]["value"] == pytest.approx(0.75)
    assert best["accuracy"]["high"] - 0.75 == pytest.approx(12.706 * 0.05, abs=1e-3), (
        "t of one degree times 0.05"
    )
    assert "Each is the mean of 2 draws of the training rows." in written("few_labels")


def test_what_makes_no_table_is_said():
    with pytest.raises(SystemExit, match="The table is that of one ladder, and 2 were given"):
        benchmark.main("auto", runs=["a", "b"])
    with pytest.raises(SystemExit, match="Draws need seeds of their own, two or more"):
        benchmark.few_labels("auto", runs=[finished(), finished()])
    with pytest.raises(SystemExit, match="have another base or other test rows"):
        benchmark.few_labels("auto", runs=[finished(seed=1), finished(seed=2, base={"sha256": "3" * 64})])
    with pytest.raises(SystemExit, match="was measured on 4096 cores"):
        benchmark.main("auto", runs=[finished(cores=4096)])
    with pytest.raises(SystemExit, match="it has no results yet"):
        benchmark.main("auto", runs=[Order().create(name="x").id])
