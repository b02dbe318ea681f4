"""The Live tab: posts as they come, what the model makes of them, and a duel with a second model.

    tab = build_live(workbench)
    tab.timer            # ticks while the tab is open: that is what keeps a feed alive

A page follows one feed: the one it started or chose, else the newest one that it may see. Its id, and a
random word that shows whose private feeds are whose, are kept by the browser, so a reload finds the feed
again. Everything is drawn from one look at the feed a second, however many watch. Knows nothing about how a
feed works.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ui.html import html
from ui.live.duel import BASE
from ui.live.duel_panel import DuelPanel
from ui.live.feeds import Watched
from ui.live.form import LiveForm
from ui.live.render import nothing_yet, numbers, others, recording_line
from ui.live.render_posts import posts
from ui.live.render_stats import SPANS, charts, statistics, words
from ui.live.scripts import LIST_JS, SLOT
from ui.live.wiring import NEW, Wiring, following, known
from ui.state import Workbench
from ui.translations import I18N, Texts, texts_for

FRESH_S = 0.9  # a drawing that is younger is shown again, to whoever else looks
_STORED = "tweettune-live"
# Gradio scrambles what a browser keeps with this word; it guards nothing, and has to outlast the process.
_SCRAMBLE = "tweettune"
_PARTS = ("numbers", "charts", "posts", "words", "watch", "others", "record")


@dataclass(frozen=True)
class LiveTab:
    """What the page wires: the timer, `refresh`, what the browser keeps, and the second models to choose."""

    timer: gr.Timer
    refresh: Callable[..., Any]
    inputs: list[Any]
    outputs: list[Any]
    adopt: Callable[..., Any]
    stored: gr.BrowserState
    view: gr.State
    choices: Callable[..., Any]
    second: gr.Dropdown


def draw(workbench: Workbench, watched: Watched | None, span_s: float, text: Texts) -> dict[str, str]:
    """Return the HTML of each part, and the states that the buttons follow."""
    if watched is None:
        empty = nothing_yet(workbench.model.state == "ready", text)
        states = {"state": "none", "recording": "none"}
        return dict.fromkeys(_PARTS, "") | {"numbers": empty} | states
    with watched.lock:
        key = (text.language, span_s)
        drawn_s, drawn = watched.drawn.get(key, (0.0, {}))
        watched.feed.watch()
        if time.monotonic() - drawn_s > FRESH_S:
            drawn = _drawn(watched, span_s, text)
            watched.drawn[key] = (time.monotonic(), drawn)
    return drawn


def _drawn(watched: Watched, span_s: float, text: Texts) -> dict[str, str]:
    shot, seen, tape = watched.feed.snapshot(), watched.statistics.view(span_s), watched.recording.view()
    models = (watched.first_model, watched.second_model)
    return {
        "numbers": numbers(
            shot,
            text,
            source=watched.source,
            title=watched.title,
            private=bool(watched.owner),
            cap_usd=watched.cap_usd,
            models=models,
            now=time.time(),
        ),
        "charts": charts(seen, shot.labels, span_s, text),
        "posts": posts(shot, text, second_model=watched.second_model),
        "words": words(seen.words, text),
        "watch": statistics(seen, text),
        "record": recording_line(tape, text),
        "state": shot.state,
        "recording": tape.state,
    }


def build_live(workbench: Workbench) -> LiveTab:
    """Draw the tab inside the current Blocks."""
    timer = gr.Timer(1.0, active=False)
    stored = gr.BrowserState(NEW, storage_key=_STORED, secret=_SCRAMBLE)
    view, shown = gr.State(NEW), gr.State({})
    with gr.Column(elem_classes=["tt-panel", "tt-controls-box"]):
        form = LiveForm.build(second_models(workbench))
        buttons = _buttons()
    parts = {name: html(elem_id=f"live-{name}", actions=name == "others") for name in ("others", "numbers")}
    with gr.Column(elem_classes="tt-panel", elem_id="live-chart-panel"):
        span = gr.Radio(
            [(I18N(f"live.span_{name}"), name) for name in SPANS],
            value="10",
            label=I18N("live.span"),
            elem_id="live-span",
        )
        parts["charts"] = html(elem_id="live-charts")
    with gr.Row(elem_classes="tt-columns", elem_id="live-columns"):
        with gr.Column(scale=3, min_width=320, elem_id="live-left"):
            parts["posts"] = html(html_template=SLOT, js_on_load=LIST_JS, elem_id="live-posts")
        with gr.Column(scale=2, min_width=320):
            duel = DuelPanel.build(workbench, view)
            parts["words"] = html(elem_id="live-words")
            parts["watch"] = html(elem_id="live-watch")
            tape = _record_row(parts)
    controls = {**buttons, **tape}
    targets = [*(parts[name] for name in _PARTS), duel.card, duel.numbers]
    outputs = [
        *targets,
        controls["pause"],
        controls["stop"],
        controls["record"],
        controls["save"],
        view,
        shown,
    ]
    inputs = [view, shown]

    def refresh(view: dict[str, str], shown: dict[str, str], request: gr.Request) -> Any:
        text = texts_for(request)
        watched = following(workbench, view)
        drawn = dict(draw(workbench, watched, SPANS[view["span"]], text))
        visible = workbench.live.visible(view["owner"])
        drawn["others"] = others(visible, watched.id if watched else "", text)
        drawn["card"], drawn["told"] = duel.draw(view, str(request.session_hash), text)
        new = {name: _digest(each) for name, each in drawn.items()}
        names = [*_PARTS, "card", "told"]
        pieces = [gr.skip() if shown.get(name) == new[name] else drawn[name] for name in names]
        changed = any(shown.get(name) != new[name] for name in ("state", "recording"))
        return (*pieces, *_states(drawn, changed), view if view["owner"] else gr.skip(), new)

    wiring = Wiring(workbench, refresh, view, shown, outputs, stored)
    wiring.start(form, buttons["start"])
    wiring.pause_and_stop(controls["pause"], controls["stop"])
    wiring.recording(controls)
    wiring.others(parts["others"])
    wiring.rate_and_span(form.fields["rate"], span)
    timer.tick(
        refresh,
        inputs,
        outputs,
        api_name="live",
        api_visibility="undocumented",
        show_progress="hidden",
        queue=False,
    )

    def adopt(stored: dict[str, str] | None, view: dict[str, str]) -> dict[str, str]:
        kept = stored if isinstance(stored, dict) else {}
        ours = {name: str(kept.get(name) or "")[:64] for name in ("owner", "feed")}
        return known({**view, **{name: value for name, value in ours.items() if value}})

    def choices() -> Any:
        return gr.update(choices=second_models(workbench))

    return LiveTab(timer, refresh, inputs, outputs, adopt, stored, view, choices, form.fields["second"])


def second_models(workbench: Workbench) -> list[tuple[Any, str]]:
    """Return the second models to choose from, as (name, value) pairs."""
    runs = workbench.duels.choices(workbench.model.run)
    return [(I18N("live.no_second"), ""), (I18N("live.base"), BASE), *((run.id, run.id) for run in runs)]


def _buttons() -> dict[str, Any]:
    with gr.Row(elem_classes="tt-buttons"):
        start = gr.Button(I18N("live.start"), variant="primary", min_width=90, elem_id="live-start")
        pause = gr.Button(I18N("live.pause"), min_width=90, interactive=False, elem_id="live-pause")
        stop = gr.Button(I18N("live.stop"), min_width=90, interactive=False, elem_id="live-stop")
    return {"start": start, "pause": pause, "stop": stop}


def _record_row(parts: dict[str, Any]) -> dict[str, Any]:
    with gr.Column(elem_classes="tt-panel", elem_id="live-record-panel"):
        with gr.Row(elem_classes="tt-buttons"):
            button = gr.Button(
                I18N("live.record"), size="sm", min_width=110, interactive=False, elem_id="live-record-start"
            )
            save = gr.Button(
                I18N("live.save"), size="sm", min_width=110, interactive=False, elem_id="live-save"
            )
        texts = gr.Checkbox(False, label=I18N("live.with_texts"), elem_id="live-with-texts")
        parts["record"] = html(elem_id="live-record")
        file = gr.DownloadButton("JSONL", visible="hidden", elem_id="live-save-file")
    return {"record": button, "save": save, "texts": texts, "file": file}


def _states(drawn: dict[str, str], changed: bool) -> list[Any]:
    """Return the updates of pause, stop, record and save; nothing when nothing changed."""
    if not changed:
        return [gr.skip()] * 4
    alive, recording = drawn["state"] in ("running", "paused"), drawn["recording"] == "recording"
    pause = I18N("live.resume") if drawn["state"] == "paused" else I18N("live.pause")
    record = I18N("live.record_stop") if recording else I18N("live.record")
    return [
        gr.update(interactive=alive, value=pause),
        gr.update(interactive=alive),
        gr.update(interactive=alive or recording, value=record),
        gr.update(interactive=drawn["recording"] == "recorded"),
    ]


def _digest(drawn: str) -> str:
    return hashlib.blake2b(drawn.encode("utf-8", "replace"), digest_size=12).hexdigest()
