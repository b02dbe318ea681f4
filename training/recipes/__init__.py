"""A recipe is a TOML file is a frozen model of pydantic's.

    recipe = change(load_recipe("quick"), {"epochs": "4"})
    recipe.data                                  # -> the DataSpec: which rows it asks for

The class is the one list of settings: it checks the files, fills `--help` and draws the Train tab's form.
Importing it loads no torch; reading a recipe takes milliseconds.
"""

import dataclasses
import difflib
import re
import tomllib
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import tomlkit
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from inference.common.errors import DataError, RecipeError, TweetTuneError
from inference.common.names import Kind, read_id
from inference.common.store import write_text

RECIPES_DIR = Path(__file__).parent
LEFT_OVER = "train"
"""In place of a file of texts without labels: the training rows of the same data that are not taken."""
HELD_OUT = ("validation", "test")
MOST_EPOCHS = 10_000
RULES = 2
"""By which rules labels are read and splits are drawn. 2: names that differ by case or spaces alone are one,
and equal texts stay in one split. 1, of November 2026 and before: names as written, each row on its own."""
DATASET_ID = re.compile(r"(?P<id>[\w.-]+(?:/[\w.-]+)?)(?::(?P<config>[\w.+-]+))?")
"""The id of a data set on the Hub, unless there is such a file."""


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """Which rows to load; `training.data.load` does it.

    `dataset` is "auto" (the Hub's tweets when it answers, else the embedded ones), "embedded", the path of a
    file or folder, or a Hub id ("owner/name" or "owner/name:config"). Empty columns are found by name;
    `label_names` name integer labels in order. The `n_`s limit the rows of a split; 0 takes all. `rules` are
    those that a record was made by, so that its rows are drawn again as they were. `leak_gate`: see
    `training.data.splits.leak_gate`.
    Raises DataError for a number of rows below 0.
    """

    dataset: str = "auto"
    text_column: str = ""
    label_column: str = ""
    label_names: tuple[str, ...] = ()
    n_train: int = 0
    n_validation: int = 0
    n_test: int = 0
    stratified: bool = False
    seed: int = 42
    leak_gate: str = "exact"
    rules: int = RULES

    def __post_init__(self) -> None:
        object.__setattr__(self, "dataset", read_id(self.dataset, "dataset"))
        for name in ("n_train", "n_validation", "n_test"):
            if getattr(self, name) < 0:
                raise DataError(f"{name} is {getattr(self, name)}; give a number of rows, or 0 for all.")

    def row_limit(self, split: str) -> int:
        """Return how many rows of a split to take; 0 is all."""
        return {"train": self.n_train, "validation": self.n_validation, "test": self.n_test}[split]

    def whole(self) -> "DataSpec":
        """Return the same data with all rows of each split."""
        return dataclasses.replace(self, n_train=0, n_validation=0, n_test=0, stratified=False)


def _setting(default: object, help: str, *, low: float | None = None, high: float | None = None) -> Any:
    return Field(default, description=help, ge=low, le=high)


def _true_or_false(value: object) -> object:
    """Take TOML's own words for a truth value, not the "yes" and "on" that pydantic would take too."""
    if not isinstance(value, str):
        return value
    if value.lower() not in ("true", "false"):
        raise ValueError
    return value.lower() == "true"


def _listed(value: object) -> object:
    """Split text at commas: that is how `--set` and the form write a list."""
    return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


def _layers(value: object) -> object:
    """Take a number or share of layers as text: a file may say 8 as well as "8"."""
    return str(value) if isinstance(value, int | float) else value


def _id_of(kind: Kind) -> BeforeValidator:
    """Read a pasted address of the Hub as the id that it names."""

    def read(value: object) -> object:
        try:
            return read_id(value, kind) if isinstance(value, str) else value
        except TweetTuneError as error:
            raise RecipeError(str(error)) from error

    return BeforeValidator(read)


