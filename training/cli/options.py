"""Options that several commands of training have, and the recipe that they make.

recipe_options(sub)                          # RECIPE, --base, --dataset, --set and the columns
recipe_of(sub.parse_args(["quick", "--set", "epochs=4"]))
"""

import argparse
from collections.abc import Sequence

from inference.common.command import option
from inference.common.errors import RunError
from training.recipes import DataSpec, Recipe, change, load_recipe

DATASET = "auto, embedded, a Hub id, a file or a folder"
BASE = "auto, embedded, a Hub id or a folder"
RUN = "run RUN", "the run's name or folder"
RUN_DIR = "--run-dir DIR", "folder of the run (default: a new one in runs/)"
UNLABELLED = (
    "--unlabelled FILE|SPLIT",
    "texts without labels that teachers answer: a file, or train: its rows that are left over",
)


def data_options(sub: argparse.ArgumentParser) -> None:
    """Add the columns of a data set."""
    option(sub, "--text-column NAME", "column of the texts (default: found by name)")
    option(sub, "--label-column NAME", "column of the labels (default: found by name)")


def data_of(given: argparse.Namespace) -> DataSpec:
    """Return the data set that a command is given, with its columns."""
    return DataSpec(
        dataset=given.dataset, text_column=given.text_column or "", label_column=given.label_column or ""
    )


def recipe_options(sub: argparse.ArgumentParser) -> None:
    """Add a recipe and what may change in it, which `recipe_of` reads."""
    option(sub, "recipe RECIPE", "a recipe's name or the path of a .toml file")
    option(sub, "--base BASE", f"{BASE} (default: the recipe's, auto)")
    option(sub, "--dataset DATASET", f"{DATASET} (default: the recipe's, auto)")
    data_options(sub)
    set_option(sub)


def set_option(sub: argparse.ArgumentParser) -> None:
    """Add `--set`, which `changes_of` reads."""
    option(sub, "--set KEY=VALUE", "change one setting; repeatable", default=[], action="append")


def changes_of(pairs: Sequence[str]) -> dict[str, str]:
    """Return the settings that are given as KEY=VALUE. Raises RunError for one without =."""
    changes = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise RunError(f"--set {pair} has no =. Write --set KEY=VALUE, such as --set epochs=4.")
        changes[key.strip()] = value.strip()
    return changes


def recipe_of(given: argparse.Namespace) -> Recipe:
    """Return the recipe that a command is given, with its changes. Raises RecipeError."""
    changes = changes_of(given.set)
    for key in ("base", "dataset", "text_column", "label_column", "unlabelled"):
        if value := getattr(given, key, None):
            changes[key] = value
    return change(load_recipe(given.recipe), changes)
