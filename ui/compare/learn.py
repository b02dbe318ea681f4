"""Labelled tweets in an index beside the loaded model: they improve its answers without training.

    knowledge = Knowledge(workbench)
    knowledge.index()                       # of the loaded model's run, None without one
    knowledge.add("so zorgle", "positive")  # -> Added(added=1, …): the next answer uses it

The index lies in the run's folder, where the command line makes it too, and a server reads it.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from inference.baselines.index import Added, Index, beside
from inference.classifier import Prediction
from inference.common.errors import PredictionError
from training.runs.run import Run
from ui.account import Visitor, changes_something
from ui.html import busy, html, note, page
from ui.state import Model, Workbench
from ui.translations import I18N, text

INDEX = "index.sqlite"
Predict = Callable[[Sequence[str]], Sequence[Prediction]]


@dataclass(frozen=True)
class _Alone:
    """The loaded model as the predictor that the index improves."""

    labels: tuple[str, ...]
    ask: Predict

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        return list(self.ask(texts))


class Knowledge:
    """The index of the loaded model's run. Thread-safe."""

    def __init__(self, workbench: Workbench) -> None:
        self.workbench = workbench
        self._lock = threading.Lock()
        self._open: tuple[Path, Index] | None = None

    def _place(self) -> Path | None:
        run = self.workbench.model.run
        return run.path / INDEX if run and (run.path / INDEX).is_file() else None

    def is_there(self) -> bool:
        return self._place() is not None

    def index(self) -> Index | None:
        """Return the index of the loaded model's run, None without one. Raises DataError."""
        if (place := self._place()) is None:
            return None
        with self._lock:
            if self._open is None or self._open[0] != place:
                self._open = place, Index(place)
            return self._open[1]

    def beside(self, labels: tuple[str, ...], ask: Predict) -> Predict:
        """Return a model's predict with the index's votes. Raises PredictionError without an index."""
        if (index := self.index()) is None:
            raise PredictionError(text("learn.none"))
        return beside(_Alone(labels, ask), index).predict

    def add(self, tweet: str, label: str) -> Added:
        """Add a labelled tweet; a new index also gets the run's training rows.

        Raises PredictionError without a tweet or a label, DataError if the run's data can't be read.
        """
        model = self.workbench.model
        if not tweet.strip():
            raise PredictionError(text("compare.no_text"))
        if not label:
            raise PredictionError(text("learn.no_label"))
        if (index := self.index()) is None:
            _make(_run_of(model))
            index = self.index()
        assert index is not None, "it was made"
        return index.add([tweet], [label])


def _run_of(model: Model) -> Run:
    if model.run is None:
        raise PredictionError(text("learn.no_run"))
    return model.run


def _make(run: Run) -> None:
    from training.data.to_index import to_index  # noqa: PLC0415  (datasets take a while)

    to_index(run.recipe.data, run.path / INDEX)


def labels_of(model: Model) -> tuple[str, ...]:
    """Return the labels that a tweet can be added with; none without a run that could keep it."""
    return model.tuned.labels if model.state == "ready" and model.run and model.tuned else ()


def became(added: Added) -> str:
    """Say what adding one tweet did."""
    counts = {name: getattr(added, name) for name in ("added", "changed", "locked", "known")}
    what = next(name for name, count in counts.items() if count)
    return page(note(text(f"learn.{what}"), "warn" if what == "locked" else ""))


class Teaching:
    """The panel where a visitor adds the current tweet with its label."""

    def __init__(self, knowledge: Knowledge) -> None:
        self.knowledge = knowledge
        with gr.Accordion(
            I18N("compare.learn_title"), open=False, visible=False, elem_id="learn"
        ) as self.panel:
            self.label = gr.Dropdown(
                [],
                value=None,
                allow_custom_value=True,  # the API may be called before a page has drawn the labels
                label=I18N("compare.learn_label"),
            )
            self.add = gr.Button(I18N("compare.learn_add"), size="md", min_width=120)
            self.outcome = html(elem_id="learnt")

    def shown(self, model: Model) -> tuple[object, object]:
        """Return the updates of the panel and of the labels for a model."""
        labels = labels_of(model)
        return (
            gr.update(visible=bool(labels)),
            gr.update(choices=[(text.label(label), label) for label in labels]),
        )

    def wire(self, tweet: gr.Textbox, models: gr.Dropdown, then: Callable[[list[str]], Any]) -> Any:
        """Wire the button: add the tweet, and put the taught model among those that are asked.

        `then` returns the new choice of models. Returns the event.
        """

        @changes_something(self.knowledge.workbench.settings)
        def add_to_index(
            visitor: Visitor, tweet: str, label: str | None, chosen: list[str] | None
        ) -> Iterator[tuple[object, ...]]:
            if not self.knowledge.is_there():
                yield busy(text("learn.making")), gr.skip()
            added = self.knowledge.add(tweet, label or "")
            yield became(added), then(chosen or [])

        return self.add.click(
            add_to_index,
            [tweet, self.label, models],
            [self.outcome, models],
            api_name="add_to_index",
            show_progress="hidden",
            concurrency_id="classify",
        )
