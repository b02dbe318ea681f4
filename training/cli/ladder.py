"""The commands that measure every way on the same rows, and what is new: `ladder`, `advise` and `freshness`.

add_commands(commands)
"""

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from inference.artifact import RUNGS as KEPT
from inference.common.command import Commands, add_command, option, print_found
from inference.common.errors import RunError
from inference.common.store import write_jsonl
from training.cli.options import BASE, DATASET, RUN, data_options
from training.cli.studies import follow
from training.ladder.order import CORE_HOUR_USD, COSTS, MADE, RUNGS, STEPS, Order
from training.recipes import change
from training.runs import process
from training.runs.run import LADDER, Run, create_run, find_run, list_runs, with_whole_paths

if TYPE_CHECKING:
    from inference.classifier import Classifier


def add_commands(commands: Commands) -> None:
    """Add `ladder`, `advise` and `freshness` to the parser."""
    rungs = "\n".join(f"  {name:22} {kind.about}" for name, kind in RUNGS.items())
    sub = add_command(
        commands,
        LADDER,
        _ladder,
        "measure every way from zero labels to full fine-tuning on the same locked test rows",
        epilog=f"rungs:\n{rungs}",
    )
    option(sub, "--rungs NAMES", "some of the rungs, as zero-shot,lora (default: all)")
    option(
        sub,
        "--add-to LADDER",
        "measure rungs that this ladder lacks, on its rows, beside what it has measured",
    )
    option(sub, "--labels NUMBERS", "training labels, as 96,300,1000", default="1000")
    option(sub, "--balanced", "draw as many training rows of each class (default: in their shares)")
    option(sub, "--seed SEED", "what rows and examples are drawn by", default=42)
    option(
        sub,
        "--limit N",
        "a quick look: take N test rows only, and at most N to choose on (default: all)",
        default=0,
    )
    option(sub, "--base BASE", BASE, default="auto")
    option(sub, "--dataset DATASET", DATASET, default="auto")
    data_options(sub)
    option(sub, "--price USD", "what a core costs for an hour, in dollars", default=CORE_HOUR_USD)
    option(
        sub,
        "--precision SHARE",
        'share of right answers that is wanted where a step may say "I don\'t know" (default: 0.9)',
        default=0.9,
    )
    option(sub, "--cost", "what the second picture draws accuracy against", default="ms", choices=COSTS)
    option(
        sub,
        "--keep",
        "keep the trained networks, too, each as large as the base; the other rungs are always kept",
    )
    sub = add_command(
        commands,
        "advise",
        _advise,
        "fine-tune, retrieve, or both? A recommendation from the numbers of a finished ladder",
    )
    option(sub, "run LADDER", "the ladder's name or folder (default: the newest)", nargs="?")
    option(sub, "--labels N", "labels at hand (default: the most that the ladder used)", type=int)
    option(sub, "--posts N", "posts a day", default=10_000)
    option(
        sub,
        "--changes N",
        "how often a month the subject changes: a training each, or labels for an index (default: 0)",
        default=0.0,
    )
    sub = add_command(
        commands,
        "freshness",
        _freshness,
        "see how a run's model takes up a new word: from labelled texts in its index, or by training on them",
    )
    option(sub, *RUN)
    option(sub, "--labels NUMBERS", "labelled texts with the word", default="8,32")
    option(
        sub,
        "--train",
        "train anew with each number of them, too: a run each, which is kept and not trained twice",
    )


def _freshness(given: argparse.Namespace) -> int:
    from training.ladder.freshness import freshness_of, save_freshness

    run, counts = find_run(given.run), [_number(part) for part in _listed(given.labels)]
    if not counts or min(counts) < 1:
        raise RunError("--labels takes numbers of 1 or more, as 8,32.")
    if given.train and run.recipe.more_data:
        raise RunError(f"{run.id} has more_data already, so --train can't add to it. Leave --train out.")

    def teach(texts: Sequence[str], labels: Sequence[str]) -> "Classifier":
        return _trained_on(run, texts, labels, quiet=given.json)

    found = freshness_of(run, counts=counts, teach=teach if given.train else None)
    save_freshness(found, run)
    return print_found(given, {**asdict(found), "sentences": found.sentences()}, found.sentences())


