"""What a model's training texts were like, in counts, kept with the artifact for `inference.live.drift`.

    reference = reference_of(texts, token_ids, confidences=held_out_confidences)   # once, after a training
    save_reference(reference, artifact)
    load_reference(artifact)       # -> the Reference, None for an artifact that has none

It holds counts alone, no text and no word: about 30 kB of JSON. What fewer than three training texts have
leaves no trace in its tokens and letters: a token of the vocabulary is "known" when three texts have it, and
letter patterns are hashed into 4,096 counts, from which those of fewer than three texts are left out. So who
has the file can tell that three texts or more used a token, how long texts were and in which scripts, not
what any text said. Where even that is too much, delete the file: the model works without it.

Knows nothing about models, nor about what is done with it.
"""

import base64
import functools
import json
import math
import random
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from inference.artifact import REFERENCE, read_record
from inference.common.errors import ArtifactError

LENGTH_EDGES = (4, 8, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 256)
"""Tokens, prompt included: a bin ends below its edge, and the last has no end."""
READ_LETTERS = 500
FOREIGN = 0.02
"""Share of the training texts whose own letter patterns count as foreign."""
MOST_TEXTS = 20_000
LEAST_TEXTS = 3  # what fewer texts have is not told apart from what none has
_BUCKETS = 4096  # of letter patterns: three letters each, hashed
_MOST_KNOWN = 1 << 16  # characters of base64: 400,000 tokens


@dataclass(frozen=True)
class Reference:
    """What training texts are like, in counts. Nothing in it can be turned back into a text."""

    n: int
    """Training texts that were counted."""
    lengths: tuple[int, ...]
    """Texts by length, in bins that end at LENGTH_EDGES."""
    mean_length: float
    scripts: Mapping[str, int]
    """Texts by their main writing system, such as LATIN; "none": no letter in them."""
    letters: tuple[int, ...]
    """Texts that have a letter pattern, by bucket."""
    letters_limit: float
    """Mean surprise, in nats a pattern, above which a text's letters are foreign."""
    known_tokens: str
    """Base64 of a bit for each token id: set for those in three texts or more."""
    unknown_share: float
    unknown_spread: float
    """Mean and standard deviation over texts of the share of tokens that the other texts hardly hold."""
    confidence: float | None = None
    confidence_spread: float = 0.0
    confidence_n: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the reference as plain lists and numbers."""
        return asdict(self) | {"scripts": dict(self.scripts)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Reference":
        """Read what `to_json` wrote. Raises ValueError for anything else: the file may be a stranger's."""
        try:
            found = cls(
                **{**record, "lengths": tuple(record["lengths"]), "letters": tuple(record["letters"])}
            )
            sound = found._is_sound()
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
            raise ValueError(f"it is no reference: {error}") from error
        if not sound:
            raise ValueError("it is no reference: its figures don't fit together")
        return found

    def _is_sound(self) -> bool:
        counts = [self.n, *self.lengths, *self.scripts.values(), *self.letters, self.confidence_n]
        figures = [
            self.mean_length,
            self.letters_limit,
            self.unknown_share,
            self.unknown_spread,
            self.confidence or 0.0,
            self.confidence_spread,
        ]
        return (
            all(type(count) is int and 0 <= count < 1 << 40 for count in counts)
            and all(math.isfinite(figure) and figure >= 0 for figure in figures)
            and all(type(name) is str and len(name) <= 40 for name in self.scripts)
            and (len(self.lengths), len(self.letters)) == (len(LENGTH_EDGES) + 1, _BUCKETS)
            and 0 < self.n == sum(self.lengths) == sum(self.scripts.values())
            and len(self.known_tokens) <= _MOST_KNOWN
            and self.known is not None
        )

    @functools.cached_property
    def known(self) -> frozenset[int]:
        """The ids of the known tokens."""
        bits = base64.b64decode(self.known_tokens, validate=True)
        return frozenset(8 * at + bit for at, byte in enumerate(bits) for bit in range(8) if byte >> bit & 1)

    @functools.cached_property
    def surprise(self) -> tuple[float, ...]:
        """Nats by bucket: minus the logarithm of its share, one count added to each."""
        total = math.log(sum(self.letters) + _BUCKETS)
        return tuple(total - math.log(count + 1) for count in self.letters)


