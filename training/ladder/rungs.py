"""Build the predictor of each step of a ladder.

    materials = Materials(order, folder, splits, report)
    built = BUILDERS[step.rung](materials, step)
    built.predictor.predict(texts), built.hash_weights()     # -> predictions, "9f2c…" of what answered

What several steps need (base, features, index, adapters) is made once and lies in `folder`, so that a resumed
ladder finds it again. No builder sees the test rows: they are only locked out of the index.
"""

import dataclasses
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from inference.artifact import read_record
from inference.baselines import Average, Predictor
from inference.baselines.bag_of_words import BagOfWords, LinearHead, Majority
from inference.baselines.index import By, Index, Neighbours
from inference.baselines.kept import hash_of
from inference.baselines.prompting import PROMPTS, Prompted, PromptEngine, balanced, balanced_rows
from inference.baselines.retrieval import FewShotRetrieval, FinalStates, TrunkFeatures
from inference.classifier import Classifier
from inference.common.errors import DataError, RunError
from inference.common.store import write_json
from inference.engine.precision import Precision
from training.data.load import Splits
from training.data.splits import subset
from training.fit.prepare import (
    CALIBRATION_TEXTS,
    SHARED,
    Prepared,
    Report,
    Silent,
    TrainingData,
    base_prompt,
    precision_of,
    prepare,
)
from training.fit.trainer import train
from training.ladder.contrastive import contrasted
from training.ladder.order import MADE, STEPS, Order, Step
from training.model.bases import Base, resolve_base
from training.model.classifier import (
    LanguageModel,
    load_language_model,
    torch_classifier,
    trunk_depth,
    words_for,
)
from training.recipes import Recipe, change, load_recipe

T = TypeVar("T")
BASE = "base.json"
"""Beside the steps: which base answered, and the hash of its weights as they were loaded."""
RETRIEVED = 4
"""Examples that retrieval puts into a prompt, times the classes: as many as few-shot-4 has."""
FULL_EPOCHS = 3.0
VOTE_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
"""Shares of the neighbours' vote beside the tuned model's answer that are tried on the validation rows."""


@dataclass(frozen=True)
class Built:
    """The predictor of a step, and facts about it."""

    predictor: Predictor
    about: str
    hash_weights: Callable[[], str]
    """Hashes the weights that answer, when it is called: after they have answered."""
    dropped: int = 0
    """Examples of a fixed prompt that the context had no room for."""
    labels_used: int | None = None
    """The number used, where it differs from the one asked for."""


def adapter_changes(count: int) -> dict[str, float]:
    """Return what differs from the recipe quick with so few labels."""
    return {"batch_size": 8, "epochs": 8.0} if count < 300 else {}


