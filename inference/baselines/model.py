"""Load a model by its name: an artifact, or a rung that a ladder has kept.

    load_model("demo")                     # the artifact of a run: a Classifier
    load_model("tweets/few-shot-8")        # the predictor of this step of the ladder "tweets"
    Answering(BagOfWords.fit(…), name="mine")   # any predictor, as a Classifier

Training, evaluation, scoring, server and live feeds work with Classifiers only.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.artifact import RUNG, model_of
from inference.baselines import Example, Explained, Predictor, rests_on
from inference.classifier import (
    Classifier,
    EncodedTexts,
    Prediction,
    Progress,
    check_texts,
    longest_first,
    no_progress,
)
from inference.common.errors import ArtifactError, PredictionError
from inference.common.mend import BLANK, mended
from inference.reference import Scope, scope_of

MOST_CHARACTERS = 8_192
"""The rest of a longer text is ignored."""
_AT_ONCE = 32
_SMALLEST = 1e-30


def load_model(name_or_path: str | Path, *, engine: str = "auto") -> Classifier:
    """Load an artifact, a run's, a repository of the Hub, or a rung of a ladder ("LADDER/RUNG").

    Raises ArtifactError when it is none of these, can't be read or reached, or a part is missing.
    """
    named = model_of(name_or_path)
    if not (Path(named) / RUNG).is_file():
        return Classifier.load(named, engine=engine)
    if engine.startswith("onnx"):
        raise ArtifactError(f"{name_or_path} is a rung, which the engine {engine} can't compute. Take auto.")
    try:
        from inference.baselines.kept import load_kept  # noqa: PLC0415  (torch)

        made, reader = load_kept(folder := Path(named))
    except ModuleNotFoundError as error:
        raise ArtifactError(
            f"The rung {name_or_path} needs {error.name}, which is not installed. "
            "Run: pip install -r requirements.txt"
        ) from error
    if not isinstance(made, Classifier):
        return Answering(made, name=named, folder=folder, reader=reader)
    made.name_or_path, made.folder = named, folder
    made.scope = scope_of(folder, made.tokenizer)
    return made


class Answering(Classifier):
    """Any predictor as a Classifier: a text's tokens are its characters, its logits log-probabilities."""

    def __init__(
        self, predictor: Predictor, *, name: str, folder: Path | None = None, reader: Classifier | None = None
    ) -> None:
        """`reader`: tokenizes texts, and cuts long ones, before the predictor sees them."""
        self.predictor, self._reader = predictor, reader
        self.labels, self.name_or_path, self.folder = tuple(predictor.labels), name, folder
        self.engine, self.max_length = _Asked(predictor), MOST_CHARACTERS
        known = scope_of(folder, reader.tokenizer) if reader else None
        self.scope = known and _ReadScope(**vars(known))

    def counted(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens that a reference counts: the reader's, if there is one."""
        return self._reader.counted(texts) if self._reader else super().counted(texts)

    def encode(self, texts: Sequence[str], *, max_length: int | None = None) -> EncodedTexts:
        """Return the characters of texts. Raises PredictionError for an item that is no text, or a limit."""
        check_texts(texts)
        if max_length is not None:
            raise PredictionError("A rung counts no tokens, so it takes no max_length. Leave it out.")
        clean = mended(texts, longest=MOST_CHARACTERS)
        nothing = EncodedTexts([[] for _ in clean], [False] * len(clean))
        read = self._reader.encode(clean) if self._reader else nothing
        return EncodedTexts(
            [_Characters(text, ids) for text, ids in zip(clean, read.token_ids, strict=True)],
            [
                cut or len(text.strip(BLANK)) > MOST_CHARACTERS
                for text, cut in zip(texts, read.truncated, strict=True)
            ],
        )

    def logits(
        self, token_ids: Sequence[Sequence[int]], *, progress: Progress = no_progress
    ) -> NDArray[np.float32]:
        """Return log-probabilities of shape (texts, labels), in input order."""
        found = np.zeros((len(token_ids), len(self.labels)), dtype=np.float32)
        order = longest_first(list(map(len, token_ids)))
        for done in range(0, len(order), _AT_ONCE):
            rows = order[done : done + _AT_ONCE]
            found[rows] = self.engine.logits([token_ids[row] for row in rows])
            progress(done + len(rows), len(order))
        return found

    def predictions(self, logits: NDArray[np.float32], encoded: EncodedTexts) -> list[Prediction]:
        """Turn logits of shape (texts, labels) into predictions, with the texts that they rest on."""
        found = super().predictions(logits, encoded)
        return [
            Explained(**vars(one), rests_on=grounds) if (grounds := grounds_of(ids)) else one
            for one, ids in zip(found, encoded.token_ids, strict=True)
        ]

    def predict(self, texts: Sequence[str], *, with_latency: bool = False) -> list[Prediction]:
        """Return one prediction a text, in input order, with the texts that it rests on."""
        if with_latency:
            return super().predict(texts, with_latency=True)
        encoded, clean = self.encode(texts), mended(texts, longest=MOST_CHARACTERS)
        found = self.predictor.predict(clean) if clean else []
        return [
            replace(one, truncated=one.truncated or cut, unknown_share=self._unknown_share(ids))
            for one, cut, ids in zip(found, encoded.truncated, encoded.token_ids, strict=True)
        ]


class _Characters(list[int]):
    """The token ids of a text for a rung: its characters, since a Classifier hands nothing else on."""

    rests_on: tuple[Example, ...] = ()
    """Set by the predictor."""

    def __init__(self, text: str, tokens: Sequence[int]) -> None:
        """`tokens`: those of the rung's reader."""
        super().__init__(map(ord, text or " "))
        self.tokens = tokens


def grounds_of(token_ids: Sequence[int]) -> tuple[Example, ...]:
    """Return the labelled texts that the answer to an encoded text rests on, once its logits are there."""
    return token_ids.rests_on if isinstance(token_ids, _Characters) else ()


class _ReadScope(Scope):
    """The scope of a rung: it is given characters, and counts its reader's tokens."""

    def unknown_share(self, token_ids: Sequence[int]) -> float:
        assert isinstance(token_ids, _Characters)
        return super().unknown_share(token_ids.tokens)


class _Asked:
    """A predictor as an engine."""

    name, batch_tokens = "rung", 4_096

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.reason = str(getattr(predictor, "about", ""))

    def logits(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return the log-probabilities of one batch of texts, given as characters."""
        found = self.predictor.predict(["".join(map(chr, ids)) for ids in token_ids])
        for ids, one in zip(token_ids, found, strict=True):
            if isinstance(ids, _Characters):
                ids.rests_on = rests_on(one)
        chances = np.array([one.probabilities for one in found])
        logits: NDArray[np.float32] = np.log(np.maximum(chances, _SMALLEST)).astype(np.float32)
        return logits
