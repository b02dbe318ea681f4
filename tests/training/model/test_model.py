"""A base becomes a calibrated zero-shot classifier before any training."""

import pytest
import torch

from inference.common.errors import BaseError, RecipeError
from inference.prompt import Prompt
from inference.trunk import pad_ids
from training.model.bases import Base, resolve_base
from training.model.classifier import (
    LORA_TARGETS,
    add_lora,
    build_classifier,
    calibrated_head,
    cut_depth,
    final_states,
    load_language_model,
    prompted_tokenizer,
    trunk_depth,
    word_rows,
    words_for,
)
from training.recipes import Recipe, change

LABELS = ("negative", "neutral", "positive")


@pytest.fixture
def lm(tiny_base):
    return load_language_model(resolve_base(str(tiny_base)))


@pytest.fixture
def classifier(lm):
    return build_classifier(lm, LABELS, prompted_tokenizer(lm, Prompt(), max_length=128))


def batches_of(lm, texts):
    tokenizer = prompted_tokenizer(lm, Prompt(), max_length=128)
    return [pad_ids([list(i) for i in tokenizer(texts)["input_ids"]], tokenizer.pad_token_id)]


def test_labels_and_pad_token_stand_in_the_config(classifier):
    assert classifier.config.id2label == dict(enumerate(LABELS))
    assert classifier.config.label2id == {"negative": 0, "neutral": 1, "positive": 2}
    assert classifier.config.pad_token_id is not None


def test_the_head_before_calibration_asks_the_language_model_for_the_label_words(lm, classifier):
    [batch] = batches_of(lm, ["love it", "my train is late, again"])
    rows = word_rows(lm, ("a", "b", "c"))
    logits = lm.model(**batch).logits
    last = batch["attention_mask"].sum(1) - 1
    ids = [lm.tokenizer.encode(f" {word}") for word in "abc"]
    expected = torch.stack([logits[torch.arange(2), last][:, i].mean(1) for i in ids], dim=1)
    with torch.no_grad():
        classifier.score.weight.copy_(rows)
        assert torch.allclose(classifier(**batch).logits, expected, atol=1e-4)


def test_a_label_of_several_tokens_starts_from_the_mean_of_their_rows(lm):
    word = "wonderful broken"
    ids = lm.tokenizer.encode(f" {word}", add_special_tokens=False)
    assert len(ids) > 1
    output = lm.model.get_output_embeddings().weight
    assert torch.allclose(word_rows(lm, [word])[0], output[ids].mean(0))


def test_the_plain_head_gives_the_calibrated_answer(lm, classifier):
    texts = [f"the {word} at work {i}" for i, word in enumerate(["love", "hate", "table", "sad"] * 40)]
    rows = word_rows(lm, LABELS)
    states = final_states(classifier, batches_of(lm, texts))
    head = calibrated_head(states, rows)
    logits = states @ head.T
    share = torch.softmax(logits, dim=-1).mean(0)
    assert torch.allclose(share, torch.full((3,), 1 / 3), atol=5e-3)  # no label is preferred any more
    offsets = logits - states @ rows.T
    # The head has no bias: what is folded in must be nearly the same for every text.
    assert offsets.std(0).max() < 0.06 * offsets.mean(0).abs().max()


def test_a_label_that_the_base_never_says_leaves_the_head_finite():
    states, rows = torch.tensor([[200.0, 1.0], [210.0, 2.0]]), torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert calibrated_head(states, rows).isfinite().all()


def test_final_states_are_what_the_head_is_given(lm, classifier):
    [batch] = batches_of(lm, ["love it", "so sad"])
    states = final_states(classifier, [batch])
    assert torch.allclose(states @ classifier.score.weight.T, classifier(**batch).logits, atol=1e-5)


def test_lora_trains_the_layers_above_the_trunk_and_the_head(classifier):
    tuned = add_lora(classifier, Recipe(), trunk=2)
    trained = [name for name, parameter in tuned.named_parameters() if parameter.requires_grad]
    assert any("score" in name for name in trained)
    assert all(".2." in name or "score" in name for name in trained)
    family = classifier.config.model_type
    assert {t for t in LORA_TARGETS[family] if any(t in name for name in trained)} == set(
        LORA_TARGETS[family]
    )


def test_merging_lora_changes_no_logit(lm, classifier):
    [batch] = batches_of(lm, ["love it", "so sad", "the number of the street"])
    tuned = add_lora(classifier, Recipe(), trunk=1)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    tuned.eval()
    with torch.no_grad():
        before = tuned(**batch).logits
        untouched = classifier.score.original_module.weight.clone()
        merged = tuned.merge_and_unload(safe_merge=True)
        assert torch.allclose(merged(**batch).logits, before, atol=1e-4)
    assert merged.score.weight.shape == untouched.shape


def test_cutting_the_depth_leaves_a_plain_shallower_model(classifier, lm):
    cut_depth(classifier, 2)
    assert classifier.config.num_hidden_layers == 2
    [batch] = batches_of(lm, ["love it"])
    assert classifier(**batch).logits.shape == (1, 3)


def test_trunk_depth_is_two_thirds_or_what_is_asked(lm):
    config = lm.model.config
    assert trunk_depth(Recipe(), config) == 2
    assert trunk_depth(Recipe(trunk_layers="1"), config) == 1
    assert trunk_depth(change(Recipe(), {"trunk_layers": "0.33"}), config) == 1
    assert [Recipe(trunk_layers=share).trunk_of(12) for share in (0.33, "0.5", 0.99, 8)] == [4, 6, 11, 8]
    with pytest.raises(
        RecipeError, match=r"trunk_layers is 3, but only 3 layers are kept\. Give at most 2\."
    ):
        trunk_depth(Recipe(trunk_layers="3"), config)
    with pytest.raises(RecipeError, match=r"depth is 9, but the base has 3 layers"):
        trunk_depth(Recipe(depth=9), config)


def test_label_words_must_be_as_many_as_labels_and_differ():
    assert words_for(Recipe(), ("very_good", "BAD")) == ("very good", "bad")
    with pytest.raises(RecipeError, match=r"label_words has 2 words for 3 labels"):
        words_for(Recipe(label_words=("a", "b")), LABELS)
    with pytest.raises(RecipeError, match=r"label_words has a word twice \(a, b, a\)\. Give each label"):
        words_for(Recipe(label_words=("a", "b", "a")), LABELS)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("./no/such/folder", "The base folder ./no/such/folder does not exist."),
        (
            "nobody/nothing",
            "The base 'nobody/nothing' can't be downloaded: the Hub is switched off by HF_HUB_OFFLINE",
        ),
    ],
)
def test_a_base_that_cant_be_loaded_is_one_sentence(name, sentence):
    with pytest.raises(BaseError) as caught:
        resolve_base(name)
    assert str(caught.value).startswith(sentence)


def test_a_folder_without_a_model_is_one_sentence(tmp_path):
    with pytest.raises(BaseError, match=r"has no config\.json"):
        resolve_base(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(BaseError, match=r"has no weights as safetensors"):
        resolve_base(str(tmp_path))
    with pytest.raises(BaseError, match=r"can't be loaded"):
        load_language_model(Base("torn", tmp_path, "local", "a test"))
