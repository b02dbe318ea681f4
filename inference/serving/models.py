"""The models of a server: loaded and warmed up by name, and replaced without dropping a request.

    models = Models({"demo": "runs/demo/artifact"}, load=Classifier.load, make_batcher=…)
    models.load("demo")            # load, warm up, put in; again later: replace
    models.get("demo")             # -> ServedModel; NotReady while it is being loaded

The names are given at the start. A name from outside is looked up among them and never becomes a path.
"""

import contextlib
import math
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inference.artifact import PROVENANCE, model_of, read_record
from inference.classifier import Classifier
from inference.common.errors import ArtifactError
from inference.common.store import JsonObject
from inference.selective import CoveragePoint, recorded_curve
from inference.serving.batcher import Batcher
from inference.serving.errors import NotReady, UnknownModel

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_WARM_UP = ("", "what a day", "the train is late again, and my phone is nearly empty " * 3)
_EXPECTED_LOAD_S = 20


@dataclass(frozen=True)
class ServedModel:
    """A model that is warmed up and answers."""

    name: str
    classifier: Classifier
    batcher: Batcher
    curve: Sequence[CoveragePoint]
    """Of its validation rows: what lies in its folder later may be another model's."""
    about: dict[str, object]
    """What /version says about it: labels, engine, provenance; no path of this machine."""


def name_of(source: str) -> str:
    """Return the name of a model: its run's, its folder's, or its repository's without the owner."""
    parts = [part for part in Path(source).parts if part not in ("/", ".", "..")]
    if len(parts) > 1 and parts[-1] == "artifact":
        parts.pop()
    return re.sub(r"[^A-Za-z0-9._-]+", "-", parts[-1]).strip("-.")[:64] if parts else "model"


def sources_of(given: Sequence[str]) -> dict[str, str]:
    """Return names with the folder or repository of each, from `NAME=FOLDER` or `FOLDER`.

    Raises ArtifactError when two would have one name.
    """
    found: dict[str, str] = {}
    for item in given:
        name, equals, source = item.partition("=")
        named = equals and NAME.fullmatch(name)
        source = model_of(source if named else item)
        name = name if named else name_of(source)
        if name in found:
            raise ArtifactError(f"Two models would be called {name}. Write NAME=FOLDER for one of them.")
        found[name] = source
    return found


