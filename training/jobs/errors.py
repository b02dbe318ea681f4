"""What can go wrong with a rented machine.

RentedError (a RunError)
├── JobRefused    the Hub says no: login, rights, credit, machine
├── JobFailed     the job ended without a model
└── HubSilent     no answer, or an answer that says "later"
"""

from inference.common.errors import RunError


class RentedError(RunError):
    """A run can't be made on a rented machine."""


class JobRefused(RentedError):  # noqa: N818
    """The Hub says no: login, rights, credit, machine."""


class JobFailed(RentedError):  # noqa: N818
    """The job ended without a model."""


class HubSilent(RentedError):  # noqa: N818
    """No answer from the Hub, or an answer that says "later"."""
