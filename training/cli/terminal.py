"""What a run looks like in a terminal: a bar and the time left, or plain lines where there is no terminal.

    status = follow(run)          # until it ends
    print_result(run)

Knows nothing about training: it reads the run's folder, as the app does.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from inference.common.errors import RunError
from inference.common.progress import is_interactive, shown_progress
from inference.common.store import JsonObject
from inference.common.text import one_line
from inference.common.wording import in_words, percent
from training.doctor.diagnose import command, examine
from training.evaluate.scores import BASE, SINGLE_SCORES, TUNED, Evaluation
from training.runs.process import cancel
from training.runs.records import RECIPE, Status
from training.runs.run import ACTIVE, TRAIN, Run, ahead_of

if TYPE_CHECKING:
    from inference.selective import Selective
    from training.audit.findings import Audit
    from training.data.add_labels import LabelsReport
    from training.data.preview import Preview  # it imports datasets, which following a run can do without
    from training.ladder.results import Ladder
    from training.studies.adapt_order import Adapted
    from training.studies.forecast_order import Forecast
    from training.studies.forgetting_order import Forgetting
    from training.studies.order import Search


def is_at_a_desktop() -> bool:
    """Whether the user has a screen to open a browser on."""
    screen = sys.platform != "linux" or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    return is_interactive() and screen


def follow(run: Run, *, quiet: bool = False) -> Status:
    """Show a run's progress on stderr until it ends, and return how it ended."""
    console = Console(stderr=True, quiet=quiet, soft_wrap=True, highlight=False)
    with shown_progress(console) as show:
        for status in _watched(run, console):
            left = "" if status.time_left_s is None else f"{in_words(status.time_left_s)} left"
            if status.state == "queued" and (waits := len(ahead_of(run))):
                show(0.0, f"its place in the queue is {waits}", "waiting")
            else:
                show(status.progress, left, status.phase or "starting")
    return status


def follow_to_the_end(run: Run, *, quiet: bool = False) -> None:
    """Show a run until it ends; Ctrl-C cancels it. Raises RunError unless it is finished then."""
    sys.stderr.write(f"Run {run.id}, in {run.path}\n")
    try:
        status = follow(run, quiet=quiet)
    except KeyboardInterrupt:
        sys.stderr.write("Cancelling: the run stops at its next step.\n")
        cancel(run)
        status = follow(run, quiet=quiet)
    if status.state != "finished":
        raise RunError(status.message or f"The run {run.id} is {status.state}. Its log.txt may say why.")


def _watched(run: Run, console: Console) -> Iterator[Status]:
    """Print the run's messages from now on, and yield its status repeatedly until it has ended."""
    began, seen, reported = time.time() - 1, 0, set[str]()
    while True:
        status, events = run.status(), run.events()
        for event in events[seen:]:
            if event["time"] >= began and (sentence := _sentence(event)):
                console.print(sentence, markup=False)
                if event["kind"] == "validation" and run.kind == TRAIN:
                    new = [one for one in examine(run) if one.fault not in reported]
                    reported |= {one.fault for one in new}
                    for one in new:
                        console.print(one.sentence, markup=False)
        seen = len(events)
        yield status
        if status.state not in ACTIVE:
            return
        time.sleep(0.3)


def _sentence(event: JsonObject) -> str | None:
    match event["kind"]:
        case "note":
            return str(event["text"])
        case "data":
            return "\n".join(event["sentences"])
        case "estimate":
            duration, rate = in_words(event["seconds"]), event["gflops"]
            return f"This will take about {duration} on this machine ({rate:.0f} GFLOP/s)."
        case "validation" if "accuracy" not in event:
            return f"epoch {event['epoch']:.1f}: loss on held-out texts {event['loss']:.3f}"
        case "validation":
            return (
                f"epoch {event['epoch']:.1f}: validation accuracy {100 * event['accuracy']:.1f} %, "
                f"macro-F1 {100 * event['macro_f1']:.1f} %, loss {event['loss']:.3f}"
            )
        case _:
            return None


