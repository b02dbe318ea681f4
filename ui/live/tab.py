"""The Live tab: a stream of posts with the model's answers, and a duel with a second model.

    tab = build_live(workbench, feeds, duels)
    tab.timer            # ticks while the tab is open, which keeps a feed alive

A page follows one feed: the one it started or chose, else the newest that it may see. The browser keeps the
feed's id and a random word that identifies the owner of private feeds, so a reload finds the feed again; both
are in localStorage, since Gradio's BrowserState brings 24 kB of cryptography along. A feed is drawn once a
second, however many watch it.
"""

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from ui.html import QUIET, html
from ui.live.actions import NEW, LiveActions, View, followed, identified
from ui.live.feeds import LiveFeeds, LiveSession
from ui.live.form import LiveForm
from ui.live.review import BASE, Duels
from ui.live.review_panel import SLOT, ReviewPanel
from ui.live.view import SPANS, charts, nothing_yet, numbers, others, posts, recording_line, watch, words
from ui.state import Workbench, other_models
from ui.translations import I18N, text

FRESH_S = 0.9  # younger drawings are shown again to other viewers
_STORED = "tweettune-live"
READ_STORED_JS = f"(_, view) => [localStorage.getItem('{_STORED}') || '', view]"
_LIST_JS = Path(__file__).with_name("posts.js").read_text(encoding="utf-8")
_MOST_DRAWN = 64
_LONGEST = 1_000
_PARTS = ("numbers", "charts", "posts", "words", "watch", "others", "record")


@dataclass(frozen=True)
class LiveTab:
    """What the page wires: timer, `refresh`, the browser's storage, and the choice of second models."""

    timer: gr.Timer
    refresh: Callable[[View, View, gr.Request], tuple[object, ...]]
    inputs: list[Any]
    outputs: list[Any]
    adopt: Callable[[str, View], View]
    stored: gr.Textbox
    view: gr.State
    choices: Callable[[], object]
    second: gr.Dropdown
    check: Callable[..., View]
    """`ReviewPanel.check`."""


def draw(
    session: LiveSession | None, span_s: float, *, word: str = "", ready: bool = True, trains: bool = True
) -> dict[str, str]:
    """Return the HTML of each part, and the states that the buttons depend on; `word`: the chosen word."""
    if session is None:
        states = {"state": "none" if ready else "no model", "recording": "none"}
        return dict.fromkeys(_PARTS, "") | {"numbers": nothing_yet(ready, trains=trains)} | states
    with session.lock:
        key = (text.language, span_s, word)
        if len(session.drawn) > _MOST_DRAWN:
            session.drawn.clear()
        drawn_s, drawn = session.drawn.get(key, (0.0, {}))
        session.feed.watch()
        if time.monotonic() - drawn_s > FRESH_S:
            snapshot, seen = session.feed.snapshot(), session.statistics.view(span_s)
            recording = session.recording.view()
            drawn = {
                "numbers": numbers(
                    snapshot,
                    source=session.source,
                    title=session.title,
                    private=bool(session.owner),
                    cap_usd=session.cap_usd,
                    waits=session.waits,
                    models=(session.first_model, session.second_model),
                    now=time.time(),
                ),
                "charts": charts(seen, snapshot.labels, span_s),
                "posts": posts(snapshot, second_model=session.second_model),
                "words": words(seen.words, session.statistics.about(word) if word else None),
                "watch": watch(seen),
                "record": recording_line(recording),
                "state": snapshot.state,
                "recording": recording.state,
            }
            session.drawn[key] = (time.monotonic(), drawn)
    return drawn


