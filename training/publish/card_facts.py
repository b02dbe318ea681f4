"""What a card can tell: the records of an artifact and its run, read so that each of them may be missing.

    facts = read_facts(Path("runs/demo/artifact"))
    facts.at("data", "source", "name")       # from provenance.json, None where it does not say

A run of an older version, or a model of somebody else, has fewer records; the card then says less. Only
config.json is needed, as it is for serving. Knows nothing about Markdown.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.artifact import ADAPTER, ONNX_FOLDER, PARITY, PROVENANCE, read_record
from inference.common.errors import ArtifactError
from inference.common.store import read_jsonl
from training.evaluate.scores import read_evaluation
from training.publish.card_examples import EXAMPLES_FILE

ASSETS = "assets"
CURVES, CONFUSION, CALIBRATION = (f"{ASSETS}/{name}.png" for name in ("curves", "confusion", "calibration"))
_MOST_POINTS = 200
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", re.ASCII)


@dataclass(frozen=True)
class History:
    """How a training went, from the run's events."""

    loss: tuple[tuple[float, float], ...]
    """Training loss over the epoch, smoothed."""
    validation: tuple[Mapping[str, float], ...]
    """Each check on validation: "epoch", "loss", "accuracy", "macro_f1"."""
    starts: int
    """How often the run's process was started: more than once where it was interrupted."""

    def curve(self, key: str) -> tuple[tuple[float, float], ...]:
        """Return one column of the checks over the epoch."""
        return tuple((float(c["epoch"]), float(c[key])) for c in self.validation if key in c)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The records of an artifact. A record that is not there is an empty dict, None or an empty tuple."""

    labels: tuple[str, ...]
    config: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    provenance: Mapping[str, Any]
    examples: Mapping[str, Any]
    parity: Mapping[str, Any]
    onnx_files: tuple[str, ...]
    has_adapter: bool
    max_length: int | None
    history: History | None
    drawn_curves: bytes | None
    """The picture of the curves that the artifact carries, for where the run's events are not at hand."""

    def at(self, *path: str) -> Any:
        """Return a value of provenance.json, None where it has none."""
        return at(self.provenance, *path)

    @property
    def base_name(self) -> str:
        """The base's name, "" where no record tells."""
        return str(self.at("base", "name") or "")

    @property
    def base_id(self) -> str | None:
        """The base's id on the Hub, None for a folder's name."""
        return self.base_name if _HUB_ID.fullmatch(self.base_name) and "/" in self.base_name else None

    @property
    def dataset_id(self) -> str | None:
        """The data set's id on the Hub, None for files and the embedded tweets."""
        source = self.at("data", "source") or {}
        name = str(source.get("name") or "")
        return name if source.get("kind") == "hub" and _HUB_ID.fullmatch(name) else None

    @property
    def dataset_config(self) -> str | None:
        """The configuration of the data set of the Hub, None for its only one."""
        location = str((self.at("data", "source") or {}).get("location") or "")
        _, _, config = location.partition(":")
        return config if self.dataset_id and config else None

    @property
    def seconds(self) -> float | None:
        """How long the run took, evaluation included, None where no record tells."""
        duration = self.at("duration_s")
        return float(sum(duration.values())) if isinstance(duration, dict) and duration else None


def at(record: Any, *path: str) -> Any:
    """Return what stands at a path of keys, None where there is nothing."""
    for key in path:
        record = record.get(key) if isinstance(record, Mapping) else None
    return record


def read_facts(artifact: Path, *, run: Path | None = None) -> Facts:
    """Read an artifact's records. `run`: its run's folder; the artifact's parent where it is one.

    Raises ArtifactError where config.json is missing or torn, or another record is torn.
    """
    config = read_record(artifact, "config.json")
    names = at(config, "id2label")
    if not config or not isinstance(names, dict):
        raise ArtifactError(
            f"{artifact} has no config.json that names the labels. Give the folder of a finished run."
        )
    return Facts(
        labels=tuple(str(names[key]) for key in sorted(names, key=int)),
        config=config,
        evaluation=evaluation.flat() if (evaluation := read_evaluation(artifact)) else {},
        provenance=read_record(artifact, PROVENANCE) or {},
        examples=read_record(artifact, EXAMPLES_FILE) or {},
        parity=read_record(artifact / ONNX_FOLDER, PARITY) or {},
        onnx_files=tuple(sorted(path.name for path in (artifact / ONNX_FOLDER).glob("*.onnx"))),
        has_adapter=(artifact / ADAPTER / "adapter_config.json").is_file(),
        max_length=at(read_record(artifact, "tokenizer_config.json"), "model_max_length"),
        history=_history(run or artifact.parent),
        drawn_curves=(artifact / CURVES).read_bytes() if (artifact / CURVES).is_file() else None,
    )


def without_scores(facts: Facts) -> Facts:
    """Return the same facts without scores, for a record that does not fit the model's labels."""
    return dataclasses.replace(facts, evaluation={})


def _history(run: Path) -> History | None:
    steps: dict[int, Mapping[str, Any]] = {}
    checks: dict[int, Mapping[str, Any]] = {}
    starts = 0
    for event in read_jsonl(run / "events.jsonl"):
        kind = event.get("kind")
        if kind in ("step", "validation") and "step" in event and "epoch" in event:
            (steps if kind == "step" else checks)[int(event["step"])] = event  # the last word on a step
        starts += kind == "progress" and event.get("phase") == "prepare" and event.get("done") == 0
    loss = [(float(e["epoch"]), float(e["loss"])) for _, e in sorted(steps.items()) if "loss" in e]
    if not loss and not checks:
        return None
    return History(_thinned(_smoothed(loss)), tuple(event for _, event in sorted(checks.items())), starts)


def _smoothed(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the mean over a window of a twentieth of the steps around each point."""
    half = max(1, len(points) // 40)
    smooth = []
    for place, (x, _) in enumerate(points):
        window = points[max(0, place - half) : place + half + 1]
        smooth.append((x, sum(y for _, y in window) / len(window)))
    return smooth


def _thinned(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    every = max(1, -(-len(points) // _MOST_POINTS))
    return tuple([*points[::every], *([] if not points or (len(points) - 1) % every == 0 else points[-1:])])
