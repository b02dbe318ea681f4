"""The Live tab: a source streams posts through the loaded model; counts, a chart and the newest posts.

    tab = build_live(workbench)
    tab.timer            # ticks while the tab is open: that is what keeps the feed alive

One feed runs for everybody who looks, so a reload finds it again. Knows nothing about how a feed works.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from importlib import import_module
from typing import Any

import gradio as gr

from inference.errors import FeedError
from inference.feed import Feed
from inference.sources import SOURCES, Post
from inference.sources.replay import MAX_RATE_PER_S
from ui.parts import as_gradio_error, html
from ui.render import busy
from ui.render_live import nothing_yet, numbers, posts
from ui.state import Workbench
from ui.translations import I18N, Texts, texts_for

_FASTEST_ON_SLIDER = 50.0

# The list holds still while somebody points at it or has the focus in it.
LIST_JS = """
const slot = element.querySelector('.tt-slot');
let held = false;
const paint = () => { if (!held) slot.innerHTML = props.value || ''; };
const hold = (on) => { held = on; element.classList.toggle('held', on); paint(); };
element.addEventListener('mouseenter', () => hold(true));
element.addEventListener('mouseleave', () => hold(false));
element.addEventListener('focusin', () => hold(true));
element.addEventListener('focusout', () => hold(element.matches(':hover')));
watch('value', paint);
paint();
"""


@dataclass(frozen=True)
class LiveTab:
    """What the page wires: the timer, and `refresh` with its inputs and outputs."""

    timer: gr.Timer
    refresh: Callable[..., Any]
    inputs: list[Any]
    outputs: list[Any]


def held_out_posts(workbench: Workbench) -> list[Post]:
    """Return the test split that the loaded model has not seen: of its own data, else of the embedded tweets.

    Raises DataError when the data can't be had any more.
    """
    data = import_module("training.data")  # takes a second: not before the first page
    spec = data.DataSpec(dataset="embedded")
    if run := workbench.model.run:
        spec = data.DataSpec(
            **{field.name: getattr(run.recipe, field.name) for field in fields(data.DataSpec)}
        )
        spec = replace(spec, n_train=0, n_validation=0, n_test=0)
    rows = workbench.held_out.get(spec)
    if rows is None:
        rows = [
            Post(id=f"replay-{place}", text=row.text, label=row.label)
            for place, row in enumerate(data.held_out_texts(spec))
        ]
        workbench.held_out = {spec: rows}  # one data set at a time is kept
    return rows


def begin(workbench: Workbench, source: str, rate_per_s: float) -> None:
    """Start a feed in place of the one that ran. Raises FeedError without a model or for an odd rate."""
    model = workbench.model
    if model.state != "ready":
        raise FeedError(
            "No model is loaded, so there is nothing to classify with. Train one, or wait for it to load."
        )
    if source not in SOURCES:
        raise FeedError(f"There is no source {source!r}. Known: {', '.join(SOURCES)}.")
    feed = Feed(
        SOURCES[source](held_out_posts(workbench), rate_per_s=rate_per_s),
        model.tuned.predict,
        labels=model.tuned.labels,
    )
    workbench.stop_feed()
    workbench.feed = feed
    feed.start()


def control(workbench: Workbench, action: str) -> None:
    """Pause, resume or stop the feed. Raises FeedError when none runs."""
    feed = workbench.feed
    if feed is None:
        raise FeedError("No feed is running. Start one first.")
    {"pause": feed.pause, "resume": feed.resume, "stop": feed.stop}[action]()


def set_rate(workbench: Workbench, rate_per_s: float) -> None:
    """Change the rate of the running feed, where its source has one."""
    feed = workbench.feed
    change = getattr(feed.source, "set_rate", None) if feed else None
    if change:
        change(rate_per_s)


def draw(workbench: Workbench, text: Texts) -> tuple[str, str, str]:
    """Return the HTML of the numbers and of the posts, and the feed's state."""
    if workbench.feed is None:
        return nothing_yet(workbench.model.state == "ready", text), "", "none"
    shot = workbench.feed.snapshot()
    return numbers(shot, text), posts(shot, text), shot.state


