"""How far something is: a bar in a terminal, plain lines elsewhere and in CI; and yes-or-no questions.

    with shown_progress() as show:
        show(0.25, "3 min left", "training")

Everything goes to standard error.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console

LINE_EVERY_S = 10.0


class Show(Protocol):
    """Shows the share that is done, from 0 to 1, and a sentence on it."""

    def __call__(self, share: float, sentence: str, phase: str = "") -> None:
        """Show them; `phase` is the name of what is being done."""


def is_interactive() -> bool:
    """Return whether a person watches: a terminal, and not CI."""
    return sys.stderr.isatty() and os.environ.get("CI", "").lower() not in ("true", "1")


@contextmanager
def shown_progress(
    console: "Console | None" = None, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[Show]:
    """Show progress while within: a bar, or a line for each phase and every ten seconds.

    `console`: where sentences are printed meanwhile; a quiet one shows nothing.
    """
    from rich.console import Console  # noqa: PLC0415  (importing a command shows its help at once)
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn  # noqa: PLC0415

    console = console or Console(stderr=True, soft_wrap=True, highlight=False)
    if not is_interactive() or console.quiet:
        yield _lines(console, clock)
        return
    columns = (
        SpinnerColumn("line" if console.options.ascii_only else "dots"),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[sentence]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0, sentence="")

        def show(share: float, sentence: str, phase: str = "") -> None:
            bar.update(task, completed=share, sentence=sentence, description=phase)

        yield show


def _lines(console: "Console", clock: Callable[[], float]) -> Show:
    printed_s, printed_phase = clock(), ""

    def show(share: float, sentence: str, phase: str = "") -> None:
        nonlocal printed_s, printed_phase
        if sentence and (clock() - printed_s >= LINE_EVERY_S or phase != printed_phase):
            printed_s, printed_phase = clock(), phase
            line = f"{phase}: {share:.0%}, {sentence}" if phase else f"{share:.0%}: {sentence}"
            console.print(line, markup=False)

    return show


def agreed(question: str) -> bool | None:
    """Ask a question at the terminal and return whether the answer is yes; None where nobody can answer."""
    if not sys.stdin.isatty():
        return None
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes", "s", "sim")
