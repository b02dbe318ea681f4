"""Turn a base into a classifier: labels, prompt, head, adapters; and back into a plain folder.

    lm = load_language_model(base)
    tokenizer = prompted_tokenizer(lm, Prompt(), max_length=128)
    classifier = build_classifier(lm, labels, tokenizer)
    calibrated_head(final_states(classifier, batches), word_rows(lm, labels))    # its head, untrained
    tuned = add_lora(classifier, recipe, trunk)

The head starts from the rows of the language model's output for the label words: the mean of its tokens' rows
where a label is several tokens. Its offset cancels the prior over unlabelled training texts, as contextual
calibration does (Zhao et al. 2021, arXiv 2102.09690), and is folded into the head along the direction in
which final states are constant, since the stock heads have no bias. A base that is a classifier already, such
as an artifact, keeps its tokenizer, prompt included, and, for the same labels, its head. Knows nothing about
data files or runs.
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from inference.artifact import BASE_HEAD, PROVENANCE, read_record
from inference.classifier import Classifier
from inference.common.errors import ArtifactError, BaseError, RecipeError
from inference.engine.precision import FLOAT32, Precision
from inference.engine.pytorch import UNLOADABLE, TorchEngine, quiet_loading
from inference.labels import label_words, labels_of
from inference.prompt import Prompt, continuing_tokens, install_prompt, with_limit
from inference.trunk import FAMILIES, backbone_of, headless, layers_of
from training.model.bases import EMBEDDED, EMBEDDED_NAME, Base, check_vocabulary, resolve_base
from training.recipes import Recipe

LEAST_ROOM = 4
"""Tokens that the prompt has to leave to a text."""
LORA_TARGETS = {
    "gpt2": ["c_attn", "c_proj", "c_fc"],
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
}


@dataclass(frozen=True)
class LanguageModel:
    """An untouched base in memory."""

    base: Base
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    trained_head: Tensor | None = None
    """The head of a base that is a classifier, shape (labels, hidden)."""
    trained_labels: tuple[str, ...] = ()
    has_output: bool = True
    """Whether it can predict words: a classifier's weights may be without that."""

    @property
    def depth(self) -> int:
        return int(self.model.config.num_hidden_layers)


def load_language_model(base: Base) -> LanguageModel:
    """Load a base in float32. Raises BaseError when its folder holds no causal language model."""
    try:
        with quiet_loading():
            model, loading = AutoModelForCausalLM.from_pretrained(
                base.path, dtype=torch.float32, use_safetensors=True, output_loading_info=True
            )
            tokenizer = AutoTokenizer.from_pretrained(base.path)
    except UNLOADABLE as error:
        reason = " ".join(str(error).split())[:200]
        raise BaseError(
            f"The base {base.name} can't be loaded ({reason}). Give a causal language model."
        ) from error
    if not getattr(tokenizer, "is_fast", False):
        raise BaseError(f"The base {base.name} has no tokenizer.json. Give a base with a fast tokenizer.")
    model = model.eval()
    highest = max(tokenizer.get_vocab().values(), default=-1)
    check_vocabulary(base.name, highest, model.get_input_embeddings().num_embeddings)
    head = _trained_head(base.path) if "score.weight" in loading["unexpected_keys"] else None
    lost = sorted(key for key in loading["missing_keys"] if key.startswith(f"{model.base_model_prefix}."))
    has_output = not set(loading["missing_keys"]) - set(lost)
    if lost or (head is None and not has_output):
        first = (lost or sorted(loading["missing_keys"]))[0]
        raise BaseError(
            f"The base {base.name} lacks weights of a language model, such as {first}. Get the whole model."
        )
    _check_causal(base, model)
    labels = labels_of(model.config) if head is not None else ()
    return LanguageModel(base, model, _with_pad(base, model, tokenizer), head, labels, has_output)


def _trained_head(folder: Path) -> Tensor | None:
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as weights:
            if file.name != BASE_HEAD and "score.weight" in weights.keys():  # noqa: SIM118  (it is no dict)
                found: Tensor = weights.get_tensor("score.weight").float()
                return found
    return None


