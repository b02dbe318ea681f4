"""The Live tab's numbers as HTML: state, counts in which every post has its place, labels so far.

Draws a `FeedSnapshot`; knows nothing about threads or sources.
"""

from inference.live.counts import FeedSnapshot
from ui.html import bars, button, empty, esc, note, page, row, state_chip, table, tiles
from ui.live.feeds import Watched
from ui.live.recording import RecordingView
from ui.translations import Texts


def nothing_yet(ready: bool, text: Texts) -> str:
    """Draw the tab before its first start."""
    title, step = ("live.nothing", "live.nothing_next") if ready else ("live.no_model", "live.no_model_next")
    return page(empty(text(title), text(step)))


def numbers(
    shot: FeedSnapshot,
    text: Texts,
    *,
    source: str = "",
    title: str = "",
    private: bool = False,
    cap_usd: float | None = None,
    models: tuple[str, str] = ("", ""),
    now: float = 0.0,
) -> str:
    """Draw the state, the counts and the labels so far. `now`: Unix seconds, for a source that waits."""
    what = f'<span class="tt-query" dir="auto">{esc(title)}</span>' if title else ""
    mine = f'<span class="tt-tag">{esc(text("live.private"))}</span>' if private else ""
    head = (
        f'<div class="tt-row"><h2>{esc(text(f"source.{source or shot.source}"))}</h2>{what}{mine}'
        f'{state_chip(shot.state)}<span class="muted small">{esc(_why(shot, text))}</span>'
        f'<span class="grow"></span><span class="muted small num">{esc(text.duration(shot.running_s))}</span>'
        f"</div>{_source(shot, text, now)}"
    )
    broken = note(shot.message, "bad") if shot.message else ""
    total = max(shot.classified, 1)
    counts = [
        (label, index, count / total, f"{text.number(count)} · {text.percent(count / total, 0)}")
        for index, (label, count) in enumerate(zip(shot.labels, shot.counts, strict=True))
    ]
    right = f"<div><h3>{esc(text('live.counts'))}</h3>{bars(counts)}{_agreement(shot, text, models)}</div>"
    return page(
        f"{head}{broken}{tiles(_entries(shot, text, cap_usd))}"
        f'<div class="tt-two tt-live-two">{_account(shot, text)}{right}</div>',
        "tt-card tt-stack",
    )


def _why(shot: FeedSnapshot, text: Texts) -> str:
    return text(f"live.ended_{shot.reason}") if shot.reason and not shot.message else ""


def _source(shot: FeedSnapshot, text: Texts, now: float) -> str:
    """Say what the source is waiting for, and what it may have missed; nothing while all is well."""
    status, parts = shot.source_status, []
    if shot.state == "ended" and status.reason and not shot.message:
        parts.append(status.reason)
    elif shot.state != "ended" and status.state in ("connecting", "reconnecting", "rate limited"):
        wait = text("live.again_in", time=text.duration(status.until - now)) if status.until else ""
        parts.append(
            " ".join(filter(None, (text(f"live.is_{status.state.replace(' ', '_')}"), wait, status.reason)))
        )
    if status.gaps:
        parts.append(text("live.gaps", n=text.number(status.gaps)))
    return note(" ".join(parts), "warn" if shot.state != "ended" else "") if parts else ""


def _entries(shot: FeedSnapshot, text: Texts, cap_usd: float | None) -> list[tuple[str, str, str]]:
    per_s = text("live.per_s")
    entries = [
        (text("live.received"), text.number(shot.received), ""),
        (text("live.rate"), text.number(shot.rate_in_per_s, 1), per_s),
        (text("live.rate_classified"), text.number(shot.rate_classified_per_s, 1), per_s),
    ]
    if shot.capacity_per_s:
        entries.append((text("live.capacity"), text.number(shot.capacity_per_s, 1), per_s))
    if shot.lag:
        entries += [
            (text("live.lag_p50"), *_short_time(shot.lag.p50_s, text)),
            (text("live.lag_p95"), *_short_time(shot.lag.p95_s, text)),
        ]
    if shot.age:
        entries.append((text("live.age"), *_short_time(shot.age.p50_s, text)))
    if accuracy := shot.accuracy():
        unit = f"({text.interval({'low': accuracy.low, 'high': accuracy.high})})"
        entries.append((text("live.right"), text.percent(accuracy.value), unit))
    if shot.source_status.cost_usd is not None:
        unit = text("live.of_cap", usd=text.number(cap_usd, 2)) if cap_usd else ""
        entries.append((text("live.spent"), f"${text.number(shot.source_status.cost_usd, 2)}", unit))
    return entries


def _short_time(seconds: float, text: Texts) -> tuple[str, str]:
    return (text.number(1000 * seconds), "ms") if seconds < 1 else (text.number(seconds, 1), "s")


def _account(shot: FeedSnapshot, text: Texts) -> str:
    """Draw the table that says where every post went: its rows sum up to what was received."""

    def line(name: str, count: int, css: str = "") -> str:
        share = text.percent(count / shot.received) if shot.received else "–"
        return row(esc(name), [(esc(text.number(count)), "num"), (esc(share), "num muted")], css=css)

    lines = [line(text("live.classified"), shot.classified)]
    for reason, count in sorted(shot.filtered.items(), key=lambda item: -item[1]):
        key = f"live.filtered_{reason.replace(' ', '_')}"
        named = text(key) if text.has(key) else reason
        lines.append(line(text("live.filtered", reason=named), count))
    lines += [
        line(text(f"live.{name}"), getattr(shot, name)) for name in ("duplicates", "dropped", "pending")
    ]
    lines.append(line(text("live.received"), shot.received, "sum"))
    head = [(text("live.posts"), ""), (text("live.number"), "num"), (text("live.share"), "num")]
    return table(head, lines, caption=text("live.account"), css="tt-account")


def _agreement(shot: FeedSnapshot, text: Texts, models: tuple[str, str]) -> str:
    agreement = shot.agreement()
    if not agreement:
        return ""
    sentence = text(
        "live.agreement",
        first=models[0],
        second=models[1],
        share=text.percent(agreement.value),
        interval=text.interval({"low": agreement.low, "high": agreement.high}),
        n=text.number(shot.agreed + shot.disagreed),
    )
    return f'<p class="tt-agree">{esc(sentence)}</p>'


def others(feeds: list[Watched], shown: str, text: Texts) -> str:
    """Draw the other feeds that run, each with a button to watch it."""
    buttons = "".join(
        button(name, action="watch", value=each.id, css="chip", about=text("live.watch"))
        for each in feeds
        if each.id != shown
        and (name := " · ".join(filter(None, (text(f"source.{each.source}"), each.title))))
    )
    if not buttons:
        return ""
    also = f'<span class="muted small">{esc(text("live.also"))}</span>'
    return page(f'<div class="tt-row tt-others">{also}{buttons}</div>')


def recording_line(view: RecordingView, text: Texts) -> str:
    """Say how the recording stands."""
    if view.state == "none":
        return page(f'<p class="muted small">{esc(text("live.record_help"))}</p>')
    key = f"live.{view.state}_{'texts' if view.texts else 'ids'}"
    told = f'<p class="small" role="status">{esc(text(key, n=text.number(view.posts)))}</p>'
    return page(told + (note(view.message, "warn") if view.message else ""))
