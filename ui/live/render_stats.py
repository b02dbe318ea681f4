"""What a live stream says as a whole, as HTML: shares and net sentiment over time, words, shifts, drift.

Draws what `inference.live` returns; knows nothing about feeds.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from inference.common.intervals import Interval, poles
from inference.live.drift import MIN_POSTS, Drift, Finding
from inference.live.shift import FALSE_ALARMS_PER_MILLION, THRESHOLD, Shift
from inference.live.statistics import StatisticsView, Window
from inference.live.words import Distinct, Word
from ui.html import bars, esc, label_chip, label_class, note, page
from ui.live.render_posts import readable
from ui.plots import band_chart, legend, share_chart, titled
from ui.translations import Texts

SPANS = {"10": 10.0, "60": 60.0, "300": 300.0}
_SLOTS = (12, 60)  # spans drawn, at first and at most


def charts(seen: StatisticsView, labels: Sequence[str], span_s: float, text: Texts) -> str:
    """Draw the shares of the labels in the last span and span by span, and net sentiment; with intervals."""
    line = seen.line
    slots = min(max(len(line), _SLOTS[0]), _SLOTS[1])
    ago = text("live.ago", time=text.duration(slots * span_s))
    every = text.duration(span_s)
    title = text("live.chart", every=every)
    keys = legend([(label_class(name, i), text.label(name)) for i, name in enumerate(labels)], square=True)
    shares = share_chart([window.counts for window in line], labels, slots=slots, title=title, ago=ago)
    net_title = text("live.net", every=every)
    bands = [
        Interval(window.net.value, window.net.low, window.net.high) if window.net else None for window in line
    ]
    now = line[-1].net if line else None
    said = f"{net_title}: {net_words(now, text)}" if now else net_title
    net = band_chart(bands, slots=slots, low=-1.0, high=1.0, ago=ago, title=said)
    low, high = (text.label(name) for name in poles(labels))
    how = f'<p class="muted small">{esc(text("live.net_how", low=low, high=high))}</p>'
    right = f"<div>{titled(net_title, '', net)}{how}</div>"
    caption = text("live.shares", every=every, n=text.number(seen.now.n))
    latest = f"<div><h3>{esc(caption)}</h3>{bars(_shares(seen.now, labels, text))}</div>"
    left = f"<div>{titled(title, keys, shares)}{latest}</div>"
    return page(f'<div class="tt-two tt-charts">{left}{right}</div>')


def _shares(window: Window, labels: Sequence[str], text: Texts) -> list[tuple[str, int, float, str]]:
    """Return a bar for each label: its share, and that in per cent with Wilson's interval."""
    rows = []
    for place, (label, share) in enumerate(zip(labels, window.shares, strict=True)):
        interval = text.interval({"low": share.low, "high": share.high}) if share else ""
        written = f"{text.percent(share.value)} ({interval})" if share else "–"
        rows.append((label, place, share.value if share else 0.0, written))
    return rows


def net_words(net: Interval, text: Texts) -> str:
    """Write net sentiment in points, with its interval."""
    interval = text.interval({"low": net.low, "high": net.high}, points=True)
    return f"{points(net.value, text)} ({interval})"


def points(value: float, text: Texts) -> str:
    """Write a share of 1 as points with their sign."""
    rounded = text.number(100 * value)
    return ("+" if round(100 * value) > 0 else "") + rounded.replace("-", "−")


def shifts(found: Sequence[tuple[float, Shift]], posts: int, text: Texts) -> str:
    """Draw the alerts, (Unix seconds, Shift) each, newest first, and what was tested."""
    items = "".join(
        f'<li class="{"up" if shift.rises else "down"}">{_time(at_s)} {esc(_shift(shift, text))}</li>'
        for at_s, shift in found
    )
    by_chance, in_a_row = map(text.short, FALSE_ALARMS_PER_MILLION)
    how = text(
        "live.shift_how",
        posts=text.number(posts),
        threshold=text.short(THRESHOLD),
        by_chance=by_chance,
        in_a_row=in_a_row,
    )
    told = (
        f'<ul class="tt-shifts" role="status">{items}</ul>'
        if items
        else f"<p>{esc(text('live.no_shift'))}</p>"
    )
    return f'<section><h3>{esc(text("live.shift"))}</h3>{told}<p class="muted small">{esc(how)}</p></section>'


