"""The models to compare: the loaded one, its base, other runs, rungs, the Hub's, and untrained ones.

    lineup = Lineup(workbench)
    lineup.of(["few-shot-4", "tuned"])            # -> [Contender("few-shot-4", …), Contender("tuned", …)]
    lineup.of([])                                 # the base and the loaded model

The untrained ones are rungs of the ladder, on the data and the base of the loaded model's run; without a
model, those of the recipe `quick`, so that visitors can try something before the first training. Rungs and
other models are loaded on first use, and kept.
"""

import re
import shutil
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inference.baselines import Predictor
from inference.classifier import Classifier, Prediction
from inference.common.errors import PredictionError, RunError
from inference.reference import Scope
from inference.selective import USUAL_PRECISION, asked_threshold
from inference.side_by_side import SideBySide
from training.recipes import Recipe, load_recipe
from ui.compare.learn import Knowledge
from ui.gpu import borrows, predict
from ui.state import ONE_LOAD, Model, Workbench, known_run, load_base, load_tuned, other_models
from ui.translations import text

if TYPE_CHECKING:
    from training.ladder.rungs import Materials

BASE, TUNED, TAUGHT = "base", "tuned", "taught"
"""TAUGHT: the loaded model with the votes of the labelled tweets in its index."""
UNTRAINED = ("zero-shot-batch", "few-shot-4", "few-shot-8", "retrieval-words", "bag-of-words")
"""The rungs that answer without training a network, in the ladder's order."""
FIRST = ["zero-shot-batch", "few-shot-4"]
"""The default models while none is loaded."""
MOST = 4
_KEPT = 3  # models beside the loaded one and its base
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)


@dataclass(frozen=True)
class Contender:
    """A model to compare."""

    key: str
    title: str
    """Its name on the page."""
    how: str
    """A short description."""
    name: str
    """The name of the model that answers."""
    labels: tuple[str, ...]
    predict: Callable[[Sequence[str]], Sequence[Prediction]]
    sure_from: float | None = None
    """Answers below this confidence mean "I don't know"; None without a recorded threshold."""
    classifier: Classifier | None = None
    """The classifier of the loaded model or its base, which may share layers."""
    scope: Scope | None = None
    """Recognises tweets that are unlike its training tweets; None without a record."""


