"""The engine that runs a plain Transformers folder in PyTorch: the reference of all others.

engine = load(Path("runs/demo/artifact"), reason="It was asked for.")
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification
from transformers.utils import logging as transformers_logging

from inference.common.errors import ArtifactError
from inference.common.machine import cores, is_zero_gpu
from inference.engine.precision import choose_precision
from inference.trunk import pad_ids

if TYPE_CHECKING:
    from transformers import PreTrainedModel

UNLOADABLE = (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError, StrictDataclassError)
"""What Transformers raises for a folder whose files it can't use."""


class TorchEngine:
    """A sequence classifier in evaluation mode, on the CPU or the GPU that it is on."""

    name = "torch"
    batch_tokens = 1024

    def __init__(self, model: "PreTrainedModel", *, reason: str, precision: str = "float32") -> None:
        """Take a model. `precision`: "auto", "float32" or "bfloat16"; see `choose_precision`."""
        self.model = model.eval()
        device, hidden = model.device.type, int(model.config.hidden_size)
        self.precision = choose_precision(precision, hidden=hidden, tokens=self.batch_tokens, device=device)
        self.reason = reason
        if self.precision.name != "float32":
            self.reason += f" Computed in {self.precision.name}: {self.precision.reason}"

    def logits(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return logits of shape (texts, labels) for one batch of texts, none of which is empty."""
        batch = pad_ids(token_ids, self.model.config.pad_token_id)
        with torch.inference_mode(), self.precision.on(self.model):
            logits = self.model(
                **{k: v.to(self.model.device) for k, v in batch.items()}, use_cache=False
            ).logits
        answer: NDArray[np.float32] = logits.float().cpu().numpy()
        return answer


def has_gpu() -> bool:
    """Return whether PyTorch can use a GPU at any time."""
    return not is_zero_gpu() and torch.cuda.is_available()


def load(path: Path, *, reason: str, precision: str = "auto") -> TorchEngine:
    """Load an artifact, its weights in float32. Raises ArtifactError when they can't be read.

    `precision`: "auto", "float32" or "bfloat16"; see `choose_precision`.
    """
    if torch.get_num_threads() > cores():  # torch counts the host's cores, a container may use fewer
        torch.set_num_threads(cores())
    with quiet_loading():
        try:
            model = AutoModelForSequenceClassification.from_pretrained(
                path,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                disable_mmap=True,  # a mapped file that is written over ends the process by SIGBUS
            )
        except UNLOADABLE as error:
            raise ArtifactError(
                f"{path} can't be loaded as a classifier ({' '.join(str(error).split())[:200]}). "
                "Give the folder of a finished run, runs/NAME/artifact, or the id of a Hub repository."
            ) from error
    return TorchEngine(model.to("cuda") if has_gpu() else model, reason=reason, precision=precision)


class quiet_loading:  # noqa: N801  (a context manager, named as one reads it)
    """Within it, Transformers keeps its progress bars and its remarks on newly made heads to itself."""

    def __enter__(self) -> None:
        self._level = transformers_logging.get_verbosity()
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()

    def __exit__(self, *exc: object) -> None:
        transformers_logging.set_verbosity(self._level)
        transformers_logging.enable_progress_bar()
