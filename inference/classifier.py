"""Classify posts with a trained artifact.

    classifier = Classifier.load("runs/demo/artifact")
    classifier.predict(["what a day"])      # -> [Prediction(label="positive", ...)]

A prediction's way: mend the text → tokenize (the prompt is in the tokenizer) → batches of like length →
the engine's logits → softmax → input order again. What computes the logits is `inference.engine`. Training
tokenizes by `encode` too, so both see the same tokens of the same text.
"""

import copy
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from inference.artifact import ONNX_FOLDER, PARITY, check_artifact, model_of, read_record
from inference.common.errors import ArtifactError, PredictionError
from inference.common.hub import HubError, snapshot
from inference.common.mend import BLANK, mended
from inference.common.store import JsonObject, write_json
from inference.engine import Engine, load_engine
from inference.reference import Scope, scope_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Progress = Callable[[int, int], None]
"""Called with the work done and the work in all, in the caller's unit."""
_CHARACTERS_A_TOKEN = 64  # of the token limit: the rest of a longer text is ignored
_ENCODED_TOGETHER = 2_048  # texts: the tokenizer's records of millions would not fit into memory
_MOST_PADS = 64  # tokens: about what one batch more costs


def no_progress(done: int, total: int) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Prediction:
    """What the classifier makes of one text."""

    label: str
    probabilities: tuple[float, ...]
    """One for each label, in the classifier's label order; they sum to 1."""
    truncated: bool
    """Whether the text was longer than the model's limit and lost its end."""
    latency_ms: float | None = None
    unknown_share: float | None = field(default=None, kw_only=True)
    """Of its tokens, of those that the training texts hardly had; None without a record of these."""

    def is_out_of_scope(self, above: float) -> bool:
        """Whether the text has a larger share of unknown tokens, so is unlike the training texts."""
        return self.unknown_share is not None and self.unknown_share > above

    def is_sure(self, abstain_below: float) -> bool:
        """Whether the answer counts where less confidence than this is an "I don't know"."""
        return max(self.probabilities) >= abstain_below


@dataclass(frozen=True)
class EncodedTexts:
    """Texts as token ids, prompt included."""

    token_ids: list[list[int]]
    truncated: list[bool]

    @property
    def lengths(self) -> list[int]:
        return [len(ids) for ids in self.token_ids]


