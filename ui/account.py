"""The owner's settings, who a visitor is, what they may change, and whose token publishes.

    settings = read_settings()                # of os.environ: MODEL_ID, WHO_MAY_TRAIN, …
    visitor = visitor_of(request, profile)
    check_may_train(settings, visitor)        # raises NotAllowed

    @changes_something(settings)              # a Gradio handler that checks all this before it begins
    def start_training(visitor, *values): ...

Permissions are checked on the server for every call. A visitor's identity comes from the signed session of
"Sign in with Hugging Face" alone: a token or a name that a client sends proves nothing. A page of another
site sends its reader's session too, so such a request has no rights. Visitors who may not train can still
compare and watch.

On a Space a visitor's token is that of the signed session, and the Space's own HF_TOKEN is never used for
them. Elsewhere it is this machine's login, for whoever sits at it. No token is kept.
"""

import difflib
import functools
import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import gradio as gr
import huggingface_hub
from pydantic import BaseModel, Field, ValidationError, model_validator

from inference.common.errors import TweetTuneError
from inference.common.paths import has_bucket
from inference.serving.hosts import from_another_site
from training.recipes import Setting, available_recipes
from ui.html import esc, html, page
from ui.translations import text

T = TypeVar("T")
WHO = ("nobody", "signed-in", "everyone")
SCOPES = ("contribute-repos", "write-repos", "manage-repos")
"""Each of them lets an app create a repository for its user and write to it."""
_USER = re.compile(r"[\w][\w.-]*")
_OAUTH = ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OAUTH_SCOPES", "OPENID_PROVIDER_URL")
_LOOPBACK = ("127.0.0.1", "::1")
_LOOPBACK_NAMES = (*_LOOPBACK, "localhost")
_PROXIED = ("x-forwarded-for", "x-forwarded-host", "forwarded")


class SettingsError(TweetTuneError):
    """An environment variable has an invalid value."""


class NotAllowed(TweetTuneError):  # noqa: N818
    """The owner of the app does not let this visitor do that."""


class NotSignedIn(TweetTuneError):  # noqa: N818
    """The visitor has no token to publish with."""


def _setting(default: T, help: str, *, low: int | None = None) -> T:
    return Field(default, description=help, ge=low)


