"""The Live tab as HTML: numbers, charts, posts, words, shifts and drift, the duel's card and its numbers.

Posts are written by strangers: control characters, bidi overrides, invisible characters and piles of accents
are removed, and the rest is escaped. A link is shown only if it is a web address. The duel's card holds
neither model's answer, not even hidden in the page.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from inference.common.intervals import Interval, poles
from inference.common.text import INVISIBLE, one_line
from inference.live.counts import FeedSnapshot
from inference.live.drift import MIN_POSTS, Drift, Finding
from inference.live.post import ClassifiedPost, Post, link
from inference.live.request import SETTINGS_OF
from inference.live.review import IN_DATA, SUGGESTED, Agreement, LabelCounts, LastAnswer, SessionView
from inference.live.shift import FALSE_ALARMS_PER_MILLION, THRESHOLD, Shift
from inference.live.statistics import AboutWord, StatisticsView, Window
from inference.live.words import Distinct
from ui.html import (
    bars,
    button,
    empty,
    esc,
    fold,
    label_chip,
    label_class,
    muted,
    note,
    notes,
    page,
    row,
    state_chip,
    table,
    tiles,
)
from ui.live.feeds import LiveSession, RecordingView
from ui.plots import FEW, band_chart, dot_chart, legend, share_chart, titled
from ui.sentences import said
from ui.translations import text

if TYPE_CHECKING:
    from training.data.add_labels import LabelsReport

SPANS = {"10": 10.0, "60": 60.0, "300": 300.0}
LONGEST_SHOWN = 600  # characters of a post; three lines of it are seen at once
_LONGEST_TO_LABEL = 2_000
_LEFT_OUT = (*INVISIBLE, "Cn")  # unassigned characters show as a box at best
_SLOTS = (12, 60)  # the fewest and the most spans drawn
_KEYS = 9


def readable(written: str, most: int = LONGEST_SHOWN) -> str:
    """Return a text on one line, safe to show and cut with "…"."""
    return one_line(written, longest=most, leave_out=_LEFT_OUT)


# State, counts, account


def nothing_yet(ready: bool, *, trains: bool = True) -> str:
    """Draw the tab before the first feed; `trains`: somebody may train here."""
    return page(empty(text("live.nothing"), text("live.nothing_next")) if ready else no_model(trains))


def no_model(trains: bool = True) -> str:
    """Say that there is no model yet, and how to get one."""
    act = button(text("compare.to_train"), action="tab", value="train", css="go") if trains else ""
    next_step = text("live.no_model_next" if trains else "live.no_model_off")
    return empty(text("live.no_model"), next_step, act=act)


def numbers(
    snapshot: FeedSnapshot,
    *,
    source: str = "",
    title: str = "",
    private: bool = False,
    waits: bool = False,
    cap_usd: float | None = None,
    models: tuple[str, str] = ("", ""),
    now: float = 0.0,
) -> str:
    """Draw the state, the counts and the labels so far.

    `waits`: the source waits for the model, so its lag is not shown; `now`: Unix seconds.
    """
    what = f'<span class="tt-query" dir="auto">{esc(title)}</span>' if title else ""
    mine = f'<span class="tt-tag">{esc(text("live.private"))}</span>' if private else ""
    why = text(f"live.ended_{snapshot.reason}") if snapshot.reason and not snapshot.message else ""
    head = (
        f'<div class="tt-row"><h2>{esc(text(f"source.{source or snapshot.source}"))}</h2>{what}{mine}'
        f'{state_chip(snapshot.state)}<span class="muted small">{esc(why)}</span><span class="grow"></span>'
        f'<span class="muted small num">{esc(text.duration(snapshot.running_s))}</span></div>'
        f"{_source_state(snapshot, now)}"
    )
    broken = note(snapshot.message, "bad") if snapshot.message else ""
    total = max(snapshot.classified - snapshot.unsure, 1)
    counts = [
        (label, place, count / total, f"{text.number(count)} · {text.percent(count / total, 0)}")
        for place, (label, count) in enumerate(zip(snapshot.labels, snapshot.counts, strict=True))
    ]
    agreed = ""
    if agreement := snapshot.agreement():
        sentence = text(
            "live.agreement",
            first=_model(models[0]),
            second=_model(models[1]),
            share=text.percent(agreement.value),
            interval=text.interval(agreement),
            n=text.number(snapshot.agreed + snapshot.disagreed),
        )
        agreed = f'<p class="tt-agree">{esc(sentence)}</p>'
    right = f"<div><h3>{esc(text('live.counts'))}</h3>{bars(counts)}{agreed}</div>"
    details = f'<div class="tt-two tt-live-two">{_account(snapshot)}{right}</div>'
    return page(
        f"{head}{broken}{tiles(_entries(snapshot, cap_usd, waits=waits))}"
        f"{fold(text('live.details'), details)}",
        "tt-card tt-stack",
    )


def _source_state(snapshot: FeedSnapshot, now: float) -> str:
    """Say what the source waits for and what it may have missed; "" while all is well."""
    status, parts = snapshot.source_status, []
    if snapshot.state == "ended" and status.reason and not snapshot.message:
        parts.append(status.reason)
    elif snapshot.state != "ended" and status.state in ("connecting", "reconnecting", "rate limited"):
        wait = text("live.again_in", time=text.duration(status.until - now)) if status.until else ""
        parts += [text(f"live.is_{status.state.replace(' ', '_')}"), wait, status.reason]
    elif status.state == "connected":  # rows of a file that can't be read
        parts.append(status.reason)
    if status.gaps:
        parts.append(text("live.gaps", n=text.number(status.gaps)))
    if status.cut:
        parts.append(text("live.cut", n=text.number(status.cut)))
    written = " ".join(filter(None, parts))
    return note(written, "warn" if snapshot.state != "ended" else "") if written else ""


def _entries(snapshot: FeedSnapshot, cap_usd: float | None, *, waits: bool) -> list[tuple[str, str, str]]:
    def short_time(seconds: float) -> tuple[str, str]:
        return (text.number(1000 * seconds), "ms") if seconds < 1 else (text.number(seconds, 1), "s")

    per_s = text("live.per_s")
    entries = [
        (text("live.received"), text.number(snapshot.received), ""),
        (text("live.rate"), text.number(snapshot.rate_in_per_s, 1), per_s),
        (text("live.rate_classified"), text.number(snapshot.rate_classified_per_s, 1), per_s),
    ]
    if snapshot.abstain_below:
        below = text("live.unsure_below", threshold=text.percent(snapshot.abstain_below, 0))
        entries.append((text("live.unsure"), text.number(snapshot.unsure), below))
    if snapshot.out_of_scope is not None:
        share = snapshot.out_of_scope / max(snapshot.classified, 1)
        entries.append((text("live.outside"), text.number(snapshot.out_of_scope), text.percent(share, 0)))
    entries += [
        (text(f"live.{name}"), text.number(count), text(f"live.{name}_how"))
        for name in ("truncated", "hurried")
        if (count := getattr(snapshot, name))
    ]
    if snapshot.capacity_per_s:
        entries.append((text("live.capacity"), text.number(snapshot.capacity_per_s, 1), per_s))
    if (lag := snapshot.lag) and not waits:
        entries.append((text("live.lag_p50"), *short_time(lag.p50_s)))
        entries.append((text("live.lag_p95"), *short_time(lag.p95_s)))
    if snapshot.age:
        entries.append((text("live.age"), *short_time(snapshot.age.p50_s)))
    if right := snapshot.accuracy():
        entries.append((text("live.right"), text.percent(right.value), f"({text.interval(right)})"))
    if snapshot.source_status.cost_usd is not None:
        unit = text("live.of_cap", usd=text.number(cap_usd, 2)) if cap_usd else ""
        entries.append((text("live.spent"), f"${text.number(snapshot.source_status.cost_usd, 2)}", unit))
    return entries


def _account(snapshot: FeedSnapshot) -> str:
    """Draw the table that accounts for every post: its rows sum up to those received."""

    def line(name: str, count: int, css: str = "") -> str:
        share = text.percent(count / snapshot.received) if snapshot.received else "–"
        return row(esc(name), [(esc(text.number(count)), "num"), (esc(share), "num muted")], css=css)

    lines = [line(text("live.classified"), snapshot.classified)]
    for reason, count in sorted(snapshot.filtered.items(), key=lambda item: -item[1]):
        key = f"live.filtered_{reason.replace(' ', '_')}"
        lines.append(line(text("live.filtered", reason=text(key) if text.has(key) else reason), count))
    lines += [
        line(text("live.duplicates"), snapshot.duplicates),
        line(text("live.dropped"), snapshot.dropped),
        line(text("live.pending"), snapshot.pending),
        line(text("live.received"), snapshot.received, "sum"),
    ]
    head = [(text("live.posts"), ""), (text("live.number"), "num"), (text("live.share"), "num")]
    return table(head, lines, caption=text("live.account"), css="tt-account")


def others(sessions: Sequence[LiveSession], shown: str) -> str:
    """Draw a button for each other running feed."""
    buttons = "".join(
        button(name, action="watch", value=each.id, css="chip", about=text("live.watch"))
        for each in sessions
        if each.id != shown
        and (
            name := " · ".join(
                filter(None, (text(f"source.{each.source}"), each.title, _versus(each), _rate(each)))
            )
        )
    )
    if not buttons:
        return ""
    also = f'<span class="muted small">{esc(text("live.also"))}</span>'
    return page(f'<div class="tt-row tt-others">{also}{buttons}</div>')


def _rate(session: LiveSession) -> str:
    rate = session.request.rate_per_s
    is_paced = session.source in SETTINGS_OF["rate_per_s"] and rate is not None
    return f"{text.short(rate or 0)} {text('live.per_s')}" if is_paced else ""


def _versus(session: LiveSession) -> str:
    return text("live.versus", name=_model(session.second_model)) if session.second_model else ""


def _model(name: str) -> str:
    """Return a model's name on the page; a base's long name would mean nothing to most people."""
    if name in (IN_DATA, SUGGESTED):
        return text("duel.in_data" if name == IN_DATA else "duel.suggested")
    return text("compare.base") if name.endswith(", zero-shot") else said(name)


def recording_line(view: RecordingView) -> str:
    """Say what the recording does."""
    if view.state == "none":
        return page(muted(text("live.record_help")))
    key = f"live.{view.state}_{'texts' if view.texts else 'ids'}"
    line = f'<p class="small" role="status">{esc(text(key, n=text.number(view.posts)))}</p>'
    return page(line + (note(view.message, "warn") if view.message else ""))


# The stream of posts


def posts(snapshot: FeedSnapshot, *, second_model: str = "") -> str:
    """Draw the newest posts, newest first; in a duel, disagreements without either answer."""
    title = text("live.newest")
    if not snapshot.recent:
        if snapshot.state != "running":
            return ""
        return page(f'<h2>{esc(title)}</h2><p class="muted tt-none">{esc(text("live.no_post"))}</p>')
    items = "".join(_post(result, snapshot, second_model) for result in snapshot.recent)
    return page(
        f'<div class="tt-row tt-stream-head"><h2>{esc(title)}</h2>'
        f'<span class="muted small tt-held">{esc(text("live.held"))}</span></div>'
        f'<div class="tt-scroll tt-feedbox" tabindex="0" role="region" aria-label="{esc(title)}">'
        f'<ol class="tt-posts" reversed>{items}</ol></div>'
    )


def _post(result: ClassifiedPost, snapshot: FeedSnapshot, second_model: str) -> str:
    post, labels, about = result.post, snapshot.labels, ""
    answer = _chip(result.label, labels)
    share = f'<span class="num muted small">{esc(text.percent(result.probability, 0))}</span>'
    if result.disagrees and result.second_label is not None:  # it may wait for a label, so no answer is shown
        answer, share = '<span class="tt-label blind">≠</span>', "<span></span>"
        about += f'<span class="second">{esc(text("live.blind", name=_model(second_model)))}</span>'
    elif result.probability < snapshot.abstain_below:
        answer = '<span class="tt-label blind">?</span>'
        about += f'<span class="second">{esc(text("live.not_sure", label=text.label(result.label)))}</span>'
    elif post.label is not None:
        right = post.label == result.label
        verdict = text("live.was_right" if right else "live.was_wrong", label=text.label(post.label))
        mark = ("✓ " if right else "✗ ") if post.label in labels else ""  # other labels can't be compared
        about += f'<span class="truth">{mark}{esc(verdict)}</span>'
    if post.created is not None:
        about += _time(post.created, "muted num")
    return (
        f"<li>{answer}{share}"
        f'<span class="text" dir="auto">{esc(readable(post.text)) or "&nbsp;"}</span>'
        f'<span class="about">{about}{source_link(post)}</span></li>'
    )


def _chip(label: str, labels: Sequence[str], css: str = "") -> str:
    return label_chip(label, labels.index(label) if label in labels else 0, css=css)


def _time(when: datetime, css: str) -> str:
    """Draw a time in UTC; the page's script shows a post's in the reader's own time zone."""
    utc = when.astimezone(UTC).replace(microsecond=0)
    return f'<time class="{css}" datetime="{utc.isoformat()}">{utc:%H:%M:%S} UTC</time>'


