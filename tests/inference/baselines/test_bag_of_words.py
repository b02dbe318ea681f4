"""The baselines answer as the Classifier does, in its label order."""

import numpy as np
import pytest

from inference.baselines.bag_of_words import STRENGTHS, BagOfWords, Majority
from inference.baselines.kept import keep, load_kept
from inference.common.errors import ArtifactError
from tests.support import WORDS, tweets

LABELS = tuple(WORDS)


def rows(count, *, seed):
    """Return texts and their labels as numbers."""
    texts, labels = zip(*tweets(count, seed=seed), strict=True)
    return texts, [LABELS.index(label) for label in labels]


def test_a_bag_of_words_learns_and_chooses_on_the_validation_rows():
    train, validation, test = rows(240, seed=1), rows(60, seed=2), rows(60, seed=3)
    bag = BagOfWords.fit(*train, names=LABELS, validation=validation)
    found = bag.predict(test[0])
    assert np.mean([p.label == LABELS[label] for p, label in zip(found, test[1], strict=True)]) > 0.9
    for prediction in found:
        assert sum(prediction.probabilities) == pytest.approx(1)
        assert prediction.label == LABELS[int(np.argmax(prediction.probabilities))]
    assert any(f"C = {strength:g}, chosen on the validation split" in bag.about for strength in STRENGTHS)
    assert "the same 240 training texts" in bag.about
    assert "(C = 1, not tuned)" in BagOfWords.fit(*train, names=LABELS).about
    untuned = BagOfWords.fit(*train, names=LABELS, validation=validation, choose_up_to=10)
    assert "(C = 1, not tuned)" in untuned.about


def test_a_label_that_training_lacks_has_no_probability():
    texts, labels = rows(120, seed=4)
    kept = [place for place, label in enumerate(labels) if label != 1]
    bag = BagOfWords.fit([texts[place] for place in kept], [labels[place] for place in kept], names=LABELS)
    assert {prediction.probabilities[1] for prediction in bag.predict(texts)} == {0.0}


def test_texts_without_a_word_can_not_be_learned_from():
    with pytest.raises(ValueError, match="empty vocabulary"):
        BagOfWords.fit([f"! ? {'.' * place}" for place in range(40)], [0, 1] * 20, names=("a", "b"))


def test_the_majority_answers_its_label_with_the_shares_of_training():
    majority = Majority.fit([2, 2, 0, 2], names=LABELS)
    assert {(p.label, p.probabilities) for p in majority.predict(["a", "b"])} == {
        (LABELS[2], (0.25, 0.0, 0.75))
    }


def test_a_kept_one_answers_the_same_and_a_torn_file_is_one_sentence(tmp_path):
    train, test = rows(60, seed=1), rows(9, seed=3)[0]
    bag = BagOfWords.fit(*train, names=LABELS)
    keep(bag, tmp_path / "bag", base={})
    assert load_kept(tmp_path / "bag")[0].predict(test) == bag.predict(test)
    file = tmp_path / "bag" / "learnt.npz"
    whole = file.read_bytes()
    middle = len(whole) // 2
    for torn in (b"", whole[:middle], whole[:200] + bytes(400) + whole[600:], b"PK" + whole):
        file.write_bytes(torn)
        with pytest.raises(ArtifactError, match=r"bag can't be read .*Measure it again with") as found:
            load_kept(tmp_path / "bag")
        assert "\n" not in str(found.value)
    file.unlink()
    with pytest.raises(ArtifactError, match="can't be read"):
        load_kept(tmp_path / "bag")