def _out(width: int = 100) -> Console:
    """Return standard output, of this width where it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else width, highlight=False)


def _say(console: Console, sentences: Iterable[str]) -> None:
    for sentence in sentences:
        console.print(sentence, soft_wrap=True, markup=False)


def print_preview(seen: "Preview") -> None:
    """Print a preview of a data set: what was left out, class balance, lengths, some rows."""
    console = _out()
    _say(console, seen.sentences())
    highest = max(part.n for part in seen.lengths)
    block = "#" if console.options.ascii_only else "█"
    for part in seen.lengths:
        bar = block * round(30 * part.n / highest)
        console.print(f"{part.low:>6}-{part.high:<6} {bar} {part.n:,}", markup=False)
    table = Table("label", "text")
    for row in seen.rows:
        table.add_row(Text(row.label), Text(one_line(row.text)))
    console.print(table)


def print_labelled(report: "LabelsReport") -> None:
    """Print the texts of a file of labels that are not added: conflicts with their labels, and duplicates."""
    table = Table("left out", "labels", "text")
    for conflict in report.shown_conflicts:
        why = "contradicts train" if conflict.with_train else "contradicts itself"
        table.add_row(why, Text(", ".join(conflict.labels)), Text(one_line(conflict.text)))
    for text in report.shown_duplicates:
        table.add_row("is there already", "", Text(one_line(text)))
    if table.row_count:
        _out().print(table)


def print_result(run: Run) -> None:
    """Print the before/after table of a finished run, and what is wrong with it."""
    if evaluation := run.evaluation():
        print_scores(evaluation, title=f"Run {run.id}, on the locked test split")
    found = examine(run)
    lines = [one.sentence for one in found]
    if again := command(run.path / RECIPE, found):
        lines.append(f"Try: {again}")
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def print_scores(evaluation: Evaluation, *, title: str) -> None:
    """Print the fine-tuned model's scores, with the base's beside them where they are there."""
    names = {BASE: "base, zero-shot", TUNED: TUNED}
    shown = [system for system in evaluation.systems if system.name in names]
    table = Table(title=f"{title} (n = {evaluation.n}, percent, 95 % interval)", title_justify="left")
    table.add_column("")
    for system in shown:
        table.add_column(names[system.name], justify="right")
    for score in SINGLE_SCORES:
        cells = [percent(getattr(system.scores, score)) for system in shown]
        table.add_row(score.replace("_", " "), *cells)
    for label in evaluation.labels:
        there = label not in evaluation.absent
        cells = [percent(system.scores.per_class_f1.get(label) if there else None) for system in shown]
        table.add_row(f"F1 of {label}", *cells)
    console = _out()
    console.print(table)
    if comparison := evaluation.comparison(BASE, TUNED):
        console.print(comparison.sentence, soft_wrap=True)
    for sure in evaluation.selective:
        console.print(_selective(sure, TUNED), soft_wrap=True, markup=False)
    _say(console, evaluation.sentences())


def _selective(sure: "Selective", name: str) -> str:
    if sure.threshold is None:
        return f"No threshold makes {sure.wanted:.0%} of the answers of {name} right on the validation rows."
    return (
        f'For {sure.wanted:.0%} right, {name} says "I don\'t know" below {sure.threshold:.2f}: it answers '
        f"{percent(sure.answered)} % of the rows and is right on {percent(sure.right)} % of these."
    )


def print_forecast(found: "Forecast") -> None:
    """Print the points of a forecast, and what follows from them."""
    table = Table("labels", "accuracy %", "by seed", title="validation split", title_justify="left")
    for one in found.points:
        seeds = " ".join(f"{100 * seed:.1f}" for seed in one.accuracies)
        table.add_row(f"{one.labels:,}", f"{100 * one.mean:.1f}", seeds)
    console = _out()
    console.print(table)
    _say(console, [] if found.refused else found.sentences())  # a refusal is the command's error


def print_audit(found: "Audit") -> None:
    """Print what an audit found."""
    _say(_out(), found.sentences())


def print_adapted(found: "Adapted") -> None:
    """Print what an adaptation changed, and how both models go on."""
    console = _out(140)
    _say(console, found.sentences())
    table = Table("held-out text begins", "before", "after", title="how they go on", title_justify="left")
    for one in found.generations:
        table.add_row(*(Text(one_line(text)) for text in (one.prompt, one.before, one.after)))
    if table.row_count:
        console.print(table)


def print_forgetting(found: "Forgetting") -> None:
    """Print the dial of each run: accuracy against general language, and what follows."""
    console = _out(140)
    for one in found.runs:
        title = f"{one.run}, {one.rows:,} validation rows"
        table = Table("share of the change", title=title, title_justify="left")
        for name in ("accuracy %", "general text, bits per character"):
            table.add_column(name, justify="right")
        for point in one.points:
            table.add_row(f"{point.share:.1f}", f"{100 * point.accuracy:.1f}", f"{point.bits:.3f}")
        console.print(table)
    _say(console, found.sentences())


def print_search(found: "Search") -> None:
    """Print the trials of a search, the best first, and what it found."""
    table = Table(
        "trial", "macro-F1 %", "seeds", "s", "settings", title="validation split", title_justify="left"
    )
    for one in sorted(found.trials, key=lambda one: -one.mean):
        values = (f"{name}={f'{v:.3g}' if isinstance(v, float) else v}" for name, v in one.params.items())
        score = one.state if one.macro_f1 is None else f"{100 * one.mean:.1f}"
        score += " pruned" if one.state == "pruned" else ""
        seeds = " ".join(f"{100 * seed:.1f}" for seed in one.by_seed)
        table.add_row(str(one.number), score, seeds, f"{one.seconds:.0f}", Text(" ".join(values)))
    console = _out(140)
    console.print(table)
    if found.importances:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in found.importances.items())
        console.print(f"What explains the spread of the scores: {shares}.", soft_wrap=True)
    _say(console, found.sentences())


def print_ladder(ladder: "Ladder") -> None:
    """Print what a ladder found, the best step first, and whether it is really better than the next one."""
    titles = (
        "accuracy %",
        "macro-F1 %",
        "calibration error %",
        "labels",
        "minutes",
        "ms a tweet",
        "$ per 1,000",
    )
    table = Table("step", *titles, title=f"test split, n = {ladder.n:,}", title_justify="left")
    for step in ladder.ranked:
        error = step.scores.expected_calibration_error.value
        table.add_row(
            step.name,
            percent(step.scores.accuracy),
            percent(step.scores.macro_f1),
            f"{100 * error:.1f} → {100 * step.calibration_error_after.value:.1f}",
            f"{step.labels_used:,}",
            f"{step.minutes_to_prepare:.1f}",
            f"{step.ms_a_tweet:.1f}",
            f"{step.usd_a_thousand:.4f}",
        )
    console = _out(140)
    console.print(table)
    console.print(ladder.headline, soft_wrap=True, markup=False)
    if sure := ladder.ranked[0].selective:
        console.print(_selective(sure, ladder.ranked[0].name), soft_wrap=True, markup=False)
    _say(console, ladder.sentences()[1:])