def source_link(post: Post) -> str:
    """Draw the link to the original post, "" without a safe one."""
    url = link(post.url)
    if not url:
        return ""
    return (
        f'<a href="{esc(url)}" target="_blank" rel="noopener noreferrer nofollow">{esc(text("live.open"))}'
        f'<span class="visually-hidden"> {esc(text("live.new_tab"))}</span></a>'
    )


# The stream as a whole


def charts(seen: StatisticsView, labels: Sequence[str], span_s: float) -> str:
    """Draw label shares, in the last span and span by span, and net sentiment with its intervals."""
    slots = min(max(len(seen.line), _SLOTS[0]), _SLOTS[1])
    ago, every = text("live.ago", time=text.duration(slots * span_s)), text.duration(span_s)
    title, net_title = text("live.chart", every=every), text("live.net", every=every)
    keys = legend([(label_class(name, i), text.label(name)) for i, name in enumerate(labels)], square=True)
    counts, nets = [window.counts for window in seen.line], [window.net for window in seen.line]
    shares = titled(title, keys, share_chart(counts, labels, slots=slots, title=title, ago=ago))
    caption = text("live.shares", every=every, n=text.number(seen.now.n))
    latest = f"<div><h3>{esc(caption)}</h3>{bars(_shares(seen.now, labels))}</div>"
    spoken = f"{net_title}: {_net(nets[-1])}" if nets and nets[-1] else net_title
    rights = [window.right for window in seen.line]
    right_title = text("live.right_line", every=every)
    drawn_right = ""
    if any(rights):
        spoken_right = right_title
        if last := next(filter(None, reversed(rights)), None):
            spoken_right += f": {text.score(last)}"
        line = band_chart(rights, slots=slots, low=0.0, high=1.0, ago=ago, title=spoken_right, percent=True)
        drawn_right = titled(right_title, "", line)
    net = titled(net_title, "", band_chart(nets, slots=slots, low=-1.0, high=1.0, ago=ago, title=spoken))
    low, high = (text.label(name) for name in poles(labels))
    how = muted(text("live.net_how", low=low, high=high))
    bars_how = muted(text("live.bars_how", few=FEW))
    left = f'<div class="tt-stack"><div>{shares}{bars_how}</div>{latest}</div>'
    right = f'<div class="tt-stack"><div>{net}{how}</div>{drawn_right}</div>'
    return page(f'<div class="tt-two tt-charts">{left}{right}</div>')


