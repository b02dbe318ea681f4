"""What the Live tab draws: nothing from outside becomes markup, every number has its place and unit."""

import dataclasses
import re
from datetime import UTC, datetime

import pytest

from inference.common.intervals import Interval
from inference.live.counts import Lag
from inference.live.drift import Drift, Finding
from inference.live.post import ClassifiedPost, Post
from inference.live.review import Agreement, Item, LabelCounts, LastAnswer, SessionView
from inference.live.shift import Shift
from inference.live.sources import SourceStatus
from inference.live.statistics import AboutWord, RollingCounts, StatisticsView, Window
from inference.live.words import Distinct, Word
from tests.ui.test_ui_render import EVIL, LABELS, Checker, snapshot
from ui.live import view
from ui.live.feeds import RecordingView
from ui.plots import band_chart
from ui.translations import LANGUAGES, speaking

CLASSIFIED = ClassifiedPost(
    Post("1", EVIL, url="https://bsky.app/p/1", created=datetime(2026, 11, 23, 12, 0, 7, tzinfo=UTC)),
    "positive",
    0.7,
    "neutral",
    0.6,
)
NET = Interval(-0.2, -0.4, 0.05)


def drawn_everything():
    """Draw all there is in the tab, with hostile texts wherever one comes from outside."""
    hostile = dataclasses.replace(CLASSIFIED, label=EVIL, second_label=EVIL)
    now = snapshot(
        recent=(CLASSIFIED, hostile),
        filtered={"keyword": 2, EVIL: 1},
        duplicates=3,
        lag=Lag(0.004, 1.2),
        age=Lag(2.0, 3.0),
        agreed=5,
        disagreed=5,
        message=EVIL,
        source_status=SourceStatus("reconnecting", EVIL, until=5.0, cost_usd=0.5, gaps=2, cut=3),
    )
    yield view.numbers(now, title=EVIL, private=True, cap_usd=1.0, models=(EVIL, EVIL), now=1.0)
    yield view.posts(now, second_model=EVIL)
    yield view.recording_line(RecordingView("recorded", 5, True, None, EVIL))
    counts = RollingCounts(LABELS)
    counts.add("positive", 4)
    seen = StatisticsView(
        counts.recent(10.0),
        counts.line(10.0),
        {EVIL: Distinct((Word(EVIL, 3, 4, 2.0),), (Word("#a", 3, 3, 3.0),))},
        ((1.0, Shift(900, 700, 0.1, NET)), (2.0, Shift(900, 700, -0.5, NET))),
        Drift(
            900, "different", (Finding("length", 10, 20.5, "different"), Finding("tokens", 0, 0.5, "alike"))
        ),
        EVIL,
        900,
    )
    yield view.charts(seen, LABELS, 10.0)
    yield view.words(seen.words)
    window = counts.recent(10.0)
    every = {**dict.fromkeys(LABELS, Distinct((), ())), "positive": seen.words[EVIL]}
    yield view.words(every, AboutWord(EVIL, window, window, ((EVIL, EVIL), (EVIL, "neutral"))))
    yield view.words(every, AboutWord(EVIL, Window((0, 0, 0), None), window, ()))
    yield view.watch(seen)
    item = Item("1", EVIL, EVIL, "positive", EVIL, "neutral", 3)
    yield view.card(
        SessionView(item, LastAnswer(item, "neutral"), LabelCounts(1, 1, 1), True), (*LABELS, EVIL)
    )
    yield view.card(SessionView(None, None, LabelCounts(0, 0, 0)), LABELS)
    agreement = Agreement(EVIL, EVIL, 5, Interval(0.4, 0.1, 0.8), Interval(0.2, 0.0, 0.6), 2)
    yield view.label_numbers(LabelCounts(1234, 5, 0), (agreement,))


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_from_outside_becomes_markup(language):
    with speaking(language):
        everything = list(drawn_everything())
    for drawn in everything:
        checker = Checker(drawn)
        assert not {"script", "img"} & set(checker.tags)
        assert not [name for name, _ in checker.attributes if name.startswith("on")]
        assert "\x00" not in drawn


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "data:text/html,x",
        'https://a.example/"onclick="x',
        "//a.example",
        "https://user:password@a.example/",
        "file:///etc/passwd",
        " https://a.example",
        "",
    ],
)
def test_only_a_web_address_becomes_a_link(url):
    assert view.source_link(Post("1", "x", url=url)) == ""


def test_a_link_opens_apart_and_tells_nothing_to_where_it_leads():
    drawn = Checker(view.source_link(Post("1", "x", url="https://a.example/?a=1&b=2")))
    known = dict(drawn.attributes)
    assert known["rel"] == "noopener noreferrer nofollow" and known["target"] == "_blank"
    assert known["href"] == "https://a.example/?a=1&b=2"


