"""Data is audited before Start; rows whose labels are in doubt are reviewed in Live, blind."""

import json
import re

import pytest

from inference.common.errors import DataError
from tests.support import tweets, write_csv
from tests.ui.test_ui_render import EVIL, LABELS, Checker
from training.audit.audit import audit, load_whole
from training.audit.findings import Audit, Finding, Flag
from training.recipes import DataSpec
from ui import Workbench
from ui.html import note
from ui.live.actions import NEW
from ui.live.feeds import LiveFeeds
from ui.live.review import Duels, FlaggedRows, export_labels, preview_labels, training_recipe
from ui.live.review_panel import ReviewPanel
from ui.train.audit import audit_of, audit_panel
from ui.translations import LANGUAGES, speaking, text

FLAGS = [
    Flag("it went so well", "negative", "positive", "odd", "train"),
    Flag(EVIL, "neutral", "", "", "train"),
]


@pytest.fixture
def panel(home):
    """Return the review panel of an app without a model."""
    return ReviewPanel(Workbench(), LiveFeeds(), Duels(lambda _: None), None, None, None, [])


@pytest.fixture
def data(tmp_path):
    rows = [*tweets(150), ("what a day at sea", "positive"), ("What a day at SEA", "negative")]
    return write_csv(tmp_path / "odd.csv", rows)


def test_flagged_rows_wait_blind_and_in_their_order_and_are_found_again(panel):
    view = panel.check(NEW, FLAGS, LABELS, name="/srv/odd.csv", data={"dataset": "x"})
    drawn, _, _ = panel.draw(view, "page")
    Checker(drawn)
    assert "it went so well" in drawn and "labels in doubt of odd.csv" in drawn and "/srv" not in drawn
    assert "tt-l-" not in drawn and "data-data" not in drawn, "nothing tells the label before the answer"
    store = panel._store(view)
    store.session("page").label(store.session("page").view().item.id, "positive")
    drawn, numbers, _ = panel.draw(view, "page")
    assert re.search(r"✗ the data .*negative.*✓ the suggestion .*positive", drawn)
    assert "Right on 1 checked labels" in numbers and "1 waiting" in numbers
    again = panel.check(NEW, FLAGS, LABELS, name="odd.csv", data={"dataset": "x"})
    assert panel._store(again).counts().labelled == 1, "another page goes on where it was left"
    assert (
        panel._store(panel.check(NEW, FLAGS, LABELS, name="y", data={"dataset": "y"})).counts().labelled == 0
    )
    store.session("page").label(store.session("page").view().item.id, "neutral")
    drawn, numbers, _ = panel.draw(view, "page")
    assert "All flagged labels are checked" in drawn and numbers.count("tt-dots") == 2
    assert "the suggestion" not in drawn, "there was none for this row"
    with pytest.raises(DataError, match="No label is flagged"):
        panel.check(NEW, [], LABELS, name="y", data={})


def test_an_answer_takes_the_place_of_the_label_in_the_data(panel, data, tmp_path):
    found = audit_of(DataSpec(dataset=str(data)))
    flags = [flag for flag in found.flags if flag.split == "train"]
    assert {flag.text for flag in flags} == {"what a day at sea", "What a day at SEA"}
    view = panel.check(NEW, flags, found.labels, name=found.data, data={"dataset": str(data)})
    store, rows = panel._store(view), FlaggedRows.read(view["desk"])
    item = store.session("page").view().item
    store.session("page").label(item.id, "neutral")
    file = export_labels(store, tmp_path / "out")
    assert json.loads(file.read_text()) == {"text": item.text, "label": "neutral", "was": item.first_label}
    recipe = training_recipe(None, file, rows.data)
    assert recipe.dataset == str(data)
    assert (preview_labels(recipe).corrected, preview_labels(recipe).conflicts) == (1, 0)


def test_findings_are_shown_with_what_acts_on_them_and_in_the_visitors_language(data):
    found = audit(load_whole(DataSpec(dataset=str(data))))
    hostile = (
        Finding(
            "leak_near",
            3,
            "Rows of train with a near duplicate in test, where they would leak: 3.",
            (EVIL,),
            "leak_gate=near",
        ),
    )
    found = found.plus(hostile, [Flag("x", "neutral", "", "", "test")])
    drawn = audit_panel(found)
    Checker(drawn)
    assert "<script" not in drawn and "What acts on it: Leak gate = near." in drawn
    assert "2 labels of training rows are in doubt. 1 more are of validation and test rows" in drawn
    with speaking("pt-BR"):
        drawn = audit_panel(found)
    assert "Linhas de treino com quase duplicata em teste" in drawn and "Rows of" not in drawn
    for language in LANGUAGES:
        with speaking(language):
            assert note(
                text("audit.too_many", most=text.number(50_000), study=text("train.audit"))
            ) in audit_panel(None)
            assert text("audit.nothing") in audit_panel(Audit(data="x", rows={}, classes={}))


def test_every_finding_is_told_in_portuguese():
    """The sentences of the audit that the page shows, each with its places filled in."""
    sentences = [
        "Rows left out, of classes too small to be split or that train lacks: 3.",
        "Rows of train that repeat another one, apart from case, user names, links and spaces: 1 of 9. They "
        "stay, and count as often as they are there.",
        "Rows of train with an exact duplicate in test, where they would leak: 1,234.",
        "Texts that come with different labels: 134 (1,327 rows).",
        "Texts of train with a near duplicate in it (cosine from 0.9 on): 1,790. They stay.",
        "Texts of train labelled otherwise than their near duplicate: 396.",
        "Texts without a letter (emoji, numbers, punctuation): 3.",
        "1 of them correct the label of a training row.",
    ]
    with speaking("pt-BR"):
        shown = "".join(map(note, sentences))
    assert not re.search(r"\b(of|with|the|row|They|near)\b", re.sub("<.*?>", "", shown)), shown
