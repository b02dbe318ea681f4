"""What the owner of a Space sets: one frozen dataclass, read from the environment once, at the start.

    settings = read_settings()           # of os.environ: MODEL_ID, WHO_MAY_TRAIN, …
    settings.who_may_train               # "nobody", "signed-in", "everyone", or names with commas

A Space's variables are its environment. The README's table is made from the fields below. Knows nothing about
who a visitor is, or what a limit is applied to.
"""

import dataclasses
import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inference.common.errors import TweetTuneError

WHO = ("nobody", "signed-in", "everyone")
LANGUAGES = ("en", "pt-BR")
_USER = re.compile(r"[\w][\w.-]*")


class SettingsError(TweetTuneError):
    """A variable of the environment has a value that means nothing."""


def _setting(default: Any, help: str, **limits: Any) -> Any:
    return field(default=default, metadata={"help": help, **limits})


@dataclass(frozen=True, kw_only=True)
class SpaceSettings:
    """The owner's settings. Raises SettingsError for a value that means nothing."""

    model_id: str = _setting(
        "",
        "the model at the start: `owner/name` on the Hub, or an artifact's folder; empty: the newest run's",
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
    max_train_rows: int = _setting(0, "the most training rows that a run may ask for; 0: any number")
    max_run_minutes: int = _setting(0, "minutes after which a run is stopped, resumed or not; 0: no limit")
    max_upload_mb: int = _setting(50, "the largest file that may be uploaded, in MB", low=1)
    rate_limit: int = _setting(
        -1,
        "texts a second that one client may send to the routes; 0: any; -1: 20 on a Space, else any",
        low=-1,
    )
    app_language: str = _setting("", "`en` or `pt-BR` for everybody; empty: after the browser")
    on_space: bool = field(default=False, metadata={})

    def __post_init__(self) -> None:
        for each in settings():
            value = getattr(self, each.name)
            if isinstance(value, int) and value < each.metadata.get("low", 0):
                raise SettingsError(
                    f"{each.name.upper()} is {value}. Give {each.metadata.get('low', 0)} or more: "
                    f"{each.metadata['help']}."
                )
        if self.app_language not in ("", *LANGUAGES):
            raise SettingsError(
                f"APP_LANGUAGE is {self.app_language!r}. Give {' or '.join(LANGUAGES)}, or leave it empty."
            )
        for name in ("base", "dataset"):
            if self.on_space and getattr(self, name) == "embedded":
                raise SettingsError(
                    f"{name.upper()} is 'embedded', but a Space can't install its package. "
                    "Give a Hub id, or leave it empty: auto takes what the Hub has."
                )
        _check_who(self.who_may_train)

    @property
    def trainers(self) -> str | frozenset[str]:
        """Who may train: "nobody", "signed-in", "everyone", or the names of users, in lower case."""
        given = self.who_may_train or ("signed-in" if self.on_space else "everyone")
        return given if given in WHO else frozenset(_names(given))

    @property
    def texts_per_s(self) -> float:
        """The routes' limit for one client; 0: none."""
        return float(self.rate_limit if self.rate_limit >= 0 else 20 if self.on_space else 0)


def settings() -> tuple[dataclasses.Field[Any], ...]:
    """Return the fields that an owner can set; the variable is the name in upper case."""
    return tuple(each for each in dataclasses.fields(SpaceSettings) if each.metadata)


def read_settings(environ: Mapping[str, str] | None = None) -> SpaceSettings:
    """Return the settings of an environment. Raises SettingsError, naming the variable."""
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for each in settings():
        given = environ.get(each.name.upper(), "").strip()
        if given:
            values[each.name] = _whole(each.name, given) if each.type is int else given
    return SpaceSettings(**values, on_space=bool(environ.get("SPACE_ID")))


def _whole(name: str, given: str) -> int:
    try:
        return int(given)
    except ValueError:
        raise SettingsError(f"{name.upper()} is {given!r}. Give a whole number.") from None


def _names(given: str) -> list[str]:
    return [name.strip().lower() for name in given.split(",") if name.strip()]


def _check_who(given: str) -> None:
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
