"""How long each phase of a run takes at a machine's pace: everything heavy is tokens times layers.

    plan = phases(Pace(1e-4, 100.0), recipe, sizes)    # -> {"cache": 31.0, "train": 88.0, …} in seconds

One number is enough, then; what is not tokens times layers (loading, saving) is added from the model's size.
Importing this loads nothing heavy: `training.fit.estimate` measures the pace.
"""

from dataclasses import dataclass

from training.recipes import Recipe

TRAIN_COST = {"lora": 2.2, "full": 3.3}
"""A training step's cost over a forward pass's, measured: full also computes every weight's gradient."""
IN_BFLOAT16 = 1.8
"""How many times that is in bfloat16, measured: a forward pass gains more than the rest of a step."""
ADAMW_S_PER_PARAMETER = 4e-9
"""One AdamW update of one trained weight; only felt when all weights are trained."""
COPY_S_PER_PARAMETER = 1.2e-8
"""Writing a weight to disk and reading it back."""
LABELS_TAKEN = 2
"""How often each labelled text is among those of an epoch, where teachers have answered others."""


@dataclass(frozen=True)
class Pace:
    """How fast this machine is, now."""

    layer_token_s: float
    """Seconds that one token costs in one layer, forward, in batches of like length."""
    gflops: float
    """Rate of a 1024 x 1024 float32 matrix product, in 10⁹ operations a second."""
    step: float = 1.0
    """How many times TRAIN_COST a training step costs here."""


@dataclass(frozen=True)
class Sizes:
    """What a run works on."""

    train_tokens: int
    """Padded tokens of the training split and of the texts without labels, one epoch."""
    validation_tokens: int
    test_tokens: int
    train_rows: int
    depth: int
    base_depth: int
    trunk: int
    parameters: int
    unlabelled_tokens: int = 0
    """Those of the texts without labels, which teachers answer."""
    unlabelled_rows: int = 0


def phases(pace: Pace, recipe: Recipe, sizes: Sizes) -> dict[str, float]:
    """Return the planned seconds of each phase to come, in order."""
    unit = pace.layer_token_s
    top = sizes.depth - sizes.trunk
    labelled = sizes.train_tokens - sizes.unlabelled_tokens
    labelled_rows = sizes.train_rows - sizes.unlabelled_rows

    def training(tokens: int, rows: int, epochs: float, evaluations: float) -> float:
        cost = TRAIN_COST[recipe.method] + recipe.gradient_checkpointing  # which is a forward pass more
        seconds = unit * epochs * tokens * top * cost * pace.step
        steps = epochs * rows / (recipe.batch_size * recipe.gradient_accumulation_steps)
        if recipe.method == "full":
            seconds += steps * sizes.parameters * ADAMW_S_PER_PARAMETER
        return seconds + unit * evaluations * sizes.validation_tokens * top

    tokens, rows, teach = sizes.train_tokens, sizes.train_rows, {}
    if recipe.teacher.strip():
        teach["teach"] = unit * tokens * sizes.base_depth
    elif recipe.teachers:
        each = training(labelled, labelled_rows, recipe.teacher_epochs, max(round(recipe.teacher_epochs), 1))
        answers = (sizes.unlabelled_tokens + sizes.validation_tokens) * top
        teach["teach"] = recipe.teachers * (each + unit * answers)
        tokens, rows = tokens + (LABELS_TAKEN - 1) * labelled, rows + (LABELS_TAKEN - 1) * labelled_rows
    train = training(tokens, rows, recipe.epochs, recipe.epochs * recipe.evals_per_epoch)
    base_top = sizes.base_depth - sizes.trunk
    return {
        "cache": unit * (sizes.train_tokens + sizes.validation_tokens) * sizes.trunk,
        **teach,
        "train": train * recipe.seeds,
        "export": sizes.parameters * COPY_S_PER_PARAMETER + (_onnx(unit, sizes) if recipe.onnx else 0),
        "evaluate": unit * sizes.test_tokens * (sizes.trunk + top + base_top)
        + sizes.parameters * COPY_S_PER_PARAMETER,
    }


def _onnx(unit: float, sizes: Sizes) -> float:
    """Seconds of the export to ONNX: the validation split 2.5 times through the network, and the files."""
    return unit * sizes.validation_tokens * sizes.depth * 2.5 + 10 * sizes.parameters * COPY_S_PER_PARAMETER
