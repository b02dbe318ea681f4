"""Mending: what is broken becomes readable, what is sound stays, and nothing can break Arrow."""

from hypothesis import given
from hypothesis import strategies as st

from inference.common.mend import Mended, mend, mended

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))  # lone surrogates and NUL included


def test_broken_encoding_and_entities_are_mended():
    assert mend("I donâ€™t &amp; won&#39;t &lt;3") == Mended(
        "I don’t & won't <3", changed=True, damaged=False
    )


def test_sound_texts_stay_as_they_are():
    for text in (
        "plain",
        "“curly” ’quotes’",
        "ＷＩＤＥ",
        "😀🏳️‍🌈",
        "مرحبا بالعالم",
        "AT&T & R&B",
        "",
        "a\r\nb",
    ):
        assert mend(text) == Mended(text, changed=False, damaged=False)


def test_a_cell_that_is_not_utf8_is_read_as_windows_1252():
    raw = "caf\u00e9 \u201cquoted\u201d \u20ac5".encode("cp1252").decode("utf-8", "surrogateescape")
    assert mend(raw) == Mended("café “quoted” €5", changed=True, damaged=False)
    portuguese = "a informação não é má".encode("cp1252").decode("utf-8", "surrogateescape")
    assert not mend(portuguese).damaged


def test_damage_that_remains_is_reported():
    for raw in (
        b"don\xd5\xa2_\x8a\xce_\x86\xa2t want",
        b"driverless #cars_\xd1_.no",
        b"it was \x8a\x97\xc8s",
    ):
        assert mend(raw.decode("utf-8", "surrogateescape")).damaged
    assert mend("what \ufffd is this").damaged


def test_nul_and_surrogates_are_made_harmless():
    assert mend("a\0b").text == "a b"
    assert mend("x \ud83d\ude00 y").text == "x 😀 y"
    assert mend("x \ud83d y").text == "x \ufffd y"
    assert mend("caf\udce9 \ud83d").text == "café \ufffd"


@given(ANY_TEXT)
def test_any_text_becomes_storable_and_mending_again_keeps_it_so(text):
    once = mend(text)
    assert "\0" not in once.text
    once.text.encode("utf-8")
    assert once.changed == (once.text != text)
    assert mend(once.text).text == once.text


@given(st.text(alphabet="&;#amplt38x0\x01Ãâ€™©ƒ é", max_size=60))
def test_what_looks_like_damage_is_mended_once_and_for_all(text):
    assert mended(mended([text])) == mended([text])


def test_entities_in_entities_are_opened_in_few_steps():
    """Each step reads the whole text: thousands of steps would hold up a server."""
    assert mend("&" + "amp;" * 20_000 + "lt;3").text == "<3"
    assert len(mend("&" * 2_000 + "#35;" * 1_999 + "35;").text) > 2_000  # made to need 2,000 steps


def test_a_text_of_100_000_characters_is_kept_whole():
    assert len(mend("é😀x " * 25_000).text) == 100_000
