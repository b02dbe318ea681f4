"""Statistics of the training texts, in counts: they detect drift, and texts that are out of scope.

    reference = reference_of(token_ids, validation=validation_ids, confidences=held_out_confidences)
    save_reference(reference, artifact)                 # once, after a training

    scope = scope_of("runs/demo/artifact")              # None where nothing is known
    scope.unknown_share(token_ids), scope.above         # -> 0.45, 0.12: unlike the training texts

A token of the vocabulary is "known" when three training texts or more have it; rarer ones leave no trace. The
share of a text's tokens that are unknown detects texts that the model was never meant for (another language,
another subject) better than its confidence does: see benchmarks/LOG.md. Random letters fall into tokens that
tweets have too, but into more of them: in a text with more tokens a character than the validation texts have,
no token counts as known. The share above which a text is out of scope is chosen on the validation texts: 1 %
of them at most exceed it.

A reference holds counts alone, no text and no word. Where even that is too much, delete the file: the model
works without it.
"""

import base64
import json
import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import fmean, pstdev
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from tokenizers import Tokenizer

from inference.artifact import REFERENCE, read_record
from inference.common.errors import ArtifactError, PredictionError

LENGTH_EDGES = (4, 8, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 256)
"""Tokens, prompt included: a bin ends below its edge, and the last has no end."""
MOST_TEXTS = 20_000
LEAST_TEXTS = 3
MARKED = 0.01
"""Of the validation texts, at most, are called out of scope."""
IN_PIECES = 0.001
"""Of these, at most, for their tokens a character: random letters have far more than any."""
_FORMER = ("scripts", "letters", "letters_limit")  # figures of references written before December 2026
_BYTE = re.compile("<0x[0-9A-F]{2}>")  # of SentencePiece, for what it has no token for
_BINS = len(LENGTH_EDGES) + 1

Count = Annotated[int, Field(strict=True, ge=0, lt=1 << 40)]
Figure = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]


class Reference(BaseModel):
    """What training texts are like, in counts. An unsound one, as a stranger may send, raises ValueError."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n: Count
    """Training texts that were counted."""
    lengths: Annotated[tuple[Count, ...], Field(min_length=_BINS, max_length=_BINS)]
    """Texts by length, in bins that end at LENGTH_EDGES."""
    mean_length: Figure
    known_tokens: Annotated[str, Field(max_length=1 << 16)]
    """Base64 of a bit for each token id, up to 400,000: set for those in three texts or more."""
    unknown_share: Figure
    unknown_spread: Figure
    """Mean and standard deviation over texts of the share of tokens that the other texts hardly hold."""
    confidence: Figure | None = None
    confidence_spread: Figure = 0.0
    confidence_n: Count = 0
    out_of_scope_above: Figure | None = None
    """The share of unknown tokens that at most MARKED of the validation texts exceed."""
    out_of_scope_pieces: Figure | None = None
    """The tokens a character that at most IN_PIECES of the validation texts exceed."""
    out_of_scope_n: Count = 0
    """The validation texts that it was chosen on."""

    @model_validator(mode="before")
    @classmethod
    def _without_former_figures(cls, record: object) -> object:
        return {k: v for k, v in record.items() if k not in _FORMER} if isinstance(record, dict) else record

    @model_validator(mode="after")
    def _adds_up(self) -> "Reference":
        if not 0 < self.n == sum(self.lengths):
            raise ValueError("its figures don't fit together")
        self.known_ids()
        return self

    def known_ids(self) -> frozenset[int]:
        bits = base64.b64decode(self.known_tokens, validate=True)
        return frozenset(8 * at + bit for at, byte in enumerate(bits) for bit in range(8) if byte >> bit & 1)


@dataclass(frozen=True)
class Scope:
    """Separates the texts that a model was trained for from others, by tokens that training hardly knew."""

    known: frozenset[int]
    above: float
    """The share of unknown tokens above which a text is out of scope."""
    n: int
    """The validation texts that this was chosen on."""
    pieces: float = math.inf
    """The tokens a character above which no token of a text counts as known."""
    lengths: Sequence[int] = ()
    """The characters of each token, by its id."""

    def unknown_share(self, token_ids: Sequence[int]) -> float:
        """Return the share of a text's tokens, prompt included, that hardly any training text had."""
        if self.lengths and pieces(token_ids, self.lengths) > self.pieces:
            return 1.0
        return sum(i not in self.known for i in token_ids) / max(1, len(token_ids))


def pieces(token_ids: Sequence[int], lengths: Sequence[int]) -> float:
    """Return the tokens a character of a text, prompt included."""
    return len(token_ids) / max(1, sum(lengths[i] for i in token_ids))