def build_live(workbench: Workbench) -> LiveTab:
    """Draw the tab inside the current Blocks."""
    timer = gr.Timer(1.0, active=False)
    shown = gr.State(["", "", ""])
    with (
        gr.Column(elem_classes=["tt-panel", "tt-controls-box"]),
        gr.Row(equal_height=False, elem_classes="tt-controls"),
    ):
        source = gr.Dropdown(
            [(I18N(f"source.{name}"), name) for name in SOURCES], value="replay", label=I18N("live.source"),
            min_width=200, scale=3,
        )  # fmt: skip
        rate = gr.Slider(
            0.5, _FASTEST_ON_SLIDER, value=2, step=0.5, label=I18N("live.wanted_rate"), min_width=220,
            scale=4, elem_id="rate",
        )  # fmt: skip
        with gr.Column(scale=3, min_width=260), gr.Row(elem_classes="tt-buttons"):
            start = gr.Button(I18N("live.start"), variant="primary", min_width=80, elem_id="live-start")
            pause = gr.Button(I18N("live.pause"), min_width=80, interactive=False, elem_id="live-pause")
            stop = gr.Button(I18N("live.stop"), min_width=80, interactive=False, elem_id="live-stop")
    panel = html(elem_id="live-numbers")
    feed = html(html_template='<div class="tt-slot"></div>', js_on_load=LIST_JS, elem_id="live-posts")
    outputs = [panel, feed, pause, stop, shown]

    def refresh(shown: list[str], request: gr.Request) -> tuple[Any, ...]:
        drawn = draw(workbench, texts_for(request))
        old = shown or ["", "", ""]
        parts = [gr.skip() if old[i] == drawn[i] else drawn[i] for i in (0, 1)]
        buttons = [gr.skip(), gr.skip()] if old[2] == drawn[2] else _buttons(drawn[2])
        return (*parts, *buttons, list(drawn))

    _wire(
        workbench,
        {"source": source, "rate": rate, "start": start, "pause": pause, "stop": stop},
        refresh,
        shown,
        outputs,
    )
    timer.tick(
        refresh,
        shown,
        outputs,
        api_name="live",
        api_visibility="undocumented",
        show_progress="hidden",
        queue=False,
    )
    return LiveTab(timer, refresh, [shown], outputs)


def _buttons(state: str) -> list[Any]:
    alive = state in ("running", "paused")
    name = I18N("live.resume") if state == "paused" else I18N("live.pause")
    return [gr.update(interactive=alive, value=name), gr.update(interactive=alive)]


def _wire(
    workbench: Workbench, parts: dict[str, Any], refresh: Any, shown: gr.State, outputs: list[Any]
) -> None:
    def live_start(
        source: str, rate_per_s: float, shown: list[str], request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        yield busy(texts_for(request)("live.loading")), gr.skip(), gr.skip(), gr.skip(), ["", "", ""]
        with as_gradio_error():
            try:
                begin(workbench, source, rate_per_s)
            finally:
                yield refresh(["", "", ""], request)

    def live_pause(shown: list[str], request: gr.Request) -> tuple[Any, ...]:
        with as_gradio_error():
            paused = workbench.feed is not None and workbench.feed.snapshot().state == "paused"
            control(workbench, "resume" if paused else "pause")
        return refresh(shown, request)

    def live_stop(shown: list[str], request: gr.Request) -> tuple[Any, ...]:
        with as_gradio_error():
            control(workbench, "stop")
        return refresh(shown, request)

    def live_rate(rate_per_s: float) -> None:
        with as_gradio_error():
            set_rate(workbench, min(rate_per_s, MAX_RATE_PER_S))

    shared: dict[str, Any] = {"concurrency_id": "live", "concurrency_limit": 2}
    start_inputs = [parts["source"], parts["rate"], shown]
    parts["start"].click(
        live_start, start_inputs, outputs, api_name="live_start", show_progress="hidden", **shared
    )
    parts["pause"].click(live_pause, shown, outputs, api_name="live_pause", show_progress="hidden", **shared)
    parts["stop"].click(live_stop, shown, outputs, api_name="live_stop", show_progress="hidden", **shared)
    parts["rate"].input(
        live_rate,
        parts["rate"],
        api_name="live_rate",
        show_progress="hidden",
        trigger_mode="always_last",
        **shared,
    )
