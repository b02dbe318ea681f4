"""The stream of posts as HTML: newest first, each with label, probability, source link and time.

    posts(shot, text)

Posts are written by strangers: what a terminal or a line of text would obey (control characters, bidi
overrides), invisible characters and piles of accents are left out, and the rest is escaped. A link is shown
only when it is a web address. Knows nothing about feeds.
"""

from datetime import UTC, datetime

from inference.common.text import INVISIBLE, one_line
from inference.live.counts import FeedSnapshot
from inference.live.post import ClassifiedPost, Post, link
from ui.html import esc, label_chip, page
from ui.translations import Texts

LONGEST_SHOWN = 600  # characters of a post; three lines of it are seen at once
_LEFT_OUT = (*INVISIBLE, "Cn")  # what has no meaning yet is a box at best


def readable(text: str, most: int = LONGEST_SHOWN) -> str:
    """Return a text on one line, as it may be shown; "…" stands for what is cut off."""
    return one_line(text, longest=most, leave_out=_LEFT_OUT)


def posts(shot: FeedSnapshot, text: Texts, *, second_model: str = "") -> str:
    """Draw the newest posts, newest first; in a duel with what the second model says where it disagrees."""
    title = text("live.newest")
    if not shot.recent:
        wait = text("live.no_post") if shot.state == "running" else ""
        return page(f'<h2>{esc(title)}</h2><p class="muted tt-none">{esc(wait)}</p>') if wait else ""
    places = {label: place for place, label in enumerate(shot.labels)}
    items = "".join(_post(told, places, text, second_model) for told in shot.recent)
    return page(
        f'<div class="tt-row tt-stream-head"><h2>{esc(title)}</h2>'
        f'<span class="muted small tt-held">{esc(text("live.held"))}</span></div>'
        f'<div class="tt-scroll tt-feedbox" tabindex="0" role="region" aria-label="{esc(title)}">'
        f'<ol class="tt-posts" reversed>{items}</ol></div>'
    )


def _post(told: ClassifiedPost, places: dict[str, int], text: Texts, second_model: str) -> str:
    shown = readable(told.post.text)
    about = (
        f"{_second(told, places, text, second_model)}{_truth(told, text)}"
        f"{_when(told.post)}{source_link(told.post, text)}"
    )
    return (
        f"<li>{label_chip(told.label, places.get(told.label, 0))}"
        f'<span class="num muted small">{esc(text.percent(told.probability, 0))}</span>'
        f'<span class="text" dir="auto">{esc(shown) or "&nbsp;"}</span>'
        f'<span class="about">{about}</span></li>'
    )


def _second(told: ClassifiedPost, places: dict[str, int], text: Texts, name: str) -> str:
    if not told.disagrees or told.second_label is None:
        return ""
    chip = label_chip(told.second_label, places.get(told.second_label, 0))
    share = text.percent(told.second_probability or 0, 0)
    return f'<span class="second">≠ {esc(name)} {chip} <span class="num">{esc(share)}</span></span>'


def _truth(told: ClassifiedPost, text: Texts) -> str:
    if told.post.label is None:
        return ""
    right = told.post.label == told.label
    verdict = text("live.was_right" if right else "live.was_wrong", label=text.label(told.post.label))
    return f'<span class="truth">{"✓" if right else "✗"} {esc(verdict)}</span>'


def _when(post: Post) -> str:
    """Draw when a post was written, in UTC; the page's script turns it into the reader's own time."""
    if post.created is None:
        return ""
    utc = post.created.astimezone(UTC).replace(microsecond=0)
    return f'<time class="muted num" datetime="{utc.isoformat()}">{_clock(utc)}</time>'


def _clock(utc: datetime) -> str:
    return f"{utc:%H:%M:%S} UTC"


def source_link(post: Post, text: Texts) -> str:
    """Draw the link to the post where it was published, if there is a safe one."""
    url = link(post.url)
    if not url:
        return ""
    return (
        f'<a href="{esc(url)}" target="_blank" rel="noopener noreferrer nofollow">{esc(text("live.open"))}'
        f'<span class="visually-hidden"> {esc(text("live.new_tab"))}</span></a>'
    )
