"""Handlers of the Live tab's buttons; each ends by drawing the tab.

    actions = LiveActions(workbench, feeds, duels, refresh, view, shown, outputs, stored)
    actions.wire_start(form, button)

    session, joined = begin(workbench, feeds, duels, StreamRequest(source="bluesky"), owner=owner)
    control(session, "pause")

The server keeps each page's `view`: its owner's random word, the id of its feed, the span of its charts, the
`FlaggedRows` that it reviews ("" for the duel's posts), and the word that it shows.
"""

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from inference.common.errors import DataError, FeedError
from inference.common.mend import mend
from inference.live.post import Post
from inference.live.request import StreamRequest
from inference.live.sources.replay import MAX_RATE_PER_S
from inference.live.statistics import LiveStatistics
from inference.live.words import MAX_WORD, words_of
from inference.selective import asked_threshold
from training.recipes import DataSpec
from ui.html import QUIET, SAVE_JS, busy
from ui.live.feeds import LiveFeeds, LiveSession, Models
from ui.live.form import LiveForm
from ui.live.review import Duels
from ui.state import Workbench
from ui.translations import text

View = dict[str, str]
NEW: View = {"owner": "", "feed": "", "span": "10", "desk": "", "word": ""}
_SHARED: dict[str, Any] = {"show_progress": "hidden", "concurrency_id": "live", "concurrency_limit": 2}


def identified(view: View) -> View:
    """Return a page's view, with a random owner if it has none yet."""
    return view if view["owner"] else {**view, "owner": secrets.token_urlsafe(18)}


def kept(view: View) -> str:
    """Return the part of a page's view that its browser keeps."""
    return json.dumps({name: view[name] for name in ("owner", "feed")})


def followed(feeds: LiveFeeds, view: View) -> LiveSession | None:
    """Return the session that a page follows: the chosen one, else the newest that it may see."""
    chosen = feeds.find(view["feed"], view["owner"]) if view["feed"] else None
    return chosen or next(iter(feeds.visible(view["owner"])), None)


def begin(
    workbench: Workbench, feeds: LiveFeeds, duels: Duels, request: StreamRequest, *, owner: str
) -> tuple[LiveSession, bool]:
    """Start the feed of a request, or join a running one. Returns its session and whether it ran already.

    Raises FeedError without a model, SourceError or DataError if the source can't be streamed, and
    PredictionError if the model can't reach the requested precision.
    """
    model = workbench.model
    tuned = model.tuned
    if model.state != "ready" or tuned is None:
        raise FeedError(
            "No model is loaded, so there is nothing to classify with. Train one, or wait for it to load."
        )
    below = asked_threshold(tuned.folder, precision=request.precision) or 0.0
    models = Models(
        model.name,
        tuned.labels,
        tuned.predict,
        lambda: LiveStatistics.of(tuned, abstain_below=below),
        # not in a duel: close calls would pass for disagreements
        hurried=None if request.second else tuned.hurried(),
        abstain_below=below,
        outside_above=tuned.scope.above if tuned.scope else None,
    )
    if request.second:
        called, second = duels.second(request.second, model)
        whose = owner if request.is_private else ""
        listener = duels.listener(tuned.labels, owner=whose, models=(model.name, called))
        models = replace(models, second_name=called, second=second.predict, listeners=[listener])
    session, joined = feeds.open(request, models, owner=owner, held_out=lambda: replay_posts(workbench))
    if workbench.model.tuned is not tuned:  # another model was loaded meanwhile, which ended all feeds
        session.feed.stop()
        raise FeedError("Another model was loaded just now. Press Start again.")
    if joined:
        if request.rate_per_s is not None:
            set_rate(session, request.rate_per_s)
        if session.feed.state == "paused":
            session.feed.resume()
    return session, joined


def control(session: LiveSession, action: str) -> None:
    """Pause, resume or stop a feed. Raises FeedError if it has ended."""
    if action == "stop":
        session.feed.stop()
        session.recording.stop()
    elif session.feed.state == "paused":
        session.feed.resume()
    elif session.feed.state == "ended":
        raise FeedError("The feed has ended, so it can't be paused. Press Start for a new one.")
    else:
        session.feed.pause()


