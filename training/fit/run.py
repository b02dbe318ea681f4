"""The main way of the project: data → base → trunk → training → artifact → evaluation.

    train_run(run, journal, stop)

Each step below is a module of this package. All there is to say goes to the run's folder, by the journal.
Killed at any moment, it can be called again and ends with the same weights.
"""

import dataclasses
import gc
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from inference.artifact import ADAPTER, EVALUATION, VALIDATION, read_record
from inference.classifier import Classifier
from inference.common.errors import ArtifactError, DataError
from inference.common.store import read_jsonl, write_json, write_jsonl
from inference.export.export import export_onnx
from inference.live.reference import reference_of, save_reference
from inference.prompt import Prompt
from inference.trunk import trunk_skipped
from training.data.labels import LabelledReport, add_labelled
from training.data.load import Splits, load_splits
from training.evaluate.baselines import bag_of_words
from training.evaluate.evaluate import evaluate
from training.fit.estimate import Pace, Sizes, measure, phases
from training.fit.noise import noisy_states
from training.fit.rows import EncodedRows, Rows, TrunkRows, cache_trunk, encoded_rows
from training.fit.trainer import fit
from training.model import classifier as models
from training.model.bases import Base, resolve_base
from training.publish.card import write_card
from training.publish.card_examples import EXAMPLES_FILE, classify_examples
from training.publish.scan import check_records
from training.recipes import Recipe, change
from training.runs.ending import Cancelled
from training.runs.journal import Journal
from training.runs.provenance import write_provenance
from training.runs.run import Run

CALIBRATION_TEXTS = 256


class Stopping(Protocol):
    """A request to stop, which may come at any time."""

    asked: bool
    gently: bool
    """While it is true, the request only sets `asked`; otherwise it raises Cancelled."""


@dataclass
class Work:
    """A run and what it has prepared."""

    run: Run
    journal: Journal
    splits: Splits
    labelled: LabelledReport | None
    """What became of the file of added labels, where there is one."""
    base: Base
    lm: models.LanguageModel
    tokenizer: Any
    classifier: Any
    train: EncodedRows
    validation: EncodedRows
    trunk: int
    """Layers that are frozen and computed once."""
    pace: Pace
    plan: dict[str, float]
    """Seconds that each phase should take."""

    @property
    def recipe(self) -> Recipe:
        """The run's settings."""
        return self.run.recipe


def train_run(run: Run, journal: Journal, stop: Stopping) -> None:
    """Take a run from its recipe to its artifact and evaluation. Raises Cancelled when told to stop."""
    if (run.path / EVALUATION).is_file():  # killed while it tidied up
        return _tidy(run)
    with journal.phase("prepare"):
        work = _prepare(run, journal)
    train, validation = _cached(work)
    base_head = _start_head(work, train)
    tuned = _trainable(work)
    with journal.phase("train"), _on_states(work, tuned):
        stop.gently = True
        whole = fit(
            tuned,
            train,
            validation,
            run.recipe,
            checkpoints=run.path / "checkpoints",
            journal=journal,
            stop_asked=lambda: stop.asked,
        )
        stop.gently = False
        if not whole or stop.asked:
            raise Cancelled
    record = _record(work)
    artifact = run.path / "artifact.partial"
    with journal.phase("export"):
        _export(work, tuned, artifact)
        models.save_base_head(base_head, artifact)
        write_provenance(artifact, record)
        if run.recipe.onnx:
            _export_onnx(work, artifact)
    splits, base = work.splits, work.base
    del work, tuned, train, validation  # the evaluation loads what was written, and needs the memory
    gc.collect()
    with journal.phase("evaluate"):
        _evaluate(run, journal, artifact, base=base, splits=splits)
    _complete(run, journal, artifact, record)


def _prepare(run: Run, journal: Journal) -> Work:
    recipe = run.recipe
    splits, labelled = _data(recipe)
    _check_unchanged(run, labelled)
    journal.event("data", **_told(splits, labelled))
    base = resolve_base(recipe.base)
    journal.note(f"Base: {base.name} ({base.reason}).")
    lm = models.load_language_model(base)
    write_jsonl(run.path / VALIDATION, _labelled(splits))
    trunk = models.trunk_depth(recipe, lm.model.config)
    tokenizer = models.prompted_tokenizer(lm, recipe)
    classifier = models.build_classifier(lm, recipe, splits.labels, tokenizer)
    train = encoded_rows(tokenizer, splits.train, recipe)
    validation = encoded_rows(tokenizer, splits.validation, recipe).sorted_by_length()
    for name, rows in (("training", train), ("validation", validation)):
        if rows.truncated:
            journal.note(
                f"{rows.truncated} {name} texts are longer than {recipe.max_length} tokens and were cut."
            )
    pace = measure(classifier, train)
    sizes = Sizes(
        train_tokens=train.padded_tokens,
        validation_tokens=validation.padded_tokens,
        test_tokens=round(sum(train.lengths) / len(train) * len(splits.test)),
        train_rows=len(train),
        depth=recipe.depth or lm.depth,
        base_depth=lm.depth,
        trunk=trunk,
        parameters=sum(parameter.numel() for parameter in lm.model.parameters()),
    )
    plan = phases(pace, recipe, sizes)
    journal.plan(plan)
    journal.event("estimate", seconds=round(sum(plan.values()), 1), gflops=round(pace.gflops, 1))
    return Work(
        run=run,
        journal=journal,
        splits=splits,
        labelled=labelled,
        base=base,
        lm=lm,
        tokenizer=tokenizer,
        classifier=classifier,
        train=train,
        validation=validation,
        trunk=trunk,
        pace=pace,
        plan=plan,
    )