class SpaceSettings(BaseModel, frozen=True):
    """The owner's settings, from environment variables (on a Space: its variables).

    Raises SettingsError for an invalid value. The documents' table is made from these fields.
    """

    model_id: str = _setting(
        "",
        "the model at the start: `owner/name` on the Hub, or an artifact's folder; empty: the newest run's",
    )
    first_run: str = _setting(
        "", "the recipe, such as `quick`, that is trained at the start where there is no model and no run yet"
    )
    base: str = _setting(
        "auto",
        "the base that the Train tab proposes: auto or a Hub id, or embedded, which a Space can't install",
    )
    dataset: str = _setting(
        "auto",
        "the data that the Train tab proposes: auto or a Hub id, or embedded, which a Space can't install",
    )
    who_may_train: str = _setting(
        "",
        "who may train, cancel, resume, choose the model and publish: `nobody`, `signed-in`, `everyone`, or "
        "names of users with commas; empty: `signed-in` on a Space, `everyone` elsewhere",
    )
    max_train_rows: int = _setting(
        0, "the most training rows, and texts without labels, that a run may ask for; 0: any number", low=0
    )
    max_run_minutes: int = _setting(
        0, "minutes after which a run is stopped, resumed or not; 0: no limit", low=0
    )
    max_upload_mb: int = _setting(50, "the largest file that may be uploaded, in MB", low=1)
    rate_limit: int = _setting(
        -1,
        "texts a second that one client may send to the routes; 0: any; -1: 20 on a Space, else any",
        low=-1,
    )
    app_language: Literal["", "en", "pt-BR"] = _setting(
        "", "`en` or `pt-BR` for everybody; empty: after the browser"
    )
    on_space: bool = False

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_sentence(cls, values: object, build: Callable[[object], "SpaceSettings"]) -> "SpaceSettings":
        try:
            found = build(values)
        except ValidationError as error:
            raise SettingsError(_sentence(error)) from None
        if found.first_run and found.first_run not in (known := available_recipes()):
            raise SettingsError(
                f"FIRST_RUN is {found.first_run!r}. Give {', '.join(known)}, or leave it empty."
            )
        for name in ("base", "dataset"):
            if found.on_space and getattr(found, name) == "embedded":
                raise SettingsError(
                    f"{name.upper()} is 'embedded', but a Space can't install its package. "
                    "Give a Hub id, or leave it empty: auto takes what the Hub has."
                )
        given = found.who_may_train
        names = [] if given in ("", *WHO) else _names(given)
        for name in names:
            near = difflib.get_close_matches(name, WHO, n=1, cutoff=0.75)
            if near or not _USER.fullmatch(name):
                hint = f" Did you mean {near[0]}?" if near else ""
                raise SettingsError(
                    f"WHO_MAY_TRAIN is {given!r}.{hint} Give {', '.join(WHO)}, or names of users with commas."
                )
        if given and given not in WHO and not names:
            raise SettingsError(f"WHO_MAY_TRAIN is {given!r}. Give {', '.join(WHO)}, or names of users.")
        return found

    @property
    def trainers(self) -> str | frozenset[str]:
        """Who may train: "nobody", "signed-in", "everyone", or the names of users, in lower case."""
        given = self.who_may_train or ("signed-in" if self.on_space else "everyone")
        return given if given in WHO else frozenset(_names(given))

    @property
    def trains(self) -> bool:
        return self.trainers != "nobody"

    @property
    def texts_per_s(self) -> float:
        """The most texts a second that one client may send to the routes; 0: no limit."""
        return float(self.rate_limit if self.rate_limit >= 0 else 20 if self.on_space else 0)


def _names(given: str) -> list[str]:
    return [name.strip().lower() for name in given.split(",") if name.strip()]


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    name, value, limits = str(first["loc"][0]), first["input"], first.get("ctx", {})
    match first["type"]:
        case "greater_than_equal":
            about = SpaceSettings.model_fields[name].description
            return f"{name.upper()} is {value}. Give {limits['ge']} or more: {about}."
        case "literal_error":
            return f"{name.upper()} is {value!r}. Give en or pt-BR, or leave it empty."
        case _:
            return f"{name.upper()} is {value!r}. Give a whole number."


def settings() -> tuple[Setting, ...]:
    """Return the settings that an owner can set; each variable is the name in upper case."""
    fields = SpaceSettings.model_fields.items()
    return tuple(
        Setting(name, each.description, each.default, str) for name, each in fields if each.description
    )


def read_settings(environ: Mapping[str, str] | None = None) -> SpaceSettings:
    """Read the settings from an environment. Raises SettingsError, which names the variable."""
    environ = os.environ if environ is None else environ
    given = {each.name: environ.get(each.name.upper(), "").strip() for each in settings()}
    values: dict[str, Any] = {name: value for name, value in given.items() if value}
    return SpaceSettings(**values, on_space=bool(environ.get("SPACE_ID")))


@dataclass(frozen=True)
class Visitor:
    """Somebody who uses the app."""

    name: str = ""
    """The user name on the Hub; empty for somebody who is not signed in."""
    is_here: bool = False
    """Whether they sit at the machine that runs the app, which is no Space."""
    is_foreign: bool = False
    """Whether a page of another site sent the request, with or without its reader's knowledge."""
    token: gr.OAuthToken | None = field(default=None, repr=False, compare=False)
    """The token of the signed session, where the handler asks for it."""

    @property
    def key(self) -> str:
        """The name that their pushes are kept under; "" for a visitor who can't publish."""
        return f"user {self.name}" if self.name else "here" if self.is_here else ""


def on_space() -> bool:
    """Whether the app runs on a Space, where the owner's token must never serve a visitor."""
    return bool(os.environ.get("SPACE_ID"))


