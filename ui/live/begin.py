"""What the Live tab's buttons do: start or join a feed, pause, resume and stop it, set its rate, record it.

    watched, joined = begin(workbench, StreamRequest(source="bluesky"), owner=owner)
    control(watched, "pause")

Knows nothing about Gradio.
"""

from contextlib import nullcontext, suppress

from inference.common.errors import DataError, FeedError
from inference.live.post import Post
from inference.live.request import StreamRequest
from inference.live.statistics import LiveStatistics
from training.recipes import DataSpec
from ui.live.feeds import Pair, Watched
from ui.state import Workbench


def begin(workbench: Workbench, request: StreamRequest, *, owner: str) -> tuple[Watched, bool]:
    """Start the feed of a request, or join the one that runs. Returns it and whether it ran already.

    Raises FeedError without a model, SourceError or DataError when the source can't be had.
    """
    model = workbench.model
    if model.state != "ready":
        raise FeedError(
            "No model is loaded, so there is nothing to classify with. Train one, or wait for it to load."
        )
    second_name, second = workbench.duels.second(request.second, model) if request.second else ("", None)
    pair = Pair(model.name, model.tuned.labels, model.tuned.predict, second_name, second and second.predict)
    listeners = []
    if second:
        listeners.append(
            workbench.duels.listener(
                model.tuned.labels,
                owner=owner if request.is_private else "",
                models=(model.name, second_name),
            )
        )
    running = {watched.id for watched in workbench.live.visible(owner)}
    watched = workbench.live.open(
        request,
        owner=owner,
        pair=pair,
        held_out=lambda: held_out_posts(workbench),
        statistics=lambda: LiveStatistics.of(model.tuned),
        listeners=listeners,
    )
    if workbench.model.tuned is not model.tuned:  # another one was loaded since, and has ended all feeds
        watched.feed.stop()
        raise FeedError("Another model was loaded just now. Press Start again.")
    joined = watched.id in running
    if joined:
        if request.rate_per_s is not None:
            set_rate(watched, request.rate_per_s)
        if watched.feed.state == "paused":
            watched.feed.resume()
    return watched, joined


def control(watched: Watched, action: str) -> None:
    """Pause (or resume) or stop a feed. Raises FeedError when it has ended."""
    if action == "stop":
        watched.feed.stop()
        watched.recording.stop()
    elif watched.feed.state == "paused":
        watched.feed.resume()
    elif watched.feed.state == "ended":
        raise FeedError("The feed has ended, so it can't be paused. Press Start for a new one.")
    else:
        watched.feed.pause()


def record(watched: Watched, *, texts: bool) -> None:
    """Begin to record a feed, or end the recording. Raises FeedError when the feed has ended."""
    if watched.recording.view().state == "recording":
        watched.recording.stop()
    elif watched.feed.state == "ended":
        raise FeedError("The feed has ended, so there is nothing to record. Press Start for a new one.")
    else:
        watched.recording.start(watched.source, texts=texts)


def set_rate(watched: Watched | None, rate_per_s: float) -> None:
    """Change the rate of a feed, where its source has one. Raises FeedError for a rate out of reach."""
    change = getattr(watched.feed.source, "set_rate", None) if watched else None
    if change:
        change(rate_per_s)


def held_out_posts(workbench: Workbench) -> list[Post]:
    """Return a test split: of the loaded model's own data, which it has not seen, where these can be had.

    They are known from its run, or from the provenance that a model of the Hub came with; else it is the one
    of `auto`. Raises DataError when the data can't be had any more.
    """
    from training.data.load import held_out_texts, spec_of  # noqa: PLC0415  (a second: not before the first page)

    model = workbench.model
    specs = [DataSpec()]
    if model.run:
        specs = [model.run.recipe.data.whole()]
    elif spec := spec_of(model.provenance() or {}, paths=False):
        specs.insert(0, spec.whole())
    for spec in specs:
        if rows := workbench.held_out.get(spec):
            return rows
        with suppress(DataError) if spec != specs[-1] else nullcontext():
            rows = [
                Post(id=f"replay-{place}", text=row.text, label=row.label)
                for place, row in enumerate(held_out_texts(spec))
            ]
            workbench.held_out = {spec: rows}  # one data set at a time is kept
            return rows
    return []
