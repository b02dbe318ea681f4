"""Does the doctor find what is wrong with a run, and leave healthy ones alone?

    python -m benchmarks doctor

Real trainings of a tiny, real GPT-2 (three layers, the one of the tests) on made-up texts, through the same
`train_run` as a person's. Each draw is a healthy setting: 2 to 4 classes, 200 to 400 training rows, texts
whose words speak for their label more or less clearly, LoRA or full, some of the words known to the base. A
sick run is the same draw with one fault added on purpose. A wrong learning rate, too few or too many epochs
don't always do harm: of these 20 runs are made, and those are counted that are right on 5 points fewer of the
test rows than the healthy run of the same draw. The doctor's limits were chosen on draws of other
seeds than those counted here.
"""

import contextlib
import csv
import json
import multiprocessing
import os
import random
import shutil
import tempfile
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from benchmarks import results
from inference.classifier import Classifier
from inference.common.errors import TweetTuneError
from inference.common.machine import cores
from inference.common.store import read_jsonl
from training.doctor.behaviour import behaviour
from training.doctor.diagnose import examine
from training.fit.phases import Pace
from training.fit.run import train_run
from training.recipes import Recipe
from training.runs.log import RunLog
from training.runs.run import Run, create_run

SEED, HEALTHY, SICK, HARM = 9_000, 50, 10, 0.05
"""The first seed, healthy runs, sick runs of each fault, and the least loss of accuracy that is harm."""
Row = tuple[str, str]
WORDS, TAUGHT = 50, 16
"""Words that indicate a class, and how many of them the base links to its name."""


def _words(count: int) -> list[str]:
    rng, found = random.Random(0), {}
    while len(found) < count:
        word = "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(2, 3)))
        found[word] = None
    return list(found)


LABELS = ("negative", "neutral", "positive", "other")
MEANT = ("bad", "plain", "good", "odd")
"""Other names that the base has for them."""
_ALL = _words(len(LABELS) * WORDS + 60)
OF = {label: _ALL[at * WORDS : (at + 1) * WORDS] for at, label in enumerate(LABELS)}
FILLERS = _ALL[len(LABELS) * WORDS :]
NAMES, EMOJI = [f"@{word}" for word in FILLERS[:12]], list("😀😢🎉🔥🌧🚲🍕📷")


@dataclass
class Draw:
    """A training to be made: its rows and its settings."""

    rng: random.Random
    labels: tuple[str, ...]
    shares: list[float]
    sizes: dict[str, int]
    clear: float
    """The probability that an indicating word indicates the right class."""
    settings: dict[str, Any]
    flipped: float = 0.0
    """Share of all labels that are wrong."""
    leaked: float = 0.0
    """Share of the test rows that stand in train, too."""
    marked: Sequence[str] = ()
    """Names or emoji that betray the label, as many for each."""

    @classmethod
    def healthy(cls, seed: int) -> "Draw":
        """Draw a healthy training."""
        rng = random.Random(seed)
        labels = LABELS[: rng.choice((2, 3, 3, 4))]
        method = rng.choice(("lora", "full"))
        low, high = (2e-3, 6e-3) if method == "lora" else (1e-3, 3e-3)
        return cls(
            rng,
            labels,
            [rng.uniform(1, 2) for _ in labels],
            {"train": rng.randint(200, 400), "validation": rng.randint(120, 200), "test": 250},
            rng.uniform(0.85, 0.97),
            {
                "method": method,
                "learning_rate": round(low * (high / low) ** rng.random(), 5),
                "epochs": rng.randint(4, 7),
                "batch_size": 16,
                "trunk_layers": rng.choice(("0", "auto")),
                "evals_per_epoch": rng.choice((1, 2)),
                "head": rng.choice(("words", "words", "random")),
                "label_smoothing": rng.choice((0.0, 0.0, 0.1)),
                "seed": rng.randint(0, 999),
            },
        )

    def write(self, folder: Path) -> None:
        """Write train.csv, validation.csv and test.csv."""
        rows = {split: [self.row() for _ in range(n)] for split, n in self.sizes.items()}
        leaked = self.rng.sample(rows["test"], round(self.leaked * len(rows["test"])))
        rows["train"] = [*rows["train"][len(leaked) :], *leaked]
        folder.mkdir(parents=True)
        for split, some in rows.items():
            with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([("text", "label"), *some])

    def row(self, known: slice = slice(None)) -> Row:
        """Return a text and its label; `known`: the words of a class that are used."""
        rng = self.rng
        [label] = rng.choices(self.labels, self.shares)
        words = rng.choices(FILLERS, k=rng.randint(3, 7)) + rng.choices(NAMES, k=rng.randint(0, 2))
        words += rng.choices(EMOJI, k=rng.randint(0, 1))
        for _ in range(3):
            right = rng.random() < self.clear
            spoken = label if right else rng.choice([one for one in self.labels if one != label])
            words.append(rng.choice(OF[spoken][known]))
        if self.marked:
            each = len(self.marked) // len(self.labels)
            at = each * self.labels.index(label)
            words += rng.choices(self.marked[at : at + each], k=2)
        rng.shuffle(words)
        if rng.random() < self.flipped:
            label = rng.choice([one for one in self.labels if one != label])
        return " ".join(words), label


