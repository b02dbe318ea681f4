"""Is there room for a run? Memory and disk are looked at before it starts, so that it is refused, not killed.

    check_room(run.recipe, run.path)      # raises NotEnoughRoom; -> a sentence when something is not known

What is asked for is a floor: what such a run needs at the least, counted from the base's parameters. So a
refusal is right, and a run that passes may still be too big: long texts and large batches come on
top. Knows nothing about data.
"""

import json
import os
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from inference.common.errors import RunError
from inference.common.wording import size
from training.recipes import Recipe

PARAMETERS = {
    "auto": 124_000_000,
    "embedded": 135_000_000,
    "openai-community/gpt2": 124_000_000,
    "gpt2": 124_000_000,
    "distilbert/distilgpt2": 82_000_000,
    "openai-community/gpt2-medium": 355_000_000,
    "openai-community/gpt2-large": 774_000_000,
    "openai-community/gpt2-xl": 1_558_000_000,
}
"""Parameters of the bases that are known without a look."""
PROCESS_BYTES = 600_000_000
"""A training process with its libraries, before any model. Measured: 0.6 GB."""
RESERVE_BYTES = 200_000_000
"""Disk that stays free: for logs, for the caches of others."""
_HEADER_MOST = 100_000_000
_LOOK_S = 3.0
_GROUP = Path("/sys/fs/cgroup")


class NotEnoughRoom(RunError):  # noqa: N818
    """The memory or the disk can't hold a run."""


@dataclass(frozen=True)
class Need:
    """What a run needs at the least."""

    memory_bytes: int
    disk_bytes: int


def free_memory_bytes(*, group: Path = _GROUP) -> int:
    """Return the memory that the machine and the control group's limit leave; file caches count as free."""
    free = int(psutil.virtual_memory().available)
    try:
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
        stat = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):  # no control group, or "max"
        return free
    return max(0, min(free, limit - used + int(stat.get("inactive_file", 0))))


def check_room(
    recipe: Recipe,
    folder: Path,
    *,
    free_memory: Callable[[], int] = free_memory_bytes,
    free_disk: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    on_gpu: bool | None = None,
) -> str:
    """Return "" when a run fits, or a sentence saying that its base's size is not known.

    Raises NotEnoughRoom when it can't fit.
    """
    parameters = parameters_of(recipe.base)
    if parameters is None:
        return f"Memory and disk were not checked: the size of the base {recipe.base} is not known before."
    need = need_of(recipe, parameters, on_gpu=_has_gpu() if on_gpu is None else on_gpu)
    memory, disk = free_memory(), free_disk(folder) - RESERVE_BYTES
    if need.memory_bytes > memory:
        smaller = "method = lora, or a smaller base" if recipe.method == "full" else "a smaller base"
        raise NotEnoughRoom(
            f"The run needs at least {size(need.memory_bytes)} of memory and {size(memory)} is free. "
            f"Take {smaller}, or free memory first."
        )
    if need.disk_bytes > disk:
        raise NotEnoughRoom(
            f"The run needs at least {size(need.disk_bytes)} on the disk of the runs and "
            f"{size(max(disk, 0))} is free. Delete old runs there, or set TWEETTUNE_HOME to a larger disk."
        )
    return ""


def need_of(recipe: Recipe, parameters: int, *, on_gpu: bool = False) -> Need:
    """Return what a run needs at the least, of a base with so many parameters (in float32)."""
    weights = 4 * parameters
    full = recipe.method == "full"
    memory = PROCESS_BYTES + 2 * weights  # the network, and a copy while it is written or compared
    disk = weights
    if full:
        if not on_gpu:
            memory += 2 * weights  # gradients, AdamW's two moments: four times the weights in all
        disk += 2 * 3 * weights  # two checkpoints: weights and moments
    if recipe.onnx:
        disk += weights + parameters  # float32 and int8
    return Need(memory, disk)


def parameters_of(base: str) -> int | None:
    """Return how many parameters a base has, None when that can't be known without fetching it."""
    if base in PARAMETERS:
        return PARAMETERS[base]
    folder = Path(base)
    if folder.is_dir():
        return sum(_elements(path) for path in folder.glob("*.safetensors")) or None
    return _on_hub(base)


def _elements(path: Path) -> int:
    """Return the number of elements of a safetensors file, from its header; 0 for what is none."""
    try:
        with path.open("rb") as file:
            size = struct.unpack("<Q", file.read(8))[0]
            header = json.loads(file.read(size)) if size < _HEADER_MOST else {}
        total = 0
        for name, tensor in header.items():
            if name != "__metadata__":
                elements = 1
                for dimension in tensor["shape"]:
                    elements *= int(dimension)
                total += elements
        return total
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError):
        return 0  # whoever loads it says what is wrong with it


def _on_hub(repo: str) -> int | None:
    import httpx2  # noqa: PLC0415  (only a base that is not known asks the Hub)
    from huggingface_hub import HfApi  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled  # noqa: PLC0415

    try:
        info = HfApi().model_info(repo, timeout=_LOOK_S, expand=["safetensors"])
    except (HfHubHTTPError, httpx2.HTTPError, HFValidationError, OfflineModeIsEnabled, OSError):
        return None  # whether it can be had at all is found out by the run, in its own words
    return int(info.safetensors.total) if info.safetensors else None


def _has_gpu() -> bool:
    return Path("/dev/nvidia0").exists() and os.environ.get("CUDA_VISIBLE_DEVICES", "all") not in ("", "-1")
