"""A language model that answers a prompt: zero-shot, or few-shot with examples, calibrated or plain.

    plain = Prompted.build(model, tokenizer, ("negative", "positive"))
    plain.predict(["what a day"])                              # a Classifier like any other
    better = plain.calibrated(unlabelled_texts, how="batch")
    few = Prompted.build(model, tokenizer, labels, examples=balanced(texts, numbers, labels, k=4, seed=42))

A label's score is the mean log-probability of all the tokens of its words, so words that share their first
token differ and long ones are not penalised. The part before every text (the examples) is computed once, and
its keys and values are reused. Calibration adds an offset to the scores, found on texts without labels:
contextual calibration (Zhao et al. 2021, arXiv 2102.09690) or batch calibration (Zhou et al. 2023, arXiv
2309.17249). Never give it evaluation texts.
"""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache

from inference.baselines import Example
from inference.baselines.shared_prefix import share_prefixes
from inference.classifier import Classifier, Prediction
from inference.engine.precision import choose_precision
from inference.labels import label_words
from inference.prompt import Prompt, continuing_tokens, install_prompt, opening_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

CONTENT_FREE = ("N/A", "[MASK]", "")
"""The inputs of contextual calibration, as in its paper."""
PROMPTS = (
    Prompt(),
    Prompt("Post:", "\nLabel:"),
    Prompt("Text:", "\nThis text is"),
    Prompt("A tweet:", "\nOne word for it:"),
)
"""Prompts to average over: they name no subject but the first, so that labels of any kind fit."""
_BETWEEN = "\n\n"
_SMALLEST = 1e-12
_States = list[tuple[Tensor, Tensor]]  # keys and values of each layer, shape (1, heads, tokens, size)


@dataclass(frozen=True)
class _Texts:
    """The network's state after a prefix and a batch of texts: label words are scored from there."""

    prefix: _States
    """The shared prefix; [] if each text has its copy in the cache, or there is no prefix."""
    cache: DynamicCache
    mask: Tensor
    places: Tensor


