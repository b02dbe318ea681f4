"""Real, tiny language models that know a little: the tests' own, and the doctor's benchmark's."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer, PreTrainedModel

Asked = Sequence[tuple[str, str]]
"""(text, label) pairs."""


def byte_tokenizer(folder: Path, texts: Sequence[str], *, vocabulary: int = 500) -> GPT2Tokenizer:
    """Return a real byte-level BPE tokenizer of GPT-2's class, trained on texts."""
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        texts, vocab_size=vocabulary, min_frequency=2, special_tokens=["<|endoftext|>"]
    )
    trained.save_model(str(folder))
    return GPT2Tokenizer.from_pretrained(str(folder), pad_token="<|endoftext|>")


def save_gpt2(folder: Path, tokenizer: GPT2Tokenizer, asked: Asked, *, steps: int = 90) -> Path:
    """Write a real GPT-2 of three layers that has learnt a little, and return its folder."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=256,
        n_embd=32,
        n_layer=3,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    return save_base(GPT2LMHeadModel(config), tokenizer, folder, asked, steps=steps)


def save_base(
    model: PreTrainedModel, tokenizer: GPT2Tokenizer, folder: Path, asked: Asked, *, steps: int = 90
) -> Path:
    """Teach a language model some answers, for a second, and save it."""
    texts = [f"Tweet: {text}\nSentiment: {label}" for text, label in asked]
    tokenizer.padding_side = "left"
    batches = [
        tokenizer(texts[at : at + 24], return_tensors="pt", padding=True) for at in range(0, len(texts), 24)
    ]
    tokenizer.padding_side = "right"
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(steps):
        batch = batches[step % len(batches)]
        labels = batch["input_ids"].clone()
        labels[:, :-1] = -100
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
