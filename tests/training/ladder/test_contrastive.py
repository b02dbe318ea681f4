"""Tuning on pairs: like labels come closer, the trunk stays, and one seed gives one answer."""

import pytest
import torch

from inference.baselines.retrieval import FinalStates
from training.fit.prepare import Silent, prepare
from training.ladder.contrastive import contrasted, contrastive_loss, epochs_for
from training.model.classifier import torch_classifier
from training.recipes import change, load_recipe


@pytest.fixture(scope="module")
def tuned(tiny_gpt2, tiny_tweets, tmp_path_factory):
    """Return a function that tunes anew: states of the same texts before and after."""
    same = {
        "base": str(tiny_gpt2),
        "dataset": str(tiny_tweets),
        "n_train": 24,
        "n_validation": 12,
        "n_test": 12,
    }
    recipe = change(load_recipe("quick"), {**same, "state_noise": 0.5})

    def tune():
        prepared = prepare(recipe, tmp_path_factory.mktemp("pairs"))
        texts, labels = list(prepared.splits.train["text"]), list(prepared.splits.train["label"])

        def states(model):
            classifier = torch_classifier(model, prepared.tokenizer, name_or_path="tiny")
            return FinalStates(classifier, name="tiny")(texts)

        before = states(prepared.untouched)
        model = contrasted(prepared, recipe, report=Silent()).merge_and_unload(safe_merge=True)
        return torch.tensor(before), torch.tensor(states(model)), torch.tensor(labels)

    return tune


def test_like_labels_come_closer_and_one_seed_gives_one_answer(tuned):
    before, after, labels = tuned()
    assert contrastive_loss(after, labels) < contrastive_loss(before, labels)
    torch.testing.assert_close(after, tuned()[1], rtol=0, atol=0)


def test_the_loss_is_that_of_its_definition():
    states, labels = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0, 1])
    expected = torch.log(
        1 + torch.exp(torch.tensor(-10.0))
    )  # each of the two likes the other at 1, the third at 0
    torch.testing.assert_close(contrastive_loss(states, labels), expected)


@pytest.mark.parametrize("labels", [[0, 1, 2], [0]])
def test_a_batch_without_a_pair_teaches_nothing(labels):
    assert contrastive_loss(torch.eye(3)[: len(labels)], torch.tensor(labels)) is None


def test_a_batch_of_one_label_can_be_learnt_from():
    states = torch.randn(4, 3, requires_grad=True)
    contrastive_loss(states, torch.zeros(4)).backward()
    assert torch.isfinite(states.grad).all()


def test_few_texts_are_seen_more_often():
    assert epochs_for(96) > epochs_for(1000)
