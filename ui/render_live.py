"""The Live tab's HTML: counts, the share of each label over time, and the newest posts.

Draws a `FeedSnapshot`; knows nothing about threads or sources.
"""

from inference.feed import ClassifiedPost, FeedSnapshot
from ui.plots import legend, share_chart, titled
from ui.render import bars, empty, esc, label_chip, label_class, note, page, state_chip, tiles
from ui.translations import Texts

_SLOTS = (12, 60)  # windows drawn, at first and at most: one minute, then up to five


def nothing_yet(ready: bool, text: Texts) -> str:
    """Draw the tab before its first start."""
    title, step = ("live.nothing", "live.nothing_next") if ready else ("live.no_model", "live.no_model_next")
    return page(empty(text(title), text(step)))


def numbers(shot: FeedSnapshot, text: Texts) -> str:
    """Draw the counts and the chart."""
    head = (
        f'<div class="tt-row"><h2>{esc(text(f"source.{shot.source}"))}</h2>{state_chip(shot.state, text)}'
        f'<span class="muted small">{esc(_why(shot, text))}</span><span class="grow"></span>'
        f'<span class="muted small num">{esc(text.duration(shot.running_s))}</span></div>'
    )
    broken = note(shot.message, "bad") if shot.message else ""
    total = max(shot.classified, 1)
    counts = [
        (label, index, count / total, f"{text.number(count)} · {text.percent(count / total, 0)}")
        for index, (label, count) in enumerate(zip(shot.labels, shot.counts, strict=True))
    ]
    left = f'<div><h3 style="margin-bottom:8px">{esc(text("live.counts"))}</h3>{bars(counts, text)}</div>'
    return page(
        f'{head}{broken}{tiles(_entries(shot, text))}<div class="tt-two">{left}{_chart(shot, text)}</div>',
        "tt-card tt-stack",
    )


def _why(shot: FeedSnapshot, text: Texts) -> str:
    return text(f"live.ended_{shot.reason}") if shot.reason and not shot.message else ""


def _entries(shot: FeedSnapshot, text: Texts) -> list[tuple[str, str, str]]:
    entries = [
        (text("live.rate"), text.number(shot.rate_in_per_s, 1), text("live.per_s")),
        (text("live.received"), text.number(shot.received), ""),
        (text("live.classified"), text.number(shot.classified), ""),
        (text("live.dropped"), text.number(shot.dropped), ""),
        (text("live.pending"), text.number(shot.pending), ""),
    ]
    if shot.capacity_per_s:
        entries.append((text("live.capacity"), text.number(shot.capacity_per_s, 1), text("live.per_s")))
    if accuracy := shot.accuracy():
        share, low, high = accuracy
        unit = f"({text.interval({'low': low, 'high': high})})"
        entries.append((text("live.right"), text.percent(share), unit))
    return entries


def _chart(shot: FeedSnapshot, text: Texts) -> str:
    title = text("live.chart", seconds=text.short(shot.window_s))
    keys = legend(
        [(label_class(name, i), text.label(name)) for i, name in enumerate(shot.labels)], square=True
    )
    slots = min(max(len(shot.windows), _SLOTS[0]), _SLOTS[1])
    ago = text("live.ago", time=text.duration(slots * shot.window_s))
    chart = share_chart(shot.windows, shot.labels, slots=slots, text=text, title=title, ago=ago)
    return titled(title, keys, chart)


def posts(shot: FeedSnapshot, text: Texts) -> str:
    """Draw the newest posts, newest first."""
    if not shot.recent:
        return ""
    places = {label: place for place, label in enumerate(shot.labels)}
    items = "".join(_post(told, places, text) for told in shot.recent)
    title = text("live.newest")
    return page(
        f'<div class="tt-row" style="margin:4px 0 8px"><h2>{esc(title)}</h2>'
        f'<span class="muted small tt-held">{esc(text("live.held"))}</span></div>'
        f'<div class="tt-scroll tt-feedbox" tabindex="0" role="region" aria-label="{esc(title)}">'
        f'<ol class="tt-posts" reversed>{items}</ol></div>'
    )


def _post(told: ClassifiedPost, places: dict[str, int], text: Texts) -> str:
    truth = ""
    if told.post.label is not None:
        right = told.post.label == told.label
        key = "live.was_right" if right else "live.was_wrong"
        verdict = text(key, label=text.label(told.post.label))
        truth = f'<span class="truth">{"✓" if right else "✗"} {esc(verdict)}</span>'
    return (
        f"<li>{label_chip(told.label, places.get(told.label, 0), text)}"
        f'<span class="num muted small">{esc(text.percent(told.probability, 0))}</span>'
        f'<span class="text" dir="auto">{esc(told.post.text)}</span>{truth}</li>'
    )
