"""Prompts that hold the nearest labelled texts of an index, and the features of a base's trunk to search by.

    index = Index(folder / "index.sqlite", labels, features=TrunkFeatures(prompted, layers=20))
    FewShotRetrieval(prompted, index, k=8).predict(["what a day"])[0].rests_on

The index itself, and its vote, need no network: `inference.baselines.index`.
"""

from collections.abc import Sequence

import numpy as np

from inference.baselines import Explained, Vectors
from inference.baselines.index import By, Index
from inference.baselines.prompting import Prompted, prior_offset
from inference.classifier import Classifier, Prediction, budgeted_batches, softmax
from inference.trunk import headless, trunk_batch


class TrunkFeatures:
    """The state of a prompted text's last token after the lower layers of the base."""

    def __init__(self, prompted: Prompted, *, layers: int, name: str = "") -> None:
        self.prompted, self.layers, self.weights = prompted, layers, name or prompted.name_or_path
        self.name = f"{self.weights}, {layers} layers"

    def __call__(self, texts: Sequence[str]) -> Vectors:
        token_ids, engine = self.prompted.encode(texts).token_ids, self.prompted.engine
        found = np.zeros((len(texts), engine.lm.config.hidden_size), dtype=np.float32)
        for rows in budgeted_batches(list(map(len, token_ids)), tokens=engine.batch_tokens):
            with engine.precision.on(engine.lm):
                states = trunk_batch(engine.lm, [token_ids[row] for row in rows], self.layers)
            found[rows] = [state[-1].float().cpu().numpy() for state in states]
        return found


class FinalStates:
    """The input of a PyTorch classifier's head: the last state of each text in its prompt."""

    def __init__(self, classifier: Classifier, *, name: str) -> None:
        self.classifier, self.name = classifier, name

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Return one vector a text, shape (texts, hidden)."""
        token_ids = self.classifier.encode(texts).token_ids
        found = np.zeros((len(texts), self.classifier.model.config.hidden_size), dtype=np.float32)
        tokens = self.classifier.engine.batch_tokens
        with headless(self.classifier.model):
            for rows in budgeted_batches(list(map(len, token_ids)), tokens=tokens):
                found[rows] = self.classifier.engine.logits([token_ids[row] for row in rows])
        return found


class FewShotRetrieval:
    """A language model whose prompt holds the k nearest labelled texts, the very nearest last.

    Texts without neighbours are answered zero-shot.
    """

    def __init__(self, prompted: Prompted, index: Index, *, k: int = 8, by: By = "words") -> None:
        self.prompted, self.index, self.k, self.by = prompted, index, k, by
        self.labels = prompted.labels
        self.seconds = 0.0
        self.offset = np.zeros(len(self.labels))
        self.over = 0
        """The unlabelled texts over which it was calibrated."""

    @property
    def about(self) -> str:
        calibrated = f", with batch calibration over {self.over:,} unlabelled texts" if self.over else ""
        return (
            f"{self.prompted.name_or_path} answers a prompt with the {self.k} nearest of "
            f"{len(self.index):,} labelled texts, by {self.by}{calibrated}"
        )

    def calibrate(self, texts: Sequence[str]) -> None:
        """Cancel the bias of the prompts, measured on unlabelled texts that are not for evaluation."""
        self.offset = np.zeros(len(self.labels))
        self.offset = prior_offset(self._answers(texts, itself=False))
        self.over = len(texts)

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return one prediction a text, in input order, each with the examples that it rests on."""
        return self._answers(texts, itself=True)

    def _answers(self, texts: Sequence[str], *, itself: bool) -> list[Prediction]:
        encoded = self.prompted.encode(texts)
        found = self.index.search(texts, self.k, by=self.by, itself=itself)
        prompts, kept = [], []
        for ids, examples in zip(encoded.token_ids, found, strict=True):
            fit, before = self.prompted.fitting(examples[::-1], len(ids))
            prompts.append([*before, *ids[self.prompted.engine.opening if before else 0 :]])
            kept.append(fit[::-1])
        scores = np.zeros((len(texts), len(self.labels)), dtype=np.float32)
        for rows in budgeted_batches(list(map(len, prompts)), tokens=self.prompted.engine.batch_tokens):
            scores[rows] = self.prompted.engine.scores([], [prompts[row] for row in rows])
        shares = softmax((scores + self.offset).astype(np.float32))
        return [
            Explained(
                self.labels[int(row.argmax())],
                tuple(float(share) for share in row),
                cut,
                rests_on=tuple(examples),
                dropped=len(nearest) - len(examples),
            )
            for row, cut, examples, nearest in zip(shares, encoded.truncated, kept, found, strict=True)
        ]
