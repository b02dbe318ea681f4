"""A study is a run of a kind: its order is its run.json, its result one JSON file beside it.

    order = ForecastOrder(recipe=recipe.model_dump())
    run = order.create(name="quick")                  # then `training.runs.process.start`
    order = ForecastOrder.from_json(run.order)        # in the run's own process
    found = Forecast.read(run.path)                   # None before it is finished

A kind of study is an order, a result, its work in `training.worker` and its command in `training.cli`.
Importing this loads nothing heavy.
"""

import dataclasses
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from inference.artifact import read_record
from inference.common.errors import RunError
from inference.common.store import JsonObject, write_json
from training.evaluate.scores import read_all
from training.recipes import Recipe
from training.runs.run import Run, create_run_of


@dataclass(frozen=True, kw_only=True)
class _Record:
    @classmethod
    def _known(cls, record: JsonObject) -> Self | None:
        """Return a record's known fields, None where it can't be used; other fields are ignored."""
        names = [field.name for field in dataclasses.fields(cls)]
        return next(read_all(cls, [{name: record[name] for name in names if name in record}]), None)


@dataclass(frozen=True, kw_only=True)
class Order(_Record):
    """The order of a study."""

    KIND: ClassVar[str]

    def create(self, *, name: str) -> Run:
        """Make the folder of a run of it. Raises BaseError or DataError where what it names is not there."""
        return create_run_of(self.KIND, dataclasses.asdict(self), name=name, recipe=self.settings)

    @property
    def settings(self) -> Recipe | None:
        """The recipe that it is about; None where it is about no one."""
        return None

    @classmethod
    def from_json(cls, record: JsonObject) -> Self:
        """Read the order of a run. Raises RunError where it can't be used."""
        if order := cls._known(record):
            return order
        raise RunError("The order of this run, run.json, can't be used. Start a new one.")


@dataclass(frozen=True, kw_only=True)
class RecipeOrder(Order):
    """An order around a recipe."""

    recipe: JsonObject

    @property
    def settings(self) -> Recipe:
        return Recipe(**self.recipe)


@dataclass(frozen=True, kw_only=True)
class Result(_Record, ABC):
    """The result of a study."""

    FILE: ClassVar[str]

    @abstractmethod
    def sentences(self) -> list[str]:
        """Return what was found, for people."""

    def said(self) -> JsonObject:
        """Return what its file says on top of its fields."""
        return {"sentences": self.sentences()}

    def to_json(self) -> JsonObject:
        return {**json.loads(json.dumps(dataclasses.asdict(self))), **self.said()}

    def write(self, folder: Path) -> None:
        """Write it to a run's folder: the run's last step."""
        write_json(folder / self.FILE, self.to_json())

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return what the study of a run's folder found, None before it is finished.

        None, too, for a file that somebody has edited so that it says nothing, such as one without points.
        """
        record = read_record(folder, cls.FILE)
        found = cls._known(record) if record else None
        try:
            return found if found and found.sentences() else None
        except (ArithmeticError, LookupError, StopIteration):
            return None
