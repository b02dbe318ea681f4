"""Forecast what more labels would give: tiny runs at rising numbers of labels, and curves through them.

    forecast(run, log)                       # the work of a run of the kind "forecast"
    Forecast.read(run.path).sentences()      # when it is finished

    runs/<id>/points/LABELS-INDEX.npy   which validation rows each tiny run got right; a resumed one keeps it
              forecast.json, forecast.png

All runs train on one cached trunk, by the same recipe; with few labels they make as many more epochs as give
them LEAST_STEPS steps, and as many evaluations on the validation split as the whole training would have. The
interval is a bootstrap's over the validation rows, which all runs share, with the spread of the runs of one
size: of their mean at each size, and of a single run on top. The test split is never read.
"""

import dataclasses
import gc
import math
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.common.errors import DataError
from inference.common.intervals import Interval
from inference.common.store import write_bytes
from training.data.splits import subset
from training.fit.phases import phases
from training.fit.prepare import Inner, Prepared, Preparing, TrainingData, load_data, prepare
from training.fit.trainer import logits_of, train
from training.recipes import Recipe, change
from training.runs.log import RunLog
from training.runs.run import Run
from training.studies.forecast_order import (
    LEAST_LABELS,
    LEAST_ROWS,
    LEAST_VALIDATION,
    Forecast,
    ForecastOrder,
    Point,
    Target,
)
from training.studies.learning_curve import fit_curves, labels_for, misbehaves, predict
from training.studies.pictures import forecast_picture

SIZES, SEEDS, LEAST_STEPS, RESAMPLES = 6, 3, 60, 200


