"""The prompt travels in the tokenizer, and truncation never cuts it."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, processors, trainers
from transformers import AutoTokenizer, GPT2Tokenizer, PreTrainedTokenizerFast

from inference.prompt import Prompt, install_prompt

PROMPT = Prompt()


@pytest.fixture(scope="module")
def prompted(tiny_tokenizer):
    return install_prompt(tiny_tokenizer, PROMPT, max_length=24)


def test_the_prompt_stands_around_the_text(prompted):
    assert prompted.decode(prompted("happy today")["input_ids"]) == "Tweet: happy today\nSentiment:"


def test_space_around_the_text_changes_nothing(prompted):
    assert prompted("  happy \n")["input_ids"] == prompted("happy")["input_ids"]


def test_links_and_backticks_are_tidied_and_nothing_else(prompted):
    assert prompted("it`s at http://t.co/x1Y, see")["input_ids"] == prompted("it's at http see")["input_ids"]
    assert prompted("a ` b")["input_ids"] != prompted("a ' b")["input_ids"]
    assert prompted("@friend #life")["input_ids"] != prompted("@user life")["input_ids"]


def test_an_empty_text_is_the_prompt_alone(prompted):
    assert prompted.decode(prompted("")["input_ids"]) == "Tweet:\nSentiment:"


def test_no_token_types_and_a_pad_token(prompted):
    assert set(prompted(["a", "longer text"], padding=True)) == {"input_ids", "attention_mask"}
    assert prompted.pad_token_id is not None
    assert prompted.padding_side == "right"


def test_saving_keeps_prompt_and_limit(prompted, tmp_path):
    prompted.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again("love it")["input_ids"] == prompted("love it")["input_ids"]
    assert again.model_max_length == 24


def test_an_empty_prompt_leaves_the_text_as_it_is(tiny_tokenizer):
    raw = install_prompt(tiny_tokenizer, Prompt("", ""), max_length=24)
    assert raw("love it")["input_ids"] == tiny_tokenizer("love it")["input_ids"]


def test_the_tokenizer_that_was_given_is_not_changed(tiny_tokenizer):
    before = tiny_tokenizer("love it")["input_ids"]
    install_prompt(tiny_tokenizer, PROMPT, max_length=24)
    assert tiny_tokenizer("love it")["input_ids"] == before


def with_template(tokenizer, single: str, *, after: bool = False) -> PreTrainedTokenizerFast:
    """Return a tokenizer that puts a token of its own before each text, as Llama's do."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    token = "<|endoftext|>"
    template = processors.TemplateProcessing(single=single, special_tokens=[(token, 0)])
    backend.post_processor = processors.Sequence([processors.ByteLevel(), template]) if after else template
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=token, eos_token=token)


@pytest.mark.parametrize(
    "own",
    [
        lambda tokenizer: with_template(tokenizer, "<|endoftext|> $A"),
        lambda tokenizer: with_template(tokenizer, "<|endoftext|> $A <|endoftext|>"),
        lambda tokenizer: with_template(tokenizer, "<|endoftext|> $A", after=True),
    ],
)
def test_what_the_base_puts_before_a_text_stays_before_the_prompt(tiny_tokenizer, own, tmp_path):
    prompted = install_prompt(own(tiny_tokenizer), PROMPT, max_length=24)
    plain = install_prompt(tiny_tokenizer, PROMPT, max_length=24)
    assert prompted("happy")["input_ids"] == [0, *plain("happy")["input_ids"]]
    prompted.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)("happy")["input_ids"] == prompted("happy")["input_ids"]
    long = prompted("love " * 100, truncation=True)["input_ids"]
    assert len(long) == 24 and long[0] == 0 and long[-3:] == plain("")["input_ids"][-3:]


def test_a_prompt_is_replaced_and_not_doubled(tiny_tokenizer):
    own = with_template(tiny_tokenizer, "<|endoftext|> $A")
    once = install_prompt(own, PROMPT, max_length=24)
    again = install_prompt(install_prompt(own, Prompt("Post:", " =>"), max_length=24), PROMPT, max_length=24)
    assert again("happy &lt;3")["input_ids"] == once("happy &lt;3")["input_ids"]


def test_a_tokenizer_set_to_add_its_start_token_keeps_it(tiny_tokenizer, tmp_path):
    tiny_tokenizer.save_pretrained(tmp_path)
    own = GPT2Tokenizer.from_pretrained(tmp_path, add_bos_token=True)
    prompted = install_prompt(own, PROMPT, max_length=24)
    assert prompted("happy")["input_ids"][0] == own.bos_token_id
    assert prompted.decode(prompted("happy")["input_ids"][1:]) == "Tweet: happy\nSentiment:"


@pytest.fixture(scope="module")
def llama_2() -> PreTrainedTokenizerFast:
    """Return a tokenizer built as Llama 2's: "▁" for blanks, put before each text by its normalizer."""
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.train_from_iterator(
        ["Tweet: it's at http see\nSentiment: negative neutral positive"] * 9,
        trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>", "<s>"], min_frequency=1),
    )
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", unk_token="<unk>")


def test_a_tokenizer_that_writes_blanks_in_its_own_way_gets_the_text_tidied_before(llama_2):
    prompted = install_prompt(llama_2, PROMPT, max_length=64)
    ids = prompted("  see it`s http://t.co/x1Y at &lt;\n")["input_ids"]
    assert ids == prompted("see it's http at <")["input_ids"]
    tokens = "".join(prompted.convert_ids_to_tokens(ids))
    assert tokens.startswith("<s>▁Tweet:▁see▁it's▁http▁at▁") and tokens.endswith("\nSentiment:")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=400))
def test_any_text_keeps_the_whole_prompt_and_the_limit(prompted, text):
    ids = prompted(text, truncation=True)["input_ids"]
    whole = prompted("")["input_ids"]
    assert len(ids) <= 24
    # The prompt's pieces are what the empty text is made of.
    assert ids[:2] == whole[:2]
    assert ids[-3:] == whole[-3:]


def test_a_text_of_100000_characters_is_cut(prompted):
    encoded = prompted("love " * 20_000, truncation=True)
    assert len(encoded["input_ids"]) == 24
    assert encoded.encodings[0].overflowing


def test_each_token_of_the_prompt_stands_under_its_own_name(prompted):
    """transformers.js looks these names up in the vocabulary, and knows no name for several ids."""
    template = json.loads(prompted.backend_tokenizer.to_str())["post_processor"]
    names = [piece["SpecialToken"]["id"] for piece in template["single"] if "SpecialToken" in piece]
    assert prompted.convert_tokens_to_ids(names) == prompted("")["input_ids"]
