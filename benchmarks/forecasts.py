"""Does the interval of a forecast hold what the real training reaches? 20 forecasts, each beside its own.

    python -m benchmarks forecasts --dataset DATA     # about 30 minutes on two cores at 300 GFLOP/s

Ten draws, five from the train split of DATA and five from the embedded tweets, share no tweet: 1,000 training
rows and 200 validation rows each. On each draw two recipes are forecast from runs with 400 labels at most,
by the code of `python -m training forecast`. Then each is trained on all 1,000, once: that run should lie in
the interval. Both are measured on the validation rows, on which each training's best epoch is chosen, too. No
test row of DATA is used.

So that 20 fit, the recipes are small: `quick` with the top two layers trained alone, in batches of 8, for two
epochs at 3e-3; with quick's noise on the states and without. A draw's real trainings share one
trunk. Measurements are kept in .cache/forecasts, so that a stopped benchmark goes on.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest import mock

import numpy as np

from benchmarks import CACHE, results
from inference.artifact import read_record
from inference.common.store import JsonObject, write_json, write_jsonl
from inference.common.text import duplicate_key
from training.data.load import load_splits
from training.fit.prepare import Prepared, prepare
from training.fit.trainer import logits_of, train
from training.recipes import DataSpec, Recipe, change, load_recipe
from training.runs.log import RunLog
from training.studies.forecast import forecast
from training.studies.forecast_order import Forecast, ForecastOrder

KEPT, FOUND = CACHE / "forecasts", "found.json"
MORE = "embedded"
DRAWS, TRAIN, VALIDATION, TEST = 5, 1_000, 200, 10
"""Draws of each data set, and the rows of each; a test split has to be there, and is not read."""
MOST = 400
"""Labels of the largest tiny run: what the command takes for 1,000 rows."""
SMALL = {
    "base": "embedded",
    "trunk_layers": "28",
    "batch_size": "8",
    "learning_rate": "3e-3",
    "epochs": "2",
    "patience": "0",
    "n_train": "0",
    "n_validation": "0",
    "n_test": "0",
    "onnx": "false",
}
RECIPES: dict[str, dict[str, str]] = {"noise on the states": {}, "no noise": {"state_noise": "0"}}


def main(dataset: str) -> None:
    """Measure what is not measured yet, and write results/forecasts.json."""
    KEPT.mkdir(parents=True, exist_ok=True)
    asked: JsonObject = {"dataset": dataset, "small": SMALL, "recipes": RECIPES, "rows": [TRAIN, VALIDATION]}
    kept = read_record(KEPT, FOUND) or {"asked": asked, "found": {}}
    if kept["asked"] != asked:
        raise SystemExit(f"{KEPT} holds what was measured of other data or recipes. Remove it.")
    for source in dict.fromkeys((dataset, MORE)):
        for number, folder in enumerate(_draws(source), 1):
            for record in _measured(folder, number, kept["found"]):
                print(record, flush=True)
                write_json(KEPT / FOUND, kept)
    found = list(kept["found"].values())
    groups: dict[str, list[JsonObject]] = {}
    for one in found:
        groups.setdefault(f"{one['data']}, {one['recipe']}", []).append(one)
    results.write(
        "forecasts",
        base=next((one["base"] for one in found if one["base"]), None),
        data={"name": " and ".join(dict.fromkeys(one["data"] for one in found))},
        labels={"most": MOST, "forecast": TRAIN},
        rows=[_row(name, some) for name, some in {**groups, "all": found}.items()],
        comparison={"sentence": "95 % of the intervals should. In brackets: the share's own 95 % interval."},
        forecasts=found,
    )


def _draws(source: str) -> Iterator[Path]:
    """Write the draws of a data set, if they are not there, and yield their folders."""
    name = Path(source).name
    folders = [KEPT / f"{name}-{number}" for number in range(1, DRAWS + 1)]
    if not all((folder / "test.jsonl").is_file() for folder in folders):
        splits = load_splits(DataSpec(dataset=source, n_validation=1, n_test=1))
        once = {
            duplicate_key(text): {"text": text, "label": splits.labels[label]}
            for text, label in zip(splits.train["text"], splits.train["label"], strict=True)
        }
        rows, each = list(once.values()), TRAIN + VALIDATION + TEST
        if len(rows) < DRAWS * each:
            raise SystemExit(f"{source} has {len(rows):,} training rows, and {DRAWS * each:,} are drawn.")
        order = np.random.default_rng(0).permutation(len(rows)).tolist()
        for at, folder in enumerate(folders):
            drawn = [rows[row] for row in order[at * each : (at + 1) * each]]
            folder.mkdir(exist_ok=True)
            write_jsonl(folder / "train.jsonl", drawn[:TRAIN])
            write_jsonl(folder / "validation.jsonl", drawn[TRAIN : TRAIN + VALIDATION])
            write_jsonl(folder / "test.jsonl", drawn[TRAIN + VALIDATION :])
    yield from folders


def _measured(folder: Path, seed: int, found: JsonObject) -> Iterator[JsonObject]:
    """Forecast and train each recipe on one draw; add each record to `found` and yield it."""
    work = KEPT / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    prepared: Prepared | None = None
    for name, changes in RECIPES.items():
        if (key := f"{folder.name}, {name}") in found:
            continue
        given = SMALL | {"dataset": str(folder), "seed": str(seed)} | changes
        recipe = change(load_recipe("quick"), given)
        forecasted = _forecast(recipe, work)
        record: JsonObject = {
            "data": folder.name.rpartition("-")[0],
            "recipe": name,
            "draw": seed,
            "refused": forecasted.refused,
            "n": forecasted.n_validation,
        }
        record["points"] = [[point.labels, point.mean] for point in forecasted.points]
        if not forecasted.refused:
            prepared = prepared or prepare(recipe, work)
            [target] = forecasted.targets
            real = _real(prepared, recipe, work / name)
            accuracy = target.accuracy
            record |= {
                "labels": target.labels,
                "forecast": accuracy.to_json(),
                "real": real,
                "held": accuracy.low <= real <= accuracy.high,
            }
        base = prepared.base if prepared else None
        record["base"] = {"name": base.name, "revision": base.revision} if base else None
        found[key] = record
        yield record
    shutil.rmtree(work)


def _forecast(recipe: Recipe, home: Path) -> Forecast:
    """Do what `python -m training forecast` does, in this process, which has imported all it needs."""
    with mock.patch.dict(os.environ, TWEETTUNE_HOME=str(home)):
        run = ForecastOrder(recipe=recipe.model_dump(), most=MOST).create(name="one")
    forecast(run, RunLog(run.path))
    found = Forecast.read(run.path)
    assert found, "it has ended"
    return found


def _real(prepared: Prepared, recipe: Recipe, checkpoints: Path) -> float:
    """Return the share of the validation rows that a training on all rows gets right."""
    tuned = train(prepared, recipe, checkpoints=checkpoints)
    assert tuned is not None, "nobody asks it to stop midway"
    answers = logits_of(tuned, prepared.validation, prepared.trunk, prepared.precision).argmax(1)
    return float((answers == np.array(prepared.validation.labels)).mean())


def _row(name: str, some: Sequence[JsonObject]) -> dict[str, Any]:
    made = [one for one in some if not one["refused"]]
    row = {"name": name, "forecasts": len(some), "refused": len(some) - len(made)}
    row["intervals_that_hold_the_real_run"] = results.share(sum(one["held"] for one in made), len(made))
    if made:
        off = [100 * abs(one["forecast"]["value"] - one["real"]) for one in made]
        width = [100 * (one["forecast"]["high"] - one["forecast"]["low"]) for one in made]
        row |= {"points_off_on_average": fmean(off), "points_from_low_to_high": fmean(width)}
    return row
