"""A recipe is a TOML file is a frozen dataclass.

    recipe = change(load_recipe("quick"), {"epochs": "4"})

The dataclass is the one list of settings: it checks the files, fills `--help` and draws the Train tab's form.
Knows nothing about torch; reading a recipe takes milliseconds.
"""

import dataclasses
import difflib
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomlkit

from inference.common.errors import RecipeError

RECIPES_DIR = Path(__file__).parent


def _setting(default: Any, help: str, **limits: Any) -> Any:
    return field(default=default, metadata={"help": help, **limits})


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All settings of a training. Raises RecipeError for a value of the wrong type or out of range."""

    name: str = _setting("", "what the recipe is called")
    description: str = _setting("", "one line on what it is for")
    base: str = _setting("auto", "base model: auto, embedded, a Hub id or a folder")
    dataset: str = _setting("auto", "data: auto, embedded, a Hub id, a file or a folder")
    text_column: str = _setting("", "column of the texts; empty: found by name")
    label_column: str = _setting("", "column of the labels; empty: found by name")
    label_names: tuple[str, ...] = _setting(
        (), "names of integer labels, in order; empty: taken from the data"
    )
    label_words: tuple[str, ...] = _setting((), "word in the prompt for each label; empty: the label's name")
    prompt_prefix: str = _setting("Tweet:", "what stands before the text")
    prompt_suffix: str = _setting("\nSentiment:", "what stands after the text")
    more_data: str = _setting(
        "", "file of labelled texts that is added to the training rows, through the leak gate; empty: none"
    )
    n_train: int = _setting(0, "training rows; 0: all", low=0)
    n_validation: int = _setting(0, "validation rows; 0: all", low=0)
    n_test: int = _setting(0, "test rows; 0: all", low=0)
    stratified: bool = _setting(False, "keep the class shares when taking a subset")
    seed: int = _setting(42, "seed of splits, subsets, order and dropout", low=0)
    method: str = _setting(
        "lora", "lora: small adapters; full: all weights of the top", choices=("lora", "full")
    )
    head: str = _setting(
        "words",
        "words: start from the label words, calibrated; random: from noise",
        choices=("words", "random"),
    )
    depth: int = _setting(0, "layers of the network that are kept; 0: all", low=0)
    trunk_layers: str = _setting("auto", "frozen lower layers, computed once; auto: two thirds; 0: none")
    lora_r: int = _setting(8, "rank of the adapters", low=1)
    lora_alpha: float = _setting(16.0, "scale of the adapters, over the rank", low=0)
    lora_dropout: float = _setting(0.0, "dropout inside the adapters", low=0, high=0.9)
    state_noise: float = _setting(
        0.0, "noise on cached trunk states in training, as a share of their size", low=0, high=10
    )
    learning_rate: float = _setting(5e-4, "highest learning rate", low=0)
    batch_size: int = _setting(16, "texts a step", low=1)
    gradient_accumulation_steps: int = _setting(1, "steps summed before the weights change", low=1)
    epochs: float = _setting(3.0, "passes over the training rows", low=0)
    warmup: float = _setting(0.1, "share of the steps in which the learning rate rises", low=0, high=1)
    weight_decay: float = _setting(0.01, "AdamW's weight decay", low=0)
    schedule: str = _setting(
        "linear", "how the learning rate falls", choices=("linear", "cosine", "constant")
    )
    max_length: int = _setting(128, "tokens a text may have, prompt included; the rest is cut", low=8)
    padding: str = _setting(
        "longest", "longest: to the batch's longest; max: to max_length", choices=("longest", "max")
    )
    like_length_batches: bool = _setting(True, "put texts of like length into one batch")
    evals_per_epoch: int = _setting(1, "looks at the validation split in an epoch", low=1)
    patience: int = _setting(0, "looks without gain after which training stops; 0: never", low=0)
    onnx: bool = _setting(False, "export the model to ONNX too, in float32 and int8, for fast serving")

    def __post_init__(self) -> None:
        for setting in dataclasses.fields(self):
            _check(setting, getattr(self, setting.name))
        if self.trunk_layers != "auto" and not self.trunk_layers.isdigit():
            raise RecipeError(
                f'trunk_layers is {self.trunk_layers!r}. Give "auto" or a number of layers, such as 8.'
            )
        if self.state_noise and self.trunk_layers == "0":
            raise RecipeError(
                "state_noise needs a cached trunk, but trunk_layers is 0. Set state_noise to 0 too."
            )
        if self.learning_rate == 0 or self.epochs == 0:
            raise RecipeError("learning_rate and epochs must be above 0: with 0 nothing is learnt.")


def settings() -> tuple[dataclasses.Field[Any], ...]:
    """Return the settings of a recipe, in order; `metadata["help"]` says what each is."""
    return dataclasses.fields(Recipe)


def available_recipes() -> dict[str, Recipe]:
    """Return the recipes that come with TweetTune, by name, quickest first."""
    order = ("quick", "lora", "full", "tutorial", "smoke")
    names = [path.stem for path in RECIPES_DIR.glob("*.toml")]
    rank = {name: order.index(name) if name in order else len(order) for name in names}
    return {name: load_recipe(name) for name in sorted(names, key=lambda n: (rank[n], n))}


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Read a recipe by the name of a built-in one or by the path of a TOML file. Raises RecipeError."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = RECIPES_DIR / f"{name_or_path}.toml"
        if not path.exists():
            known = sorted(p.stem for p in RECIPES_DIR.glob("*.toml"))
            near = difflib.get_close_matches(str(name_or_path), known, n=1, cutoff=0.5)
            known = [*near, *(name for name in known if name not in near)]
            raise RecipeError(
                f"There is no recipe named {str(name_or_path)!r}. "
                f"Known: {', '.join(known)}; or give a .toml file."
            )
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(
            f"The recipe {path} does not exist. Give the path of a .toml file that does."
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(
            f"The recipe {path} can't be read ({error}). Mend it or copy a built-in one."
        ) from error
    for key in content:
        _check_name(key)
    return _build({"name": path.stem, **{key: _from_toml(key, value) for key, value in content.items()}})


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write a recipe as TOML, each setting with its help as a comment."""
    document = tomlkit.document()
    for setting in settings():
        value = getattr(recipe, setting.name)
        item = tomlkit.item(list(value) if isinstance(value, tuple) else value)
        item.comment(str(setting.metadata["help"]))
        document.add(setting.name, item)
    path.write_text(tomlkit.dumps(document), encoding="utf-8")


