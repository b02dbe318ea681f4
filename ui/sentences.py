"""Adapts sentences of training, inference and runs (errors, notes, reasons) to the page.

    said("odd.csv has no text column; name the right one with --text-column.")
    # -> "odd.csv has no text column; name the right one with the field “Text column”."
    said("learning_rate is 50. Give …")          # -> "“Learning rate” is 50. Give …"

They are written for a terminal. Here an option becomes the label of its field and a command the button that
does the same; other advice for a terminal is replaced by a pointer to the owner. A path becomes its file's
name. Sentences that the texts hold as `said.…` are translated: the English text is the pattern, and its
{places} are the values.
"""

import re
import tempfile
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path

from inference.common.paths import home
from training.recipes import settings
from ui.translations import DEFAULT, text, texts

_FIELDS = {"private": "publish.private", "pr": "publish.pr", "adapter-only": "publish.adapter_only"}
_BUTTONS = {"resume": "train.resume", "cancel": "train.cancel", "train": "train.start", "runs": "runs.title"}
_OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)")
_COMMAND = re.compile(rf"`python -m training ({'|'.join(_BUTTONS)})\b[^`]*`")
_NOT_HERE = re.compile(rf"{_OPTION.pattern}|python -m |pip install|hf auth login|HF_TOKEN")
_CLAUSE = re.compile(r"([.;:]\s+|,?\s+(?:or|and|unless)\s+)")
_UPLOAD = re.compile(r"[^\s'\"`(]*/(?:gradio|uploads)/[0-9a-f]{12,64}[-/]|\b[0-9a-f]{12}-(?=[\w.-]+\.\w)")
_PATH = re.compile(r"(?<![\w:/.~\\])(?:~|\.{1,2}|[A-Za-z]:)?[/\\][^\s'\"`,;:()]*[^\s'\"`,;:().]")
_NUMBER = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?|[-+]?\d+\.\d+")
_ARTIFACT = re.compile(r"\bruns[/\\]([^/\\\s]+)[/\\]artifact\b")


def said(sentence: str) -> str:
    """Return a sentence as the page shows it: translated if known, without options, commands and paths."""
    shown = _without_commands(_without_paths(_translated(sentence)))
    return shown if "There is no setting" in sentence else _with_labels(shown)  # that is about a file's names


def _with_labels(sentence: str) -> str:
    """Replace settings by the labels of their fields, by which the page finds an error's field."""
    return _settings().sub(lambda found: f"“{text(f'setting.{found[0]}')}”", sentence)


@cache
def _settings() -> re.Pattern[str]:
    """Match names of settings; those that are English words too only as the subject of a sentence."""
    names = [field.name for field in settings()]
    odd = "|".join(name for name in names if "_" in name)
    return re.compile(rf"^(?:{'|'.join(names)})(?= (?:is|é) )|(?<![\w./`'“-])(?:{odd})(?![\w./'-]| = )")


def _without_paths(sentence: str) -> str:
    for root in sorted({str(home()), tempfile.gettempdir(), str(Path.home())}, key=len, reverse=True):
        if len(root) > 1:  # it may contain spaces
            sentence = sentence.replace(root + "/", "/")
    sentence = _ARTIFACT.sub(r"\1", _UPLOAD.sub("", sentence))

    def name(found: re.Match[str]) -> str:
        parts = [part for part in re.split(r"[/\\]", found[0]) if part]
        return parts[-2] if parts[-1] == "artifact" and len(parts) > 1 else parts[-1]

    return _PATH.sub(name, sentence)


def _without_commands(sentence: str) -> str:
    def field(found: re.Match[str]) -> str:
        name = found[1]
        key = _FIELDS.get(name, f"setting.{name.replace('-', '_')}")
        return text("words.field", name=text(key)) if text.has(key) else found[0]

    sentence = _COMMAND.sub(lambda found: f"“{text(_BUTTONS[found[1]])}”", _OPTION.sub(field, sentence))
    return _without_advice(sentence) if _NOT_HERE.search(sentence) else sentence


