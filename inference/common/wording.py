"""Numbers as people read them: durations, and scores with their intervals.

in_words(200)                                           # -> "3 min 20 s"
percent({"value": 0.745, "low": 0.731, "high": 0.759})  # -> "74.5 (73.1 to 75.9)"
"""


def in_words(seconds: float) -> str:
    """Return a duration for people: "45 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes < 10 and rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def percent(score: dict[str, float] | None) -> str:
    """Return a score with its interval, in percent: "74.5 (73.1 to 75.9)"."""
    if not score:
        return "-"
    value, low, high = (100 * score[key] for key in ("value", "low", "high"))
    return f"{value:.1f} ({low:.1f} to {high:.1f})"