class Classifier:
    """A sequence classifier: a tokenizer with the prompt inside, and an engine."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        *,
        labels: Sequence[str],
        max_length: int,
        pad_id: int,
        name_or_path: str,
        folder: Path | None = None,
        scope: Scope | None = None,
    ) -> None:
        """Put a classifier together. `folder`: where its artifact lies, with the records beside it.

        `scope`: detects texts that are unlike its training texts.
        """
        self.engine = engine
        self.labels = tuple(labels)
        self.name_or_path = name_or_path
        self.folder = folder
        self.scope = scope
        self.max_length = max_length
        self._pad_id = pad_id
        self.tokenizer = cutting(tokenizer, max_length)

    @classmethod
    def load(cls, name_or_path: str | Path, *, engine: str = "auto") -> "Classifier":
        """Load an artifact folder, a run's artifact, or a classifier repository of the Hub ("owner/name").

        `engine`: "auto", "torch", "torch-float32", "torch-bfloat16" or "onnx"; see `inference.engine`. Raises
        ArtifactError when it is no classifier, or can't be read or reached.
        """
        named = model_of(name_or_path)
        path = Path(named)
        if _is_repo(path):
            try:
                path, _ = snapshot(named)
                if (path / ONNX_FOLDER / PARITY).is_file():
                    path, _ = snapshot(named, also=[f"{ONNX_FOLDER}/packed*.onnx"])
            except HubError as error:
                raise ArtifactError(
                    f"{name_or_path} is no folder here, and can't be downloaded: {error.why}. "
                    f"{error.todo}, or give an artifact's folder."
                ) from error
        check_artifact(path)
        config = read_record(path, "config.json") or {}
        limit = (read_record(path, "tokenizer_config.json") or {}).get("model_max_length")
        limit = limit if isinstance(limit, int | float) and limit > 0 else 1 << 30
        computes, tokenizer = load_engine(path, engine), _tokenizer(path)
        return cls(
            computes,
            tokenizer,
            labels=_labels(path, config),
            max_length=int(
                min(limit, config.get("max_position_embeddings") or config.get("n_positions") or limit)
            ),
            pad_id=config.get("pad_token_id") or 0,
            name_or_path=named,
            folder=path,
            scope=scope_of(path, tokenizer),
        )

    def save_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer of an artifact, prompt included, to its folder."""
        self.tokenizer.save(str(folder / "tokenizer.json"))
        record = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": self.max_length}
        write_json(folder / "tokenizer_config.json", record)

    @property
    def model(self) -> "PreTrainedModel":
        """The Transformers model of the engine "torch", None of others."""
        return getattr(self.engine, "model", None)

    def computing(self) -> AbstractContextManager[object]:
        """Within it, `model` computes in the precision of its engine."""
        precision = getattr(self.engine, "precision", None)
        return precision.on(self.model) if precision else nullcontext()

    def hurried(self) -> "Callable[[Sequence[str]], list[Prediction]] | None":
        """Return a faster `predict`, which leaves close calls to int8; None if int8 is not used."""
        shorten = getattr(self.engine, "without_close_calls", None)
        if not (shorten and (engine := shorten())):
            return None
        hurried = copy.copy(self)
        hurried.engine = engine
        return hurried.predict

    def encode(self, texts: Sequence[str], *, max_length: int | None = None) -> EncodedTexts:
        """Return the token ids of texts, prompt included and cut to the model's limit, or a lower one.

        Raises PredictionError for an item that is not a text, naming its place, and for a limit without room.
        """
        return encode(self.tokenizer, texts, pad_id=self._pad_id, max_length=max_length)

    def counted(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of texts that a reference counts."""
        return self.encode(texts).token_ids

    def logits(
        self, token_ids: Sequence[Sequence[int]], *, progress: Progress = no_progress
    ) -> NDArray[np.float32]:
        """Return logits of shape (texts, labels), in input order."""
        result = np.zeros((len(token_ids), len(self.labels)), dtype=np.float32)
        done = 0
        for rows in budgeted_batches([len(ids) for ids in token_ids], tokens=self.engine.batch_tokens):
            result[rows] = self.engine.logits([token_ids[row] for row in rows])
            done += len(rows)
            progress(done, len(token_ids))
        return result

    def predict(self, texts: Sequence[str], *, with_latency: bool = False) -> list[Prediction]:
        """Return one prediction a text, in input order.

        `with_latency` classifies one text at a time and fills `latency_ms`, tokenization included.
        Raises PredictionError for an item that is not a text.
        """
        check_texts(texts)
        if with_latency:
            return [self._timed(text) for text in texts]
        encoded = self.encode(texts)
        return self.predictions(self.logits(encoded.token_ids), encoded)

    def predictions(self, logits: NDArray[np.float32], encoded: EncodedTexts) -> list[Prediction]:
        """Turn logits of shape (texts, labels) into predictions."""
        rows = zip(softmax(logits), encoded.truncated, encoded.token_ids, strict=True)
        return [
            Prediction(
                self.labels[int(row.argmax())],
                tuple(float(p) for p in row),
                cut,
                unknown_share=self._unknown_share(ids),
            )
            for row, cut, ids in rows
        ]

    def _unknown_share(self, token_ids: Sequence[int]) -> float | None:
        return self.scope.unknown_share(token_ids) if self.scope else None

    def _timed(self, text: str) -> Prediction:
        start = time.perf_counter()
        [found] = self.predict([text])
        return replace(found, latency_ms=(time.perf_counter() - start) * 1000)


def cutting(tokenizer: Tokenizer, max_length: int) -> Tokenizer:
    """Return a copy of a tokenizer that cuts at so many tokens and does not pad, for `encode`."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_padding()
    copy.enable_truncation(max_length)
    return copy


def encode(
    tokenizer: Tokenizer, texts: Sequence[str], *, pad_id: int, max_length: int | None = None
) -> EncodedTexts:
    """Return the token ids of texts by a tokenizer that cuts (`cutting`): the one way to a model's input.

    Each text is mended first. `max_length`: a lower limit. Raises PredictionError for an item that is not a
    text, naming its place, and for a limit without room.
    """
    check_texts(texts)
    limit = (tokenizer.truncation or {})["max_length"]
    most = _CHARACTERS_A_TOKEN * limit  # a text of megabytes would hold up everybody
    found = EncodedTexts([], [])
    for start in range(0, len(texts), _ENCODED_TOGETHER):
        some = texts[start : start + _ENCODED_TOGETHER]
        clean = mended(some, longest=most)
        encodings = tokenizer.encode_batch(clean) if len(clean) > 1 else [tokenizer.encode(clean[0])]
        for text, encoding in zip(some, encodings, strict=True):
            ids = _cut(encoding, max_length)
            # Without a prompt an empty text has no token, and a classifier no position to pool from.
            found.token_ids.append(ids or [pad_id])
            unread = len(text) > most and len(text.strip(BLANK)) > most
            found.truncated.append(bool(encoding.overflowing) or len(ids) < len(encoding.ids) or unread)
    return found


def _tokenizer(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path / "tokenizer.json"))
    except Exception as error:
        raise ArtifactError(
            f"{path} can't be loaded as a classifier (tokenizer.json: {error}). "
            "Give the folder of a finished run, runs/NAME/artifact, or the id of a Hub repository."
        ) from error


