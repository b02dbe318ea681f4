"""The weights of a classifier of GPT-2's or Llama's family, in one form for both.

    weights = read_weights(model)         # a Transformers sequence classifier in float32
    weights.layers[0].down.weight.shape   # (in, out)

The query, key and value projections stand side by side, as do Llama's gate and up projections; a projection's
weight is (in, out).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from inference.common.errors import ArtifactError

if TYPE_CHECKING:
    from transformers import GPT2ForSequenceClassification, LlamaForSequenceClassification, PreTrainedModel
    from transformers.models.llama.modeling_llama import LlamaRMSNorm
    from transformers.pytorch_utils import Conv1D

Array = NDArray[np.float32]


@dataclass
class Linear:
    """y = x · weight + bias."""

    weight: Array
    bias: Array | None = None


@dataclass
class Norm:
    """A layer norm, or, without a bias, a root-mean-square norm."""

    gain: Array
    bias: Array | None
    epsilon: float


@dataclass
class Layer:
    """One layer."""

    before_attention: Norm
    query_key: Linear
    value: Linear
    output: Linear
    before_mlp: Norm
    up: Linear
    """Llama: gate and up side by side."""
    down: Linear


@dataclass
class Weights:
    """A classifier."""

    embedding: Array
    positions: Array | None
    """GPT-2's, (positions, hidden)."""
    rotary: tuple[Array, Array] | None
    """Llama's cosines and sines, each (positions, head size / 2)."""
    layers: list[Layer]
    final_norm: Norm
    head: Array
    """(hidden, labels)."""
    heads: int
    kv_heads: int

    @property
    def head_size(self) -> int:
        return int(self.layers[0].output.weight.shape[0]) // self.heads

    @property
    def gated(self) -> bool:
        """Whether the MLP has a gate, as Llama's has."""
        return self.rotary is not None


def read_weights(model: "PreTrainedModel") -> Weights:
    """Return the weights of a classifier. Raises ArtifactError for another family or an unknown variant."""
    readers = {"gpt2": _gpt2, "llama": _llama}
    kind = model.config.model_type
    if kind not in readers:
        raise ArtifactError(
            f"ONNX export knows GPT-2's and Llama's families, not {kind}. Serve it with --engine torch."
        )
    return readers[kind](model)


def _array(tensor: torch.Tensor) -> Array:
    array: Array = tensor.detach().to("cpu", torch.float32).numpy()
    return array


def _joined(*modules: nn.Linear) -> Linear:
    """Return nn.Linear modules side by side."""
    weight = np.concatenate([_array(module.weight).T for module in modules], axis=1)
    if modules[0].bias is None:
        return Linear(weight)
    return Linear(weight, np.concatenate([_array(module.bias) for module in modules]))


def _llama(model: "LlamaForSequenceClassification") -> Weights:
    config, body = model.config, model.model
    _known(config.hidden_act == "silu", "hidden_act", config.hidden_act)
    positions = torch.arange(config.max_position_embeddings)[None]
    cosines, sines = body.rotary_emb(torch.zeros(1), positions)
    half = cosines.shape[-1] // 2
    layers = [
        Layer(
            before_attention=_rms(layer.input_layernorm),
            query_key=_joined(layer.self_attn.q_proj, layer.self_attn.k_proj),
            value=_joined(layer.self_attn.v_proj),
            output=_joined(layer.self_attn.o_proj),
            before_mlp=_rms(layer.post_attention_layernorm),
            up=_joined(layer.mlp.gate_proj, layer.mlp.up_proj),
            down=_joined(layer.mlp.down_proj),
        )
        for layer in body.layers
    ]
    return Weights(
        embedding=_array(body.embed_tokens.weight),
        positions=None,
        rotary=(_array(cosines[0, :, :half]), _array(sines[0, :, :half])),
        layers=layers,
        final_norm=_rms(body.norm),
        head=_array(model.score.weight).T,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
    )


def _rms(norm: "LlamaRMSNorm") -> Norm:
    return Norm(_array(norm.weight), None, norm.variance_epsilon)


def _gpt2(model: "GPT2ForSequenceClassification") -> Weights:
    config, body = model.config, model.transformer
    _known(config.activation_function == "gelu_new", "activation_function", config.activation_function)
    plain = config.scale_attn_weights and not config.scale_attn_by_inverse_layer_idx
    _known(plain, "attention scale", "not 1/√d")
    wide = 2 * config.hidden_size

    def projection(module: "Conv1D") -> Linear:
        bias = None if module.bias is None else _array(module.bias)
        return Linear(_array(module.weight), bias)  # Conv1D stores (in, out)

    def layer_norm(norm: nn.LayerNorm) -> Norm:
        return Norm(_array(norm.weight), _array(norm.bias), norm.eps)

    layers = []
    for layer in body.h:
        joined = projection(layer.attn.c_attn)
        assert joined.bias is not None  # Conv1D always has one
        layers.append(
            Layer(
                before_attention=layer_norm(layer.ln_1),
                query_key=Linear(joined.weight[:, :wide], joined.bias[:wide]),
                value=Linear(joined.weight[:, wide:], joined.bias[wide:]),
                output=projection(layer.attn.c_proj),
                before_mlp=layer_norm(layer.ln_2),
                up=projection(layer.mlp.c_fc),
                down=projection(layer.mlp.c_proj),
            )
        )
    return Weights(
        embedding=_array(body.wte.weight),
        positions=_array(body.wpe.weight),
        rotary=None,
        layers=layers,
        final_norm=layer_norm(body.ln_f),
        head=_array(model.score.weight).T,
        heads=config.num_attention_heads,
        kv_heads=config.num_attention_heads,
    )


def _known(is_known: bool, setting: str, found: object) -> None:
    if not is_known:
        raise ArtifactError(
            f"ONNX export does not know this model's {setting} ({found}). Serve it with --engine torch."
        )
