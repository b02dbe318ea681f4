"""What cards are made of: Markdown that data can't break, a bag of words, energy, the data card."""

import html
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.support import tweets, write_csv
from tests.support.cards import EVIL, answers
from training.data.load import DataSpec, load_splits
from training.evaluate.baselines import STRENGTHS, bag_of_words
from training.evaluate.metrics import calibration, expected_calibration_error
from training.publish.card_energy import estimate
from training.publish.drawing import Sheet
from training.publish.markdown import code, plain, table, text

RENDER = MarkdownIt("commonmark").enable("table")
ODD = st.text(
    alphabet=st.sampled_from(list("ab 1\\`*_[]()<>|~#!$&@:/.-+={}'\"\n\t\u202e\u00e9😀wW^")), max_size=40
)


# --- Markdown


@settings(max_examples=400, deadline=None)
@given(ODD)
def test_text_reads_as_it_is_written(content):
    shown = RENDER.render(f"- word {text(content)} word")
    inner = re.fullmatch(r"<ul>\n<li>word (.*?) ?word</li>\n</ul>\n", shown, re.DOTALL)
    assert inner, shown
    assert html.unescape(inner[1]).strip() == plain(content).strip()


@settings(max_examples=200, deadline=None)
@given(ODD)
def test_a_line_or_a_cell_of_data_opens_no_block(content):
    tokens = RENDER.parse(text(content))
    assert {token.type for token in tokens} <= {"paragraph_open", "inline", "paragraph_close"}
    shown = RENDER.render(table(["name", "n"], [[text(content), "1"]]))
    assert shown.count("<td") == 2 and shown.count("<tr>") == 2
    assert not re.search(r"<(?!/?(table|thead|tbody|tr|th|td)\b)", shown)


@pytest.mark.parametrize(
    "content", ["<script x", "<!-- c", "<?x", "<!D", "</div", "<pre", "<b", "    x", "\t```"]
)
def test_a_line_of_data_opens_no_html(content):
    tokens = RENDER.parse(text(content))
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert {token.type for token in tokens[1].children} <= {"text", "text_special"}


@pytest.mark.parametrize(
    "content", [*EVIL, "http://x.y", "mail@me.org", "WWW.x.y", "1. one", "- two", "# h", "---", "\ud800"]
)
def test_nothing_links_mentions_or_hides(content):
    for made in (text(content), code(content)):
        assert not re.search(r"(?i)https?://|www\.|mailto:|@", made)
        assert "\u202e" not in made and "\x00" not in made
        made.encode("utf-8")
    assert "\n" not in text(content)


def test_a_long_text_is_cut():
    assert plain("a" * 500, limit=20) == "a" * 19 + "…"


# --- figures


def test_the_bins_give_the_calibration_error():
    truth, chances = answers(700, 4, skill=1.0)
    bins = calibration(truth, chances)
    assert sum(one["n"] for one in bins) == 700
    error = sum(one["n"] * abs(one["accuracy"] - one["confidence"]) for one in bins) / 700
    assert error == pytest.approx(expected_calibration_error(truth, chances))
    assert all(one["low"] < one["confidence"] <= one["high"] for one in bins)


def test_the_energy_is_power_times_time():
    hour = estimate(seconds=3600, cores=2, memory_gb=16)
    assert hour.watts == pytest.approx((2 * 3.5 + 16 * 0.375) * 1.135)
    assert hour.watt_hours == pytest.approx(hour.watts)
    assert hour.grams_co2 == pytest.approx(hour.watts * 0.475)
    assert estimate(seconds=7200, cores=2, memory_gb=16).watt_hours == pytest.approx(2 * hour.watt_hours)
    assert "About 15 Wh, or 7 g CO₂e (an estimate" in hour.sentence


# --- bag of words


def test_a_bag_of_words_learns_and_its_answers_are_in_label_order(tmp_path):
    splits = load_splits(DataSpec(dataset=str(write_csv(tmp_path / "t.csv", tweets(360)))))
    bag = bag_of_words(splits)
    assert bag.probabilities.shape == (len(splits.test), 3)
    assert bag.probabilities.sum(axis=1) == pytest.approx(np.ones(len(splits.test)))
    assert (bag.probabilities.argmax(axis=1) == np.array(splits.test["label"])).mean() > 0.9
    assert any(f"C = {strength:g}, chosen on the validation split" in bag.words for strength in STRENGTHS)
    assert f"the same {len(splits.train):,} training texts" in bag.words
    untuned = bag_of_words(splits, choose_up_to=10)
    assert "(C = 1, not tuned)" in untuned.words


def test_a_bag_of_words_of_texts_without_a_word_is_left_out(tmp_path):
    rows = [(f"! ? {'.' * place}", label) for place in range(40) for label in ("a", "b")]
    splits = load_splits(DataSpec(dataset=str(write_csv(tmp_path / "t.csv", rows))))
    with pytest.raises(ValueError, match="empty vocabulary"):
        bag_of_words(splits)


# --- drawing


def test_a_sheet_is_drawn_at_twice_its_size():
    sheet = Sheet(120, 60)
    sheet.box((10, 10), (30, 30), fill=(0, 90, 181))
    sheet.dashes((0, 59), (119, 59), colour=(0, 0, 0))
    sheet.upright((60, 30), "word")
    assert sheet.png()[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(sheet.png()) < 4000