def test_what_a_line_of_text_would_obey_is_left_out():
    readable = view.readable
    assert readable("a\u202eb\u2066c\u200b\x1b[31md\ud800") == "abc[31md"
    assert readable("z" + "\u0310" * 500 + "!") == "z\u0310\u0310!"
    assert readable("one\n\n\ttwo") == "one two" and readable("नमस्ते 👨‍👩‍👧") == "नमस्ते 👨‍👩‍👧"
    assert len(readable("word " * 50_000)) == view.LONGEST_SHOWN and readable("A" * 9_999)[-1] == "…"


def test_every_post_has_its_place_in_the_table():
    now = snapshot(
        received=30,
        classified=10,
        filtered={"keyword": 7, "language unknown": 2},
        duplicates=3,
        dropped=5,
        pending=3,
    )
    drawn = view.numbers(now)
    numbers = [int(n) for n in re.findall(r'<td class="num">(\d+)</td>', drawn)]
    assert numbers == [10, 7, 2, 3, 5, 3, 30] and sum(numbers[:-1]) == numbers[-1]
    assert "Filtered: no keyword in it" in drawn and "Filtered: language unknown" in drawn


def test_unsure_posts_have_a_count_of_their_own_and_give_no_label():
    now = snapshot(unsure=4, abstain_below=0.8, counts=(3, 2, 1))
    drawn = view.numbers(now)
    assert "I don&#x27;t know" in drawn and "below 80\u00a0%" in drawn and "3 · 50\u00a0%" in drawn
    drawn = view.posts(now)
    assert ">?<" in drawn and "not sure; would say positive" in drawn and "✗" not in drawn
    assert ">?<" not in view.posts(snapshot(abstain_below=0.7)) and "know" not in view.numbers(snapshot())


def test_a_source_that_waits_or_has_spent_says_so():
    now = snapshot(
        source_status=SourceStatus("rate limited", "X is asked too often.", until=75.0, cost_usd=0.35)
    )
    drawn = view.numbers(now, cap_usd=1.0, now=10.0)
    assert "Asked to wait in 1\u00a0min 05\u00a0s: X is asked too often." in drawn
    assert "$0.35" in drawn and "of $1.00" in drawn
    ended = snapshot(
        state="ended", reason="finished", source_status=SourceStatus("ended", "The cap is reached.")
    )
    assert "The cap is reached." in view.numbers(ended)


def test_the_card_holds_neither_models_answer():
    item = Item("1", "a text", "run-one", "positive", "run-two", "neutral", 3)
    for language in LANGUAGES:
        with speaking(language):
            drawn = view.card(SessionView(item, None, LabelCounts(1, 0, 0)), LABELS)
        assert "run-one" not in drawn and "run-two" not in drawn and "tt-l-" not in drawn
        assert re.findall(r'data-key="(.)"', drawn) == ["1", "2", "3", "s"]
        assert re.search(r'data-action="undo"[^>]* disabled', drawn), "its place is kept: nothing moves later"
    after = view.card(SessionView(None, LastAnswer(item, "neutral"), LabelCounts(0, 1, 0)), LABELS)
    assert "✗ run-one" in after and "✓ run-two" in after and 'data-key="u"' in after
    skipped = view.card(SessionView(None, LastAnswer(item, ""), LabelCounts(1, 0, 1)), LABELS)
    assert "skipped" in skipped and "run-one" not in skipped, "undo gives it back"


def test_a_card_without_a_post_says_whether_posts_wait_on_another_page():
    drawn = [view.card(SessionView(None, None, LabelCounts(n, 0, 0)), LABELS) for n in (1, 0)]
    assert "wait on another page" in drawn[0] and "No disagreement waits" in drawn[1]
    assert "Choose a model" in drawn[1]
    agreed = view.card(SessionView(None, None, LabelCounts(0, 0, 0)), LABELS, duelling=True)
    assert "Both models agree so far" in agreed and "Choose a model" not in agreed


def test_a_post_that_may_wait_for_a_label_is_blind_in_the_stream_too():
    post = Post("1", "so so", label="neutral")
    drawn = view.posts(snapshot(recent=(ClassifiedPost(post, "positive", 0.7, "negative", 0.6),)))
    assert "both hidden until you label it" in drawn and "tt-l-" not in drawn
    assert "70" not in drawn and "true:" not in drawn and "negative" not in drawn and "✗" not in drawn
    same = view.posts(snapshot(recent=(ClassifiedPost(post, "positive", 0.7, "positive", 0.6),)))
    assert "true: neutral" in same and "✗" in same and "70" in same


def test_labels_that_are_not_the_models_mark_no_answer_as_wrong():
    drawn = view.posts(snapshot(recent=(ClassifiedPost(Post("1", "x", label="c"), "positive", 0.7),)))
    assert "true: c" in drawn and "✗" not in drawn


