"""`python -m inference live SOURCE [QUERY] --model M`: classify posts as they come, and show them.

Posts go to standard output as lines; with `--json` they go to standard error, and standard output holds one
JSON object at the end. Ctrl-C ends it, and the numbers are printed all the same. The libraries that it needs
are imported when it runs, so that help and mistakes come at once.
"""

import argparse
import io
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from inference.common.command import MODEL, Commands, add_command, option, positive, print_json
from inference.common.errors import FeedError
from inference.common.text import one_line
from inference.engine import ENGINES
from inference.live.pricing import DEFAULT_CAP_USD, Estimate, cap_in_posts
from inference.live.request import (
    DEFAULT_INSTANCE,
    JETSTREAM,
    SETTINGS_OF,
    SOURCE_NAMES,
    X_TOKEN,
    StreamRequest,
    split_words,
)

if TYPE_CHECKING:
    from inference.live.counts import FeedSnapshot, FeedSummary
    from inference.live.feed import Feed
    from inference.live.post import ClassifiedPost
    from inference.live.sources import Source

SOURCES = tuple(name for name in SOURCE_NAMES if name != "file")  # here "replay" is that of a file
MASTODON_TOKEN = "MASTODON_TOKEN"
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
_POLL_S = 1.0
_COST_INTERVAL_S = 10.0  # what has been spent is printed at most this often
_LONGEST_MESSAGE = 1000  # characters of a sentence that may quote a service


def add_parser(commands: Commands) -> None:
    """Add the command `live` to a parser's commands."""
    live = add_command(
        commands,
        "live",
        run,
        "classify posts as they come",
        description="Classify posts as they come, from a file or a live service. Ctrl-C ends it. Posts that "
        "come faster than the model answers are sampled, and the rest is counted as dropped. X takes its "
        f"token from {X_TOKEN} and costs money; Mastodon needs none, or streams with the token in "
        f"{MASTODON_TOKEN}, which is sent to the instance.",
    )
    option(live, "source SOURCE", ", ".join(SOURCES), choices=SOURCES)
    option(
        live,
        "query QUERY",
        "replay: a file; bluesky: words, separated by commas; mastodon: a tag; x, x-stream: X's query",
        default="",
        nargs="?",
    )
    option(live, "--model M", MODEL, required=True)
    option(live, "--rate N", "replay so many posts a second (default: as fast as possible)", type=float)
    option(live, "--limit N", "end after N posts that passed the filter", type=positive)
    option(live, "--languages L", "posts in these languages alone, as en,pt", default=(), type=split_words)
    option(
        live,
        "--keywords W",
        "posts with one of these words alone, as bus,train",
        default=(),
        type=split_words,
    )
    option(live, "--no-reposts", "leave reposts out")
    option(live, "--no-replies", "leave replies out")
    option(live, "--instance HOST", f"Mastodon's instance (default: {DEFAULT_INSTANCE})")
    option(
        live, "--host HOST", f"Bluesky's Jetstream (default: the variable {JETSTREAM}, else Bluesky's own)"
    )
    option(
        live,
        "--cap-usd N",
        f"stop reading X when so many dollars are spent (default: {DEFAULT_CAP_USD:g})",
        type=float,
    )
    option(live, "--save FILE", "save ids, times and labels as JSON lines, in a new file", type=Path)
    option(live, "--save-texts", "save the texts too; mind the service's terms")
    option(
        live,
        "--precision SHARE",
        "count as unsure what keeps answers from being right so often, such as 0.9",
        type=float,
    )
    option(
        live,
        "--abstain-below SHARE",
        "count as unsure what the model is less sure of, such as 0.7",
        type=float,
    )
    option(live, "--engine", "what computes", default="auto", choices=tuple(ENGINES))


def run(given: argparse.Namespace, sources: "Mapping[str, Callable[..., Source]] | None" = None) -> int:
    """Run the command; `sources` replace those of TweetTune. Raises TweetTuneError when it fails."""
    request = _request(given)
    from inference.selective import asked_threshold, check_asked

    check_asked(precision=given.precision, abstain_below=given.abstain_below)
    # All imports here are late: the services' libraries take a second, and mistakes are reported first.
    try:
        source = request.open(sources=sources)
        if request.is_x:
            cost = Estimate(cap_in_posts(request.cap_usd)).sentence()
            more = (
                " Posts that others refer to count too; --no-reposts leaves them out."
                if request.reposts
                else ""
            )
            _note(f"How many posts come depends on the query. {cost}{more}")
        from inference.live.feed import Feed
        from inference.live.recording import Recorder
    except ModuleNotFoundError as error:  # as in the server's image
        raise FeedError(
            f"`live` needs {error.name}, which is not installed. Run: pip install -r requirements.txt"
        ) from error
    from inference.baselines.model import load_model

    classifier = load_model(given.model, engine=given.engine)
    below = asked_threshold(classifier.folder, precision=given.precision, abstain_below=given.abstain_below)
    classifier.predict(["the first text takes longer than the others"])
    with Recorder(given.save, texts=given.save_texts) if given.save else nullcontext() as recorder:
        show = printer(sys.stderr if given.json else sys.stdout, abstain_below=below or 0.0)
        feed = Feed(
            source,
            classifier.predict,
            labels=classifier.labels,
            hurried=classifier.hurried(),
            filter=request.filter,
            limit=given.limit,
            abstain_below=below or 0.0,
            outside_above=classifier.scope.above if classifier.scope else None,
            lossless=request.is_lossless,
            idle_s=math.inf,
            listeners=[show, recorder] if recorder else [show],
        )
        snapshot = _until_the_end(feed, _note)
    summary = feed.summary()
    if given.json:
        print_json(asdict(summary))
    else:
        _note(_sentence(summary))
        if below is not None:
            _note(f"Not sure (below {below:.2f}): {summary.unsure:,} of {summary.classified:,}.")
    for sentence in _counted(snapshot):
        _note(sentence)
    if snapshot.reason == "failed":
        raise FeedError(one_line(snapshot.message, longest=_LONGEST_MESSAGE))
    return 0


