"""Every text of the app, in English and Brazilian Portuguese: `ui/texts/<language>.toml`, one key a text.

    I18N("train.start")                          # a Gradio label, translated in the browser
    text("train.left", time=text.duration(90))   # HTML made on the server, in the request's language
    with speaking("pt-BR"): text("train.start")  # outside a request

The language is that of the request's Accept-Language; APP_LANGUAGE sets one for everybody. Numbers, shares
and times are written here too, since their form depends on the language. Nothing here is escaped for HTML.
"""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import cache
from pathlib import Path

import gradio as gr
from gradio.context import LocalContext

from inference.common.intervals import Interval
from training.recipes import available_recipes, settings

_FOLDER = Path(__file__).parent / "texts"
DEFAULT = "en"
LANGUAGES = (DEFAULT, "pt-BR")
IN_BROWSERS = (
    {"compare", "duel", "help", "live", "many", "preview"}
    | {"publish", "recipe", "setting"}
    | {"source", "tab", "train"}
)
"""The sections that hold labels of Gradio components: only these are sent to the browser."""


@cache
def texts(language: str) -> dict[str, str]:
    """Return all texts of a language by dotted key. English takes help and descriptions from the recipes."""
    with (_FOLDER / f"{language}.toml").open("rb") as file:
        found = _flat(tomllib.load(file))
    if language == DEFAULT:
        found |= {f"help.{field.name}": field.help for field in settings()}
        found |= {f"recipe.{name}": recipe.description for name, recipe in available_recipes().items()}
    for field in settings():
        key = f"help.{field.name}"
        found[key] = _without_label(found[key], found[f"setting.{field.name}"])
    return found


def _without_label(help: str, label: str) -> str:
    """Drop the part of a field's help that repeats its label: "training rows; 0: all" -> "0: all"."""
    says_it = re.match(rf"{re.escape(label)}[;:]\s*", help, re.IGNORECASE)
    return help[says_it.end() :] if says_it else help


def _flat(tree: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: str(value)}
    return flat


def forced() -> str:
    """Return the language that the owner has set for everybody, "" for each browser's own."""
    return os.environ.get("APP_LANGUAGE", "").strip()


def _in_browsers() -> dict[str, dict[str, str]]:
    """Return the texts of labels by the browser's language; the server writes all others.

    A text with a {place} is never a label, since Gradio fills none. Nor is the next step of an empty state.
    """
    return {
        language: {
            key: said
            for key, said in texts(forced() or ours).items()
            if key.split(".")[0] in IN_BROWSERS and "{" not in said and not key.endswith("_next")
        }
        for language, ours in {**{name: name for name in LANGUAGES}, "pt": "pt-BR"}.items()
    }


I18N = gr.I18n(**_in_browsers())


def language_of(accepted: str) -> str:
    """Return the best of our languages for an Accept-Language header, English if none fits."""
    ranked = []
    for position, part in enumerate(accepted.split(",")):
        tag, _, quality = part.strip().partition(";q=")
        try:
            ranked.append((-float(quality or 1), position, tag.lower()))
        except ValueError:
            continue
    for _, _, tag in sorted(ranked):
        for language in LANGUAGES:
            if tag.split("-")[0] == language.split("-")[0]:
                return language
    return DEFAULT


