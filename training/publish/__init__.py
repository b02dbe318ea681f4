"""What goes to the Hub: the model card, the data card, and the push that checks itself.

    plan = prepare("demo", "ada/tweets")                      # what would leave, looked at byte by byte
    check_rights("ada/tweets", token=token)                   # before a training, too
    pushed = push(plan, token=token, progress=print)          # commits, verifies, stamps

Every failure is a PublishError in one sentence: see `training.publish.errors`. Needs training's libraries for
the card and the verification; `training.worker` does it all in a process that can be killed.
"""

from training.publish.errors import (
    HubBusy,
    HubSilent,
    Interrupted,
    NotAllowed,
    NotLoggedIn,
    NotPublishable,
    PublishError,
    RepoConflict,
    VerificationFailed,
)
from training.publish.files import Outgoing
from training.publish.plan import Destination, Plan, prepare
from training.publish.pushing import Pushed, Step, push
from training.publish.rights import Rights, check_rights
from training.publish.session import Patience
from training.publish.verify import Verified

__all__ = [
    "Destination",
    "HubBusy",
    "HubSilent",
    "Interrupted",
    "NotAllowed",
    "NotLoggedIn",
    "NotPublishable",
    "Outgoing",
    "Patience",
    "Plan",
    "PublishError",
    "Pushed",
    "RepoConflict",
    "Rights",
    "Step",
    "VerificationFailed",
    "Verified",
    "check_rights",
    "prepare",
    "push",
]
