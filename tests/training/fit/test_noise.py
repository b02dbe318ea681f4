"""Noise on trunk states: there in training, proportionate, absent in evaluation and afterwards."""

import pytest
import torch

from inference.trunk import backbone_of, pad_states, trunk_batch, trunk_skipped
from training.fit.noise import noisy_states
from training.model.bases import resolve_base
from training.model.classifier import build_classifier, load_language_model, prompted_tokenizer
from training.recipes import Recipe


@pytest.fixture
def made(tiny_base):
    lm = load_language_model(resolve_base(str(tiny_base)))
    lm.model.config.resid_pdrop = lm.model.config.attn_pdrop = 0.0
    tokenizer = prompted_tokenizer(lm, Recipe())
    model = build_classifier(lm, Recipe(), ("a", "b", "c"), tokenizer)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    states = trunk_batch(model, [list(ids) for ids in tokenizer(["love", "so sad at work"])["input_ids"]], 2)
    return model, pad_states(states)


def seen_by(model, batch):
    """Return the states that the model's layers are given."""
    found = []
    hook = backbone_of(model).register_forward_pre_hook(
        lambda module, args, kwargs: found.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    model(**batch)
    hook.remove()
    return found[0]


def test_noise_is_a_share_of_each_tokens_size_and_new_each_time(made):
    model, batch = made
    model.train()
    with trunk_skipped(model, 2), noisy_states(model, 0.5):
        first, second = seen_by(model, batch), seen_by(model, batch)
    clean = batch["inputs_embeds"]
    reach = 0.5 * clean.abs().mean(-1, keepdim=True)
    assert not torch.equal(first, second)
    assert ((first - clean).abs() <= reach + 1e-6).all()
    assert (first - clean).abs().max() > 0.3 * reach.max()
    assert torch.equal(first[clean == 0], clean[clean == 0])  # pads stay pads


def test_evaluation_sees_none_and_nothing_stays_behind(made):
    model, batch = made
    model.eval()
    with trunk_skipped(model, 2):
        clean = model(**batch).logits
        with noisy_states(model, 5.0):
            assert torch.equal(model(**batch).logits, clean)
            model.train()
            assert not torch.allclose(model(**batch).logits, clean, atol=1e-3)
        assert torch.allclose(model(**batch).logits, clean, atol=1e-5)
