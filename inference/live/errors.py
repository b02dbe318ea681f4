"""What can go wrong with live posts, as one tree: the feed, the app and the command line catch the root.

FeedError
├── RecordingError                       a recording can't be written
└── SourceError                          a source of posts failed
    ├── SourceUnauthorised               the token is missing, wrong, or not allowed to read this
    ├── SourceRateLimited(retry_after_s) the service asks to wait, longer than a feed should
    ├── SourceUnavailable                the service could not be reached, however often it was tried
    └── SourceBadQuery                   the query, the instance or the file can't be used as it was given

Inside a source, `SourceRateLimited` and `SourceUnavailable` lead to a wait and another try; see
`sources/base.py`. No message holds a token.
"""

# ruff: noqa: N818  (the roots are called errors; the branches say what happened)
from inference.common.errors import FeedError


class RecordingError(FeedError):
    """A recording can't be written."""


class SourceError(FeedError):
    """A source of posts failed."""


class SourceUnauthorised(SourceError):
    """The token is missing, wrong, or not allowed to read this."""


class SourceRateLimited(SourceError):
    """The service asks to wait. `retry_after_s`: for how many seconds."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class SourceUnavailable(SourceError):
    """The service can't be reached. `answered`: it answered with an error; else the network failed."""

    def __init__(self, message: str, *, answered: bool = False) -> None:
        super().__init__(message)
        self.answered = answered


class SourceBadQuery(SourceError):
    """The query, the instance or the file can't be used as it was given."""
