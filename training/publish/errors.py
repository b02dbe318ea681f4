"""What can go wrong on the way to the Hub, each in one sentence with the next step.

PublishError (a TweetTuneError)
├── NotLoggedIn          there is no token, or the Hub does not take it
├── NotAllowed           the token may not do that
├── NotPublishable       a file must not leave the machine, or the model can't be loaded by others
├── RepoConflict         the name is taken, or somebody else has committed meanwhile
├── HubBusy              the Hub says "later"; `retry_after_s` when it says when
├── HubSilent            the Hub does not answer, or the connection breaks
├── Interrupted          the push was stopped
└── VerificationFailed   what was downloaded again does not answer as what was pushed
"""

from inference.common.errors import TweetTuneError


class PublishError(TweetTuneError):
    """Something can't be published."""


class NotLoggedIn(PublishError):  # noqa: N818
    """There is no token, or the Hub does not take it."""


class NotAllowed(PublishError):  # noqa: N818
    """The token may not do that."""


class NotPublishable(PublishError):  # noqa: N818
    """A file must not leave the machine, or the model can't be loaded by others."""


class RepoConflict(PublishError):  # noqa: N818
    """The name is taken, or somebody else has committed meanwhile."""


class HubBusy(PublishError):  # noqa: N818
    """The Hub says "later"."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class HubSilent(PublishError):  # noqa: N818
    """The Hub does not answer, or the connection breaks."""


class Interrupted(PublishError):  # noqa: N818
    """The push was stopped."""


class VerificationFailed(PublishError):  # noqa: N818
    """What was downloaded again does not answer as what was pushed."""
