"""Second models of the live duel, the stores of people's labels, and training on them.

    duels = Duels(Classifier.load)
    called, second = duels.second("base", model)  # -> ("GPT-2, zero-shot", its Classifier)
    store = duels.store(labels, owner="")         # everybody's; a person's own for a private feed
    store.session("page").view()                  # -> the next post for this page to label
    training_recipe(run, export_labels(store, folder))
    duels.put(flags, rows)              # flagged rows of a data set wait there too

The post to label is shown without either model's answer: people who see the answers tend to agree with one.
Posts and labels of a private feed go into its owner's own store. It is deleted when it holds no label and its
place is needed, or when nobody has used it for 30 days.
"""

import hashlib
import json
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inference.classifier import Classifier
from inference.common.errors import FeedError, RunError
from inference.common.paths import home
from inference.common.text import duplicate_key
from inference.live.feed import Listener
from inference.live.post import ClassifiedPost
from inference.live.review import IN_DATA, SUGGESTED, Disagreement, LabelError, LabelStore
from training.recipes import Recipe, change, load_recipe
from training.runs.run import Run
from ui.state import Model, other_models

if TYPE_CHECKING:
    from training.audit.findings import Flag
    from training.data.add_labels import LabelsReport


BASE = "base"
_MOST_STORES = 16  # open files: four for running feeds, as many for ended ones that are watched
_OWN = "own-"  # prefix of the files of private feeds
_KEPT_S = 30 * 86400.0  # such a file is deleted after so long without a new label


@dataclass(frozen=True)
class FlaggedRows:
    """A data set's rows whose labels are in doubt. Their queue is found again by the data alone."""

    name: str
    labels: tuple[str, ...]
    data: Mapping[str, str]
    """The settings of a recipe that name the data; {} if only the rows are known."""
    digest: str
    n: int

    @classmethod
    def read(cls, written: str) -> "FlaggedRows | None":
        """Read one from a page's view, None from ""."""
        record = json.loads(written) if written else None
        return cls(**{**record, "labels": tuple(record["labels"])}) if record else None

    def __str__(self) -> str:
        return json.dumps(asdict(self))


class Duels:
    """The app's stores of labels and its second models. Thread-safe."""

    def __init__(self, load: Callable[[str], Classifier]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._stores: OrderedDict[Path, LabelStore] = OrderedDict()
        self._second: tuple[str, Classifier] | None = None  # by its folder; the base is kept elsewhere
        for path in (home() / "labels").glob(f"{_OWN}*.sqlite"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _KEPT_S:
                    _delete(path)

    def second(self, name: str, model: "Model") -> tuple[str, Classifier]:
        """Return the second model's name and Classifier. Raises FeedError or ArtifactError."""
        if name == BASE:
            if model.base_state == "loading":
                raise FeedError("The base is still being loaded. Press Start again in a moment.")
            if model.base is None:
                raise FeedError(model.base_message or "There is no base to compare with. Choose a run.")
            called, classifier = f"{model.base.name_or_path}, zero-shot", model.base
        else:
            called, classifier = name, self._other(name, model.run)
        labels = model.tuned.labels if model.tuned else ()
        if set(classifier.labels) != set(labels):
            raise FeedError(
                f"{called} has other labels ({', '.join(classifier.labels)}) than {model.name} "
                f"({', '.join(labels)}), so they can't be compared. Choose another run."
            )
        return called, classifier

    def _other(self, name: str, loaded: Run | None) -> Classifier:
        folder = other_models(loaded).get(name)
        if folder is None:
            raise RunError(f"There is no other finished run {name!r} here. Choose one from the list.")
        with self._lock:
            if self._second is None or self._second[0] != folder:
                self._second = (folder, self._load(folder))
            return self._second[1]

    def store(self, labels: Sequence[str], *, owner: str) -> LabelStore:
        """Return the store of a set of labels: everybody's, or an owner's own. Raises LabelError."""
        name = "-".join(re.sub(r"[^a-z0-9]+", "", label.lower()) for label in labels)[:60]
        digest = hashlib.sha256("\n".join([owner, *labels]).encode()).hexdigest()[:8]
        path = home() / "labels" / f"{_OWN if owner else ''}{name}-{digest}.sqlite"
        with self._lock:
            store = self._stores.pop(path, None) or LabelStore(path, labels=labels)
            self._stores[path] = store
            while len(self._stores) > _MOST_STORES:
                _close(self._stores.popitem(last=False)[1])
            return store

    def put(self, flags: "Sequence[Flag]", rows: FlaggedRows) -> None:
        """Put flagged rows into their queue, to be asked in their order. Raises LabelError."""
        self.store(rows.labels, owner=rows.digest).add(
            [
                Disagreement(
                    "", one.text, IN_DATA, one.label, SUGGESTED if one.suggested else "", one.suggested
                )
                for one in reversed(flags)
            ]
        )

    def listener(self, labels: Sequence[str], *, owner: str, models: tuple[str, str]) -> Listener:
        """Return a listener that stores a feed's disagreements; the store is opened for the first one."""

        def listen(batch: Sequence[ClassifiedPost]) -> None:
            if any(result.disagrees for result in batch):
                with suppress(LabelError):  # the card, which opens the same file, shows it
                    self.store(labels, owner=owner).listener(*models)(batch)

        return listen


def _close(store: LabelStore) -> None:
    """Close a store; a private one without labels is deleted."""
    with suppress(LabelError, OSError):
        labelled = store.counts().labelled
        store.close()
        if store.path.name.startswith(_OWN) and not labelled:
            _delete(store.path)


def _delete(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):  # with SQLite's files beside it
        file.unlink(missing_ok=True)


def export_labels(store: LabelStore, folder: Path) -> Path:
    """Write the labels as JSONL and return the file. Raises LabelError without a label."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"labels-{time.strftime('%Y%m%d-%H%M%S')}.jsonl"
    store.export(path, key=duplicate_key)
    return path


def training_recipe(loaded: Run | None, file: Path, data: Mapping[str, str] | None = None) -> Recipe:
    """Return the recipe of the loaded run, or `quick`, with a file of labels added to its training split.

    `data`: the settings of other data than the run's.
    """
    recipe = loaded.recipe if loaded else load_recipe("quick")
    return change(recipe, {**(data or {}), "more_data": str(file)})


def preview_labels(recipe: Recipe) -> "LabelsReport":
    """Return what a recipe's file of labels would add to its training data, and what is left out and why.

    Raises DataError if the data can't be read or the labels don't fit.
    """
    from training.data.add_labels import add_labels  # noqa: PLC0415  (takes a second: not before the first page)

    return add_labels(recipe.data, Path(recipe.more_data)).report