def _check_causal(base: Base, model: PreTrainedModel) -> None:
    """Raise BaseError for a model that attends ahead: later tokens would change earlier states."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[0, 0], [0, 1]]), use_cache=False).logits
    if not torch.allclose(logits[0, 0], logits[1, 0], atol=1e-4):
        raise BaseError(
            f"The base {base.name} is no causal language model: it looks ahead ({model.config.model_type}). "
            "Give a model of GPT-2's or Llama's family."
        )


def _with_pad(
    base: Base, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> PreTrainedTokenizerFast:
    """Name a pad token where neither the tokenizer nor its end, start or unknown token is one."""
    if tokenizer.pad_token or tokenizer.eos_token or tokenizer.unk_token or tokenizer.bos_token:
        return tokenizer
    config = model.config
    for found in (config.pad_token_id, config.eos_token_id, config.bos_token_id):
        if isinstance(found, int) and (token := tokenizer.convert_ids_to_tokens(found)):
            tokenizer.pad_token = token
            return tokenizer
    raise BaseError(
        f"The tokenizer of {base.name} names no token for padding or an end of text. Set its pad_token and "
        "save it again."
    )


def prompted_tokenizer(lm: LanguageModel, prompt: Prompt, *, max_length: int) -> PreTrainedTokenizerFast:
    """Return the base's tokenizer with a prompt inside and its pad token set; a classifier's has its own.

    Raises BaseError when the base, or `max_length`, has no room for a text beside the prompt.
    """
    limit = min(max_length, getattr(lm.model.config, "max_position_embeddings", None) or max_length)
    if lm.trained_head is not None:
        backend = Tokenizer.from_str(lm.tokenizer.backend_tokenizer.to_str())
        backend.no_truncation()
        backend.no_padding()
        tokenizer = with_limit(lm.tokenizer, backend, limit)
    else:
        tokenizer = install_prompt(lm.tokenizer, prompt, max_length=limit)
    around = len(tokenizer("")["input_ids"])
    if limit - around < LEAST_ROOM:
        raise BaseError(
            f"The prompt takes {around} of the {limit} tokens that the base {lm.base.name} and max_length "
            f"allow: that leaves no room for a text ({LEAST_ROOM} tokens). Take a shorter prompt, or a base "
            "of a longer context."
        )
    return tokenizer


def trunk_depth(recipe: Recipe, config: PreTrainedConfig) -> int:
    """Return how many lower layers are frozen and computed once. Raises RecipeError for too many."""
    depth = recipe.depth or config.num_hidden_layers
    if depth > config.num_hidden_layers:
        raise RecipeError(
            f"depth is {depth}, but the base has {config.num_hidden_layers} layers. Give at most that."
        )
    if config.model_type not in FAMILIES:
        needing = "depth" if recipe.depth else "" if recipe.trunk_layers in ("auto", "0") else "trunk_layers"
        if not needing:
            return 0
        raise RecipeError(f"{needing} needs GPT-2's or Llama's family, not {config.model_type}. Set it to 0.")
    layers = recipe.trunk_of(depth)
    if layers >= depth:
        raise RecipeError(
            f"trunk_layers is {layers}, but only {depth} layers are kept. Give at most {depth - 1}."
        )
    return layers


def build_classifier(
    lm: LanguageModel, labels: Sequence[str], tokenizer: PreTrainedTokenizerFast, *, seed: int = 42
) -> PreTrainedModel:
    """Return a sequence classifier around the base's own weights, shared and not copied, with a random head.

    `seed` is the head's. Labels and pad token stand in its config. Raises BaseError when the family has no
    such classifier.
    """
    config = copy.deepcopy(lm.model.config)
    config.num_labels = len(labels)
    config.id2label = dict(enumerate(labels))
    config.label2id = {name: number for number, name in enumerate(labels)}
    config.pad_token_id = tokenizer.pad_token_id
    config.problem_type = "single_label_classification"
    config.architectures = None
    config.use_cache = False
    try:
        with torch.device("meta"):  # the base's weights take their place
            classifier = AutoModelForSequenceClassification.from_config(config)
    except ValueError as error:
        raise BaseError(
            f"{config.model_type} models have no sequence classifier. Give GPT-2 or Llama."
        ) from error
    if not hasattr(classifier, "score"):
        raise BaseError(
            f"{config.model_type} models have a classifier of another build. Give GPT-2 or Llama."
        )
    config = classifier.config
    backbone = getattr(lm.model, lm.model.base_model_prefix)
    backbone.config = config
    setattr(classifier, classifier.base_model_prefix, backbone)
    classifier.score = nn.Linear(config.hidden_size, len(labels), bias=False)
    torch.manual_seed(seed)
    nn.init.normal_(classifier.score.weight, std=getattr(config, "initializer_range", 0.02))
    return classifier.eval()


def cut_depth(classifier: PreTrainedModel, depth: int) -> None:
    """Drop the topmost layers, so that `depth` remain: the network ends early, behind its own final norm."""
    if depth and depth < classifier.config.num_hidden_layers:
        stack = layers_of(classifier)
        del stack[depth:]
        classifier.config.num_hidden_layers = depth


def word_rows(lm: LanguageModel, words: Sequence[str]) -> Tensor:
    """Return the language model's output rows for label words, shape (labels, hidden).

    A word of several tokens takes the mean of their rows.
    """
    if not lm.has_output:
        raise BaseError(
            f"The classifier {lm.base.name} has other labels ({', '.join(lm.trained_labels)}) and can't "
            "predict words, from which a new head would start. Give the base it was trained from."
        )
    output = lm.model.get_output_embeddings().weight.detach()
    backend = lm.tokenizer.backend_tokenizer
    ids = [[number for _, number in continuing_tokens(backend, f" {word}")] for word in words]
    return torch.stack([output[tokens].mean(0) for tokens in ids])


def kept_head(lm: LanguageModel, labels: Sequence[str]) -> Tensor | None:
    """Return the head of a base that is a classifier of these labels, in this order of them, else None."""
    if lm.trained_head is None or sorted(lm.trained_labels) != sorted(labels):
        return None
    return lm.trained_head[[lm.trained_labels.index(label) for label in labels]]


def words_for(recipe: Recipe, labels: Sequence[str]) -> tuple[str, ...]:
    """Return the words that stand for the labels: the recipe's, or the labels' names. Raises RecipeError."""
    words = recipe.label_words or label_words(labels)
    if len(words) != len(labels):
        raise RecipeError(
            f"label_words has {len(words)} words for {len(labels)} labels ({', '.join(labels)})."
        )
    if recipe.label_words and len({*words}) < len(words):
        raise RecipeError(f"label_words has a word twice ({', '.join(words)}). Give each label its own.")
    return words


def calibrated_head(states: Tensor, rows: Tensor) -> Tensor:
    """Return head weights (labels, hidden) that give all labels the same mean probability over some texts.

    `states`: final states of unlabelled texts, shape (texts, hidden); `rows`: from `word_rows`. The offset of
    each label is folded in along the direction u for which u·state is 1, found by ridge regression.
    """
    logits = states @ rows.T
    offset = torch.zeros(len(rows))
    for _ in range(200):
        share = torch.softmax(logits + offset, dim=-1).mean(0)
        offset = offset - 0.5 * (share.clamp(min=1e-30) * len(rows)).log()
    gram = states.T @ states / len(states)
    ridge = 1e-4 * gram.diagonal().mean() * torch.eye(gram.shape[0])
    direction: Tensor = torch.linalg.solve(gram + ridge, states.mean(0))
    return rows + offset[:, None] * direction[None, :]


def final_states(
    classifier: PreTrainedModel, batches: Iterable[dict[str, Tensor]], *, precision: Precision = FLOAT32
) -> Tensor:
    """Return the final state of each text, the head's input, in float32, shape (texts, hidden)."""
    with headless(classifier), torch.no_grad(), precision.on(classifier):
        found = [
            classifier(
                **{key: value for key, value in batch.items() if key not in ("labels", "targets")}
            ).logits
            for batch in batches
        ]
    return torch.cat(found).float()