BaseName = Annotated[str, _id_of("model")]
DatasetName = Annotated[str, _id_of("dataset")]
Flag = Annotated[bool, BeforeValidator(_true_or_false)]
Words = Annotated[tuple[str, ...], BeforeValidator(_listed), Field(strict=False)]  # a list will do
Layers = Annotated[str, BeforeValidator(_layers), Field(pattern=r"^(auto|\d+|0\.\d*[1-9]\d*)$")]


class Recipe(BaseModel, frozen=True, extra="forbid", strict=True, allow_inf_nan=False):
    """All settings of a training. Raises RecipeError for a value of the wrong type or out of range."""

    name: str = _setting("", "what the recipe is called")
    description: str = _setting("", "one line on what it is for")
    base: BaseName = _setting("auto", "base model: auto, embedded, a Hub id or a folder")
    dataset: DatasetName = _setting("auto", "data: auto, embedded, a Hub id, a file or a folder")
    text_column: str = _setting("", "column of the texts; empty: found by name")
    label_column: str = _setting("", "column of the labels; empty: found by name")
    label_names: Words = _setting((), "names of integer labels, in order; empty: taken from the data")
    label_words: Words = _setting((), "word in the prompt for each label; empty: the label's name")
    prompt_prefix: str = _setting("Tweet:", "what stands before the text")
    prompt_suffix: str = _setting("\nSentiment:", "what stands after the text")
    more_data: str = _setting(
        "", "file of labelled texts that is added to the training rows, through the leak gate; empty: none"
    )
    teacher: str = _setting(
        "", "run or artifact whose answers are taught in place of the labels; empty: none"
    )
    teachers: int = _setting(
        0, "trainings on the labels that teach together what they answer without; 0: none", low=0, high=10
    )
    teacher_epochs: float = _setting(
        5.0, "passes of these teachers over the training rows", low=0.01, high=MOST_EPOCHS
    )
    teacher_temperature: float = _setting(
        1.0, "temperature of the answers that are taught; below 1: surer ones", low=0.1, high=10
    )
    unlabelled: str = _setting(
        "", "texts without labels for teachers to answer: a file, or train: its rows that are left over"
    )
    n_unlabelled: int = _setting(0, "texts without labels that are drawn; 0: all", low=0)
    n_train: int = _setting(0, "training rows; 0: all", low=0)
    n_validation: int = _setting(0, "validation rows; 0: all", low=0)
    n_test: int = _setting(0, "test rows; 0: all", low=0)
    stratified: Flag = _setting(False, "keep the class shares when taking a subset")
    seed: int = _setting(42, "seed of splits, subsets, order and dropout", low=0, high=2**32 - 1)
    leak_gate: Literal["exact", "near", "off"] = _setting(
        "exact", "training rows that leave: exact duplicates of held-out rows, near ones too, or none"
    )
    seeds: int = _setting(
        1, "trainings, by this seed and those after it; the best on validation is kept", low=1, high=20
    )
    method: Literal["lora", "full"] = _setting("lora", "lora: small adapters; full: all weights of the top")
    head: Literal["words", "random"] = _setting(
        "words", "words: start from the label words, calibrated; random: from noise"
    )
    depth: int = _setting(0, "layers of the network that are kept; 0: all", low=0)
    trunk_layers: Layers = _setting(
        "auto",
        "frozen lower layers, computed once: a number, a share such as 0.5, 0 for none, auto: two thirds",
    )
    lora_r: int = _setting(8, "rank of the adapters", low=1, high=4096)
    lora_alpha: float = _setting(16.0, "scale of the adapters, over the rank", low=0)
    lora_dropout: float = _setting(0.0, "dropout inside the adapters", low=0, high=0.9)
    state_noise: float = _setting(
        0.0, "noise on cached trunk states in training, as a share of their size", low=0, high=10
    )
    learning_rate: float = _setting(5e-4, "highest learning rate", low=0, high=1)
    batch_size: int = _setting(16, "texts a step", low=1)
    gradient_accumulation_steps: int = _setting(1, "steps summed before the weights change", low=1)
    epochs: float = _setting(3.0, "passes over the training rows", low=0, high=MOST_EPOCHS)
    warmup: float = _setting(0.1, "share of the steps in which the learning rate rises", low=0, high=1)
    weight_decay: float = _setting(0.01, "AdamW's weight decay", low=0)
    schedule: Literal["linear", "cosine", "constant"] = _setting("linear", "how the learning rate falls")
    class_weights: Literal["none", "balanced"] = _setting(
        "none", "balanced: a rare class counts for more in the loss, as much as a frequent one in all"
    )
    label_smoothing: float = _setting(
        0.0, "share of each label that is spread over all classes in the loss", low=0, high=0.9
    )
    calibrate: Flag = _setting(
        False, "fold the temperature that fits the validation split into the head: honest probabilities"
    )
    max_length: int = _setting(128, "tokens a text may have, prompt included; the rest is cut", low=8)
    padding: Literal["longest", "max"] = _setting(
        "longest", "longest: to the batch's longest; max: to max_length"
    )
    like_length_batches: Flag = _setting(True, "put texts of like length into one batch")
    gradient_checkpointing: Flag = _setting(
        False, "trained layers are computed twice: less memory, the same result"
    )
    precision: Literal["auto", "float32", "bfloat16"] = _setting(
        "auto", "what the network is computed in; auto: the faster of both on this machine, as measured"
    )
    evals_per_epoch: int = _setting(1, "looks at the validation split in an epoch", low=1)
    patience: int = _setting(0, "looks without gain after which training stops; 0: never", low=0)
    report_to: Literal["none", "trackio"] = _setting(
        "none", "trackio: curves are also kept by trackio, on this machine"
    )
    onnx: Flag = _setting(False, "export the model to ONNX too, in float32 and int8, for fast serving")

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_sentence(cls, values: object, build: Callable[[object], "Recipe"]) -> "Recipe":
        try:
            recipe = build(values)
        except ValidationError as error:
            raise RecipeError(_sentence(error)) from None
        if recipe.state_noise and recipe.trunk_layers == "0":
            raise RecipeError(
                "state_noise needs a cached trunk, but trunk_layers is 0. Set state_noise to 0 too."
            )
        if recipe.teacher.strip() and recipe.teachers:
            raise RecipeError(
                "There are both teacher and teachers. Name one, or have some trained, not both."
            )
        if recipe.unlabelled.strip() and not (recipe.teacher.strip() or recipe.teachers):
            raise RecipeError(
                "unlabelled needs a teacher, who answers these texts. Take the recipe unlabelled, set "
                "teachers to 2, or name one with teacher."
            )
        if recipe.teachers and not recipe.unlabelled.strip():
            raise RecipeError(
                "teachers need texts without labels. Name a file with unlabelled, or train for the training "
                "rows that are left over; or set teachers to 0."
            )
        if recipe.learning_rate == 0 or recipe.epochs == 0:
            raise RecipeError("learning_rate and epochs must be above 0: with 0 nothing is learnt.")
        return recipe

    @property
    def data(self) -> DataSpec:
        """Which rows it trains, validates and tests on."""
        return DataSpec(**self.model_dump(include=set(DataSpec.__dataclass_fields__)))

    def trunk_of(self, depth: int) -> int:
        """Return how many of so many layers it freezes, which may be more than there are."""
        share = 2 / 3 if self.trunk_layers == "auto" else float(self.trunk_layers)
        return min(round(depth * share), depth - 1) if 0 < share < 1 else int(share)


