"""What computes a classifier's logits: PyTorch, or ONNX Runtime in float32 or int8.

    engine = load_engine(Path("runs/demo/artifact"), "auto")
    engine.name, engine.reason       # "onnx-int8", "int8 gives the same label on 99.6 % of 500 ..."
    engine.logits(token_ids)         # (texts, labels)

"auto" takes the fastest one that passed the artifact's parity gate, and PyTorch where nothing was exported
or a GPU is there. Knows nothing about texts.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

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


def _torch(path: Path, reason: str = "It was asked for.") -> Engine:
    engine: Engine = _pytorch().load(path, reason=reason)
    return engine


def _onnx(path: Path) -> Engine:
    engine: Engine = import_module("inference.engine.onnx").load(path)
    return engine


def _auto(path: Path) -> Engine:
    """Prefer what passed the gate; importing neither library before it is chosen."""
    if _has_gpu() and _pytorch().has_gpu():
        return _torch(path, "A GPU is there.")
    if (path / ONNX_FOLDER / PARITY).is_file():
        return _onnx(path)
    return _torch(
        path, "The model was not exported: `python -m inference export` makes it several times faster."
    )


def _pytorch() -> Any:
    try:
        return import_module("inference.engine.pytorch")
    except ModuleNotFoundError as error:
        raise ArtifactError(
            f"PyTorch can't be imported ({error}), and the model was not exported. "
            "Export it where PyTorch is: `python -m inference export MODEL`."
        ) from error


def _has_gpu() -> bool:
    return Path("/dev/nvidia0").exists() or Path("/dev/kfd").exists()


ENGINES: dict[str, Callable[[Path], Engine]] = {"auto": _auto, "torch": _torch, "onnx": _onnx}


def load_engine(path: Path, wanted: str) -> Engine:
    """Return the engine of an artifact. Raises ArtifactError when there is none or it can't be loaded."""
    if wanted not in ENGINES:
        raise ArtifactError(f"There is no engine {wanted!r}. Choose one of: {', '.join(ENGINES)}.")
    return ENGINES[wanted](path)
