"""Which words moved an answer, by leaving each out; which small changes flip it."""

from inference.classifier import Prediction
from inference.explain import MOST_PIECES, flips, leave_one_out, variants

LABELS = ("negative", "positive")


def happy_counts(texts):
    """Answer by the share of the word "happy"."""
    shares = [(text.split().count("happy") + 1) / (len(text.split()) + 2) for text in texts]
    return [
        Prediction("positive" if share > 0.4 else "negative", (1 - share, share), False) for share in shares
    ]


def test_the_word_that_matters_has_the_greatest_weight():
    found = leave_one_out(happy_counts, "so  happy", LABELS)
    assert found.label == "positive" and [piece for piece, _ in found.pieces] == ["so", "happy"]
    weights = dict(found.pieces)
    assert weights["happy"] > 0 > weights["so"]


def test_a_long_text_is_cut_into_pieces_and_none_is_lost():
    asked = []

    def predict(texts):
        asked.extend(texts)
        return happy_counts(texts)

    text = " ".join(f"word{n}" for n in range(100))
    found = leave_one_out(predict, text, LABELS)
    assert len(found.pieces) <= MOST_PIECES and len(asked) == len(found.pieces) + 1
    assert " ".join(piece for piece, _ in found.pieces) == text


def test_planted_words_flip_an_answer_and_what_changes_nothing_does_not():
    def shouts(texts):
        """Say "loud" of capitals and of anger."""
        rows = [(0.9, 0.1) if text.isupper() or "😡" in text else (0.2, 0.8) for text in texts]
        return [Prediction("loud" if row[0] > row[1] else "calm", row, truncated=False) for row in rows]

    assert flips(shouts, "so happy today") == {"capitals": "loud", "rage": "loud"}
    assert flips(shouts, "SO HAPPY") == {"negation": "calm", "name": "calm"}
    assert set(variants("so happy")) == {"capitals", "smile", "rage", "negation", "name"}
    assert "capitals" not in variants("😡") and variants("  ") == {} == flips(shouts, "x" * 501)
