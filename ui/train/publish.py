"""The Publish panel of the Train tab: a finished run to the Hub, under the visitor's own account.

    panel = build_publish(workbench.settings, workbench.publications)
    panel.draw(visitor, run_id)          # -> the runs to publish, and the state of the visitor's own push

A handler takes the visitor's token, starts a child process, and forgets the token. `training.publish` does
the push.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
import huggingface_hub

from inference.common.errors import RunError
from inference.common.names import read_id
from inference.common.store import JsonObject
from training.runs.run import list_runs
from ui.account import SpaceSettings, Visitor, changes_something, may_train, on_space, token_for, visitor_of
from ui.html import QUIET, button, esc, html, muted, note, notes, page, row, table
from ui.pushes import Order, Publication, Publications
from ui.state import known_run
from ui.train.view import short_name
from ui.translations import I18N, text


@dataclass(frozen=True)
class PublishPanel:
    """The components that the tab wires, and the function that draws them."""

    run: gr.Dropdown
    panel: gr.HTML
    login: gr.HTML
    preview: gr.Button
    draw: Callable[[Visitor, str], tuple[dict[str, Any], str, str, dict[str, Any]]]


def build_publish(space: SpaceSettings, publications: Publications) -> PublishPanel:
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
                gr.Checkbox(
                    name == "private",
                    label=I18N(f"publish.{name}"),
                    info=I18N(f"publish.{name}_help"),
                    min_width=160,
                )
                for name in ("private", "pr", "adapter_only")
            ]
        with gr.Row(elem_classes="tt-buttons"):
            preview = gr.Button(
                I18N("publish.look"), variant="primary", size="md", min_width=140, elem_id="publish-look"
            )
            go = gr.Button(
                I18N("publish.go"),
                variant="stop",
                size="md",
                min_width=140,
                visible=False,  # until the preview was shown
                elem_id="publish-go",
            )
        login = html(elem_id="publish-login")
        panel = html(elem_id="publish-panel", actions=True)

    def draw(visitor: Visitor, chosen: str) -> tuple[dict[str, Any], str, str, dict[str, Any]]:
        """Return the choice of runs (it proposes the shown one), the panel, the login, the first button."""
        runs = finished()
        update: dict[str, Any] = {"choices": [(short_name(each), each) for each in runs]}
        if chosen in runs:
            update["value"] = chosen
        usable = {"interactive": bool(runs) and may_train(space, visitor)}
        return update, publication(publications.newest(visitor.key)), _login(visitor), usable

    _wire(space, publications, [run, repo, *options], panel, preview=preview, go=go)
    return PublishPanel(run, panel, login, preview, draw)


def finished() -> list[str]:
    """Return the ids of the runs that can be published, newest first."""
    return [run.id for run in list_runs() if run.status().state == "finished"]


def begin(publications: Publications, visitor: Visitor, order: Order) -> None:
    """Start a push, or only a preview of it. Raises NotSignedIn or RunError."""
    token = None if order.dry_run else token_for(visitor)  # a preview sends nothing
    if not visitor.key:
        raise RunError("Nobody is signed in, so nobody could be shown what is sent. Sign in first.")
    publications.start(visitor.key, order, token=token)


def order_of(
    run_id: str | None,
    repo_id: str,
    *,
    private: bool = False,
    pr: bool = False,
    adapter_only: bool = False,
    dry_run: bool = False,
) -> Order:
    """Return the order to publish a finished run. Raises RunError without a run or a repository."""
    if not run_id:
        raise RunError("No run was chosen. Choose a finished run to publish.")
    run = known_run(run_id)
    run.check()
    if run.status().state != "finished":
        raise RunError(f"The run {run.id} is not finished, so it has no model yet. Wait, or resume it.")
    if not (repo_id or "").strip():
        raise RunError("No repository was named. Write it as owner/name.")
    return Order(
        run_id=run.id,
        source=str(run.path),
        repo_id=read_id(repo_id),
        private=private,
        pr=pr,
        adapter_only=adapter_only,
        dry_run=dry_run,
    )


def _wire(
    space: SpaceSettings,
    publications: Publications,
    inputs: list[Any],
    panel: gr.HTML,
    *,
    preview: gr.Button,
    go: gr.Button,
) -> None:
    def begun(visitor: Visitor, values: tuple[Any, ...], *, dry_run: bool) -> str:
        run_id, repo_id, private, pr, adapter_only = values
        order = order_of(run_id, repo_id, private=private, pr=pr, adapter_only=adapter_only, dry_run=dry_run)
        begin(publications, visitor, order)
        return publication(publications.newest(visitor.key))

    @changes_something(space)
    def publish(visitor: Visitor, *values: object) -> str:
        return begun(visitor, values, dry_run=False)

    @changes_something(space)
    def publish_preview(visitor: Visitor, *values: object) -> str:
        return begun(visitor, values, dry_run=True)

    def publish_cancel(request: gr.Request, profile: gr.OAuthProfile | None) -> str:
        """Cancel one's own push, which needs no right to train: it may be withdrawn meanwhile."""
        visitor = visitor_of(request, profile)
        publications.cancel(visitor.key)
        return publication(publications.newest(visitor.key))

    def publication_state(request: gr.Request, profile: gr.OAuthProfile | None) -> JsonObject:
        found = publications.newest(visitor_of(request, profile).key)
        return dataclasses.asdict(found) if found else {}

    gr.api(publication_state, api_name="publication", queue=False)
    shared: dict[str, Any] = {"concurrency_id": "publish", "concurrency_limit": 2, "show_progress": "hidden"}
    go.click(publish, inputs, panel, api_name="publish", **shared)
    preview.click(publish_preview, inputs, panel, api_name="publish_preview", **shared).success(
        _looked, inputs[1:3], go, **QUIET
    )
    gr.on([each.change for each in inputs], lambda: gr.update(visible=False), None, go, **QUIET)
    panel.select(publish_cancel, None, panel, api_name="publish_cancel", **shared)