def forecast(run: Run, log: RunLog) -> None:
    """Take a forecast from its order to its results. Killed at any moment, it can be called again."""
    order = ForecastOrder.from_json(run.order)
    asked = order.settings
    recipe = change(asked, {"n_train": 0, "seeds": 1})
    (run.path / "points").mkdir(exist_ok=True)
    data = load_data(recipe, next(iter(run.events("data")), None))
    log.event("data", **data.to_json())
    total, held_out = len(data.splits.train), len(data.splits.validation)
    if total < LEAST_ROWS or held_out < LEAST_VALIDATION:
        raise DataError(
            f"A forecast needs {LEAST_ROWS} training rows and {LEAST_VALIDATION} validation rows or more "
            f"(found {total:,} and {held_out:,}). Label more first."
        )
    most = min(order.most or min(max(total // 10, 400), 2000), total)
    pool = subset(data.splits.train, min(2 * most, total), seed=recipe.seed, stratified=True)
    some = TrainingData(dataclasses.replace(data.splits, train=pool), data.added)
    prepared = prepare(recipe, run.path, data=some, report=Preparing(log))
    sizes = np.unique(np.geomspace(LEAST_LABELS, most, SIZES).round().astype(int)).tolist()
    files = {(n, index): run.path / "points" / f"{n}-{index}.npy" for n in sizes for index in range(SEEDS)}
    left = {place: file for place, file in files.items() if not file.is_file()}
    log.plan({"runs": prepared.plan["train"] * sum(n for n, _ in left) / len(pool), "fit": 5.0})
    with log.phase("runs"):
        _run(left, prepared, run.path, log)
    with log.phase("fit"):
        right = np.array([[np.load(files[n, index]) for index in range(SEEDS)] for n in sizes])
        found = _fitted(prepared, asked, sizes, right, total)
    write_bytes(run.path / "forecast.png", forecast_picture(found))
    found.write(run.path)
    for left_over in run.path.glob("trunk-*"):
        left_over.unlink()


def _run(left: Mapping[tuple[int, int], Path], prepared: Prepared, folder: Path, log: RunLog) -> None:
    """Write which validation rows each run gets right, by its number of labels and its index."""
    numbered = prepared.splits.train.add_column("row", list(range(len(prepared.splits.train))))
    done, total = 0, sum(count for count, _ in left)
    for (count, index), file in left.items():
        seed = (prepared.recipe.seed + index) % 2**32
        rows = list(subset(numbered, count, seed=seed, stratified=True)["row"])
        partial = file.with_suffix(".partial.npy")
        report = Inner(log, done, total, part=count)
        np.save(partial, _right(prepared.take(rows), folder / "tiny", report, seed))
        partial.rename(file)
        done += count
        log.progress(done, total)


def _right(some: Prepared, place: Path, report: Inner, seed: int) -> NDArray[np.bool_]:
    shutil.rmtree(place, ignore_errors=True)
    gc.collect()
    recipe = some.recipe
    steps = math.ceil(len(some.train) / (recipe.batch_size * recipe.gradient_accumulation_steps))
    longer = change(recipe, {"epochs": max(recipe.epochs, LEAST_STEPS / steps)})
    evaluations = max(round(recipe.epochs * recipe.evals_per_epoch), 1)
    model = train(some, longer, checkpoints=place, report=report, seed=seed, evaluations=evaluations)
    assert model is not None, "nobody asks it to stop midway"
    answers = logits_of(model, some.validation, some.trunk, some.precision).argmax(1)
    shutil.rmtree(place, ignore_errors=True)
    return np.asarray(answers == np.array(some.validation.labels))


def _fitted(
    prepared: Prepared, recipe: Recipe, sizes: list[int], right: NDArray[np.bool_], total: int
) -> Forecast:
    """Fit the curves, and say what they say, or why they say nothing."""
    accuracies = right.mean(2)
    found = Forecast(
        recipe=recipe.name,
        n_validation=right.shape[2],
        points=tuple(
            Point(labels=n, accuracies=tuple(map(float, by_seed)))
            for n, by_seed in zip(sizes, accuracies, strict=True)
        ),
    )
    means, errors, one_run = _noise(accuracies, right.shape[2])
    fits = fit_curves(sizes, means, errors)
    random, rows = np.random.default_rng(recipe.seed), right.shape[2]
    again = np.array(
        [right[:, :, random.integers(rows, size=rows)].mean((1, 2)) for _ in range(RESAMPLES)]
    ) + random.normal(0, one_run / SEEDS**0.5, (RESAMPLES, len(sizes)))
    if why := misbehaves(sizes, again, errors, fits):
        return dataclasses.replace(found, refused=why)
    asked = sorted({total, *([min(recipe.n_train, total)] if recipe.n_train > sizes[-1] else [])})
    grid = np.unique([*np.geomspace(sizes[0], total, 40).round().astype(int), *asked])
    refitted = (fit_curves(sizes, accuracy, errors, start=fits) for accuracy in again)
    drawn = [predict(curves, grid) + random.normal(0, one_run) for curves in refitted if curves]
    low, high = np.percentile(np.array(drawn), [2.5, 97.5], axis=0)
    said = predict(fits, grid)
    curve = tuple(
        Target(
            labels=int(n),
            accuracy=Interval(float(said[at]), float(min(low[at], said[at])), float(max(high[at], said[at]))),
            minutes=_minutes(prepared, int(n)),
        )
        for at, n in enumerate(grid)
    )
    better = labels_for(fits, float(predict(fits, [total])[0]) + 0.01, above=total, most=100 * total)
    return dataclasses.replace(
        found,
        targets=tuple(one for one in curve if one.labels in asked),
        curve=curve,
        next_point=better - total if better else None,
        weights={fit.name: round(fit.weight, 3) for fit in fits},
    )


def _noise(
    accuracies: NDArray[np.float64], rows: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return each size's mean accuracy, its standard error, and the standard deviation of single runs."""
    means = accuracies.mean(1)
    spread = float(accuracies.var(axis=1, ddof=1).mean())
    shares = np.clip(means, 1 / (rows + 2), 1 - 1 / (rows + 2))
    return means, np.sqrt(spread / accuracies.shape[1] + shares * (1 - shares) / rows), spread**0.5


def _minutes(prepared: Prepared, labels: int) -> float:
    sizes, here = prepared.sizes, len(prepared.train)
    more = dataclasses.replace(
        sizes, train_rows=labels, train_tokens=round(sizes.train_tokens * labels / here)
    )
    return round(sum(phases(prepared.pace, prepared.recipe, more).values()) / 60, 2)
