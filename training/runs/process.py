"""The process of a run: is there room, start, cancel, resume, and how it ends.

    start(run)                      # a child process; this one may end, the run goes on
    cancel(run); resume(run)        # a cancelled, failed or interrupted training goes on from its checkpoint
    start_waiting()                 # restart those that waited when the machine went down

Runs take turns: the process of each waits until no other is at work and none was started before it.

    stop = Stop()                   # in the child: SIGTERM is a request to stop in good order
    wait_in_queue(run)
    with FinalStatus(log) as final: # its last word is one sentence in the run's status
        train_run(run, log, stop)   # raises Cancelled on a request to stop
    sys.exit(final.exit_status)

Memory and disk are checked before a training starts, so that it is refused, not killed. The requirement is
a lower bound, from the base's parameters: a refusal is right, but a run that passes may still be too big,
since long texts and large batches come on top. Importing this loads no torch.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType

import psutil

from inference.common.errors import RunError, TweetTuneError
from inference.common.store import Damaged, JsonObject, append_event, write_json
from inference.common.wording import size
from training.recipes import Recipe
from training.runs import launch
from training.runs.log import RunRecord
from training.runs.records import EVENTS, SPENT, STATUS, WORKER, Spent, Status, read_as
from training.runs.run import ACTIVE, RESUMABLE, TRAIN, Run, ahead_of, list_runs, runner_of

_CODE = Path(__file__).resolve().parent.parent.parent
_children: list[subprocess.Popen[bytes]] = []  # kept, so that a worker that ends is reaped
PARAMETERS = {
    "auto": 124_000_000,
    "embedded": 135_000_000,
    "openai-community/gpt2": 124_000_000,
    "gpt2": 124_000_000,
    "distilbert/distilgpt2": 82_000_000,
    "openai-community/gpt2-medium": 355_000_000,
    "openai-community/gpt2-large": 774_000_000,
    "openai-community/gpt2-xl": 1_558_000_000,
}
"""Parameters of the bases that are known in advance."""
PROCESS_BYTES = 600_000_000
"""A training process with its libraries, before any model. Measured: 0.6 GB."""
RESERVE_BYTES = 200_000_000
"""Disk that stays free: for logs, for the caches of others."""
_HEADER_MOST = 100_000_000
_PATIENCE_S = 5.0
_GROUP = Path("/sys/fs/cgroup")


def start(
    run: Run,
    *,
    max_minutes: int = 0,
    handed: JsonObject | None = None,
    environment: Mapping[str, str] | None = None,
    command: Sequence[str] = (sys.executable, "-m", "training.worker"),
) -> None:
    """Start a run's process, which outlives this one.

    `max_minutes`: after which a training is stopped, its earlier processes included; 0: never. `handed`:
    secrets, by standard input, so that no file and no list of processes shows them. Raises RunError if it
    runs already, is finished, or if memory or disk are too small for it.
    """
    with _alone(run):
        _start(run, max_minutes, handed, environment, command)


@contextlib.contextmanager
def _alone(run: Run) -> Iterator[None]:
    """Lock the start of this run: two processes would write to one folder."""
    folder = os.open(run.path, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # the system lets go of it when this process dies
        yield
    finally:
        os.close(folder)


def _start(
    run: Run,
    max_minutes: int,
    handed: JsonObject | None,
    environment: Mapping[str, str] | None,
    command: Sequence[str],
) -> None:
    run.check()
    state, spent = run.status().state, spent_s(run)
    if state == "finished" or (state in ACTIVE and run.was_started):
        raise RunError(f"The run {run.id} is {state} already. See it with `python -m training runs`.")
    if runner := runner_of(run):
        runner.check_start(run)
    elif launch.processes() > 1 and run.kind != TRAIN:
        raise RunError("Only a training works in several processes. Start this without a launcher.")
    elif run.kind == TRAIN and not ahead_of(run):  # else it is checked when its turn comes
        _check_room(run, state)
    known = {"OMP_WAIT_POLICY": "PASSIVE", **(os.environ if environment is None else environment)}
    known |= {"PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"}
    known |= {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8:backslashreplace"}  # of its log, whatever ours is
    known["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_CODE), known.get("PYTHONPATH")]))
    minutes = ["--max-minutes", str(max_minutes)] if max_minutes else []
    try:
        if spent:
            write_json(run.path / SPENT, {"seconds": spent})
        write_json(run.path / STATUS, {"state": "queued", "started_at": time.time()})
        (run.path / WORKER).unlink(missing_ok=True)
        with (run.path / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                [*command, str(run.path), *minutes],
                stdin=subprocess.DEVNULL if handed is None else subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=known,
                start_new_session=True,  # Ctrl-C in a terminal and a closed app must not reach it
            )
        for child in (*_children, process):
            child.poll()  # those that have ended are reaped
        _children.append(process)
        try:
            created = psutil.Process(process.pid).create_time()
            write_json(run.path / WORKER, {"pid": process.pid, "created": created})
        except OSError:
            process.kill()  # nobody could find it, or stop it
            raise
        if process.stdin:
            with contextlib.suppress(BrokenPipeError), process.stdin as stdin:  # it has ended already
                stdin.write(json.dumps(handed).encode() + b"\n")
    except OSError as error:
        raise RunError(
            f"The run {run.id} can't be started ({error.strerror or error}). Free the disk."
        ) from error


def spent_s(run: Run) -> float:
    """Return for how many seconds a run's processes have worked so far, the one at work included."""
    before, worker = read_as(Spent, run.path / SPENT) or Spent(), run.worker()
    files = [run.path / name for name in (STATUS, EVENTS)]
    last = max((file.stat().st_mtime for file in files if file.exists()), default=0.0)
    return before.seconds + max(0.0, last - worker.created - worker.waited_s if worker else 0.0)


