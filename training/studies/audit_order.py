"""The order of an audit: `python -m training audit`. Its result is `training.audit.findings.Audit`.

Importing this loads nothing heavy.
"""

from dataclasses import dataclass
from typing import ClassVar

from training.runs.run import AUDIT
from training.runs.study import RecipeOrder

LABEL_ROWS = 2000
"""Training rows that are looked at for label errors: minutes on a small CPU."""


@dataclass(frozen=True, kw_only=True)
class AuditOrder(RecipeOrder):
    """The order of an audit of a recipe's data, all rows of it."""

    KIND: ClassVar[str] = AUDIT
    look_at_labels: bool = True
    """Whether probable label errors are looked for, which takes a pass of the base over the rows."""
    label_rows: int = LABEL_ROWS
    """Training rows that are looked at for them; 0: all."""
