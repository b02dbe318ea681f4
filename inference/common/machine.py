"""What this process may use: a container's share of the cores, and no GPU that is lent for a call only.

    cores()            # 2 in a two-core Space, whatever the host has
    peak_memory_mb()   # 2134.2
    is_zero_gpu()      # True on a Space whose GPU comes and goes

Knows nothing about who uses them.
"""

import os
import re
from contextlib import suppress
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def is_zero_gpu() -> bool:
    """Return whether this is a Space on ZeroGPU, where PyTorch claims a GPU that is not there yet."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def cores(*, quota: Path = _QUOTA) -> int:
    """Return the cores that the scheduler and the control group's quota leave to this process, at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if os.environ.get("OMP_NUM_THREADS", "").isdecimal():  # so says who runs several of us, as Ray does
        allowed = min(allowed, int(os.environ["OMP_NUM_THREADS"]))
    try:
        limit, period = quota.read_text(encoding="ascii").split()
        return max(1, min(allowed, -(-int(limit) // int(period))))
    except (OSError, ValueError):  # no control group, or "max"
        return max(1, allowed)


def peak_memory_mb() -> float | None:
    """Return the most memory that this process has held, in MB, None where it can't be known."""
    with suppress(OSError):  # Linux alone has it
        if found := re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii")):
            return int(found[1]) / 1024
    return None
