"""What a request can be refused with: each error knows its HTTP status, and says in one sentence what to do.

ServingError
├── BadRequest          422  the body is not what the route takes
├── Unauthorized        401  no token, or a wrong one
├── AnotherSite         403  another site's page asked for a change
├── UnknownModel        404  no model of that name is served
├── BodyTooLarge        413  too many bytes, or too many texts
├── WrongType           415  not JSON
├── WrongHost           421  under a name that is none of this machine's
├── SlowClient          408  the body did not arrive in time
├── Overloaded          429  the queue is full            (retry_after_s)
├── RateLimited         429  this client asks too much    (retry_after_s)
├── NotReady            503  the model is being loaded, or the server is about to stop
└── DeadlineExceeded    504  the answer was not ready in time
"""

# ruff: noqa: N818  (what happened is the name; "Error" would add nothing to it)
from typing import ClassVar

from inference.common.errors import TweetTuneError


class ServingError(TweetTuneError):
    """A request that can't be answered, in one sentence fit to be shown to its sender."""

    status: ClassVar[int] = 500
    reason: ClassVar[str] = "failed"
    """Names the refusal in metrics and logs."""

    def __init__(self, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class BadRequest(ServingError):
    """The body is not what the route takes."""

    status, reason = 422, "bad_request"


class Unauthorized(ServingError):
    """No token was sent, or a wrong one."""

    status, reason = 401, "unauthorized"


class AnotherSite(ServingError):
    """Another site's page asked for something that changes things."""

    status, reason = 403, "another_site"


class WrongHost(ServingError):
    """The server was asked under a name that is none of this machine's."""

    status, reason = 421, "wrong_host"


class UnknownModel(ServingError):
    """No model of that name is served."""

    status, reason = 404, "unknown_model"


class BodyTooLarge(ServingError):
    """More bytes or more texts than one request may hold."""

    status, reason = 413, "too_large"


class WrongType(ServingError):
    """The body is not JSON."""

    status, reason = 415, "wrong_type"


class SlowClient(ServingError):
    """The body did not arrive in time."""

    status, reason = 408, "slow_client"


class Overloaded(ServingError):
    """More waits already than may wait."""

    status, reason = 429, "overloaded"


class RateLimited(ServingError):
    """This client has sent more than its share."""

    status, reason = 429, "rate_limited"


class NotReady(ServingError):
    """The model is being loaded, or the server is about to stop."""

    status, reason = 503, "not_ready"


class DeadlineExceeded(ServingError):
    """The answer was not ready in time."""

    status, reason = 504, "deadline"
