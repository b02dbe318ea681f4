"""Move the spread of activations into the weights before they are quantised; the network computes the same.

    smooth(weights, prefix_values, largest_inputs(model, batches, skip=len(prefix.token_ids)))

Where a projection's input has a few large channels, one scale for a token leaves little precision to the
others. Each channel is divided by a factor in the norm or projection before it and multiplied in the
projection behind it: SmoothQuant, Xiao et al. 2023, arXiv 2211.10438. GPT-2's MLP has a curved function in
between, so there the channels stay as they are.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from inference.export.weights import Array, Layer, Weights
from inference.trunk import layers_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ALPHA = 0.65  # share of the spread that moves; see benchmarks/LOG.md
_INPUTS = {
    "llama": ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj"),
    "gpt2": ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"),
}


@torch.no_grad()
def largest_inputs(
    model: "PreTrainedModel", batches: Iterable[dict[str, Tensor]], *, skip: int
) -> list[list[Array]]:
    """Return for each layer the largest magnitude in each input channel of its four kinds of projection.

    The first `skip` positions, the prompt's prefix, don't count: they are computed once, in float32.
    """
    names = _INPUTS[model.config.model_type]
    modules = [layer.get_submodule(name) for layer in layers_of(model) for name in names]
    largest: dict[int, Tensor] = {}

    def recording_hook(place: int, mask: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            found = inputs[0][:, skip:][mask].abs().amax(0)
            largest[place] = torch.maximum(largest[place], found) if place in largest else found

        return hook

    for batch in batches:
        mask = batch["attention_mask"][:, skip:].bool()
        hooks = [
            module.register_forward_pre_hook(recording_hook(i, mask)) for i, module in enumerate(modules)
        ]
        try:
            model(**batch, use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
    found = [largest[i].cpu().numpy() for i in range(len(modules))]
    return [found[i : i + len(names)] for i in range(0, len(found), len(names))]


def smooth(weights: Weights, values: list[Array], largest: list[list[Array]]) -> None:
    """Change weights and the prefix's values, (heads, tokens, head size) a layer, in place."""
    for number, (layer, (attention, output, up, down)) in enumerate(
        zip(weights.layers, largest, strict=True)
    ):
        _smooth_norms(layer, attention, up)
        factors = _smooth_value(weights, layer, output)
        if values:  # there is a prefix
            values[number] /= factors.reshape(weights.kv_heads, 1, weights.head_size)
        if weights.gated:
            factors = _factors(down, layer.down.weight)
            layer.up.weight[:, -len(factors) :] /= factors
            layer.down.weight *= factors[:, None]


def _smooth_norms(layer: Layer, attention: Array, up: Array) -> None:
    both = np.concatenate([layer.query_key.weight, layer.value.weight], axis=1)
    for norm, largest, readers, weight in (
        (layer.before_attention, attention, (layer.query_key, layer.value), both),
        (layer.before_mlp, up, (layer.up,), layer.up.weight),
    ):
        factors = _factors(largest, weight)
        norm.gain = norm.gain / factors
        if norm.bias is not None:
            norm.bias = norm.bias / factors
        for reader in readers:
            reader.weight = reader.weight * factors[:, None]


def _smooth_value(weights: Weights, layer: Layer, largest: Array) -> Array:
    """Return the value channels' factors; query heads of a group share a value head, and so its factors."""
    size, group = weights.head_size, weights.heads // weights.kv_heads

    def grouped(channels: Array) -> Array:
        shared: Array = channels.reshape(weights.kv_heads, group, size).max(axis=1).reshape(-1)
        return shared

    weight_largest = grouped(np.abs(layer.output.weight).max(axis=1))
    factors = _ratio(grouped(largest), weight_largest)
    spread = np.repeat(factors.reshape(weights.kv_heads, 1, size), group, axis=1).reshape(-1)
    layer.value.weight = layer.value.weight / factors
    if layer.value.bias is not None:
        layer.value.bias = layer.value.bias / factors
    layer.output.weight = layer.output.weight * spread[:, None]
    return factors


def _factors(largest: Array, weight: Array) -> Array:
    return _ratio(largest, np.abs(weight).max(axis=1))


def _ratio(activations: Array, weights: Array) -> Array:
    """Return the factors, (channels,); both are the largest magnitudes of a channel."""
    spread = np.maximum(activations, 1e-5) ** ALPHA
    ratio: Array = (spread / np.maximum(weights, 1e-5) ** (1 - ALPHA)).astype(np.float32)
    return ratio
