"""What the Trainer is fed with: nothing is lost, a torn cache is not used, noise is for training alone."""

import numpy as np
import pytest
import torch
from datasets import Dataset

from inference.prompt import Prompt
from inference.trunk import backbone_of, pad_states, trunk_batch, trunk_skipped
from training.fit.prepare import prompt_of
from training.fit.rows import cache_trunk, encoded_rows, noisy_states
from training.model.bases import resolve_base
from training.model.classifier import build_classifier, load_language_model, prompted_tokenizer
from training.recipes import Recipe

TEXTS = ["love", "the worst meeting so far today", "", "paper number street " * 8]
LABELS = ("negative", "neutral", "positive")


def rows_of(base, texts=TEXTS, **changes):
    recipe = Recipe(**changes)
    lm = load_language_model(resolve_base(str(base)))
    tokenizer = prompted_tokenizer(lm, prompt_of(recipe), max_length=recipe.max_length)
    rows = encoded_rows(
        tokenizer,
        Dataset.from_dict({"text": texts, "label": [2, 0, 1, 1][: len(texts)]}),
        padding=recipe.padding,
    )
    return rows, build_classifier(lm, LABELS, tokenizer)


@pytest.fixture
def made(tiny_base):
    return rows_of(tiny_base)


def cached(made, tmp_path, layers=2):
    """Return the cache and how often the trunk was computed for it."""
    rows, model = made
    reported = []
    trunk = cache_trunk(
        model, rows, layers=layers, path=tmp_path / "trunk", progress=lambda *done: reported.append(done)
    )
    assert reported[-1] == (sum(rows.lengths), sum(rows.lengths))
    return trunk, len(reported) - 1


def test_the_cache_holds_each_rows_states_in_the_rows_order(made, tmp_path):
    rows, model = made
    trunk, _ = cached(made, tmp_path)
    assert (len(trunk), trunk.labels, trunk.lengths) == (4, rows.labels, rows.lengths)
    for row in range(4):
        [state] = trunk_batch(model, [rows.token_ids[row]], 2)
        assert torch.allclose(trunk[row]["state"], state, atol=1e-5)


def test_a_batch_of_states_is_padded_on_the_left(made, tmp_path):
    trunk, _ = cached(made, tmp_path)
    batch = trunk.collate([trunk[0], trunk[3]])
    short, long = trunk.lengths[0], trunk.lengths[3]
    assert batch["attention_mask"].tolist() == [[0] * (long - short) + [1] * short, [1] * long]
    assert batch["labels"].tolist() == [2, 1]
    assert torch.equal(batch["inputs_embeds"][0, -short:], trunk.state(0))


def test_a_whole_cache_is_used_again(made, tmp_path):
    first, computed = cached(made, tmp_path)
    again, not_computed = cached(made, tmp_path)
    assert (computed, not_computed) == (1, 0)
    assert np.array_equal(first.states, again.states)


def cut_the_file(folder):
    file = folder / "trunk.f32"
    file.write_bytes(file.read_bytes()[:-4])


def cut_the_record(folder):
    (folder / "trunk.json").write_text('{"layers": 2, "hid')


@pytest.mark.parametrize(
    "tear",
    [
        cut_the_file,
        cut_the_record,
        lambda folder: (folder / "trunk.f32").unlink(),
        lambda folder: (folder / "trunk.json").unlink(),
    ],
)
def test_a_torn_cache_is_computed_again(made, tmp_path, tear):
    expected = np.array(cached(made, tmp_path)[0].states)
    tear(tmp_path)
    again, computed = cached(made, tmp_path)
    assert computed == 1
    assert np.array_equal(again.states, expected)


