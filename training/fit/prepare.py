"""Prepare a training: data, base, encoded rows and the trunk's states, once for any number of trainings.

    prepared = prepare(recipe, folder)                          # the trunk's states lie in folder/trunk-*
    for rate in (1e-4, 5e-4):
        tuned = train(prepared, change(recipe, {"learning_rate": rate}), checkpoints=folder / str(rate))

A recipe may differ from the one that was prepared in all that only concerns training (`Prepared.check`), so a
search pays for the trunk once. Knows no run: whoever calls says where progress is reported.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import datasets
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from inference.classifier import Classifier, softmax
from inference.common.errors import DataError, RecipeError
from inference.common.store import JsonObject
from inference.engine.precision import Precision, choose_precision
from inference.prompt import Prompt
from inference.trunk import trunk_skipped
from training.data.add_labels import LabelsReport, add_labels
from training.data.load import Splits, check_unchanged, load_splits, spec_of
from training.data.unlabelled import UnlabelledTexts, read_unlabelled
from training.fit.estimate import measure
from training.fit.phases import Pace, Sizes, phases
from training.fit.rows import (
    EncodedRows,
    TrainerRows,
    TrunkRows,
    cache_trunk,
    encoded_rows,
    sharpened,
    taught,
)
from training.model.bases import Base, resolve_base
from training.model.classifier import (
    LanguageModel,
    build_classifier,
    calibrated_head,
    final_states,
    kept_head,
    load_language_model,
    prompted_tokenizer,
    trunk_depth,
    word_rows,
    words_for,
)
from training.recipes import Recipe

CALIBRATION_TEXTS = 256
SHARED = (
    *("base", "dataset", "text_column", "label_column", "label_names", "label_words", "prompt_prefix"),
    *("prompt_suffix", "more_data", "teacher", "teachers", "teacher_temperature", "unlabelled"),
    *("n_unlabelled", "n_train", "n_validation", "n_test", "stratified", "leak_gate", "seed"),
    *("max_length", "padding", "precision"),
)
"""Settings that shape what is prepared: with another value it has to be prepared anew."""


class Report(Protocol):
    """Where progress goes: the log of a run, or nowhere (`Silent`)."""

    def note(self, text: str) -> None:
        """A sentence for people."""

    def event(self, kind: str, **content: object) -> None:
        """Something that happened, with its figures."""

    def plan(self, seconds: dict[str, float]) -> None:
        """How long each phase to come should take."""

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Within it, progress counts for this phase."""

    def progress(self, done: int, total: int) -> None:
        """How much of the phase is done."""