class Lineup:
    """Loads and keeps the models to compare. Thread-safe."""

    def __init__(self, workbench: Workbench, *, recipe: Recipe | None = None) -> None:
        """`recipe`: gives the rungs their base and data while no run of this machine is loaded."""
        self.workbench, self.knowledge = workbench, Knowledge(workbench)
        self._recipe = recipe or load_recipe("quick")
        self._lock = threading.Lock()  # one load at a time; rungs share a network and its cached states
        self._others: OrderedDict[str, Classifier] = OrderedDict()
        self._rungs: dict[str, Predictor] = {}
        self._materials: tuple[Recipe, Materials] | None = None
        self._pair: tuple[tuple[Classifier, Classifier], SideBySide | None] | None = None
        workbench.when_replaced(lambda: setattr(self, "_pair", None))
        self._clean_up: Callable[[], object] = lambda: None

    def choices(self) -> list[tuple[str, str]]:
        """Return the choices of models, as (name, key)."""
        model = self.workbench.model
        keys = [BASE, TUNED] if model.state == "ready" else []
        keys += [TAUGHT] if keys and self.knowledge.is_there() else []
        return [(self.title(key), key) for key in [*keys, *UNTRAINED, *other_models(model.run)]]

    def standard(self, chosen: Sequence[str]) -> list[str]:
        """Return the chosen models that are available, or the default ones."""
        ready = self.workbench.model.state in ("ready", "loading")
        usual, other = ([BASE, TUNED], FIRST) if ready else (FIRST, [BASE, TUNED])
        gone = () if ready else (BASE, TUNED)
        kept = [key for key in chosen if key not in gone and (key != TAUGHT or self.knowledge.is_there())]
        return kept if kept and kept != other else usual

    def title(self, key: str) -> str:
        if key in (BASE, TUNED, TAUGHT):
            return text(f"compare.{key}")
        return text(f"rung.{key}") if key in UNTRAINED else key

    def is_there(self, chosen: Sequence[str]) -> bool:
        """Whether these can answer without loading anything."""
        return {BASE, TUNED, TAUGHT, *self._rungs, *self._others}.issuperset(chosen)

    def of(self, chosen: Sequence[str], *, may_load: bool = True) -> list[Contender]:
        """Return the contenders, without a base that isn't loaded. Raises PredictionError or TweetTuneError.

        `may_load`: whether this visitor may load models of the Hub.
        """
        keys = list(dict.fromkeys(chosen)) or [BASE, TUNED]
        if len(keys) > MOST:
            raise PredictionError(text("compare.too_many", n=text.number(len(keys)), most=text.number(MOST)))
        found = [self._of(key, may_load=may_load) for key in keys]
        return [each for each in found if each]

    def answers(self, contenders: Sequence[Contender], texts: Sequence[str]) -> list[Sequence[Prediction]]:
        """Return each one's answers to the texts; layers that model and base share are computed once."""
        known = {each.key: each.classifier for each in contenders if each.classifier}
        together: dict[str, Sequence[Prediction]] = {}
        tuned, base = known.get(TUNED), known.get(BASE)
        if tuned and base and not (borrows(tuned) or borrows(base)):
            with self._lock:
                if self._pair is None or self._pair[0] != (tuned, base):
                    self._pair = (tuned, base), SideBySide.of(tuned, base)
                pair = self._pair[1]
            if pair and (found := pair.predict(texts)):
                together = {TUNED: found[0], BASE: found[1]}
        return [together.get(each.key) or each.predict(texts) for each in contenders]

    def _of(self, key: str, *, may_load: bool) -> Contender | None:
        model, title = self.workbench.model, self.title(key)
        if key in (BASE, TUNED):
            return _loaded(key, title, model)
        if key == TAUGHT:
            own = _loaded(TUNED, title, model)
            assert own, "the loaded model is there, or _loaded raised"
            answer = self.knowledge.beside(own.labels, own.predict)
            how = text("compare.taught_how")
            return Contender(key, title, how, own.name, own.labels, answer, scope=own.scope)
        with self._lock:
            if key in UNTRAINED:
                return self._contender(key, title, self._rung(key))
            return self._contender(key, title, self._other(key, may_load=may_load))

    def _contender(self, key: str, title: str, found: Predictor) -> Contender:
        how = text(f"rung.{key}_how") if key in UNTRAINED else text("compare.other_how")
        name = found.name_or_path if isinstance(found, Classifier) else str(getattr(found, "about", key))

        def answer(texts: Sequence[str]) -> Sequence[Prediction]:
            with self._lock:
                if isinstance(found, Classifier):
                    return found.predict(texts, with_latency=True)
                return found.predict(texts)

        folder, scope = (found.folder, found.scope) if isinstance(found, Classifier) else (None, None)
        return Contender(key, title, how, name, tuple(found.labels), answer, _sure_from(folder), scope=scope)

    def _other(self, key: str, *, may_load: bool) -> Classifier:
        """Return the classifier of a finished run, a ladder's rung, or a repository."""
        if key not in self._others:
            if known := other_models(None).get(key):
                source = known
            elif _HUB_ID.fullmatch(key):
                if not may_load:
                    raise PredictionError(text("compare.no_hub"))
                source = key
            else:
                known_run(key)
                raise RunError(f"The run {key} is not finished, so it has no model yet. Wait, or resume it.")
            self._others[key] = load_tuned(source)
            while len(self._others) > _KEPT:
                self._others.popitem(last=False)
        self._others.move_to_end(key)
        return self._others[key]

    def _rung(self, key: str) -> Predictor:
        from training.ladder.order import RUNGS, Step  # noqa: PLC0415
        from training.ladder.rungs import BUILDERS  # noqa: PLC0415  (torch takes seconds: not before the first page)

        run = self.workbench.model.run
        recipe = (run.known_recipe if run else None) or self._recipe
        if self._materials is None or self._materials[0] != recipe:
            self._materials, self._rungs = None, {}
            self._clean_up()
            folder = Path(tempfile.mkdtemp(prefix="tweettune-rungs-"))
            self._clean_up = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            self._materials = recipe, _materials(recipe, folder)
        materials = self._materials[1]
        if key not in self._rungs:
            kind = RUNGS[key]
            labels = len(materials.splits.train) if kind.labels == "all" else kind.k * len(materials.labels)
            with ONE_LOAD:
                self._rungs[key] = BUILDERS[key](materials, Step(key, key, labels)).predictor
        return self._rungs[key]


def _loaded(key: str, title: str, model: Model) -> Contender | None:
    """Return the loaded model or its base, None for a base that isn't loaded."""
    tuned, base, folder = model.tuned, model.base, model.folder
    if model.state != "ready" or tuned is None or folder is None:
        raise PredictionError(model.message or why_no_answer(model))
    if key == TUNED:
        return Contender(
            key,
            title,
            "",
            model.name,
            tuned.labels,
            lambda texts: predict(tuned, texts, load=load_tuned, source=str(folder)),
            _sure_from(folder),
            tuned,
            tuned.scope,
        )
    if base is None:
        return None
    return Contender(
        key,
        title,
        text("compare.base_how"),
        base.name_or_path,
        base.labels,
        lambda texts: predict(base, texts, load=load_base, source=folder),
        classifier=base,
    )


def _sure_from(folder: Path | None) -> float | None:
    with suppress(PredictionError):
        return asked_threshold(folder, precision=USUAL_PRECISION)
    return None


def why_no_answer(model: Model) -> str:
    """Say why the loaded model can't answer."""
    return text("compare.model_slow", name=model.name) if model.slow else text(f"compare.model_{model.state}")


def _materials(recipe: Recipe, folder: Path) -> "Materials":
    """Return the materials of rungs: a recipe's data and base."""
    from training.data.load import load_splits  # noqa: PLC0415
    from training.fit.prepare import Silent  # noqa: PLC0415
    from training.ladder.order import Order  # noqa: PLC0415
    from training.ladder.rungs import Materials  # noqa: PLC0415

    (folder / "steps").mkdir()
    found = Materials(Order(), folder, load_splits(recipe.data), Silent())
    found.recipe = recipe
    return found