def change(recipe: Recipe, changes: dict[str, str]) -> Recipe:
    """Return the recipe with settings replaced by values given as text, as `--set` and the form do.

    Lists are separated by commas. Raises RecipeError; for an unknown setting it names the nearest known one.
    """
    values = {}
    for key, text in changes.items():
        _check_name(key)
        values[key] = _parse(key, text)
    return _build({**dataclasses.asdict(recipe), **values})


def _build(values: dict[str, Any]) -> Recipe:
    return Recipe(**values)


def _fields() -> dict[str, dataclasses.Field[Any]]:
    return {setting.name: setting for setting in settings()}


def _check_name(key: str) -> None:
    known = list(_fields())
    if key not in known:
        near = difflib.get_close_matches(key, known, n=len(known), cutoff=0.4)
        others = [name for name in known if name not in near]
        hint = f" Did you mean {near[0]}?" if near else ""
        raise RecipeError(
            f"There is no setting {key!r}.{hint} Known settings: {', '.join([*near, *others])}."
        )


def _from_toml(key: str, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if key == "trunk_layers" or (_fields()[key].type in (float, "float") and isinstance(value, int)):
        return str(value) if key == "trunk_layers" else float(value)
    return value


def _parse(key: str, text: str) -> Any:
    kind = _fields()[key].type
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise RecipeError(f"{key} is {text!r}. Give true or false.")
        return text.lower() == "true"
    if kind in (int, float):
        try:
            number = float(text)
            return int(text) if kind is int else number
        except ValueError:
            wanted = "a whole number" if kind is int else "a number"
            raise RecipeError(f"{key} is {text!r}. Give {wanted}.") from None
    if kind is str:
        return text.replace("\\n", "\n")
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _check(setting: dataclasses.Field[Any], value: Any) -> None:
    kinds = {bool: bool, int: int, float: float, str: str}
    kind: type = kinds.get(setting.type, tuple)  # type: ignore[arg-type]
    right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if kind is tuple and right:
        right = all(isinstance(item, str) for item in value)
    if not right or (isinstance(value, float) and not math.isfinite(value)):
        name = (
            "list of texts"
            if kind is tuple
            else {"str": "text", "int": "whole number"}.get(kind.__name__, kind.__name__)
        )
        raise RecipeError(f"{setting.name} is {value!r}. Give a {name}: {setting.metadata['help']}.")
    low, high = setting.metadata.get("low"), setting.metadata.get("high")
    if (low is not None and value < low) or (high is not None and value > high):
        limits = f"from {low} to {high}" if high is not None else f"of at least {low}"
        raise RecipeError(f"{setting.name} is {value}. Give a value {limits}: {setting.metadata['help']}.")
    choices = setting.metadata.get("choices")
    if choices and value not in choices:
        raise RecipeError(f"{setting.name} is {value!r}. Give one of: {', '.join(choices)}.")
