"""Split a causal classifier into a frozen trunk (lower layers) and a top (the rest), for GPT-2 and Llama.

    states = trunk_batch(model, token_ids, 20)       # each (tokens, hidden), float32
    with trunk_skipped(model, 20):
        logits = top_logits(model, states)

The states of a text leave the trunk once and can then pass through any number of tops: all epochs of a
training, or base and fine-tuned side by side. States are padded on the *left*, so that the classifier's own
pooling (the last position, when it is given states instead of token ids) is right; rotary positions are
relative, and GPT-2 adds its positions inside the trunk, so nothing in the top depends on the shift.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Family:
    """Where a family of models keeps its parts: attribute names on its backbone."""

    layers: str
    final_norm: str
    after_embedding: tuple[str, ...]
    """Modules between the token embedding and the first layer: they belong to the trunk."""


FAMILIES = {
    "gpt2": Family(layers="h", final_norm="ln_f", after_embedding=("wpe", "drop")),
    "llama": Family(layers="layers", final_norm="norm", after_embedding=()),
}


class _SkippedLayer(nn.Module):
    """Stands where a trunk layer stood: hands its input on."""

    def forward(self, hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor:
        return hidden_states


class _NoPositions(nn.Module):
    """Stands where GPT-2's position embedding stood: the trunk has added it already."""

    def forward(self, position_ids: Tensor) -> Tensor:
        return torch.zeros(())


def backbone_of(model: "PreTrainedModel") -> "PreTrainedModel":
    """Return the model below the classification head; a PEFT model is looked through."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return getattr(inner, inner.base_model_prefix)


def layers_of(model: "PreTrainedModel") -> nn.ModuleList:
    """Return the list of layers of a classifier of a known family."""
    layers: nn.ModuleList = getattr(backbone_of(model), FAMILIES[model.config.model_type].layers)
    return layers


def _last_position(mlp: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """Hand on the last position, shape (batch, 1, hidden): added to the residual, it is right there."""
    return (inputs[0][:, -1:],)


@contextmanager
def trunk_skipped(model: "PreTrainedModel", layers: int) -> Iterator[None]:
    """Within it, `model(inputs_embeds=states)` computes the top alone; parameter names stay as they were."""
    family, backbone, stack = FAMILIES[model.config.model_type], backbone_of(model), layers_of(model)
    kept = [stack[i] for i in range(layers)]
    kept_modules = {name: getattr(backbone, name) for name in family.after_embedding}
    for i in range(layers):
        stack[i] = _SkippedLayer()
    for name in family.after_embedding:
        setattr(backbone, name, _NoPositions() if name == "wpe" else nn.Identity())
    hook = None
    if layers < len(stack):  # the classifier reads the last position alone: the last MLP sees no other
        hook = stack[-1].get_submodule("mlp").register_forward_pre_hook(_last_position)
    try:
        yield
    finally:
        if hook:
            hook.remove()
        for i, layer in enumerate(kept):
            stack[i] = layer
        for name, module in kept_modules.items():
            setattr(backbone, name, module)


@contextmanager
def headless(model: "PreTrainedModel") -> Iterator[None]:
    """Within it, a classifier returns what its head would be given."""
    head, model.score = model.score, nn.Identity()
    try:
        yield
    finally:
        model.score = head


@contextmanager
def _top_removed(model: "PreTrainedModel", layers: int) -> Iterator[None]:
    """Within it, the backbone ends after its trunk and leaves out the final norm."""
    family, backbone, stack = FAMILIES[model.config.model_type], backbone_of(model), layers_of(model)
    norm = getattr(backbone, family.final_norm)
    setattr(backbone, family.layers, nn.ModuleList(list(stack)[:layers]))
    setattr(backbone, family.final_norm, nn.Identity())
    try:
        yield
    finally:
        setattr(backbone, family.layers, stack)
        setattr(backbone, family.final_norm, norm)


@torch.no_grad()
def trunk_batch(model: "PreTrainedModel", token_ids: Sequence[Sequence[int]], layers: int) -> list[Tensor]:
    """Return for one batch of texts the states that leave layer `layers`, each of shape (tokens, hidden)."""
    batch = pad_ids(token_ids, model.config.pad_token_id)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with _top_removed(model, layers):
        states = backbone_of(model)(**{k: v.to(device) for k, v in batch.items()}, use_cache=False)
    model.train(was_training)
    return [row[: len(ids)] for row, ids in zip(states.last_hidden_state, token_ids, strict=True)]


def pad_ids(token_ids: Sequence[Sequence[int]], pad_id: int, *, pad_to: int = 0) -> dict[str, Tensor]:
    """Return right-padded `input_ids` and `attention_mask` of shape (batch, longest or `pad_to`)."""
    longest = max(pad_to, *(len(ids) for ids in token_ids))
    input_ids = torch.full((len(token_ids), longest), pad_id)
    mask = torch.zeros((len(token_ids), longest), dtype=torch.long)
    for row, ids in enumerate(token_ids):
        input_ids[row, : len(ids)] = torch.as_tensor(ids)
        mask[row, : len(ids)] = 1
    return {"input_ids": input_ids, "attention_mask": mask}


def pad_states(states: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return left-padded `inputs_embeds` (batch, longest, hidden) and `attention_mask` (batch, longest)."""
    longest = max(len(state) for state in states)
    padded = states[0].new_zeros((len(states), longest, states[0].shape[-1]))
    mask = torch.zeros((len(states), longest), dtype=torch.long, device=padded.device)
    for row, state in enumerate(states):
        padded[row, longest - len(state) :] = state
        mask[row, longest - len(state) :] = 1
    return {"inputs_embeds": padded, "attention_mask": mask}


def top_logits(model: "PreTrainedModel", states: Sequence[Tensor]) -> Tensor:
    """Return the logits (batch, labels) of trunk states; call it within `trunk_skipped`."""
    with torch.no_grad():
        logits: Tensor = model(**pad_states(states), use_cache=False).logits
    return logits


def same_leading_layers(one: "PreTrainedModel", other: "PreTrainedModel") -> int:
    """Return how many leading layers (embedding included) two classifiers have in common, to the bit."""
    if one.config.model_type not in FAMILIES or one.config.model_type != other.config.model_type:
        return 0
    family = FAMILIES[one.config.model_type]
    embeddings = [backbone_of(m).get_input_embeddings() for m in (one, other)]
    before = [(getattr(backbone_of(one), n), getattr(backbone_of(other), n)) for n in family.after_embedding]
    if not _equal(*embeddings) or not all(_equal(a, b) for a, b in before):
        return 0
    count = 0
    for mine, theirs in zip(layers_of(one), layers_of(other), strict=False):
        if not _equal(mine, theirs):
            break
        count += 1
    return count


def share_leading_layers(one: "PreTrainedModel", other: "PreTrainedModel", layers: int) -> None:
    """Let `other` use the embedding and leading layers of `one`: they are equal, and memory is saved."""
    mine, theirs = layers_of(one), layers_of(other)
    for row in range(layers):
        theirs[row] = mine[row]
    backbone_of(other).set_input_embeddings(backbone_of(one).get_input_embeddings())


def _equal(one: nn.Module, other: nn.Module) -> bool:
    if one is other:
        return True
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)
