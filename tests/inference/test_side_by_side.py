"""Base and fine-tuned together: their common layers once, the same answers, and both stay as they were."""

import threading

import pytest
from transformers.models.gpt2.modeling_gpt2 import GPT2Block
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from inference.classifier import Classifier
from inference.side_by_side import SideBySide
from training.model.bases import Base
from training.model.classifier import load_base_classifier

TEXTS = ["so happy today", "the train is late again, and so am i", "", "meh"]


@pytest.fixture
def both(trained):
    base = Base(trained.base.name, trained.base, "local", "the folder was given")
    return Classifier.load(trained.artifact, engine="torch"), load_base_classifier(
        trained.artifact, base=base
    )


@pytest.fixture
def passes(monkeypatch):
    """Return a list that grows by one for each layer that computes."""
    counted = []
    for layer in (GPT2Block, LlamaDecoderLayer):

        def forward(self, *args, _computes=layer.forward, **kwargs):
            counted.append(self)
            return _computes(self, *args, **kwargs)

        monkeypatch.setattr(layer, "forward", forward)
    return counted


def test_both_cost_at_most_one_and_a_half_times_one(both, passes):
    tuned, base = both
    pair = SideBySide.of(tuned, base)
    expected = [each.predict(TEXTS[:1])[0] for each in both]
    one_model = len(passes) / 2
    passes.clear()
    found = pair.predict(TEXTS[:1])
    assert pair.layers == 2 and len(passes) <= 1.5 * one_model, "layers that computed"
    assert len(passes) == 2 * one_model - pair.layers
    for [mine], alone in zip(found, expected, strict=True):
        assert mine.probabilities == pytest.approx(alone.probabilities, abs=1e-4)
        assert mine.label == alone.label and mine.latency_ms > 0


def test_they_may_be_used_while_they_are_asked_together(both):
    pair, expected = SideBySide.of(*both), [each.predict(TEXTS) for each in both]
    wrong = []

    def use():
        for _ in range(10):
            for each, known in zip(both, expected, strict=True):
                for one, other in zip(each.predict(TEXTS), known, strict=True):
                    if one.probabilities != pytest.approx(other.probabilities, abs=1e-5):
                        wrong.append(one)

    user = threading.Thread(target=use)
    user.start()
    for _ in range(10):
        found = pair.predict(TEXTS)
    user.join()
    assert not wrong
    for mine, known in zip(found, expected, strict=True):
        assert [one.probabilities for one in mine] == [
            pytest.approx(one.probabilities, abs=1e-4) for one in known
        ]
        assert {one.latency_ms for one in mine} == {None}


def test_what_shares_nothing_is_no_pair(both):
    tuned, base = both
    for parameter in tuned.model.parameters():
        parameter.data.mul_(1.01)
    assert SideBySide.of(tuned, base) is None
