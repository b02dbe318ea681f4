"""Every text in every language, and the language that a browser asks for."""

import re
import string
from pathlib import Path
from types import SimpleNamespace

import pytest
from gradio.context import LocalContext

from inference.common.intervals import Interval
from training.recipes import available_recipes, settings
from ui.translations import I18N, IN_BROWSERS, LANGUAGES, Texts, language_of, speaking, text, texts

UI = Path(__file__).parent.parent.parent / "ui"


def places(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_all_languages_have_the_same_keys_with_the_same_places():
    english = texts("en")
    for language in LANGUAGES[1:]:
        other = texts(language)
        assert sorted(other) == sorted(english)
        for key, said in english.items():
            assert places(other[key]) == places(said), key
            assert other[key].strip(), key


def test_every_setting_and_every_recipe_is_named_and_explained():
    for language in LANGUAGES:
        known = texts(language)
        for field in settings():
            assert known[f"setting.{field.name}"] and "--" not in known[f"help.{field.name}"]
        for name in available_recipes():
            assert known[f"recipe.{name}"]


def test_the_page_carries_the_sections_that_labels_are_taken_from_and_no_others():
    named = {
        found
        for file in UI.rglob("*.py")
        for found in re.findall(r'I18N\(\s*f?"([a-z0-9_]+)\.', file.read_text(encoding="utf-8"))
    }
    assert named == IN_BROWSERS
    assert {key.split(".")[0] for said in I18N.translations.values() for key in said} == named


def test_every_key_that_the_code_names_exists():
    known = texts("en")
    named = set()
    for file in UI.rglob("*.py"):
        named |= set(
            re.findall(
                r'(?:text|texts_for\(request\)|I18N)\(\s*"([a-z0-9_]+\.[a-z0-9_.]+)"', file.read_text()
            )
        )
    assert len(named) > 80
    assert sorted(key for key in named if key not in known) == []


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("pt-BR,pt;q=0.9,en;q=0.8", "pt-BR"),
        ("pt", "pt-BR"),
        ("en-US,en", "en"),
        ("de,fr;q=0.5", "en"),
        ("", "en"),
        ("en;q=0.2,pt-PT;q=0.9", "pt-BR"),
        ("pt;q=x", "en"),
        (";;,,", "en"),
    ],
)
def test_the_language_is_the_best_that_the_browser_accepts(accepted, language):
    assert language_of(accepted) == language


def test_the_texts_are_those_of_the_request_that_is_answered_or_of_the_language_that_is_spoken():
    assert text.language == "en" and text("state.running") == texts("en")["state.running"]
    with speaking("pt-BR"):
        assert text("state.running") == texts("pt-BR")["state.running"] != texts("en")["state.running"]
        assert text.percent(0.5) == "50,0\u00a0%"
    request = SimpleNamespace(headers={"accept-language": "pt"})
    token = LocalContext.request.set(request)
    assert text.language == "pt-BR"
    LocalContext.request.reset(token)
    assert text.language == "en"


def test_gradio_gets_portuguese_under_both_of_its_names():
    assert set(I18N.translations) == {"en", "pt-BR", "pt"}


def test_numbers_shares_and_times_are_written_as_the_language_does():
    english, portuguese = Texts("en"), Texts("pt-BR")
    assert (english.number(1234.5, 1), portuguese.number(1234.5, 1)) == ("1,234.5", "1.234,5")
    assert (english.percent(0.7451), portuguese.percent(0.7451)) == ("74.5\u00a0%", "74,5\u00a0%")
    assert english.interval(Interval(0.04, -0.02, 0.1), points=True) == "−2.0 – +10.0"
    assert [english.points(share) for share in (0.123, -0.5, -0.004)] == ["+12", "−50", "0"]
    assert portuguese.points(0.1234, 1) == "+12,3"
    assert english.score(Interval(0.5, 0.4, 0.612)) == "50.0\u00a0% (40.0 – 61.2)"
    assert [english.duration(s) for s in (-1, 59.4, 61, 7260)] == [
        "0\u00a0s",
        "59\u00a0s",
        "1\u00a0min 01\u00a0s",
        "2\u00a0h 01\u00a0min",
    ]
    whens = [english.when(t, now=10_000) for t in (None, 9_990, 9_000, 2_000)]
    assert whens == ["–", "just now", "16 min ago", "2 h ago"]
    assert english.label("Positive") == "positive" and portuguese.label("positive") == "positivo"
    assert portuguese.label("joy") == "joy"


def test_the_help_of_a_field_does_not_say_its_label_again():
    assert texts("en")["help.n_train"] == "0: all" and texts("pt-BR")["help.n_train"] == "0: todas"
    assert texts("en")["help.base"] == "auto, embedded, a Hub id or a folder"
    for language in LANGUAGES:
        assert all(texts(language)[f"help.{field.name}"] for field in settings())


def test_a_number_is_typed_and_read_as_the_language_writes_it():
    for value in (0.5, 3, 10_000, 1e6):
        for language in LANGUAGES:
            with speaking(language):
                assert (
                    float(text.plain(text.typed(value))) == float(text.plain(text.number(value, 1))) == value
                )
    with speaking("pt-BR"):
        assert (text.typed(0.5), text.plain("1.500,5"), text.plain("50 000")) == ("0,5", "1500.5", "50000")
