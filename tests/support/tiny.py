"""A recipe that trains in a second, and trainings of it in the tests' own process."""

from pathlib import Path

from tests.support import tweets, write_csv
from training.fit.run import train_run
from training.recipes import Recipe
from training.runs.log import RunLog
from training.runs.run import Run, create_run


class Never:
    """Nobody asks to stop."""

    asked = gently = False


def tiny_recipe(base: Path, folder: Path, *, rows: int = 240, seed: int = 5, **settings: object) -> Recipe:
    """Return a recipe for a tiny base, with so many made-up tweets written to `folder`."""
    data = write_csv(folder / "t.csv", tweets(rows, seed=seed))
    usual = {"name": "tiny", "n_train": 48, "n_validation": 30, "n_test": 40, "batch_size": 8}
    return Recipe(base=str(base), dataset=str(data), **usual | settings)


def trained_here(recipe: Recipe, folder: Path) -> Run:
    """Return a finished run, trained in this process without a break."""
    run = create_run(recipe, run_dir=folder)
    log = RunLog(run.path)
    train_run(run, log, Never())
    log.finish("finished")
    return run
