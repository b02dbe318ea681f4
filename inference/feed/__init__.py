"""A feed: posts from a source, filtered, each once, classified in small batches, with running counts.

    feed = Feed(Replay(posts), classifier.predict, labels=classifier.labels)
    feed.start()
    feed.snapshot()      # -> FeedSnapshot(state="running", received=12, classified=10, dropped=0, ...)
    feed.stop()

    feeds = Feeds()      # one feed for everybody who looks at the same source and query
    feeds.open(("bluesky", "train"), make=lambda: Feed(Bluesky(), ...))

`stream.py` has the feed and its threads, `answers.py` what it asks of a model, `waiting.py` the queue that
samples, `meters.py` what is measured, `numbers.py` what is shown, `registry.py` the feeds that run. Knows
nothing about who shows it.
"""

from inference.feed.answers import Answer, Classify
from inference.feed.numbers import ClassifiedPost, FeedSnapshot, FeedSummary, Lag, Reason, State
from inference.feed.registry import Feeds
from inference.feed.stream import Feed

__all__ = [
    "Answer",
    "ClassifiedPost",
    "Classify",
    "Feed",
    "FeedSnapshot",
    "FeedSummary",
    "Feeds",
    "Lag",
    "Reason",
    "State",
]
