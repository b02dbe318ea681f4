"""The prompt, kept inside the tokenizer: every client of the artifact applies it without knowing it.

    tokenizer = install_prompt(tokenizer, Prompt("Tweet:", "\\nSentiment:"), max_length=128)
    tokenizer("what a day")      # -> ids of "Tweet: what a day\\nSentiment:"

The prompt's tokens are "special tokens" of a `TemplateProcessing` post-processor, so truncation shortens the
text and never the prompt, and an empty text is never zero tokens. Tokens that the base puts before each text,
such as <s>, stay in front. The text is mended on its way in, as far as a normalizer can do what
`inference.common.mend` does (`MENDED`). It is tidied a little: a link becomes "http" (its letters say nothing
and cost a dozen tokens), a backtick within a word becomes an apostrophe, white space around it is dropped and
one space put before it, as the base saw words in its own training. With an empty prompt it is only mended.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html.entities import codepoint2name

from ftfy import bad_codecs
from ftfy.chardata import CONTROL_CHARS
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

_AMBIGUOUS = "åÅÌÎÒ¥™"  # ftfy leaves what these become in a wrong encoding where it could be meant
MENDED_ENTITIES = "\"'<>/`=" + _AMBIGUOUS
"""Characters that a plain tokenizer mends where they are HTML entities; "&" too, however often escaped."""
MENDED = "‘’“”–—…•€\xa0¡£§©ª«®°´·º»¿❤♥💕🔥👍🙏😁😂😊😍😔😘😩😭" + "".join(
    letter for letter in map(chr, range(0xC0, 0x100)) if letter not in _AMBIGUOUS
)
"""Characters that it also mends where UTF-8 was read as Windows-1252 or Latin-1 once: “â€™” for “’”."""
bad_codecs.ok()  # Python then knows sloppy-windows-1252, which is what the Web calls Windows-1252

Tokens = list[tuple[str, int]]
"""Tokens with their ids."""


@dataclass(frozen=True)
class Prompt:
    """The words before and after a text. Both empty: the text alone, as the guide's recipe has it."""

    prefix: str = "Tweet:"
    suffix: str = "\nSentiment:"

    @property
    def empty(self) -> bool:
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
    own = [backend.normalizer] if backend.normalizer else []
    if not prompt.empty:
        backend = _wrapped(backend, prompt, opening=opening_tokens(tokenizer))
    # Before the base's own, which may turn blanks into "▁".
    backend.normalizer = normalizers.Sequence([*_mending(), *_tidying(prompt), *own])
    return with_limit(tokenizer, backend, max_length)


def with_limit(
    tokenizer: PreTrainedTokenizerFast, backend: Tokenizer, max_length: int
) -> PreTrainedTokenizerFast:
    """Return a tokenizer of a backend with another's special tokens, a pad token and a limit."""
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=tokenizer.bos_token,
        eos_token=tokenizer.eos_token,
        unk_token=tokenizer.unk_token,
        pad_token=tokenizer.pad_token or tokenizer.eos_token or tokenizer.unk_token or tokenizer.bos_token,
        model_max_length=max_length,
        padding_side="right",
        truncation_side="right",
        model_input_names=["input_ids", "attention_mask"],  # GPT-2 would add token_type_ids to its input
    )


def opening_tokens(tokenizer: PreTrainedTokenizerFast) -> Tokens:
    """Return the special tokens that a tokenizer puts before each text by itself, such as <s>.

    Those that one puts behind it are left out: a language model has to go on from the prompt's end. So is a
    prompt that is in the tokenizer already.
    """
    whole = tokenizer("a")["input_ids"]
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    starts = [at for at in range(len(whole)) if whole[at : at + len(bare)] == bare]
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    ids = [number for number in whole[: starts[0]] if number in special] if starts else []
    return list(zip(tokenizer.convert_ids_to_tokens(ids), ids, strict=True))


def continuing_tokens(backend: Tokenizer, text: str) -> Tokens:
    """Return the tokens of a text behind a word, where no tokenizer takes it for a beginning."""
    # One by one: a tokenizer that pads would pad the shorter ones of a batch.
    word, both, alone = (backend.encode(one, add_special_tokens=False) for one in ("a", f"a{text}", text))
    behind = both.ids[: len(word.ids)] == word.ids
    tokens, ids = (both.tokens, both.ids) if behind else (alone.tokens, alone.ids)
    start = len(word.ids) if behind else 0
    return list(zip(tokens[start:], ids[start:], strict=True))


def _wrapped(backend: Tokenizer, prompt: Prompt, *, opening: Tokens) -> Tokenizer:
    if bytes_alone := isinstance(backend.pre_tokenizer, pre_tokenizers.ByteLevel):
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # a prompt before set it
    found = backend.encode(prompt.prefix, add_special_tokens=False)
    before = [*opening, *zip(found.tokens, found.ids, strict=True)]
    after = continuing_tokens(backend, prompt.suffix)
    if bytes_alone:
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return Tokenizer.from_str(
        json.dumps(json.loads(backend.to_str()) | {"post_processor": _template(before, after)})
    )


def _tidying(prompt: Prompt) -> list[normalizers.Normalizer]:
    links_and_backticks = [
        normalizers.Replace(Regex(r"https?://\S+"), "http"),
        normalizers.Replace(Regex(r"(?<=\w)`(?=\w)"), "'"),
    ]
    return [*(links_and_backticks if not prompt.empty else []), normalizers.Strip()]


def _mending() -> list[normalizers.Normalizer]:
    """Return the part of `inference.common.mend` that a normalizer can do: replacements, not rules."""
    controls = "".join(map(chr, CONTROL_CHARS))  # U+FEFF and the like too
    return [
        normalizers.Replace("\0", " "),
        normalizers.Replace(Regex("\x1b\\[[0-9;]*[A-Za-z]"), ""),  # a terminal's colours
        normalizers.Replace(Regex(f"[{controls}]"), ""),
        normalizers.Replace(Regex(r"&(?:(?:amp|AMP|#0*38|#[xX]0*26);)+"), "&"),
        *(normalizers.Replace(Regex(_forms(each)), each) for each in MENDED_ENTITIES + MENDED),
        normalizers.NFC(),
    ]


def _forms(character: str) -> str:
    """Return a pattern of a character's entities and of what it becomes in a wrong encoding."""
    code = ord(character)
    names = {"'": "apos|"}.get(character, f"{codepoint2name[code]}|" if code in codepoint2name else "")
    digits = "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in f"{code:x}")
    codecs = ("latin-1", "sloppy-windows-1252") if character in MENDED else ()
    misread = dict.fromkeys(character.encode().decode(codec) for codec in codecs)
    return "|".join([f"&(?:{names}#0*{code}|#[xX]0*{digits});", *misread])


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
