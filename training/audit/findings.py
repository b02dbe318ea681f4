"""What an audit finds: findings, flagged rows, and all of it as the result of a run of the kind "audit".

    found.sentences()
    found.flags                                # -> rows to check, with the suggested label
    Audit.read(run.path)                       # None before it is finished

Importing this loads nothing heavy.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from inference.common.text import one_line
from inference.common.wording import listed
from training.runs.study import Result

EXAMPLES = 3


@dataclass(frozen=True)
class Finding:
    """Something that a reader should know of the data."""

    kind: str
    count: int
    sentence: str
    examples: tuple[str, ...] = ()
    act: str = ""
    """The setting that acts on it, as `leak_gate=near` for `--set`; "" where none does."""

    @property
    def whole(self) -> str:
        """The sentence, with the examples and the setting."""
        such_as = "; ".join(f"“{one_line(text, longest=90)}”" for text in self.examples[:EXAMPLES])
        parts = [self.sentence, such_as and f"Such as: {such_as}.", self.act and f"Act: --set {self.act}."]
        return " ".join(filter(None, parts))


@dataclass(frozen=True)
class Flag:
    """A row of the relabel queue."""

    text: str
    label: str
    suggested: str
    """The suggested label; "" without one."""
    reason: str
    split: str


@dataclass(frozen=True, kw_only=True)
class Audit(Result):
    """What was found."""

    FILE: ClassVar[str] = "audit.json"

    data: str
    rows: Mapping[str, int]
    """Usable rows by split."""
    classes: Mapping[str, int]
    """Rows of train by label, in the labels' order."""
    findings: tuple[Finding, ...] = ()
    flags: tuple[Flag, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.classes)

    @property
    def to_review(self) -> list[Flag]:
        """The flagged rows of train: the others stay as they are."""
        return [flag for flag in self.flags if flag.split == "train"]

    @property
    def turns(self) -> list[tuple[str, str, int]]:
        """Label, suggestion and count of the rows to review that have one, the most frequent first."""
        counts = Counter((flag.label, flag.suggested) for flag in self.to_review if flag.suggested)
        return [(*pair, n) for pair, n in counts.most_common()]

    def plus(self, findings: Sequence[Finding], flags: Sequence[Flag] = ()) -> "Audit":
        return dataclasses.replace(self, findings=(*self.findings, *findings), flags=(*self.flags, *flags))

    def sentences(self) -> list[str]:
        rows = ", ".join(f"{n:,} {split}" for split, n in self.rows.items())
        head = f"{self.data}: {rows} rows of {len(self.labels)} classes ({listed(self.labels, most=20)})."
        lines = [head, *(one.whole for one in self.findings)]
        if self.flags:
            lines.append(f"{len(self.flags):,} rows are flagged, as a queue to relabel.")
        return lines if self.findings else [head, "Nothing else was found."]
