"""The commands of studies: `python -m training tune`, `forecast`, `adapt` and `forgetting`.

add_tune(register, recipe_options, commands); watch(run, given)     # `resume` watches them, and a ladder, too
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from inference.common.command import print_json
from inference.common.errors import RunError
from inference.tables.formats import open_table
from training.cli.publish import Commands, Register
from training.recipes import Recipe, change, load_recipe
from training.runs import process
from training.runs.run import ADAPT, FORECAST, FORGETTING, LADDER, TUNE, Run, find_run, with_whole_paths
from training.runs.study import Result
from training.studies.adapt_order import Adapted, AdaptOrder, adapt_recipe
from training.studies.forecast_order import Forecast, ForecastOrder
from training.studies.forgetting_order import Forgetting, ForgettingOrder, check_finished
from training.studies.order import BEST, Search, SearchOrder, read_space

Options = Callable[[argparse.ArgumentParser], None]


def add_tune(register: Register, recipe_options: Options, commands: Commands) -> None:
    """Add `tune` to the parser."""
    sub = register(
        commands,
        TUNE,
        _tune,
        "search for better settings on the validation split, all trials on one cached trunk",
    )
    recipe_options(sub)
    sub.add_argument("--trials", type=int, default=20, metavar="N", help="trainings to try (default: 20)")
    sub.add_argument(
        "--space",
        action="append",
        default=[],
        metavar="NAME=VALUES",
        help="search this setting, as learning_rate=1e-4..2e-3 or lora_r=4,8,16; repeatable (default: "
        "learning rate, batch size, epochs, label smoothing, LoRA's rank and the noise)",
    )
    sub.add_argument("--json", action="store_true", help="print the result as one JSON object")


def add_forecast(register: Register, recipe_options: Options, commands: Commands) -> None:
    """Add `forecast` to the parser."""
    sub = register(
        commands,
        FORECAST,
        _forecast,
        "forecast what more labels would give, from tiny runs at rising numbers of them",
    )
    recipe_options(sub)
    sub.add_argument(
        "--most",
        type=int,
        default=0,
        metavar="N",
        help="labels of the largest tiny run (default: a tenth of the rows, from 400 to 2,000)",
    )
    sub.add_argument("--json", action="store_true", help="print the result as one JSON object")


def add_set(sub: argparse.ArgumentParser) -> None:
    """Add `--set`, which `changes_of` reads, to a command."""
    sub.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one setting; repeatable"
    )


def _add_general(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--general",
        type=Path,
        metavar="FILE",
        help="general text to see on what is forgotten (default: English passages that come with TweetTune)",
    )


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


def follow(run: Run, given: argparse.Namespace) -> int:
    """Start a study and watch it."""
    process.start(run)
    return watch(run, given)


def watch(run: Run, given: argparse.Namespace) -> int:
    """Follow a study to its end, then print what it found. Raises RunError, also for a refused forecast."""
    from training.cli import terminal as show
    from training.ladder.results import Ladder

    at, best = run.path, run.path / BEST
    kinds: dict[str, tuple[type[Result], Callable[[Any], None], str]] = {
        LADDER: (
            Ladder,
            show.print_ladder,
            f"Results and pictures: {at}/ladder.json, ladder.csv, intervals.png, cost.png",
        ),
        TUNE: (
            Search,
            show.print_search,
            f"The best recipe: python -m training train {best}\n"
            f"Trials and picture: {at}/search.json, trials.csv, search.png",
        ),
        FORECAST: (Forecast, show.print_forecast, f"Figures and picture: {at}/forecast.json, forecast.png"),
        ADAPT: (
            Adapted,
            show.print_adapted,
            f"The adapted base: python -m training train RECIPE --base {at}",
        ),
        FORGETTING: (
            Forgetting,
            show.print_forgetting,
            f"Figures and picture: {at}/forgetting.json, forgetting.png",
        ),
    }
    kind, print_found, where = kinds[run.kind]
    show.follow_to_the_end(run, quiet=given.json)
    found = kind.read(at)
    if found is None:
        raise RunError(f"{at} has no {kind.FILE} that can be used. Start the {run.kind} again.")
    if given.json:
        more = {TUNE: {"recipe_file": str(best)}, ADAPT: {"base_folder": str(run.artifact)}}
        print_json({"run": run.id, **more.get(run.kind, {}), **found.to_json()})
    else:
        print_found(found)
        sys.stderr.write(f"{where}\n")
    if isinstance(found, Forecast) and found.refused:
        raise RunError(found.sentences()[0])
    return 0


def _tune(given: argparse.Namespace) -> int:
    recipe = with_whole_paths(recipe_of(given))
    space = read_space(given.space, recipe)
    order = SearchOrder(recipe=recipe.model_dump(), trials=given.trials, space=space)
    return follow(order.create(name=recipe.name), given)


def _forecast(given: argparse.Namespace) -> int:
    recipe = with_whole_paths(recipe_of(given))
    order = ForecastOrder(recipe=recipe.model_dump(), most=given.most)
    return follow(order.create(name=recipe.name), given)


def add_adapt(register: Register, commands: Commands) -> None:
    """Add `adapt` to the parser."""
    sub = register(
        commands,
        ADAPT,
        _adapt,
        "go on with a base's training as a language model, on texts without labels; the result is a base",
    )
    sub.add_argument("corpus", metavar="CORPUS", type=Path, help="file of texts without labels, a text a row")
    sub.add_argument("--base", metavar="BASE", help="auto, embedded, a Hub id or a folder (default: auto)")
    sub.add_argument(
        "--dataset",
        metavar="DATASET",
        help="the labelled data whose validation and test rows must not be learnt (default: auto)",
    )
    sub.add_argument("--text-column", metavar="NAME", help="column of the texts (default: found by name)")
    _add_general(sub)
    add_set(sub)
    sub.add_argument("--json", action="store_true", help="print the result as one JSON object")


def _adapt(given: argparse.Namespace) -> int:
    changes = changes_of(given.set)
    changes |= {key: value for key in ("base", "dataset") if (value := getattr(given, key))}
    recipe = with_whole_paths(adapt_recipe(given.corpus.stem, changes))
    order = AdaptOrder(
        recipe=recipe.model_dump(),
        corpus=_table(given.corpus),
        text_column=given.text_column or "",
        general=_table(given.general),
    )
    return follow(order.create(name=recipe.name), given)


def _table(file: Path | None) -> str:
    """Return where a file lies, "" for none. Raises DataError for one that can't be read."""
    if file is None:
        return ""
    whole = file.expanduser().absolute()
    open_table(whole)
    return str(whole)


def add_forgetting(register: Register, commands: Commands) -> None:
    """Add `forgetting` to the parser."""
    sub = register(
        commands,
        FORGETTING,
        _forgetting,
        "see what finished runs forgot of general language, and what less of their change would give",
    )
    sub.add_argument("runs", metavar="RUN", nargs="+", help="a run's name or folder; several are compared")
    _add_general(sub)
    sub.add_argument("--json", action="store_true", help="print the result as one JSON object")


def _forgetting(given: argparse.Namespace) -> int:
    runs = list(dict.fromkeys(find_run(name) for name in given.runs))
    for run in runs:
        check_finished(run)
    order = ForgettingOrder(runs=tuple(str(run.path) for run in runs), general=_table(given.general))
    return follow(order.create(name=runs[0].id), given)