def _data(recipe: Recipe) -> tuple[Splits, LabelledReport | None]:
    if not recipe.more_data.strip():
        return load_splits(recipe.data), None
    added = add_labelled(recipe.data, Path(recipe.more_data.strip()).expanduser())
    return added.splits, added.report


def _check_unchanged(run: Run, labelled: LabelledReport | None) -> None:
    """Raise DataError when a run is resumed and its file of labels has changed: other rows, another model."""
    first = next((event["more_data"] for event in run.events("data") if event.get("more_data")), None)
    if labelled and first and first["sha256"] != labelled.sha256:
        raise DataError(
            f"{labelled.name} has changed since the run began ({first['read']:,} rows then, "
            f"{labelled.read:,} now). Start a new run."
        )


def _told(splits: Splits, labelled: LabelledReport | None) -> dict[str, Any]:
    """Return the account of the data for events.jsonl and provenance.json: no text."""
    report = splits.report
    record = {**report.to_json(), "sentences": report.sentences()}
    return {**record, "more_data": labelled.to_json()} if labelled else record


def _labelled(splits: Splits) -> Iterator[dict[str, str]]:
    for text, label in zip(splits.validation["text"], splits.validation["label"], strict=True):
        yield {"text": text, "label": splits.labels[label]}


def _cached(work: Work) -> tuple[Rows, Rows]:
    if not work.trunk:
        return work.train, work.validation
    total = sum(work.train.lengths) + sum(work.validation.lengths)

    def cached(name: str, rows: EncodedRows, before: int) -> TrunkRows:
        return cache_trunk(
            work.classifier,
            rows,
            layers=work.trunk,
            path=work.run.path / f"trunk-{name}",
            progress=lambda done, _: work.journal.progress(before + done, total),
        )

    with work.journal.phase("cache"):
        train = cached("train", work.train, 0)
        return train, cached("validation", work.validation, sum(work.train.lengths))


def _start_head(work: Work, train: Rows) -> Tensor:
    """Give the classifier the head and the depth it starts from. Returns the untouched base's own head."""
    recipe, classifier = work.recipe, work.classifier
    words = models.word_rows(work.lm, models.words_for(recipe, work.splits.labels))
    prompted = (
        train if base_prompt(recipe) == Prompt(recipe.prompt_prefix, recipe.prompt_suffix) else _asked(work)
    )
    base_head = models.calibrated_head(_states(work, prompted), words)
    head = base_head
    if recipe.depth and recipe.depth < work.lm.depth:
        models.cut_depth(classifier, recipe.depth)
        head = models.calibrated_head(_states(work, prompted), words)
    if recipe.head == "words":
        with torch.no_grad():
            classifier.score.weight.copy_(head)
    return base_head


def base_prompt(recipe: Recipe) -> Prompt:
    """Return the prompt that the untouched base answers: the recipe's, or the usual one where it has none."""
    prompt = Prompt(recipe.prompt_prefix, recipe.prompt_suffix)
    return Prompt() if prompt.empty else prompt


def _asked(work: Work) -> EncodedRows:
    """Return some training texts with the base's prompt, for a recipe that trains without one."""
    prompt = base_prompt(work.recipe)
    asked = change(
        work.recipe, {"prompt_prefix": prompt.prefix, "prompt_suffix": prompt.suffix, "padding": "longest"}
    )
    some = work.splits.train.select(range(min(CALIBRATION_TEXTS, len(work.splits.train))))
    return encoded_rows(models.prompted_tokenizer(work.lm, asked), some, asked)


def _states(work: Work, rows: Rows) -> Tensor:
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(work.recipe.seed))
    some = order[:CALIBRATION_TEXTS].tolist()
    batches = (rows.collate([rows[row] for row in some[at : at + 32]]) for at in range(0, len(some), 32))
    with trunk_skipped(work.classifier, work.trunk) if isinstance(rows, TrunkRows) else nullcontext():
        return models.final_states(work.classifier, batches)


def _trainable(work: Work) -> Any:
    torch.manual_seed(work.recipe.seed)  # the adapters start from noise
    if work.recipe.method == "full":
        models.freeze_trunk(work.classifier, work.trunk)
        return work.classifier
    tuned = models.add_lora(work.classifier, work.recipe, work.trunk)
    tuned.peft_config["default"].base_model_name_or_path = str(work.base.path)  # else peft asks the Hub
    return tuned