def _shares(window: Window, labels: Sequence[str]) -> list[tuple[str, int, float, str]]:
    """Return a bar for each label: its share, and the text with Wilson's interval."""
    rows = []
    for place, (label, share) in enumerate(zip(labels, window.shares, strict=True)):
        rows.append((label, place, share.value if share else 0.0, text.score(share) if share else "–"))
    return rows


def _net(net: Interval) -> str:
    return f"{text.points(net.value)} ({text.interval(net, points=True)})"


def words(found: Mapping[str, Distinct], about: AboutWord | None = None) -> str:
    """Draw the words and hashtags that distinguish each label's posts, and details of one of them."""
    columns = ""
    for place, (label, distinct) in enumerate(found.items()):
        items = ""
        for word in (*distinct.words, *distinct.hashtags):
            count = text("live.word_count", posts=text.number(word.posts), of=text.number(word.of))
            shown = f'<bdi class="word">{esc(readable(word.word, 40))}</bdi>'
            data = f'data-action="word" data-value="{esc(word.word)}"'
            shown = f'<button type="button" class="tt-btn link" {data}>{shown}</button>'
            items += f'<li>{shown}<span class="num muted">{esc(count)}</span></li>'
        none = muted(text("live.no_words_here"))
        columns += f"<div>{label_chip(label, place)}{f'<ol>{items}</ol>' if items else none}</div>"
    if not any(distinct.words or distinct.hashtags for distinct in found.values()):
        none = f'<p class="muted tt-none">{esc(text("live.no_words"))}</p>'
        return page(f"<h2>{esc(text('live.words'))}</h2>{none}", "tt-card")
    one = _about(about, tuple(found)) if about else ""
    return page(
        f'<h2>{esc(text("live.words"))}</h2><div class="tt-words">{columns}</div>'
        f'<p class="muted small">{esc(text("live.words_how"))}</p>{one}',
        "tt-card tt-stack",
    )