def add_lora(classifier: PreTrainedModel, recipe: Recipe, trunk: int) -> PeftModel:
    """Return the classifier with adapters on the layers above the trunk; the head is trained too."""
    family = classifier.config.model_type
    upper = list(range(trunk, classifier.config.num_hidden_layers))
    return get_peft_model(
        classifier,
        LoraConfig(
            task_type="SEQ_CLS",
            r=recipe.lora_r,
            lora_alpha=recipe.lora_alpha,
            lora_dropout=recipe.lora_dropout,
            target_modules=LORA_TARGETS.get(family, "all-linear"),
            layers_to_transform=upper if family in LORA_TARGETS else None,
            fan_in_fan_out=family
            == "gpt2",  # GPT-2's Conv1D stores weights as (in, out), the transpose of Linear
        ),
    )


def freeze_trunk(classifier: PreTrainedModel, trunk: int) -> None:
    """Train only what is above the trunk; with a trunk of 0, everything."""
    if trunk:
        for parameter in backbone_of(classifier).parameters():
            parameter.requires_grad = False
        norm = FAMILIES[classifier.config.model_type].final_norm
        above = [layers_of(classifier)[trunk:], getattr(backbone_of(classifier), norm)]
        for module in above:
            for parameter in module.parameters():
                parameter.requires_grad = True


