"""Noise on cached trunk states while the top is trained: a regulariser for few labels.

    with noisy_states(model, 1.6):
        fit(model, rows, …)

The trunk gives every epoch the very same states, and a top that sees a thousand texts again and again learns
them by heart. Uniform noise, as a share of each token's own mean magnitude, is drawn anew in each step. The
idea is NEFTune's (Jain et al. 2023, arXiv 2310.05914), which adds it to the embeddings; here it enters above
the trunk. In evaluation mode nothing is added. Knows nothing about the Trainer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from inference.trunk import backbone_of


@contextmanager
def noisy_states(model: Any, share: float) -> Iterator[None]:
    """Within it, a model that trains on trunk states (`inputs_embeds`) sees them with noise of that share."""

    def add(
        backbone: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]] | None:
        states: Tensor | None = kwargs.get("inputs_embeds")
        if states is None or not backbone.training:
            return None
        reach = share * states.abs().mean(-1, keepdim=True)  # a pad is all zeros, and stays so
        return args, {**kwargs, "inputs_embeds": states + (2 * torch.rand_like(states) - 1) * reach}

    hook = backbone_of(model).register_forward_pre_hook(add, with_kwargs=True) if share else None
    try:
        yield
    finally:
        if hook:
            hook.remove()
