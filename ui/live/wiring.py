"""What happens when a button of the Live tab is pressed; all of it ends in one drawing of the tab.

    wiring = Wiring(workbench, refresh, view, shown, outputs, stored)
    wiring.start(form, button)

A page's `view` is kept by the server: its owner's random word, the id of its feed, the span of its charts.
Knows nothing about how anything is drawn.
"""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from inference.common.errors import FeedError
from inference.live.sources.replay import MAX_RATE_PER_S
from ui.html import as_gradio_error, busy
from ui.live.begin import begin, control, record, set_rate
from ui.live.feeds import Watched
from ui.live.form import LiveForm
from ui.live.scripts import SAVE_JS
from ui.state import Workbench
from ui.translations import texts_for

_QUIET: dict[str, Any] = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}
_SHARED: dict[str, Any] = {"show_progress": "hidden", "concurrency_id": "live", "concurrency_limit": 2}
View = dict[str, str]
NEW: View = {"owner": "", "feed": "", "span": "10"}


def known(view: dict[str, str]) -> dict[str, str]:
    """Return a page's view with a random word of its own, which a new page lacks."""
    return view if view["owner"] else {**view, "owner": secrets.token_urlsafe(18)}


def following(workbench: Workbench, view: dict[str, str]) -> Watched | None:
    """Return the feed that a page follows: its own choice, else the newest one that it may see."""
    chosen = workbench.live.find(view["feed"], view["owner"]) if view["feed"] else None
    return chosen or next(iter(workbench.live.visible(view["owner"])), None)


@dataclass(frozen=True)
class Wiring:
    """The tab's drawing, with its inputs (view, shown) and outputs, and what the browser keeps."""

    workbench: Workbench
    refresh: Callable[..., Any]
    view: Any
    shown: Any
    outputs: list[Any]
    stored: Any

    @property
    def inputs(self) -> list[Any]:
        """What `refresh` takes."""
        return [self.view, self.shown]

    def start(self, form: LiveForm, button: Any) -> None:
        """Start a feed, or join it."""

        def live_start(  # noqa: PLR0917  (Gradio passes them by place; their names are the API's)
            request: gr.Request,
            source: Any = "replay",
            rate: Any = 2.0,
            query: Any = "",
            instance: Any = "",
            token: Any = "",
            cap: Any = None,
            file: Any = None,
            second: Any = "",
            keywords: Any = "",
            languages: Any = "",
            reposts: Any = True,
            replies: Any = True,
            unpaced: Any = False,
            view: View | None = None,
        ) -> Iterator[Any]:
            values = (source, rate, query, instance, token, cap, file, second, keywords, languages)
            text, view = texts_for(request), known(view or NEW)
            # The token leaves the page at once, and with it what Gradio remembers of the field.
            yield "", busy(text("live.loading")), *[gr.skip()] * (len(self.outputs) - 1)
            with as_gradio_error():
                try:
                    watched, joined = begin(
                        self.workbench,
                        form.request((*values, reposts, replies, unpaced)),
                        owner=view["owner"],
                    )
                    view = {**view, "feed": watched.id}
                    if joined:
                        gr.Info(text("live.joined"), duration=6)
                finally:
                    yield "", *self.refresh(view, {}, request)

        button.click(
            live_start,
            [*form.components, self.view],
            [form.fields["token"], *self.outputs],
            api_name="live_start",
            **_SHARED,
        ).success(lambda view: view, self.view, self.stored, **_QUIET)

    def _doing(self, act: Callable[[Watched], None]) -> Callable[..., Any]:
        """Return what does something to the feed that the page follows, and draws it."""

        def handler(view: View, shown: View, request: gr.Request) -> Any:
            with as_gradio_error():
                watched = following(self.workbench, known(view))
                if watched is None:
                    raise FeedError("No feed is running. Start one first.")
                act(watched)
                watched.drawn.clear()
            return self.refresh(view, shown, request)

        return handler

    def pause_and_stop(self, pause: Any, stop: Any) -> None:
        """Pause or resume, and stop, for everybody who watches."""
        for name, button in (("pause", pause), ("stop", stop)):
            handler = self._doing(lambda watched, name=name: control(watched, name))  # type: ignore[misc]
            button.click(handler, self.inputs, self.outputs, api_name=f"live_{name}", **_SHARED)

    def recording(self, controls: dict[str, Any]) -> None:
        """Record and stop recording; save the file."""

        def live_record(texts: bool, view: View, shown: View, request: gr.Request) -> Any:
            return self._doing(lambda watched: record(watched, texts=texts))(view, shown, request)

        def live_save(view: View) -> str:
            with as_gradio_error():
                watched = following(self.workbench, known(view))
                tape = watched.recording.view() if watched else None
                if tape is None or tape.path is None or tape.state != "recorded":
                    raise FeedError(
                        "There is no recording to save. Press Record, and Stop recording after a while."
                    )
                return str(tape.path)

        controls["record"].click(
            live_record, [controls["texts"], *self.inputs], self.outputs, api_name="live_record", **_SHARED
        )
        controls["save"].click(
            live_save, self.view, controls["file"], api_name="live_save", show_progress="hidden", queue=False
        ).success(None, None, None, js=SAVE_JS.format("live-save-file"))

    def others(self, chips: Any) -> None:
        """Follow another feed when its button is pressed."""

        def on_watch(view: View, shown: View, request: gr.Request, event: gr.EventData) -> Any:
            return self.refresh({**known(view), "feed": str(event.value)}, shown, request)

        chips.select(on_watch, self.inputs, self.outputs, **_QUIET).then(
            lambda view: view, self.view, self.stored, **_QUIET
        )

    def rate_and_span(self, slider: Any, span: Any) -> None:
        """Change the rate of a replay; draw anew when another span is chosen."""

        def live_rate(rate_per_s: float, view: View) -> None:
            with as_gradio_error():
                set_rate(following(self.workbench, known(view)), min(rate_per_s, MAX_RATE_PER_S))

        def live_span(span: str, view: View, shown: View, request: gr.Request) -> Any:
            return self.refresh({**known(view), "span": span}, shown, request)

        slider.input(
            live_rate, [slider, self.view], api_name="live_rate", trigger_mode="always_last", **_SHARED
        )
        span.change(
            live_span,
            [span, *self.inputs],
            self.outputs,
            api_name="live_span",
            show_progress="hidden",
            queue=False,
        )