@contextmanager
def _on_states(work: Work, tuned: Any) -> Iterator[None]:
    """Within it, the model is trained on what left the trunk, where there is one."""
    if not work.trunk:
        yield
        return
    with trunk_skipped(tuned, work.trunk), noisy_states(tuned, work.recipe.state_noise):
        yield


def _record(work: Work) -> dict[str, Any]:
    """Return what provenance.json says."""
    return {
        "recipe": work.recipe.model_dump() | {"more_data": Path(work.recipe.more_data).name},
        "base": {
            "name": work.base.name,
            "revision": work.base.revision,
            "reason": work.base.reason,
            "wanted": work.recipe.base,
        },
        "base_prompt": dataclasses.asdict(base_prompt(work.recipe)),
        "labels": list(work.splits.labels),
        "data": _told(work.splits, work.labelled),
        "sizes": {
            "train": len(work.train),
            "validation": len(work.validation),
            "test": len(work.splits.test),
        },
        "truncated": {"train": work.train.truncated, "validation": work.validation.truncated},
        "seed": work.recipe.seed,
        "trunk_layers": work.trunk,
        "depth": work.classifier.config.num_hidden_layers,
        "estimated_s": {name: round(seconds, 1) for name, seconds in work.plan.items()},
        "gflops": round(work.pace.gflops, 1),
    }


def _export(work: Work, tuned: Any, artifact: Path) -> None:
    shutil.rmtree(artifact, ignore_errors=True)
    artifact.mkdir(parents=True)
    if work.recipe.method == "lora":
        tuned.peft_config["default"].base_model_name_or_path = work.base.name  # not this machine's path
        tuned.save_pretrained(artifact / ADAPTER, save_embedding_layers=False)
        (artifact / ADAPTER / "README.md").unlink()  # peft's empty form, with this machine's path in it
        tuned = tuned.merge_and_unload(safe_merge=True)
    tuned.save_pretrained(artifact)
    work.tokenizer.save_pretrained(artifact)


def _export_onnx(work: Work, artifact: Path) -> None:
    """Export to ONNX; a model that can't be is served by PyTorch, and the run says so."""
    rows = list(read_jsonl(work.run.path / VALIDATION))
    try:
        exported = export_onnx(artifact, [row["text"] for row in rows], [row["label"] for row in rows])
        work.journal.note(f"ONNX: {exported.why}")
    except ArtifactError as error:
        work.journal.note(f"ONNX: not exported. {error}")


def _evaluate(run: Run, journal: Journal, artifact: Path, *, base: Base, splits: Splits) -> None:
    """Read the locked test split, once: everything that is chosen has been chosen."""
    tuned = Classifier.load(artifact, engine="torch")
    untouched = models.load_base_classifier(artifact, base=base)
    bag, told = _plain_rival(splits)
    result = evaluate(
        tuned,
        untouched,
        splits.test["text"],
        splits.test["label"],
        split="test",
        seed=run.recipe.seed,
        progress=journal.progress,
        rivals=bag,
    )
    write_json(artifact / EVALUATION, {**result.scores, "bag_of_words": told})
    write_json(artifact / EXAMPLES_FILE, classify_examples(tuned, untouched))
    texts = list(splits.train["text"])
    token_ids = tuned.encode(texts).token_ids
    reference = reference_of(texts, token_ids, confidences=result.confidences, seed=run.recipe.seed)
    save_reference(reference, artifact)
    check_records(artifact, [*texts, *splits.validation["text"], *splits.test["text"]])
    write_jsonl(run.path / "disagreements.jsonl", result.disagreements)
    if result.shared_layers:
        journal.note(f"Base and fine-tuned share {result.shared_layers} layers, computed once for both.")


def _plain_rival(splits: Splits) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a bag of words' answers on the test split, by name, and what is told of it."""
    try:
        bag = bag_of_words(splits)
    except ValueError as error:  # scikit-learn's: one class alone, or no word at all
        return {}, {"left_out": f"it can't learn from this data ({str(error).split('.')[0]})"}
    return {"bag of words": bag.probabilities}, {"words": bag.words, "seconds": bag.seconds}


def _complete(run: Run, journal: Journal, artifact: Path, record: dict[str, Any]) -> None:
    scores = read_record(artifact, EVALUATION) or {}
    record["duration_s"] = {name: round(seconds, 1) for name, seconds in journal.seconds.items()}
    write_provenance(artifact, record)
    write_card(artifact, run=run.path)
    shutil.rmtree(run.artifact, ignore_errors=True)
    artifact.rename(run.artifact)
    journal.event("result", **scores)
    write_json(run.path / EVALUATION, scores)
    _tidy(run)


def _tidy(run: Run) -> None:
    """Remove what only an unfinished run needs."""
    for left_over in [*run.path.glob("trunk-*"), run.path / "checkpoints"]:
        shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()
