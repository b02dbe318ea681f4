"""A training in several processes, as `accelerate launch` or `torchrun` start them: one run, shared work.

    accelerate launch --multi_gpu --num_processes 2 -m training train quick     # two processes, GPUs or not

Each process is the same command. The first one makes the run and does all that only one must do; the others
take the run from it (`taken`) and compute their share of each batch. Importing this loads no torch.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from inference.common.errors import RecipeError, RunError
from training.recipes import Recipe
from training.runs.log import RunLog

_PATIENCE = timedelta(days=2)
"""The others wait while the first one waits in the queue, or fills the trunk's cache."""
_KEY, _NONE = "tweettune/run", "none"


def processes() -> int:
    """Return how many processes were launched together; 1 is usual."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return int(os.environ.get("RANK") or 0) == 0


def check(recipe: Recipe) -> None:
    """Raise RecipeError when a batch can't be shared among the processes, RunError without a launcher."""
    if processes() > 1:
        _store()
    if recipe.batch_size % processes():
        raise RecipeError(
            f"batch_size is {recipe.batch_size}, and {processes()} processes share each batch. "
            f"Give a multiple of {processes()}."
        )


def hand_on(run: str) -> None:
    """Pass the run to the other processes, if there are any; "": none. The first call counts."""
    if processes() > 1:
        _store().compare_set(_KEY, "", run or _NONE)


def taken() -> str:
    """Return the run that the first process has made, as soon as it is made; "" when there is none."""
    return bytes(_store().get(_KEY)).decode().removeprefix(_NONE)


def _store() -> Any:
    """Return what the launcher keeps for its processes."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # noqa: PLC0415

    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise RunError(
            f"WORLD_SIZE is {processes()}, but no launcher answers. Start the processes with `accelerate "
            "launch --multi_gpu --num_processes 2 -m training train`, or unset WORLD_SIZE."
        )
    at = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(*at, is_master=False, timeout=_PATIENCE)


@contextmanager
def first_alone() -> Iterator[None]:
    """Within it the first process works, then the others, which find what it has cached."""
    if processes() == 1:
        yield
        return
    import torch  # noqa: PLC0415
    from accelerate import PartialState  # type: ignore[import-untyped]  # noqa: PLC0415

    state = PartialState(cpu=not torch.cuda.is_available(), timeout=_PATIENCE)
    with state.main_process_first():
        yield


def any_of_us(asked: bool) -> bool:
    """Whether one of the processes says so; they all get the same answer."""
    if processes() == 1:
        return asked
    import torch  # noqa: PLC0415
    from accelerate import PartialState  # noqa: PLC0415

    found = torch.tensor(float(asked), device=PartialState().device)
    torch.distributed.all_reduce(found)
    return bool(found)


def part() -> None:
    """End what the processes share: from here on the first one works alone."""
    if processes() > 1:
        import torch  # noqa: PLC0415

        torch.distributed.destroy_process_group()


class Mute(RunLog):
    """The log of a process that is not the first: nothing is written."""

    def event(self, kind: str, **content: object) -> None:
        """Drop it."""

    def _status(self, state: str, message: str = "") -> None:
        """Drop it."""
