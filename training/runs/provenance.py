"""Where an artifact came from: what was done, with which versions, on which machine.

    write_provenance(artifact, {...})

Knows nothing about how the numbers came about.
"""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import psutil
import torch

from inference.artifact import PROVENANCE
from inference.common.store import write_json

_PACKAGES = ("torch", "transformers", "peft", "datasets", "tokenizers", "accelerate", "numpy", "scikit-learn")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that shape a result."""
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def machine() -> dict[str, Any]:
    """Return what the run ran on."""
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


def write_provenance(artifact: Path, record: dict[str, Any]) -> None:
    """Write provenance.json, with versions and machine added."""
    write_json(artifact / PROVENANCE, {**record, "versions": versions(), "machine": machine()})