def _trained_on(run: Run, texts: Sequence[str], labels: Sequence[str], *, quiet: bool) -> "Classifier":
    """Return what a run's recipe makes of its rows and more: a run of its own, or the one that is there."""
    from inference.classifier import Classifier
    from training.cli.terminal import follow_to_the_end

    more = run.path / f"freshness-{len(texts)}.jsonl"
    write_jsonl(more, ({"text": text, "label": name} for text, name in zip(texts, labels, strict=True)))
    changes = {"more_data": str(more), "name": f"{run.recipe.name}-fresh-{len(texts)}"}
    recipe = change(run.recipe, changes)
    known = (one for one in list_runs() if one.known_recipe == recipe and one.status().state == "finished")
    trained = next(known, None)
    if trained is None:
        trained = create_run(recipe)
        process.start(trained)
        follow_to_the_end(trained, quiet=quiet)
    return Classifier.load(trained.artifact)


def _advise(given: argparse.Namespace) -> int:
    from training.ladder.advice import advise
    from training.ladder.freshness import measured_freshness
    from training.ladder.results import Ladder

    known = [run for run in list_runs(kind=LADDER) if run.status().state == "finished"]
    if not (given.run or known):
        raise RunError("There is no finished ladder yet. Measure one with `python -m training ladder`.")
    run = find_run(given.run, kind=LADDER) if given.run else known[0]
    ladder = Ladder.read(run.path)
    if ladder is None:
        state = run.status().state
        if state == "finished":
            raise RunError(f"The ladder {run.id} has no {Ladder.FILE} that can be used. Measure it again.")
        raise RunError(f"The ladder {run.id} is {state}: it has no results yet. Take a finished one.")
    if not 0 <= given.changes < float("inf"):
        raise RunError(f"--changes is {given.changes:g}. Give a number of 0 or more.")
    most = max(step.labels_used for step in ladder.steps)
    labels = most if given.labels is None else given.labels
    advice = advise(
        ladder,
        labels=labels,
        posts_a_day=given.posts,
        changes_a_month=given.changes,
        freshness=measured_freshness(ladder.rows.data) if ladder.rows else None,
    )
    record = {"run": run.id, "way": advice.way, "step": advice.step.name, "sure": advice.sure}
    record |= {"usd_a_month": advice.usd_a_month, "sentences": advice.sentences}
    record |= {"freshness": advice.freshness and asdict(advice.freshness)}
    return print_found(given, record, advice.sentences)


def _ladder(given: argparse.Namespace) -> int:
    order = Order(
        rungs=tuple(RUNGS) if given.rungs is None else _listed(given.rungs),
        labels=tuple(_number(part) for part in _listed(given.labels)),
        balanced=given.balanced,
        seed=given.seed,
        limit=given.limit,
        base=given.base,
        dataset=given.dataset,
        text_column=given.text_column or "",
        label_column=given.label_column or "",
        price=given.price,
        precision=given.precision,
        cost=given.cost,
        keep=given.keep,
    )
    before = find_run(given.add_to, kind=LADDER) if given.add_to else None
    if before:
        order = _more(Order.from_json(before.order), order)
    recipe = with_whole_paths(order.recipe)  # a wrong setting is an error before anything starts
    order = replace(order, base=recipe.base, dataset=recipe.dataset)
    run = order.create(name=order.dataset.rsplit("/", 1)[-1])
    if before:
        skipped = shutil.ignore_patterns(MADE)  # what several steps shared is gone
        shutil.copytree(before.path / STEPS, run.path / STEPS, ignore=skipped)
        if (before.path / KEPT).is_dir():
            shutil.copytree(before.path / KEPT, run.path / KEPT)
    return follow(run, given)


def _more(before: Order, asked: Order) -> Order:
    """Return the order of a ladder with more rungs. Raises RunError where it would be another ladder."""
    plain = Order()
    own = [name for name in vars(plain) if name not in ("rungs", "cost", "keep")]
    if changed := [name for name in own if getattr(asked, name) != getattr(plain, name)]:
        raise RunError(
            f"--add-to keeps the ladder's own rows and settings, so leave {', '.join(changed)} out, or start "
            "a new ladder without --add-to."
        )
    rungs = tuple(name for name in RUNGS if name in {*before.rungs, *asked.rungs})
    return replace(before, rungs=rungs, cost=asked.cost, keep=asked.keep)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, text.split(","))))


def _number(text: str) -> int:
    if not text.isdecimal():
        raise RunError(f"--labels takes whole numbers with commas, as 96,300,1000, and {text!r} is none.")
    return int(text)