def login_offered() -> bool:
    """Whether people can sign in: on a Space with `hf_oauth`. Outside a Space Gradio fakes the login."""
    on_hub = os.environ.get("SYSTEM") == "spaces" and on_space()
    return on_hub and all(os.environ.get(name) for name in _OAUTH)


def visitor_of(
    request: gr.Request | None, profile: gr.OAuthProfile | None, token: gr.OAuthToken | None = None
) -> Visitor:
    """Return who sent a request; Gradio reads `profile` and `token` from the signed session."""
    headers: Mapping[str, str] = getattr(request, "headers", None) or {}
    if from_another_site(headers):
        return Visitor(is_foreign=True)
    name = profile.username if profile is not None and login_offered() else ""
    client = getattr(getattr(request, "client", None), "host", None)
    is_here = not on_space() and client in _LOOPBACK and _names_this_machine(headers)
    return Visitor(name, is_here=is_here, token=token)


def _names_this_machine(headers: Mapping[str, str]) -> bool:
    """Whether a request came straight to this machine's own name: any other name may be made to lead here."""
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
    """Raise NotAllowed, with what to do, for a visitor who may not train."""
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


def changes_something(space: SpaceSettings) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Turn a function whose first argument is the Visitor into a Gradio handler that checks their rights.

    Our own errors are shown as their sentence. Gradio chooses a handler's arguments by its signature: the
    handler has Gradio's parameters, then the function's own with their types, which the API's page shows.
    """

    def decorate(handler: Callable[..., T]) -> Callable[..., T]:
        def visitor(*gradios: Any) -> Visitor:
            found = visitor_of(*gradios)
            check_may_train(space, found)
            return found

        @functools.wraps(handler)
        def answer(*given: object) -> T:
            return handler(visitor(*given[:3]), *given[3:])

        @functools.wraps(handler)
        def answers(*given: object) -> Iterator[object]:
            yield from handler(visitor(*given[:3]), *given[3:])  # type: ignore[misc]

        def of_gradio(
            request: gr.Request, profile: gr.OAuthProfile | None, token: gr.OAuthToken | None
        ) -> None: ...

        own, gradios = inspect.signature(handler), inspect.signature(of_gradio)
        parameters = [*gradios.parameters.values(), *list(own.parameters.values())[1:]]
        found: Any = answers if inspect.isgeneratorfunction(handler) else answer
        found.__signature__ = own.replace(parameters=parameters)
        found.__annotations__ = {**handler.__annotations__, **of_gradio.__annotations__}
        return found  # type: ignore[no-any-return]

    return decorate


def build_login() -> gr.HTML:
    """Draw the line that says what this visitor may do, and the sign-in button where there is one."""
    with gr.Row(elem_classes="tt-login"):
        strip = html(elem_id="standing")
        if login_offered():
            gr.LoginButton("Sign in with Hugging Face", "Sign out ({})", size="sm", scale=0, min_width=220)
    return strip


def standing(settings: SpaceSettings, visitor: Visitor) -> str:
    """Say what this visitor may do; "" where there is nothing to say, as on one's own machine."""
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


def address_of(request: Any) -> str:
    """Return the app's own address as the browser of a request (Gradio's or Starlette's) knows it."""
    if host := os.environ.get("SPACE_HOST"):
        return f"https://{host}"
    url = getattr(getattr(request, "request", request), "base_url", "")
    return str(url).rstrip("/") or "http://localhost:7860"


def _why_not(settings: SpaceSettings, visitor: Visitor) -> str:
    if visitor.is_foreign:
        return "foreign"
    if settings.trainers == "nobody":
        return "nobody"
    if not login_offered():
        return "no_login"
    return "not_listed" if visitor.name else "needed"


def token_for(visitor: Visitor) -> str:
    """Return the token that a visitor publishes with. Raises NotSignedIn, which says what to do."""
    if on_space():
        return _session_token(visitor, visitor.token)
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