def _set(draw: Draw, **settings: Any) -> None:
    draw.settings |= settings


def over_fitting(draw: Draw) -> None:
    """40 to 70 rows, 25 times over, all weights"""
    draw.sizes["train"], draw.clear = draw.rng.randint(40, 70), draw.clear - 0.15
    _set(draw, epochs=25, method="full", trunk_layers="0", label_smoothing=0.0, evals_per_epoch=1)


def under_fitting(draw: Draw) -> None:
    """four to seven tenths of one pass over the rows"""
    _set(draw, epochs=round(draw.rng.uniform(0.4, 0.7), 2), evals_per_epoch=4, batch_size=8)


def rate_too_high(draw: Draw) -> None:
    """40 to 100 times the learning rate"""
    _set(draw, learning_rate=min(draw.settings["learning_rate"] * draw.rng.uniform(40, 100), 1.0))


def rate_too_low(draw: Draw) -> None:
    """a hundredth to a three-hundredth of the learning rate"""
    _set(draw, learning_rate=draw.settings["learning_rate"] / draw.rng.uniform(100, 300))


def collapsed(draw: Draw) -> None:
    """all weights at a learning rate of 0.1 to 1 that does not fall"""
    rate = 10 ** draw.rng.uniform(-1, 0)
    _set(draw, method="full", trunk_layers="0", schedule="constant", learning_rate=rate)


def untrained(draw: Draw) -> None:
    """a head from noise, adapters, one pass at a hundredth of the learning rate"""
    rate = draw.settings["learning_rate"] / 100
    _set(draw, head="random", method="lora", epochs=1, learning_rate=rate)


def never(draw: Draw) -> None:
    """a third class of 2 rows in 100, and two passes"""
    draw.labels, draw.shares = LABELS[:3], [1, 1, 0.045]
    draw.sizes["test"] = 400
    _set(draw, epochs=2)


def imbalance(draw: Draw) -> None:
    """three classes of about 82, 12 and 6 rows in 100, and less clear texts"""
    draw.labels, draw.clear = LABELS[:3], draw.clear - 0.1
    draw.shares = [82, 12, draw.rng.uniform(5, 8)]


def noise(draw: Draw) -> None:
    """30 to 45 wrong labels in 100, in all splits"""
    draw.flipped = draw.rng.uniform(0.3, 0.45)


def leak(draw: Draw) -> None:
    """2 to 20 test rows in 100 stand in train too, and the leak gate is off"""
    draw.leaked = draw.rng.uniform(0.02, 0.2)
    _set(draw, leak_gate="off")


def few(draw: Draw) -> None:
    """15 to 60 validation rows"""
    draw.sizes["validation"] = draw.rng.randint(15, 60)


def cut(draw: Draw) -> None:
    """16 to 20 tokens a text, prompt included"""
    _set(draw, max_length=draw.rng.randint(16, 20))


