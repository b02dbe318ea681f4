"""What the tests share: made-up tweets, commands as a user gives them, and the tests' own training."""

import csv
import fcntl
import os
import pickle
import pty
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training import worker
from training.runs.records import Status
from training.runs.run import ACTIVE, Run

REPOSITORY = Path(__file__).resolve().parent.parent.parent
WORDS = {
    "negative": ["hate", "awful", "sad", "worst", "angry", "broken", "terrible", "lost"],
    "neutral": ["table", "monday", "report", "train", "paper", "number", "meeting", "street"],
    "positive": ["love", "great", "happy", "best", "thanks", "sunny", "wonderful", "win"],
}
FILLERS = ["the", "my", "this", "so", "today", "it", "is", "@friend", "really", "we", "at", "work", "#life"]


def tweets(count: int, *, seed: int = 0, words_known: int = 8) -> list[tuple[str, str]]:
    """Return made-up (text, label) pairs, a third of each label, no two texts alike."""
    rng, rows, seen = random.Random(seed), [], set()
    while len(rows) < count:
        label = list(WORDS)[len(rows) % 3]
        words = rng.choices(FILLERS, k=rng.randint(2, 9)) + rng.choices(
            WORDS[label][:words_known], k=rng.randint(2, 3)
        )
        rng.shuffle(words)
        text = " ".join(words)
        if text not in seen:
            seen.add(text)
            rows.append((text, label))
    return rows


def write_csv(path: Path, rows: list[tuple[str, str]], header: tuple[str, str] = ("text", "label")) -> Path:
    """Write (text, label) pairs as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def once(name: str, make: Callable[[Path], Any]) -> Any:
    """Return what `make` makes at a path of this name; of the processes of a session only one makes it.

    All read it, none may write there.
    """
    place = Path(os.environ["PYTEST_SHARED_FOLDER"], "made", name)
    place.mkdir(parents=True, exist_ok=True)
    kept = place / "returned.pickle"
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_bytes(pickle.dumps(make(place / name)))
    return pickle.loads(kept.read_bytes())


def command(module: str, *arguments: object, **options) -> subprocess.CompletedProcess:
    """Run `python -m MODULE …` to its end, as a user would."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=200,
        **options,
    )


def at_a_terminal(module: str, *arguments: object) -> bytes:
    """Run `python -m MODULE …` to its end as a person at a terminal does; return what they see."""
    ours, theirs = pty.openpty()
    watching = subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env={**os.environ, "CI": "", "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 65536):
            said += part
    except OSError:
        pass  # the other end is closed
    os.close(ours)
    assert watching.wait(timeout=60) == 0
    return said


def wait_for(condition, seconds: float = 120.0, *, every: float = 0.0):
    """Return what the condition returns as soon as it is true; fail when that takes too long.

    Asked `every` so many seconds; unless given, after 5 ms, and the seldomer the longer it has taken.
    """
    began = time.monotonic()
    while (taken := time.monotonic() - began) < seconds:
        if found := condition():
            return found
        time.sleep(every or min(max(0.005, taken / 50), 0.05))
    raise AssertionError(f"it did not happen within {seconds} s")


def wait_until_ended(run: Run) -> Status:
    """Wait for the end of a run, whatever it is."""
    return wait_for(lambda: (s := run.status()).state not in ACTIVE and s, every=0.1)


def work_here(run: Run, *options: str) -> int:
    """Do a run's work as its process does, in this one, and put its signals back. Returns the exit status."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)}
    try:
        return worker.main([str(run.path), *options])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Trained:
    """A finished run of the tests' recipe on a tiny base, and how it was started."""

    run: Run
    base: Path
    data: Path
    stdout: str = ""
    stderr: str = ""

    @property
    def artifact(self) -> Path:
        """The servable folder."""
        return self.run.artifact


LONGER = {
    "epochs": "6",
    "n_train": "200",
    "n_validation": "40",
    "learning_rate": "5e-3",
    "evals_per_epoch": "1",
}
"""Changes to `smoke` that leave time to stop a run midway, and teach the tiny bases something."""


def train_arguments(base: Path, data: Path, run_dir: Path) -> list[str]:
    """Return the command line of the tests' training."""
    changes = [word for pair in LONGER.items() for word in ("--set", "=".join(pair))]
    return ["train", "smoke", "--base", base, "--dataset", data, "--run-dir", run_dir, *changes]
