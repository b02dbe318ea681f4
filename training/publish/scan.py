"""Look at every byte that is about to leave: no token, no path of this machine, no training text.

    check(files, texts=known_texts(artifact))     # raises NotPublishable, naming file and kind
    check_secret(files, token)                    # the one that a push is made with
    check_tokens(files)                           # tokens and secrets alone: data may hold paths and texts

A training text counts as found when its first words stand in a file one after the other, whatever the
punctuation and case; texts of fewer than six words are too common to tell and are not looked for. The error
never repeats the secret. Knows nothing about where the texts came from.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from inference.artifact import REFERENCE
from inference.live.reference import Reference
from training.publish.errors import NotPublishable
from training.publish.files import Outgoing

WORDS_LEAST = 6
WORDS_COMPARED = 10
_OVERLAP = 1024
_TEXT = (".md", ".json", ".yaml", ".txt", ".jsonl")
_VOCABULARY = ("tokenizer.json", "vocab.json", "merges.txt")
"""A base's own words: bits of code and of addresses are among them."""
_TOKENS = {
    b"hf_": rb"hf_(?:oauth_)?[A-Za-z0-9]{20,}",
    b"Bearer ": rb"Bearer [A-Za-z0-9%._~+/=-]{16,}",
    b"bearer ": rb"bearer [A-Za-z0-9%._~+/=-]{16,}",
    b"AAAAAAAAAAAAAAAAAAAA": rb"A{20,}[B-Zb-z0-9%][A-Za-z0-9%]{25,}",  # X's application tokens begin so
    b"ghp_": rb"ghp_\w{30,}",
    b"github_pat_": rb"github_pat_\w{30,}",
    b"sk-": rb"sk-[\w-]{40,}",
    b"AKIA": rb"AKIA[A-Z0-9]{16}",
    b"PRIVATE KEY": rb"PRIVATE KEY-{5}",
}
_SECRET_LEAST = 12
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|API_?KEY|BEARER", re.IGNORECASE)
_HOMES = ("home", "root", "Users", "tmp", "var", "mnt", "opt", "srv", "private")
_WINDOWS = re.compile(r"(?<![\w])[A-Za-z]:\\{1,2}(?:Users|Documents|Temp)\\")

Needle = tuple[bytes, re.Pattern[bytes] | None, str]


@dataclass(frozen=True)
class Scanned:
    """What was looked for, and where."""

    files: int
    size: int
    """Bytes looked at."""
    texts: int
    """Texts that were compared with the files."""
    short: int
    """Texts of too few words to be told from chance; they were not looked for."""


def check(files: Iterable[Outgoing], *, texts: Iterable[str] = (), secrets: Iterable[str] = ()) -> Scanned:
    """Look at every byte of every file. Raises NotPublishable for the first find.

    `secrets`: those of whoever started this process, where they are not in its environment.
    """
    needles = [*_needles(secrets), *((place.encode(), None, "a path of this machine") for place in _places())]
    index, compared, short = _index(texts)
    count = size = 0
    for file in files:
        for piece in _overlapping(file):
            _check_bytes(file.path_in_repo, piece, needles)
        if PurePosixPath(file.path_in_repo).suffix in _TEXT:
            _check_text(file.path_in_repo, b"".join(file.pieces()).decode("utf-8", "replace"), index)
        count, size = count + 1, size + file.size
    return Scanned(count, size, compared, short)


def check_tokens(files: Iterable[Outgoing]) -> None:
    """Look for tokens and for this process's secrets, in every byte. Raises NotPublishable."""
    needles = _needles()
    for file in files:
        for piece in _overlapping(file):
            _check_bytes(file.path_in_repo, piece, needles)


def check_secret(files: Iterable[Outgoing], secret: str) -> None:
    """Look for one secret alone, in every byte. Raises NotPublishable."""
    needle: list[Needle] = [(secret.encode(), None, "a secret of this machine")]
    for file in files:
        for piece in _overlapping(file):
            _check_bytes(file.path_in_repo, piece, needle)


