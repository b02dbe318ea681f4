"""How a source is doing, in one small value that can be shown.

    source.status.state            # "reconnecting"
    source.status.sentence(now)    # "Reconnecting in 4 s: jetstream1… could not be reached."

A status never changes: a source puts a new one in its place.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

State = Literal["ready", "connecting", "connected", "reconnecting", "rate limited", "ended"]


@dataclass(frozen=True)
class Status:
    """The state of a source and what it has counted.

    `until`: Unix seconds at which it tries again, while it reconnects or is rate limited. `read`: posts
    handed over. `passed_over`: what came and was not handed over, by reason. `gaps`: times when posts may
    have been missed. `cost_usd`: dollars spent on reading, None for a source that is free.
    """

    state: State = "ready"
    reason: str = ""
    until: float | None = None
    read: int = 0
    passed_over: Mapping[str, int] = field(default_factory=dict)
    reconnects: int = 0
    gaps: int = 0
    cost_usd: float | None = None

    def sentence(self, now: float) -> str:
        """Return the state in words. `now`: Unix seconds."""
        words = self.state.capitalize()
        if self.until is not None and self.state == "reconnecting":
            words = f"Reconnecting in {max(0, math.ceil(self.until - now))} s"
        elif self.until is not None and self.state == "rate limited":
            words = f"Rate limited until {datetime.fromtimestamp(self.until, UTC):%H:%M:%S} UTC"
        return f"{words}: {self.reason}" if self.reason else f"{words}."
