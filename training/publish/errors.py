"""Why something is not published, each in one sentence with the next step. What the Hub says: `common.hub`.

PublishError (a TweetTuneError)
├── NotPublishable       a file must not leave the machine, or the model can't be loaded by others
├── RepoConflict         the name is taken, or somebody else has committed meanwhile
└── VerificationFailed   the downloaded model or data differs from the pushed one
"""

from inference.common.errors import TweetTuneError


class PublishError(TweetTuneError):
    """Something can't be published."""


class NotPublishable(PublishError):  # noqa: N818
    """A file must not leave the machine, or the model can't be loaded by others."""


class RepoConflict(PublishError):  # noqa: N818
    """The name is taken, or somebody else has committed meanwhile."""


class VerificationFailed(PublishError):  # noqa: N818
    """The downloaded model or data differs from the pushed one."""
