"""The live duel: the second model, the queue of disagreements, and what becomes of the labels.

    duel = Duels()
    second = duel.second("base", model)                 # -> ("GPT-2, zero-shot", its predict)
    queue = duel.queue(labels, owner="")                # everybody's; a person's own for a private feed
    desk = queue.desk(page_id)                          # one for each open page
    queue.review(recipe)                                # what training on the labels would add
    begin_training(...)

The post to be labelled is shown without either model's answer: who knows what the models say tends to agree
with one of them. Posts of a private feed go into a queue of its owner's, and so do its labels.
Knows nothing about Gradio, nor about how a model answers.
"""

import hashlib
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any

from inference.errors import FeedError, RunError
from inference.feed import ClassifiedPost
from inference.feed.stream import Listener
from inference.live.labels import Agreement, Counts, Desk, Disagreement, Item, LabelStore
from inference.paths import home
from training.jobs import Run, list_runs
from training.recipes import Recipe, change, load_recipe

NO_SECOND, BASE = "", "base"
_MOST_DESKS = 200


@dataclass(frozen=True)
class Last:
    """The post that was labelled or skipped last on a page."""

    item: Item
    label: str
    """ "" when it was skipped."""


@dataclass(frozen=True)
class DeskView:
    """What a page shows of its queue."""

    item: Item | None
    last: Last | None
    counts: Counts
    taken: bool = False
    """Whether the label just given was too late: another page was first."""


class PageDesk:
    """One page's desk, whose every step returns what is to be shown. Thread-safe."""

    def __init__(self, store: LabelStore) -> None:
        self._desk = Desk(store)
        self._last: Last | None = None
        self._lock = threading.Lock()

    def look(self) -> DeskView:
        """Take the next post when none is on the desk."""
        with self._lock:
            return self._view()

    def act(self, action: str, *, item_id: int, label: str = "") -> DeskView:
        """Label, skip or undo. One for a post that is no longer shown does nothing. Raises LabelError."""
        with self._lock:
            if action == "undo":
                self._desk.undo()
                self._last = None
                return self._view()
            item = self._desk.item
            if item is None or item.id != item_id:
                return self._view()  # a key that was pressed twice
            done = self._desk.label(label) if action == "label" else self._desk.skip()
            self._last = Last(item, label if action == "label" else "") if done else None
            return self._view(taken=not done)

    def _view(self, *, taken: bool = False) -> DeskView:
        item = self._desk.next()
        return DeskView(item, self._last, self._desk.store.counts(), taken)


class Queue:
    """The disagreements that wait, the labels that were given, and the desks of the open pages."""

    def __init__(self, path: Path, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.store = LabelStore(path, labels=labels)
        self._desks: OrderedDict[str, PageDesk] = OrderedDict()
        self._lock = threading.Lock()
        self._agreement: tuple[Counts | None, tuple[Agreement, ...]] = (None, ())

    def listener(self, first_model: str, second_model: str) -> Listener:
        """Return what puts a feed's disagreements into the queue."""

        def listen(told: Sequence[ClassifiedPost]) -> None:
            found = [
                Disagreement(
                    one.post.id, one.post.text, first_model, one.label, second_model, one.second_label or ""
                )
                for one in told
                if one.disagrees
            ]
            if found:
                self.store.add(found)

        return listen

    def desk(self, page_id: str) -> PageDesk:
        """Return a page's desk; the one that was used longest ago makes room for a new one."""
        with self._lock:
            desk = self._desks.pop(page_id, None) or PageDesk(self.store)
            self._desks[page_id] = desk
            if len(self._desks) > _MOST_DESKS:
                self._desks.popitem(last=False)
            return desk

    def agreement(self) -> tuple[Agreement, ...]:
        """Return the labels' agreement with the models; read anew only when a label came."""
        counts = self.store.counts()
        known, found = self._agreement
        if known is None or known.labelled != counts.labelled:
            found = self.store.agreement()
            self._agreement = (counts, found)
        return found

    def export(self, folder: Path) -> Path:
        """Write the labels as JSONL and return the file. Raises LabelError when there is none."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"labels-{time.strftime('%Y%m%d-%H%M%S')}.jsonl"
        self.store.export(path, key=import_module("training.leaks").twin_key)
        return path


class Duels:
    """The app's queues and its second models. Thread-safe."""

    def __init__(self, load: Callable[[str], Any]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._queues: dict[Path, Queue] = {}
        self._second: tuple[str, Any] = ("", None)  # one that is not the base is kept

    def choices(self, loaded: Run | None) -> list[Run]:
        """Return the finished runs that the loaded model may be compared with."""
        return [
            run
            for run in list_runs()
            if run.status().state == "finished" and (loaded is None or run.path != loaded.path)
        ]

    def second(self, name: str, model: Any) -> tuple[str, Any]:
        """Return what the second model is called, and its Classifier. Raises FeedError or ArtifactError."""
        if name == BASE:
            if model.base_state == "loading":
                raise FeedError("The base is still being loaded. Press Start again in a moment.")
            if model.base is None:
                raise FeedError(model.base_message or "There is no base to compare with. Choose a run.")
            called, classifier = f"{model.base.source}, zero-shot", model.base
        else:
            called, classifier = name, self._of_run(name, model.run)
        if set(classifier.labels) != set(model.tuned.labels):
            raise FeedError(
                f"{called} has other labels ({', '.join(classifier.labels)}) than {model.name} "
                f"({', '.join(model.tuned.labels)}), so they can't be compared. Choose another run."
            )
        return called, classifier

    def _of_run(self, run_id: str, loaded: Run | None) -> Any:
        run = next((run for run in self.choices(loaded) if run.id == run_id), None)
        if run is None:
            raise RunError(f"There is no other finished run {run_id!r} here. Choose one from the list.")
        with self._lock:
            if self._second[0] != str(run.artifact):
                self._second = (str(run.artifact), self._load(str(run.artifact)))
            return self._second[1]

    def queue(self, labels: Sequence[str], *, owner: str) -> Queue:
        """Return the queue of a set of labels: everybody's, or an owner's own. Raises LabelError."""
        name = "-".join(re.sub(r"[^a-z0-9]+", "", label.lower()) for label in labels)[:60]
        digest = hashlib.sha256("\n".join([owner, *labels]).encode()).hexdigest()[:8]
        path = home() / "labels" / f"{name}-{digest}.sqlite"
        with self._lock:
            if path not in self._queues:
                self._queues[path] = Queue(path, labels)
            return self._queues[path]


def training_recipe(loaded: Run | None, file: Path) -> Recipe:
    """Return the recipe of the loaded run, or `quick`, with a file of labels added to its training split."""
    return change(loaded.recipe if loaded else load_recipe("quick"), {"more_data": str(file)})


def look_at_labels(recipe: Recipe) -> Any:
    """Return the LabelledReport of a recipe: what its file of labels adds, and what it leaves out, and why.

    Raises DataError when the data can't be had or the labels don't fit.
    """
    data, labelled = import_module("training.data"), import_module("training.labelled")
    spec = data.DataSpec(**{field.name: getattr(recipe, field.name) for field in fields(data.DataSpec)})
    return labelled.add_labelled(spec, Path(recipe.more_data)).report
