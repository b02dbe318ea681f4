"""`python -m inference live SOURCE [QUERY] --model M`: classify posts as they come, and show them.

Posts go to standard output as lines; with `--json` they go to standard error, and standard output holds one
JSON object at the end. Ctrl-C ends it, and the numbers are told all the same. The libraries that it needs are
imported when it runs, so that help and mistakes come at once.
"""

import argparse
import io
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from inference.common.errors import FeedError
from inference.common.text import one_line

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from inference.live.counts import FeedSnapshot, FeedSummary
    from inference.live.feed import Feed
    from inference.live.filter import Filter
    from inference.live.post import ClassifiedPost
    from inference.live.sources import Source

SOURCES = ("replay", "bluesky", "mastodon", "x", "x-stream")
_OF_ONE = {"rate": ("replay",), "instance": ("mastodon",), "cap_usd": ("x", "x-stream")}
_DEFAULT_CAP_USD = 1.0
_DEFAULT_INSTANCE = "mastodon.social"
MASTODON_TOKEN = "MASTODON_TOKEN"
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
_LOOK_S = 1.0
_NOTE_S = 10.0  # what has been spent is told at most this often
_LONGEST_MESSAGE = 1000  # characters of a sentence that may quote a service


def add_parser(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `live` to a parser's commands."""
    live = commands.add_parser(
        "live",
        help="classify posts as they come",
        description="Classify posts as they come, from a file or a live service. Ctrl-C ends it. Posts that "
        "come faster than the model answers are sampled, and the rest is counted as dropped. X takes its "
        "token from X_BEARER_TOKEN and costs money; Mastodon needs none, or streams with the token in "
        f"{MASTODON_TOKEN}, which is sent to the instance.",
    )
    live.add_argument("source", metavar="SOURCE", choices=SOURCES, help=", ".join(SOURCES))
    live.add_argument(
        "query",
        metavar="QUERY",
        nargs="?",
        default="",
        help="replay: a file; bluesky: words, separated by commas; mastodon: a tag; x, x-stream: X's query",
    )
    live.add_argument("--model", metavar="M", required=True, help="an artifact's folder, or a Hub repository")
    live.add_argument(
        "--rate", metavar="N", type=float, help="replay so many posts a second (default: as fast as possible)"
    )
    live.add_argument("--limit", metavar="N", type=_positive, help="end after N posts that were wanted")
    live.add_argument(
        "--languages", metavar="L", type=_words, default=(), help="posts in these languages alone, as en,pt"
    )
    live.add_argument(
        "--keywords",
        metavar="W",
        type=_words,
        default=(),
        help="posts with one of these words alone, as bus,train",
    )
    live.add_argument("--no-reposts", action="store_true", help="leave reposts out")
    live.add_argument("--no-replies", action="store_true", help="leave replies out")
    live.add_argument(
        "--instance", metavar="HOST", help=f"Mastodon's instance (default: {_DEFAULT_INSTANCE})"
    )
    live.add_argument(
        "--cap-usd",
        metavar="N",
        type=float,
        help=f"stop reading X when so many dollars are spent (default: {_DEFAULT_CAP_USD:g})",
    )
    live.add_argument(
        "--save", metavar="FILE", type=Path, help="save ids, times and labels as JSON lines, in a new file"
    )
    live.add_argument(
        "--save-texts", action="store_true", help="save the texts too; mind the service's terms"
    )
    live.add_argument("--engine", choices=("auto", "torch", "onnx"), default="auto", help="default: auto")
    live.add_argument("--json", action="store_true", help="print one JSON object at the end")
    live.add_argument("--debug", action="store_true", help="show the traceback of an error")
    live.set_defaults(command=_live)


def _live(given: argparse.Namespace) -> int:
    return run(given, source_of)


def run(given: argparse.Namespace, make: "Callable[[argparse.Namespace, Filter], Source]") -> int:
    """Run the command with a source made of what was given. Raises TweetTuneError when it fails."""
    # All imports here wait for their turn: the services' libraries take a second; mistakes come first.
    _check(given)
    try:
        from inference.live.feed import Feed
        from inference.live.filter import Filter
        from inference.live.recording import Recorder
    except ModuleNotFoundError as error:  # as in the server's image
        raise FeedError(
            f"`live` needs {error.name}, which is not installed. Run: pip install -r requirements.txt"
        ) from error

    keywords = (*given.keywords, *(_words(given.query) if given.source == "bluesky" else ()))
    wanted = Filter(
        keywords=keywords,
        languages=given.languages,
        reposts=not given.no_reposts,
        replies=not given.no_replies,
    )
    source = make(given, wanted)
    from inference.classifier import Classifier

    classifier = Classifier.load(given.model, engine=given.engine)
    recorder = Recorder(given.save, texts=given.save_texts) if given.save else None
    classifier.predict(["the first text takes longer than the others"])
    feed = Feed(
        source,
        classifier.predict,
        labels=classifier.labels,
        filter=wanted,
        limit=given.limit,
        lossless=given.source == "replay" and given.rate is None,
        idle_s=math.inf,
        listeners=[printer(sys.stderr if given.json else sys.stdout), *([recorder] if recorder else [])],
    )
    with recorder or nullcontext():
        shot = _until_the_end(feed, _note)
    summary = feed.summary()
    if given.json:
        sys.stdout.write(json.dumps(asdict(summary)) + "\n")
    else:
        _note(_sentence(summary))
    if shot.source_status.cost_usd is not None:
        _note(f"X: {_spent(shot)}")
    if shot.reason == "failed":
        raise FeedError(one_line(shot.message, longest=_LONGEST_MESSAGE))
    return 0


def _check(given: argparse.Namespace) -> None:
    """Raise FeedError for an option that the source does not have."""
    for name, sources in _OF_ONE.items():
        if getattr(given, name) is not None and given.source not in sources:
            option = "--" + name.replace("_", "-")
            raise FeedError(f"{option} is for {' and '.join(sources)}, not for {given.source}. Leave it out.")
    if given.source == "replay" and not given.query:
        raise FeedError(
            "There is nothing to replay: no file was given. Write `python -m inference live replay FILE "
            "--model M`. The app's Live tab replays held-out tweets without a file."
        )
    if given.save_texts and not given.save:
        raise FeedError("--save-texts was given without --save FILE, so there is nothing to save to. Add it.")
    if given.save and given.save.exists():
        raise FeedError(f"{given.save} exists already. Give the name of a new file.")
    if given.save and not given.save.parent.is_dir():
        raise FeedError(f"{given.save.parent} is no folder, so {given.save} can't be written. Make it first.")


def source_of(given: argparse.Namespace, wanted: "Filter") -> "Source":
    """Make the source; tell what it costs where it costs something. Raises FeedError for a wrong query."""
    from inference.live import sources

    if given.source == "replay":
        return sources.Replay.of_file(given.query, rate_per_s=given.rate)
    if given.source == "bluesky":
        return sources.Bluesky()
    if given.source == "mastodon":
        instance = given.instance or _DEFAULT_INSTANCE
        return sources.Mastodon(instance, tag=given.query, token=os.environ.get(MASTODON_TOKEN, ""))
    from inference.live.sources.x_api import estimate

    cap_usd = _DEFAULT_CAP_USD if given.cap_usd is None else given.cap_usd
    source = sources.SOURCES[given.source](given.query, filter=wanted, cap_usd=cap_usd)
    _note(f"How many posts come depends on the query. {estimate(2.0, cap_usd=cap_usd).sentence()}")
    return source


def _until_the_end(feed: "Feed", note: Callable[[str], None]) -> "FeedSnapshot":
    """Run a feed to its end or to Ctrl-C; tell how its source is doing. Returns the last numbers."""
    # A service manager and `timeout` send SIGTERM: the numbers are wanted then too.
    former = {number: signal.signal(number, signal.default_int_handler) for number in _INTERRUPTS}
    try:
        feed.start()
        _tell_states(feed, note)
    except KeyboardInterrupt:
        note("Stopped.")
        former = {}  # who presses twice gets the numbers too, and no traceback from the process's last moment
    finally:
        for number in _INTERRUPTS:
            signal.signal(number, signal.SIG_IGN)
        feed.stop()
        for number, handler in former.items():
            signal.signal(number, handler)
    return feed.snapshot()


def _tell_states(feed: "Feed", note: Callable[[str], None]) -> None:
    """Wait for the end of a feed; meanwhile tell how its source is doing, and what it costs."""
    told, told_at = "", -math.inf
    while not feed.wait(_LOOK_S):
        status = feed.snapshot().source_status
        words = status.reason and status.sentence(time.time())
        if words and status.reason != told:
            note(one_line(words, longest=_LONGEST_MESSAGE))
        told = status.reason
        if status.cost_usd and time.monotonic() - told_at > _NOTE_S:
            told_at = time.monotonic()
            note(f"X: {_spent(feed.snapshot())}")


def printer(stream: TextIO) -> "Callable[[Sequence[ClassifiedPost]], None]":
    """Return a listener that writes each post as one line."""
    if isinstance(stream, io.TextIOWrapper):  # which may speak less than UTF-8
        stream.reconfigure(errors="replace")

    def listen(told: "Sequence[ClassifiedPost]") -> None:
        try:
            for one in told:
                stream.write(f"{one_line(one.label):10} {one.probability:6.1%}  {one_line(one.post.text)}\n")
            stream.flush()
        except (OSError, ValueError) as error:  # ValueError: it was closed
            raise FeedError(f"The output can't be written ({error}), so the feed was ended.") from error

    return listen


def _sentence(summary: "FeedSummary") -> str:
    numbers = asdict(summary)
    names = ("received", "classified", "filtered", "duplicates", "dropped")
    counts = ", ".join(f"{numbers[name]:,} {name}" for name in names)
    lag = ""
    if summary.lag_p50_s is not None:
        lag = f" Lag: p50 {summary.lag_p50_s:.2f} s, p95 {summary.lag_p95_s:.2f} s."
    return f"{counts}. {summary.rate_per_s:.1f} classified a second.{lag}"


def _spent(shot: "FeedSnapshot") -> str:
    return f"${shot.source_status.cost_usd or 0:.2f} spent, {shot.received:,} posts received."


def _note(words: str) -> None:
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for part in text.split(",") if (word := part.strip()))


def _positive(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{word} is not a number above 0")
    return number