def _overlapping(file: Outgoing) -> Iterator[bytes]:
    """Yield the content in pieces, each with the end of the one before it, where a token may have begun."""
    end = b""
    for piece in [_without_bits(file)] if file.path_in_repo == REFERENCE else file.pieces():
        yield end + piece
        end = (end + piece)[-_OVERLAP:]


def _without_bits(file: Outgoing) -> bytes:
    """Return reference.json without its bit for each token: in base64, zeros look like one of X's tokens."""
    content = b"".join(file.pieces())
    try:
        record = Reference.from_json(json.loads(content))
    except ValueError:
        return content
    return json.dumps(record.to_json() | {"known_tokens": ""}).encode()


def _needles(secrets: Iterable[str] = ()) -> list[Needle]:
    """Return what to look for: how it begins, the whole of it (None: that was all), its kind."""
    found: list[Needle] = [
        (start, re.compile(pattern), "what looks like a token") for start, pattern in _TOKENS.items()
    ]
    named = [value for name, value in os.environ.items() if _SECRET_NAME.search(name)]
    return found + [
        (secret.encode(), None, "a secret of this machine") for secret in _each([*named, *secrets])
    ]


def _each(values: Iterable[str]) -> set[str]:
    """Return secrets and, of lists of them, each one; short words would be found everywhere."""
    found = {part for value in values for part in (value, *re.split(r"[\s,;:=]+", value))}
    return {secret for secret in found if len(secret) >= _SECRET_LEAST}


def _places() -> set[str]:
    """Return the paths of this machine that are looked for in every file, weights included."""
    places = {Path.home(), Path.cwd(), Path(os.environ.get("TWEETTUNE_HOME", ".")).resolve()}
    return {str(place) for place in places if len(place.parts) > 2 or place == Path.home() != Path("/")}


def _check_bytes(name: str, content: bytes, needles: Iterable[Needle]) -> None:
    for start, pattern, kind in needles:
        at = content.find(start)
        while at >= 0:
            if pattern is None or pattern.match(content, at):
                raise _found(name, kind)
            at = content.find(start, at + 1)


def _check_text(name: str, text: str, index: dict[tuple[str, ...], list[tuple[str, ...]]]) -> None:
    if name not in _VOCABULARY and (_root_path().search(text) or _WINDOWS.search(text)):
        raise _found(name, "a path of this machine")
    if index and _holds_one(text, index):
        raise _found(name, "a text of the training data")


def _root_path() -> re.Pattern[str]:
    """Return the pattern of an absolute path into one of this machine's top folders."""
    tops = {
        *_HOMES,
        *(entry.name for entry in Path("/").iterdir() if entry.is_dir() and entry.name.isalnum()),
    }
    return re.compile(rf"(?<![\w.:/~&#;-])/(?:{'|'.join(sorted(map(re.escape, tops)))})/[\w.-]+")


def _found(name: str, kind: str) -> NotPublishable:
    return NotPublishable(f"{name} holds {kind}, so nothing was pushed. Take it out, then push again.")


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.replace("\\n", " ").lower())


def _index(texts: Iterable[str]) -> tuple[dict[tuple[str, ...], list[tuple[str, ...]]], int, int]:
    """Return the beginnings of texts by their first words, how many there are, how many were too short."""
    index: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    compared = short = 0
    for text in texts:
        words = tuple(_words(text)[:WORDS_COMPARED])
        if len(words) < WORDS_LEAST:
            short += 1
            continue
        compared += 1
        index.setdefault(words[:WORDS_LEAST], []).append(words)
    return index, compared, short


def _windows(words: list[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
    for at in range(len(words) - WORDS_LEAST + 1):
        yield at, tuple(words[at : at + WORDS_LEAST])


def _holds_one(text: str, index: dict[tuple[str, ...], list[tuple[str, ...]]]) -> bool:
    words = _words(text)
    return any(
        tuple(words[at : at + len(whole)]) == whole
        for at, window in _windows(words)
        for whole in index.get(window, ())
    )
