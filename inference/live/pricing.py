"""What reading X costs: the price of a post, the cap that ends a source, and an estimate in words.

Estimate(cap_in_posts(1.0)).sentence()
# "Reading 2 posts a second costs about $36.00 an hour ($0.005 a post, price of November 2026). …"
"""

from dataclasses import dataclass

from inference.common.wording import in_words
from inference.live.errors import SourceBadQuery

PRICE_PER_POST_USD = 0.005
PRICE_DATE = "November 2026"  # X may change its price: look at developer.x.com
DEFAULT_CAP_USD = 1.0
ASSUMED_POSTS_PER_S = 2.0
"""The rate for which the cost is shown: nobody knows a query's own before it runs."""


@dataclass(frozen=True)
class Estimate:
    """What reading costs at the assumed rate, until a cap ends it."""

    cap_posts: int

    @property
    def usd_per_hour(self) -> float:
        return ASSUMED_POSTS_PER_S * 3600 * PRICE_PER_POST_USD

    @property
    def seconds(self) -> float:
        """Until the cap is reached."""
        return self.cap_posts / ASSUMED_POSTS_PER_S

    def sentence(self) -> str:
        """Return the estimate in words, to be shown before a feed starts."""
        return (
            f"Reading {ASSUMED_POSTS_PER_S:g} posts a second costs about ${self.usd_per_hour:,.2f} an hour "
            f"(${PRICE_PER_POST_USD:g} a post, price of {PRICE_DATE}). It stops at "
            f"${self.cap_posts * PRICE_PER_POST_USD:,.2f}, that is after {self.cap_posts:,} posts or about "
            f"{in_words(self.seconds)}."
        )


@dataclass
class Budget:
    """Counts posts that were paid for."""

    cap_posts: int
    posts: int = 0

    @property
    def usd(self) -> float:
        """Dollars spent. X may charge less: a post that is read twice in a day is charged once."""
        return self.posts * PRICE_PER_POST_USD

    @property
    def left(self) -> int:
        return max(0, self.cap_posts - self.posts)

    def ended(self) -> str:
        return f"The cap is reached: {self.posts:,} posts were read for ${self.usd:,.2f}."


def cap_in_posts(cap_usd: float) -> int:
    """Return a cap in posts. Raises SourceBadQuery for one that is no number above 0."""
    if not 0 < cap_usd < float("inf"):
        raise SourceBadQuery(f"A cap of {cap_usd:g} dollars can't be kept. Choose more than 0.")
    return int(cap_usd / PRICE_PER_POST_USD + 1e-9)
