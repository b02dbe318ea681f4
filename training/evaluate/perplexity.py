"""How well a language model predicts text: bits per character, before and after a change.

    texts = general_texts()
    before = bits_of(model, tokenizer, texts)      # bits of each text, shape (texts,)
    ...
    compared(before, bits_of(model, tokenizer, texts), texts).change      # with its 95 % interval

Bits per character don't depend on how a tokenizer cuts words, as perplexity per token does: it is 2 to the
bits of a token. `general_texts` are 24 passages of English of many kinds that come with the project; other
languages need a file of their own.
"""

import math
import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from inference.classifier import Progress, budgeted_batches, no_progress
from inference.common.errors import BaseError, DataError
from inference.common.intervals import percentile
from inference.common.mend import mend
from inference.trunk import pad_ids
from training.data.read import read_table
from training.evaluate.scores import Bits

IGNORED = -100
"""The label of positions without a loss."""
WINDOW, AT_ONCE, RESAMPLES = 512, 1024, 1000
"""The most tokens of context for a prediction, tokens computed together, resamples of the bootstrap."""


def compared(before: NDArray[np.float64], after: NDArray[np.float64], texts: Sequence[str]) -> Bits:
    """Return bits per character, before and after, from the bits of each text (`bits_of`): shape (texts,)."""
    lengths, change = np.array([len(text) for text in texts]), after - before
    drawn = np.random.default_rng(0).multinomial(len(texts), [1 / len(texts)] * len(texts), RESAMPLES)
    total = lengths.sum()
    return Bits(
        texts=len(texts),
        characters=int(total),
        before=float(before.sum() / total),
        after=float(after.sum() / total),
        change=percentile(change.sum() / total, (drawn @ change) / (drawn @ lengths)),
    )


def general_texts(path: str = "") -> list[str]:
    """Return general text: the passages that come with the project, or a file's texts. Raises DataError."""
    if not path:
        known = tomllib.loads((Path(__file__).parent / "general.toml").read_text(encoding="utf-8"))
        return [" ".join(passage.split()) for passage in known["passages"]]
    file, table = Path(path), read_table(Path(path))
    raw = table.column(table.pick("text", where=file.name))
    texts = [found for text in raw if isinstance(text, str) and (found := mend(text).text.strip())]
    if not texts:
        raise DataError(f"{file.name} has no text in its {table.n:,} rows. Give a file of general text.")
    return texts


def end_of_text(tokenizer: PreTrainedTokenizerFast) -> int:
    """Return the token between texts. Raises BaseError where the tokenizer names none."""
    for token in (tokenizer.eos_token_id, tokenizer.bos_token_id):
        if token is not None:
            return int(token)
    raise BaseError("The tokenizer names no end of text. Set its eos_token and save it again.")


def ids_of(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of texts, whole and bare: no prompt, no cut, no special token."""
    backend = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    return [found.ids for found in backend.encode_batch(list(texts), add_special_tokens=False)]


def bits_of(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[str],
    *,
    progress: Progress = no_progress,
) -> NDArray[np.float64]:
    """Return the bits that a language model needs for each text, given the end of another: shape (texts,).

    Long texts are cut into windows of at most WINDOW tokens; each token is predicted once.
    """
    limit = min(getattr(model.config, "max_position_embeddings", None) or WINDOW, WINDOW)
    end = end_of_text(tokenizer)
    windows = [
        (text, ids[at : at + limit])
        for text, ids in enumerate([end, *ids] for ids in ids_of(tokenizer, texts))
        for at in range(0, len(ids) - 1, limit - 1)
    ]
    bits, done = np.zeros(len(texts)), 0
    lengths = [len(ids) for _, ids in windows]
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for rows in budgeted_batches(lengths, tokens=AT_ONCE):
            batch = {
                name: value.to(model.device)
                for name, value in pad_ids([windows[row][1] for row in rows], end).items()
            }
            logits = model(**batch, use_cache=False).logits[:, :-1].float()
            labels = batch["input_ids"][:, 1:].masked_fill(batch["attention_mask"][:, 1:] == 0, IGNORED)
            losses = functional.cross_entropy(
                logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none"
            )
            for row, loss in zip(rows, losses.view_as(labels).double().sum(1).tolist(), strict=True):
                bits[windows[row][0]] += loss / math.log(2)
            done += sum(lengths[row] for row in rows)
            progress(done, sum(lengths))
    model.train(was_training)
    return bits