def test_a_source_that_waits_for_the_model_has_no_delay():
    now = snapshot(lag=Lag(0.004, 14.0))
    assert "Delay" in view.numbers(now) and "Delay" not in view.numbers(now, waits=True)


def test_the_shares_of_the_chosen_span_have_their_intervals():
    counts = RollingCounts(LABELS)
    counts.add("positive", 7)
    counts.add("negative", 3)
    seen = StatisticsView(counts.recent(60.0), counts.line(60.0), {}, (), None, "", 10)
    drawn = view.charts(seen, LABELS, 60.0)
    assert "Shares of the last 1\u00a0min, with their 95 % intervals (n = 10)" in drawn
    assert "70.0\u00a0% (39.7 – 89.2)" in drawn and "0.0\u00a0% (0.0 – 27.8)" in drawn
    empty = StatisticsView(RollingCounts(LABELS).recent(60.0), (), {}, (), None, "", 0)
    assert view.charts(empty, LABELS, 60.0).count('<span class="num">–</span>') == 3


def test_shifts_and_drift_are_told_in_words_with_their_numbers():
    counts = RollingCounts(LABELS)
    drift = Drift(900, "somewhat different", (Finding("length", 10, 20.5, "somewhat different"),))
    seen = StatisticsView(
        counts.recent(10.0), counts.line(10.0), {}, ((1.0, Shift(900, 700, 0.1, NET)),), drift, "", 900
    )
    english = view.watch(seen)
    assert (
        "Net sentiment has fallen from +10 to −20 points (95 %: −40.0 – +5.0) over the last 201 posts."
        in english
    )
    assert "two-sided CUSUM" in english and "differ somewhat from the training texts (n = 900)" in english
    assert "<b>Differs:</b> length: 20.5 tokens on average, 10.0 in training" in english
    with speaking("pt-BR"):
        portuguese = view.watch(seen)
    assert "O sentimento líquido caiu de +10 para −20 pontos" in portuguese and "20,5 tokens" in portuguese
    calm = view.watch(dataclasses.replace(seen, shifts=(), drift=None))
    assert "No change so far." in calm and "Not known" in calm
    few = view.drift(Drift(9, "unknown"))
    assert "9 of the 50 that it takes" in few


def test_a_line_with_its_interval_breaks_where_nothing_came():
    bands = [Interval(0.1, 0.0, 0.2), Interval(0.2, 0.1, 0.3), None, Interval(-1.0, -1.5, 2.0), None]
    drawn = band_chart(bands, slots=6, low=-1, high=1, title="Net", ago="1 min ago")
    Checker(drawn)
    assert drawn.count("<polyline") == 1 and drawn.count("<polygon") == 1 and drawn.count('class="dot') == 1
    assert "+100" in drawn and "−100" in drawn and "-" not in re.findall(r'points="([^"]*)"', drawn)[0]


def test_charts_tell_the_posts_of_each_bar_and_the_accuracy_where_the_truth_is_known():
    counts = RollingCounts(LABELS)
    counts.add("positive", 12, right=True)
    seen = StatisticsView(counts.recent(10.0), counts.line(10.0), {}, (), None, "", 12)
    drawn = view.charts(seen, LABELS, 10.0)
    Checker(drawn)
    assert ">12</span>" in drawn and "<title>n = 12</title>" in drawn and "opacity:1" in drawn
    assert "Right, 10\u00a0s each: 100.0\u00a0% (75.8 – 100.0)" in drawn
    counts = RollingCounts(LABELS)
    counts.add("positive", 3)
    few = StatisticsView(counts.recent(10.0), counts.line(10.0), {}, (), None, "", 3)
    assert "opacity:0.45" in view.charts(few, LABELS, 10.0) and "Right," not in view.charts(few, LABELS, 10.0)


def test_a_word_is_pressed_to_see_its_posts_its_share_and_its_interval():
    found = dict.fromkeys(LABELS, Distinct((), ())) | {"positive": Distinct((Word("sunny", 3, 4, 2.0),), ())}
    assert 'data-action="word" data-value="sunny"' in view.words(found)
    those, every = Window((1, 0, 3), NET, None), Window((10, 10, 10), Interval(0.0, -0.2, 0.2), None)
    drawn = view.words(found, AboutWord("sunny", those, every, (("so sunny", "positive"),)))
    assert (
        "4 of the last 30 posts have it." in drawn and "net sentiment is −20 (−40.0 – +5.0) points" in drawn
    )
    assert "so sunny" in drawn and "75.0\u00a0%" in drawn


def test_without_a_model_a_button_leads_to_one():
    assert 'data-action="tab" data-value="train"' in view.nothing_yet(False)
    assert "data-action" not in view.nothing_yet(True)
