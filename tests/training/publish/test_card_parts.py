"""What cards are made of: Markdown that data can't break, a bag of words, energy, the data card."""

import html
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.support.cards import EVIL
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


def test_the_energy_is_power_times_time():
    hour = estimate(seconds=3600, cores=2, memory_gb=16)
    assert hour.watts == pytest.approx((2 * 3.5 + 16 * 0.375) * 1.135)
    assert hour.watt_hours == pytest.approx(hour.watts)
    assert hour.grams_co2 == pytest.approx(hour.watts * 0.475)
    assert estimate(seconds=7200, cores=2, memory_gb=16).watt_hours == pytest.approx(2 * hour.watt_hours)
    assert "About 15 Wh, or 7 g CO₂e (an estimate" in hour.sentence


# --- drawing


def test_a_sheet_is_drawn_at_twice_its_size():
    sheet = Sheet(120, 60)
    sheet.box((10, 10), (30, 30), fill=(0, 90, 181))
    sheet.dashes((0, 59), (119, 59), colour=(0, 0, 0))
    sheet.upright((60, 30), "word")
    assert sheet.png()[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(sheet.png()) < 4000
