"""The duel's part of the Live tab: the card and its keys, export, and training on the labels.

    panel = DuelPanel.build(workbench, view)
    panel.draw(view, session, text)        # -> the HTML of the card and of the numbers

Knows nothing about how labels are kept.
"""

import secrets
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from inference.common.errors import FeedError, TweetTuneError
from inference.common.paths import cache_dir, home
from inference.live.review import AnnotationSession, LabelStore, SessionView
from ui.account import check_may_train, visitor_of
from ui.html import HEADING, as_gradio_error, busy, empty, html, note, page
from ui.live.duel import export_labels, look_at_labels, training_recipe
from ui.live.publish import build_label_publishing
from ui.live.render_duel import card, numbers, review
from ui.live.scripts import DUEL_JS, SAVE_JS, SLOT
from ui.live.wiring import NEW, following
from ui.state import Workbench
from ui.train.tab import begin
from ui.translations import I18N, Texts, texts_for

_QUIET: dict[str, Any] = {"show_progress": "hidden"}
_MOST_EXPORTS = 8


@dataclass(frozen=True)
class DuelPanel:
    """The components that are drawn anew: the card of the post, and the numbers."""

    workbench: Workbench
    card: Any
    numbers: Any

    @classmethod
    def build(cls, workbench: Workbench, view: gr.State) -> "DuelPanel":
        """Draw the panel inside the current Blocks."""
        with gr.Column(elem_classes="tt-panel", elem_id="live-duel-panel"):
            html(I18N("duel.title"), html_template=HEADING)
            html(I18N("duel.how"), html_template='<div class="tt"><p class="muted small">${value}</p></div>')
            post = html(html_template=SLOT, js_on_load=DUEL_JS, elem_id="live-duel")
            told = html(elem_id="live-duel-numbers")
            with gr.Row(elem_classes="tt-buttons"):
                export = gr.Button(I18N("duel.export"), size="sm", min_width=120, elem_id="live-export")
                look = gr.Button(I18N("duel.train"), size="sm", min_width=120, elem_id="live-train-look")
                erase = gr.Button(I18N("duel.erase"), size="sm", min_width=160, elem_id="live-erase")
            file = gr.DownloadButton("JSONL", visible="hidden", elem_id="live-export-file")
            report = html(elem_id="live-train-review")
            with gr.Row(visible=False, elem_classes="tt-buttons") as confirm:
                go = gr.Button(
                    I18N("duel.start_training"), variant="primary", size="sm", elem_id="live-train-start"
                )
                close = gr.Button(I18N("preview.close"), size="sm", elem_id="live-train-close")
            with gr.Row(visible=False, elem_classes="tt-buttons") as sure:
                yes = gr.Button(I18N("duel.erase_all"), variant="stop", size="sm", elem_id="live-erase-all")
                no = gr.Button(I18N("preview.close"), size="sm", elem_id="live-erase-close")
            panel = cls(workbench, post, told)
            build_label_publishing(workbench, view, panel._usable_store)
        panel._wire_card(view)
        panel._wire_export(view, export, file)
        panel._wire_training(view, {"look": look, "go": go, "close": close}, report, confirm)
        panel._wire_erasing(view, {"erase": erase, "yes": yes, "no": no}, report, sure)
        return panel

    def store(self, view: dict[str, str]) -> LabelStore | None:
        """Return the store that a page works on: its owner's own for a private feed, else everybody's."""
        model = self.workbench.model
        if model.state != "ready":
            return None
        return self.workbench.duels.store(model.tuned.labels, owner=self._owner(view))

    def _owner(self, view: dict[str, str]) -> str:
        watched = following(self.workbench, view)
        return watched.owner if watched else ""

    def draw(self, view: dict[str, str], session: str, text: Texts) -> tuple[str, str]:
        """Return the HTML of the card and of the numbers."""
        try:
            store = self.store(view)
            if store is None:
                return page(empty(text("live.no_model"), text("live.no_model_next"))), ""
            seen = store.session(session).view()
            problem = store.problem and text("duel.not_kept", problem=store.problem)
            failed = page(note(problem, "bad")) if problem else ""
            return failed + card(seen, store.labels, text), numbers(seen.counts, store.agreement(), text)
        except TweetTuneError as error:
            return page(note(str(error), "bad")), ""  # said where it matters: the feed goes on

    def _usable_store(self, view: dict[str, str]) -> LabelStore:
        store = self.store(view)
        if store is None:
            raise FeedError("No model is loaded, so there is nothing to label. Train one first.")
        return store

    def _act(self, view: dict[str, str], given: tuple[str, str, str], request: gr.Request) -> Any:
        (action, item, label), text = given, texts_for(request)
        store = self._usable_store(view)
        seen = act(store.session(str(request.session_hash)), action, item, label)
        return card(seen, store.labels, text), numbers(seen.counts, store.agreement(), text)

    def _wire_card(self, view: gr.State) -> None:
        def on_card(view: dict[str, str], request: gr.Request, event: gr.EventData) -> Any:
            with as_gradio_error():
                return self._act(view, (event.action, event.item, event.value), request)

        def live_label(action: str, item: int, label: str, request: gr.Request) -> dict[str, Any]:
            with as_gradio_error():
                shared = NEW  # everybody's queue: a client has no page
                if action != "look":
                    self._act(shared, (action, str(item), label), request)
                seen = self._usable_store(shared).session(str(request.session_hash)).view()
            post = {"item": seen.item and seen.item.id, "text": seen.item and seen.item.text}
            return {**post, **asdict(seen.counts)}

        self.card.select(
            on_card, view, [self.card, self.numbers], api_visibility="private", queue=False, **_QUIET
        )
        gr.api(live_label, api_name="live_label", queue=False)

    def _wire_export(self, view: gr.State, export: Any, file: Any) -> None:
        def live_export(view: dict[str, str]) -> Any:
            with as_gradio_error():
                return str(export_labels(self._usable_store(view), export_folder()))

        export.click(live_export, view, file, api_name="live_export", **_QUIET).success(
            None, None, None, js=SAVE_JS.format("live-export-file")
        )

    def _wire_training(self, view: gr.State, buttons: dict[str, Any], report: Any, confirm: Any) -> None:
        chosen = gr.State("")

        def look_at(view: dict[str, str], request: gr.Request, profile: gr.OAuthProfile | None) -> Any:
            with as_gradio_error():
                check_may_train(self.workbench.settings, visitor_of(request, profile))
            text = texts_for(request)
            yield busy(text("duel.looking")), gr.update(visible=False), ""
            drawn, path, added = "", "", 0
            with as_gradio_error():
                try:
                    path = str(export_labels(self._usable_store(view), home() / "labels"))
                    recipe = training_recipe(self.workbench.model.run, Path(path))
                    found = look_at_labels(recipe)
                    drawn, added = review(found, Path(path).name, recipe.name, text), found.added
                finally:
                    yield drawn, gr.update(visible=added > 0), path

        def train_on(path: str, request: gr.Request, profile: gr.OAuthProfile | None) -> Any:
            with as_gradio_error():
                check_may_train(self.workbench.settings, visitor_of(request, profile))
                if not path:
                    raise FeedError("No labels were looked at yet. Press Train on these first.")
                run = begin(self.workbench, training_recipe(self.workbench.model.run, Path(path)))
            return page(note(texts_for(request)("duel.started", run=run.id))), gr.update(visible=False), ""

        outputs = [report, confirm, chosen]
        shared: dict[str, Any] = {"concurrency_id": "train", "concurrency_limit": 1, **_QUIET}
        buttons["look"].click(look_at, view, outputs, api_name="live_train_look", **shared)
        buttons["go"].click(train_on, chosen, outputs, api_name="live_train", **shared)
        buttons["close"].click(
            lambda: ("", gr.update(visible=False), ""),
            None,
            outputs,
            api_visibility="private",
            queue=False,
            **_QUIET,
        )

    def _wire_erasing(self, view: gr.State, buttons: dict[str, Any], report: Any, sure: Any) -> None:
        def erase(view: dict[str, str], request: gr.Request, profile: gr.OAuthProfile | None) -> Any:
            text = texts_for(request)
            with as_gradio_error():
                if not self._owner(view):  # everybody's labels are not any visitor's to erase
                    check_may_train(self.workbench.settings, visitor_of(request, profile))
                self._usable_store(view).clear()
            drawn = self.draw(view, str(request.session_hash), text)
            return (*drawn, page(note(text("duel.erased"))), gr.update(visible=False))

        hidden: dict[str, Any] = {"api_visibility": "private", "queue": False, **_QUIET}
        buttons["erase"].click(lambda: gr.update(visible=True), None, sure, **hidden)
        buttons["no"].click(lambda: gr.update(visible=False), None, sure, **hidden)
        buttons["yes"].click(
            erase, view, [self.card, self.numbers, report, sure], api_name="live_erase", **_QUIET
        )


def act(session: AnnotationSession, action: str, item: str, label: str) -> SessionView:
    """Label or skip the post that is shown, or undo that. Raises FeedError or LabelError."""
    number = int(item) if str(item).isdigit() else 0
    if action == "label":
        return session.label(number, label)
    if action == "skip":
        return session.skip(number)
    if action == "undo":
        return session.undo()
    raise FeedError(f"{action!r} is no action. Choose label, skip or undo.")


def export_folder() -> Path:
    """Return a new folder for one export, whose name nobody can guess; the oldest ones are removed."""
    exports = cache_dir() / "exports"
    exports.mkdir(mode=0o700, parents=True, exist_ok=True)
    old = sorted(exports.iterdir(), key=lambda folder: folder.stat().st_mtime)
    for folder in old[: max(0, len(old) - _MOST_EXPORTS + 1)]:
        shutil.rmtree(folder, ignore_errors=True)
    return exports / secrets.token_hex(12)
