"""Choose between float32 and bfloat16 by the speed of matrix products on this machine.

    precision = choose_precision("auto", hidden=576)
    precision.name, precision.reason        # "float32", "Matrix products run at 96 GFLOP/s in float32, …"
    with precision.on(model):
        model(**batch)                      # weights and artifact stay float32: they are cast on the way

bfloat16 is several times faster where the processor has it, and a hundred times slower where it has not.
`torch.autocast` caches casted weights until its context ends: a context around many training steps would
train nothing. For training the Trainer enters one anew in each step, within `precision.training()`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import torch

from inference.common.store import JsonObject

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WINS = 1.5
"""How many times faster bfloat16's products must be: casting takes time too."""
HOPELESS = 1 / 3
"""Below this share of float32's rate, a measurement of few rows is enough."""
SMALLEST = 128
_FEW_ROWS = 16


@dataclass(frozen=True)
class Precision:
    """The precision of a network's matrix products."""

    name: str = "float32"
    """Or "bfloat16"."""
    reason: str = "It is the usual one."
    device: str = "cpu"
    """The device it was measured on: a model on another stays in float32."""
    gflops: dict[str, float] = field(default_factory=dict)
    """Measured rates in 10⁹ operations a second; empty if the precision was asked for."""

    def on(self, model: "PreTrainedModel") -> AbstractContextManager[object]:
        """Within it, a model answers in this precision. Not for training."""
        if self.name == "float32" or model.device.type != self.device:
            return nullcontext()
        return torch.autocast(self.device, dtype=torch.bfloat16)

    @contextmanager
    def training(self) -> Iterator[None]:
        """Within it, what has gradients attends in float32: a CPU takes 2.6 times as long in bfloat16."""
        if self.name == "float32" or self.device != "cpu":
            yield
            return
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        stock = ALL_ATTENTION_FUNCTIONS["sdpa"]

        def attend(
            module: object, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *mask: object, **given: object
        ) -> object:
            if not torch.is_grad_enabled():
                return stock(module, q, k, v, *mask, **given)
            with torch.autocast(self.device, enabled=False):
                return stock(module, q.float(), k.float(), v.float(), *mask, **given)

        ALL_ATTENTION_FUNCTIONS["sdpa"] = attend
        try:
            yield
        finally:
            ALL_ATTENTION_FUNCTIONS["sdpa"] = stock

    def to_json(self) -> JsonObject:
        rates = {name: round(rate, 1) for name, rate in self.gflops.items()}
        return {"name": self.name, "reason": self.reason, **({"gflops": rates} if rates else {})}


FLOAT32 = Precision()


def choose_precision(setting: str, *, hidden: int, tokens: int = 1024, device: str = "cpu") -> Precision:
    """Return float32 or bfloat16 as `setting`, or for "auto" the faster one for a network's shapes.

    These are those of a layer's widest product: (tokens, hidden) by (hidden, 4 · hidden). Rates are measured
    once a process, in a few tenths of a second. A network of fewer than SMALLEST stays in float32: there
    casting takes as long as the products, and two processes might choose differently.
    """
    if setting != "auto":
        return Precision(setting, "It was asked for.", device)
    if hidden < SMALLEST:
        return FLOAT32
    return faster(_measured(hidden, tokens, device), device)


def faster(rates: dict[str, float], device: str = "cpu") -> Precision:
    """Return the precision that wins by its rates, float32 where it is close."""
    said = " and ".join(f"{rate:,.0f} GFLOP/s in {name}" for name, rate in rates.items())
    name = "bfloat16" if rates["bfloat16"] >= WINS * rates["float32"] else "float32"
    return Precision(name, f"Matrix products run at {said} here.", device, rates)


@cache
def _measured(hidden: int, tokens: int, device: str) -> dict[str, float]:
    def rate(dtype: torch.dtype, rows: int, seconds: float) -> float:
        left = torch.ones(rows, hidden, dtype=dtype, device=device)
        right = torch.ones(hidden, 4 * hidden, dtype=dtype, device=device)
        return product_rate(lambda: torch.mm(left, right), 8 * rows * hidden**2, device, seconds)

    few = rate(torch.bfloat16, _FEW_ROWS, 0.0)
    if few <= HOPELESS * rate(torch.float32, _FEW_ROWS, 0.0):
        return {"float32": rate(torch.float32, tokens, 0.05), "bfloat16": few}
    # Alternately, the best of each: any other load on the machine slows both alike.
    turns = [[rate(dtype, tokens, 0.02) for dtype in (torch.float32, torch.bfloat16)] for _ in range(3)]
    return {"float32": max(turn[0] for turn in turns), "bfloat16": max(turn[1] for turn in turns)}


def product_rate(
    work: Callable[[], object],
    operations: int,
    device: str = "cpu",
    seconds: float = 0.05,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return the rate of a piece of work in 10⁹ operations a second, done again for so many seconds."""

    def done() -> float:
        if device != "cpu":
            torch.cuda.synchronize()
        return clock()

    work()
    start, times = done(), 0
    while times == 0 or done() - start < seconds:
        work()
        times += 1
    return operations * times / max(done() - start, 1e-9) / 1e9
