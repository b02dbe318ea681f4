"""Sign in with Hugging Face on a Space, and whose token publishes: always the visitor's own.

    strip = build_login()                       # a line about what this visitor may do, and the button
    token = token_for(visitor, oauth_token)     # raises NotSignedIn, with what to do

On a Space the token is that of the request's signed session, and the Space's own HF_TOKEN is never used for a
visitor. Elsewhere it is this machine's login, for who sits at it. No token is kept here. Knows nothing about
what a token is used for.
"""

import os

import gradio as gr
import huggingface_hub

from inference.common.errors import TweetTuneError
from inference.common.paths import has_bucket
from ui.account.rights import Visitor, login_offered, may_train, on_space
from ui.account.settings import SpaceSettings
from ui.html import esc, page
from ui.parts import html
from ui.translations import Texts

SCOPES = ("contribute-repos", "write-repos", "manage-repos")
"""Any of them lets an app create a repository for its user and write to it."""


class NotSignedIn(TweetTuneError):  # noqa: N818
    """There is no token to publish with."""


def build_login() -> gr.HTML:
    """Draw the line about what this visitor may do, with the button where people can sign in."""
    with gr.Row(elem_classes="tt-login"):
        strip = html(elem_id="standing")
        if login_offered():
            gr.LoginButton("Sign in with Hugging Face", "Sign out ({})", size="sm", scale=0, min_width=220)
    return strip


def standing(settings: SpaceSettings, visitor: Visitor, text: Texts) -> str:
    """Draw what this visitor may do; "" where there is nothing to say, as on one's own machine."""
    sentences = []
    if not may_train(settings, visitor):
        sentences.append(text(f"login.{_why_not(settings, visitor)}", name=visitor.name))
    elif visitor.name:
        sentences.append(text("login.signed_in", name=visitor.name))
    elif login_offered():
        sentences.append(text("login.to_publish"))
    if on_space() and not has_bucket() and not os.environ.get("TWEETTUNE_HOME"):
        sentences.append(text("login.not_kept"))
    return page(f'<p class="tt-note">{esc(" ".join(sentences))}</p>') if sentences else ""


def _why_not(settings: SpaceSettings, visitor: Visitor) -> str:
    if visitor.is_foreign:
        return "foreign"
    if settings.trainers == "nobody":
        return "nobody"
    if not login_offered():
        return "no_login"
    return "not_listed" if visitor.name else "needed"


def token_for(visitor: Visitor, token: gr.OAuthToken | None) -> str:
    """Return the token that a visitor publishes with. Raises NotSignedIn, with what to do."""
    if on_space():
        return _session_token(visitor, token)
    if not visitor.is_here:
        raise NotSignedIn(
            "Only who sits at the machine that runs this app can publish with its login. Open the app "
            "there, as http://localhost with its port."
        )
    found = huggingface_hub.get_token()
    if not found:
        raise NotSignedIn(
            "Nobody is logged in to the Hub on this machine. Run `hf auth login`, or start with HF_TOKEN set."
        )
    return found


def _session_token(visitor: Visitor, token: gr.OAuthToken | None) -> str:
    if not login_offered():
        raise NotSignedIn("This Space has no sign-in, so it can't publish. Its owner can set hf_oauth: true.")
    if not visitor.name or token is None:
        raise NotSignedIn(
            "Nobody is signed in, so there is no account to publish to. Press Sign in with Hugging Face."
        )
    if not set(SCOPES) & set(token.scope.split()):
        raise NotSignedIn(
            f"The sign-in of {visitor.name} does not let this app create repositories ({token.scope}). "
            "Sign out, sign in again and allow it; the owner must have contribute-repos in hf_oauth_scopes."
        )
    return token.token