def reference_of(
    texts: Sequence[str],
    token_ids: Sequence[Sequence[int]],
    *,
    confidences: Sequence[float] = (),
    seed: int = 0,
) -> Reference:
    """Sum up training texts and their tokens, prompt included; of more than 20,000, a random sample.

    `confidences` are the probabilities of the labels given to *held-out* texts: on its training texts a model
    is surer than it should be. Without them confidence is not compared. Raises ValueError for no texts.
    """
    if not texts:
        raise ValueError("A reference needs at least one training text, and none is given.")
    if len(texts) > MOST_TEXTS:
        taken = random.Random(seed).sample(range(len(texts)), MOST_TEXTS)
        texts, token_ids = [texts[i] for i in taken], [token_ids[i] for i in taken]
    patterns = [list(letter_patterns(text)) for text in texts]
    held_letters = Counter(p for row in patterns for p in set(row))
    held_in = Counter(i for ids in token_ids for i in set(ids))
    known = bytearray(max(held_in, default=0) // 8 + 1)
    for i, count in held_in.items():
        if count >= LEAST_TEXTS:
            known[i >> 3] |= 1 << (i & 7)
    # Left out of the count itself, a text knows the tokens of LEAST_TEXTS *other* texts or more.
    unknown = [sum(held_in[i] <= LEAST_TEXTS for i in ids) / max(1, len(ids)) for ids in token_ids]
    lengths = Counter(length_bin(len(ids)) for ids in token_ids)
    surprises = sorted(_own_surprise(row, held_letters) for row in patterns)
    return Reference(
        n=len(texts),
        lengths=tuple(lengths[i] for i in range(len(LENGTH_EDGES) + 1)),
        mean_length=fmean(len(ids) for ids in token_ids),
        scripts=dict(Counter(main_script(text) for text in texts)),
        letters=tuple(_told(held_letters[i]) for i in range(_BUCKETS)),
        letters_limit=surprises[min(len(surprises) - 1, math.ceil(len(surprises) * (1 - FOREIGN)))],
        known_tokens=base64.b64encode(bytes(known)).decode("ascii"),
        unknown_share=fmean(unknown),
        unknown_spread=pstdev(unknown),
        confidence=fmean(confidences) if confidences else None,
        confidence_spread=pstdev(confidences) if confidences else 0.0,
        confidence_n=len(confidences),
    )


def save_reference(reference: Reference, artifact: Path) -> None:
    """Write reference.json into an artifact. Raises OSError."""
    (artifact / REFERENCE).write_text(json.dumps(reference.to_json()) + "\n", encoding="utf-8")


def load_reference(artifact: Path) -> Reference | None:
    """Read the reference of an artifact's folder.

    Returns None when it has none, as artifacts of earlier versions. Raises ArtifactError for a broken one.
    """
    record = read_record(artifact, REFERENCE)
    if record is None:
        return None
    try:
        return Reference.from_json(record)
    except ValueError as error:
        raise ArtifactError(
            f"{artifact / REFERENCE} can't be used ({str(error)[:200]}). Train again to write it again, or "
            "delete it: drift is then not told."
        ) from error


def length_bin(tokens: int) -> int:
    """Return the bin of a length, from 0 to len(LENGTH_EDGES)."""
    return sum(tokens >= edge for edge in LENGTH_EDGES)


def main_script(text: str) -> str:
    """Return the writing system of most of a text's letters, such as LATIN, CJK or ARABIC; "none" for none.

    The name is the first word of Unicode's name for a letter. The first 500 characters are read.
    """
    read = text[:READ_LETTERS]
    if read.isascii():
        return "LATIN" if any(map(str.isalpha, read)) else "none"
    counts = Counter(_script(c) for c in unicodedata.normalize("NFKC", read) if c.isalpha())
    return counts.most_common(1)[0][0] if counts else "none"


@functools.lru_cache(maxsize=4096)
def _script(letter: str) -> str:
    return unicodedata.name(letter, "none").split(" ")[0].split("-")[0]


def letter_patterns(text: str) -> Iterator[int]:
    """Yield the bucket of every three letters in a row, words being set apart by a space."""
    plain = unicodedata.normalize("NFKC", text[:READ_LETTERS]).casefold()
    for word in "".join(c if c.isalpha() else " " for c in plain).split():
        yield from _of_word(word)


@functools.lru_cache(maxsize=16_384)  # most words of a stream are the same few thousand
def _of_word(word: str) -> tuple[int, ...]:
    padded = f" {word} ".encode("utf-32-le", "replace")  # four bytes a letter
    return tuple(zlib.crc32(padded[at : at + 12]) % _BUCKETS for at in range(0, len(padded) - 8, 4))


def _told(texts: int) -> int:
    return texts if texts >= LEAST_TEXTS else 0


def _own_surprise(patterns: Sequence[int], held: Counter[int]) -> float:
    """Return a training text's mean surprise with the text itself taken out of the counts."""
    if not patterns:
        return 0.0
    total = math.log(held.total() - len(set(patterns)) + _BUCKETS)
    return fmean(total - math.log(_told(held[p] - 1) + 1) for p in patterns)