def _without_advice(sentence: str) -> str:
    """Leave out the clauses that are of use only in a terminal."""
    first, *others = _CLAUSE.split(sentence)
    kept, before, follows = "", "", True
    for delimiter, clause in zip(["", *others[::2]], [first, *others[1::2]], strict=True):
        before = before or delimiter
        if _NOT_HERE.search(clause):
            follows = "unless" in delimiter
            continue
        if before.startswith("."):
            clause = clause[:1].upper() + clause[1:]
        kept, before, follows = kept + before + clause if kept else clause, "", True
    if len(kept.split()) < 3:  # there was nothing but that
        return text("words.owner")
    kept = kept.rstrip(" .;:,`") + "."
    return kept if follows else f"{kept} {text('words.owner')}"


def _translated(sentence: str) -> str:
    return sentence if text.language == DEFAULT else _translated_to(text.language, sentence)


@lru_cache(maxsize=2048)
def _translated_to(language: str, sentence: str) -> str:
    """Translate, cached by language and sentence: pages are drawn every second."""
    parts = re.split(r"(?<=[.!?])\s+(?=[A-Z“])", sentence)
    translated = [_translation(part) for part in parts]
    if not all(translated) and (whole := _translation(sentence)):  # others may stand in a place of it
        return whole
    return " ".join(one or part for one, part in zip(translated, parts, strict=True))


def _translation(sentence: str, kind: str = "said") -> str:
    return next(
        (
            text(key, **{name: _in_words(name, value) for name, value in found.groupdict().items()})
            for key, pattern in _patterns(kind)
            if (found := pattern.fullmatch(sentence))
        ),
        "",
    )


def _in_words(name: str, value: str) -> str:
    """Translate a value by the {name} of its place: numbers, states, splits, help, reasons."""
    if name in ("why", "todo", "doing", "status"):
        return _reason(name, value)
    if name in ("what", "where"):  # "The test split of odd.csv"
        return _translation(value, "part") or value
    if name.endswith("splits"):  # "1,000 train, 500 validation"
        return ", ".join(
            f"{_in_words('n', n)} {_in_words('split', split)}"
            for n, _, split in (each.partition(" ") for each in value.split(", "))
        )
    if name == "help":
        about = next((field.name for field in settings() if field.help == value), "")
        return text(f"help.{about}") if about else value
    if name.startswith("state") or name.endswith("split"):
        kind = "state" if name.startswith("state") else "split"
        return ", ".join(
            text(f"{kind}.{one}") if text.has(f"{kind}.{one}") else one for one in value.split(", ")
        )
    return _listed(value) if name == "listed" else _number(value)


def _listed(value: str) -> str:
    """Translate the end of a list that `inference.common.wording.listed` has cut."""
    cut = re.fullmatch(r"(.*) and ([\d,]+) more", value, re.DOTALL)
    return text("words.and_more", first=cut[1], n=_number(cut[2])) if cut else value


def _reason(name: str, value: str) -> str:
    """Translate a reason; an unknown one, from a library or a server, is quoted."""
    if translated := _translation(value) or _translation(value.rstrip(".")):
        return translated
    if name in ("todo", "doing") or " " not in value:
        return value
    code, colon, message = value.partition(": ") if name == "status" else ("", "", value)  # "401: Not yours"
    return f"{code}{colon}“{message}”" if message else value


def _number(value: str) -> str:
    """Write a number with the visitor's separators; other values stay as they are."""
    if not _NUMBER.fullmatch(value):
        return value
    sign = "+" if value.startswith("+") else ""
    return sign + text.number(float(value.replace(",", "")), len(value.partition(".")[2]))


@cache
def _patterns(kind: str) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple(_compiled(kind))


def _compiled(kind: str) -> Iterator[tuple[str, re.Pattern[str]]]:
    for key, written in texts(DEFAULT).items():
        if key.startswith(f"{kind}."):
            pieces = re.split(r"\{(\w+)\}", written)
            body, names = "", set[str]()
            for number, each in enumerate(pieces):
                place = f"(?P={each})" if each in names else f"(?P<{each}>.+?)"
                body += place if number % 2 else re.escape(each)
                names |= {each} if number % 2 else set()
            yield key, re.compile(body, re.DOTALL)
