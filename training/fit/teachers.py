"""Self-training: teachers learn from the labels, and answer the texts without any for a student to learn.

    answers = answers_of_teachers(prepared, folder=run / "checkpoints", report=log)
    tuned = train_seeds(answers.taught_to(prepared), recipe, …)

The teachers differ by seed alone. Their mean probabilities are aligned to the shares of the labels, since a
teacher that favours a label would teach its favour on (distribution alignment: Berthelot et al. 2020, arXiv
1911.09785), and sharpened. The student learns these, and the labels. All of it is over one prepared trunk.
"""

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from inference.classifier import softmax
from inference.common.store import JsonObject
from training.fit.phases import LABELS_TAKEN
from training.fit.prepare import Inner, Prepared, Report, Silent
from training.fit.rows import sharpened, taught
from training.fit.trainer import logits_of, macro_f1, train


@dataclass(frozen=True)
class Answers:
    """The teachers' answers to the texts without labels."""

    targets: Tensor
    """Probabilities, shape (texts, labels)."""
    labels: tuple[str, ...]
    temperature: float
    macro_f1: dict[int, float]
    """Macro-F1 of each teacher on the validation split, by seed."""
    agreed: float
    """Share of the texts that all teachers give the same label."""

    @property
    def counts(self) -> dict[str, int]:
        """Number of texts by their likeliest label."""
        found = np.bincount(self.targets.argmax(1).numpy(), minlength=len(self.labels))
        return dict(zip(self.labels, found.tolist(), strict=True))

    @property
    def sentence(self) -> str:
        scores = ", ".join(f"{100 * score:.1f}" for score in self.macro_f1.values())
        listed = ", ".join(f"{n:,} {label}" for label, n in self.counts.items())
        return (
            f"{len(self.macro_f1)} teachers (validation macro-F1 {scores} %) answer {len(self.targets):,} "
            f"texts without labels, and agree on {100 * self.agreed:.1f} % of them: {listed}. The student "
            f"learns these, at temperature {self.temperature:g}, and each labelled text {LABELS_TAKEN} times."
        )

    def to_json(self) -> JsonObject:
        """Return the account for events.jsonl and provenance.json: no text."""
        return {
            "texts": len(self.targets),
            "temperature": self.temperature,
            "validation_macro_f1": {str(seed): round(score, 4) for seed, score in self.macro_f1.items()},
            "agreed": round(self.agreed, 4),
            "answered": self.counts,
        }

    def taught_to(self, prepared: Prepared) -> Prepared:
        """Return the preparation with what a student learns: the labels, each more than once, and these."""
        n, labels = len(prepared.splits.train), torch.tensor(prepared.train.labels)
        rows = prepared.learnt.take([*range(n)] * LABELS_TAKEN + [*range(n, len(prepared.learnt))])
        certain = functional.one_hot(labels, len(self.labels)).float()
        targets = torch.cat([certain] * LABELS_TAKEN + [self.targets])
        return dataclasses.replace(prepared, train=taught(rows, targets))


def aligned(answers: Tensor, labels: Sequence[int]) -> Tensor:
    """Return probabilities, shape (texts, labels), whose mean is drawn to the shares that labels have.

    A label that no row has keeps a small share.
    """
    shares = 1 + torch.bincount(torch.tensor(labels), minlength=answers.shape[1])
    found = answers * (shares / shares.sum()) / answers.mean(0).clamp(min=1e-9)
    return found / found.sum(1, keepdim=True)


def answers_of_teachers(
    prepared: Prepared,
    *,
    folder: Path,
    report: Report | None = None,
    stop_asked: Callable[[], bool] = lambda: False,
) -> Answers | None:
    """Train the teachers of the prepared recipe, by the seeds after its own; None when stopped midway.

    A teacher that has answered in `folder` is not trained again, and one that was stopped goes on.
    """
    recipe, report = prepared.recipe, report or Silent()
    rows = prepared.learnt.take(range(len(prepared.splits.train), len(prepared.learnt)))
    once = recipe.model_copy(update={"epochs": recipe.teacher_epochs})
    folder.mkdir(exist_ok=True)
    answers, scores = [], {}
    for index in range(recipe.teachers):
        seed = (recipe.seed + recipe.seeds + index) % 2**32
        file, place = folder / f"teacher-{seed}.npz", folder / f"teacher-{seed}"
        if not file.is_file():
            model = train(
                prepared,
                once,
                checkpoints=place,
                report=Inner(report, index, recipe.teachers),
                stop_asked=stop_asked,
                seed=seed,
                evaluations=max(round(recipe.teacher_epochs), 1),
            )
            if model is None or stop_asked():
                return None
            validation = logits_of(model, prepared.validation, prepared.trunk, prepared.precision)
            said = softmax(logits_of(model, rows, prepared.trunk, prepared.precision)).astype(np.float32)
            score = macro_f1(validation, prepared.validation.labels)
            del model  # before the next one is trained
            np.savez(partial := file.with_suffix(".partial.npz"), answers=said, macro_f1=score)
            partial.replace(file)
        shutil.rmtree(place, ignore_errors=True)
        with np.load(file) as kept:
            answers.append(torch.from_numpy(kept["answers"]))
            scores[seed] = float(kept["macro_f1"])
        report.progress(index + 1, recipe.teachers)
    each = torch.stack(answers)
    likeliest = each.argmax(2)
    return Answers(
        targets=sharpened(aligned(each.mean(0), prepared.train.labels), recipe.teacher_temperature),
        labels=prepared.splits.labels,
        temperature=recipe.teacher_temperature,
        macro_f1=scores,
        agreed=float((likeliest == likeliest[0]).all(0).float().mean()),
    )
