"""How long each step of a ladder will take, counted before the first one begins.

    plan = planned(steps, counted, flops_per_s=50e9)   # -> {"zero-shot": Seconds(build=0.5, answer=62.0), …}

Nearly all of it is tokens times the size of the base, over this machine's rate: the tokens are counted, and
the rate is measured at the beginning. Knows nothing about how a step is done.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from inference.baselines.prompting import CONTENT_FREE, PROMPTS
from training.fit.phases import ADAMW_S_PER_PARAMETER, TRAIN_COST
from training.fit.prepare import CALIBRATION_TEXTS
from training.ladder.contrastive import epochs_for
from training.ladder.order import Step
from training.ladder.rungs import FULL_EPOCHS, RETRIEVED, adapter_changes
from training.recipes import Recipe, change

TRUNK = 2 / 3
"""Of the layers: what features take, and what is computed once for adapters."""
_ATTENTION_TOKENS = 1000  # of a prefix, whose keys and values cost as much as the token itself
_CPU_S, _CPU_S_PER_LABEL = 0.5, 0.004  # reading, hashing and testing; a bag of words


@dataclass(frozen=True)
class Counted:
    """The counts that a plan is made from."""

    text_tokens: float
    """Mean tokens of a text under its prompt."""
    word_tokens: float
    """Tokens of all labels' words, but for the first of each: they are computed for each text."""
    classes: int
    validation: int
    test: int
    unlabelled: int
    """Texts to calibrate over, at most CALIBRATION_TEXTS."""
    context: int
    parameters: int
    batch_size: int
    recipe: Recipe


@dataclass(frozen=True)
class Seconds:
    """The planned seconds of a step."""

    build: float
    answer: float

    @property
    def build_share(self) -> float:
        return self.build / (self.build + self.answer)


def planned(steps: Sequence[Step], counted: Counted, *, flops_per_s: float) -> dict[str, Seconds]:
    """Return the seconds of each step, by its name."""
    token_s = 2 * counted.parameters / flops_per_s
    found, adapted = {}, set[int]()
    for step in steps:
        build, answer = _tokens(step, counted, adapted=step.labels in adapted)
        cpu = _CPU_S_PER_LABEL * step.labels if step.rung == "bag-of-words" else 0.0
        if step.rung == "full":
            updates = FULL_EPOCHS * step.labels / counted.batch_size
            cpu = updates * counted.parameters * ADAMW_S_PER_PARAMETER
        found[step.name] = Seconds(cpu + token_s * build, _CPU_S + token_s * answer)
        adapted |= {step.labels} if step.rung in ("lora", "both") else set()
    return found


def _tokens(step: Step, counted: Counted, *, adapted: bool) -> tuple[float, float]:
    """Return the tokens through the whole network that building a step takes, and its answers."""
    text, asked = counted.text_tokens, counted.validation + counted.test
    one, calibrated = text + counted.word_tokens, min(counted.unlabelled, CALIBRATION_TEXTS)
    learnt, looked_at = step.labels * text, counted.validation * text
    prefix = min(step.kind.k * counted.classes * text, counted.context)
    after = one * (1 + prefix / _ATTENTION_TOKENS)
    near = min(RETRIEVED * counted.classes * text, counted.context) + one
    found_near = near + TRUNK * text
    epochs = change(counted.recipe, adapter_changes(step.labels)).epochs
    adapters = 0.0
    if not adapted:
        adapters = (1 - TRUNK) * epochs * (TRAIN_COST["lora"] * learnt + looked_at)
        adapters += TRUNK * (learnt + looked_at)
    pairs = TRUNK * (learnt + looked_at) + learnt + looked_at  # and once more, for the head
    pairs += (1 - TRUNK) * epochs_for(step.labels) * (TRAIN_COST["lora"] * learnt + learnt + looked_at)
    prompts = len(PROMPTS)
    others = {
        "majority": (0.0, 0.0),
        "bag-of-words": (0.0, 0.0),
        "zero-shot": (0.0, asked * one),
        "zero-shot-contextual": (len(CONTENT_FREE) * one, asked * one),
        "zero-shot-prompts": (prompts * calibrated * one, prompts * asked * one),
        "retrieval-words": (TRUNK * learnt + calibrated * near, asked * near),
        "retrieval-features": (TRUNK * learnt + calibrated * found_near, asked * found_near),
        "nearest": (TRUNK * (learnt + looked_at), TRUNK * asked * text),
        "head": (learnt + looked_at, asked * text),
        "contrastive": (pairs, asked * text),
        "lora": (adapters, asked * text),
        "full": (FULL_EPOCHS * (TRAIN_COST["full"] * learnt + looked_at), asked * text),
        "both": (adapters + TRUNK * learnt + (1 + TRUNK) * looked_at, (1 + TRUNK) * asked * text),
    }
    return others.get(step.rung, (prefix + calibrated * after, asked * after))
