"""Classify posts with a trained artifact.

    classifier = Classifier.load("runs/demo/artifact")
    classifier.predict(["what a day"])      # -> [Prediction(label="positive", ...)]

A prediction's way: clean the text → tokenize (the prompt is in the tokenizer) → batches of like length →
the classifier's logits → softmax → input order again. Knows nothing about training, Gradio or where the text
came from.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as transformers_logging

from inference.artifact import check_artifact
from inference.errors import ArtifactError, PredictionError
from inference.hub import HubError, snapshot
from inference.labels import labels_of
from inference.trunk import Progress, like_length_batches, no_progress, pad_ids


@dataclass(frozen=True)
class Prediction:
    """What the classifier makes of one text."""

    label: str
    probabilities: tuple[float, ...]
    """One for each label, in the classifier's label order; they sum to 1."""
    truncated: bool
    """Whether the text was longer than the model's limit and lost its end."""
    latency_ms: float | None = None


@dataclass(frozen=True)
class EncodedTexts:
    """Texts as token ids, prompt included."""

    token_ids: list[list[int]]
    truncated: list[bool]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each text."""
        return [len(ids) for ids in self.token_ids]


class Classifier:
    """A sequence classifier with its tokenizer, on the CPU or the GPU that is there, in evaluation mode."""

    def __init__(self, model: Any, tokenizer: Any, *, source: str) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.labels = labels_of(model.config)
        self.source = source
        self.max_length = int(min(tokenizer.model_max_length, model.config.max_position_embeddings))

    @classmethod
    def load(cls, path_or_repo: str | Path) -> "Classifier":
        """Load an artifact folder, or a classifier repository of the Hub ("owner/name").

        Raises ArtifactError when it is no classifier, or can't be read or reached.
        """
        path = Path(path_or_repo)
        if _is_repo(path):
            try:
                path, _ = snapshot(str(path_or_repo))
            except HubError as error:
                raise ArtifactError(
                    f"{path_or_repo} can't be had: {error}. Give an artifact's folder."
                ) from error
        check_artifact(path)
        with quiet_loading():
            try:
                model = AutoModelForSequenceClassification.from_pretrained(
                    path, dtype=torch.float32, use_safetensors=True
                )
                tokenizer = AutoTokenizer.from_pretrained(path)
            except (OSError, ValueError, RuntimeError, SafetensorError) as error:
                reason = " ".join(str(error).split())[:200]
                raise ArtifactError(
                    f"{path_or_repo} can't be loaded as a classifier ({reason}). "
                    "Give the folder of a finished run, runs/NAME/artifact, or the id of a Hub repository."
                ) from error
        if torch.cuda.is_available():
            model = model.to("cuda")
        return cls(model, tokenizer, source=str(path_or_repo))

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """Return the token ids of texts, prompt included and cut to the model's limit.

        Raises PredictionError for an item that is not a text, naming its place.
        """
        _check(texts)
        if not texts:
            return EncodedTexts([], [])
        clean = [
            text.encode("utf-8", "replace").decode("utf-8") for text in texts
        ]  # lone surrogates become "?"
        encoded = self.tokenizer(clean, truncation=True, max_length=self.max_length)
        # Without a prompt an empty text has no token, and a classifier no position to pool from: give it one.
        token_ids = [list(ids) or [self.tokenizer.pad_token_id] for ids in encoded["input_ids"]]
        return EncodedTexts(token_ids, [bool(e.overflowing) for e in encoded.encodings])

    def logits(
        self, token_ids: Sequence[Sequence[int]], *, batch_size: int = 32, progress: Progress = no_progress
    ) -> NDArray[np.float32]:
        """Return logits of shape (texts, labels), in input order."""
        result = np.zeros((len(token_ids), len(self.labels)), dtype=np.float32)
        done = 0
        for rows in like_length_batches([len(ids) for ids in token_ids], batch_size=batch_size):
            batch = pad_ids([token_ids[row] for row in rows], self.model.config.pad_token_id)
            batch = {key: value.to(self.model.device) for key, value in batch.items()}
            with torch.inference_mode():
                result[rows] = self.model(**batch, use_cache=False).logits.float().cpu().numpy()
            done += len(rows)
            progress(done, len(token_ids))
        return result

    def predict(
        self, texts: Sequence[str], *, batch_size: int = 32, with_latency: bool = False
    ) -> list[Prediction]:
        """Return one prediction a text, in input order.

        `with_latency` classifies one text at a time and fills `latency_ms`, tokenization included.
        Raises PredictionError for an item that is not a text.
        """
        _check(texts)
        if with_latency:
            return [self._timed(text) for text in texts]
        encoded = self.encode(texts)
        return self.predictions(self.logits(encoded.token_ids, batch_size=batch_size), encoded.truncated)

    def predictions(
        self, logits: NDArray[np.float32], truncated: Sequence[bool], *, latency_ms: float | None = None
    ) -> list[Prediction]:
        """Turn logits of shape (texts, labels) into predictions."""
        return [
            Prediction(self.labels[int(row.argmax())], tuple(float(p) for p in row), cut, latency_ms)
            for row, cut in zip(softmax(logits), truncated, strict=True)
        ]

    def _timed(self, text: str) -> Prediction:
        start = time.perf_counter()
        encoded = self.encode([text])
        logits = self.logits(encoded.token_ids)
        latency_ms = (time.perf_counter() - start) * 1000
        return self.predictions(logits, encoded.truncated, latency_ms=latency_ms)[0]


def _is_repo(path: Path) -> bool:
    """Tell "owner/name" from a path: nothing is there under that name, and it is no run's."""
    return (
        not path.exists()
        and not path.is_absolute()
        and len(path.parts) == 2
        and path.parts[0] not in ("runs", "..")
    )


def _check(texts: Sequence[Any]) -> None:
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


class quiet_loading:  # noqa: N801  (a context manager, named as one reads it)
    """Within it, Transformers keeps its progress bars and its remarks on newly made heads to itself."""

    def __enter__(self) -> None:
        self._level = transformers_logging.get_verbosity()
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()

    def __exit__(self, *exc: object) -> None:
        transformers_logging.set_verbosity(self._level)
        transformers_logging.enable_progress_bar()