def token_lengths(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Return the characters of each token by its id; of a byte-level tokenizer, the bytes."""
    known = {number: token for token, number in tokenizer.get_vocab().items()}
    tokens = (known.get(number, "") for number in range(max(known, default=-1) + 1))
    return tuple(1 if _BYTE.fullmatch(token) else len(token) for token in tokens)


def scope_of(folder: Path | None, tokenizer: Tokenizer | None = None) -> Scope | None:
    """Return the scope of the model in a folder; its tokenizer serves to detect texts in pieces.

    None where its reference.json is missing, can't be read or was written by an earlier version.
    """
    with suppress(OSError, ArtifactError):
        found = _scope(folder, (folder / REFERENCE).stat().st_mtime_ns) if folder else None
        if found and tokenizer and found.pieces < math.inf:  # else they would be counted for nothing
            return replace(found, lengths=token_lengths(tokenizer))
        return found
    return None


@lru_cache(maxsize=8)  # models are loaded again, and pages ask again
def _scope(folder: Path, modified_ns: int) -> Scope | None:
    found = load_reference(folder)
    if found is None or found.out_of_scope_above is None:
        return None
    pieces = found.out_of_scope_pieces
    limit = math.inf if pieces is None else pieces
    return Scope(found.known_ids(), found.out_of_scope_above, found.out_of_scope_n, limit)


def needed(scope: Scope | None) -> Scope:
    """Return the scope of a model that must have one. Raises PredictionError if there is none."""
    if scope is None:
        raise PredictionError(
            "The model has no record of how its validation texts differ from what it was trained on, so no "
            "text can be called out of scope. Train it again, or don't ask for out_of_scope."
        )
    return scope


def reference_of(
    token_ids: Sequence[Sequence[int]],
    *,
    validation: Sequence[Sequence[int]] = (),
    confidences: Sequence[float] = (),
    lengths: Sequence[int] = (),
    seed: int = 0,
) -> Reference:
    """Sum up the tokens of training texts, prompt included; of more than 20,000 texts, a random sample.

    `validation`: the tokens of texts that nothing was trained on, which set the limits of the scope.
    `confidences` are the probabilities of the labels given to *held-out* texts: on its training texts a model
    is surer than it should be. Without them confidence is not compared. `lengths`: from `token_lengths`;
    without them no text is in pieces. Raises ValueError for no texts.
    """
    if not token_ids:
        raise ValueError("A reference needs at least one training text, and none is given.")
    if len(token_ids) > MOST_TEXTS:
        token_ids = random.Random(seed).sample(token_ids, MOST_TEXTS)
    document_counts = Counter(i for ids in token_ids for i in set(ids))
    known = bytearray(max(document_counts, default=0) // 8 + 1)
    for i, count in document_counts.items():
        if count >= LEAST_TEXTS:
            known[i >> 3] |= 1 << (i & 7)
    # Left out of the count itself, a text knows the tokens of LEAST_TEXTS *other* texts or more.
    unknown = [sum(document_counts[i] <= LEAST_TEXTS for i in ids) / max(1, len(ids)) for ids in token_ids]
    bins = Counter(length_bin(len(ids)) for ids in token_ids)
    in_pieces = sorted((pieces(ids, lengths) for ids in validation if lengths), reverse=True)
    limit = in_pieces[int(IN_PIECES * len(in_pieces))] if in_pieces else None
    whole = [ids for ids in validation if limit is None or pieces(ids, lengths) <= limit]
    others = sorted(
        (sum(document_counts[i] < LEAST_TEXTS for i in ids) / max(1, len(ids)) for ids in whole), reverse=True
    )
    more = int(MARKED * len(validation)) - (len(validation) - len(whole))
    return Reference(
        n=len(token_ids),
        lengths=tuple(bins[i] for i in range(_BINS)),
        mean_length=fmean(map(len, token_ids)),
        known_tokens=base64.b64encode(bytes(known)).decode("ascii"),
        unknown_share=fmean(unknown),
        unknown_spread=pstdev(unknown),
        confidence=fmean(confidences) if confidences else None,
        confidence_spread=pstdev(confidences) if confidences else 0.0,
        confidence_n=len(confidences),
        out_of_scope_above=others[more] if others else None,
        out_of_scope_pieces=limit,
        out_of_scope_n=len(validation),
    )


def length_bin(tokens: int) -> int:
    """Return the bin of a length, from 0 to len(LENGTH_EDGES)."""
    return sum(tokens >= edge for edge in LENGTH_EDGES)


def save_reference(reference: Reference, artifact: Path) -> None:
    """Write reference.json into an artifact. Raises OSError."""
    (artifact / REFERENCE).write_text(json.dumps(reference.model_dump()) + "\n", encoding="utf-8")


def load_reference(artifact: Path) -> Reference | None:
    """Read the reference of an artifact's folder.

    Returns None when it has none, as artifacts of early versions. Raises ArtifactError for a broken one.
    """
    record = read_record(artifact, REFERENCE)
    if record is None:
        return None
    try:
        return Reference.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        what = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
        raise ArtifactError(
            f"{artifact / REFERENCE} can't be used ({what[:200]}). Train again to write it anew, or delete "
            "it: drift is then not shown."
        ) from error
