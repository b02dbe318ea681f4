"""Who a visitor is, and whether they may train: asked on the server, in every handler that changes something.

    visitor = visitor_of(request, profile)
    check_may_train(settings, visitor)        # raises NotAllowed

Who somebody is comes from the signed session of "Sign in with Hugging Face" alone: a token or a name that a
client sends along proves nothing. Whoever may not train still compares and watches. Knows nothing about what
is trained.
"""

import os
from dataclasses import dataclass
from typing import Any

import gradio as gr

from inference.errors import TweetTuneError
from ui.space_settings import SpaceSettings

_OAUTH = ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OAUTH_SCOPES", "OPENID_PROVIDER_URL")
_LOOPBACK = ("127.0.0.1", "::1")


class NotAllowed(TweetTuneError):  # noqa: N818
    """The owner of the app does not let this visitor do that."""


@dataclass(frozen=True)
class Visitor:
    """Somebody who uses the app."""

    name: str = ""
    """The user name on the Hub; empty for somebody who is not signed in."""
    is_here: bool = False
    """Whether they sit at the machine that the app runs on, and it is no Space."""


def on_space() -> bool:
    """Whether this is a Space: its owner's token must never serve a visitor."""
    return bool(os.environ.get("SPACE_ID"))


def login_offered() -> bool:
    """Whether people can sign in: on a Space with `hf_oauth`. Elsewhere Gradio's sign-in is but a play."""
    on_hub = os.environ.get("SYSTEM") == "spaces" and on_space()
    return on_hub and all(os.environ.get(name) for name in _OAUTH)


def visitor_of(request: gr.Request | None, profile: gr.OAuthProfile | None) -> Visitor:
    """Return who sent a request; `profile` is what Gradio took from the signed session."""
    name = profile.username if profile is not None and login_offered() else ""
    return Visitor(name, is_here=not on_space() and _host(request) in _LOOPBACK)


def _host(request: Any) -> str:
    client = getattr(request, "client", None)
    return str(getattr(client, "host", "") or "")


def may_train(settings: SpaceSettings, visitor: Visitor) -> bool:
    """Whether a visitor may train, cancel, resume, choose the model and publish."""
    match settings.trainers:
        case "everyone":
            return True
        case "nobody":
            return False
        case "signed-in":
            return bool(visitor.name)
        case names:
            return visitor.name.lower() in names


def check_may_train(settings: SpaceSettings, visitor: Visitor) -> None:
    """Raise NotAllowed for whoever may not train, with what to do."""
    if may_train(settings, visitor):
        return
    if settings.trainers == "nobody":
        raise NotAllowed(
            "Training is switched off here. Compare and Live are open; train in a copy of your own."
        )
    if not login_offered():
        raise NotAllowed(
            "Only people who are signed in may train here, but this app has no sign-in. "
            "Its owner can set hf_oauth on a Space, or WHO_MAY_TRAIN=everyone."
        )
    if not visitor.name:
        raise NotAllowed(
            "Only people who are signed in may train here. Press Sign in with Hugging Face first."
        )
    raise NotAllowed(
        f"Only people whom the owner has named may train here, and {visitor.name} is not among them. "
        "Ask the owner, or train in a copy of your own."
    )
