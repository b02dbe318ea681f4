"""Attention over a prefix that a batch of texts shares, whose keys and values are never copied.

    share_prefixes(model)               # -> True: it attends as before, and can share
    model(input_ids=own, position_ids=places, shared=pairs)

`pairs` has the keys and values of the prefix in each layer, shape (1, heads, tokens, size); `places` go on
from its end.

The queries of all texts attend to the prefix as if they were one text's, with the heads that share keys
together; each text attends to its own tokens; and the two results are combined by the sums of their
softmaxes, as FlashAttention combines blocks (Dao et al. 2022, arXiv 2205.14135). This is in float32, whatever
the network's precision: on a CPU that is also faster here.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from inference.trunk import FAMILIES

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NAME = "shared_prefix"
_FUSED: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
    "cpu": torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
}
"""PyTorch's attention that also returns the sums of its softmaxes, by device; elsewhere it is spelt out."""
_MASKED = -1e9  # not minus infinity: all own tokens of a pad are masked, and their mean must be a number


def share_prefixes(model: "PreTrainedModel") -> bool:
    """Let a model be called with the keys and values of a prefix, in float32: `shared`, a pair a layer.

    False for other families than GPT-2's and Llama's, which may see only some of the tokens before them.
    """
    if model.config.model_type not in FAMILIES:
        return False
    AttentionInterface.register(_NAME, _attend)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    model.set_attn_implementation(_NAME)
    return True


def _attend(
    module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, **given: Any
) -> tuple[Tensor, None]:
    """Attend from queries, shape (texts, heads, tokens, size), to own keys of as many or fewer heads."""
    shared, scale = given.pop("shared", None), given["scaling"]
    if shared is None:
        found: tuple[Tensor, None] = ALL_ATTENTION_FUNCTIONS["sdpa"](module, q, k, v, mask, **given)
        return found
    (texts, _, asked, size), (_, heads, own, _) = q.shape, k.shape
    if mask is None:  # no text has a pad
        mask = q.new_ones(asked, own, dtype=torch.bool).tril(own - asked)[None, None]
    bias = mask.new_zeros(mask.shape, dtype=torch.float32).masked_fill(~mask, _MASKED)
    with torch.autocast(q.device.type, enabled=False):
        each = q.float().reshape(texts, heads, -1, size)  # the heads of one key lie side by side
        every = each.transpose(0, 1).reshape(1, heads, -1, size)
        keys, values = shared[module.layer_idx]
        before, before_sum = _weighed(every, keys, values, scale)
        then, then_sum = _weighed(
            each, k.float(), v.float(), scale, bias.repeat(1, 1, each.shape[2] // asked, 1)
        )
        before = before.reshape(heads, texts, -1, size).transpose(0, 1)
        before_sum = before_sum.reshape(heads, texts, -1).transpose(0, 1)
        mixed = then.lerp(before, (before_sum - then_sum).sigmoid()[..., None])
    return mixed.reshape(texts, -1, asked, size).transpose(1, 2).to(q.dtype), None


def _weighed(
    q: Tensor, k: Tensor, v: Tensor, scale: float, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the means of the values by the softmaxes of the scores, and the logarithms of their sums."""
    if fused := _FUSED.get(q.device.type):
        return fused(q, k, v, attn_mask=bias, scale=scale)
    scores = scale * q @ k.transpose(2, 3)
    scores = scores if bias is None else scores + bias
    total = scores.logsumexp(-1)
    return (scores - total[..., None]).exp() @ v, total
