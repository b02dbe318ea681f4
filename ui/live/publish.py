"""The duel's labels as a data set on the Hub: what would be public, a confirmation, the push.

    build_label_publishing(workbench, view, store_of)    # inside the duel's panel

What is confirmed is a file that was exported for the look, and that file is what is sent. The visitor's own
token pushes, in the process and by the rules of `ui.train.publish`. Knows nothing about what a data set is.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import gradio as gr

from inference.common.errors import FeedError
from inference.common.paths import home
from inference.live.review import LabelStore
from ui.account import check_may_train, token_for, visitor_of
from ui.html import as_gradio_error, esc, html, notes, page
from ui.live.duel import export_labels
from ui.pushes import Order
from ui.state import Workbench
from ui.train.publish import publication
from ui.translations import I18N, Texts, texts_for

_LOOK_S = 0.4
_HIDDEN: dict[str, Any] = {"show_progress": "hidden"}
StoreOf = Callable[[dict[str, str]], LabelStore]


@dataclass(frozen=True)
class Form:
    """The components of the section."""

    repo: gr.Textbox
    private: gr.Checkbox
    look: gr.Button
    report: gr.HTML
    confirm: gr.Row
    go: gr.Button
    close: gr.Button
    chosen: gr.State
    """The order that was looked at, {} for none."""


def build_label_publishing(workbench: Workbench, view: gr.State, store_of: StoreOf) -> None:
    """Draw the section inside the current Blocks. `store_of`: the store of a page, or an error."""
    with gr.Accordion(I18N("duel.publish"), open=False, elem_id="live-publish"):
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
                label=I18N("publish.private"), info=I18N("publish.private_help"), min_width=160
            )
        look = gr.Button(I18N("duel.publish_look"), size="sm", min_width=120, elem_id="live-publish-look")
        report = html(elem_id="live-publish-report", actions=True)
        with gr.Row(visible=False, elem_classes="tt-buttons") as confirm:
            go = gr.Button(I18N("publish.go"), variant="primary", size="sm", elem_id="live-publish-go")
            close = gr.Button(I18N("preview.close"), size="sm", elem_id="live-publish-close")
    form = Form(repo, private, look, report, confirm, go, close, gr.State({}))
    _wire_look(workbench, view, store_of, form)
    _wire_push(workbench, form)


def _wire_look(workbench: Workbench, view: gr.State, store_of: StoreOf, form: Form) -> None:
    def live_publish_look(
        view: dict[str, str],
        repo_id: str,
        private: bool,
        request: gr.Request,
        profile: gr.OAuthProfile | None,
    ) -> tuple[str, Any, dict[str, Any]]:
        with as_gradio_error():
            check_may_train(workbench.settings, visitor_of(request, profile))
            path = export_labels(store_of(view), home() / "labels")
            order = {"source": str(path), "repo_id": (repo_id or "").strip(), "private": bool(private)}
            return look_at(order, texts_for(request)), gr.update(visible=True), order

    outputs = [form.report, form.confirm, form.chosen]
    form.look.click(
        live_publish_look,
        [view, form.repo, form.private],
        outputs,
        api_name="live_publish_look",
        concurrency_id="publish",
        concurrency_limit=2,
        **_HIDDEN,
    )
    form.close.click(
        lambda: ("", gr.update(visible=False), {}),
        None,
        outputs,
        api_visibility="private",
        queue=False,
        **_HIDDEN,
    )


def look_at(order: dict[str, Any], text: Texts) -> str:
    """Draw what of an order would be public. Raises DataError or PublishError."""
    plan = import_module(
        "training.publish.dataset"
    ).prepare_data(  # takes a second: not before the first page
        Path(order["source"]), order["repo_id"], private=order["private"]
    )
    return page(f"<h3>{esc(text('duel.publish_title'))}</h3>{notes(list(plan.sentences))}")


def _wire_push(workbench: Workbench, form: Form) -> None:
    def live_publish(
        order: dict[str, Any],
        request: gr.Request,
        profile: gr.OAuthProfile | None,
        token: gr.OAuthToken | None,
    ) -> Iterator[tuple[str, Any, dict[str, Any]]]:
        visitor = visitor_of(request, profile, token)
        key = visitor.key
        with as_gradio_error():
            check_may_train(workbench.settings, visitor)
            if not order:
                raise FeedError("Nothing was looked at yet. Press Show what would be public first.")
            wanted = Order(kind="dataset", run_id=Path(order["source"]).name, **order)
            workbench.publications.start(key, wanted, token=token_for(visitor))
        while (now := workbench.publications.look(key)) and now.order == wanted:
            yield publication(now), gr.update(visible=False), {}
            if now.state != "running":
                return
            time.sleep(_LOOK_S)

    def live_publish_cancel(request: gr.Request, profile: gr.OAuthProfile | None) -> None:
        with as_gradio_error():
            workbench.publications.cancel(visitor_of(request, profile).key)

    form.go.click(
        live_publish,
        form.chosen,
        [form.report, form.confirm, form.chosen],
        api_name="live_publish",
        concurrency_id="publish-labels",
        concurrency_limit=4,
        **_HIDDEN,
    )
    form.report.select(live_publish_cancel, None, None, api_visibility="private", queue=False, **_HIDDEN)