def wait_in_queue(run: Run, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait, in a run's process, for the runs ahead of it. Raises Cancelled, or NotEnoughRoom after a wait."""
    if not ahead_of(run):
        return
    began = time.monotonic()
    try:
        while ahead_of(run):
            sleep(1.0)
    finally:  # waiting is not counted as work
        if worker := run.worker():
            waited = dataclasses.replace(worker, waited_s=time.monotonic() - began)
            write_json(run.path / WORKER, dataclasses.asdict(waited))
    if run.kind == TRAIN:
        _check_room(run, "running")


def start_waiting(*, max_minutes: int = 0) -> list[Run]:
    """Restart, in order, the runs that were queued when the machine went down."""
    waited = []
    for run in list_runs(kind=None):
        worker = run.worker()
        with contextlib.suppress(Damaged):
            status = read_as(Status, run.path / STATUS)
            died = worker and not worker.alive and not worker.cancelled
            if died and status and status.state == "queued" and run.can_resume and not runner_of(run):
                waited.append((status.started_at or 0.0, run))
    started = []
    for _, run in sorted(waited, key=lambda one: one[0]):
        with contextlib.suppress(RunError):  # its status says why
            start(run, max_minutes=max_minutes)
            started.append(run)
    return started


def cancel(run: Run) -> None:
    """Ask a run to stop: a training at its next step, with a checkpoint. Raises RunError when it is over."""
    worker, state = run.worker(), run.status().state
    if state not in ACTIVE and (runner := runner_of(run)) and runner.cancel(run):
        return
    run.check()
    if state not in ACTIVE or worker is None:
        raise RunError(f"The run {run.id} is not running ({state}): there is nothing to cancel.")
    when = " at the next step" if run.kind == TRAIN else ""
    append_event(run.path / EVENTS, "note", text=f"Cancelling: it stops{when}.")
    # it may be too young to say so itself
    write_json(run.path / WORKER, dataclasses.asdict(dataclasses.replace(worker, cancelled=True)))
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        if run.kind == TRAIN:
            os.kill(worker.pid, signal.SIGTERM)
        else:  # with the processes that it has started
            os.killpg(worker.pid, signal.SIGTERM)


def end(run: Run) -> None:
    """End a run's process with all that it has started, kindly first, and wait for that."""
    worker = run.worker()
    if worker is None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _PATIENCE_S
        while worker.alive and time.monotonic() < deadline:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, number)
            time.sleep(0.05)


def resume(run: Run, *, max_minutes: int = 0) -> None:
    """Start a cancelled, failed or interrupted run again where it stopped. Raises RunError for a push."""
    run.check()
    status = run.status()
    if not run.can_resume:
        raise RunError(f"{run.id} is no training: it can't be resumed. Push again: nothing is sent twice.")
    if not run.can_start(status):
        raise RunError(
            f"The run {run.id} is {status.state}: only a {', '.join(RESUMABLE)} run can be resumed."
        )
    start(run, max_minutes=max_minutes)


def _check_room(run: Run, state: str) -> None:
    try:
        if unchecked := check_room(run.recipe, run.path):
            append_event(run.path / EVENTS, "note", text=unchecked)
    except NotEnoughRoom as error:
        if state == "queued":  # else it stays what it was, and can be resumed
            write_json(run.path / STATUS, {"state": "failed", "message": str(error)})
        raise


class NotEnoughRoom(RunError):  # noqa: N818
    """The memory or the disk can't hold a run."""


@dataclass(frozen=True)
class Need:
    """The least memory and disk that a run needs."""

    memory_bytes: int
    disk_bytes: int


def free_memory_bytes(*, group: Path = _GROUP) -> int:
    """Return the memory that the machine and the control group's limit leave; file caches count as free."""
    free = int(psutil.virtual_memory().available)
    try:
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
        stat = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):  # no control group, or "max"
        return free
    return max(0, min(free, limit - used + int(stat.get("inactive_file", 0))))


