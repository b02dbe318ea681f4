"""The trunk computed once gives the answers, and the gradients, of the whole network."""

import copy

import pytest
import torch

from inference.prompt import Prompt
from inference.trunk import pad_ids, pad_states, same_leading_layers, top_logits, trunk_batch, trunk_skipped
from training.model.bases import resolve_base
from training.model.classifier import (
    add_lora,
    build_classifier,
    freeze_trunk,
    load_language_model,
    prompted_tokenizer,
)
from training.recipes import Recipe

LABELS = ("negative", "neutral", "positive")
TEXTS = ["love", "the worst meeting so far today", "", "paper number street " * 8]


@pytest.fixture
def made(tiny_base):
    lm = load_language_model(resolve_base(str(tiny_base)))
    tokenizer = prompted_tokenizer(lm, Prompt(), max_length=128)
    classifier = build_classifier(lm, LABELS, tokenizer)
    return classifier, [list(ids) for ids in tokenizer(TEXTS)["input_ids"]]


def whole(model, ids):
    return model(**pad_ids(ids, model.config.pad_token_id), use_cache=False).logits


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_trunk_and_top_together_are_the_whole_network(made, layers):
    model, ids = made
    states = trunk_batch(model, ids, layers)
    with trunk_skipped(model, layers):
        logits = top_logits(model, states)
    assert torch.allclose(logits, whole(model, ids), atol=1e-4)
    assert [len(state) for state in states] == [len(i) for i in ids]


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_cached_trunk_gives_the_gradients_of_the_uncached_one(made, method):
    model, ids = made
    recipe, labels = Recipe(method=method), torch.tensor([2, 0, 1, 1])
    if method == "lora":
        torch.manual_seed(1)
        model = add_lora(model, recipe, trunk=2)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # they start at zero, which would hide lora_A's gradients
                torch.nn.init.normal_(parameter, std=0.05)
    else:
        freeze_trunk(model, 2)
    model.eval()
    states = trunk_batch(model, ids, 2)

    def gradients():
        found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        model.zero_grad()
        return found

    model(**pad_ids(ids, model.config.pad_token_id), labels=labels).loss.backward()
    uncached = gradients()
    with trunk_skipped(model, 2):
        model(**pad_states(states), labels=labels).loss.backward()
    cached = gradients()
    assert cached.keys() == uncached.keys()
    assert len(cached) > 3
    assert all(torch.allclose(cached[name], uncached[name], atol=1e-4) for name in cached)
    assert any(gradient.abs().max() > 1e-3 for gradient in cached.values())


def test_skipping_the_trunk_leaves_the_model_as_it_was(made):
    model, ids = made
    before, names = whole(model, ids), list(model.state_dict())
    with trunk_skipped(model, 2):
        assert not torch.equal(torch.zeros(1), before)
    assert torch.equal(whole(model, ids), before)
    assert list(model.state_dict()) == names


def test_the_order_of_texts_in_a_batch_changes_no_answer(made):
    model, ids = made
    alone = torch.cat([whole(model, [one]) for one in ids])
    assert torch.allclose(whole(model, ids), alone, atol=1e-5)


def test_same_leading_layers_counts_up_to_the_first_change(made):
    model, _ = made
    other = copy.deepcopy(model)
    assert same_leading_layers(model, other) == 3
    with torch.no_grad():
        next(other.base_model.children()).weight[0, 0] += 1  # the embedding
    assert same_leading_layers(model, other) == 0
    other = copy.deepcopy(model)
    layers = getattr(other.base_model, "h", None) or other.base_model.layers
    with torch.no_grad():
        next(layers[1].parameters()).add_(1e-6)
    assert same_leading_layers(model, other) == 1
