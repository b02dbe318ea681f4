"""The Publish panel of the Train tab: a finished run to the Hub, under the visitor's own account.

    panel = build_publish(workbench)
    panel.draw(visitor, text)            # -> what can be published, and how the visitor's own push stands

A handler asks for the right to publish and for the visitor's token, starts a child process, and forgets the
token. Knows nothing about how a model is pushed: that is `training.publish`.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from inference.common.errors import RunError
from training.runs.run import list_runs
from ui.account.login import token_for
from ui.account.rights import Visitor, check_may_train, visitor_of
from ui.parts import as_gradio_error, html
from ui.pushes import Order
from ui.state import Workbench, known_run
from ui.train.render_publish import publication
from ui.translations import I18N, Texts, texts_for


@dataclass(frozen=True)
class PublishPanel:
    """What the tab wires: the choice of runs, the panel, and what to draw in them."""

    run: gr.Dropdown
    panel: gr.HTML
    draw: Callable[[Visitor, Texts], tuple[list[str], str]]


def key_of(visitor: Visitor) -> str:
    """Return under which name a visitor's pushes are kept; "" for somebody who can't publish."""
    return f"user {visitor.name}" if visitor.name else "here" if visitor.is_here else ""


def build_publish(workbench: Workbench) -> PublishPanel:
    """Draw the panel inside the current Blocks."""
    with (
        gr.Accordion(I18N("publish.title"), open=False, elem_id="publish", elem_classes="tt-panel"),
        gr.Column(elem_classes="tt-publish"),
    ):
        with gr.Row():
            run = gr.Dropdown(
                finished(),
                label=I18N("publish.run"),
                info=I18N("publish.run_help"),
                min_width=200,
                elem_id="publish-run",
                allow_custom_value=True,  # the handler looks it up among the runs
            )
            repo = gr.Textbox(
                label=I18N("publish.repo"),
                info=I18N("publish.repo_help"),
                placeholder="owner/name",
                max_lines=1,
                min_width=200,
                elem_id="publish-repo",
            )
        with gr.Row():
            options = [
                gr.Checkbox(label=I18N(f"publish.{name}"), info=I18N(f"publish.{name}_help"), min_width=160)
                for name in ("private", "pr", "adapter_only")
            ]
        with gr.Row(elem_classes="tt-buttons"):
            look = gr.Button(I18N("publish.look"), size="md", min_width=140, elem_id="publish-look")
            go = gr.Button(
                I18N("publish.go"), variant="primary", size="md", min_width=140, elem_id="publish-go"
            )
        panel = html(elem_id="publish-panel", actions=True)

    def draw(visitor: Visitor, text: Texts) -> tuple[list[str], str]:
        return finished(), publication(workbench.publications.look(key_of(visitor)), text)

    _wire(workbench, [run, repo, *options], panel, look=look, go=go)
    return PublishPanel(run, panel, draw)


def finished() -> list[str]:
    """Return the ids of the runs that can be published, newest first."""
    return [run.id for run in list_runs() if run.status().state == "finished"]


def begin(workbench: Workbench, visitor: Visitor, order: Order, *, token: gr.OAuthToken | None) -> None:
    """Start a push, or only a look at what would be sent. Raises NotAllowed, NotSignedIn or RunError."""
    check_may_train(workbench.settings, visitor)
    key = key_of(visitor)
    found = None if order.dry_run else token_for(visitor, token)  # for a look nothing leaves this machine
    if not key:
        raise RunError("Nobody is signed in, so nobody could be shown what is sent. Sign in first.")
    workbench.publications.start(key, order, token=found)


def order_of(run_id: str | None, repo_id: str, **options: bool) -> Order:
    """Return the order of a finished run. Raises RunError when there is none, or no name to publish it by."""
    if not run_id:
        raise RunError("No run was chosen. Choose a finished run to publish.")
    run = known_run(run_id)
    if run.status().state != "finished":
        raise RunError(f"The run {run.id} is not finished, so it has no model yet. Wait, or resume it.")
    if not (repo_id or "").strip():
        raise RunError("No repository was named. Write it as owner/name.")
    return Order(run_id=run.id, source=str(run.path), repo_id=repo_id.strip(), **options)


def _wire(workbench: Workbench, inputs: list[Any], panel: gr.HTML, *, look: gr.Button, go: gr.Button) -> None:
    def shown(visitor: Visitor, request: gr.Request) -> str:
        return publication(workbench.publications.look(key_of(visitor)), texts_for(request))

    def order(visitor: Visitor, token: gr.OAuthToken | None, values: tuple[Any, ...], dry_run: bool) -> None:
        run_id, repo_id, private, pr, adapter_only = values
        with as_gradio_error():
            check_may_train(workbench.settings, visitor)
            wanted = order_of(
                run_id, repo_id, private=private, pr=pr, adapter_only=adapter_only, dry_run=dry_run
            )
            begin(workbench, visitor, wanted, token=token)

    def publish(
        request: gr.Request, profile: gr.OAuthProfile | None, token: gr.OAuthToken | None, *values: Any
    ) -> str:
        visitor = visitor_of(request, profile)
        order(visitor, token, values, False)
        return shown(visitor, request)

    def publish_preview(request: gr.Request, profile: gr.OAuthProfile | None, *values: Any) -> str:
        visitor = visitor_of(request, profile)
        order(visitor, None, values, True)
        return shown(visitor, request)

    def publish_cancel(request: gr.Request, profile: gr.OAuthProfile | None) -> str:
        visitor = visitor_of(request, profile)
        with as_gradio_error():
            workbench.publications.cancel(key_of(visitor))
        return shown(visitor, request)

    def publication_state(request: gr.Request, profile: gr.OAuthProfile | None) -> dict[str, Any]:
        found = workbench.publications.look(key_of(visitor_of(request, profile)))
        return dataclasses.asdict(found) if found else {}

    gr.api(publication_state, api_name="publication", queue=False)
    shared: dict[str, Any] = {"concurrency_id": "publish", "concurrency_limit": 2, "show_progress": "hidden"}
    go.click(publish, inputs, panel, api_name="publish", **shared)
    look.click(publish_preview, inputs, panel, api_name="publish_preview", **shared)
    panel.select(publish_cancel, None, panel, api_name="publish_cancel", **shared)
