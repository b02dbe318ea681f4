"""What reading X costs: the price of a post, the cap that ends a source, and an estimate in words.

estimate(2.0, cap_usd=1.0).sentence()
# "Reading 2 posts a second costs about $36.00 an hour ($0.005 a post, price of November 2026). …"
"""

from dataclasses import dataclass

from inference.live.errors import SourceBadQuery

PRICE_PER_POST_USD = 0.005
PRICE_DATE = "November 2026"  # X may change its price: look at developer.x.com
DEFAULT_CAP_USD = 1.0
ASSUMED_POSTS_PER_S = 2.0
"""The rate for which the cost is shown: nobody knows a query's own before it runs."""


@dataclass(frozen=True)
class Estimate:
    """What reading costs at a rate, and when the cap ends it. `hours`: None without a cap."""

    posts_per_s: float
    usd_per_hour: float
    cap_posts: int | None
    hours: float | None

    def sentence(self) -> str:
        """Return the estimate in words, to be shown before a feed starts."""
        cost = (
            f"Reading {self.posts_per_s:g} posts a second costs about ${self.usd_per_hour:,.2f} an hour "
            f"(${PRICE_PER_POST_USD:g} a post, price of {PRICE_DATE})."
        )
        if self.cap_posts is None or self.hours is None:
            return f"{cost} There is no cap."
        seconds = self.hours * 3600
        duration = f"{seconds / 60:.0f} minutes" if self.hours < 2 else f"{self.hours:.0f} hours"
        return (
            f"{cost} It stops at ${self.cap_posts * PRICE_PER_POST_USD:,.2f}, that is after "
            f"{self.cap_posts:,} posts or about {f'{seconds:.0f} s' if seconds < 120 else duration}."
        )


@dataclass
class Budget:
    """Counts posts that were paid for. `cap_posts`: None for no cap."""

    cap_posts: int | None
    posts: int = 0

    @property
    def usd(self) -> float:
        """Dollars spent. X may charge less: a post that is read twice in a day is charged once."""
        return self.posts * PRICE_PER_POST_USD

    @property
    def left(self) -> int:
        """Posts that may still be read."""
        return max(0, self.cap_posts - self.posts) if self.cap_posts is not None else 1_000_000

    def ended(self) -> str:
        """Return why a source stops at its cap."""
        return f"The cap is reached: {self.posts:,} posts were read for ${self.usd:,.2f}."


def cap_in_posts(cap_usd: float | None, cap_posts: int | None) -> int | None:
    """Return the smaller of two caps, in posts. Raises SourceBadQuery for one that is not above 0."""
    for cap in (cap_usd, cap_posts):
        if cap is not None and not cap > 0:
            raise SourceBadQuery(f"A cap of {cap:g} lets nothing be read. Choose more than 0.")
    caps = [] if cap_posts is None else [cap_posts]
    if cap_usd is not None and cap_usd < float("inf"):
        caps.append(int(cap_usd / PRICE_PER_POST_USD + 1e-9))
    return min(caps, default=None)


def estimate(
    posts_per_s: float = ASSUMED_POSTS_PER_S,
    *,
    cap_usd: float | None = DEFAULT_CAP_USD,
    cap_posts: int | None = None,
) -> Estimate:
    """Return what reading at a rate costs."""
    cap = cap_in_posts(cap_usd, cap_posts)
    hours = cap / posts_per_s / 3600 if cap is not None and posts_per_s > 0 else None
    return Estimate(posts_per_s, posts_per_s * 3600 * PRICE_PER_POST_USD, cap, hours)
