"""What cards are made of: Markdown that data can't break, templates that must be filled, pictures."""

import html
import io
import os
import re
import subprocess
import sys

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from PIL import Image

from inference.common.text import one_line
from tests.support import REPOSITORY
from tests.support.cards import EVIL
from training.evaluate.scores import CalibrationBin
from training.publish.card import pictures
from training.publish.card.markdown import code, escape, fill, literal, table
from training.publish.card.pictures import drawable, plain_axes, png

confusion_picture, calibration_picture, curves_picture = (  # drawn anew each time
    picture.__wrapped__
    for picture in (pictures.confusion_picture, pictures.calibration_picture, pictures.curves_picture)
)

RENDER = MarkdownIt("commonmark").enable("table")
ODD = st.text(
    alphabet=st.sampled_from(list("ab 1\\`*_[]()<>|~#!$&@:/.-+={}'\"\n\t\u202e\u00e9😀wW^")), max_size=40
)


# --- Markdown


@settings(max_examples=400, deadline=None)
@given(ODD)
def test_text_reads_as_it_is_written(content):
    shown = RENDER.render(f"- word {escape(content)} word")
    inner = re.fullmatch(r"<ul>\n<li>word (.*?) ?word</li>\n</ul>\n", shown, re.DOTALL)
    assert inner, shown
    assert html.unescape(inner[1]).strip() == one_line(content, longest=300).strip()


@settings(max_examples=200, deadline=None)
@given(ODD)
def test_a_line_or_a_cell_of_data_opens_no_block(content):
    tokens = RENDER.parse(escape(content))
    assert {token.type for token in tokens} <= {"paragraph_open", "inline", "paragraph_close"}
    shown = RENDER.render(table(["name", "n"], [[escape(content), "1"]]))
    assert shown.count("<td") == 2 and shown.count("<tr>") == 2
    assert not re.search(r"<(?!/?(table|thead|tbody|tr|th|td)\b)", shown)


@settings(max_examples=200, deadline=None)
@given(ODD)
def test_a_literal_is_the_string_again_and_stays_on_its_line(content):
    assert eval(literal(content)) == content
    assert "\n" not in literal(content)


@pytest.mark.parametrize(
    "content", ["<script x", "<!-- c", "<?x", "<!D", "</div", "<pre", "<b", "    x", "\t```"]
)
def test_a_line_of_data_opens_no_html(content):
    tokens = RENDER.parse(escape(content))
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert {token.type for token in tokens[1].children} <= {"text", "text_special"}


@pytest.mark.parametrize(
    "content", [*EVIL, "http://x.y", "mail@me.org", "WWW.x.y", "1. one", "- two", "# h", "---", "\ud800"]
)
def test_nothing_links_mentions_or_hides(content):
    for made in (escape(content), code(content)):
        assert not re.search(r"(?i)https?://|www\.|mailto:|@", made)
        assert "\u202e" not in made and "\x00" not in made
        made.encode("utf-8")
    assert "\n" not in escape(content)


def test_a_template_is_never_filled_with_less_than_it_asks_for():
    with pytest.raises(jinja2.UndefinedError, match="card_data"):
        fill("dataset_card.md", name="labels")


# --- pictures

BINS = (CalibrationBin(0.2, 0.3, 5, 0.25, 0.4), CalibrationBin(0.9, 1.0, 40, 0.95, 0.8))
CURVES = {name: ((1.0, 0.5), (2.0, 0.6)) for name in ("loss", "accuracy", "macro-F1")}
PICTURES = {
    "confusion": lambda: confusion_picture([[100, 1], [40, 60]], ("no", "$x$ yes")),
    "confusion of many labels": lambda: confusion_picture(
        [[1] * 40] * 40, [f"intent {i}" for i in range(40)]
    ),
    "calibration": lambda: calibration_picture(BINS, BINS[:1]),
    "calibration without a base": lambda: calibration_picture(BINS),
    "curves": lambda: curves_picture(((0.1, 2.0), (1.0, 1.0)), CURVES),
    "training loss alone": lambda: curves_picture(((0.1, 2.0), (1.0, 1.0)), {}),
    "no training loss": lambda: curves_picture((), CURVES),
}


def opened(picture: bytes) -> Image.Image:
    return Image.open(io.BytesIO(picture)).convert("RGB")


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_small_shows_something_and_is_the_same_again(name):
    picture = PICTURES[name]()
    image = opened(picture)
    assert image.width >= 500 and len(picture) < 60_000
    assert len(image.getcolors(1 << 20)) > 20
    assert image.getpixel((image.width - 1, 0)) == (255, 255, 255), "white paper, for dark pages"
    assert PICTURES[name]() == picture


def test_the_same_numbers_are_drawn_once_and_others_anew(monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures, "png", lambda draw, **size: drawn.append(size) or b"a picture")
    for n in (3, 3, 4, 4, 3):
        assert pictures.confusion_picture([[n, 1], [40, 60]], ("no", "yes")) == b"a picture"
    assert len(drawn) == 3


def test_a_confusion_matrix_is_bluest_where_most_rows_are():
    diagonal, other = (
        opened(confusion_picture(matrix, ("a", "b", "c")))
        for matrix in ([[100, 0, 0], [0, 100, 0], [0, 0, 100]], [[0, 0, 100]] * 3)
    )
    assert diagonal.size == other.size
    corner = (diagonal.width // 4, diagonal.height // 4)  # inside the first cell, away from its words
    assert diagonal.getpixel(corner)[2] > diagonal.getpixel(corner)[0] + 60
    assert min(other.getpixel(corner)) > 230


def test_labels_that_the_font_cannot_write_get_their_number():
    assert drawable("négatif", instead="#1") == "négatif"
    assert drawable("否定", instead="#2") == "#2"
    assert drawable("🫠", instead="#3") == "#3"
    assert drawable("\u202e \x00", instead="#4") == "#4"
    assert len(drawable("a" * 99, instead="#5")) <= 16


DRAW = """
import sys
import matplotlib
from training.publish.card.pictures import png
picture = png(lambda figure: figure.subplots().set_title("a title"), width=300, height=200)
assert matplotlib.rcParams["font.size"] == float(sys.argv[1]), matplotlib.rcParams["font.size"]
sys.stdout.buffer.write(picture)
"""


def test_a_users_settings_of_matplotlib_change_no_picture_and_are_kept(tmp_path):
    (tmp_path / "matplotlibrc").write_text("axes.facecolor: red\nfont.size: 30\n")
    environment = {**os.environ, "MPLCONFIGDIR": str(tmp_path)}  # its font cache is empty, too
    command = [sys.executable, "-c", DRAW, "30"]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == png(lambda figure: figure.subplots().set_title("a title"), width=300, height=200)


def test_another_chart_is_drawn_with_the_same_means():
    def draw(figure) -> None:
        plain_axes(figure.subplots(), x="rows", y="accuracy").plot([1, 2], [0.5, 0.7])

    assert opened(png(draw, width=300, height=200)).size == (600, 400)