def _counted(snapshot: "FeedSnapshot") -> Iterator[str]:
    """Say which of the posts were answered otherwise than a reader would think."""
    if snapshot.out_of_scope:
        yield f"Unlike the texts of its training: {snapshot.out_of_scope:,} of {snapshot.classified:,}."
    if snapshot.hurried:
        yield (
            f"{snapshot.hurried:,} of {snapshot.classified:,} were answered by int8 alone, as posts piled "
            "up: their close calls were not computed again in float32."
        )
    if snapshot.truncated:
        share = f"{snapshot.truncated:,} of {snapshot.classified:,}"
        yield f"Too long, so that only the beginning was read: {share}."
    if cut := snapshot.source_status.cut:
        yield f"Texts that came without their end: {cut:,}."
    if snapshot.source_status.cost_usd is not None:
        yield f"X: {_spent(snapshot)}"


def _request(given: argparse.Namespace) -> StreamRequest:
    """Return the request that the options make. Raises FeedError for others, such as another source's."""
    name = "file" if given.source == "replay" else given.source
    options = {"rate_per_s": "rate", "instance": "instance", "host": "host", "cap_usd": "cap_usd"}
    for setting, given_as in options.items():
        if getattr(given, given_as) is not None and name not in SETTINGS_OF[setting]:
            users = " and ".join(user for user in SETTINGS_OF[setting] if user in SOURCES)
            flag = f"--{given_as.replace('_', '-')}"
            raise FeedError(f"{flag} is for {users}, not for {given.source}. Leave it out.")
    if name == "file" and not given.query:
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
    return StreamRequest(
        source=name,
        query=given.query,
        file=given.query if name == "file" else "",
        instance=given.instance or DEFAULT_INSTANCE,
        host=given.host or "",
        token=os.environ.get(MASTODON_TOKEN, "") if name == "mastodon" else "",
        rate_per_s=given.rate,
        cap_usd=DEFAULT_CAP_USD if given.cap_usd is None else given.cap_usd,
        keywords=given.keywords,
        languages=given.languages,
        reposts=not given.no_reposts,
        replies=not given.no_replies,
    )


def _until_the_end(feed: "Feed", note: Callable[[str], None]) -> "FeedSnapshot":
    """Run a feed to its end or to Ctrl-C; print the state of its source, and the cost."""
    # A service manager and `timeout` send SIGTERM: the numbers are printed then too.
    former = {number: signal.signal(number, signal.default_int_handler) for number in _INTERRUPTS}
    reason, noted_at = "", -math.inf
    try:
        feed.start()
        over = False
        while not over:
            over = feed.wait(_POLL_S)
            status = feed.snapshot().source_status
            if status.reason and status.reason != reason:
                note(one_line(status.sentence(time.time()), longest=_LONGEST_MESSAGE))
            reason = status.reason
            if status.cost_usd and time.monotonic() - noted_at > _COST_INTERVAL_S:
                noted_at = time.monotonic()
                note(f"X: {_spent(feed.snapshot())}")
    except KeyboardInterrupt:
        # First of all: a second Ctrl-C must neither lose the numbers nor end in a traceback.
        for number in _INTERRUPTS:
            signal.signal(number, signal.SIG_IGN)
        former = {}
        note("Stopped.")
    finally:
        for number in _INTERRUPTS:
            signal.signal(number, signal.SIG_IGN)
        feed.stop()
        for number, handler in former.items():
            signal.signal(number, handler)
    return feed.snapshot()


def printer(stream: TextIO, *, abstain_below: float = 0.0) -> "Callable[[Sequence[ClassifiedPost]], None]":
    """Return a listener that writes each post as one line without control characters; ? for "not sure"."""
    if isinstance(stream, io.TextIOWrapper):  # which may take less than UTF-8
        stream.reconfigure(errors="replace")

    def listen(classified: "Sequence[ClassifiedPost]") -> None:
        try:
            for one in classified:
                label = one_line(one.label) if one.probability >= abstain_below else "?"
                stream.write(f"{label:10} {one.probability:6.1%}  {one_line(one.post.text)}\n")
            stream.flush()
        except (OSError, ValueError) as error:  # ValueError: it was closed
            raise FeedError(f"The output can't be written ({error}), so the feed was ended.") from error

    return listen


def _sentence(summary: "FeedSummary") -> str:
    names = ("received", "classified", "filtered", "duplicates", "dropped")
    counts = ", ".join(f"{getattr(summary, name):,} {name}" for name in names)
    lag = ""
    if summary.lag_p50_s is not None:
        lag = f" Lag: p50 {summary.lag_p50_s:.2f} s, p95 {summary.lag_p95_s:.2f} s."
    return f"{counts}. {summary.rate_per_s:.1f} classified a second.{lag}"


def _spent(snapshot: "FeedSnapshot") -> str:
    return f"${snapshot.source_status.cost_usd or 0:.2f} spent, {snapshot.received:,} posts received."


def _note(words: str) -> None:
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()
