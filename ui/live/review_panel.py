"""The duel's part of the Live tab: the card and its keys; labels are exported, trained on and published.

    panel = ReviewPanel.build(workbench, feeds, duels, view)
    panel.draw(view, session_hash)         # -> the HTML of the card and of the numbers, and the counts
    panel.check(view, flags, labels, name="odd.csv", data={…})     # -> the view that reviews flagged rows

Publishing first exports a file and shows what is sent; once confirmed, that file is pushed with the
visitor's own token, in the process and by the rules of `ui.train.publish`.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from inference.common.errors import DataError, FeedError, TweetTuneError
from inference.common.names import read_id
from inference.common.paths import home
from inference.live.review import LabelCounts, LabelStore, SessionView
from training.recipes import Recipe
from ui.account import Visitor, changes_something, check_may_train, token_for, visitor_of
from ui.html import HEADING, REMARK, SAVE_JS, busy, esc, html, note, notes, page
from ui.live.actions import NEW, View, followed
from ui.live.feeds import LiveFeeds
from ui.live.form import UPLOADS
from ui.live.review import Duels, FlaggedRows, export_labels, preview_labels, training_recipe
from ui.live.view import card, flagged_header, label_numbers, review
from ui.pushes import Order
from ui.state import Workbench, export_folder
from ui.train.publish import publication
from ui.train.tab import begin
from ui.translations import I18N, text

if TYPE_CHECKING:
    from training.audit.findings import Flag

SLOT = '<div class="tt-slot"></div>'
"""The template of a component whose content a script fills in."""
_CARD_JS = Path(__file__).with_name("card.js").read_text(encoding="utf-8")
_POLL_S = 0.4
_HIDDEN: dict[str, Any] = {"show_progress": "hidden"}
_QUIET: dict[str, Any] = {"api_visibility": "private", "queue": False, **_HIDDEN}


@dataclass(frozen=True)
class ReviewPanel:
    """The panel's components that change: the card, the numbers, and the buttons."""

    workbench: Workbench
    feeds: LiveFeeds
    duels: Duels
    view: gr.State
    card: gr.HTML
    numbers: gr.HTML
    desk: list[Any]
    """The buttons and the fold that need a label or a post: see `usable`."""

    @classmethod
    def build(cls, workbench: Workbench, feeds: LiveFeeds, duels: Duels, view: gr.State) -> "ReviewPanel":
        """Draw the panel inside the current Blocks."""
        with gr.Column(elem_classes="tt-panel", elem_id="live-duel-panel"):
            html(I18N("duel.title"), html_template=HEADING)
            with gr.Accordion(I18N("duel.guide"), open=False):
                html(I18N("duel.how"), html_template=REMARK)
                html(I18N("duel.guidelines"), html_template=REMARK)
            post = html(html_template=SLOT, js_on_load=_CARD_JS, elem_id="live-duel")
            numbers = html(elem_id="live-duel-numbers")
            with gr.Row(elem_classes="tt-buttons"):
                dead: dict[str, Any] = {"size": "sm", "min_width": 120, "visible": False}
                export = gr.Button(I18N("duel.export"), elem_id="live-export", **dead)
                preview = gr.Button(I18N("duel.train"), elem_id="live-train-look", **dead)
                erase = gr.Button(I18N("duel.erase"), elem_id="live-erase", **dead)
                label: Any = I18N("duel.flags")
                flags = gr.UploadButton(
                    label, file_types=list(UPLOADS), size="sm", min_width=160, elem_id="live-flags"
                )
            file = gr.DownloadButton("JSONL", visible="hidden", elem_id="live-export-file")
            report = html(elem_id="live-train-review")
            panel = cls(workbench, feeds, duels, view, post, numbers, [export, preview, erase])
            panel._wire_card()
            panel._wire_export(export, file)
            panel._wire_flags(flags)
            panel._build_training(preview, report)
            panel._build_erasing(erase, report)
            panel.desk.append(panel._build_publishing())
        return panel

    def draw(self, view: View, page_id: str) -> tuple[str, str, LabelCounts | None]:
        """Return the HTML of the card and of the numbers, and the counts of posts, None without a store."""
        if self.workbench.model.state != "ready" and not view["desk"]:
            return "", "", None  # what to do is said above
        try:
            store = self._store(view)
            seen = store.session(page_id).view()
            drawn, account = self._drawn(view, store, seen)
        except TweetTuneError as error:
            return page(note(str(error), "bad")), "", None  # shown in place of the card: the feed goes on
        session = followed(self.feeds, view)
        if session and session.source == "replay" and not view["desk"]:  # told before the first label
            splits = [split for split, _ in self.workbench.replay.values()]
            told = note(text("duel.replay_test"), "warn") if "test" in splits else note(text("duel.replay"))
            account = page(told) + account
        problem = store.problem and text("duel.not_kept", problem=store.problem)
        return (page(note(problem, "bad")) if problem else "") + drawn, account, seen.counts

    def usable(self, counts: LabelCounts | None) -> list[object]:
        """Return the updates of `desk`: all hidden without a post, two disabled without a label."""
        labelled = counts.labelled if counts else 0
        there = bool(counts and counts.labelled + counts.waiting + counts.skipped)
        caption: dict[str, Any] = {"value": self._train_on(labelled)} if labelled else {}
        taken: dict[str, Any] = {"visible": there, "interactive": labelled > 0}
        return [gr.update(**taken), gr.update(**taken, **caption), *[gr.update(visible=there)] * 2]

    def _train_on(self, labelled: int) -> str:
        """Say how many labels would be trained on, and how long the loaded model's training took."""
        n, run = text.number(labelled), self.workbench.model.run
        status = run.status() if run else None
        if not (status and status.started_at and status.finished_at):
            return text("duel.train_n", n=n)
        minutes = max(1, round((status.finished_at - status.started_at) / 60))
        return text("duel.train_time", n=n, minutes=text.number(minutes))

    def check(
        self,
        view: View,
        flags: "Sequence[Flag]",
        labels: Sequence[str],
        *,
        name: str,
        data: Mapping[str, str],
    ) -> View:
        """Queue flagged rows, and return the view that reviews them. Raises DataError for none.

        A second review of the same data, by anybody, goes on where the first one stopped.
        """
        if not flags:
            raise DataError("No label is flagged, so there is nothing to check. Look through other data.")
        identity = repr(sorted(data.items()) or [(flag.text, flag.label) for flag in flags])
        digest = f"flags {hashlib.sha256(identity.encode()).hexdigest()}"
        rows = FlaggedRows(name, tuple(labels), dict(data), digest, len({flag.text for flag in flags}))
        self.duels.put(flags, rows)
        return {**view, "desk": str(rows)}

    def _wire_flags(self, upload: gr.UploadButton) -> None:
        def live_check(file: str, view: View) -> View:
            from training.audit.page import read_flags  # noqa: PLC0415  (a second: not before the first page)

            flags, model = read_flags(Path(file)), self.workbench.model
            found = {label for flag in flags for label in (flag.label, flag.suggested) if label}
            known = model.tuned.labels if model.tuned else ()
            labels = known if found <= set(known) else sorted(found)
            return self.check(view, flags, labels, name=Path(file).name, data={})

        upload.upload(live_check, [upload, self.view], self.view, api_name="live_check", **_HIDDEN)

    def _drawn(self, view: View, store: LabelStore, seen: SessionView) -> tuple[str, str]:
        rows = FlaggedRows.read(view["desk"])
        session, counts = followed(self.feeds, view), seen.counts
        duelling = session is not None and bool(session.second_model) and session.feed.state != "ended"
        drawn = card(seen, store.labels, flagged=rows is not None, duelling=duelling)
        head = (
            flagged_header(rows.name, more=rows.n > counts.waiting + counts.labelled + counts.skipped)
            if rows
            else ""
        )
        return head + drawn, label_numbers(counts, store.agreement(), flagged=rows is not None)

    def _store(self, view: View) -> LabelStore:
        """Return the store that a page labels in: flagged rows', a private feed's, or everybody's."""
        if rows := FlaggedRows.read(view["desk"]):
            return self.duels.store(rows.labels, owner=rows.digest)
        model = self.workbench.model
        if model.state != "ready" or model.tuned is None:
            raise FeedError("No model is loaded, so there is nothing to label. Train one first.")
        return self.duels.store(model.tuned.labels, owner=self._owner(view))

    def _owner(self, view: View) -> str:
        session = followed(self.feeds, view)
        return session.owner if session else ""

    def _act(self, store: LabelStore, page_id: str, action: str, item: str, label: str) -> SessionView:
        session, number = store.session(page_id), int(item) if item.isdigit() else 0
        if action == "label":
            return session.label(number, label)
        if action == "skip":
            return session.skip(number)
        if action == "undo":
            return session.undo()
        raise FeedError(f"{action!r} is no action. Choose label, skip or undo.")

    def _wire_card(self) -> None:
        def on_card(view: View, request: gr.Request, event: gr.EventData) -> tuple[str, str, View]:
            page_id = str(request.session_hash)
            if event.action == "back":
                view = {**view, "desk": ""}
                return (*self.draw(view, page_id)[:2], view)
            store = self._store(view)
            seen = self._act(store, page_id, event.action, str(event.item), event.value)
            return (*self._drawn(view, store, seen), view)

        def live_label(action: str, item: int, label: str, request: gr.Request) -> dict[str, Any]:
            store, page_id = self._store(NEW), str(request.session_hash)  # an API client has no view
            if action != "look":
                self._act(store, page_id, action, str(item), label)
            seen = store.session(page_id).view()
            post = {"item": seen.item and seen.item.id, "text": seen.item and seen.item.text}
            return {**post, **asdict(seen.counts)}

        drawn = [self.card, self.numbers, self.view]
        self.card.select(on_card, self.view, drawn, api_visibility="private", queue=False, **_HIDDEN)
        gr.api(live_label, api_name="live_label", queue=False)

    def _wire_export(self, button: gr.Button, file: gr.DownloadButton) -> None:
        def live_export(view: View) -> str:
            return str(export_labels(self._store(view), export_folder()))

        button.click(live_export, self.view, file, api_name="live_export", **_HIDDEN).success(
            None, None, None, js=SAVE_JS.format("live-export-file")
        )

    def _build_training(self, preview: gr.Button, report: gr.HTML) -> None:
        with gr.Row(visible=False, elem_classes="tt-buttons") as confirm:
            go = gr.Button(
                I18N("duel.start_training"), variant="primary", size="sm", elem_id="live-train-start"
            )
            close = gr.Button(I18N("preview.close"), size="sm", elem_id="live-train-close")
        chosen = gr.State("")

        @changes_something(self.workbench.settings)
        def live_train_look(visitor: Visitor, view: View) -> Iterator[tuple[object, ...]]:
            yield busy(text("duel.looking")), gr.update(visible=False), ""
            drawn, path, added = "", "", 0
            try:
                path = str(export_labels(self._store(view), home() / "labels"))
                recipe = self._recipe(view, path)
                found = preview_labels(recipe)
                drawn, added = review(found, Path(path).name, recipe.name), found.added + found.corrected
            finally:
                yield drawn, gr.update(visible=added > 0), path

        @changes_something(self.workbench.settings)
        def live_train(visitor: Visitor, path: str, view: View) -> tuple[object, ...]:
            if not path:
                raise FeedError("No labels were looked at yet. Press Train on these first.")
            run = begin(self.workbench, self._recipe(view, path))
            return page(note(text("duel.started", run=run.id))), gr.update(visible=False), ""

        outputs = [report, confirm, chosen]
        shared: dict[str, Any] = {"concurrency_id": "train", "concurrency_limit": 1, **_HIDDEN}
        preview.click(live_train_look, self.view, outputs, api_name="live_train_look", **shared)
        go.click(live_train, [chosen, self.view], outputs, api_name="live_train", **shared)
        close.click(lambda: ("", gr.update(visible=False), ""), None, outputs, **_QUIET)

    def _recipe(self, view: View, path: str) -> Recipe:
        rows = FlaggedRows.read(view["desk"])
        return training_recipe(self.workbench.model.run, Path(path), rows.data if rows else None)

    def _build_erasing(self, erase: gr.Button, report: gr.HTML) -> None:
        with gr.Row(visible=False, elem_classes="tt-buttons") as sure:
            yes = gr.Button(I18N("duel.erase_all"), variant="stop", size="sm", elem_id="live-erase-all")
            no = gr.Button(I18N("preview.close"), size="sm", elem_id="live-erase-close")

        def live_erase(
            view: View, request: gr.Request, profile: gr.OAuthProfile | None
        ) -> tuple[object, ...]:
            if view["desk"] or not self._owner(view):  # only trainers may erase shared labels
                check_may_train(self.workbench.settings, visitor_of(request, profile))
            self._store(view).clear()
            drawn = self.draw(view, str(request.session_hash))[:2]
            return (*drawn, page(note(text("duel.erased"))), gr.update(visible=False))

        erase.click(lambda: gr.update(visible=True), None, sure, **_QUIET)
        no.click(lambda: gr.update(visible=False), None, sure, **_QUIET)
        outputs = [self.card, self.numbers, report, sure]
        yes.click(live_erase, self.view, outputs, api_name="live_erase", **_HIDDEN)

    def _build_publishing(self) -> gr.Accordion:
        """Draw and wire publishing on the Hub: show what is sent, confirm, push. Return the fold."""
        fold = gr.Accordion(I18N("duel.publish"), open=False, visible=False, elem_id="live-publish")
        with fold:
            with gr.Row():
                repo = gr.Textbox(
                    label=I18N("duel.publish_repo"),
                    info=I18N("publish.repo_help"),
                    placeholder="owner/name",
                    max_lines=1,
                    min_width=200,
                    elem_id="live-publish-repo",
                )
                private = gr.Checkbox(
                    True, label=I18N("publish.private"), info=I18N("publish.private_help"), min_width=160
                )
            preview = gr.Button(
                I18N("duel.publish_look"), size="sm", min_width=120, elem_id="live-publish-look"
            )
            report = html(elem_id="live-publish-report", actions=True)
            with gr.Row(visible=False, elem_classes="tt-buttons") as confirm:
                go = gr.Button(I18N("publish.go"), variant="primary", size="sm", elem_id="live-publish-go")
                close = gr.Button(I18N("preview.close"), size="sm", elem_id="live-publish-close")
        chosen, publications = gr.State({}), self.workbench.publications

        @changes_something(self.workbench.settings)
        def live_publish_look(
            visitor: Visitor, view: View, repo_id: str, private: bool
        ) -> tuple[str, object, dict[str, Any]]:
            path = export_labels(self._store(view), home() / "labels")
            repo_id = read_id(repo_id or "", "dataset")
            drawn = preview_publication(path, repo_id, private=bool(private))
            order = {"source": str(path), "repo_id": repo_id, "private": bool(private)}
            return drawn, gr.update(visible=True), order

        @changes_something(self.workbench.settings)
        def live_publish(visitor: Visitor, order: dict[str, Any]) -> Iterator[tuple[str, object, object]]:
            if not order:
                raise FeedError("Nothing was looked at yet. Press Show what is sent first.")
            asked = Order(kind="dataset", run_id=Path(order["source"]).name, **order)
            publications.start(visitor.key, asked, token=token_for(visitor))
            while (now := publications.newest(visitor.key)) and now.order == asked:
                yield publication(now), gr.update(visible=False), {}
                if now.state != "running":
                    return
                time.sleep(_POLL_S)

        def live_publish_cancel(request: gr.Request, profile: gr.OAuthProfile | None) -> None:
            publications.cancel(visitor_of(request, profile).key)

        outputs = [report, confirm, chosen]
        preview.click(
            live_publish_look,
            [self.view, repo, private],
            outputs,
            api_name="live_publish_look",
            concurrency_id="publish",
            concurrency_limit=2,
            **_HIDDEN,
        )
        close.click(lambda: ("", gr.update(visible=False), {}), None, outputs, **_QUIET)
        go.click(
            live_publish,
            chosen,
            outputs,
            api_name="live_publish",
            concurrency_id="publish-labels",
            concurrency_limit=4,
            **_HIDDEN,
        )
        report.select(live_publish_cancel, None, None, **_QUIET)
        return fold


def preview_publication(path: Path, repo_id: str, *, private: bool) -> str:
    """Draw what is sent of a file of labels. Raises DataError or PublishError."""
    from training.publish.dataset import prepare_data  # noqa: PLC0415  (takes a second: not before the first page)

    plan = prepare_data(path, repo_id, private=private)
    return page(f"<h3>{esc(text('duel.publish_title'))}</h3>{notes(list(plan.sentences))}")
