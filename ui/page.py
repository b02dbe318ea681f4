"""The page: header and tabs, and what happens when it opens or another model is loaded.

    demo = build(Workbench(model=None))

It opens on Compare, where the untouched base can be tried without a model. The address may ask for more:
`?tab=live` opens a tab, `?run=ID` shows a run on Train, `?text=…` classifies that text, and
`?models=base,few-shot-4` compares these. Knows nothing about what the tabs do.
"""

import os
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when Gradio is imported
from typing import Any

import gradio as gr

from inference.common.errors import TweetTuneError
from inference.common.paths import runs_dir
from training.audit.findings import Audit
from training.recipes import Recipe
from training.runs.run import Run, running
from ui.account import Visitor, changes_something, check_may_train, visitor_of
from ui.compare.tab import build_compare
from ui.html import QUIET, button, esc, html, page
from ui.live.actions import View
from ui.live.feeds import LiveFeeds
from ui.live.review import Duels
from ui.live.tab import READ_STORED_JS, LiveTab, build_live
from ui.sentences import said
from ui.state import Model, Workbench, load_tuned
from ui.theme import MARK
from ui.train.audit import audited_by
from ui.train.kept import READ_JS
from ui.train.tab import TrainTab, build_train
from ui.train.view import short_name
from ui.translations import I18N, speaking, text, texts_for

TABS = ("compare", "train", "live")
TOUR = {
    "ask": "#tweet",
    "models": "#models",
    "answers": "#answers",
    "scores": "#scoreboard",
    "tabs": "#tab-train-button",
}
"""The stops of the tour, with the element that each points at."""
PULSE_S = 5.0
"""How often a page checks whether a run is at work, or another model was chosen."""
# A visitor who presses a tab before the page's first answer stays on it, with its timer: see ui/theme.py.
_FIRST_TAB_JS = """(tab) => {
  const to = (more) => ({__type__: 'update', ...(window.ttTabPressed ? {} : more)});
  if (tab === 'live' && !window.ttTabPressed) {  // pressed, so that its feed is followed
    document.querySelector('#tab-live-button')?.click();
    return [to({}), to({active: false})];
  }
  return [to({selected: tab}), to({active: tab === 'train'})];
}"""
# The desk is scrolled to as soon as its card is drawn, which follows another answer of the server.
_TO_REVIEW_JS = """() => {
  document.querySelector('#tab-live-button').click();
  const show = (tries) => {
    const card = document.querySelector('#live-duel-panel [data-action=label]');
    if (card?.checkVisibility()) document.getElementById('live-duel-panel').scrollIntoView();
    else if (tries) setTimeout(() => show(tries - 1), 100);
  };
  setTimeout(() => show(50), 300);
}"""
# A field that the visitor has emptied stays empty: no example is put there again.
_ARRIVE_JS = "(tweet, chosen) => [window.ttTyped && !tweet.trim() ? null : tweet, chosen]"
_STORED_JS = "() => [sessionStorage.getItem('tt-text') || '']"


class _Page(gr.Blocks):
    """Every function of the app fails with a `gr.Error` in one sentence, the only kind that clients see."""

    async def process_api(self, *given: Any, **named: Any) -> dict[str, Any]:
        try:
            return await super().process_api(*given, **named)
        except gr.Error:
            raise
        except Exception as error:
            raise _in_a_sentence(error, named.get("request")) from error


def _in_a_sentence(error: Exception, request: object) -> gr.Error:
    ours = isinstance(error, TweetTuneError)
    with speaking(texts_for(request).language):
        sentence = said(str(error)) if ours else text("words.unexpected", kind=type(error).__name__)
        return gr.Error(sentence, title=text("words.error"), print_exception=not ours, duration=12)