class Materials:
    """What the steps are built from, each thing made when it is first needed."""

    def __init__(self, order: Order, folder: Path, splits: Splits, report: Report) -> None:
        self.order, self.folder, self.splits, self.report = order, folder, splits, report
        self.recipe = order.recipe
        self.labels = splits.labels
        self.validation = (list(splits.validation["text"]), list(splits.validation["label"]))
        self.found_base: Base | None = None
        self._base: LanguageModel | None = None
        self._build_share = 0.0
        self._indices: dict[tuple[int, By], Index] = {}
        self._seconds: dict[str, float] = read_record(folder / STEPS, MADE) or {}
        self._made: set[str] = set()
        self._found: set[str] = set()

    def begin(self, build_share: float = 0.0) -> None:
        """Begin a step; building it is planned to take that share of its time."""
        self._made, self._found, self._build_share = set(), set(), build_share

    @property
    def saved_s(self) -> float:
        """The seconds that this step saved by reusing what earlier ones made."""
        return sum(self._seconds[name] for name in self._found - self._made)

    def _shared(self, name: str, make: Callable[[], T]) -> T:
        """Make something that later steps reuse, and keep how long that took."""
        started = time.perf_counter()
        thing = make()
        self._made.add(name)
        self._seconds[name] = max(time.perf_counter() - started, self._seconds.get(name, 0.0))
        write_json(self.folder / STEPS / MADE, self._seconds)
        return thing

    def forget(self) -> None:
        """Free the memory of base and indices: two networks at once would be one too many."""
        for index in self._indices.values():
            index.close()
        self._indices, self._base = {}, None
        gc.collect()

    def rows(self, count: int) -> list[int]:
        """Return the first training rows by the seed, each class with its share; fewer are part of more."""
        train, seed = self.splits.train, self.order.seed
        if self.order.balanced:
            return balanced_rows(train["label"], len(self.labels), seed=seed)[:count]
        numbered = train.add_column("row", list(range(len(train))))
        return list(subset(numbered, count, seed=seed, stratified=True)["row"])

    def train(self, count: int) -> tuple[list[str], list[int]]:
        part = self.splits.train.select(self.rows(count))
        return list(part["text"]), list(part["label"])

    @property
    def unlabelled(self) -> list[str]:
        """Training texts to calibrate over; their labels are ignored."""
        return list(self.splits.train["text"])[:CALIBRATION_TEXTS]

    @property
    def base(self) -> LanguageModel:
        if self._base is None:
            self.forget()
            self._base = self._shared("base", self._load)
            self._check(self._base)
        self._found.add("base")
        return self._base

    @cached_property
    def precision(self) -> Precision:
        """The precision of prompts, chosen once a ladder."""
        found = precision_of(self.recipe, self.base.model, tokens=PromptEngine.batch_tokens)
        self.report.note(f"Prompts are computed in {found.name}: {found.reason}")
        return found

    def find_base(self) -> Base:
        """Return the base, which is fetched if need be. Raises BaseError where it is not found."""
        if self.found_base is None:
            self.found_base = resolve_base(self.recipe.base)
            self.report.note(f"Base: {self.found_base.name} ({self.found_base.reason}).")
        return self.found_base

    def _load(self) -> LanguageModel:
        lm = load_language_model(self.find_base())
        if torch.cuda.is_available():
            lm.model.to("cuda")
        return lm

    def _check(self, lm: LanguageModel) -> None:
        """Write down which base it is; raise RunError where a resumed ladder meets another one."""
        record = self.folder / STEPS / BASE
        found = {"name": lm.base.name, "revision": lm.base.revision, "sha256": hash_of(lm.model)}
        before = read_record(record.parent, BASE) or found
        if before["sha256"] != found["sha256"]:
            raise RunError(
                f"The base {lm.base.name} is not the one that this ladder began with ({before['name']}). "
                "Start a new ladder."
            )
        write_json(record, found)

    def prompted(self, *, number: int = 0, k: int = 0) -> Prompted:
        """Return the base under a prompt of PROMPTS, with k examples of each class."""
        train, names = self.splits.train, self.labels
        examples = balanced(list(train["text"]), list(train["label"]), names, k=k, seed=self.order.seed)
        base = self.base
        return Prompted.build(
            base.model,
            base.tokenizer,
            names,
            prompt=base_prompt(self.recipe) if number == 0 else PROMPTS[number],
            words=words_for(self.recipe, names),
            examples=examples,
            max_length=self.recipe.max_length,
            name=base.base.name,
            precision=self.precision.name,
        )

    def index(self, count: int, by: By) -> Index:
        """Return an index of so many training rows; by features the base's trunk makes their vectors."""
        prompted = self.prompted()  # a base that is loaded anew takes the indices of the old one away

        def make() -> Index:
            layers = trunk_depth(self.recipe, prompted.engine.lm.config) or self.base.depth
            features = TrunkFeatures(prompted, layers=layers, name=hash_of(prompted.engine.lm))
            index = Index(
                self.folder / f"index-{count}.sqlite",
                self.labels,
                features=features if by == "features" else None,
                locked=[*self.splits.test["text"], *self.validation[0]],
            )
            texts, labels = self.train(count)
            index.add(texts, [self.labels[label] for label in labels])
            return index

        name = f"index-{count}-{by}"
        if (count, by) not in self._indices:
            again = name in self._seconds  # its vectors lie in the file: only the first time is long
            self._indices[count, by] = make() if again else self._shared(name, make)
        self._found.add(name)
        return self._indices[count, by]

    def adapted(self, count: int) -> Classifier:
        """Return the classifier that the recipe quick makes of so many rows, trained at most once."""
        name = f"lora-{count}"
        folder = self.folder / name
        self._found.add(name)
        if name in self._seconds and (folder / "tokenizer.json").is_file():  # written last
            precision = self.recipe.precision
            return Classifier.load(folder, engine="torch" if precision == "auto" else f"torch-{precision}")
        recipe = change(self.recipe, adapter_changes(count))
        tuned, tokenizer = self._shared(name, lambda: self._tuned(recipe, count))
        tuned.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return torch_classifier(tuned, tokenizer, name_or_path=name, precision=recipe.precision)

    def fully_tuned(self, count: int) -> Classifier:
        """Return the classifier whose weights are all trained on so many rows, by the recipe full."""
        same = {name: getattr(self.recipe, name) for name in SHARED}
        recipe = change(load_recipe("full"), {**same, "epochs": FULL_EPOCHS, "evals_per_epoch": 1})
        tuned, tokenizer = self._tuned(recipe, count)
        return torch_classifier(tuned, tokenizer, name_or_path=f"full-{count}", precision=recipe.precision)

    def contrasted(self, count: int) -> FinalStates:
        """Return the states of the base after its adapters were tuned on pairs of so many rows."""
        prepared, report = self._prepared(self.recipe, count)
        tuned = contrasted(prepared, self.recipe, report=report).merge_and_unload(safe_merge=True)
        name = f"adapters tuned on pairs of {count:,} rows"
        precision = prepared.precision.name
        states = torch_classifier(tuned, prepared.tokenizer, name_or_path=name, precision=precision)
        return FinalStates(states, name=name)

    def _tuned(self, recipe: Recipe, count: int) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
        prepared, report = self._prepared(recipe, count)
        place = self.folder / f"checkpoints-{recipe.method}-{count}"
        tuned = train(prepared, recipe, checkpoints=place, report=report, last=True)
        assert tuned is not None, "nobody asks it to stop midway"
        if recipe.method == "lora":
            tuned = tuned.merge_and_unload(safe_merge=True)
        return tuned, prepared.tokenizer

    def _prepared(self, recipe: Recipe, count: int) -> tuple[Prepared, Report]:
        """Return so many rows with their trunk's states, ready to train on the base that all steps have."""
        self.forget()
        splits = dataclasses.replace(self.splits, train=self.splits.train.select(self.rows(count)))
        report = _Inner(self.report, self._build_share)
        prepared = prepare(recipe, self.folder, data=TrainingData(splits), report=report)
        self._check(prepared.lm)
        return prepared, report


