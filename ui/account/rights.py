"""Who a visitor is, and whether they may train: asked on the server, in every handler that changes something.

    visitor = visitor_of(request, profile)
    check_may_train(settings, visitor)        # raises NotAllowed

Who somebody is comes from the signed session of "Sign in with Hugging Face" alone: a token or a name that a
client sends along proves nothing. A page of another site sends the session of its reader along too, so such a
request has no rights. Whoever may not train still compares and watches. Knows nothing about what is trained.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import gradio as gr

from inference.common.errors import TweetTuneError
from ui.account.settings import SpaceSettings

_OAUTH = ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OAUTH_SCOPES", "OPENID_PROVIDER_URL")
_LOOPBACK = ("127.0.0.1", "::1")
_LOOPBACK_NAMES = (*_LOOPBACK, "localhost")
_PROXIED = ("x-forwarded-for", "x-forwarded-host", "forwarded")


class NotAllowed(TweetTuneError):  # noqa: N818
    """The owner of the app does not let this visitor do that."""


@dataclass(frozen=True)
class Visitor:
    """Somebody who uses the app."""

    name: str = ""
    """The user name on the Hub; empty for somebody who is not signed in."""
    is_here: bool = False
    """Whether they sit at the machine that the app runs on, and it is no Space."""
    is_foreign: bool = False
    """Whether a page of another site sent the request, with or without its reader's knowledge."""


def on_space() -> bool:
    """Whether this is a Space: its owner's token must never serve a visitor."""
    return bool(os.environ.get("SPACE_ID"))


def login_offered() -> bool:
    """Whether people can sign in: on a Space with `hf_oauth`. Elsewhere Gradio's sign-in is but a play."""
    on_hub = os.environ.get("SYSTEM") == "spaces" and on_space()
    return on_hub and all(os.environ.get(name) for name in _OAUTH)


def visitor_of(request: gr.Request | None, profile: gr.OAuthProfile | None) -> Visitor:
    """Return who sent a request; `profile` is what Gradio took from the signed session."""
    headers: Mapping[str, str] = getattr(request, "headers", None) or {}
    if _from_another_site(headers):
        return Visitor(is_foreign=True)
    name = profile.username if profile is not None and login_offered() else ""
    client = getattr(getattr(request, "client", None), "host", None)
    return Visitor(name, is_here=not on_space() and client in _LOOPBACK and _names_this_machine(headers))


def _from_another_site(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that it was; only what no page's script can set is asked."""
    if site := headers.get("sec-fetch-site"):  # knows of every proxy and domain; absent over plain http
        return site not in ("same-origin", "none")
    if not (origin := headers.get("origin")):
        return False  # no page sent it
    own_names = os.environ.get("SPACE_HOST", "")
    own = f"{headers.get('host', '')},{own_names}".lower().split(",")
    host = urlsplit(origin.lower()).netloc  # "" for "null": a file, or a frame without rights
    return not host or host not in [each.strip() for each in own]


def _names_this_machine(headers: Mapping[str, str]) -> bool:
    """Whether it came straight to this machine's own name: any other may be made to lead here."""
    name = urlsplit(f"//{headers.get('host', '')}").hostname
    return name in _LOOPBACK_NAMES and not any(each in headers for each in _PROXIED)


def may_train(settings: SpaceSettings, visitor: Visitor) -> bool:
    """Whether a visitor may train, cancel, resume, choose the model and publish."""
    if visitor.is_foreign:
        return False
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
    if visitor.is_foreign:
        raise NotAllowed(
            "This request came from a page of another site, so it may change nothing here. "
            "Open the app at its own address and ask again there."
        )
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
