"""The page: header line and tabs, and what has to happen when it opens or another model is loaded.

    demo = build(Workbench(model=None))

It opens on Compare when there is a model, on Train when there is none, and on Train with a run's details for
the address `?run=ID`. Knows nothing about what the tabs do.
"""

import os
from collections.abc import Callable
from urllib.parse import quote

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when Gradio is imported
from typing import Any

import gradio as gr

from inference.common.paths import runs_dir
from ui.compare.tab import build_compare
from ui.html import esc, html, page
from ui.live.feeds import LiveFeeds
from ui.live.review import Duels
from ui.live.tab import build_live
from ui.state import Model, Workbench, load_tuned
from ui.theme import MARK
from ui.train.tab import build_train
from ui.translations import I18N, text

_QUIET: dict[str, Any] = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}
# Who has pressed a tab before the page's first answer stays there, and its timer ticks on: see ui/theme.py.
_FIRST_TAB_JS = """(tab) => {
  const to = (more) => ({__type__: 'update', ...(window.ttTabPressed ? {} : more)});
  return [to({selected: tab}), to({active: tab === 'train'})];
}"""


def build(workbench: Workbench, feeds: LiveFeeds | None = None, duels: Duels | None = None) -> gr.Blocks:
    """Return the app's Blocks, to be mounted by app.py. When another model is loaded all feeds end."""
    feeds, duels = feeds or LiveFeeds(), duels or Duels(load_tuned)
    workbench.when_replaced(feeds.stop_all)
    demo: gr.Blocks
    with gr.Blocks(title="TweetTune", analytics_enabled=False, fill_width=True) as demo:
        head = html(elem_id="header")
        boot = gr.Timer(1.0, active=False)  # ticks while a model is being loaded
        first_tab = gr.Textbox(visible="hidden")
        with gr.Tabs(selected="train", elem_id="tabs") as tabs:
            with gr.Tab(
                I18N("tab.train"), id="train", elem_id="tab-train", render_children=True
            ) as train_tab:
                train = build_train(workbench)
            with gr.Tab(
                I18N("tab.compare"), id="compare", elem_id="tab-compare", render_children=True
            ) as compare_tab:
                compare = build_compare(workbench)
            with gr.Tab(I18N("tab.live"), id="live", elem_id="tab-live", render_children=True) as live_tab:
                live = build_live(workbench, feeds, duels)

        def loading() -> bool:
            return "loading" in (workbench.model.state, workbench.model.base_state)

        def open_page(request: gr.Request) -> tuple[object, ...]:
            run_id = request.query_params.get("run", "")
            tab = "train" if run_id or not workbench.model.source else "compare"
            return (header(workbench.model), tab, gr.Timer(active=loading()), run_id)

        def follow() -> tuple[object, ...]:
            return header(workbench.model), gr.Timer(active=loading())

        def timers(name: str) -> Callable[[], tuple[gr.Timer, gr.Timer]]:
            return lambda: (gr.Timer(active=name == "train"), gr.Timer(active=name == "live"))

        for name, tab in (("train", train_tab), ("compare", compare_tab), ("live", live_tab)):
            tab.select(timers(name), None, [train.timer, live.timer], **_QUIET)
            tab.select(follow, None, [head, boot], **_QUIET)  # somebody else may have chosen another model
        opened = demo.load(open_page, None, [head, first_tab, boot, train.chosen], **_QUIET)
        opened.then(None, first_tab, [tabs, train.timer], js=_FIRST_TAB_JS, **_QUIET)
        opened.then(train.refresh, train.inputs, train.outputs, **_QUIET)
        demo.load(compare.refresh, compare.inputs, compare.outputs, **_QUIET)
        compare_tab.select(compare.refresh, compare.inputs, compare.outputs, **_QUIET)
        # What the browser keeps is there once the tab is open; at the page's own load it is not.
        live_tab.select(live.adopt, [live.stored, live.view], live.view, **_QUIET).then(
            live.refresh, live.inputs, live.outputs, **_QUIET
        )
        live_tab.select(live.choices, None, live.second, **_QUIET)
        boot.tick(follow, None, [head, boot], **_QUIET).then(
            compare.refresh, compare.inputs, compare.outputs, **_QUIET
        )
        for changed in train.model_changed:
            changed.then(follow, None, [head, boot], **_QUIET).then(
                lambda: "", None, compare.answers, **_QUIET
            )
    demo.queue(max_size=64, default_concurrency_limit=4)
    return demo


def header(model: Model) -> str:
    """Draw the header line."""
    mark = MARK.format(fill="var(--tt-accent)", stroke="var(--tt-on-accent)")
    return page(
        f'<h1 class="tt-brand">{mark}TweetTune</h1>{_model_fact(model)}{_base_fact(model)}', "tt-head"
    )


def _model_fact(model: Model) -> str:
    if model.state == "none":
        return _fact(text("header.model"), text("header.no_model"), text("header.no_model_why"))
    if model.state == "failed":
        return _fact(text("header.model"), text("header.failed"), model.message)
    if model.state == "loading":
        why = text("header.loading_slow" if model.slow else "header.loading")
        return _fact(text("header.model"), model.name, why)
    link = ""
    if model.run and model.run.path.parent == runs_dir():
        link = f'<a href="?run={quote(model.run.id)}">{esc(text("header.run"))}</a>'
    engine = model.tuned.engine.name if model.tuned else ""
    return _fact(text("header.model"), model.name, engine, link)


def _base_fact(model: Model) -> str:
    provenance = model.provenance() or {}
    base = provenance.get("base") or {}
    if not base:
        return _fact(text("header.base"), "auto", text("header.base_auto")) if model.state == "none" else ""
    why = base.get("reason", "")
    if model.base_state == "loading":
        why = f"{why}; {text('header.loading')}" if why else text("header.loading")
    elif model.base_state == "failed":
        why = text("header.base_missing")
    return _fact(text("header.base"), base.get("name", ""), why)


def _fact(key: str, value: str, why: str = "", link: str = "") -> str:
    reason = f'<span class="why">{esc(why)}</span>' if why else ""
    return f'<div class="tt-fact"><span class="k">{esc(key)}</span><b>{esc(value)}</b>{reason}{link}</div>'