def test_a_cache_of_other_layers_or_other_texts_is_computed_again(tiny_gpt2, tmp_path):
    cached(rows_of(tiny_gpt2, ["love it", "hate it"]), tmp_path)
    assert cached(rows_of(tiny_gpt2, ["love it", "hate it"]), tmp_path, layers=1)[1] == 1
    of_the_same_lengths = rows_of(tiny_gpt2, ["hate it", "love it"])
    trunk, computed = cached(of_the_same_lengths, tmp_path, layers=1)
    assert computed == 1
    [state] = trunk_batch(of_the_same_lengths[1], [of_the_same_lengths[0].token_ids[0]], 1)
    assert torch.allclose(trunk.state(0), state, atol=1e-5)


def test_texts_that_are_too_long_are_cut_and_counted(tiny_gpt2):
    rows, _ = rows_of(tiny_gpt2, max_length=16)
    assert rows.truncated == 1
    assert max(rows.lengths) == 16
    assert rows_of(tiny_gpt2, max_length=128)[0].truncated == 0


def test_padding_max_pads_every_batch_to_the_limit(tiny_gpt2):
    rows, _ = rows_of(tiny_gpt2, max_length=32, padding="max")
    assert rows.collate([rows[0], rows[1]])["input_ids"].shape == (2, 32)
    assert rows.padded_tokens == 4 * 32
    rows, _ = rows_of(tiny_gpt2, max_length=32)
    assert rows.collate([rows[0], rows[1]])["input_ids"].shape == (2, max(rows.lengths[:2]))
    assert rows.padded_tokens == sum(rows.lengths)


def test_an_empty_text_without_a_prompt_gets_a_token(tiny_base):
    rows, model = rows_of(tiny_base, ["", "love"], prompt_prefix="", prompt_suffix="")
    assert rows.lengths[0] == 1
    with torch.no_grad():
        logits = model(**rows.collate([rows[0], rows[1]])).logits
    assert torch.isfinite(logits).all()


def test_sorting_by_length_keeps_texts_and_labels_together(made):
    rows, _ = made
    by_length = rows.sorted_by_length()
    assert by_length.lengths == sorted(rows.lengths, reverse=True)
    pairs = sorted(zip(rows.token_ids, rows.labels, strict=True))
    assert sorted(zip(by_length.token_ids, by_length.labels, strict=True)) == pairs


# --- noise on trunk states


@pytest.fixture
def states(tiny_base):
    lm = load_language_model(resolve_base(str(tiny_base)))
    lm.model.config.resid_pdrop = lm.model.config.attn_pdrop = 0.0
    tokenizer = prompted_tokenizer(lm, Prompt(), max_length=128)
    model = build_classifier(lm, ("a", "b", "c"), tokenizer)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    rows = trunk_batch(model, [list(ids) for ids in tokenizer(["love", "so sad at work"])["input_ids"]], 2)
    return model, pad_states(rows)


def seen_by(model, batch):
    """Return the states that the model's layers are given."""
    found = []
    hook = backbone_of(model).register_forward_pre_hook(
        lambda module, args, kwargs: found.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    model(**batch)
    hook.remove()
    return found[0]


def test_noise_is_a_share_of_each_tokens_size_and_new_each_time(states):
    model, batch = states
    model.train()
    with trunk_skipped(model, 2), noisy_states(model, 0.5):
        first, second = seen_by(model, batch), seen_by(model, batch)
    clean = batch["inputs_embeds"]
    reach = 0.5 * clean.abs().mean(-1, keepdim=True)
    assert not torch.equal(first, second)
    assert ((first - clean).abs() <= reach + 1e-6).all()
    assert (first - clean).abs().max() > 0.3 * reach.max()
    assert torch.equal(first[clean == 0], clean[clean == 0])  # pads stay pads


def test_evaluation_sees_none_and_nothing_stays_behind(states):
    model, batch = states
    model.eval()
    with trunk_skipped(model, 2):
        clean = model(**batch).logits
        with noisy_states(model, 5.0):
            assert torch.equal(model(**batch).logits, clean)
            model.train()
            assert not torch.allclose(model(**batch).logits, clean, atol=1e-3)
        assert torch.allclose(model(**batch).logits, clean, atol=1e-5)
