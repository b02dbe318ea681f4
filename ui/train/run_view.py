"""What the Train tab shows of a run, read from its folder: curves, scores, sentences. No HTML.

    view = read_run(run)
    view.loss, view.validation, view.evaluation

Knows nothing about languages or about how it is drawn.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from inference.common.errors import TweetTuneError
from training.evaluate.scores import Evaluation
from training.runs.run import ACTIVE, RESUMABLE, Run, Status

_MOST_POINTS = 240  # a line of more is thinned out: the eye can't tell, the browser can
_SMOOTHING = 0.9


@dataclass(frozen=True)
class RunView:
    """A run as it stands now."""

    run: Run
    status: Status
    total_steps: int = 0
    step: int = 0
    epoch: float = 0.0
    loss: tuple[tuple[float, float], ...] = ()
    smooth_loss: tuple[tuple[float, float], ...] = ()
    validation: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    estimate_s: float | None = None
    evaluation: Evaluation | None = None

    @property
    def active(self) -> bool:
        """Whether it is at work, or about to be."""
        return self.status.state in ACTIVE

    @property
    def resumable(self) -> bool:
        """Whether it can go on from a checkpoint."""
        return self.status.state in RESUMABLE

    def curve(self, key: str) -> tuple[tuple[float, float], ...]:
        """Return one column of the validation events over the step."""
        return tuple((float(event["step"]), float(event[key])) for event in self.validation if key in event)


def read_evaluation(run: Run) -> Evaluation | None:
    """Return a run's evaluation, None when there is none or it is torn."""
    try:
        return run.evaluation()
    except TweetTuneError:
        return None


def read_run(run: Run) -> RunView:
    """Read a run's status and events; a torn file counts as not written yet."""
    try:
        stamp = (run.path / "events.jsonl").stat()
    except OSError:
        return RunView(run, run.status())
    read = _read(run, stamp.st_mtime_ns, stamp.st_size)
    return replace(read, status=run.status(), evaluation=read_evaluation(run))


@lru_cache(maxsize=32)
def _read(run: Run, written_ns: int, size: int) -> RunView:
    """Read the events; they are asked for every second, by everybody who looks, and often nothing is new."""
    events = run.events()
    steps = sorted({e["step"]: e for e in events if e.get("kind") == "step"}.items())
    checks = sorted({e["step"]: e for e in events if e.get("kind") == "validation"}.items())
    loss = [(float(step), float(event["loss"])) for step, event in steps]
    last = steps[-1][1] if steps else {}
    estimates = [e["seconds"] for e in events if e.get("kind") == "estimate"]
    notes = [e["text"] for e in events if e.get("kind") == "note" and e.get("text")]
    sentences = [s for e in events if e.get("kind") == "data" for s in e.get("sentences", ())]
    return RunView(
        run=run,
        status=run.status(),
        total_steps=int(last.get("total_steps", 0)),
        step=int(last.get("step", 0)),
        epoch=float(last.get("epoch", 0.0)),
        loss=_thin(loss),
        smooth_loss=_thin(_smooth(loss)),
        validation=tuple(event for _, event in checks),
        notes=tuple(dict.fromkeys([*notes, *sentences])),
        estimate_s=estimates[-1] if estimates else None,
    )


def _smooth(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return exponential moving averages, corrected for their start."""
    average, weight, smooth = 0.0, 0.0, []
    for x, y in points:
        average = _SMOOTHING * average + (1 - _SMOOTHING) * y
        weight = _SMOOTHING * weight + (1 - _SMOOTHING)
        smooth.append((x, average / weight))
    return smooth


def _thin(points: list[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    step = max(1, len(points) // _MOST_POINTS)
    kept = points[::step]
    return tuple(kept if not points or kept[-1] == points[-1] else [*kept, points[-1]])
