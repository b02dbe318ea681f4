"""Measure this machine's pace, in one second: what a token costs in one layer.

    pace = measure(model, rows)                        # `training.fit.phases` makes a plan of it

Knows nothing about how the work is done.
"""

import time
from collections.abc import Callable

import torch
from transformers import PreTrainedModel

from inference.engine.precision import FLOAT32, Precision
from inference.trunk import backbone_of, pad_ids
from training.fit.phases import IN_BFLOAT16, Pace
from training.fit.rows import EncodedRows


def measure(
    model: PreTrainedModel,
    rows: EncodedRows,
    *,
    precision: Precision = FLOAT32,
    seconds: float = 1.0,
    clock: Callable[[], float] = time.perf_counter,
) -> Pace:
    """Time forward passes of the model's own layers over real training rows for about a second."""
    order = sorted(range(len(rows)), key=lambda row: len(rows.token_ids[row]))
    middle = len(order) // 2
    some = order[max(middle - 8, 0) : middle + 8] or order
    batch = pad_ids([rows.token_ids[row] for row in some], rows.pad_id, pad_to=rows.pad_to)
    if rows.pad_to:
        batch = {key: value[:1] for key, value in batch.items()}
    batch = {key: value.to(model.device) for key, value in batch.items()}
    tokens, depth = batch["input_ids"].numel(), model.config.num_hidden_layers

    def forward() -> None:
        with torch.inference_mode(), precision.on(model):
            backbone_of(model)(**batch, use_cache=False)

    each = _seconds_each(forward, seconds, clock) / (tokens * depth)
    return Pace(each, gflops(clock=clock), IN_BFLOAT16 if precision.name == "bfloat16" else 1.0)


def gflops(
    *, seconds: float = 0.3, size: int = 1024, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return this machine's float32 matrix-product rate in 10⁹ operations a second."""
    matrix = torch.ones(size, size)
    each = _seconds_each(lambda: torch.mm(matrix, matrix), seconds, clock)
    return 2 * size**3 / each / 1e9


def _seconds_each(work: Callable[[], object], seconds: float, clock: Callable[[], float]) -> float:
    work()
    start, times = clock(), 0
    while times == 0 or clock() - start < seconds:
        work()
        times += 1
    return max((clock() - start) / times, 1e-9)
