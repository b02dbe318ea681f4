"""Is the incoming text like the text that the model was trained on?

    reference = reference_of(token_ids, confidences=held_out_confidences)   # once, after a training
    save_reference(reference, artifact)

    meter = DriftMeter(load_reference("runs/demo/artifact"))
    meter.add(token_ids, confidence=0.93)
    meter.verdict()      # -> Drift(n=1000, level="somewhat different", findings=(Finding("length", …), …))

Three figures are compared: length in tokens, the share of tokens that training hardly knew, and mean
confidence. A figure differs when the gap is larger than chance makes it and large enough to matter; the
limits are constants below. Another language or script shows in the tokens: Portuguese, Spanish, German and
Russian posts had 24 to 92 points more unknown ones than 96, 1,000 or 8,000 English tweets of a training, so
scripts and letter patterns are no longer compared beside them. Posts are taken as independent. That text
differs does not say that answers are wrong: label some posts to know.

A reference holds counts alone, no text and no word. A token of the vocabulary is "known" when three training
texts or more have it; what fewer have leaves no trace. Where even that is too much, delete the file: the
model works without it.
"""

import base64
import json
import math
import random
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from inference.artifact import REFERENCE, read_record
from inference.common.errors import ArtifactError
from inference.common.intervals import Z

LENGTH_EDGES = (4, 8, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 256)
"""Tokens, prompt included: a bin ends below its edge, and the last has no end."""
MOST_TEXTS = 20_000
LEAST_TEXTS = 3
MIN_POSTS = 50
_MATTERS = {"length": 0.10, "tokens": 0.02, "confidence": 0.03}
_STRONG_TIMES = 2.5  # a gap of this many times the least that matters is "different"
_FORMER = ("scripts", "letters", "letters_limit")  # figures of references written before December 2026
_BINS = len(LENGTH_EDGES) + 1

Level = Literal["unknown", "alike", "somewhat different", "different"]
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
        """Return the ids of the known tokens."""
        bits = base64.b64decode(self.known_tokens, validate=True)
        return frozenset(8 * at + bit for at, byte in enumerate(bits) for bit in range(8) if byte >> bit & 1)


def reference_of(
    token_ids: Sequence[Sequence[int]], *, confidences: Sequence[float] = (), seed: int = 0
) -> Reference:
    """Sum up the tokens of training texts, prompt included; of more than 20,000 texts, a random sample.

    `confidences` are the probabilities of the labels given to *held-out* texts: on its training texts a model
    is surer than it should be. Without them confidence is not compared. Raises ValueError for no texts.
    """
    if not token_ids:
        raise ValueError("A reference needs at least one training text, and none is given.")
    if len(token_ids) > MOST_TEXTS:
        token_ids = random.Random(seed).sample(token_ids, MOST_TEXTS)
    held_in = Counter(i for ids in token_ids for i in set(ids))
    known = bytearray(max(held_in, default=0) // 8 + 1)
    for i, count in held_in.items():
        if count >= LEAST_TEXTS:
            known[i >> 3] |= 1 << (i & 7)
    # Left out of the count itself, a text knows the tokens of LEAST_TEXTS *other* texts or more.
    unknown = [sum(held_in[i] <= LEAST_TEXTS for i in ids) / max(1, len(ids)) for ids in token_ids]
    lengths = Counter(length_bin(len(ids)) for ids in token_ids)
    return Reference(
        n=len(token_ids),
        lengths=tuple(lengths[i] for i in range(_BINS)),
        mean_length=fmean(map(len, token_ids)),
        known_tokens=base64.b64encode(bytes(known)).decode("ascii"),
        unknown_share=fmean(unknown),
        unknown_spread=pstdev(unknown),
        confidence=fmean(confidences) if confidences else None,
        confidence_spread=pstdev(confidences) if confidences else 0.0,
        confidence_n=len(confidences),
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


@dataclass(frozen=True)
class Finding:
    """One figure, in training and now."""

    name: Literal["length", "tokens", "confidence"]
    reference: float
    live: float
    level: Level


@dataclass(frozen=True)
class Drift:
    """The verdict on the last `n` posts; `level` is that of the figure that differs most."""

    n: int
    level: Level
    findings: tuple[Finding, ...] = ()


class DriftMeter:
    """Compares the last `recent` posts with a reference. Call it from one thread, or under a lock."""

    def __init__(self, reference: Reference, *, recent: int = 1_000) -> None:
        self._reference, self._known = reference, reference.known_ids()
        self._recent: deque[tuple[int, float, float]] = deque(maxlen=recent)
        """Of each post its length, its share of unknown tokens, and the model's confidence; no text."""

    def add(self, token_ids: Sequence[int], *, confidence: float) -> None:
        """Take a post: its tokens (prompt included) and the probability of its label."""
        unknown = sum(i not in self._known for i in token_ids) / max(1, len(token_ids))
        self._recent.append((len(token_ids), unknown, confidence))

    def verdict(self) -> Drift:
        """Return what differs; "unknown" before 50 posts have come."""
        n, then = len(self._recent), self._reference
        if n < MIN_POSTS:
            return Drift(n, "unknown")
        lengths, unknown, confidences = zip(*self._recent, strict=True)
        gap, chance = distance(dict(enumerate(then.lengths)), Counter(map(length_bin, lengths)))
        findings = [Finding("length", then.mean_length, fmean(lengths), _level("length", gap, chance))]
        gap = fmean(unknown) - then.unknown_share  # fewer unknown ones are no drift
        chance = _chance(then.unknown_spread, then.n, pstdev(unknown), n)
        findings.append(Finding("tokens", then.unknown_share, fmean(unknown), _level("tokens", gap, chance)))
        if then.confidence is not None:
            gap = abs(fmean(confidences) - then.confidence)
            chance = _chance(then.confidence_spread, then.confidence_n, pstdev(confidences), n)
            level = _level("confidence", gap, chance)
            findings.append(Finding("confidence", then.confidence, fmean(confidences), level))
        order: tuple[Level, ...] = ("alike", "somewhat different", "different")
        return Drift(n, max((finding.level for finding in findings), key=order.index), tuple(findings))


def distance(then: Mapping[int, int], now: Mapping[int, int]) -> tuple[float, float]:
    """Return the total variation between two counts, from 0 to 1, and what chance makes of it, about.

    It is the share of posts that would have to change. The mean under chance is the sum over the bins of the
    mean absolute value of a normal deviate, halved; twice that mean is taken as the limit of chance, or, of
    few bins, the limit of the widest one. It is passed by chance in one case of twenty or fewer.
    """
    n, m = sum(then.values()), sum(now.values())
    gap = mean = widest = 0.0
    for key in {*then, *now}:
        a, b = then.get(key, 0), now.get(key, 0)
        gap += abs(a / n - b / m) / 2
        pooled = (a + b) / (n + m)
        spread = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
        mean += math.sqrt(2 / math.pi) * spread / 2
        widest = max(widest, spread)
    return gap, max(2 * mean, Z * widest)


def _chance(spread: float, n: int, other_spread: float, other_n: int) -> float:
    return Z * math.sqrt(spread**2 / max(1, n) + other_spread**2 / max(1, other_n))


def _level(name: str, gap: float, chance: float) -> Level:
    """Judge a gap: it differs when it is beyond chance and as large as matters."""
    if gap <= chance or gap < _MATTERS[name]:
        return "alike"
    return "different" if gap >= _STRONG_TIMES * _MATTERS[name] else "somewhat different"