class Silent:
    """A Report that goes nowhere."""

    def note(self, text: str) -> None:
        """Drop it."""

    def event(self, kind: str, **content: object) -> None:
        """Drop it."""

    def plan(self, seconds: dict[str, float]) -> None:
        """Drop it."""

    def phase(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def progress(self, done: int, total: int) -> None:
        """Drop it."""


class Inner(Silent):
    """The Report of a training that is `part` of `total`, of which `done` have ended: only its progress."""

    def __init__(self, report: Report, done: int, total: int, *, part: int = 1) -> None:
        self._report, self._done, self._total, self._part = report, done, total, part

    def progress(self, done: int, total: int) -> None:
        self._report.progress(self._done * total + self._part * done, self._total * total)


class Preparing(Silent):
    """The Report of the preparation of many trainings: it drops the plan and estimate of one."""

    def __init__(self, report: Report) -> None:
        self.note, self.phase, self.progress = report.note, report.phase, report.progress  # type: ignore[method-assign]


@dataclass(frozen=True)
class TrainingData:
    """The splits, and what became of the file of added labels, where there is one."""

    splits: Splits
    added: LabelsReport | None = None
    unlabelled: UnlabelledTexts | None = None

    @property
    def learnt(self) -> datasets.Dataset:
        """The training rows, and the texts without labels after them, for which a teacher answers."""
        train = self.splits.train
        if not (self.unlabelled and self.unlabelled.texts):
            return train
        texts = list(self.unlabelled.texts)
        more = {"text": texts, "label": [0] * len(texts)}
        return datasets.concatenate_datasets(
            [train, datasets.Dataset.from_dict(more, features=train.features)]
        )

    def to_json(self) -> JsonObject:
        """Return the account of the data for events.jsonl and provenance.json: no text."""
        report = self.splits.report
        record = {**report.to_json(), "sentences": report.sentences()}
        if self.added:
            record["more_data"] = self.added.to_json()
        if self.unlabelled:
            record["unlabelled"] = self.unlabelled.to_json()
            record["sentences"].append(self.unlabelled.sentence)
        return record


def load_data(recipe: Recipe, recorded: JsonObject | None = None) -> TrainingData:
    """Load what a recipe is trained on. Raises DataError, also when it is not what was `recorded` any more.

    `recorded`: the data event of a run that goes on.
    """
    recorded = recorded or {}
    spec = spec_of({"recipe": recipe.model_dump(), "data": recorded}) if recorded else None
    spec = spec or recipe.data
    if recipe.more_data.strip():
        more = add_labels(spec, Path(recipe.more_data.strip()).expanduser())
        data = TrainingData(more.splits, more.report)
    else:
        data = TrainingData(load_splits(spec))
    if recipe.unlabelled.strip():
        found = read_unlabelled(
            spec,
            data.splits,
            recipe.unlabelled.strip(),
            text_column=recipe.text_column,
            most=recipe.n_unlabelled,
        )
        before = (recorded.get("unlabelled") or {}).get("sha256")
        if before not in (None, found.sha256):
            raise DataError(f"{found.name} has changed since the run began. Put it back, or start a new run.")
        if recipe.teachers and not found.texts:
            raise DataError(
                f"{found.sentence} The teachers have nothing to answer. Give other texts with unlabelled"
                + (", or a smaller n_train." if not found.sha256 else ".")
            )
        data = dataclasses.replace(data, unlabelled=found)
    check_unchanged(recorded, data.splits.report, todo="Put it back, or start a new run.")
    return data


@dataclass(frozen=True)
class Prepared:
    """What any number of trainings can start from. Nothing in it changes while they train copies."""

    recipe: Recipe
    data: TrainingData
    base: Base
    lm: LanguageModel
    tokenizer: PreTrainedTokenizerFast
    untouched: PreTrainedModel
    """The base's own weights under a random head; `train` copies it."""
    encoded_train: EncodedRows
    encoded_validation: EncodedRows
    """Longest first: the order of a validation split does not matter."""
    trunk: int
    """Lower layers that are frozen and computed once."""
    train: TrainerRows
    validation: TrainerRows
    """The Trainer's input: the trunk's states, or the encoded rows where there is no trunk."""
    learnt: TrainerRows
    """All training texts, those without labels last, whose labels say nothing until they are taught."""
    asked: TrainerRows
    """Training texts in the base's prompt; they calibrate its head without labels."""
    words: Tensor
    """The language model's output rows for the label words, shape (labels, hidden)."""
    base_head: Tensor
    """The untouched base's calibrated zero-shot head."""
    precision: Precision
    """The precision of computation; weights, states and artifact are float32."""
    pace: Pace
    sizes: Sizes
    """What a training by `recipe` works on."""
    plan: dict[str, float]
    """Seconds that each phase of a training by `recipe` should take."""

    @property
    def splits(self) -> Splits:
        return self.data.splits

    def check(self, recipe: Recipe) -> None:
        """Raise RecipeError when a recipe needs other rows, another base or another trunk than these."""
        for name in SHARED:
            mine, other = getattr(self.recipe, name), getattr(recipe, name)
            if mine != other:
                raise RecipeError(f"{name} is {other!r}, but {mine!r} was prepared. Prepare it anew.")
        if (layers := trunk_depth(recipe, self.lm.model.config)) != self.trunk:
            raise RecipeError(
                f"The trunk would have {layers} layers, but {self.trunk} were prepared. Set trunk_layers to "
                f"{self.trunk}, or prepare this recipe anew."
            )

    def take(self, rows: Sequence[int]) -> "Prepared":
        """Return the same with some of the training rows: to see what fewer labels would give."""
        return dataclasses.replace(
            self, encoded_train=self.encoded_train.take(rows), train=self.train.take(rows)
        )

    def calibrated(self, classifier: PreTrainedModel) -> Tensor:
        """Return the zero-shot head of a classifier above this trunk, such as one of fewer layers."""
        return _calibrated(
            classifier, self.asked, self.words, self.trunk, seed=self.recipe.seed, precision=self.precision
        )


def precision_of(recipe: Recipe, model: PreTrainedModel, *, tokens: int) -> Precision:
    """Return the precision of a recipe's network on the Trainer's device. `tokens`: of one batch."""
    device, hidden = "cuda" if torch.cuda.is_available() else "cpu", int(model.config.hidden_size)
    return choose_precision(recipe.precision, hidden=hidden, tokens=tokens, device=device)


def prepare(
    recipe: Recipe,
    folder: Path,
    *,
    data: TrainingData | None = None,
    report: Report | None = None,
    precision: Precision | None = None,
) -> Prepared:
    """Do all that comes before training; a whole cache that lies in `folder` is used again.

    `data`: the recipe's data, where the caller has loaded it. `precision`: the choice of an earlier process
    of the same run. Raises DataError, BaseError or RecipeError, and OSError when the disk is full.
    """
    report = report or Silent()
    with report.phase("prepare"):
        data = data or load_data(recipe)
        base = resolve_base(recipe.base)
        report.note(f"Base: {base.name} ({base.reason}).")
        lm = load_language_model(base)
        trunk = trunk_depth(recipe, lm.model.config)
        head = kept_head(lm, data.splits.labels)
        words = word_rows(lm, words_for(recipe, data.splits.labels)) if head is None else head
        if lm.trained_head is not None:
            report.note(_goes_on(lm, head is not None))
        tokenizer = prompted_tokenizer(lm, prompt_of(recipe), max_length=recipe.max_length)
        untouched = build_classifier(lm, data.splits.labels, tokenizer, seed=recipe.seed)
        train = encoded_rows(tokenizer, data.learnt, padding=recipe.padding)
        validation = encoded_rows(tokenizer, data.splits.validation, padding=recipe.padding)
        validation = validation.sorted_by_length()
        for name, rows in (("training", train), ("validation", validation)):
            if rows.truncated:
                report.note(
                    f"{rows.truncated} {name} texts are longer than {recipe.max_length} tokens and were cut."
                )
        tokens = min(recipe.batch_size, len(train)) * round(sum(train.lengths) / len(train))
        precision = precision or precision_of(recipe, untouched, tokens=tokens)
        report.note(f"Computed in {precision.name}: {precision.reason}")
        pace = measure(untouched, train, precision=precision)
        sizes = _sizes(recipe, data, lm, train=train, validation=validation, trunk=trunk)
        plan = phases(pace, recipe, sizes)
        report.plan(plan)
        seconds, rate = round(sum(plan.values()), 1), round(pace.gflops, 1)
        report.event("estimate", seconds=seconds, gflops=rate, precision=precision.to_json())
    fed: list[TrainerRows] = [train, validation]
    if trunk:
        both = {"train": train, "validation": validation}
        fed = _cached(untouched, both, trunk, folder, report=report, precision=precision)
    learnt = asked = fed[0]
    if recipe.teacher.strip():
        answers = _answered(recipe.teacher.strip(), data, report, precision)
        fed[0] = taught(fed[0], sharpened(answers, recipe.teacher_temperature))
    elif recipe.teachers:
        fed[0] = learnt.take(range(len(data.splits.train)))
    if base_prompt(recipe) != prompt_of(recipe):  # it trains without a prompt, which the base can't do
        some = data.splits.train.select(range(min(CALIBRATION_TEXTS, len(data.splits.train))))
        asked = encoded_rows(prompted_tokenizer(lm, base_prompt(recipe), max_length=recipe.max_length), some)
    if head is None:
        head = _calibrated(untouched, asked, words, trunk, seed=recipe.seed, precision=precision)
    return Prepared(
        recipe=recipe,
        data=data,
        base=base,
        lm=lm,
        tokenizer=tokenizer,
        untouched=untouched,
        encoded_train=train,
        encoded_validation=validation,
        trunk=trunk,
        train=fed[0],
        validation=fed[1],
        learnt=learnt,
        asked=asked,
        words=words,
        base_head=head,
        precision=precision,
        pace=pace,
        sizes=sizes,
        plan=plan,
    )


def _sizes(
    recipe: Recipe,
    data: TrainingData,
    lm: LanguageModel,
    *,
    train: EncodedRows,
    validation: EncodedRows,
    trunk: int,
) -> Sizes:
    labelled = len(data.splits.train)
    return Sizes(
        train_tokens=train.padded_tokens,
        validation_tokens=validation.padded_tokens,
        test_tokens=round(sum(train.lengths) / len(train) * len(data.splits.test)),
        train_rows=len(train),
        unlabelled_tokens=train.take(range(labelled, len(train))).padded_tokens,
        unlabelled_rows=len(train) - labelled,
        depth=recipe.depth or lm.depth,
        base_depth=lm.depth,
        trunk=trunk,
        parameters=sum(parameter.numel() for parameter in lm.model.parameters()),
    )


def _answered(teacher: str, data: TrainingData, report: Report, precision: Precision) -> Tensor:
    """Return a teacher's probabilities for the training texts, shape (texts, labels), in the data's order."""
    classifier, labels = Classifier.load(teacher, engine=f"torch-{precision.name}"), data.splits.labels
    if sorted(classifier.labels) != sorted(labels):
        raise RecipeError(
            f"The teacher has the labels {', '.join(classifier.labels)}, but the data has "
            f"{', '.join(labels)}. Take a teacher that was trained on them."
        )
    with report.phase("teach"):
        ids = classifier.encode(data.learnt["text"][:]).token_ids
        logits = classifier.logits(ids, progress=report.progress)
    order = [classifier.labels.index(label) for label in labels]
    return torch.from_numpy(softmax(logits)[:, order]).float()


def _goes_on(lm: LanguageModel, same_labels: bool) -> str:
    labels = ", ".join(lm.trained_labels)
    head = (
        "its head is kept too" if same_labels else f"its head, for {labels}, is replaced by the label words"
    )
    return (
        f"The base is a classifier: training goes on from its weights, with its tokenizer's prompt; {head}. "
        "Texts that it was trained on before may be among these test rows."
    )


def prompt_of(recipe: Recipe) -> Prompt:
    """Return the prompt that a recipe puts around each text."""
    return Prompt(recipe.prompt_prefix, recipe.prompt_suffix)


def base_prompt(recipe: Recipe) -> Prompt:
    """Return the prompt that the untouched base answers: the recipe's, or the usual one where it has none."""
    return Prompt() if prompt_of(recipe).empty else prompt_of(recipe)


def _cached(
    classifier: PreTrainedModel,
    rows: Mapping[str, EncodedRows],
    trunk: int,
    folder: Path,
    *,
    report: Report,
    precision: Precision,
) -> list[TrainerRows]:
    """Return the trunk's states of each split, computed now or by an earlier process."""
    found: list[TrainerRows] = []
    total, before = sum(sum(part.lengths) for part in rows.values()), 0
    with report.phase("cache"):
        for name, part in rows.items():
            path = folder / f"trunk-{name}"

            def progress(done: int, _: int, before: int = before) -> None:
                report.progress(before + done, total)

            states = cache_trunk(
                classifier, part, layers=trunk, path=path, progress=progress, precision=precision
            )
            found.append(states)
            before += sum(part.lengths)
    return found


def _calibrated(
    classifier: PreTrainedModel,
    rows: TrainerRows,
    words: Tensor,
    trunk: int,
    *,
    seed: int,
    precision: Precision,
) -> Tensor:
    """Return the zero-shot head; its regression is solved in float32, whatever the states come from."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    some = order[:CALIBRATION_TEXTS].tolist()
    batches = (rows.collate([rows[row] for row in some[at : at + 32]]) for at in range(0, len(some), 32))
    with trunk_skipped(classifier, trunk) if isinstance(rows, TrunkRows) else nullcontext():
        states = final_states(classifier, batches, precision=precision)
    return calibrated_head(states, words)
