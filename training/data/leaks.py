"""The leak gate: no row of train, or of validation, may be a twin of a row that is measured on.

    gate = remove_twins({"train": texts, "validation": texts, "test": texts})
    gate.kept["train"], gate.removed           # -> indices, {"train/test": 56, ...}

Two texts are exact twins when they are equal after normalising; near duplicates are not looked for here.
Knows nothing about labels: twins whose labels differ leak as much as twins whose labels agree.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_USER = re.compile(r"(?<!\w)@\w+")
_LINK = re.compile(r"(?:https?://|www\.)\S+")


@dataclass(frozen=True)
class Gate:
    """What the gate let through: `kept` row indices by split, and `removed` counts by "from/twin in"."""

    kept: Mapping[str, Sequence[int]]
    removed: Mapping[str, int]


def twin_key(text: str) -> str:
    """Return what twins have in common: NFKC, case folded, one user name, one link, single spaces."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(_USER.sub("@user", _LINK.sub("http", folded)).split())


def remove_twins(splits: Mapping[str, Sequence[str]]) -> Gate:
    """Take twins of test out of validation, and twins of either out of train; test is never touched.

    `splits` has the texts of train, validation and test. A train row with twins in both is counted once,
    under "train/test". Twins inside one split stay.
    """
    keys = {name: [twin_key(text) for text in texts] for name, texts in splits.items()}
    test, validation = set(keys["test"]), set(keys["validation"])
    in_test = [key in test for key in keys["train"]]
    in_validation = [key in validation and not hit for key, hit in zip(keys["train"], in_test, strict=True)]
    kept_train = [i for i, (a, b) in enumerate(zip(in_test, in_validation, strict=True)) if not (a or b)]
    kept_validation = [i for i, key in enumerate(keys["validation"]) if key not in test]
    return Gate(
        kept={"train": kept_train, "validation": kept_validation, "test": range(len(keys["test"]))},
        removed={
            "train/test": sum(in_test),
            "train/validation": sum(in_validation),
            "validation/test": len(keys["validation"]) - len(kept_validation),
        },
    )