def _labels(path: Path, config: JsonObject) -> tuple[str, ...]:
    names = config.get("id2label")
    if not isinstance(names, dict) or sorted(names) != sorted(map(str, range(len(names)))):
        raise ArtifactError(
            f"{path / 'config.json'} does not name the labels (id2label is {json.dumps(names)[:80]}). "
            "Give the folder of a finished run."
        )
    return tuple(str(names[str(number)]) for number in range(len(names)))


def _is_repo(path: Path) -> bool:
    """Whether a path is an "owner/name" on the Hub: it does not exist here, and is no run's."""
    return (
        not path.exists()
        and not path.is_absolute()
        and len(path.parts) == 2
        and path.parts[0] not in ("runs", "..")
    )


def _cut(encoding: Encoding, max_length: int | None) -> list[int]:
    """Return the ids of a text that loses its end to a limit; the prompt around it stays whole."""
    prompt = encoding.special_tokens_mask
    if max_length is None or len(prompt) <= max_length:
        return encoding.ids
    if max_length <= sum(prompt):
        raise PredictionError(
            f"max_length is {max_length}, and the prompt alone has {sum(prompt)} tokens. "
            "Give more, or leave it out."
        )
    end = len(prompt) - prompt[::-1].index(0)  # of the text
    return encoding.ids[: end - (len(prompt) - max_length)] + encoding.ids[end:]


def check_texts(texts: Sequence[object]) -> None:
    """Raise PredictionError for anything but a list of texts, naming the first item that is none."""
    if isinstance(texts, str):
        raise PredictionError("One text was given where a list of texts is expected. Write [text].")
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise PredictionError(
                f"Item {place} is {type(text).__name__}, not a text. Leave it out or turn it into a text."
            )


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return probabilities of shape (texts, labels)."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True, initial=-np.inf))
    probabilities: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def budgeted_batches(lengths: Sequence[int], *, tokens: int) -> Iterator[list[int]]:
    """Yield batches of row numbers, longest texts first, of at most `tokens` tokens, or of one row.

    Texts are padded to the longest of their batch: pads count as tokens, and none has over `_MOST_PADS`.
    """
    batch: list[int] = []
    used = 0
    for row in longest_first(lengths):
        if batch:
            padded = (len(batch) + 1) * lengths[batch[0]]
            if padded > tokens or padded - used - lengths[row] > _MOST_PADS:
                yield batch
                batch, used = [], 0
        batch.append(row)
        used += lengths[row]
    if batch:
        yield batch


def longest_first(lengths: Sequence[int]) -> list[int]:
    """Return the row numbers, longest texts first: neighbours are of like length, so little is padded."""
    return sorted(range(len(lengths)), key=lambda row: -lengths[row])