def _about(about: AboutWord, labels: tuple[str, ...]) -> str:
    """Draw the sentiment of the posts with a word beside that of all, and the newest of them."""
    shown = f"<h3><bdi>{esc(readable(about.word, 40))}</bdi></h3>"
    close = button(text("preview.close"), action="word", value="")
    head = f'<div class="tt-row"><span class="grow">{shown}</span>{close}</div>'
    if not about.those.n:
        return f'<section class="tt-stack">{head}<p class="muted">{esc(text("live.word_none"))}</p></section>'
    sentence = text("live.word_posts", n=text.number(about.those.n), of=text.number(about.every.n))
    if about.those.net and about.every.net:
        sentence += " " + text("live.word_net", net=_net(about.those.net), all=_net(about.every.net))
    items = "".join(
        f'<li>{_chip(label, labels)}<span class="text" dir="auto">{esc(readable(post))}</span></li>'
        for post, label in about.newest
    )
    shares = bars(_shares(about.those, labels))
    return (
        f'<section class="tt-stack tt-about-word">{head}<p>{esc(sentence)}</p>{shares}'
        f'<ol class="tt-word-posts">{items}</ol></section>'
    )


def watch(seen: StatisticsView) -> str:
    """Draw shifts and drift in one card."""
    problem = note(seen.drift_problem, "warn") if seen.drift_problem else ""
    body = f"{_shifts(seen.shifts, seen.posts)}{drift(seen.drift)}{problem}"
    return page(body, "tt-card tt-stack tt-watch")


