"""A base is checked in the first seconds: one true sentence where it can't be trained from."""

import json
import shutil

import pytest
import torch
from tokenizers import Tokenizer
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertLMHeadModel,
    GPT2LMHeadModel,
    GPT2Model,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from inference.common.errors import BaseError, RecipeError
from inference.prompt import Prompt
from training.model.bases import check_named, resolve_base
from training.model.classifier import (
    build_classifier,
    kept_head,
    load_language_model,
    prompted_tokenizer,
    trunk_depth,
    word_rows,
)
from training.recipes import Recipe
from training.runs.run import create_run

LABELS = ("negative", "neutral", "positive")


@pytest.fixture
def folder(tiny_gpt2, tmp_path):
    """Return a copy of a base, to be spoiled."""
    return shutil.copytree(tiny_gpt2, tmp_path / "base")


def loaded(folder):
    return load_language_model(resolve_base(str(folder)))


def change_config(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def no_tokenizer(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()


def bin_only(folder):
    torch.save(GPT2LMHeadModel.from_pretrained(folder).state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def padded_and_not_resized(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)


def adapter(folder):
    for file in folder.iterdir():
        file.unlink()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").touch()


def adapter_beside(folder):
    (folder / "adapter_config.json").write_text("{}")


def empty(folder):
    for file in folder.iterdir():
        file.unlink()


def gguf(folder):
    empty(folder)
    (folder / "model.Q4.gguf").touch()


def a_file(folder):
    shutil.rmtree(folder)
    folder.write_text("no model")


def no_weights(folder):
    (folder / "model.safetensors").unlink()


def a_shard_missing(folder):
    no_weights(folder)
    (folder / "model-00001-of-00002.safetensors").touch()
    shards = {
        "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(shards))


def torn_config(folder):
    (folder / "config.json").write_text('{"model_ty')


def torn_tokenizer(folder):
    (folder / "tokenizer.json").write_text('{"version"')


def masked(folder):
    config = BertConfig(vocab_size=500, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    BertForMaskedLM(config).save_pretrained(folder)


def seq2seq(folder):
    config = T5Config(vocab_size=500, d_model=16, d_ff=16, num_layers=1, num_heads=2, d_kv=8)
    T5ForConditionalGeneration(config).save_pretrained(folder)


SEEN_AT_ONCE = {
    no_tokenizer: "has no tokenizer (found: config.json",
    bin_only: "has its weights as pytorch_model.bin alone",
    padded_and_not_resized: "has tokens up to number 430, but its embedding has 430 rows. "
    "Call model.resize_token_embeddings(431)",
    adapter: "is an adapter, without the model it belongs to.",
    adapter_beside: "is an adapter, without the model it belongs to.",
    empty: "has no config.json (found: nothing).",
    gguf: "is a GGUF file: rounded weights, for serving alone.",
    a_file: "is no folder.",
    no_weights: "has no weights as safetensors: model.safetensors is missing (found: config.json",
    a_shard_missing: "has no weights as safetensors: model-00002-of-00002.safetensors is missing",
    torn_config: "config.json can't be read",
    torn_tokenizer: "has a tokenizer.json that can't be read",
    masked: "is no causal language model (it is BertForMaskedLM).",
    seq2seq: "is no causal language model (it is T5ForConditionalGeneration).",
}


@pytest.mark.parametrize("spoil", SEEN_AT_ONCE, ids=lambda spoil: spoil.__name__)
def test_what_is_wrong_with_a_folder_is_said_before_anything_is_loaded(folder, spoil):
    spoil(folder)
    with pytest.raises(BaseError) as caught:
        check_named(str(folder))
    assert SEEN_AT_ONCE[spoil] in str(caught.value) and str(folder) in str(caught.value)


def test_with_such_a_base_there_is_no_run(folder, tiny_tweets, tmp_path):
    no_tokenizer(folder)
    with pytest.raises(BaseError, match="has no tokenizer"):
        create_run(Recipe(base=str(folder), dataset=str(tiny_tweets)), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_way_to_convert_that_is_named_works(folder):
    bin_only(folder)
    with pytest.raises(BaseError) as caught:
        resolve_base(str(folder))
    [code] = str(caught.value).split('python -c "')[1].split('".')[:1]
    exec(code)
    assert loaded(folder).depth == 3


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (lambda: BertLMHeadModel(_bert()), "it looks ahead (bert)"),
        (lambda: BertForMaskedLM(_bert()), "it looks ahead (bert)"),
        (lambda: LlamaModel(_llama()), "lacks weights of a language model, such as lm_head.weight"),
    ],
)
def test_a_model_that_can_predict_no_next_word_is_one_sentence(folder, model, sentence):
    model().save_pretrained(folder)
    change_config(folder, architectures=None)  # nothing tells it from outside
    with pytest.raises(BaseError) as caught:
        loaded(folder)
    assert sentence in str(caught.value)


def _bert():
    return BertConfig(vocab_size=500, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)


def _llama(**more):
    return LlamaConfig(
        vocab_size=500,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        **more,
    )


def test_weights_that_are_not_all_there_are_noticed(folder):
    deeper = GPT2LMHeadModel.from_pretrained(folder).config
    change_config(folder, n_layer=deeper.n_layer + 1)
    with pytest.raises(BaseError, match=r"lacks weights of a language model, such as transformer\.h\.3\."):
        loaded(folder)


def test_a_body_whose_head_is_its_embedding_is_a_whole_base(folder):
    GPT2Model.from_pretrained(folder).save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["GPT2Model"]
    assert loaded(folder).has_output


def test_a_tokenizer_smaller_than_the_embedding_is_fine(folder):
    model = GPT2LMHeadModel.from_pretrained(folder)
    model.resize_token_embeddings(512)
    model.save_pretrained(folder)
    assert loaded(folder).depth == 3


@pytest.mark.parametrize(("named", "pad"), [({}, None), ({"eos_token_id": 5}, 5), ({"pad_token_id": 7}, 7)])
def test_a_tokenizer_without_pad_and_end_takes_those_of_the_config(folder, named, pad):
    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.no_padding()  # it names a pad token
    no_tokenizer(folder)
    PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(folder)
    change_config(folder, **{"pad_token_id": None, "eos_token_id": None, "bos_token_id": None, **named})
    if pad is None:
        with pytest.raises(BaseError, match="names no token for padding or an end of text"):
            loaded(folder)
    else:
        assert prompted_tokenizer(loaded(folder), Prompt(), max_length=64).pad_token_id == pad


def test_a_base_of_a_tiny_context_has_no_room_for_a_text(folder):
    model = LlamaForCausalLM(_llama())
    model.config.max_position_embeddings = 8
    model.save_pretrained(folder)
    with pytest.raises(
        BaseError, match=r"The prompt takes \d+ of the 8 tokens that the base base and max_length"
    ):
        prompted_tokenizer(
            loaded(folder), Prompt("a longer prompt that takes it all:", "\nSentiment:"), max_length=128
        )


def test_a_network_of_one_layer_is_trained_whole(tiny_base):
    config = loaded(tiny_base).model.config
    assert trunk_depth(Recipe(depth=1), config) == 0
    assert trunk_depth(Recipe(depth=2), config) == 1
    config.model_type = "gpt_neox"
    assert trunk_depth(Recipe(), config) == 0
    with pytest.raises(RecipeError, match="depth needs GPT-2's or Llama's family, not gpt_neox"):
        trunk_depth(Recipe(depth=1), config)


def test_label_words_are_taken_as_they_go_on_behind_the_prompt(tiny_base):
    lm = loaded(tiny_base)
    ids = lm.tokenizer.encode(" negative", add_special_tokens=False)
    output = lm.model.get_output_embeddings().weight
    assert torch.equal(word_rows(lm, ["negative"])[0], output[ids].mean(0))


@pytest.mark.parametrize("seed", [-1, 2**32, 2**70])
def test_a_seed_that_not_every_library_takes_is_one_sentence(seed):
    with pytest.raises(RecipeError, match=rf"seed is {seed}\. Give a value from 0 to 4294967295"):
        Recipe(seed=seed)


def save_classifier(folder, base, labels, prompt):
    """Save a classifier of a base, with a head that can be told again."""
    lm = loaded(base)
    tokenizer = prompted_tokenizer(lm, prompt, max_length=96)
    model = build_classifier(lm, labels, tokenizer, seed=3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model, tokenizer


@pytest.mark.parametrize("prompt", [Prompt(), Prompt("Post:", " =>"), Prompt("", "")])
def test_a_classifier_as_a_base_keeps_its_head_and_its_prompt_once(tiny_base, tmp_path, prompt):
    model, tokenizer = save_classifier(tmp_path / "run" / "artifact", tiny_base, LABELS, prompt)
    (tmp_path / "run" / "recipe.toml").touch()
    base = resolve_base(str(tmp_path / "run"))
    assert (base.name, base.path.name) == ("run", "artifact")
    lm = load_language_model(base)
    again = prompted_tokenizer(lm, Prompt(), max_length=64)
    assert again("love it")["input_ids"] == tokenizer("love it")["input_ids"]
    assert again.model_max_length == 64
    other = ("positive", "negative", "neutral")
    assert torch.equal(kept_head(lm, LABELS), model.score.weight)
    assert torch.equal(kept_head(lm, other), model.score.weight[[2, 0, 1]])
    assert kept_head(lm, ("spam", "ham")) is None
    assert word_rows(lm, ("spam", "ham")).shape == (2, 32)


def test_a_classifier_that_predicts_no_words_can_go_on_with_its_own_labels_alone(folder, tmp_path):
    LlamaForCausalLM(_llama()).save_pretrained(folder)  # its output is no copy of its embedding
    save_classifier(tmp_path / "artifact", folder, LABELS, Prompt())
    lm = loaded(tmp_path / "artifact")
    assert kept_head(lm, LABELS).shape == (3, 16)
    with pytest.raises(
        BaseError, match=r"has other labels \(negative, neutral, positive\) and can't predict words"
    ):
        word_rows(lm, ("spam", "ham"))


def test_the_start_token_of_a_base_is_there_for_base_and_tuned(tiny_llama, tmp_path):
    folder = shutil.copytree(tiny_llama, tmp_path / "llama")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_bos_token = True
    tokenizer.save_pretrained(folder)
    lm = loaded(folder)
    assert lm.tokenizer("a")["input_ids"][0] == lm.tokenizer.bos_token_id
    _, prompted = save_classifier(tmp_path / "artifact", folder, LABELS, Prompt())
    ids = prompted("love it")["input_ids"]
    assert ids[0] == prompted.bos_token_id and ids.count(prompted.bos_token_id) == 1
    again = prompted_tokenizer(loaded(tmp_path / "artifact"), Prompt(), max_length=96)
    assert again("love it")["input_ids"] == ids
