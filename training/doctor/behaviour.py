"""How a trained model behaves where the answer must not change, or must: batch, case, names, emoji, negation.

    for check in behaviour(Classifier.load(run.artifact), texts):
        print(check.name, check.changed, check.sentence)

Invariance and directional tests of behaviour (CheckList: Ribeiro et al. 2020, arXiv 2005.04118), on texts of
the validation split, which need no label for it.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from inference.classifier import Classifier, softmax
from inference.common.errors import DataError
from inference.common.intervals import Interval, poles, wilson
from inference.common.store import JsonObject

TEXTS = 100
"""Texts that are checked: about 500 answers in all."""
APART = 1e-3
"""How far the probabilities of one text, alone and in a batch, may lie apart."""
FRAGILE = 0.1
"""The share of changed labels above which, beyond chance, it is a fault."""
LEAST_TEXTS = 10
_NAME = re.compile(r"(?<!\w)@\w+")
_EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]\ufe0f?")
_SAID = {
    "good": ("great", "wonderful", "good", "lovely", "nice"),
    "bad": ("awful", "terrible", "bad", "sad", "ugly"),
}
_PLAIN, _NEGATED = "this is {}", "this is not {}"


@dataclass(frozen=True)
class Check:
    """How many answers changed with the texts."""

    name: str
    changed: int
    n: int
    """Texts that were classified twice."""
    fault: bool
    sentence: str

    def to_json(self) -> JsonObject:
        share = wilson(self.changed, self.n)
        return {**vars(self), "share": share.to_json() if share else None}


def behaviour(classifier: Classifier, texts: Sequence[str]) -> list[Check]:
    """Ask a classifier about texts and changed copies of them. Raises DataError without a text."""
    texts = list(texts)[:TEXTS]
    if not texts:
        raise DataError("There is no text to look at. Give a run that has validation rows.")
    return [_alone(classifier, texts), *_unmoved(classifier, texts), *_negated(classifier)]


def _alone(classifier: Classifier, texts: Sequence[str]) -> Check:
    ids = classifier.encode(texts).token_ids
    together = softmax(classifier.engine.logits(ids))
    single = softmax(np.concatenate([classifier.engine.logits([one]) for one in ids]))
    apart = np.abs(together - single).max(axis=1)
    n = int((apart > APART).sum())
    sentence = (
        f"{n} of {len(texts)} texts are answered otherwise in a batch than alone (by up to {apart.max():.1g})"
    )
    return Check("batch", n, len(texts), n > 0, f"{sentence}.")


def _unmoved(classifier: Classifier, texts: Sequence[str]) -> Iterator[Check]:
    """Change what should not matter, and count the labels that change."""
    changes: dict[str, tuple[str, Callable[[str], str]]] = {
        "upper case": ("in capitals", str.upper),
        "user names": ("under other user names", _swap_names(texts)),
        "emoji": ("without their emoji", lambda text: _EMOJI.sub("", text)),
    }
    for name, (how, change) in changes.items():
        pairs = [(text, change(text)) for text in texts if change(text) != text]
        if len(pairs) < LEAST_TEXTS:
            sentence = f"Only {len(pairs)} of the {len(texts)} texts can be written {how}: too few to tell."
            yield Check(name, 0, len(pairs), False, sentence)
            continue
        before, after = (
            [one.label for one in classifier.predict(list(side))] for side in zip(*pairs, strict=True)
        )
        n = sum(a != b for a, b in zip(before, after, strict=True))
        sentence = f"{n} of {len(pairs)} texts get another label {how}."
        low = (wilson(n, len(pairs)) or Interval(0, 0, 0)).low
        yield Check(name, n, len(pairs), low > FRAGILE, sentence)


def _swap_names(texts: Sequence[str]) -> Callable[[str], str]:
    """Put another of the texts' names for each: a made-up one might be new to the base."""
    names = list(dict.fromkeys(name for text in texts for name in _NAME.findall(text)))
    other = dict(zip(names, [*names[1:], *names[:1]], strict=True))
    return lambda text: _NAME.sub(lambda found: other[found[0]], text)


def _negated(classifier: Classifier) -> Iterator[Check]:
    """Put “not” before a word that is clearly good or bad; only for models of sentiment."""
    known = {label.casefold() for label in classifier.labels}
    if not {"negative", "positive"} <= known:
        return
    pole_of = dict(zip(("bad", "good"), poles(classifier.labels), strict=True))
    words = [(word, pole_of[side]) for side, some in _SAID.items() for word in some]
    plain, negated = (
        [one.label for one in classifier.predict([form.format(word) for word, _ in words])]
        for form in (_PLAIN, _NEGATED)
    )
    right = [at for at, (_, label) in enumerate(words) if plain[at] == label]
    kept = sum(negated[at] == plain[at] for at in right)
    if len(right) < len(words) / 2:
        sentence = (
            f"Negation can't be told: only {len(right)} of {len(words)} plain sentences (“this is great”) "
            "are right."
        )
        yield Check("negation", 0, len(right), False, sentence)
        return
    sentence = (
        f"{kept} of {len(right)} plain sentences keep their label with “not” in them (“this is not great”)."
    )
    low = (wilson(kept, len(right)) or Interval(0, 0, 0)).low
    yield Check("negation", kept, len(right), low > 0.5, sentence)