def save_base_head(rows: Tensor, artifact: Path) -> None:
    """Keep the base's calibrated zero-shot head in an artifact."""
    save_file({"score.weight": rows.contiguous()}, artifact / BASE_HEAD)


def load_base_classifier(artifact: Path, *, base: Base | None = None, precision: str = "auto") -> Classifier:
    """Return the untouched base of an artifact as a calibrated zero-shot classifier.

    `base`: the base, where the caller has found it already. `precision`: see `choose_precision`. Raises
    BaseError when the base can't be loaded, ArtifactError when the artifact does not say which it is.
    """
    record = read_record(artifact, PROVENANCE)
    if not record or not (artifact / BASE_HEAD).is_file():
        raise ArtifactError(
            f"{artifact} does not say which base it came from: there is nothing to compare with."
        )
    base = base or base_of(record["base"])
    lm = load_language_model(base)
    limit = record["recipe"]["max_length"]
    tokenizer = prompted_tokenizer(lm, Prompt(**record["base_prompt"]), max_length=limit)
    model = build_classifier(lm, tuple(record["labels"]), tokenizer)
    with torch.no_grad():
        model.score.weight.copy_(load_file(artifact / BASE_HEAD)["score.weight"])
    if torch.cuda.is_available():
        model = model.to("cuda")
    return torch_classifier(model, tokenizer, name_or_path=base.name, precision=precision)


def torch_classifier(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    *,
    name_or_path: str,
    precision: str = "float32",
) -> Classifier:
    """Return a Classifier of a Transformers model in memory and its fast tokenizer."""
    return Classifier(
        TorchEngine(model, reason="It is in memory.", precision=precision),
        tokenizer.backend_tokenizer,
        labels=labels_of(model.config),
        max_length=int(min(tokenizer.model_max_length, model.config.max_position_embeddings)),
        pad_id=model.config.pad_token_id,
        name_or_path=name_or_path,
    )


def base_of(record: dict[str, str]) -> Base:
    """Find the base that an artifact names: never another one, even where "auto" would choose anew."""
    if record["name"] == EMBEDDED_NAME and record["wanted"] in ("auto", EMBEDDED):
        return resolve_base(EMBEDDED)
    return resolve_base(record["name"] if record["wanted"] == "auto" else record["wanted"])
