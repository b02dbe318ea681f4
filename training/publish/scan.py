"""Check every byte that is about to leave: no token, no secret, no path of this machine.

    check(files)                                  # raises NotPublishable, naming file and kind
    check_secret(files, token)                    # the one that a push is made with
    check_tokens(files)                           # tokens and secrets alone: data may hold paths
    check_records(artifact, texts)                # when a run writes them: no training text in its records

The error never repeats the secret.
"""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from inference.artifact import EVALUATION, ONNX_FOLDER, PARITY, PROVENANCE, REFERENCE
from training.publish.errors import NotPublishable
from training.publish.files import Outgoing

WORDS_LEAST = 6
"""Shorter texts are too common to tell from chance, and are not searched for."""
_WORDS_COMPARED = 10
_RECORDS = (EVALUATION, PROVENANCE, REFERENCE, f"{ONNX_FOLDER}/{PARITY}")
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
_BITS = re.compile(rb'"known_tokens": *"[A-Za-z0-9+/]*={0,2}"')
"""reference.json's bit for each token: in base64, zeros look like one of X's tokens."""
_SECRET_LEAST = 12
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|API_?KEY|BEARER", re.IGNORECASE)
_HOMES = ("home", "root", "Users", "tmp", "var", "mnt", "opt", "srv", "private")
_WINDOWS = re.compile(r"(?<![\w])[A-Za-z]:\\{1,2}(?:Users|Documents|Temp)\\")

Needle = tuple[bytes, re.Pattern[bytes] | None, str]
"""Its start, its whole pattern (None: the start is all of it), its kind."""


def check(files: Iterable[Outgoing], *, secrets: Iterable[str] = ()) -> None:
    """Check every byte of every file. Raises NotPublishable for the first find.

    `secrets`: those of whoever started this process, where they are not in its environment.
    """
    places = {Path.home(), Path.cwd(), Path(os.environ.get("TWEETTUNE_HOME", ".")).resolve()}
    known = {str(place) for place in places if len(place.parts) > 2 or place == Path.home() != Path("/")}
    needles = [*_tokens(secrets), *((place.encode(), None, "a path of this machine") for place in known)]
    tops = {*_HOMES, *(e.name for e in Path("/").iterdir() if e.is_dir() and e.name.isalnum())}
    rooted = re.compile(rf"(?<![\w.:/~&#;-])/(?:{'|'.join(sorted(map(re.escape, tops)))})/[\w.-]+")
    for file in files:
        _search(needles, file)
        if PurePosixPath(file.path_in_repo).suffix in _TEXT and file.path_in_repo not in _VOCABULARY:
            text = file.content.decode("utf-8", "replace")
            if rooted.search(text) or _WINDOWS.search(text):
                raise _found(file.path_in_repo, "a path of this machine")


def check_tokens(files: Iterable[Outgoing]) -> None:
    """Search for tokens and for this process's secrets, in every byte. Raises NotPublishable."""
    needles = _tokens()
    for file in files:
        _search(needles, file)


def check_secret(files: Iterable[Outgoing], secret: str) -> None:
    """Search for one secret alone, in every byte. Raises NotPublishable."""
    for file in files:
        _search([(secret.encode(), None, "a secret of this machine")], file)


def _tokens(secrets: Iterable[str] = ()) -> list[Needle]:
    named = [value for name, value in os.environ.items() if _SECRET_NAME.search(name)]
    # A variable may hold a list of secrets: each one counts. Short words would be found everywhere.
    parts = {part for value in (*named, *secrets) for part in (value, *re.split(r"[\s,;:=]+", value))}
    return [
        *((start, re.compile(pattern), "what looks like a token") for start, pattern in _TOKENS.items()),
        *((s.encode(), None, "a secret of this machine") for s in parts if len(s) >= _SECRET_LEAST),
    ]


def _search(needles: Iterable[Needle], file: Outgoing) -> None:
    for content in _overlapping(file):
        for start, pattern, kind in needles:
            at = content.find(start)
            while at >= 0:
                if pattern is None or pattern.match(content, at):
                    raise _found(file.path_in_repo, kind)
                at = content.find(start, at + 1)


def _overlapping(file: Outgoing) -> Iterator[bytes]:
    """Yield the content in pieces, each with the end of the one before it, where a token may have begun."""
    if file.path_in_repo == REFERENCE:
        yield _BITS.sub(b"", file.content)
        return
    end = b""
    for piece in file.pieces():
        yield end + piece
        end = (end + piece)[-_OVERLAP:]


def _found(name: str, kind: str) -> NotPublishable:
    return NotPublishable(f"{name} holds {kind}, so nothing was pushed. Take it out, then push again.")


def check_records(artifact: Path, texts: Iterable[str]) -> None:
    """Raise NotPublishable when a record of an artifact holds one of the texts that it was made from.

    Records are counts and scores, so this only ever finds a mistake in the code that writes them. A text
    counts as found when its first words stand there one after the other, whatever punctuation and case.
    """
    index: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for text in texts:
        if len(words := tuple(_words(text)[:_WORDS_COMPARED])) >= WORDS_LEAST:
            index.setdefault(words[:WORDS_LEAST], set()).add(words)
    for name in _RECORDS:
        if not (artifact / name).is_file():
            continue
        words = tuple(_words((artifact / name).read_text(encoding="utf-8")))
        for at in range(len(words) - WORDS_LEAST + 1):
            if any(words[at : at + len(one)] == one for one in index.get(words[at : at + WORDS_LEAST], ())):
                raise NotPublishable(
                    f"{name} of {artifact.name} holds a text of the data, where only counts belong. Don't "
                    "share the model, and report this as a fault of TweetTune."
                )


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", re.sub(r"\\[nrt]", " ", text).lower())