def _shifts(found: Sequence[tuple[float, Shift]], n_posts: int) -> str:
    """Draw the alerts, (Unix seconds, Shift) each, newest first, and how they are found."""
    items = ""
    for at_s, shift in found:
        sentence = text(
            "live.risen" if shift.rises else "live.fallen",
            before=text.points(shift.before),
            after=text.points(shift.after.value),
            interval=text.interval(shift.after, points=True),
            n=text.number(shift.post - shift.since + 1),
        )
        when = _time(datetime.fromtimestamp(at_s, UTC), "num")
        items += f'<li class="{"up" if shift.rises else "down"}">{when} {esc(sentence)}</li>'
    by_chance, in_a_row = map(text.short, FALSE_ALARMS_PER_MILLION)
    how = text(
        "live.shift_how",
        posts=text.number(n_posts),
        threshold=text.short(THRESHOLD),
        by_chance=by_chance,
        in_a_row=in_a_row,
    )
    none = f"<p>{esc(text('live.no_shift'))}</p>"
    listed = f'<ul class="tt-shifts" role="status">{items}</ul>' if items else none
    title = f"<h3>{esc(text('live.shift'))}</h3>"
    remark = muted(how)
    return f"<section>{title}{listed}{fold(text('live.shift_title'), remark)}</section>"


