"""Labels: their names, their order and the words that stand for them in a prompt.

    label_words(("negative", "not_sure"))      # -> ("negative", "not sure")

The order of an artifact's labels is its config's `id2label`; nothing else stores it.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


class Label(IntEnum):
    """The sentiment labels of the embedded tweets and of the mission's data set, in their order."""

    NEGATIVE = 0
    NEUTRAL = 1
    POSITIVE = 2


SENTIMENT = tuple(label.name.lower() for label in Label)


def label_words(names: Sequence[str]) -> tuple[str, ...]:
    """Return the verbalizer: the word (or words) a prompt uses for each label name, `_` and `-` as spaces.

    Names that would have the same words, such as -1 and 1, stand for themselves.
    """
    words = [" ".join(name.lower().replace("_", " ").replace("-", " ").split()) or name for name in names]
    return tuple(name if words.count(word) > 1 else word for name, word in zip(names, words, strict=True))


def labels_of(config: "PreTrainedConfig") -> tuple[str, ...]:
    """Return the label names of a Transformers config in the order of its logits."""
    return tuple(str(config.id2label[i]) for i in range(len(config.id2label)))
