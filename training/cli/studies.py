"""The commands of studies: `python -m training audit`, `tune`, `forecast`, `adapt` and `forgetting`.

add_commands(commands); watch(run, given)     # `resume` watches them, and a ladder, too
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inference.common.command import Commands, add_command, option, print_json
from inference.common.errors import DataError, RunError
from inference.common.store import write_bytes
from inference.tables.formats import open_table
from training.audit.findings import Audit
from training.cli.options import (
    BASE,
    DATASET,
    changes_of,
    data_options,
    recipe_of,
    recipe_options,
    set_option,
)
from training.recipes import Recipe, change
from training.runs import process
from training.runs.run import (
    ADAPT,
    AUDIT,
    FORECAST,
    FORGETTING,
    LADDER,
    TUNE,
    Run,
    find_run,
    with_whole_paths,
)
from training.runs.study import Result
from training.studies.adapt_order import Adapted, AdaptOrder, adapt_recipe
from training.studies.audit_order import LABEL_ROWS, AuditOrder
from training.studies.forecast_order import Forecast, ForecastOrder
from training.studies.forgetting_order import Forgetting, ForgettingOrder, check_finished
from training.studies.order import BEST, Search, SearchOrder, read_space


def add_commands(commands: Commands) -> None:
    """Add the studies to the parser."""
    _add_audit(commands)
    sub = add_command(
        commands,
        TUNE,
        _tune,
        "search for better settings on the validation split, all trials on one cached trunk",
    )
    recipe_options(sub)
    option(sub, "--trials N", "trainings to try", default=20)
    option(
        sub,
        "--space NAME=VALUES",
        "search this setting, as learning_rate=1e-4..2e-3 or lora_r=4,8,16; repeatable (default: "
        "learning rate, batch size, epochs, label smoothing, LoRA's rank and the noise)",
        default=[],
        action="append",
    )
    sub = add_command(
        commands,
        FORECAST,
        _forecast,
        "forecast what more labels would give, from tiny runs at rising numbers of them",
    )
    recipe_options(sub)
    option(
        sub,
        "--most N",
        "labels of the largest tiny run (default: a tenth of the rows, from 400 to 2,000)",
        default=0,
    )
    sub = add_command(
        commands,
        ADAPT,
        _adapt,
        "go on with a base's training as a language model, on texts without labels; the result is a base",
    )
    option(sub, "corpus CORPUS", "file of texts without labels, a text a row", type=Path)
    option(sub, "--base BASE", f"{BASE} (default: auto)")
    option(
        sub,
        "--dataset DATASET",
        "the labelled data whose validation and test rows must not be learnt (default: auto)",
    )
    option(sub, "--text-column NAME", "column of the texts (default: found by name)")
    _add_general(sub)
    set_option(sub)
    sub = add_command(
        commands,
        FORGETTING,
        _forgetting,
        "see what finished runs forgot of general language, and what less of their change would give",
    )
    option(sub, "runs RUN", "a run's name or folder; several are compared", nargs="+")
    _add_general(sub)


def _add_audit(commands: Commands) -> None:
    sub = add_command(
        commands,
        AUDIT,
        _audit,
        "look for what is wrong with a data set: duplicates, leaks, contradictions, probable label errors",
    )
    option(sub, "dataset", DATASET, default="auto", nargs="?")
    data_options(sub)
    option(sub, "--base BASE", BASE, default="auto")
    option(sub, "--max-length N", "tokens that are not cut", default=128)
    option(
        sub,
        "--labels",
        "look for probable label errors, which takes a pass of the base over the rows (default: yes)",
        default=True,
        action=argparse.BooleanOptionalAction,
    )
    option(
        sub, "--label-rows N", "training rows that are looked at for label errors; 0: all", default=LABEL_ROWS
    )
    option(sub, "--csv F", "write the flagged rows here too, as a queue to relabel", type=Path)
    option(sub, "--html F", "write the page here too", type=Path)


def _add_general(sub: argparse.ArgumentParser) -> None:
    option(
        sub,
        "--general FILE",
        "general text to see on what is forgotten (default: English passages that come with TweetTune)",
        type=Path,
    )


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
            f"The adapted base: python -m training train RECIPE --base {at}\n"
            f"Figures and picture: {at}/adapt.json, adapt.png",
        ),
        AUDIT: (
            Audit,
            show.print_audit,
            f"Page, picture and rows to relabel: {at}/audit.html, audit.png, flags.csv",
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


def _audit(given: argparse.Namespace) -> int:
    if given.max_length < 8:
        raise DataError(f"--max-length is {given.max_length}. Give 8 or more.")
    names = ("base", "dataset", "text_column", "label_column", "max_length")
    asked = {name: value for name in names if (value := getattr(given, name)) is not None}
    recipe = with_whole_paths(change(Recipe(name=Path(given.dataset).stem or "data"), asked))
    order = AuditOrder(recipe=recipe.model_dump(), look_at_labels=given.labels, label_rows=given.label_rows)
    run = order.create(name=recipe.name)
    status = follow(run, given)
    for place, made in ((given.csv, "flags.csv"), (given.html, "audit.html")):
        if place:
            try:
                write_bytes(place, (run.path / made).read_bytes())
            except OSError as error:
                raise DataError(
                    f"{place} can't be written ({error.strerror}). It lies in {run.path / made} too."
                ) from error
    return status


def _tune(given: argparse.Namespace) -> int:
    recipe = with_whole_paths(recipe_of(given))
    space = read_space(given.space, recipe)
    order = SearchOrder(recipe=recipe.model_dump(), trials=given.trials, space=space)
    return follow(order.create(name=recipe.name), given)


def _forecast(given: argparse.Namespace) -> int:
    recipe = with_whole_paths(recipe_of(given))
    order = ForecastOrder(recipe=recipe.model_dump(), most=given.most)
    return follow(order.create(name=recipe.name), given)


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


def _forgetting(given: argparse.Namespace) -> int:
    runs = list(dict.fromkeys(find_run(name) for name in given.runs))
    for run in runs:
        check_finished(run)
    order = ForgettingOrder(runs=tuple(str(run.path) for run in runs), general=_table(given.general))
    return follow(order.create(name=runs[0].id), given)