def _looked(repo_id: str, private: bool) -> object:
    """Return the update of the publish button, which says where to and who can see it."""
    key = "publish.go_private" if private else "publish.go_public"
    return gr.update(visible=True, value=text(key, repo=(repo_id or "").strip()))


def _login(visitor: Visitor) -> str:
    """Say under whose name a push would be made."""
    if on_space():
        return ""  # the strip at the top says it
    known = visitor.is_here and huggingface_hub.get_token()
    return page(muted(text("publish.login" if known else "publish.no_login")))


def publication(push: Publication | None) -> str:
    """Draw somebody's newest push; "" when there is none."""
    if push is None:
        return ""
    order = push.order
    title = text("publish.title_look" if order.dry_run else "publish.title_push", run=order.run_id)
    action = button(text("publish.cancel"), action="cancel", value="") if push.state == "running" else ""
    parts = [
        f'<div class="tt-row"><h2>{esc(title)} <span class="muted">{esc(order.repo_id)}</span></h2>'
        f'<span class="grow"></span><span class="tt-actions">{action}</span></div>'
    ]
    if push.state == "running":
        parts.append(_standing(push))
    elif push.state == "done" and push.result:
        parts.append(_result(push.result))
    elif push.state == "cancelled":
        parts.append(note(text("publish.cancelled"), "warn"))
    elif push.state == "failed":
        parts.append(note(push.error, "bad"))
    if push.plan and (order.dry_run or push.state == "running"):
        parts.append(_plan(push.plan))
    return page(f'<div class="tt-stack">{"".join(parts)}</div>', "tt-push")


def _standing(push: Publication) -> str:
    phase = str(push.step.get("phase", "") or "prepare")
    name = text(f"publish.step_{phase}") if text.has(f"publish.step_{phase}") else phase
    done, total = _number(push.step.get("done")), _number(push.step.get("total"))
    share = min(done / total, 1.0) if total else None
    line = f"{name} · {size(int(done))} / {size(int(total))}" if total else name
    width = f' style="width:{100 * share:.1f}%"' if share is not None else ""
    known = f'aria-valuenow="{round(100 * share)}"' if share is not None else ""
    css = "tt-progress" if share is not None else "tt-progress endless"
    right = f'<b class="num">{text.percent(share, 0)}</b>' if share is not None else ""
    return (
        '<div><div class="tt-row" style="margin-bottom:6px" role="status">'
        f'<span class="grow">{esc(line)}</span>{right}</div><div class="{css}" role="progressbar" '
        f'aria-label="{esc(text("publish.progress"))}" aria-valuemin="0" aria-valuemax="100" {known}>'
        f"<div{width}></div></div></div>"
    )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _result(result: JsonObject) -> str:
    verified = result.get("verified") or {}
    said = text("publish.done" if result.get("changed", True) else "publish.unchanged")
    if verified:
        said += " " + text(
            "publish.verified",
            n=text.number(verified.get("n_texts", 0)),
            difference=text.short(float(f"{_number(verified.get('largest_difference')):.1g}")),
        )
    links = [
        f'<a href="{esc(url)}" target="_blank" rel="noopener">{esc(text(name))}</a>'
        for name, url in (
            ("publish.commit", result.get("commit_url")),
            ("publish.pr_link", result.get("pr_url")),
        )
        if str(url or "").startswith(("https://", "http://"))
    ]
    remarks = notes([str(each) for each in result.get("notes") or ()])
    return f'{note(said, "good")}<div class="tt-row">{" ".join(links)}</div>{remarks}'


def _plan(plan: JsonObject) -> str:
    files = plan.get("files") or []
    rows = [row("", [(esc(file["name"]), "name"), (esc(size(file["size"])), "num nowrap")]) for file in files]
    total = size(sum(file["size"] for file in files))
    caption = text("publish.files", n=text.number(len(files)), size=total)
    drawn = table([(caption, ""), (text("publish.size"), "num")], rows, caption=caption, css="tall")
    drawn += notes([str(each) for each in plan.get("notes") or ()])
    card = str(plan.get("card") or "")
    if card:
        name = esc(text("publish.card"))
        drawn += (
            f'<details class="tt-details"><summary>{name}</summary>'
            f'<pre class="tt-pre" tabindex="0" role="region" aria-label="{name}">{esc(card)}</pre></details>'
        )
    return drawn


def size(n_bytes: int) -> str:
    """Write a size in the largest unit that fits."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= factor:
            return f"{text.number(n_bytes / factor, 1)}\u00a0{unit}"
    return f"{text.number(n_bytes)}\u00a0B"
