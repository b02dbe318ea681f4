"""The live duel: the second model, the queue of disagreements, and what becomes of the labels.

    duel = Duels()
    second = duel.second("base", model)                 # -> ("GPT-2, zero-shot", its predict)
    queue = duel.queue(labels, owner="")                # everybody's; a person's own for a private feed
    desk = queue.desk(page_id)                          # one for each open page
    queue.review(recipe)                                # what training on the labels would add
    begin_training(...)

The post to be labelled is shown without either model's answer: who knows what the models say tends to agree
with one of them. Posts of a private feed go into a queue of its owner's, and so do its labels; it is deleted
when it holds no label and others take its place, or when it has not been used for 30 days.
Knows nothing about Gradio, nor about how a model answers.
"""

import hashlib
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from inference.common.errors import FeedError, RunError
from inference.common.paths import home
from inference.live.feed import Listener
from inference.live.numbers import ClassifiedPost
from inference.live.review import Agreement, Counts, Desk, Disagreement, Item, LabelError, LabelStore
from training.recipes import Recipe, change, load_recipe
from training.runs.run import Run, list_runs

NO_SECOND, BASE = "", "base"
_MOST_DESKS = 200
_MOST_QUEUES = 16  # open files; feeds that run need four, and pages that watch one that has ended as many
_OWN = "own-"  # how the files of private feeds are called
_KEPT_S = 30 * 86400.0  # such a file is deleted when nobody has labelled in it for so long
_RETRY_S = 10.0  # how long a store that failed is left alone


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
    gone: bool = False
    """Whether it was too late since the post is not kept any more."""


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
            known = done or self._desk.store.knows(item.id)
            return self._view(taken=not done and known, gone=not known)

    def _view(self, *, taken: bool = False, gone: bool = False) -> DeskView:
        item = self._desk.next()
        return DeskView(item, self._last, self._desk.store.counts(), taken, gone)


class Queue:
    """The disagreements that wait, the labels that were given, and the desks of the open pages."""

    def __init__(self, path: Path, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.store = LabelStore(path, labels=labels)
        self.problem = ""
        """Why the newest disagreements could not be kept, "" while they are."""
        self._tries_again_s = 0.0
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
                self._keep(found)

        return listen

    def _keep(self, found: Sequence[Disagreement]) -> None:
        """Put disagreements into the store. Where that fails the card tells, and the feed goes on."""
        if self.problem and time.monotonic() < self._tries_again_s:
            return  # a file that is locked would hold up each batch
        try:
            self.store.add(found)
            self.problem = ""
        except LabelError as error:
            self.problem, self._tries_again_s = str(error), time.monotonic() + _RETRY_S

    def erase(self) -> None:
        """Forget every post and label, also those on the desks. Raises LabelError."""
        with self._lock:
            self.store.clear()
            self._desks.clear()
            self._agreement = (None, ())

    def close(self) -> None:
        """Close the file; one of a person's own that holds no label is deleted."""
        with suppress(LabelError, OSError):
            labelled = self.store.counts().labelled
            self.store.close()
            if self.store.path.name.startswith(_OWN) and not labelled:
                _delete(self.store.path)

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
        self.store.export(path, key=import_module("training.data.leaks").twin_key)
        return path


def _delete(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):  # with SQLite's files beside it
        file.unlink(missing_ok=True)


class Duels:
    """The app's queues and its second models. Thread-safe."""

    def __init__(self, load: Callable[[str], Any]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._queues: OrderedDict[Path, Queue] = OrderedDict()
        self._second: tuple[str, Any] = ("", None)  # one that is not the base is kept
        with suppress(OSError):
            for path in (home() / "labels").glob(f"{_OWN}*.sqlite"):
                if time.time() - path.stat().st_mtime > _KEPT_S:
                    _delete(path)

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
            called, classifier = f"{model.base.name_or_path}, zero-shot", model.base
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
        path = home() / "labels" / f"{_OWN if owner else ''}{name}-{digest}.sqlite"
        with self._lock:
            queue = self._queues.pop(path, None) or Queue(path, labels)
            self._queues[path] = queue
            while len(self._queues) > _MOST_QUEUES:
                self._queues.popitem(last=False)[1].close()
            return queue

    def listener(self, labels: Sequence[str], *, owner: str, models: tuple[str, str]) -> Listener:
        """Return what puts a feed's disagreements into its queue, opened when the first one comes."""

        def listen(told: Sequence[ClassifiedPost]) -> None:
            if any(one.disagrees for one in told):
                with suppress(LabelError):  # the card, which opens the same file, tells
                    self.queue(labels, owner=owner).listener(*models)(told)

        return listen


def training_recipe(loaded: Run | None, file: Path) -> Recipe:
    """Return the recipe of the loaded run, or `quick`, with a file of labels added to its training split."""
    return change(loaded.recipe if loaded else load_recipe("quick"), {"more_data": str(file)})


def look_at_labels(recipe: Recipe) -> Any:
    """Return the LabelledReport of a recipe: what its file of labels adds, and what it leaves out, and why.

    Raises DataError when the data can't be had or the labels don't fit.
    """
    from training.data.labels import add_labelled  # noqa: PLC0415  (takes a second: not before the first page)

    return add_labelled(recipe.data, Path(recipe.more_data)).report