def check_room(
    recipe: Recipe,
    folder: Path,
    *,
    free_memory: Callable[[], int] = free_memory_bytes,
    free_disk: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    on_gpu: bool | None = None,
) -> str:
    """Return "" when a run fits, or a sentence saying that its base's size is not known.

    Raises NotEnoughRoom when it can't fit.
    """
    parameters = parameters_of(recipe.base)
    if parameters is None:
        return f"Memory and disk were not checked: the size of the base {recipe.base} is not known before."
    need = need_of(recipe, parameters, on_gpu=_has_gpu() if on_gpu is None else on_gpu)
    memory, disk = free_memory(), free_disk(folder) - RESERVE_BYTES
    if need.memory_bytes > memory:
        smaller = "method = lora, or a smaller base" if recipe.method == "full" else "a smaller base"
        raise NotEnoughRoom(
            f"The run needs at least {size(need.memory_bytes)} of memory and {size(memory)} is free. "
            f"Take {smaller}, or free memory first."
        )
    if need.disk_bytes > disk:
        raise NotEnoughRoom(
            f"The run needs at least {size(need.disk_bytes)} on the disk of the runs and "
            f"{size(max(disk, 0))} is free. Delete old runs there, or set TWEETTUNE_HOME to a larger disk."
        )
    return ""


def need_of(recipe: Recipe, parameters: int, *, on_gpu: bool = False) -> Need:
    """Return what a run needs at the least, of a base with so many parameters (in float32)."""
    weights = 4 * parameters
    full = recipe.method == "full"
    memory = PROCESS_BYTES + 2 * weights  # the network, and a copy while it is written or compared
    disk = weights
    if full:
        if not on_gpu:
            memory += 2 * weights  # gradients, AdamW's two moments: four times the weights in all
        disk += 2 * 3 * weights  # two checkpoints: weights and moments
    if recipe.onnx:
        disk += weights + parameters  # float32 and int8
    return Need(memory, disk)


def parameters_of(base: str) -> int | None:
    """Return how many parameters a base has, None when that can't be known without fetching it."""
    if base in PARAMETERS:
        return PARAMETERS[base]
    folder = Path(base)
    if folder.is_dir():
        return sum(_elements(path) for path in folder.glob("*.safetensors")) or None
    return _on_hub(base)


def _elements(path: Path) -> int:
    """Return the number of elements of a safetensors file, from its header; 0 for what is none."""
    try:
        with path.open("rb") as file:
            size = struct.unpack("<Q", file.read(8))[0]
            header = json.loads(file.read(size)) if size < _HEADER_MOST else {}
        total = 0
        for name, tensor in header.items():
            if name != "__metadata__":
                elements = 1
                for dimension in tensor["shape"]:
                    elements *= int(dimension)
                total += elements
        return total
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError):
        return 0  # whoever loads it says what is wrong with it


def _on_hub(repo: str) -> int | None:
    from huggingface_hub import HfApi  # noqa: PLC0415  (only a base that is not known asks the Hub)

    from inference.common.hub import PREFLIGHT_S, HubError, preflight  # noqa: PLC0415

    try:
        info = preflight(
            f"find {repo}", lambda: HfApi().model_info(repo, timeout=PREFLIGHT_S, expand=["safetensors"])
        )
    except HubError:
        return None  # whether it can be downloaded at all is found out by the run, in its own words
    return int(info.safetensors.total) if info.safetensors else None


def _has_gpu() -> bool:
    return Path("/dev/nvidia0").exists() and os.environ.get("CUDA_VISIBLE_DEVICES", "all") not in ("", "-1")


class Cancelled(Exception):  # noqa: N818  (it is no error)
    """The run was asked to stop."""


class Stop:
    """SIGTERM asks for an orderly end: at the next step while training, at once elsewhere."""

    def __init__(self) -> None:
        self.asked = self.gently = False
        signal.signal(signal.SIGTERM, self.on_signal)

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        if not self.gently:
            raise Cancelled


class FinalStatus:
    """Wraps a run: writes how it ended to its status, in one sentence."""

    def __init__(self, log: RunRecord, *, cancelled: str = "Cancelled; it can be resumed.") -> None:
        self.log, self.cancelled = log, cancelled
        self.exit_status = 0

    def __enter__(self) -> "FinalStatus":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> bool:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the end is written whole
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        if error is None:
            self.log.finish("finished")
            return True
        self.exit_status = 1
        if isinstance(error, Cancelled):
            self.log.finish("cancelled", self.cancelled)
            return True
        traceback.print_exception(kind, error, where)  # to the run's log.txt
        try:
            self.log.finish("failed", in_one_sentence(error, self.log.run))
        except OSError as full:
            sys.stderr.write(f"The run's end can't be recorded ({full}).\n")
        return True


def in_one_sentence(error: BaseException, run: Path) -> str:
    """Say for people what ended a run, and what to do."""
    if isinstance(error, TweetTuneError):
        return str(error)
    if isinstance(error, OSError):
        what = error.strerror or str(error)
        return (
            f"The run folder {run.name} can't be written or read ({what}). "
            "Free the disk, then resume the run."
        )
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or "not enough memory" in text or "out of memory" in text:
        return "The memory did not suffice. Take a smaller batch_size or max_length and start again."
    if "No space left" in text or "I/O error" in text:  # safetensors has errors of its own
        return (
            f"The run folder {run.name} can't be written ({text[:120]}). Free the disk, then resume the run."
        )
    return f"{type(error).__name__}: {text[:300]}. The run's log.txt has the details."
