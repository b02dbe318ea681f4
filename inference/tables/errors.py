"""What can go wrong with a file that is to be scored.

TweetTuneError
└── ScoringError    it can't be read or has no texts, or its result can't be written
"""

from inference.common.errors import TweetTuneError


class ScoringError(TweetTuneError):
    """A file can't be read or has no texts, or its result can't be written."""
