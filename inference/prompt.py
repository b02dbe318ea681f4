"""The prompt, kept inside the tokenizer: every client of the artifact applies it without knowing it.

    tokenizer = install_prompt(tokenizer, Prompt("Tweet:", "\\nSentiment:"), max_length=128)
    tokenizer("what a day")      # -> ids of "Tweet: what a day\\nSentiment:"

The prompt's tokens are "special tokens" of a `TemplateProcessing` post-processor, so truncation shortens the
text and never the prompt, and an empty text is never zero tokens. The text itself is tidied a little on its
way in: a link becomes "http" (its letters say nothing and cost a dozen tokens), a backtick within a word
becomes an apostrophe, white space around it is dropped and one space put before it, as the base saw words in
its own training. An empty prompt leaves the text as it is.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Prompt:
    """What stands before and after a text. Both empty: the text alone, as the guide's recipe has it."""

    prefix: str = "Tweet:"
    suffix: str = "\nSentiment:"

    @property
    def empty(self) -> bool:
        """Whether nothing is put around the text."""
        return not (self.prefix or self.suffix)


def install_prompt(
    tokenizer: PreTrainedTokenizerFast, prompt: Prompt, *, max_length: int
) -> PreTrainedTokenizerFast:
    """Return a copy of a fast tokenizer that wraps each text in the prompt and has a pad token.

    `max_length` counts tokens, the prompt's own included. Pads go to the right: a GPT-2 classifier pools the
    last token that is not a pad. The pad token is the base's own, or its end-of-text token.
    """
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    if not prompt.empty:
        backend = _wrapped(backend, prompt)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=tokenizer.bos_token,
        eos_token=tokenizer.eos_token,
        unk_token=tokenizer.unk_token,
        pad_token=tokenizer.pad_token or tokenizer.eos_token or tokenizer.unk_token,
        model_max_length=max_length,
        padding_side="right",
        truncation_side="right",
        model_input_names=["input_ids", "attention_mask"],  # GPT-2 would add token_type_ids to its input
    )


def _wrapped(backend: Tokenizer, prompt: Prompt) -> Tokenizer:
    before, after = (
        list(zip(found.tokens, found.ids, strict=True))
        for found in backend.encode_batch([prompt.prefix, prompt.suffix], add_special_tokens=False)
    )
    tidy = [
        normalizers.Replace(Regex(r"https?://\S+"), "http"),
        normalizers.Replace(Regex(r"(?<=\w)`(?=\w)"), "'"),
        normalizers.Strip(),
    ]
    backend.normalizer = normalizers.Sequence([*([backend.normalizer] if backend.normalizer else []), *tidy])
    if isinstance(backend.pre_tokenizer, pre_tokenizers.ByteLevel):
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return Tokenizer.from_str(
        json.dumps(json.loads(backend.to_str()) | {"post_processor": _template(before, after)})
    )


def _template(before: Sequence[tuple[str, int]], after: Sequence[tuple[str, int]]) -> dict[str, object]:
    """Return the post-processor as tokenizer.json has it; its builder refuses tokens such as ":".

    Each token of the prompt is a "special token" under its own name: transformers.js knows no other form.
    """

    def pieces(tokens: Sequence[tuple[str, int]]) -> list[dict[str, object]]:
        return [{"SpecialToken": {"id": token, "type_id": 0}} for token, _ in tokens]

    single = [*pieces(before), {"Sequence": {"id": "A", "type_id": 0}}, *pieces(after)]
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            token: {"id": token, "ids": [number], "tokens": [token]} for token, number in [*before, *after]
        },
    }