def names(draw: Draw) -> None:
    """user names that betray the label, in texts that say less, learnt in 20 passes"""
    _betray(draw, NAMES)


def emoji(draw: Draw) -> None:
    """emoji that betray the label, in texts that say less, learnt in 20 passes"""
    _betray(draw, EMOJI)


def _betray(draw: Draw, marks: Sequence[str]) -> None:
    draw.marked, draw.clear = marks, 0.5
    _set(draw, epochs=20, method="full", trunk_layers="0", learning_rate=3e-3, label_smoothing=0.0)


TRAINED: dict[str, Callable[[Draw], None]] = {
    "over-fitting": over_fitting,
    "under-fitting": under_fitting,
    "learning rate too high": rate_too_high,
    "learning rate too low": rate_too_low,
    "collapsed head": collapsed,
    "untrained head": untrained,
    "class never predicted": never,
    "imbalance": imbalance,
    "label noise": noise,
    "leak": leak,
    "few validation rows": few,
    "texts cut": cut,
    "user names": names,
    "emoji": emoji,
}
"""The changes of a draw, by the fault that they cause."""
MAY_BE_HARMLESS = {
    "over-fitting",
    "under-fitting",
    "learning rate too high",
    "learning rate too low",
    "collapsed head",
    "untrained head",
}
"""Twice as many are made of these, and only those that are worse than their healthy run are counted."""


def _without_prompt(artifact: Path) -> None:
    """tokenizer.json of a healthy run loses its prompt"""
    _edit(artifact / "tokenizer.json", post_processor=None)


def _other_pad(artifact: Path) -> None:
    """config.json of a healthy run names another pad token, or none"""
    _edit(
        artifact / "config.json",
        pad_token_id=random.Random(artifact.parent.parent.name).choice((None, 300, 400)),
    )


EDITED: dict[str, Callable[[Path], None]] = {"prompt gone": _without_prompt, "pad token": _other_pad}
"""The changes of a healthy run's artifact."""
NOT_MADE = {
    "batch": "the engine pads rightly whatever the texts are: none was made",
    "upper case": "the tiny base has never seen a capital, so that each run, healthy or not, has this fault",
    "negation": "made-up words have no negation",
}
"""Faults that can't be caused with tiny models, and why."""


def _edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), encoding="utf-8")


class _Never:
    asked = gently = False


def base(folder: Path) -> Path:
    """Write the tiny GPT-2. It tells the classes' words apart, and links a third of them to the label."""
    from tests.support.bases import byte_tokenizer, save_gpt2  # noqa: PLC0415  (the tests' model; only here)

    rng = random.Random(7)
    draw, asked = Draw(rng, LABELS, [1, 1, 1, 1], {}, 0.95, {}), []
    for turn in range(4800):
        known = turn % 3 == 0
        text, label = draw.row(slice(TAUGHT) if known else slice(TAUGHT, None))
        asked.append((text, label if known else MEANT[LABELS.index(label)]))
    texts = [" ".join([*_ALL, *NAMES]), f"Tweet: a\nSentiment: {' '.join(LABELS + MEANT)}"] * 20
    folder.mkdir(parents=True)
    tokenizer = byte_tokenizer(folder, texts, vocabulary=1700)
    return save_gpt2(folder / "tiny-gpt2", tokenizer, asked, steps=1800)


def trained(recipe: Recipe, folder: Path) -> Run:
    """Train a run as a user would, to its end or to an error, and return it."""
    run = create_run(recipe, run_dir=folder)
    log = RunLog(run.path)
    with (
        (folder / "log.txt").open("w", encoding="utf-8") as said,
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
        # Seconds a run, and the doctor reads none of it.
        mock.patch("training.fit.prepare.measure", return_value=Pace(1e-6, 100.0)),
        mock.patch("training.fit.run.write_card"),
        mock.patch("training.fit.run._audit"),
    ):
        try:
            train_run(run, log, _Never())
            log.finish("finished")
        except (TweetTuneError, ArithmeticError, RuntimeError, ValueError):  # it is examined all the same
            traceback.print_exc()
            log.finish("failed", "see log.txt")
    return run


