"""One preparation serves any number of trainings, and each is what it would have been alone."""

import dataclasses
import os

import pytest
import torch

from inference.common.errors import DataError, RecipeError
from tests.support import tweets, write_csv
from training.data.load import load_splits
from training.fit.prepare import Silent, TrainingData, load_data, prepare
from training.fit.trainer import train
from training.recipes import Recipe, change, load_recipe


class Seen(Silent):
    """A Report that remembers what it was told."""

    def __init__(self):
        self.phases, self.planned = [], {}

    def phase(self, name):
        self.phases.append(name)
        return super().phase(name)

    def plan(self, seconds):
        self.planned = seconds


@pytest.fixture
def recipe(tiny_gpt2, tiny_tweets):
    return Recipe(
        base=str(tiny_gpt2), dataset=str(tiny_tweets), n_train=64, n_validation=40, batch_size=8, epochs=1.0
    )


CHANGES = [{"learning_rate": 2e-3}, {"learning_rate": 1e-2, "lora_r": 4}, {"method": "full", "patience": 1}]


def weights_of(prepared, recipe, folder, **options):
    tuned = train(prepared, recipe, checkpoints=folder, **options)
    return {n: p.detach().clone() for n, p in tuned.named_parameters() if p.requires_grad}


def same(one, other):
    assert one.keys() == other.keys() and len(one) > 3
    return all(torch.equal(one[name], other[name]) for name in one)


def stamp(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("trunk-*.f32")}


def test_trainings_over_one_preparation_are_those_of_their_own(recipe, tmp_path):
    (together := tmp_path / "together").mkdir()
    prepared = prepare(recipe, together)
    before = {name: weight.clone() for name, weight in prepared.untouched.state_dict().items()}
    computed = stamp(together)
    found = [
        weights_of(prepared, change(recipe, changes), together / str(number))
        for number, changes in enumerate(CHANGES)
    ]
    assert stamp(together) == computed and len(computed) == 2, "the trunk was computed once"
    assert same(before, prepared.untouched.state_dict())
    for number, (changes, weights) in enumerate(zip(CHANGES, found, strict=True)):
        (folder := tmp_path / f"alone-{number}").mkdir()
        own = change(recipe, changes)
        assert same(weights, weights_of(prepare(own, folder), own, folder / "c", last=True))
    shapes = [{name: tuple(weight.shape) for name, weight in weights.items()} for weights in found]
    assert shapes[0] != shapes[1] and shapes[0].keys() != shapes[2].keys(), "or the recipes did not differ"


def test_a_preparation_finds_the_trunk_of_an_earlier_one(recipe, tmp_path):
    prepare(recipe, tmp_path)
    written = stamp(tmp_path)
    seen = Seen()
    prepare(change(recipe, {"learning_rate": 1e-4}), tmp_path, report=seen)
    assert stamp(tmp_path) == written
    assert seen.phases == ["prepare", "cache"]
    assert list(seen.planned) == ["cache", "train", "export", "evaluate"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"max_length": 64}, "max_length is 64, but 128 was prepared. Prepare it anew."),
        ({"seed": 7}, "seed is 7, but 42 was prepared"),
        ({"trunk_layers": "1"}, "The trunk would have 1 layers, but 2 were prepared. Set trunk_layers to 2"),
    ],
)
def test_a_recipe_that_needs_other_rows_or_another_trunk_is_refused(recipe, tmp_path, changes, sentence):
    prepared = prepare(recipe, tmp_path)
    with pytest.raises(RecipeError) as caught:
        train(prepared, change(recipe, changes), checkpoints=tmp_path / "c")
    assert str(caught.value).startswith(sentence)


def test_fewer_layers_over_the_same_trunk_start_from_a_head_of_their_own(recipe, tmp_path):
    deep = change(recipe, {"trunk_layers": "1"})
    shallow = change(deep, {"depth": 2})
    (alone := tmp_path / "alone").mkdir()
    tuned = weights_of(prepare(deep, tmp_path), shallow, tmp_path / "c")
    assert same(tuned, weights_of(prepare(shallow, alone), shallow, alone / "c"))


def test_some_of_the_rows_keep_their_states(recipe, tmp_path):
    prepared = prepare(recipe, tmp_path)
    some = prepared.take([3, 0, *range(20, 34)])
    assert (len(some.train), len(some.encoded_train), len(some.validation)) == (16, 16, 40)
    assert torch.equal(some.train.state(0), prepared.train.state(3))
    assert some.train.lengths == some.encoded_train.lengths
    assert train(some, recipe, checkpoints=tmp_path / "c") is not None


def test_a_training_that_is_stopped_midway_has_no_model(recipe, tmp_path):
    prepared = prepare(recipe, tmp_path)
    assert train(prepared, recipe, checkpoints=tmp_path / "c", stop_asked=lambda: True) is None
    assert os.listdir(tmp_path / "c")


def test_a_run_goes_on_with_the_splits_that_it_began_with_or_not_at_all(tmp_path):
    rows = [(text + " " * spaces, label) for spaces in range(2) for text, label in tweets(60)]
    path = write_csv(tmp_path / "t.csv", rows)
    recipe = change(load_recipe("smoke"), {"dataset": str(path)})
    before = load_splits(dataclasses.replace(recipe.data, rules=1))
    recorded = TrainingData(before).to_json()
    del recorded["rules"], recorded["digests"]  # as in November 2026
    assert list(load_data(recipe, recorded).splits.test["text"]) == list(before.test["text"])
    assert set(load_data(recipe).splits.test["text"]) != set(before.test["text"])
    write_csv(path, [*rows, ("one more", "neutral")])
    with pytest.raises(DataError, match=r"120 rows with .* 121 with .* Put it back, or start a new run\."):
        load_data(recipe, recorded)
