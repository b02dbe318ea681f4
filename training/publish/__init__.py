"""What goes to the Hub: the model card, the data card, and the push that checks itself.

    plan = prepare("demo", "ada/tweets")                      # what would leave, looked at byte by byte
    check_rights("ada/tweets", HfApi())                       # before a training, too
    pushed = push(plan, HfApi(), progress=print)              # commits, verifies, stamps

Every failure is a PublishError (`training.publish.errors`) or a HubError (`inference.common.hub`). Needs
training's libraries for the card and the verification; `training.worker` does it all in a process that can
be killed.
"""

from training.publish.errors import (
    Interrupted,
    NotPublishable,
    PublishError,
    RepoConflict,
    VerificationFailed,
)
from training.publish.files import Outgoing
from training.publish.plan import Destination, Plan, prepare
from training.publish.pushing import Pushed, Step, push
from training.publish.rights import Rights, check_rights
from training.publish.verify import Verified

__all__ = [
    "Destination",
    "Interrupted",
    "NotPublishable",
    "Outgoing",
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
