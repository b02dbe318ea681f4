"""The commands of studies: `python -m training tune`, `forecast`, `adapt` and `forgetting`.

add_tune(register, recipe_options, commands); WATCH[run.kind](run, given)     # `resume` watches them too
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from inference.common.errors import RunError
from inference.tables.formats import open_table
from training.cli.publish import Commands, Register
from training.recipes import Recipe, change, load_recipe
from training.runs import process
from training.runs.run import (
    ADAPT,
    FORECAST,
    FORGETTING,
    TUNE,
    Run,
    create_run_of,
    find_run,
    with_whole_paths,
)
from training.studies.adapt_order import AdaptOrder, adapt_recipe, read_adapted
from training.studies.forecast_order import ForecastOrder, read_forecast
from training.studies.forgetting_order import ForgettingOrder, check_finished, read_forgetting
from training.studies.order import BEST, SearchOrder, read_search, read_space

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
    """Return the recipe that a command is given, with its changes. Raises RecipeError.

    A folder that can't be a base is a BaseError already here, so that it leaves no failed run behind.
    """
    from training.model.bases import check_named

    changes = changes_of(given.set)
    for key in ("base", "dataset", "text_column", "label_column", "unlabelled"):
        if value := getattr(given, key, None):
            changes[key] = value
    recipe = change(load_recipe(given.recipe), changes)
    check_named(recipe.base)
    return recipe


def _tune(given: argparse.Namespace) -> int:
    recipe = with_whole_paths(recipe_of(given))
    order = SearchOrder(
        recipe=recipe.model_dump(), trials=given.trials, space=read_space(given.space, recipe)
    )
    run = create_run_of(TUNE, asdict(order), name=recipe.name)
    process.start(run)
    return watch_tune(run, given)


def watch_tune(run: Run, given: argparse.Namespace) -> int:
    """Follow a search to its end, then print what it found."""
    from training.cli.terminal import follow_to_the_result, print_search

    best = run.path / BEST
    follow_to_the_result(
        run,
        read_search,
        print_search,
        result="search",
        as_json=given.json,
        more={"recipe_file": str(best)},
        where=f"The best recipe: python -m training train {best}\n"
        f"Trials and picture: {run.path}/search.json, trials.csv, search.png",
    )
    return 0


def _forecast(given: argparse.Namespace) -> int:
    recipe = with_whole_paths(recipe_of(given))
    order = ForecastOrder(recipe=recipe.model_dump(), most=given.most)
    run = create_run_of(FORECAST, asdict(order), name=recipe.name)
    process.start(run)
    return watch_forecast(run, given)


def watch_forecast(run: Run, given: argparse.Namespace) -> int:
    """Follow a forecast to its end, then print it. Raises RunError where the curve allows none."""
    from training.cli.terminal import follow_to_the_result, print_forecast

    where = f"Figures and picture: {run.path}/forecast.json, forecast.png"
    found = follow_to_the_result(
        run, read_forecast, print_forecast, result="forecast", as_json=given.json, where=where
    )
    if found.refused:
        raise RunError(found.sentences()[0])
    return 0


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
    sub.add_argument(
        "--general",
        type=Path,
        metavar="FILE",
        help="general text to see on what is forgotten (default: English passages that come with TweetTune)",
    )
    sub.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one setting; repeatable"
    )
    sub.add_argument("--json", action="store_true", help="print the result as one JSON object")


def _adapt(given: argparse.Namespace) -> int:
    from training.model.bases import check_named

    changes = changes_of(given.set)
    changes |= {key: value for key in ("base", "dataset") if (value := getattr(given, key))}
    recipe = with_whole_paths(adapt_recipe(given.corpus.stem, changes))
    check_named(recipe.base)
    corpus, general = (file and file.expanduser().absolute() for file in (given.corpus, given.general))
    for file in filter(None, (corpus, general)):
        open_table(file)
    order = AdaptOrder(
        recipe=recipe.model_dump(),
        corpus=str(corpus),
        text_column=given.text_column or "",
        general=str(general or ""),
    )
    run = create_run_of(ADAPT, asdict(order), name=recipe.name)
    process.start(run)
    return watch_adapt(run, given)


def watch_adapt(run: Run, given: argparse.Namespace) -> int:
    """Follow an adaptation to its end, then print what it changed."""
    from training.cli.terminal import follow_to_the_result, print_adapted

    follow_to_the_result(
        run,
        read_adapted,
        print_adapted,
        result="adapt",
        as_json=given.json,
        more={"base_folder": str(run.artifact)},
        where=f"The adapted base: python -m training train RECIPE --base {run.path}",
    )
    return 0


def add_forgetting(register: Register, commands: Commands) -> None:
    """Add `forgetting` to the parser."""
    sub = register(
        commands,
        FORGETTING,
        _forgetting,
        "see what finished runs forgot of general language, and what less of their change would give",
    )
    sub.add_argument("runs", metavar="RUN", nargs="+", help="a run's name or folder; several are compared")
    sub.add_argument(
        "--general",
        type=Path,
        metavar="FILE",
        help="general text to see on what is forgotten (default: English passages that come with TweetTune)",
    )
    sub.add_argument("--json", action="store_true", help="print the result as one JSON object")


def _forgetting(given: argparse.Namespace) -> int:
    runs = list(dict.fromkeys(find_run(name) for name in given.runs))
    for run in runs:
        check_finished(run)
    if given.general:
        open_table(given.general.expanduser())
    general = str(given.general.expanduser().absolute()) if given.general else ""
    order = ForgettingOrder(runs=tuple(str(run.path) for run in runs), general=general)
    run = create_run_of(FORGETTING, asdict(order), name=runs[0].id)
    process.start(run)
    return watch_forgetting(run, given)


def watch_forgetting(run: Run, given: argparse.Namespace) -> int:
    """Follow a study of forgetting to its end, then print what it found."""
    from training.cli.terminal import follow_to_the_result, print_forgetting

    where = f"Figures and picture: {run.path}/forgetting.json, forgetting.png"
    follow_to_the_result(
        run, read_forgetting, print_forgetting, result="forgetting", as_json=given.json, where=where
    )
    return 0


WATCH: Mapping[str, Callable[[Run, argparse.Namespace], int]] = {
    TUNE: watch_tune,
    FORECAST: watch_forecast,
    ADAPT: watch_adapt,
    FORGETTING: watch_forgetting,
}
"""How a run of each kind is followed."""
