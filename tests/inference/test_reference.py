"""Which texts are unlike the training texts: more so than 99 of 100 validation texts; the share is kept."""

import json
import random
import shutil

import pytest
from tokenizers import Tokenizer, models

from inference.artifact import REFERENCE
from inference.baselines.index import Index, beside
from inference.classifier import Classifier, cutting, encode
from inference.cli import main
from inference.common.errors import PredictionError
from inference.live.post import ClassifiedPost, Post
from inference.live.review import LabelStore
from inference.reference import needed, pieces, reference_of, save_reference, scope_of, token_lengths
from tests.inference.test_before import BEFORE
from tests.support import tweets

FOREIGN = "обед был очень вкусный"


def ids(count, *, unknown, seed):
    """Return texts of 20 tokens below 50, but for the share `unknown` on average: these are from 100 on."""
    rng = random.Random(seed)
    return [
        [rng.randrange(50) if rng.random() > unknown else 100 + rng.randrange(10**5) for _ in range(20)]
        for _ in range(count)
    ]


def test_at_most_one_of_a_hundred_validation_texts_is_out_of_scope_and_about_as_many_others(tmp_path):
    train, validation = ids(500, unknown=0.1, seed=1), ids(400, unknown=0.1, seed=2)
    save_reference(reference_of(train, validation=validation), tmp_path)
    scope = scope_of(tmp_path)

    def marked(texts):
        return sum(scope.unknown_share(one) > scope.above for one in texts)

    assert scope.n == 400 and marked(validation) <= 4 and 0.2 <= scope.above < 0.5
    assert marked(ids(400, unknown=0.1, seed=3)) <= 20 and marked(ids(400, unknown=0.9, seed=3)) == 400
    assert scope.unknown_share([]) == 0.0
    save_reference(reference_of(train, validation=validation[:50]), tmp_path)
    few = scope_of(tmp_path)
    assert few.n == 50 and few.above == max(map(few.unknown_share, validation[:50])), "none of so few"


def test_a_text_in_more_pieces_than_validation_texts_is_wholly_unknown(tmp_path, tiny_tokenizer):
    rng = random.Random(1)
    tokenizer = cutting(tiny_tokenizer.backend_tokenizer, 64)

    def tokens(texts):
        return encode(tokenizer, texts, pad_id=0).token_ids

    train, validation, others = (tokens([text for text, _ in tweets(300, seed=seed)]) for seed in (1, 2, 3))
    lengths = token_lengths(tokenizer)
    found = reference_of(train, validation=validation, lengths=lengths)
    short = [i for i in found.known_ids() if lengths[i] <= 2]  # what random letters fall into
    letters = [rng.choices(short, k=30) for _ in range(100)]
    save_reference(found, tmp_path)
    scope, before = scope_of(tmp_path, tokenizer), scope_of(tmp_path)

    def marked(texts, scope):
        return sum(scope.unknown_share(one) > scope.above for one in texts)

    assert marked(letters, scope) > 90 > 0 == marked(letters, before), "their tokens alone are known"
    assert marked(validation, scope) <= 3 and marked(others, scope) <= 9
    assert scope.unknown_share(letters[0]) == 1.0 and scope.unknown_share([]) == 0.0
    assert max(pieces(ids, lengths) for ids in validation) == found.out_of_scope_pieces
    outlier = reference_of(train, validation=[*validation * 4, letters[0]], lengths=lengths)
    assert outlier.out_of_scope_pieces == found.out_of_scope_pieces, "one of 1,201 may have more"


def test_what_sentencepiece_writes_for_a_byte_is_one_character():
    vocabulary = {"<unk>": 0, "<0xE2>": 1, "▁day": 2}
    assert token_lengths(Tokenizer(models.BPE(vocabulary, []))) == (5, 1, 4)


def test_a_model_without_a_record_marks_nothing_and_says_why(trained_gpt2, tmp_path):
    assert scope_of(None) is None and scope_of(tmp_path) is None
    assert scope_of(BEFORE / "run" / "artifact") is None, "of November 2026: it has no threshold"
    with pytest.raises(PredictionError, match=r"has no record of how .* Train it again, or don't ask"):
        needed(None)
    old = shutil.copytree(trained_gpt2.artifact, tmp_path / "old")
    (old / REFERENCE).write_text("{")
    [found] = Classifier.load(old).predict([FOREIGN])
    assert found.unknown_share is None and not found.is_out_of_scope(0.0)


def test_every_answer_tells_the_share_of_unknown_tokens(trained_gpt2, tmp_path, capsys):
    classifier = Classifier.load(trained_gpt2.artifact)
    record = json.loads((trained_gpt2.artifact / REFERENCE).read_text())
    assert classifier.scope.above == record["out_of_scope_above"] < 0.5
    [note] = [e["text"] for e in trained_gpt2.run.events("note") if "out of scope" in e["text"]]
    assert f"at most 1 % of {classifier.scope.n} validation texts" in note
    texts = ["so happy at work today", FOREIGN]
    inside, outside = classifier.predict(texts)
    assert not inside.is_out_of_scope(classifier.scope.above)
    assert outside.is_out_of_scope(classifier.scope.above) and outside.unknown_share > 0.5
    assert classifier.predict([FOREIGN], with_latency=True)[0].unknown_share == outside.unknown_share
    index = Index(None, classifier.labels)
    index.add(["so happy"], ["positive"])
    assert beside(classifier, index).predict([FOREIGN])[0].unknown_share == outside.unknown_share
    assert main(["classify", str(trained_gpt2.artifact), *texts]) == 0
    assert "1 of 2 texts are out of scope" in capsys.readouterr().err


def test_of_two_answers_that_are_as_sure_the_one_that_training_knew_less_of_is_labelled_first(tmp_path):
    store = LabelStore(tmp_path / "labels.sqlite", labels=("negative", "positive"))
    posts = [
        ClassifiedPost(Post(id=name, text=name), "negative", 0.8, "positive", 0.6, unknown_share=share)
        for name, share in (("known", 0.1), ("hardly known", 0.7), ("surer", 0.2))
    ]
    store.listener("one", "other")(posts)
    assert store.take().text == "hardly known" and store.take().text == "surer"
    store.close()


def test_the_threshold_is_chosen_again_with_each_training(tmp_path):
    """What is kept of a folder in memory is not what was there before."""
    for unknown in (0.1, 0.6):
        found = reference_of(ids(200, unknown=0.1, seed=4), validation=ids(200, unknown=unknown, seed=5))
        save_reference(found, tmp_path)
        assert scope_of(tmp_path).above == found.out_of_scope_above