def record(session: LiveSession, *, texts: bool) -> None:
    """Begin to record a feed, or end the recording. Raises FeedError if the feed has ended."""
    if session.recording.view().state == "recording":
        session.recording.stop()
    elif session.feed.state == "ended":
        raise FeedError("The feed has ended, so there is nothing to record. Press Start for a new one.")
    else:
        session.recording.start(session.source, texts=texts)


def set_rate(session: LiveSession | None, rate_per_s: float) -> None:
    """Change the rate of a feed if its source has one. Raises FeedError for a rate out of range."""
    change = getattr(session.feed.source, "set_rate", None) if session else None
    if change:
        change(rate_per_s)


def replay_posts(workbench: Workbench) -> list[Post]:
    """Return posts that the loaded model has not learnt: training rows left over, else its test rows.

    The model's own data is known from its run, or from its provenance; a model of the Hub whose data can't be
    read gets that of `auto`. Texts with broken characters are left out, unless there are no others. Raises
    DataError if the data can't be read any more.
    """
    from training.data.load import spec_of, unlearnt_texts  # noqa: PLC0415  (a second: not before the first page)

    model = workbench.model
    record = model.provenance() or {}
    if model.run and (recipe := model.run.known_recipe):
        record = {**record, "recipe": recipe.model_dump()}
        specs = [spec_of(record) or recipe.data]
    else:
        own = spec_of(record, paths=False)
        specs = [*([own] if own else []), DataSpec()]
    if (record.get("recipe") or {}).get("unlabelled"):  # it has learnt from what was left over
        specs = [spec.whole() for spec in specs]
    for spec in specs:
        if known := workbench.replay.get(spec):
            return known[1]
        recorded = record.get("data") if spec != DataSpec() else None
        with suppress(DataError) if spec != specs[-1] else nullcontext():
            split, rows = unlearnt_texts(spec, recorded=recorded)
            posts = [
                Post(id=f"replay-{place}", text=row.text, label=row.label) for place, row in enumerate(rows)
            ]
            posts = [post for post in posts if not mend(post.text).damaged] or posts
            workbench.replay = {spec: (split, posts)}  # one data set at a time is kept
            return posts
    return []


