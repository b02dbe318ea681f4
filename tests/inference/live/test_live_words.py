"""Words that set a label apart: found where planted, absent where labels are dealt by lot; hostile text."""

import random
import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.live.words import MAX_WORD, MAX_WORDS_A_POST, TopWords, words_of

LABELS = ("negative", "neutral", "positive")
COMMON = ["the", "my", "and", "today", "is", "we", "at", "work", "so"]
RARE = [f"word{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(400)]


def stream(posts=1_500, *, seed=0, planted=True):
    """Yield (text, label): each label has a word and a hashtag of its own in a third of its posts."""
    rng = random.Random(seed)
    own = {"negative": "awful #rain", "neutral": "report #news", "positive": "sunny #beach"}
    for _ in range(posts):
        label = rng.choice(LABELS)
        words = [w for w in COMMON if rng.random() < 0.5] + rng.choices(RARE, k=6)
        if planted and rng.random() < 0.33:
            words += own[label].split()
        rng.shuffle(words)
        yield " ".join(words), label


def test_planted_words_and_hashtags_are_found_and_common_words_are_not():
    words = TopWords(LABELS)
    for text, label in stream():
        words.add(text, label)
    top = words.top()
    assert [w.word for w in top["positive"].words] == ["sunny"]
    assert [w.word for w in top["positive"].hashtags] == ["#beach"]
    assert [w.word for w in top["negative"].words] == ["awful"]
    [sunny] = top["positive"].words
    assert sunny.posts == sunny.of > 100 and sunny.z > 4


def test_a_common_word_that_leans_a_little_is_no_top_word():
    """With posts enough the lean is beyond chance; it is still too small to tell anything."""
    words, rng = TopWords(LABELS, recent=6_000), random.Random(3)
    for text, label in stream(6_000, planted=False):
        often = 0.75 if label == "neutral" else 0.6
        words.add(text + (" ofthe" if rng.random() < often else ""), label)
    assert not words.top()["neutral"].words


def test_of_labels_dealt_out_by_lot_next_to_nothing_is_shown():
    shown = 0
    for seed in range(12):
        words = TopWords(LABELS)
        for text, label in stream(600, seed=seed, planted=False):
            words.add(text, label)
        shown += sum(len(d.words) + len(d.hashtags) for d in words.top().values())
    assert shown <= 5  # 36 lists at 5 % each give 1.8 on average


@settings(max_examples=100)
@given(st.lists(st.tuples(st.sampled_from(["", "aa", "bb", "aa bb", "#cc aa"]), st.sampled_from(LABELS))))
def test_any_stream_has_top_words_even_of_one_word_or_one_label(posts):
    words = TopWords(LABELS)
    for text, label in posts * 4:
        words.add(text, label)
    for label, found in words.top().items():
        for word in (*found.words, *found.hashtags):
            assert 3 <= word.posts <= word.of <= len(posts) * 4
            assert word.posts == sum(word.word in text and label == its for text, its in posts) * 4


def test_old_posts_leave_nothing_behind():
    words = TopWords(LABELS, recent=50)
    for text, label in stream(400):
        words.add(text, label)
    words_now = set().union(*(words._counts[label] for label in LABELS))
    assert words_now == {word for _, kept, _ in words._posts for word in kept}
    assert len(words._posts) == 50
    for _ in range(50):
        words.add("", "neutral")
    assert not any(words._counts.values())
    assert words.top()["neutral"].words == ()


def test_an_unknown_label_changes_nothing():
    words = TopWords(LABELS)
    with pytest.raises(KeyError):
        words.add("hello there", "joyful")
    assert not words._posts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't PANIC, it’s fine", {"don't", "panic", "it’s", "fine"}),
        ("RT @some_user: see https://t.co/x and www.a.b/c?d now", {"rt", "see", "and", "now"}),
        ("straße STRASSE Café cafe\u0301", {"strasse", "café"}),
        ("हिन्दी में", {"हिन्दी", "में"}),
        ("привет #Москва2024", {"привет", "#москва2024"}),
        ("東京は楽しい", {"東京", "京は", "は楽", "楽し", "しい"}),
        ("love 😍 ❤ 12345 a", {"love", "😍", "❤"}),
        ("ev\u202eil\u202c zero\u200bwidth", {"evil", "zerowidth"}),
        ("\x1b[31mred", {"mred"}),
        ("", set()),
    ],
)
def test_words_of_many_scripts(text, expected):
    assert words_of(text) == expected


def test_zalgo_is_cut_to_two_marks_and_spells_one_word():
    zalgo = "".join(c + "\u0336\u0337\u0338\u0334\u0335" * 20 for c in "hello")
    [word] = words_of(zalgo)
    assert sum(unicodedata.category(c) == "Mn" for c in word) <= 10


HOSTILE = st.lists(st.sampled_from("a#@'\u0301\u202e \ud800ﷺ東์😍_1"), max_size=200).map("".join)


@settings(max_examples=150)
@given(st.text(max_size=400) | HOSTILE)
def test_any_text_gives_short_plain_words(text):
    for word in words_of(text):
        assert 0 < len(word) <= MAX_WORD
        assert not any(unicodedata.category(c) in ("Cf", "Cc", "Cs") or c.isspace() for c in word)


@settings(max_examples=200)
@given(st.text(alphabet="abZQ'#@._/:-1 http", max_size=60))
def test_plain_ascii_is_read_as_any_text_is(text):
    """It takes a short cut; a dash that is no ASCII makes it take the long way."""
    assert words_of(text) == words_of(" ".join(f"\u2014{part}" for part in text.split()))


def test_huge_posts_cost_little():
    units = ["a", "\u0301", "a\u0301\u0302\u0303", "#", "a'", "ﷺ", "http://", "@a"]
    hostile = [(unit * 100_000)[:100_000] for unit in units]
    hostile.append("".join(chr(0x4E00 + i % 20_000) for i in range(100_000)))
    words_of("warm")
    began = time.process_time()
    for text in hostile:
        assert len(words_of(text)) <= MAX_WORDS_A_POST
    assert time.process_time() - began < 0.5


def test_what_is_said_with_a_word_is_counted_by_label_and_shown_newest_first():
    words = TopWords(LABELS, recent=4)
    for text, label in (("old monday", LABELS[0]), ("a Monday", LABELS[0]), ("sunny", LABELS[2])):
        words.add(text, label)
    words.add("secret monday", LABELS[2], shown=False)
    words.add("monday again", LABELS[2])
    counts, every, newest = words.about("monday", 5)
    assert dict(zip(LABELS, counts, strict=True))[LABELS[0]] == 1 and sum(counts) == 3 and sum(every) == 4
    assert newest == (("monday again", LABELS[2]), ("a Monday", LABELS[0]))
    assert words.about("nothing", 5) == ((0,) * len(LABELS), every, ())
