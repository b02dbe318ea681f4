"""Choose the engine of an artifact, and import no other one's library.

    engine = load_engine(Path("runs/demo/artifact"), "auto")
    engine.name, engine.reason       # "onnx-int8", "int8 gives the same label on 99.6 % of 500 ..."
    engine.logits(token_ids)         # (texts, labels)

"torch" computes in the precision that is faster on this machine, "torch-float32" and "torch-bfloat16" in
theirs. "auto" takes PyTorch if there is a GPU or nothing was exported, and else what passed the parity gate.
"""

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inference.artifact import ONNX_FOLDER, PARITY
from inference.common.errors import ArtifactError


class Engine(Protocol):
    """Computes logits, from any thread."""

    name: str
    """"torch", "onnx" or "onnx-int8"."""
    reason: str
    """Why it was chosen, in one sentence."""
    batch_tokens: int
    """How many tokens a batch should have at most."""

    def logits(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return logits of shape (texts, labels) for one batch of texts, none of which is empty."""
        ...


def _torch(path: Path, reason: str = "It was asked for.", precision: str = "auto") -> Engine:
    try:
        from inference.engine.pytorch import load
    except ModuleNotFoundError as error:
        raise ArtifactError(
            f"PyTorch can't be imported ({error}), and the model was not exported. "
            "Export it where PyTorch is: `python -m inference export MODEL`."
        ) from error
    return load(path, reason=reason, precision=precision)


def _onnx(path: Path) -> Engine:
    from inference.engine.onnx import load

    return load(path)


def _auto(path: Path) -> Engine:
    if Path("/dev/nvidia0").exists() or Path("/dev/kfd").exists():
        with contextlib.suppress(ModuleNotFoundError):  # an image without PyTorch, on a machine with a GPU
            from inference.engine.pytorch import has_gpu, load

            if has_gpu():
                return load(path, reason="A GPU is there.")
    if (path / ONNX_FOLDER / PARITY).is_file():
        return _onnx(path)
    return _torch(
        path, "The model was not exported: `python -m inference export` makes it several times faster."
    )


ENGINES: dict[str, Callable[[Path], Engine]] = {
    "auto": _auto,
    "torch": _torch,
    "torch-float32": partial(_torch, precision="float32"),
    "torch-bfloat16": partial(_torch, precision="bfloat16"),
    "onnx": _onnx,
}


def load_engine(path: Path, name: str) -> Engine:
    """Return the engine of an artifact. Raises ArtifactError when there is none or it can't be loaded."""
    if name not in ENGINES:
        raise ArtifactError(f"There is no engine {name!r}. Choose one of: {', '.join(ENGINES)}.")
    return ENGINES[name](path)