class Models:
    """The registry: names are fixed, what stands behind them can be replaced. Thread-safe."""

    def __init__(
        self,
        sources: Mapping[str, str],
        *,
        load: Callable[[str], Classifier],
        make_batcher: Callable[[str, Classifier, threading.Lock], Batcher],
        expected: Collection[str] | None = None,
    ) -> None:
        """Take names with the folder or repository of each. The first is the default.

        `expected`: the names whose models are on their way; by default all are.
        """
        for name in sources:
            if not NAME.fullmatch(name):
                raise ArtifactError(
                    f"{name!r} can't be a model's name. Use letters, digits, '.', '_' and '-', 64 at most."
                )
        if not sources:
            raise ArtifactError("No model was given. Give an artifact's folder, or NAME=FOLDER.")
        self._sources = dict(sources)
        self.default = next(iter(self._sources))
        self._load, self._make_batcher = load, make_batcher
        self._compute_lock = threading.Lock()  # each model uses all cores, so one computes at a time
        self._replacing = threading.Lock()
        self._loaded: dict[str, ServedModel] = {}
        self._expected = set(self._sources if expected is None else expected)
        self._closed = False

    @property
    def names(self) -> tuple[str, ...]:
        """All names, the default first, loaded or not."""
        return tuple(self._sources)

    @property
    def ready(self) -> bool:
        """Whether every model that is expected is loaded and warmed up, and one is."""
        return self.expected and self._expected <= self._loaded.keys() and not self._closed

    @property
    def expected(self) -> bool:
        """Whether any model is there or on its way."""
        return bool(self._expected)

    def expect(self, name: str, coming: bool) -> None:
        """Set whether a model is on its way, or does not come and nobody should wait for it."""
        (self._expected.add if coming else self._expected.discard)(name)

    def get(self, name: str | None = None) -> ServedModel:
        """Return a model, the default when no name is given. Raises UnknownModel or NotReady."""
        name = self.default if name is None else name
        if name not in self._sources:
            known = ", ".join(self._sources)
            raise UnknownModel(f"There is no model {name[:80]!r} here. Known: {known}.")
        if (model := self._loaded.get(name)) is None:
            if name in self._expected:
                raise NotReady(f"Model {name} is currently loading", retry_after_s=_EXPECTED_LOAD_S)
            if there := ", ".join(model.name for model in self.loaded()):
                raise NotReady(f"No model is loaded as {name}. Loaded: {there}.")
            raise NotReady("No model is loaded. Load one, then ask again.")
        return model

    def loaded(self) -> list[ServedModel]:
        return [self._loaded[name] for name in self._sources if name in self._loaded]

    def load(self, name: str) -> None:
        """Load a model from where it comes from and put it in. Raises ArtifactError; the old one stays."""
        self.put(name, self._load(self._sources[name]))

    def put(self, name: str, classifier: Classifier) -> None:
        """Warm a classifier up, let it answer under a name, and let the one before it finish and go.

        Raises ArtifactError when its answers are not finite numbers.
        """
        with self._replacing:
            batcher = self._make_batcher(name, classifier, self._compute_lock)
            try:
                _warm_up(name, classifier, batcher)
            except BaseException:
                batcher.close()
                raise
            before = self._loaded.get(name)
            self._loaded[name] = ServedModel(
                name, classifier, batcher, recorded_curve(classifier.folder), _about(name, classifier)
            )
            if before is not None:
                before.batcher.close()

    def drop(self, name: str) -> bool:
        """Let a model answer what it has accepted, and go; its name is then as if it were not loaded yet.

        Returns whether there was one.
        """
        with self._replacing:
            before = self._loaded.pop(name, None)
            if before is None:
                return False
            before.batcher.close()
        return True

    def close(self) -> None:
        with self._replacing:
            self._closed = True
            for model in self._loaded.values():
                model.batcher.close()


def _warm_up(name: str, classifier: Classifier, batcher: Batcher) -> None:
    """Compute a few texts, alone and together: threads start, memory is laid out, a broken model shows."""
    token_ids = classifier.encode(list(_WARM_UP)).token_ids
    answers = batcher.warm_up([*[[ids] for ids in token_ids], token_ids * 8])
    if not all(np.isfinite(logits).all() for logits in answers):
        raise ArtifactError(f"Model {name} answers with numbers that are not finite. Train it again.")


def _about(name: str, classifier: Classifier) -> dict[str, object]:
    folder = classifier.folder  # of a model from the Hub its place in the cache
    record: JsonObject = {}
    with contextlib.suppress(ArtifactError):  # a torn one does not keep a model from answering
        record = (read_record(folder, PROVENANCE) if folder else None) or {}
    return {
        "name": name,
        "labels": list(classifier.labels),
        "max_length": classifier.max_length,
        "engine": classifier.engine.name,
        "engine_reason": classifier.engine.reason,
        "loaded_at": math.floor(time.time()),
        "provenance": _public(record),
    }


def _public(record: JsonObject) -> dict[str, object]:
    """Return the public part of a provenance record, by an allow-list; of a path its last part."""
    base, data = record.get("base") or {}, (record.get("data") or {}).get("source") or {}
    recipe = record.get("recipe") or {}
    public = {
        "recipe": recipe.get("name"),
        "base": _no_path(base.get("name")),
        "base_revision": base.get("revision"),
        "data": _no_path(data.get("name")),
        "data_revision": data.get("revision"),
        "data_sha256": data.get("sha256"),
        "sizes": record.get("sizes"),
        "seed": record.get("seed"),
        "depth": record.get("depth"),
        "versions": record.get("versions"),
    }
    return {key: value for key, value in public.items() if value is not None}


def _no_path(name: object) -> str | None:
    """Return a name as it is, or the last part of what looks like a path; "owner/name" stays."""
    if not isinstance(name, str):
        return None
    return re.split(r"[/\\]", name.rstrip("/\\"))[-1] if re.search(r"^[/.~]|\\|/.*/|^\w:", name) else name