def drift(found: Drift | None) -> str:
    """Say whether the posts are like the training texts."""
    if found is None:
        body = f"<p>{esc(text('live.no_reference'))}</p>"
    elif found.level == "unknown":
        few = text("live.drift_few", n=text.number(found.n), least=text.number(MIN_POSTS))
        body = f"<p>{esc(few)}</p>"
    else:
        verdict = text(f"live.drift_{found.level.replace(' ', '_')}", n=text.number(found.n))
        items = "".join(f"<li>{_finding(finding)}</li>" for finding in found.findings)
        body = f'<p class="tt-drift">{esc(verdict)}</p><ul class="tt-notes">{items}</ul>'
    return f"<section><h3>{esc(text('live.drift'))}</h3>{body}</section>"


def _finding(finding: Finding) -> str:
    if finding.name == "length":
        now, then = text.number(finding.live, 1), text.number(finding.reference, 1)
    else:
        digits = 1 if finding.name == "tokens" else 0
        now, then = text.percent(finding.live, digits), text.percent(finding.reference, digits)
    differs = f"<b>{esc(text('live.differs'))}</b> " if finding.level != "alike" else ""
    return f"{differs}{esc(text(f'live.drift_of_{finding.name}', now=now, then=then))}"


# The duel


def flagged_header(name: str, *, more: bool) -> str:
    """Say that flagged labels of a data set are reviewed; `more`: there are more than are queued at once."""
    sentence = text("duel.desk", name=said(name)) + (f" {text('duel.desk_more')}" if more else "")
    back = button(text("duel.desk_back"), action="back", value="")
    return page(f'<div class="tt-row"><span class="grow">{esc(sentence)}</span>{back}</div>', "tt-flagged")


def card(view: SessionView, labels: tuple[str, ...], *, flagged: bool = False, duelling: bool = False) -> str:
    """Draw the post that waits for a label, and the answers to the one before.

    `flagged`: the post is a row of a data set whose label is in doubt; `duelling`: two models answer a feed.
    """
    late = "duel.taken" if view.taken else "duel.gone" if view.gone else ""
    below = (note(text(late), "warn") if late else "") + (_last(view.last, labels) if view.last else "")
    given = view.counts.labelled + view.counts.skipped > 0
    undo = _key("undo", "", "u", text("duel.undo"), able=given)
    if view.item is None:
        key = "duel.elsewhere" if view.counts.waiting else "duel.desk_empty" if flagged else "duel.empty"
        next_step = "duel.empty_agree" if duelling and key == "duel.empty" else f"{key}_next"
        body = empty(text(key), text(next_step))
        answers = f'<div class="tt-row tt-answers">{undo}</div>' if given else ""
        waiting = f'<div class="tt-case" data-item="0" tabindex="-1">{answers}</div>'
        return page(f"{body}{waiting}{below}", "tt-stack")
    buttons = "".join(
        _key("label", label, str(place) if place <= _KEYS else "", text.label(label))
        for place, label in enumerate(labels, 1)
    )
    buttons += f'<span class="tt-row">{_key("skip", "", "s", text("duel.skip"))}{undo}</span>'
    return page(
        f'<div class="tt-case" data-item="{view.item.id}" tabindex="-1" role="group" '
        f'aria-label="{esc(text("duel.case"))}"><blockquote dir="auto">'
        f"{esc(readable(view.item.text, _LONGEST_TO_LABEL))}</blockquote>"
        f'<div class="tt-row tt-answers">{buttons}</div></div>{below}',
        "tt-stack",
    )


def _key(action: str, value: str, key: str, name: str, *, able: bool = True) -> str:
    keys = f' data-key="{key}" aria-keyshortcuts="{key}"' if key and able else "" if able else " disabled"
    shown = f"<kbd>{key}</kbd> " if key else ""
    data = f'data-action="{action}" data-value="{esc(value)}"{keys}'
    return f'<button type="button" class="tt-btn {action}" {data}>{shown}{esc(name)}</button>'


