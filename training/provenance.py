"""Where an artifact came from: versions, machine, and the model card that tells people.

    write_provenance(artifact, {...}); write_card(artifact, evaluation, provenance)

Knows nothing about how the numbers came about.
"""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import psutil
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from inference.artifact import PROVENANCE
from training.records import write_json
from training.wording import in_words, percent

_PACKAGES = ("torch", "transformers", "peft", "datasets", "tokenizers", "accelerate", "numpy", "scikit-learn")
TEMPLATE = Path(__file__).resolve().parent.parent / ".huggingface" / "model_card.md"


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


def write_card(artifact: Path, evaluation: dict[str, Any], provenance: dict[str, Any]) -> None:
    """Write the model card, README.md, filled with the measured results."""
    data = provenance["data"]
    recipe = provenance["recipe"]
    name = f"tweettune-{recipe['name']}"
    from_hub = "/" in provenance["base"]["name"]
    card_data = ModelCardData(
        language="en",
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag="text-classification",
        base_model=provenance["base"]["name"] if from_hub else None,
        base_model_relation="finetune" if from_hub else None,
        tags=["tweettune", "sentiment"],
        metrics=["accuracy", "f1"],
        model_name=name,
        eval_results=[
            EvalResult(
                task_type="text-classification",
                dataset_type=data["source"]["name"],
                dataset_name=data["source"]["name"],
                dataset_split=evaluation["split"],
                metric_type=metric,
                metric_value=round(evaluation[key]["value"], 4),
            )
            for metric, key in (("accuracy", "accuracy"), ("f1", "macro_f1"))
        ],
    )
    card = ModelCard.from_template(
        card_data,
        template_path=str(TEMPLATE),
        name=name,
        evaluation=evaluation,
        provenance=provenance,
        rows=_table(evaluation),
        duration=in_words(sum(provenance["duration_s"].values())),
        labels=evaluation["labels"],
    )
    (artifact / "README.md").write_text(str(card), encoding="utf-8")


def _table(evaluation: dict[str, Any]) -> list[tuple[str, str, str]]:
    names = (("accuracy", "accuracy"), ("macro-F1", "macro_f1"), ("macro-recall", "macro_recall"),
             ("expected calibration error", "expected_calibration_error"))  # fmt: skip
    base = evaluation.get("base") or {}
    rows = [(title, percent(base.get(key)), percent(evaluation[key])) for title, key in names]
    per_class = [
        (f"F1 of {label}", percent((base.get("per_class_f1") or {}).get(label)), percent(score))
        for label, score in evaluation["per_class_f1"].items()
    ]
    return rows + per_class