def build(workbench: Workbench, feeds: LiveFeeds | None = None, duels: Duels | None = None) -> gr.Blocks:
    """Return the app's Blocks, which app.py mounts. Loading another model ends all feeds."""
    feeds, duels = feeds or LiveFeeds(), duels or Duels(load_tuned)
    workbench.when_replaced(feeds.stop_all)
    demo: gr.Blocks
    with _Page(title="TweetTune", analytics_enabled=False, fill_width=True) as demo:
        head = html(elem_id="header")
        boot = gr.Timer(1.0, active=False)  # ticks while a model is being loaded
        pulse = gr.Timer(PULSE_S)
        shown_head, shown_model = gr.State(""), gr.Textbox(visible="hidden")
        first_tab, stored = gr.Textbox(visible="hidden"), gr.Textbox(visible="hidden")
        with gr.Tabs(selected="compare", elem_id="tabs") as tabs:
            with gr.Tab(
                I18N("tab.compare"), id="compare", elem_id="tab-compare", render_children=True
            ) as compare_tab:
                compare = build_compare(workbench)
            with gr.Tab(
                I18N("tab.train"), id="train", elem_id="tab-train", render_children=True
            ) as train_tab:
                train = build_train(workbench)
            with gr.Tab(I18N("tab.live"), id="live", elem_id="tab-live", render_children=True) as live_tab:
                live = build_live(workbench, feeds, duels)

        def loading() -> bool:
            return "loading" in (workbench.model.state, workbench.model.base_state)

        def follow(was: str, model: str) -> tuple[object, ...]:
            """Draw the header if it has changed, and record which model is shown."""
            now = workbench.model
            drawn = header(now, _at_work_now(), trains=workbench.settings.trains)
            since = str(now.since)
            known = since if now.state != "loading" else model
            return (gr.skip() if drawn == was else drawn, gr.Timer(active=loading()), drawn, known)

        def open_page(stored: str, request: gr.Request) -> tuple[object, ...]:
            asked = request.query_params
            run_id, tab = asked.get("run", ""), asked.get("tab", "")
            if tab not in TABS:
                tab = "train" if run_id else "compare"
            tweet = asked.get("text", "") or stored or gr.skip()
            return (*follow("", ""), tab, run_id, tweet)

        def arrive(tweet: str | None, chosen: list[str] | None) -> tuple[object, ...]:
            return compare.arrive(tweet, chosen) if not loading() else (gr.skip(),) * 3

        def timers(name: str) -> Callable[[], tuple[gr.Timer, gr.Timer]]:
            return lambda: (gr.Timer(active=name == "train"), gr.Timer(active=name == "live"))

        was, outputs = [shown_head, shown_model], [head, boot, shown_head, shown_model]
        for name, tab in (("train", train_tab), ("compare", compare_tab), ("live", live_tab)):
            tab.select(timers(name), None, [train.timer, live.timer], **QUIET)
            tab.select(follow, was, outputs, **QUIET)  # somebody else may have chosen another model
        opened = demo.load(
            open_page,
            stored,
            [*outputs, first_tab, train.chosen, compare.question[0]],
            js=_STORED_JS,
            **QUIET,
        )
        opened.then(None, first_tab, [tabs, train.timer], js=_FIRST_TAB_JS, **QUIET)
        opened.then(train.refresh, train.inputs, train.outputs, **QUIET)
        demo.load(train.kept.restore, gr.Textbox(visible="hidden"), train.kept.outputs, js=READ_JS, **QUIET)
        demo.load(compare.first, compare.inputs, compare.outputs, **QUIET)
        _wire_change(workbench, shown_model)
        shown_model.change(compare.refresh, compare.inputs, compare.outputs, **QUIET).then(
            compare.arrive, compare.question, compare.answered, js=_ARRIVE_JS, **QUIET
        )
        # The browser's storage can be read once the tab is open, not yet when the page loads.
        live_tab.select(live.adopt, [live.stored, live.view], live.view, js=READ_STORED_JS, **QUIET).then(
            live.refresh, live.inputs, live.outputs, **QUIET
        )
        live_tab.select(live.choices, None, live.second, **QUIET)
        pulse.tick(follow, was, outputs, **QUIET)
        boot.tick(follow, was, outputs, **QUIET).then(
            arrive, compare.question, compare.answered, js=_ARRIVE_JS, **QUIET
        )
        _wire_check(workbench, train, live)
        for changed in train.model_changed:
            changed.then(follow, was, outputs, **QUIET)
    demo.queue(max_size=64, default_concurrency_limit=4)
    return demo


def _wire_change(workbench: Workbench, shown_model: gr.Textbox) -> None:
    """Announce that another model was chosen; through the queue, without which Gradio shows no message."""
    last = gr.State("")

    def announce(model: str, was: str) -> str:
        if was and model != was:
            gr.Info(text("compare.changed_model", name=workbench.model.name), duration=8)
        return model

    shown_model.change(announce, [shown_model, last], last, api_visibility="private", show_progress="hidden")


def _wire_check(workbench: Workbench, train: TrainTab, live: LiveTab) -> None:
    """Send the labels that Train's audit has flagged to Live, to be reviewed."""

    @changes_something(workbench.settings)
    def check_flags(visitor: Visitor, view: View, *values: object) -> View:
        return reviewed(view, *train.flagged(values))

    def check_run(
        view: View, request: gr.Request, event: gr.EventData, profile: gr.OAuthProfile | None
    ) -> tuple[object, object]:
        """Review what the audit found that is shown; `reviewing` tells the page that it may go there."""
        if event.action != "check":
            return gr.skip(), gr.skip()
        check_may_train(workbench.settings, visitor_of(request, profile))
        return reviewed(view, *audited_by(event.value)), f"{event.value} {time.time()}"

    def reviewed(view: View, found: Audit, recipe: Recipe) -> View:
        data = {name: str(getattr(recipe, name)) for name in ("dataset", "text_column", "label_column")}
        data["label_names"] = ", ".join(recipe.label_names)
        return live.check(view, found.to_review, found.labels, name=found.data, data=data)

    reviewing = gr.Textbox(visible="hidden")
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    train.audit.select(check_flags, [live.view, *train.asked], live.view, **quiet).success(
        None, None, None, js=_TO_REVIEW_JS
    )
    train.panel.select(check_run, live.view, [live.view, reviewing], **quiet)
    reviewing.change(None, None, None, js=_TO_REVIEW_JS)