def _shift(shift: Shift, text: Texts) -> str:
    interval = text.interval({"low": shift.after.low, "high": shift.after.high}, points=True)
    return text(
        "live.risen" if shift.rises else "live.fallen",
        before=points(shift.before, text),
        after=points(shift.after.value, text),
        interval=interval,
        n=text.number(shift.post - shift.since + 1),
    )


def _time(at_s: float) -> str:
    when = datetime.fromtimestamp(at_s, UTC).replace(microsecond=0)
    return f'<time class="num" datetime="{when.isoformat()}">{when:%H:%M:%S} UTC</time>'


def words(found: Mapping[str, Distinct], text: Texts) -> str:
    """Draw the words and hashtags that set each label's posts apart."""
    columns = "".join(
        f"<div>{label_chip(label, place)}{_listed(distinct, text)}</div>"
        for place, (label, distinct) in enumerate(found.items())
    )
    if not any(distinct.words or distinct.hashtags for distinct in found.values()):
        columns = f'<p class="muted tt-none">{esc(text("live.no_words"))}</p>'
    return page(
        f'<h2>{esc(text("live.words"))}</h2><div class="tt-words">{columns}</div>'
        f'<p class="muted small">{esc(text("live.words_how"))}</p>',
        "tt-card tt-stack",
    )


def _listed(distinct: Distinct, text: Texts) -> str:
    rows = [*distinct.words, *distinct.hashtags]
    if not rows:
        return f'<p class="muted small">{esc(text("live.no_words_here"))}</p>'
    return f"<ol>{''.join(_word(word, text) for word in rows)}</ol>"


def _word(word: Word, text: Texts) -> str:
    count = text("live.word_count", posts=text.number(word.posts), of=text.number(word.of))
    shown = esc(readable(word.word, 40))
    return f'<li><bdi class="word">{shown}</bdi><span class="num muted">{esc(count)}</span></li>'


def drift(found: Drift | None, text: Texts) -> str:
    """Draw in words whether the posts are like the training texts."""
    title = f"<h3>{esc(text('live.drift'))}</h3>"
    if found is None:
        return f"<section>{title}<p>{esc(text('live.no_reference'))}</p></section>"
    if found.level == "unknown":
        few = text("live.drift_few", n=text.number(found.n), least=text.number(MIN_POSTS))
        return f"<section>{title}<p>{esc(few)}</p></section>"
    verdict = text(f"live.drift_{found.level.replace(' ', '_')}", n=text.number(found.n))
    items = "".join(f"<li>{_finding(finding, text)}</li>" for finding in found.findings)
    told = f'<p class="tt-drift">{esc(verdict)}</p><ul class="tt-notes">{items}</ul>'
    return f"<section>{title}{told}</section>"


def _finding(finding: Finding, text: Texts) -> str:
    digits = 1 if finding.name == "tokens" else 0
    if finding.name == "length":
        now, then = text.number(finding.live, 1), text.number(finding.reference, 1)
    else:
        now, then = text.percent(finding.live, digits), text.percent(finding.reference, digits)
    told = text(f"live.drift_of_{finding.name}", now=now, then=then)
    level = f"<b>{esc(text('live.differs'))}</b> " if finding.level != "alike" else ""
    return f"{level}{esc(told)}"


def statistics(seen: StatisticsView, text: Texts) -> str:
    """Draw shifts and drift in one card."""
    told = note(seen.drift_problem, "warn") if seen.drift_problem else ""
    body = f"{shifts(seen.shifts, seen.posts, text)}{drift(seen.drift, text)}{told}"
    return page(body, "tt-card tt-stack tt-watch")
