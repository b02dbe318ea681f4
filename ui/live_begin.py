"""What the Live tab's buttons do: start or join a feed, pause, resume and stop it, set its rate, record it.

    watched, joined = begin(workbench, Wish(source="bluesky"), owner=owner)
    control(watched, "pause")

Knows nothing about Gradio.
"""

from dataclasses import fields, replace
from importlib import import_module

from inference.errors import FeedError
from inference.live.statistics import LiveStatistics
from inference.sources import Post
from ui.live_feeds import Pair, Watched
from ui.live_wish import Wish
from ui.state import Workbench


def begin(workbench: Workbench, wish: Wish, *, owner: str) -> tuple[Watched, bool]:
    """Start the feed of a wish, or join the one that runs. Returns it and whether it ran already.

    Raises FeedError without a model, SourceError or DataError when the source can't be had.
    """
    model = workbench.model
    if model.state != "ready":
        raise FeedError(
            "No model is loaded, so there is nothing to classify with. Train one, or wait for it to load."
        )
    second_name, second = workbench.duels.second(wish.second, model) if wish.second else ("", None)
    pair = Pair(model.name, model.tuned.labels, model.tuned.predict, second_name, second and second.predict)
    listeners = []
    if second:
        listeners.append(workbench.duels.listener(
            model.tuned.labels, owner=owner if wish.is_private else "", models=(model.name, second_name)
        ))  # fmt: skip
    running = {watched.id for watched in workbench.live.visible(owner)}
    watched = workbench.live.open(
        wish, owner=owner, pair=pair, held_out=lambda: held_out_posts(workbench),
        statistics=lambda: LiveStatistics.of(model.tuned), listeners=listeners,
    )  # fmt: skip
    if workbench.model.tuned is not model.tuned:  # another one was loaded since, and has ended all feeds
        watched.feed.stop()
        raise FeedError("Another model was loaded just now. Press Start again.")
    joined = watched.id in running
    if joined:
        set_rate(watched, wish.rate_per_s)
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
    """Return the test split that the loaded model has not seen: of its own data, else of the embedded tweets.

    Raises DataError when the data can't be had any more.
    """
    data = import_module("training.data")  # takes a second: not before the first page
    spec = data.DataSpec(dataset="embedded")
    if run := workbench.model.run:
        known = {field.name: getattr(run.recipe, field.name) for field in fields(data.DataSpec)}
        spec = replace(data.DataSpec(**known), n_train=0, n_validation=0, n_test=0)
    rows = workbench.held_out.get(spec)
    if rows is None:
        rows = [
            Post(id=f"replay-{place}", text=row.text, label=row.label)
            for place, row in enumerate(data.held_out_texts(spec))
        ]
        workbench.held_out = {spec: rows}  # one data set at a time is kept
    return rows
