"""Recipes: every file on disk loads, a mistake names the nearest right thing."""

import pytest

from inference.common.errors import RecipeError
from training.recipes import (
    RECIPES_DIR,
    DataSpec,
    Recipe,
    available_recipes,
    change,
    load_recipe,
    save_recipe,
    settings,
)


def test_every_recipe_on_disk_loads_and_says_what_it_is_for():
    recipes = available_recipes()
    assert list(recipes)[:6] == ["quick", "unlabelled", "lora", "full", "tutorial", "smoke"]
    assert len(recipes) == len(list(RECIPES_DIR.glob("*.toml")))
    assert all(recipe.description for recipe in recipes.values())


def test_every_setting_has_help():
    assert all(setting.help for setting in settings())


def test_tutorial_is_the_guides_own():
    tutorial = load_recipe("tutorial")
    assert (tutorial.batch_size, tutorial.gradient_accumulation_steps, tutorial.epochs) == (1, 4, 3)
    assert (tutorial.learning_rate, tutorial.n_train, tutorial.n_test) == (5e-5, 1000, 1000)
    assert (tutorial.prompt_prefix, tutorial.prompt_suffix, tutorial.head) == ("", "", "random")
    assert (tutorial.padding, tutorial.max_length, tutorial.method) == ("max", 1024, "full")


def test_quick_is_lora_on_the_upper_third_of_1000_tweets():
    quick = load_recipe("quick")
    assert (quick.n_train, quick.method, quick.trunk_layers) == (1000, "lora", "auto")


def test_a_saved_recipe_reads_back_the_same(tmp_path):
    recipe = change(load_recipe("lora"), {"label_names": "bad, good", "prompt_suffix": "\\nMood:"})
    save_recipe(recipe, tmp_path / "lora.toml")
    assert load_recipe(tmp_path / "lora.toml") == recipe
    assert "# highest learning rate" in (tmp_path / "lora.toml").read_text()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"lerning_rate": "1"},
            "There is no setting 'lerning_rate'. Did you mean learning_rate? Known settings: l",
        ),
        ({"epochs": "many"}, "epochs is 'many'. Give a number: passes over the training rows."),
        ({"seed": "1.5"}, "seed is '1.5'. Give a whole number: seed of"),
        ({"stratified": "yes"}, "stratified is 'yes'. Give true or false: keep"),
        ({"batch_size": "0"}, "batch_size is 0. Give a value of at least 1: texts a step."),
        ({"method": "qlora"}, "method is 'qlora'. Give one of: lora, full."),
        ({"epochs": "nan"}, "epochs is 'nan'. Give a number"),
        ({"epochs": "1e308"}, "epochs is 1e308. Give a value from 0 to 10000: passes over"),
        ({"lora_r": "100000000"}, "lora_r is 100000000. Give a value from 1 to 4096: rank"),
        (
            {"state_noise": "1", "trunk_layers": "0"},
            "state_noise needs a cached trunk, but trunk_layers is 0.",
        ),
        ({"epochs": "0"}, "learning_rate and epochs must be above 0"),
        ({"trunk_layers": "most"}, "trunk_layers is 'most'. Give \"auto\", a number"),
        ({"trunk_layers": "0.0"}, "trunk_layers is '0.0'. Give \"auto\", a number"),
        ({"trunk_layers": "1.5"}, "trunk_layers is '1.5'. Give \"auto\", a number"),
    ],
)
def test_a_wrong_setting_is_one_sentence(changes, sentence):
    with pytest.raises(RecipeError) as caught:
        change(Recipe(), changes)
    assert str(caught.value).startswith(sentence)


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(RecipeError, match=r"no recipe named 'quik'\. Known: quick, "):
        load_recipe("quik")


@pytest.mark.parametrize(
    "content",
    [
        *("epochs = ", 'epochs = "3"', "[epochs]\na=1", "epoks = 3", "label_names = [1]", "seed = true"),
        f"seed = {'9' * 5_000}",
    ],
)
def test_a_broken_file_is_one_sentence(tmp_path, content):
    (tmp_path / "mine.toml").write_text(content)
    with pytest.raises(RecipeError, match=r"^[^\n]+$"):
        load_recipe(tmp_path / "mine.toml")


def test_a_missing_or_binary_file_is_one_sentence(tmp_path):
    with pytest.raises(RecipeError, match="does not exist"):
        load_recipe(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\x00\xff\xfe")
    with pytest.raises(RecipeError, match="can't be read"):
        load_recipe(tmp_path / "binary.toml")


def test_a_recipe_says_which_rows_it_asks_for():
    recipe = change(load_recipe("quick"), {"dataset": "mine.csv", "label_names": "bad, good", "seed": 7})
    assert recipe.data == DataSpec(
        dataset="mine.csv", label_names=("bad", "good"), n_train=1000, n_validation=500, n_test=1000, seed=7
    )
    assert recipe.data.whole() == DataSpec(dataset="mine.csv", label_names=("bad", "good"), seed=7)


def test_the_form_and_the_help_know_each_settings_kind_choices_and_limits():
    known = {setting.name: setting for setting in settings()}
    assert (known["method"].kind, known["method"].choices) == (str, ("lora", "full"))
    assert (known["lora_dropout"].low, known["lora_dropout"].high) == (0, 0.9)
    assert [known[name].kind for name in ("seed", "epochs", "onnx", "label_words")] == [
        int,
        float,
        bool,
        tuple,
    ]