def _accuracy(run: Run) -> float | None:
    evaluation = run.evaluation()
    return evaluation.tuned.scores.accuracy.value if evaluation and evaluation.tuned else None


def _behaved(run: Run) -> list[str]:
    texts = [str(row["text"]) for row in read_jsonl(run.path / "validation.jsonl")]
    return [one.name for one in behaviour(Classifier.load(run.artifact, engine="torch"), texts) if one.fault]


def one(job: tuple[str, int], *, base: Path, folder: Path, first: int = SEED) -> list[dict[str, Any]]:
    """Train one run and examine it; "healthy" gives its edited copies too. Returns a record a run."""
    torch.set_num_threads(1)
    fault, number = job
    draw = Draw.healthy(first + number)
    if fault in TRAINED:
        TRAINED[fault](draw)
    place = folder / f"{fault}-{number}"
    draw.write(place / "data")
    recipe = Recipe(name="drawn", base=str(base), dataset=str(place / "data"), **draw.settings)
    run = trained(recipe, place / "run")
    found = examine(run)
    about = {"seed": first + number, "settings": draw.settings, "sizes": draw.sizes}
    record = {"fault": fault, **about, "found": [each.fault for each in found], "accuracy": _accuracy(run)}
    if fault in ("healthy", "user names", "emoji"):
        record["found"] += _behaved(run)
    records = [record]
    if fault == "healthy" and number < SICK:
        for name, edit in EDITED.items():
            shutil.copytree(run.path, place / name)
            edit(place / name / "artifact")
            edited = [each.fault for each in examine(Run(place / name))]
            records.append({"fault": name, **about, "found": edited})
    return records


def main(dataset: str, *, first: int = SEED, healthy: int = HEALTHY, sick: int = SICK) -> None:
    """Train them all, and write results/doctor.json. The data is made up, not `dataset`."""
    workers = cores()
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    draws = {fault: sick * (1 + (fault in MAY_BE_HARMLESS)) for fault in TRAINED} | {"healthy": healthy}
    jobs = [(fault, number) for fault, n in draws.items() for number in range(n)]
    jobs.sort(key=lambda job: job[1] / draws[job[0]])  # side by side
    with tempfile.TemporaryDirectory() as place:
        made = base(Path(place, "base"))
        work = partial(one, base=made, folder=Path(place), first=first)
        spawned = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=spawned) as pool:
            records = []
            for done in pool.map(work, jobs):
                records += done
                print(json.dumps(done), flush=True)
    results.write(
        "doctor",
        rows=[
            *(_row(name, records) for name in [*TRAINED, *EDITED]),
            {
                "name": "none",
                "made_by": "a healthy draw",
                "this_or_another_fault_found": _any_fault(
                    [one for one in records if one["fault"] == "healthy"]
                ),
            },
            *({"name": name, "made_by": why} for name, why in NOT_MADE.items()),
        ],
        runs=records,
    )


def _row(fault: str, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    made, well = ([one for one in records if one["fault"] == name] for name in (fault, "healthy"))
    made_by, sick = ({**TRAINED, **EDITED}[fault].__doc__ or "").strip(), made
    if fault in MAY_BE_HARMLESS:
        healthy = {one["seed"]: one["accuracy"] for one in well}
        sick = [one for one in made if (one["accuracy"] or 0.0) <= healthy[one["seed"]] - HARM]
        made_by += f"; {len(sick)} of {len(made)} did harm"
    return {
        "name": fault,
        "made_by": made_by,
        "found": results.share(sum(fault in one["found"] for one in sick), len(sick)),
        "this_or_another_fault_found": _any_fault(sick),
        "false_alarms": results.share(sum(fault in one["found"] for one in well), len(well)),
    }


def _any_fault(records: Sequence[dict[str, Any]]) -> dict[str, float] | None:
    """Return in what share of the runs any fault was found, that of the base left out."""
    return results.share(sum(bool({*one["found"]} - {*NOT_MADE}) for one in records), len(records))
