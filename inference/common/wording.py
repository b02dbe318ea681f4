"""Numbers as people read them: durations, sizes, amounts, and scores with their intervals.

in_words(200)                        # -> "3 min 20 s"
size(328_000_000)                    # -> "328.0 MB"
dollars(0.08)                        # -> "$0.08"
percent(Interval(0.745, 0.731, 0.759))  # -> "74.5 (73.1 to 75.9)"
listed(["a", "b", "c"], most=2)      # -> "a, b and 1 more"
"""

from collections.abc import Mapping, Sequence

from inference.common.intervals import Interval


def in_words(seconds: float) -> str:
    """Return a duration for people: "45 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes < 10 and rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def size(n_bytes: float) -> str:
    """Return a size for people, in decimal units: "40 bytes", "0.4 kB", "1.2 MB", "3.5 GB"."""
    for least, unit, factor in ((1e9, "GB", 1e9), (1e5, "MB", 1e6), (100, "kB", 1e3)):
        if n_bytes >= least:
            return f"{n_bytes / factor:,.1f} {unit}"
    return f"{n_bytes:.0f} bytes"


def dollars(usd: float) -> str:
    """Return an amount for people: "$0.08", "under $0.01"."""
    return f"${usd:,.2f}" if usd >= 0.01 or not usd else "under $0.01"


def percent(score: Interval | Mapping[str, float] | None) -> str:
    """Return a score with its interval, in percent: "74.5 (73.1 to 75.9)"; "-" for none."""
    if not score:
        return "-"
    found = score if isinstance(score, Interval) else Interval.from_json(score)
    return f"{100 * found.value:.1f} ({100 * found.low:.1f} to {100 * found.high:.1f})"


def listed(words: Sequence[str], *, most: int = 10) -> str:
    """Return words with commas between them; of many the first ones, and how many there are beside them."""
    more = f" and {len(words) - most:,} more" if len(words) > most else ""
    return f"{', '.join(words[:most])}{more}"