@dataclass(frozen=True)
class Setting:
    """A setting as `--help`, the form and the documents' tables show it."""

    name: str
    help: str
    default: object
    kind: type
    """bool, int, float, str or tuple."""
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None


@cache
def settings() -> tuple[Setting, ...]:
    """Return the settings of a recipe, in order."""
    found = []
    for name, field in Recipe.model_fields.items():
        kind: Any = field.annotation
        choices = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
        found.append(
            Setting(
                name,
                str(field.description),
                field.default,
                str if choices else typing.get_origin(kind) or kind,
                choices,
                next((limit.ge for limit in field.metadata if hasattr(limit, "ge")), None),
                next((limit.le for limit in field.metadata if hasattr(limit, "le")), None),
            )
        )
    return tuple(found)


def check_unlabelled(source: str) -> None:
    """Raise DataError where the texts that teachers answer would be those of held-out rows."""
    if source in HELD_OUT:
        raise DataError(
            f"The rows of the {source} split are held out, so nothing may learn from their texts. Give a "
            f"file, or {LEFT_OVER} for the training rows that are left over."
        )


def available_recipes() -> dict[str, Recipe]:
    """Return the recipes that come with TweetTune, by name, quickest first."""
    order = ("quick", "unlabelled", "lora", "full", "tutorial", "smoke")
    names = [path.stem for path in RECIPES_DIR.glob("*.toml")]
    rank = {name: order.index(name) if name in order else len(order) for name in names}
    return {name: load_recipe(name) for name in sorted(names, key=lambda n: (rank[n], n))}


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Read a recipe by the name of a built-in one or by the path of a TOML file. Raises RecipeError."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = RECIPES_DIR / f"{name_or_path}.toml"
        if not path.exists():
            known = _nearest_first(str(name_or_path), sorted(p.stem for p in RECIPES_DIR.glob("*.toml")))
            raise RecipeError(
                f"There is no recipe named {str(name_or_path)!r}. "
                f"Known: {', '.join(known)}; or give a .toml file."
            )
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise RecipeError(
            f"The recipe {path} does not exist. Give the path of a .toml file that does."
        ) from None
    except (OSError, ValueError, RecursionError) as error:  # of TOML, of UTF-8, of a number too long
        raise RecipeError(
            f"The recipe {path} can't be read ({error}). Mend it or copy a built-in one."
        ) from error
    return Recipe(**{"name": path.stem, **content})


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write a recipe as TOML, each setting with its help as a comment."""
    document = tomlkit.document()
    for setting in settings():
        value = getattr(recipe, setting.name)
        item = tomlkit.item(list(value) if isinstance(value, tuple) else value)
        item.comment(setting.help)
        document.add(setting.name, item)
    write_text(path, tomlkit.dumps(document))


def change(recipe: Recipe, changes: Mapping[str, object]) -> Recipe:
    """Return the recipe with settings replaced, by values or by text as `--set` and the form give it.

    In text, lists are separated by commas and `\\n` is a line end. Raises RecipeError; for an unknown setting
    it names the nearest known one.
    """
    values = {
        key: value.replace("\\n", "\n") if isinstance(value, str) else value for key, value in changes.items()
    }
    return Recipe.model_validate({**recipe.model_dump(), **values}, strict=False)


def _nearest_first(word: str, known: list[str]) -> list[str]:
    near = difflib.get_close_matches(word, known, n=len(known), cutoff=0.4)
    return [*near, *(name for name in known if name not in near)]


def _sentence(error: ValidationError) -> str:
    """Say the first thing that is wrong with a recipe, an unknown setting before all."""
    found = error.errors(include_url=False)
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    name, value, kind = str(first["loc"][0]), first["input"], first["type"]
    known = {setting.name: setting for setting in settings()}
    if kind == "extra_forbidden":
        names = _nearest_first(name, list(known))
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]}?" if near else ""
        return f"There is no setting {name!r}.{hint} Known settings: {', '.join(names)}."
    setting = known[name]
    if name == "trunk_layers":
        return (
            f'trunk_layers is {value!r}. Give "auto", a number of layers such as 8, or a share such as 0.5.'
        )
    if setting.choices:
        return f"{name} is {value!r}. Give one of: {', '.join(setting.choices)}."
    if kind in ("greater_than_equal", "less_than_equal"):
        low, high = setting.low, setting.high
        limits = f"from {low} to {high}" if high is not None else f"of at least {low}"
        return f"{name} is {value}. Give a value {limits}: {setting.help}."
    expected = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        tuple: "a list of texts",
    }
    return f"{name} is {value!r}. Give {expected[setting.kind]}: {setting.help}."