def _last(last: LastAnswer, labels: tuple[str, ...]) -> str:
    def answer(name: str, label: str, mark: str = "") -> str:
        return f"<span>{mark}{esc(_model(name))} {_chip(label, labels, css='plain')}</span>"

    def mark(label: str) -> str:
        return "✓ " if label == last.label else "✗ "

    item = last.item
    head = f'<span class="muted">{esc(text("duel.last"))}</span> '
    if not last.label:  # it may come back, so the answers stay hidden
        return f'<div class="tt-last" role="status">{head}<span>{esc(text("duel.skipped_it"))}</span></div>'
    both = ((item.first_model, item.first_label), (item.second_model, item.second_label))
    said_so = "".join(answer(name, label, mark(label)) for name, label in both if name)
    return f'<div class="tt-last" role="status">{head}{answer(text("duel.you"), last.label)}{said_so}</div>'


def label_numbers(counts: LabelCounts, found: Sequence[Agreement], *, flagged: bool = False) -> str:
    """Draw how many posts wait and are labelled, and how often each model agreed; "" without a post.

    `flagged`: the posts are rows of a data set whose labels are in doubt.
    """
    if not counts.waiting + counts.labelled + counts.skipped:
        return ""
    line = " · ".join(
        (
            text("duel.waiting", n=text.number(counts.waiting)),
            text("duel.labelled", n=text.number(counts.labelled)),
            text("duel.skipped", n=text.number(counts.skipped)),
        )
    )
    pairs = "".join(_agreement(one, flagged=flagged) for one in found[:3])
    return page(f'<p class="muted num tt-left">{esc(line)}</p>{pairs}', "tt-stack")


def _agreement(found: Agreement, *, flagged: bool) -> str:
    """Draw how often each model was right; rows without a suggestion have only one."""
    both = ((found.first_model, found.first, "train"), (found.second_model, found.second, "validation"))
    title = text("duel.desk_agreement" if flagged else "duel.agreement", n=text.number(found.n))
    drawn = dot_chart([(_model(name), share, css) for name, share, css in both if name], title=title)
    neither = f"{text('duel.neither')}: {text.percent(found.neither / found.n)}"
    return f'<div><h3>{esc(title)}</h3>{drawn}<p class="muted small">{esc(neither)}</p></div>'


def review(report: "LabelsReport", file: str, recipe: str) -> str:
    """Draw what training on the labels would add, and what it leaves out, before it starts."""
    kinds = {
        "read": report.read,
        "added": report.added,
        **({"corrected": report.corrected} if report.corrected else {}),
        "duplicates": report.duplicates,
        "conflicts": report.conflicts,
        "leaks": report.leaks,
        "unusable": report.unusable,
    }
    rows = [row(esc(text(f"duel.{kind}_rows")), [(esc(text.number(n)), "num")]) for kind, n in kinds.items()]
    balance = [
        row(label_chip(label, place, css="plain"), [(esc(text.number(count)), "num")])
        for place, (label, count) in enumerate(report.by_label.items())
    ]
    number, by_label = (text("live.number"), "num"), text("duel.added_labels")
    account = table([(text("live.posts"), ""), number], rows, caption=text("duel.review"), css="tt-account")
    added = table([(by_label, ""), number], balance, caption=by_label, css="tt-account")
    conflicts = [
        f"{readable(one.text, 160)} — {' / '.join(map(text.label, one.labels))}"
        for one in report.shown_conflicts
    ]
    duplicates = [readable(one, 160) for one in report.shown_duplicates]
    lists = "".join(
        f"<div><h3>{esc(title)}</h3>{notes(lines)}</div>"
        for title, lines in (
            (text("duel.conflicts_shown"), conflicts),
            (text("duel.duplicates_shown"), duplicates),
        )
        if lines
    )
    how = text(
        "duel.review_how" if report.added + report.corrected else "duel.nothing_added",
        recipe=recipe,
        file=file,
    )
    done = note(how, "" if report.added + report.corrected else "warn")
    return page(f"<h2>{esc(text('duel.review'))}</h2>{account}{added}{lists}{done}", "tt-card tt-stack")