@dataclass(frozen=True)
class LiveActions:
    """The tab's drawing, `refresh(view, shown, request)`, with its outputs; and what the browser keeps."""

    workbench: Workbench
    feeds: LiveFeeds
    duels: Duels
    refresh: Callable[[View, View, gr.Request], tuple[object, ...]]
    view: gr.State
    shown: gr.State
    outputs: list[Any]
    stored: gr.Textbox

    def wire_start(self, form: LiveForm, button: gr.Button) -> None:
        def live_start(  # noqa: PLR0917  (Gradio passes them by place; their names are the API's)
            request: gr.Request,
            source: str = "replay",
            rate: float | None = 2.0,
            query: str | None = "",
            instance: str | None = "",
            token: str | None = "",
            cap: float | None = None,
            file: str | None = None,
            second: str | None = "",
            keywords: str | None = "",
            languages: str | None = "",
            reposts: bool = True,
            replies: bool = True,
            unpaced: bool = False,
            text_column: str | None = "",
            label_column: str | None = "",
            precision: float | None = 0.0,
            view: View | None = None,
        ) -> Iterator[tuple[object, ...]]:
            values = (source, rate, query, instance, token, cap, file, second, keywords, languages)
            view = identified(view or NEW)
            # Empty the token's field at once, and Gradio's copy of it.
            yield "", busy(text("live.loading")), *[gr.skip()] * (len(self.outputs) - 1)
            try:
                stream = form.request(
                    (*values, reposts, replies, unpaced, text_column, label_column, precision)
                )
                session, joined = begin(self.workbench, self.feeds, self.duels, stream, owner=view["owner"])
                is_other, view = session.id != view["feed"], {**view, "feed": session.id}
                if joined and is_other:
                    gr.Info(text("live.joined"), duration=6)
            finally:
                yield "", *self.refresh(view, {}, request)

        button.click(
            live_start,
            [*form.components, self.view],
            [form.fields["token"], *self.outputs],
            api_name="live_start",
            **_SHARED,
        ).success(kept, self.view, self.stored, **QUIET)

    def wire_controls(self, pause: gr.Button, stop: gr.Button, slider: gr.Slider, span: gr.Radio) -> None:
        """Wire pause, stop, the rate (all for everybody who watches) and the span of the charts."""

        def live_pause(view: View, shown: View, request: gr.Request) -> tuple[object, ...]:
            return self._do(lambda session: control(session, "pause"), view, shown, request)

        def live_stop(view: View, shown: View, request: gr.Request) -> tuple[object, ...]:
            return self._do(lambda session: control(session, "stop"), view, shown, request)

        def live_rate(rate_per_s: float, view: View) -> None:
            set_rate(followed(self.feeds, identified(view)), min(rate_per_s, MAX_RATE_PER_S))

        def live_span(span: str, view: View, shown: View, request: gr.Request) -> tuple[object, ...]:
            return self.refresh({**identified(view), "span": span}, shown, request)

        inputs = [self.view, self.shown]
        pause.click(live_pause, inputs, self.outputs, api_name="live_pause", **_SHARED)
        stop.click(live_stop, inputs, self.outputs, api_name="live_stop", **_SHARED)
        slider.input(
            live_rate, [slider, self.view], api_name="live_rate", trigger_mode="always_last", **_SHARED
        )
        span.change(
            live_span,
            [span, *inputs],
            self.outputs,
            api_name="live_span",
            show_progress="hidden",
            queue=False,
        )

    def wire_recording(
        self, button: gr.Button, texts: gr.Checkbox, save: gr.Button, file: gr.DownloadButton
    ) -> None:
        def live_record(texts: bool, view: View, shown: View, request: gr.Request) -> tuple[object, ...]:
            return self._do(lambda session: record(session, texts=texts), view, shown, request)

        def live_save(view: View) -> str:
            session = followed(self.feeds, identified(view))
            recording = session.recording.view() if session else None
            if recording is None or recording.path is None or recording.state != "recorded":
                raise FeedError(
                    "There is no recording to save. Press Record, and Stop recording after a while."
                )
            return str(recording.path)

        inputs = [texts, self.view, self.shown]
        button.click(live_record, inputs, self.outputs, api_name="live_record", **_SHARED)
        save.click(
            live_save, self.view, file, api_name="live_save", show_progress="hidden", queue=False
        ).success(None, None, None, js=SAVE_JS.format("live-save-file"))

    def wire_others(self, chips: gr.HTML) -> None:
        def on_watch(view: View, shown: View, request: gr.Request, event: gr.EventData) -> tuple[object, ...]:
            return self.refresh({**identified(view), "feed": str(event.value)}, shown, request)

        chips.select(on_watch, [self.view, self.shown], self.outputs, **QUIET).then(
            kept, self.view, self.stored, **QUIET
        )

    def wire_words(self, words: gr.HTML, box: gr.Textbox) -> None:
        """Wire the words that are pressed or typed, to show their posts."""

        def on_word(view: View, shown: View, request: gr.Request, event: gr.EventData) -> tuple[object, ...]:
            return self.refresh({**identified(view), "word": str(event.value)[:MAX_WORD]}, shown, request)

        def live_word(word: str, view: View, shown: View, request: gr.Request) -> tuple[object, ...]:
            found = sorted(words_of(word or ""), key=len)
            return self.refresh({**identified(view), "word": found[-1] if found else ""}, shown, request)

        words.select(on_word, [self.view, self.shown], self.outputs, **QUIET)
        box.submit(
            live_word,
            [box, self.view, self.shown],
            self.outputs,
            api_name="live_word",
            show_progress="hidden",
            queue=False,
        )

    def _do(
        self, act: Callable[[LiveSession], None], view: View, shown: View, request: gr.Request
    ) -> tuple[object, ...]:
        """Act on the feed that the page follows, and draw it."""
        session = followed(self.feeds, identified(view))
        if session is None:
            raise FeedError("No feed is running. Start one first.")
        act(session)
        session.drawn.clear()
        return self.refresh(view, shown, request)