def build_live(workbench: Workbench, feeds: LiveFeeds, duels: Duels) -> LiveTab:
    """Draw the tab inside the current Blocks."""
    timer = gr.Timer(1.0, active=False)
    stored, view, shown = _stored(), gr.State(NEW), gr.State({})

    def second_models() -> list[tuple[object, str]]:
        others = other_models(workbench.model.run)
        return [(I18N("live.no_second"), ""), (I18N("live.base"), BASE), *((name, name) for name in others)]

    with gr.Column(elem_classes=["tt-panel", "tt-controls-box"]):
        form = LiveForm.build(second_models())
        with gr.Row(elem_classes="tt-buttons"):
            start = gr.Button(I18N("live.start"), variant="primary", min_width=90, elem_id="live-start")
            pause = gr.Button(I18N("live.pause"), min_width=90, interactive=False, elem_id="live-pause")
            stop = gr.Button(I18N("live.stop"), min_width=90, interactive=False, elem_id="live-stop")
    parts = {name: html(elem_id=f"live-{name}", actions=name == "others") for name in ("others", "numbers")}
    with gr.Row(elem_classes="tt-columns", elem_id="live-columns"):
        with gr.Column(scale=3, min_width=320, elem_id="live-left"):
            parts["posts"] = html(html_template=SLOT, js_on_load=_LIST_JS, elem_id="live-posts")
        with gr.Column(scale=2, min_width=320):
            panel = ReviewPanel.build(workbench, feeds, duels, view)
            parts["words"], word = _words_panel()
            parts["watch"] = html(elem_id="live-watch")
            record, save, texts, parts["record"], file = _recording_panel()
    span, parts["charts"] = _chart_panel()
    names = [*_PARTS, "card", "account"]
    drawings = [*(parts[name] for name in _PARTS), panel.card, panel.numbers]
    outputs = [*drawings, pause, stop, record, save, start, *panel.desk, *form.following, view, shown]

    def refresh(view: View, shown: View, request: gr.Request) -> tuple[object, ...]:
        session = followed(feeds, view)
        is_ready = workbench.model.state == "ready"
        trains = workbench.settings.trains
        drawn = dict(draw(session, SPANS[view["span"]], word=view["word"], ready=is_ready, trains=trains))
        drawn["others"] = others(feeds.visible(view["owner"]), session.id if session else "")
        drawn["card"], drawn["account"], counts = panel.draw(view, str(request.session_hash))
        drawn["counts"] = str(counts)
        new = {name: _digest(each) for name, each in drawn.items()}
        new["session"] = session.id if session else ""
        asked = session.request if session and session.id != shown.get("session") else None
        pieces = [gr.skip() if shown.get(name) == new[name] else drawn[name] for name in names]
        changed = any(shown.get(name) != new[name] for name in ("state", "recording"))
        usable = (
            [gr.skip()] * len(panel.desk) if shown.get("counts") == new["counts"] else panel.usable(counts)
        )
        updates = (*pieces, *_states(drawn, changed), *usable, *form.followed(asked))
        return (*updates, view if view["owner"] else gr.skip(), new)

    def poll(view: View, shown: View, request: gr.Request) -> tuple[object, ...]:
        *drawn, _, new = refresh(view, shown, request)
        return (*drawn, gr.skip(), new)  # keep what the page has chosen meanwhile, such as a feed

    actions = LiveActions(workbench, feeds, duels, refresh, view, shown, outputs, stored)
    actions.wire_start(form, start)
    actions.wire_controls(pause, stop, form.fields["rate"], span)
    actions.wire_recording(record, texts, save, file)
    actions.wire_others(parts["others"])
    actions.wire_words(parts["words"], word)
    timer.tick(
        poll,
        [view, shown],
        outputs,
        api_name="live",
        api_visibility="undocumented",
        show_progress="hidden",
        queue=False,
    )

    def choices() -> object:
        return gr.update(choices=second_models())

    return LiveTab(
        timer, poll, [view, shown], outputs, adopt, stored, view, choices, form.fields["second"], panel.check
    )


def _stored() -> gr.Textbox:
    """Return the hidden field whose changes are written to the browser's storage."""
    stored = gr.Textbox(visible="hidden")
    stored.change(None, stored, None, js=f"(kept) => localStorage.setItem('{_STORED}', kept)", **QUIET)
    return stored


def adopt(stored: str, view: View) -> View:
    """Return a page's view with the values that its browser has kept."""
    kept: object = None
    with suppress(ValueError, RecursionError):
        kept = json.loads(stored[:_LONGEST])
    kept = kept if isinstance(kept, dict) else {}
    ours = {name: str(kept.get(name) or "")[:64] for name in ("owner", "feed")}
    return identified({**view, **{name: value for name, value in ours.items() if value}})


def _words_panel() -> tuple[gr.HTML, gr.Textbox]:
    words = html(elem_id="live-words", actions=True)
    labels: dict[str, Any] = {"label": I18N("live.word"), "info": I18N("live.word_help")}
    with gr.Column(elem_classes="tt-panel"):
        return words, gr.Textbox(max_lines=1, elem_id="live-word", **labels)


def _chart_panel() -> tuple[gr.Radio, gr.HTML]:
    with gr.Column(elem_classes="tt-panel", elem_id="live-chart-panel"):
        span = gr.Radio(
            [(I18N(f"live.span_{name}"), name) for name in SPANS],
            value="10",
            label=I18N("live.span"),
            elem_id="live-span",
        )
        return span, html(elem_id="live-charts")


def _recording_panel() -> tuple[gr.Button, gr.Button, gr.Checkbox, gr.HTML, gr.DownloadButton]:
    with gr.Column(elem_classes="tt-panel", elem_id="live-record-panel"):
        with gr.Row(elem_classes="tt-buttons"):
            small: dict[str, Any] = {"size": "sm", "min_width": 110, "interactive": False}
            record = gr.Button(I18N("live.record"), elem_id="live-record-start", **small)
            save = gr.Button(I18N("live.save"), elem_id="live-save", **small)
        texts = gr.Checkbox(False, label=I18N("live.with_texts"), elem_id="live-with-texts")
        line = html(elem_id="live-record")
        file = gr.DownloadButton("JSONL", visible="hidden", elem_id="live-save-file")
    return record, save, texts, line, file


def _states(drawn: dict[str, str], changed: bool) -> list[object]:
    """Return the updates of pause, stop, record, save and start."""
    if not changed:
        return [gr.skip()] * 5
    alive, recording = drawn["state"] in ("running", "paused"), drawn["recording"] == "recording"
    pause = I18N("live.resume") if drawn["state"] == "paused" else I18N("live.pause")
    record = I18N("live.record_stop") if recording else I18N("live.record")
    return [
        gr.update(interactive=alive, value=pause),
        gr.update(interactive=alive),
        gr.update(interactive=alive or recording, value=record),
        gr.update(interactive=drawn["recording"] == "recorded"),
        gr.update(
            value=I18N("live.restart" if alive else "live.start"), interactive=drawn["state"] != "no model"
        ),
    ]


def _digest(drawn: str) -> str:
    return hashlib.blake2b(drawn.encode("utf-8", "replace"), digest_size=12).hexdigest()