class _Inner(Silent):
    """A Report of a training inside a step, of which it is a share; its plan is not that of the ladder."""

    def __init__(self, report: Report, share: float) -> None:
        self._report, self._share, self._preparing = report, share, False

    def note(self, text: str) -> None:
        self._report.note(text)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Only training itself counts as progress."""
        self._preparing = True
        yield
        self._preparing = False

    def progress(self, done: int, total: int) -> None:
        if not self._preparing:
            self._report.progress(round(1000 * self._share * done / max(total, 1)), 1000)


def _majority(materials: Materials, step: Step) -> Built:
    majority = Majority.fit(materials.train(step.labels)[1], names=materials.labels)
    return Built(majority, majority.about, lambda: hash_of(np.array(majority.shares)))


def _bag_of_words(materials: Materials, step: Step) -> Built:
    try:
        bag = BagOfWords.fit(
            *materials.train(step.labels), names=materials.labels, validation=materials.validation
        )
    except ValueError as error:  # scikit-learn's: one class alone, or no word at all
        raise DataError(f"A bag of words can't learn from this data ({str(error).split('.')[0]}).") from error
    return Built(bag, bag.about, lambda: hash_of(bag.model.coef_))


def _prompt(materials: Materials, step: Step) -> Built:
    found = materials.prompted(k=step.kind.k)
    if step.rung != "zero-shot":
        how = "contextual" if step.rung == "zero-shot-contextual" else "batch"
        found = found.calibrated(materials.unlabelled, how=how)
    return Built(
        found, found.about, lambda: hash_of(found.engine.lm), found.dropped, labels_used=len(found.examples)
    )


def _prompts(materials: Materials, step: Step) -> Built:
    each = [
        materials.prompted(number=number).calibrated(materials.unlabelled) for number in range(len(PROMPTS))
    ]
    about = f"the mean of {len(each)} prompts, each with batch calibration"
    return Built(Average(each, about=about), about, lambda: hash_of(each[0].engine.lm))


def _retrieval(materials: Materials, step: Step) -> Built:
    by: By = "words" if step.rung == "retrieval-words" else "features"
    k = RETRIEVED * len(materials.labels)
    few = FewShotRetrieval(materials.prompted(), materials.index(step.labels, by), k=k, by=by)
    few.calibrate(materials.unlabelled)
    return Built(few, few.about, lambda: hash_of(few.prompted.engine.lm))


def _vote(materials: Materials, count: int) -> Neighbours:
    texts, labels = materials.validation
    return Neighbours.chosen(
        materials.index(count, "features"), texts, [materials.labels[label] for label in labels]
    )


def _nearest(materials: Materials, step: Step) -> Built:
    vote, base = _vote(materials, step.labels), materials.base.model
    return Built(vote, vote.about, lambda: hash_of(base))


def _head(materials: Materials, step: Step) -> Built:
    base = materials.base
    features = TrunkFeatures(materials.prompted(), layers=base.depth)
    head = LinearHead.fit(
        features, *materials.train(step.labels), names=materials.labels, validation=materials.validation
    )
    return Built(head, head.about, lambda: hash_of(base.model, head.model.coef_))


def _contrastive(materials: Materials, step: Step) -> Built:
    features = materials.contrasted(step.labels)
    head = LinearHead.fit(
        features, *materials.train(step.labels), names=materials.labels, validation=materials.validation
    )
    return Built(head, head.about, lambda: hash_of(features.classifier.model, head.model.coef_))


def _lora(materials: Materials, step: Step) -> Built:
    tuned = materials.adapted(step.labels)
    return Built(tuned, f"adapters trained on {step.labels:,} rows, merged", lambda: hash_of(tuned.model))


def _full(materials: Materials, step: Step) -> Built:
    tuned = materials.fully_tuned(step.labels)
    return Built(tuned, f"all weights trained on {step.labels:,} rows", lambda: hash_of(tuned.model))


def _both(materials: Materials, step: Step) -> Built:
    tuned = materials.adapted(step.labels)
    vote, base = _vote(materials, step.labels), materials.base.model
    texts, labels = materials.validation
    mine, theirs = (
        np.array([answer.probabilities for answer in predictor.predict(texts)]) for predictor in (tuned, vote)
    )

    def right(weight: float) -> int:
        return int((((1 - weight) * mine + weight * theirs).argmax(1) == labels).sum())

    share = max(VOTE_WEIGHTS, key=lambda weight: (right(weight), -weight))
    about = f"the tuned model with {share:.0%} of {vote.about}; the share is chosen on the validation split"
    both = Average([tuned, vote], weights=(1 - share, share), about=about)
    return Built(both, about, lambda: hash_of(tuned.model, base))


BUILDERS: dict[str, Callable[[Materials, Step], Built]] = {
    "majority": _majority,
    "bag-of-words": _bag_of_words,
    **dict.fromkeys(("zero-shot", "zero-shot-contextual", "zero-shot-batch"), _prompt),
    "zero-shot-prompts": _prompts,
    **dict.fromkeys(("few-shot-1", "few-shot-4", "few-shot-8", "few-shot-16"), _prompt),
    **dict.fromkeys(("retrieval-words", "retrieval-features"), _retrieval),
    "nearest": _nearest,
    "head": _head,
    "contrastive": _contrastive,
    "lora": _lora,
    "full": _full,
    "both": _both,
}
"""The builder of each rung. Raises TweetTuneError where the data or the base can't give them."""
