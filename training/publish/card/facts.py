"""The facts of a card: the records of an artifact and its run, as one typed object.

    facts = read_facts(Path("runs/demo/artifact"))
    facts.data.source.name, facts.evaluation, facts.history

A run of an older version, or a model of somebody else, has fewer records; what is not there is empty, and the
card says less. Only config.json is needed, as it is for serving.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inference.artifact import ADAPTER, ONNX_FOLDER, PARITY, read_record
from inference.common.errors import ArtifactError
from inference.common.store import JsonObject
from training.evaluate.scores import BASE, Evaluation, Scores, read_evaluation
from training.publish.card.examples import EXAMPLES_FILE, AnsweredExamples
from training.runs import records
from training.runs.provenance import Provenance, read_provenance, read_typed

ASSETS = "assets"
CURVES, CONFUSION, CALIBRATION = (f"{ASSETS}/{name}.png" for name in ("curves", "confusion", "calibration"))
Point = tuple[float, float]
"""Epoch and value."""
_MOST_POINTS = 200


@dataclass(frozen=True)
class StandardFacts:
    """The part of parity.json on the network for other clients."""

    why: str = ""


@dataclass(frozen=True)
class ParityFacts:
    """The content of the export's parity.json."""

    choice: str = ""
    why: str = ""
    standard: StandardFacts = StandardFacts()


@dataclass(frozen=True)
class TrainingHistory:
    """How a training went, from the run's events."""

    loss: tuple[Point, ...]
    """Training loss, smoothed."""
    validation: Mapping[str, tuple[Point, ...]]
    """The checks on validation, by "loss", "accuracy" and "macro-F1"; each may be missing."""
    starts: int
    """How often the run's process was started: more than once where it was interrupted."""


@dataclass(frozen=True, kw_only=True)
class CardFacts(Provenance):
    """The records of an artifact."""

    labels: tuple[str, ...]
    evaluation: Evaluation | None = None
    """None where there is none with scores for this model's labels."""
    examples: AnsweredExamples = field(default_factory=AnsweredExamples)
    parity: ParityFacts = ParityFacts()
    onnx_files: tuple[str, ...] = ()
    has_adapter: bool = False
    max_length: int | None = None
    pad_token_id: int = 0
    layers: int = 0
    history: TrainingHistory | None = None
    drawn_curves: bytes | None = None
    """The picture of the curves that the artifact carries, for where the run's events are not at hand."""

    @property
    def tuned_scores(self) -> Scores | None:
        return self.evaluation.tuned.scores if self.evaluation and self.evaluation.tuned else None

    @property
    def base_scores(self) -> Scores | None:
        """The untouched base's scores on the same rows."""
        found = self.evaluation.system(BASE) if self.evaluation else None
        return found.scores if found else None

    @property
    def seconds(self) -> float:
        """How long the run took, evaluation included; 0 where no record says."""
        return sum(self.duration_s.values())


def read_facts(artifact: Path, *, run: Path | None = None) -> CardFacts:
    """Read an artifact's records. `run`: its run's folder; the artifact's parent where it is one.

    Raises ArtifactError where config.json is missing or torn, or another record is torn or invalid.
    """
    config = read_record(artifact, "config.json") or {}
    names = config.get("id2label")
    if not isinstance(names, dict):
        raise ArtifactError(
            f"{artifact} has no config.json that names the labels. Give the folder of a finished run."
        )
    labels = tuple(str(names[key]) for key in sorted(names, key=int))
    evaluation = read_evaluation(artifact)
    if evaluation and (not evaluation.tuned or evaluation.labels not in ((), labels)):
        evaluation = None  # of other labels: they would be shown under wrong names
    onnx = artifact / ONNX_FOLDER
    drawn, tokenizer = artifact / CURVES, read_record(artifact, "tokenizer_config.json") or {}
    return CardFacts(
        **vars(read_provenance(artifact)),
        labels=labels,
        evaluation=evaluation,
        examples=AnsweredExamples.from_json(read_record(artifact, EXAMPLES_FILE) or {}),
        parity=read_typed(ParityFacts, onnx, PARITY),
        onnx_files=tuple(sorted(path.name for path in onnx.glob("*.onnx"))),
        has_adapter=(artifact / ADAPTER / "adapter_config.json").is_file(),
        max_length=tokenizer.get("model_max_length"),
        pad_token_id=config.get("pad_token_id") or 0,
        layers=config.get("num_hidden_layers") or config.get("n_layer") or 0,
        history=_history(run or artifact.parent),
        drawn_curves=drawn.read_bytes() if drawn.is_file() else None,
    )


def _history(run: Path) -> TrainingHistory | None:
    steps: dict[int, JsonObject] = {}
    checks: dict[int, JsonObject] = {}
    starts = 0
    for event in records.events(run / records.EVENTS):
        kind = event.get("kind")
        if kind in ("step", "validation") and "step" in event and "epoch" in event:
            (steps if kind == "step" else checks)[int(event["step"])] = event  # the last word on a step
        starts += kind == "progress" and event.get("phase") == "prepare" and event.get("done") == 0

    def curve(events: Mapping[int, JsonObject], key: str) -> list[Point]:
        return [(float(e["epoch"]), float(e[key])) for _, e in sorted(events.items()) if key in e]

    names = {"loss": "loss", "accuracy": "accuracy", "macro-F1": "macro_f1"}
    loss = _smoothed(curve(steps, "loss"))
    validation = {name: tuple(found) for name, key in names.items() if (found := curve(checks, key))}
    return TrainingHistory(loss, validation, starts) if loss or validation else None


def _smoothed(points: Sequence[Point]) -> tuple[Point, ...]:
    """Return the mean over a window of a twentieth of the steps around each point; at most 200 points."""
    half = max(1, len(points) // 40)
    smooth = []
    for place, (x, _) in enumerate(points):
        window = points[max(0, place - half) : place + half + 1]
        smooth.append((x, sum(y for _, y in window) / len(window)))
    every = max(1, -(-len(points) // _MOST_POINTS))
    return tuple([*smooth[::every], *([] if (len(smooth) - 1) % every == 0 else smooth[-1:])])