class PromptEngine:
    """Scores label words after a prompt, as an engine of a Classifier: its logits are log-probabilities."""

    name = "prompt"
    reason = "A language model answers a prompt."
    batch_tokens = 2048
    cached_tokens = 12_000
    """Tokens whose keys and values are held at once: half a gigabyte for a small base."""
    shared_from = 64
    """Tokens from which on a batch shares a prefix; copying a shorter one for each text is faster."""

    def __init__(
        self, model: "PreTrainedModel", word_ids: Sequence[Sequence[int]], *, precision: str = "float32"
    ) -> None:
        """`word_ids`: the tokens of each label's words, in label order. `precision`: as `TorchEngine` has."""
        self.lm = model.eval()
        self._can_share = share_prefixes(model)
        self.word_ids = [list(ids) for ids in word_ids]
        self.prefix: list[int] = []
        """Token ids that stand before every text."""
        self.head: list[int] = []
        """Token ids that every text begins with: the prompt's own first part."""
        self.opening = 0
        """How many of them the base puts before all else, such as <s>: behind a prefix they are left out."""
        self.offset: NDArray[np.float64] = np.zeros(len(self.word_ids))
        hidden, device = int(model.config.hidden_size), model.device.type
        self.precision = choose_precision(precision, hidden=hidden, tokens=self.batch_tokens, device=device)
        """The precision in which the network computes."""
        self.tokens_computed = 0
        """Tokens that went through the network, pads not counted."""
        self._kept: tuple[tuple[int, ...], _States] = ((), [])

    def logits(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return scores of shape (texts, labels) of texts that all begin with `head`."""
        head = self.head[self.opening if self.prefix else 0 :]
        return self.scores([*self.prefix, *head], [ids[len(self.head) :] for ids in token_ids])

    def scores(self, prefix: Sequence[int], rests: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return each label's mean log-probability after `prefix` and a rest, shape (rests, labels).

        The keys and values of a prefix are kept until another one comes. No rest may be empty.
        """
        row_tokens = max(map(len, rests)) + (0 if self._is_shared(prefix) else len(prefix))
        at_once = max(1, self.cached_tokens // row_tokens)
        with torch.inference_mode(), self.precision.on(self.lm):
            kept = self._states_of(prefix)
            parts = [
                self._scores(kept, prefix, rests[at : at + at_once]).double().cpu().numpy()
                for at in range(0, len(rests), at_once)
            ]
        return (np.concatenate(parts) + self.offset).astype(np.float32)

    def _is_shared(self, prefix: Sequence[int]) -> bool:
        return self._can_share and len(prefix) >= self.shared_from

    def _states_of(self, prefix: Sequence[int]) -> _States:
        if self._kept[0] != tuple(prefix):
            cache = DynamicCache()
            if prefix:
                ids = torch.tensor([list(prefix)], device=self.lm.device)
                self.lm(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
                self.tokens_computed += len(prefix)
            states = [(layer.keys, layer.values) for layer in cache.layers]
            if self._is_shared(prefix):
                states = [(keys.float(), values.float()) for keys, values in states]
            self._kept = (tuple(prefix), states)
        return self._kept[1]

    def _scores(self, kept: _States, prefix: Sequence[int], rests: Sequence[Sequence[int]]) -> Tensor:
        before, count, longest = len(prefix), len(rests), max(map(len, rests))
        ids, mask = (torch.zeros((count, longest), dtype=torch.long) for _ in range(2))
        for row, rest in enumerate(rests):  # pads go between the prefix and the rest
            ids[row, longest - len(rest) :] = torch.as_tensor(rest)
            mask[row, longest - len(rest) :] = 1
        ids, mask = ids.to(self.lm.device), mask.to(self.lm.device)
        places = (before + mask.cumsum(1) - 1).clamp(min=0)
        texts = _Texts(kept, DynamicCache(), mask, places)
        if not self._is_shared(prefix):  # one copy for each text
            copies = [tuple(part.expand(count, -1, -1, -1) for part in layer) for layer in kept]
            texts = _Texts([], DynamicCache(copies), functional.pad(mask, (before, 0), value=1), places)
        first = self._log_probabilities(ids, texts, keep=1)[:, -1]
        self.tokens_computed += sum(map(len, rests))
        return torch.stack([self._word(word, first, texts) for word in self.word_ids], dim=1)

    def _word(self, word: list[int], first: Tensor, texts: _Texts) -> Tensor:
        """Return the mean log-probability of a word's tokens, shape (texts,)."""
        total, more = first[:, word[0]], len(word) - 1
        if more:
            count, mask = len(texts.mask), texts.mask
            ids = torch.tensor(word[:-1], device=mask.device).expand(count, -1)
            gone_on = _Texts(
                texts.prefix,
                # Concatenation makes new tensors, so the texts' own cache is not changed.
                DynamicCache([(layer.keys, layer.values) for layer in texts.cache.layers]),
                torch.cat([mask, mask.new_ones((count, more))], dim=1),
                texts.places[:, -1:] + 1 + torch.arange(more, device=mask.device),
            )
            found = self._log_probabilities(ids, gone_on, keep=0)
            targets = torch.tensor(word[1:], device=mask.device).expand(count, -1).unsqueeze(-1)
            total = total + found.gather(2, targets).squeeze(-1).sum(1)
            self.tokens_computed += count * more
        return total / len(word)

    def _log_probabilities(self, ids: Tensor, texts: _Texts, *, keep: int) -> Tensor:
        out = self.lm(
            input_ids=ids,
            attention_mask=texts.mask,
            position_ids=texts.places,
            past_key_values=texts.cache,
            use_cache=True,
            logits_to_keep=keep,
            **({"shared": texts.prefix} if texts.prefix else {}),
        )
        found: Tensor = out.logits.float().log_softmax(-1)
        return found


class Prompted(Classifier):
    """A language model under one prompt, with the same examples before every text, or none."""

    engine: PromptEngine
    about: str = ""
    """A description for people."""
    seconds: float = 0.0
    """How long calibrating it took."""
    examples: tuple[Example, ...] = ()
    """The examples that stand in the prompt."""
    dropped: int = 0
    """Examples that the model's context had no room for."""
    prompt: Prompt
    words: tuple[str, ...]
    """The words for each label."""
    _context: int
    _between: list[int]

    @classmethod
    def build(
        cls,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerFast",
        labels: Sequence[str],
        *,
        prompt: Prompt = PROMPTS[0],
        words: Sequence[str] = (),
        examples: Sequence[Example] = (),
        max_length: int = 128,
        name: str = "base",
        precision: str = "float32",
    ) -> "Prompted":
        """Put a causal language model and its own tokenizer behind a prompt.

        `words`: those for each label, its name unless given; `max_length`: tokens of a text with its prompt.
        Of the examples, the first ones are dropped where the context is too short for all.
        """
        if model.config.pad_token_id is None:
            model.config.pad_token_id = 0  # pads are masked: any token will do
        words = tuple(words or label_words(labels))
        ids = [
            [number for _, number in continuing_tokens(tokenizer.backend_tokenizer, f" {word}")]
            for word in words
        ]
        context = int(model.config.max_position_embeddings)
        limit = min(max_length, context - max(map(len, ids)))
        inside = install_prompt(tokenizer, prompt, max_length=limit)
        made = cls(
            PromptEngine(model, ids, precision=precision),
            inside.backend_tokenizer,
            labels=labels,
            max_length=limit,
            pad_id=model.config.pad_token_id,
            name_or_path=name,
        )
        made.prompt, made.words = prompt, words
        made._context = context - max(map(len, ids))
        made._between = tokenizer.encode(_BETWEEN, add_special_tokens=False)
        opening = [number for _, number in opening_tokens(tokenizer)]
        made.engine.opening = len(opening)
        made.engine.head = [*opening, *tokenizer.encode(prompt.prefix, add_special_tokens=False)]
        kept, made.engine.prefix = made.fitting(examples, limit)
        made.examples, made.dropped = tuple(kept), len(examples) - len(kept)
        made.about = f"{name} answers a prompt, " + _examples(len(kept), made.dropped)
        return made

    def fitting(self, examples: Sequence[Example], room: int) -> tuple[list[Example], list[int]]:
        """Return the last examples that fit before a text of `room` tokens, and their token ids."""
        if not examples:
            return [], []
        texts = self.encode([example.text for example in examples]).token_ids
        ids = [
            [*text, *self.engine.word_ids[self.labels.index(example.label)], *self._between]
            for text, example in zip(texts, examples, strict=True)
        ]
        left, start = self._context - room, len(ids)
        while start and len(ids[start - 1]) <= left:
            start -= 1
            left -= len(ids[start])
        first, *more = ids[start:] or [[]]
        return list(examples[start:]), [
            *first,
            *(token for part in more for token in part[self.engine.opening :]),
        ]

    def calibrated(self, texts: Sequence[str], *, how: str = "batch") -> "Prompted":
        """Return the same with an offset that cancels the prompt's own bias.

        `how`: "contextual" uses inputs without content and ignores `texts`; "batch" uses the unlabelled
        `texts`, which must not be evaluation texts.
        """
        started = time.perf_counter()
        found = copy.copy(self)
        found.engine = copy.copy(self.engine)
        found.engine.offset = prior_offset(self.predict(CONTENT_FREE if how == "contextual" else texts))
        found.about += f", with {how} calibration"
        if how == "batch":
            found.about += f" over {len(texts):,} unlabelled texts"
        found.seconds = time.perf_counter() - started
        return found


def prior_offset(predictions: Sequence[Prediction]) -> NDArray[np.float64]:
    """Return minus the logarithm of the mean probability of each label: what calibration adds to scores.

    Raises ValueError without a prediction.
    """
    if not predictions:
        raise ValueError("There is no text to calibrate over. Give some that nothing is measured on.")
    mean = np.mean([prediction.probabilities for prediction in predictions], axis=0)
    offset: NDArray[np.float64] = -np.log(np.maximum(mean, _SMALLEST))
    return offset


def _examples(kept: int, dropped: int) -> str:
    words = f"with {kept} examples" if kept else "with no example"
    return words + (f" ({dropped} more did not fit into its context)" if dropped else "")


def balanced(
    texts: Sequence[str], labels: Sequence[int], names: Sequence[str], *, k: int, seed: int
) -> list[Example]:
    """Return k examples of each label, in rounds of one each; fewer of a label that has fewer texts.

    With the same seed, a smaller k gives a part of the examples of a larger one.
    """
    return [
        Example(texts[row], names[labels[row]]) for row in balanced_rows(labels, len(names), k=k, seed=seed)
    ]


def balanced_rows(labels: Sequence[int], classes: int, *, seed: int, k: int | None = None) -> list[int]:
    """Return rows in rounds of one of each class, k rounds or as many as there are."""
    random = np.random.RandomState(seed)  # its stream is frozen for ever
    numbers = np.asarray(labels)
    by_label = [random.permutation(np.flatnonzero(numbers == label)) for label in range(classes)]
    found: list[int] = []
    for place in range(max(map(len, by_label)) if k is None else k):
        members = [int(rows[place]) for rows in by_label if place < len(rows)]
        found += [members[at] for at in np.random.RandomState([seed, place]).permutation(len(members))]
    return found
