"""A batch attends over a prefix that it shares as if each text had a copy, and no text has one."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer, MistralConfig, MistralForCausalLM

from inference.baselines import shared_prefix
from inference.baselines.prompting import Prompted, balanced
from tests.support import WORDS, tweets

LABELS = tuple(WORDS)
TEXTS, BEFORE, SIZE = 5, 40, 8
SCALE = SIZE**-0.5


def made(heads, asked, own, dtype):
    """Return queries, own keys and values, and those of a prefix, all random."""
    random = torch.Generator().manual_seed(heads + asked)
    shapes = [(TEXTS, 4, asked), (TEXTS, heads, own), (TEXTS, heads, own), *[(1, heads, BEFORE)] * 2]
    return [2 * torch.randn(*shape, SIZE, generator=random).to(dtype) for shape in shapes]


def copied(q, k, v, keys, values, mask):
    """Return what attention gives over copies of the prefix, in double precision."""
    every = [
        torch.cat([before.expand(TEXTS, -1, -1, -1), own], 2).repeat_interleave(4 // k.shape[1], 1).double()
        for before, own in ((keys, k), (values, v))
    ]
    seen = torch.cat([torch.ones(*mask.shape[:3], BEFORE, dtype=torch.bool), mask], 3)
    return functional.scaled_dot_product_attention(q.double(), *every, attn_mask=seen, scale=SCALE).transpose(
        1, 2
    )


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("heads", [4, 2, 1])
@pytest.mark.parametrize(("asked", "own"), [(7, 7), (2, 9), (1, 6)])
def test_it_is_attention_over_copies_of_the_prefix(heads, dtype, fused, asked, own, monkeypatch):
    if not fused:  # as on a GPU
        monkeypatch.setattr(shared_prefix, "_FUSED", {})
    q, k, v, keys, values = made(heads, asked, own, dtype)
    layer = SimpleNamespace(layer_idx=1)
    shared = [(), (keys.float(), values.float())]
    causal = torch.ones(asked, own, dtype=torch.bool).tril(own - asked).expand(TEXTS, 1, -1, -1)
    padded = causal.clone()
    for text in range(TEXTS):
        padded[text, ..., :text] = False  # its first tokens are pads
    for mask, given_mask in ((causal, None), (causal, causal), (padded, padded)):
        found, _ = shared_prefix._attend(layer, q, k, v, given_mask, scaling=SCALE, shared=shared)
        expected = copied(q, k, v, keys, values, mask)
        assert found.dtype == dtype and found.shape == (TEXTS, asked, 4, SIZE)
        within = 1e-5 if dtype == torch.float32 else 2e-2  # what rounding to bfloat16 leaves
        torch.testing.assert_close(found.double(), expected, atol=within, rtol=within)
        torch.testing.assert_close(found, expected.to(dtype), atol=within / 10, rtol=1e-2)


def few_shot(folder, **more):
    """Return a few-shot prompt on a base, texts to ask, and another copy of the base."""
    rows, numbers = zip(*((text, LABELS.index(label)) for text, label in tweets(60, seed=6)), strict=True)
    examples, words = balanced(rows, numbers, LABELS, k=2, seed=1), ("bad", "the worst of all", "the best")
    model, plain = (AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32) for _ in range(2))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    made = Prompted.build(model, tokenizer, LABELS, words=words, examples=examples, **more)
    assert len(made.engine.prefix) >= made.engine.shared_from
    return made, rows[:20], plain.eval()


def plainly(few, texts, plain):
    """Return the labels' probabilities, every word behind its whole prompt, computed alone."""
    scores = np.zeros((len(texts), len(few.labels)))
    for row, own in enumerate(few.encode(texts).token_ids):
        for place, word in enumerate(few.engine.word_ids):
            whole = [*few.engine.prefix, *own, *word]
            with torch.no_grad(), few.engine.precision.on(plain):
                said = plain(torch.tensor([whole])).logits[0].float().log_softmax(-1)
            before = len(whole) - len(word) - 1
            scores[row, place] = np.mean([float(said[before + at, token]) for at, token in enumerate(word)])
    return np.exp(scores) / np.exp(scores).sum(1, keepdims=True)


def shares(few, texts):
    return np.array([one.probabilities for one in few.predict(texts)])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_few_shot_prompt_is_answered_as_the_plain_computation_does(tiny_base, precision):
    few, texts, plain = few_shot(tiny_base, precision=precision)
    found = shares(few, texts)
    assert found == pytest.approx(plainly(few, texts, plain), abs=1e-4 if precision == "float32" else 1e-2)
    if precision == "bfloat16":
        exact, _, _ = few_shot(tiny_base)
        off = [np.abs(each - shares(exact, texts)).mean() for each in (found, plainly(few, texts, plain))]
        assert off[0] < 1.5 * off[1], "it rounds no more than the plain computation"


def test_no_text_of_a_batch_holds_a_copy_of_the_prefix(tiny_base, monkeypatch):
    few, texts, _ = few_shot(tiny_base)
    few.predict(texts[:1])  # the prefix is computed
    lengths, stock = [], torch.cat

    def watched(tensors, *rest, **more):
        found = stock(tensors, *rest, **more)
        lengths.extend(found.shape[2:3] if found.dim() == 4 else ())
        return found

    monkeypatch.setattr(torch, "cat", watched)
    few.predict(texts)
    assert 0 < max(lengths) < 40 < len(few.engine.prefix)


def test_a_family_that_may_not_see_all_that_is_before_has_copies(tiny_tokenizer, tmp_path):
    config = MistralConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        sliding_window=200,
        bos_token_id=0,
        eos_token_id=0,
    )
    torch.manual_seed(0)
    MistralForCausalLM(config).save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    few, texts, plain = few_shot(tmp_path)
    assert not few.engine._is_shared(few.engine.prefix)
    assert shares(few, texts) == pytest.approx(plainly(few, texts, plain), abs=1e-4)


def test_a_model_that_can_share_is_saved_and_answers_as_any_other(tiny_base, tmp_path):
    model, plain = (AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32) for _ in range(2))
    shared_prefix.share_prefixes(model)
    ids = torch.tensor([[0, 0, 5, 9], [4, 6, 5, 9]])
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    with torch.no_grad():
        for given in ({}, {"attention_mask": mask}):
            assert torch.equal(model(ids, **given).logits, plain(ids, **given).logits)
    model.save_pretrained(tmp_path / "saved")
    assert "shared_prefix" not in json.dumps(json.loads((tmp_path / "saved" / "config.json").read_text()))