def _at_work_now() -> Run | None:
    """Return the running run, looked up once a second for all pages."""
    return _at_work_in(runs_dir(), int(time.monotonic()))


@lru_cache(maxsize=1)
def _at_work_in(runs: Path, second: int) -> Run | None:
    return running()


def header(model: Model, at_work: Run | None = None, *, trains: bool = True) -> str:
    """Draw the header: what this is, the model and its base, and the run at work.

    `trains`: whether anybody may train here.
    """
    mark = MARK.format(fill="var(--tt-accent)", stroke="var(--tt-on-accent)")
    gain = f'<p class="tt-gain">{esc(_gain(model))}</p>'
    return page(
        f'<h1 class="tt-brand">{mark}TweetTune</h1>{gain}{_model_fact(model, trains)}{_base_fact(model)}'
        f"{_at_work(at_work)}{_tour()}",
        "tt-head",
    )


def _tour() -> str:
    """Draw the link that opens the tour, and the stops that the page's script shows one by one."""
    stops = "".join(
        f'<section data-stop="{esc(stop)}"><h2>{esc(text(f"tour.{name}"))}</h2>'
        f"<p>{esc(text(f'tour.{name}_how'))}</p></section>"
        for name, stop in TOUR.items()
    )
    steps = "".join(
        button(text(f"tour.{name}"), action=f"tour-{name}", value="", css="go" if name == "next" else "")
        for name in ("skip", "next")
    )
    opening = button(text("tour.open"), action="tour", value="", css="link tt-tour-open")
    data = f'data-done="{esc(text("tour.done"))}" data-lost="{esc(text("words.lost"))}"'
    card = f'<template id="tt-tour" {data}>{stops}{steps}</template>'
    start = button(text("tour.start"), action="tour", value="", css="go")
    skip = button(text("tour.skip"), action="tour-skip", value="")
    greeting = f"<h2>{esc(text('tour.hello'))}</h2><p>{esc(text('tour.hello_how'))}</p>"
    return f'{opening}{card}<template id="tt-hello">{greeting}{start}{skip}</template>'


def _gain(model: Model) -> str:
    """Say in one sentence what this is and, if the model was evaluated, what fine-tuning gained."""
    evaluation, data = model.evaluation(), (model.provenance() or {}).get("data") or {}
    if model.state != "ready" or not evaluation or not evaluation.tuned:
        return text("header.what")
    rows = ((data.get("rows") or {}).get("train") or {}).get("used")
    after = text.percent(evaluation.tuned.scores.accuracy.value)
    if not evaluation.base or not isinstance(rows, int):
        return text("header.right", after=after)
    before = text.percent(evaluation.base.scores.accuracy.value)
    return text("header.gain", n=text.number(rows), before=before, after=after)


def _at_work(run: Run | None) -> str:
    if run is None:
        return ""
    share = text.percent(run.status().progress, 0)
    return f'<a class="tt-work" href="?run={quote(run.id)}">{esc(text("header.at_work", share=share))}</a>'


def _model_fact(model: Model, trains: bool) -> str:
    if model.state == "none":
        why = text("header.no_model_why") if trains else ""
        return _fact(text("header.model"), text("header.no_model"), why)
    if model.state == "failed":
        return _fact(text("header.model"), text("header.failed"), model.message)
    if model.state == "loading":
        why = text("header.loading_slow" if model.slow else "header.loading")
        return _fact(text("header.model"), model.name, why)
    link = ""
    if model.run and model.run.path.parent == runs_dir():
        link = f'<a href="?run={quote(model.run.id)}">{esc(text("header.run"))}</a>'
    name, engine = short_name(model.name), model.tuned.engine.name if model.tuned else ""
    more = f"{model.name} · {engine}" if name != model.name else engine
    return _fact(text("header.model"), name, link=link, more=more)


def _base_fact(model: Model) -> str:
    provenance = model.provenance() or {}
    base = provenance.get("base") or {}
    if not base:
        auto = _fact(text("header.base"), "auto", more=text("header.base_auto"))
        return auto if model.state == "none" else ""
    why = ""
    if model.base_state == "loading":
        why = text("header.loading")
    elif model.base_state == "failed":
        why = text("header.base_missing")
    return _fact(text("header.base"), str(base.get("name", "")), why, more=str(base.get("reason", "")))


def _fact(key: str, value: str, why: str = "", link: str = "", more: str = "") -> str:
    """Draw a fact with its reason (`why`) and details that open on demand (`more`)."""
    reason = f'<span class="why">{esc(said(why))}</span>' if why else ""
    about = (
        f'<details class="tt-i"><summary aria-label="{esc(text("header.more"))}">i</summary>' if more else ""
    )
    about += f"<span>{esc(said(more))}</span></details>" if more else ""
    what = f'<span class="k">{esc(key)}</span><b>{esc(said(value))}</b>'
    return f'<div class="tt-fact">{what}{reason}{link}{about}</div>'