class Texts:
    """The texts of one language, and its number formats."""

    def __init__(self, language: str = DEFAULT) -> None:
        self._language = language

    @property
    def language(self) -> str:
        """One of LANGUAGES."""
        return self._language

    @property
    def _texts(self) -> dict[str, str]:
        return texts(self.language)

    def __call__(self, key: str, **values: object) -> str:
        """Return a text with its {places} filled in. Raises KeyError for an unknown key."""
        return self._texts[key].format(**values) if values else self._texts[key]

    def has(self, key: str) -> bool:
        """Whether there is such a text: keys may come from data, as for labels and phases."""
        return key in self._texts

    def label(self, name: str) -> str:
        """Translate a label if it is one of the sentiments; others stay as they are."""
        key = f"label.{name.lower()}"
        return self._texts.get(key, name)

    def number(self, value: float, digits: int = 0) -> str:
        """Write a number with the language's separators."""
        plain = f"{value:,.{digits}f}".replace("-", "−")
        return plain if self.language == DEFAULT else plain.translate(str.maketrans(",.", ".,"))

    def short(self, value: float) -> str:
        """Write a number with four significant digits, without trailing zeros."""
        plain = f"{value:.4g}"
        return plain if self.language == DEFAULT else plain.replace(".", ",")

    def typed(self, value: float) -> str:
        """Write a number as one would type it, without thousands separators; `plain` reads it back."""
        written = f"{value:.10g}"
        return written if self.language == DEFAULT else written.replace(".", ",")

    def plain(self, typed: str) -> str:
        """Rewrite a number typed in this language in Python's notation; other text stays invalid."""
        thousands, point = (",", ".") if self.language == DEFAULT else (".", ",")
        return re.sub(rf"[ {thousands}](?=\d{{3}}(?!\d))", "", typed).replace(point, ".")

    def percent(self, share: float, digits: int = 1) -> str:
        """Write a share of 1 as per cent, with a no-break space."""
        return f"{self.number(100 * share, digits)}\u00a0%"

    def points(self, share: float, digits: int = 0) -> str:
        """Write a share of 1 as points with their sign."""
        points = round(100 * share, digits) or 0.0  # no "−0"
        return f"{'+' if points > 0 else ''}{self.number(points, digits)}"

    def interval(self, score: Interval, *, points: bool = False) -> str:
        """Write a score's 95 % interval; `points` for a difference of two shares, which needs its sign."""
        ends = (score.low, score.high)
        return " – ".join(self.points(end, 1) if points else self.number(100 * end, 1) for end in ends)

    def score(self, score: Interval) -> str:
        """Write a score as per cent with its 95 % interval."""
        return f"{self.percent(score.value)} ({self.interval(score)})"

    def duration(self, seconds: float) -> str:
        """Write a length of time in its two largest units."""
        whole = max(0, round(seconds))
        if whole < 60:
            return f"{whole}\u00a0s"
        big, small, names = (
            (whole // 60, whole % 60, "min s")
            if whole < 3600
            else (whole // 3600, whole % 3600 // 60, "h min")
        )
        first, second = names.split()
        return f"{big}\u00a0{first}" + (f" {small:02d}\u00a0{second}" if small else "")

    def when(self, seconds: float | None, *, now: float) -> str:
        """Write a time relative to `now`; both are Unix seconds."""
        if seconds is None:
            return "–"
        ago_s = now - seconds
        if ago_s < 60:
            return self("when.now")
        if ago_s < 3600:
            return self("when.minutes", n=int(ago_s // 60))
        if ago_s < 86_400:
            return self("when.hours", n=int(ago_s // 3600))
        return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


@cache
def _texts_in(language: str) -> Texts:
    return Texts(language)


def texts_for(request: object) -> Texts:
    """Return the texts in a request's language; English for one without a preference."""
    if language := forced():
        return _texts_in(language)
    headers: Mapping[str, str] = getattr(request, "headers", None) or {}
    return _texts_in(language_of(headers.get("accept-language", "") or ""))


class _OfTheRequest(Texts):
    """The texts in the language of the current request."""

    @property
    def language(self) -> str:
        """That of `speaking`, else of the request that Gradio is handling, else English."""
        return _SPOKEN.get() or texts_for(LocalContext.request.get(None)).language


text = _OfTheRequest()
_SPOKEN: ContextVar[str] = ContextVar("spoken", default="")


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Context in which `text` is in this language."""
    before = _SPOKEN.set(language)
    try:
        yield
    finally:
        _SPOKEN.reset(before)
