"""Training with the Hugging Face Trainer, on token ids or on cached trunk states alike.

    tuned = train(prepared, recipe, checkpoints=run / "checkpoints", report=log)

What it adds to the stock Trainer: batches of like length, the right loss under gradient accumulation, one
more stop signal, and a callback that writes the curves. The best weights by validation macro-F1 are in the
model when it returns. It never sees the test split.
"""

import copy
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Sampler
from transformers import (
    EvalPrediction,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from inference.classifier import Progress, no_progress, softmax
from inference.engine.precision import FLOAT32, Precision
from inference.trunk import trunk_skipped
from training.evaluate.metrics import ClassificationMetric
from training.fit.prepare import Prepared, Report, Silent
from training.fit.rows import TrainerRows, TrunkRows, noisy_states
from training.model.classifier import add_lora, cut_depth, freeze_trunk
from training.recipes import Recipe
from training.runs.launch import any_of_us

KEEP_CHECKPOINTS = 2
_AT_ONCE = 32
MEGABATCH = 50
"""Batches that are sorted by length together: enough to pad little, few enough to mix from epoch to epoch."""


class LikeLengthOrder(Sampler[int]):
    """An order of the rows, new in each epoch, in which each batch holds texts of like length.

    It depends on seed and epoch alone, so that a run that is resumed in mid-epoch sees the same batches.
    """

    def __init__(self, lengths: list[int], *, batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        rows, size = torch.randperm(len(self.lengths), generator=generator).tolist(), self.batch_size
        batches = []
        for start in range(0, len(rows), MEGABATCH * size):
            alike = sorted(rows[start : start + MEGABATCH * size], key=lambda row: self.lengths[row])
            batches += [alike[at : at + size] for at in range(0, len(alike), size)]
        short = (
            [batches.pop()] if len(batches[-1]) < size else []
        )  # it stays last, or it would shift the others
        order = torch.randperm(len(batches), generator=generator).tolist()
        return iter([row for batch in [*(batches[at] for at in order), *short] for row in batch])


class TweetTrainer(Trainer):
    """The Trainer, with its loss under gradient accumulation mended and batches of like length."""

    # GPT2/LlamaForSequenceClassification average over the batch they are given and ignore num_items_in_batch;
    # the Trainer takes their **kwargs for a sign that they don't, and would sum the loss over the steps.
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        *args: object,
        like_length: bool,
        label_smoothing: float = 0.0,
        class_weights: Tensor | None = None,
        **kwargs: object,
    ) -> None:
        self.like_length, self.label_smoothing, self.class_weights = (
            like_length,
            label_smoothing,
            class_weights,
        )
        super().__init__(*args, **kwargs)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the model's own loss; in training the recipe's, where that is another one.

        It is divided by the number of texts, not by the sum of their weights, so that it is the same however
        a batch is split. Validation losses stay plain: runs can be compared by them.
        """
        plain = self.class_weights is None and not self.label_smoothing and "targets" not in inputs
        if plain or not model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        answers = ("labels", "targets")
        outputs = model(**{name: value for name, value in inputs.items() if name not in answers})
        logits = outputs.logits.float()
        loss = functional.cross_entropy(
            logits,
            inputs.get("targets", inputs["labels"]),
            weight=None if self.class_weights is None else self.class_weights.to(logits.device),
            label_smoothing=self.label_smoothing,
            reduction="none",
        ).mean()
        return (loss, outputs) if return_outputs else loss

    def _get_train_sampler(self, train_dataset: TrainerRows | None = None) -> Sampler[int] | None:
        if self.like_length:
            size, seed = self.args.train_batch_size, self.args.seed
            return LikeLengthOrder(self.train_dataset.lengths, batch_size=size, seed=seed)
        stock: Sampler[int] | None = super()._get_train_sampler(train_dataset)
        return stock


class EpochOfOrder(TrainerCallback):
    """Sets the epoch in the order of the rows.

    Accelerate does, but not where several processes go on in mid-epoch: there it wraps the order too deeply.
    """

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        batches = kwargs["train_dataloader"].batch_sampler
        while hasattr(batches, "batch_sampler"):
            batches = batches.batch_sampler
        if isinstance(batches.sampler, LikeLengthOrder):
            batches.sampler.set_epoch(int(state.epoch or 0))


class Curves(TrainerCallback):
    """Reports steps and evaluations on the validation split, and stops when asked to."""

    def __init__(self, report: Report, stop_asked: Callable[[], bool]) -> None:
        self.report, self.stop_asked = report, stop_asked
        self.stopped = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Report the step; on a stop signal, save and end."""
        self.report.progress(state.global_step, state.max_steps)
        if any_of_us(self.stop_asked()):
            self.stopped = True
            control.should_save = True
            control.should_training_stop = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: object,
    ) -> None:
        logs = logs or {}
        where = {
            "step": state.global_step,
            "total_steps": state.max_steps,
            "epoch": round(state.epoch or 0, 3),
        }
        if "loss" in logs:
            self.report.event("step", **where, loss=logs["loss"], learning_rate=logs["learning_rate"])
        if "eval_loss" in logs:
            names = [name for name in ("accuracy", "macro_f1") if f"eval_{name}" in logs]
            loss = logs.get("eval_row_loss", logs["eval_loss"])
            self.report.event("validation", **where, loss=loss, **{n: logs[f"eval_{n}"] for n in names})


class StopEarly(TrainerCallback):
    """Ends training after some evaluations without gain in macro-F1.

    It counts in the Trainer's log, which checkpoints keep: a resumed run ends where an undisturbed one would,
    even when it was killed after training had ended. (The stock callback starts counting anew.)
    """

    def __init__(self, evaluations: int) -> None:
        self.evaluations = evaluations

    def _is_over(self, state: TrainerState) -> bool:
        found = [entry["eval_macro_f1"] for entry in state.log_history if "eval_macro_f1" in entry]
        return bool(found) and len(found) - 1 - found.index(max(found)) >= self.evaluations

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """End at once when the checkpoint was the end; the one step that is still made counts for nothing."""
        self.was_over = control.should_training_stop = self._is_over(state)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Keep that one step out of the checkpoints."""
        if self.was_over:
            control.should_evaluate = control.should_save = False

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """End after too many evaluations without gain."""
        control.should_training_stop = control.should_training_stop or self._is_over(state)


def train(
    prepared: Prepared,
    recipe: Recipe,
    *,
    checkpoints: Path,
    report: Report | None = None,
    stop_asked: Callable[[], bool] = lambda: False,
    last: bool = False,
    seed: int | None = None,
    more_callbacks: Sequence[TrainerCallback] = (),
    evaluations: int = 0,
) -> PreTrainedModel | PeftModel | None:
    """Return a classifier that was trained by a recipe, adapters still on; None when it was stopped midway.

    It starts from a copy of the prepared base; `last` spares the memory of that: nothing can be trained from
    the same preparation afterwards. `seed`: of adapters, order, dropout and noise, where it is not the
    recipe's, which draws the rows. `evaluations`: on the validation split in all, instead of the recipe's
    number for each epoch. Raises RecipeError for a recipe that needs another preparation.
    """
    prepared.check(recipe)
    if seed is not None:
        recipe = recipe.model_copy(update={"seed": seed})
    classifier = prepared.untouched if last else copy.deepcopy(prepared.untouched)
    head = prepared.base_head
    if recipe.depth and recipe.depth < prepared.lm.depth:
        cut_depth(classifier, recipe.depth)
        head = prepared.calibrated(classifier)
    if recipe.head == "words":
        with torch.no_grad():
            classifier.score.weight.copy_(head)
    torch.manual_seed(recipe.seed)  # the adapters start from noise
    if recipe.method == "full":
        freeze_trunk(classifier, prepared.trunk)
        tuned = classifier
    else:
        tuned = add_lora(classifier, recipe, prepared.trunk)
        place = str(prepared.base.path)
        tuned.peft_config["default"].base_model_name_or_path = place  # else peft asks the Hub
    with ExitStack() as stack:
        if prepared.trunk:
            stack.enter_context(trunk_skipped(tuned, prepared.trunk))
            stack.enter_context(noisy_states(tuned, recipe.state_noise))
        whole = fit(
            tuned,
            prepared.train,
            prepared.validation,
            recipe,
            checkpoints=checkpoints,
            report=report,
            stop_asked=stop_asked,
            more_callbacks=more_callbacks,
            evaluations=evaluations,
            precision=prepared.precision,
        )
    return tuned if whole else None


@dataclass(frozen=True)
class Tuned:
    """The classifier that was kept of one training or several."""

    model: PreTrainedModel | PeftModel
    """Adapters still on."""
    seed: int
    logits: NDArray[np.float32]
    """Logits of the validation rows, as prepared: shape (rows, labels)."""
    macro_f1: dict[int, float]
    """On the validation split, by the seed of each training."""

    @property
    def sentence(self) -> str:
        found = np.array(list(self.macro_f1.values()))
        return (
            f"{len(found)} seeds: validation macro-F1 {100 * found.mean():.1f} % on average, from "
            f"{100 * found.min():.1f} to {100 * found.max():.1f} (standard deviation "
            f"{100 * found.std(ddof=1):.1f} points). Seed {self.seed}, the best of them, is kept."
        )


class _SeedReport(Silent):
    """The Report of one of several trainings: their curves and their progress follow each other."""

    def __init__(self, report: Report, index: int, recipe: Recipe) -> None:
        self._report, self._index, self._recipe = report, index, recipe

    def event(self, kind: str, **content: Any) -> None:
        seeds, steps = self._recipe.seeds, content["total_steps"]
        place = {
            "step": content["step"] + self._index * steps,
            "total_steps": seeds * steps,
            "epoch": round(content["epoch"] + self._index * self._recipe.epochs, 3),
            "seed": self._recipe.seed + self._index,
        }
        self._report.event(kind, **{**content, **place})

    def progress(self, done: int, total: int) -> None:
        self._report.progress(self._index * total + done, self._recipe.seeds * total)


def train_seeds(
    prepared: Prepared,
    recipe: Recipe,
    *,
    checkpoints: Path,
    report: Report,
    stop_asked: Callable[[], bool] = lambda: False,
) -> Tuned | None:
    """Train as often as the recipe says, each with the next seed; return the best by validation macro-F1.

    None when it was stopped midway. Nothing can be trained from the same preparation afterwards.
    """
    kept: Tuned | None = None
    found: dict[int, float] = {}
    for index in range(recipe.seeds):
        seed = (recipe.seed + index) % 2**32
        several = recipe.seeds > 1
        model = train(
            prepared,
            recipe,
            seed=seed,
            checkpoints=checkpoints / f"seed-{seed}" if several else checkpoints,
            report=_SeedReport(report, index, recipe) if several else report,
            stop_asked=stop_asked,
            last=index == recipe.seeds - 1,
        )
        if model is None or stop_asked():
            return None
        logits = logits_of(model, prepared.validation, prepared.trunk, prepared.precision)
        found[seed] = macro_f1(logits, prepared.validation.labels)
        if kept is None or found[seed] > found[kept.seed]:
            kept = Tuned(model, seed, logits, found)
    return kept


def logits_of(
    model: PreTrainedModel | PeftModel,
    rows: TrainerRows,
    trunk: int,
    precision: Precision = FLOAT32,
    *,
    progress: Progress = no_progress,
) -> NDArray[np.float32]:
    """Return a classifier's logits for rows, cached or not, shape (rows, labels)."""
    model.eval()
    found = []
    with (
        torch.inference_mode(),
        precision.on(model),
        trunk_skipped(model, trunk) if isinstance(rows, TrunkRows) else nullcontext(),
    ):
        for at in range(0, len(rows), _AT_ONCE):
            batch = rows.collate([rows[row] for row in range(at, min(at + _AT_ONCE, len(rows)))])
            inputs = {
                name: value.to(model.device)
                for name, value in batch.items()
                if name not in ("labels", "targets")
            }
            found.append(model(**inputs).logits.float().cpu().numpy())
            progress(at + len(found[-1]), len(rows))
    return np.concatenate(found)


def macro_f1(logits: NDArray[np.float32], labels: Sequence[int]) -> float:
    """Return the macro-F1 of logits, shape (rows, labels)."""
    return _metrics(EvalPrediction(predictions=logits, label_ids=np.array(labels)))["macro_f1"]


def fit(
    model: PreTrainedModel | PeftModel,
    train: TrainerRows,
    validation: TrainerRows,
    recipe: Recipe,
    *,
    checkpoints: Path,
    report: Report | None = None,
    stop_asked: Callable[[], bool] = lambda: False,
    more_callbacks: Sequence[TrainerCallback] = (),
    evaluations: int = 0,
    precision: Precision = FLOAT32,
) -> bool:
    """Train, from the last whole checkpoint where there is one. Returns False when it was stopped midway."""
    steps_per_epoch = math.ceil(len(train) / (recipe.batch_size * recipe.gradient_accumulation_steps))
    steps = steps_per_epoch // recipe.evals_per_epoch
    if evaluations:
        steps = math.ceil(steps_per_epoch * recipe.epochs) // evaluations
    curves = Curves(report or Silent(), stop_asked)
    callbacks: list[TrainerCallback] = [curves, EpochOfOrder(), *more_callbacks]
    if recipe.patience:
        callbacks.append(StopEarly(recipe.patience))
    trainer = TweetTrainer(
        model=model,
        args=arguments(recipe, checkpoints, every=max(steps, 1), precision=precision),
        train_dataset=train,
        eval_dataset=validation,
        data_collator=train.collate,
        compute_metrics=_metrics,
        callbacks=callbacks,
        like_length=recipe.like_length_batches,
        label_smoothing=recipe.label_smoothing,
        class_weights=_class_weights(train.labels, model.config.num_labels)
        if recipe.class_weights == "balanced"
        else None,
    )
    if trainer.args.process_index:
        torch.manual_seed(recipe.seed + trainer.args.process_index)  # each draws noise of its own
    with precision.training():
        trainer.train(resume_from_checkpoint=last_checkpoint(checkpoints))
    trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)  # its forward casts no more
    return not curves.stopped


def _class_weights(labels: Sequence[int], classes: int) -> Tensor:
    """Return a weight a class: each counts alike in all, and the mean over the rows is 1."""
    counts = torch.bincount(torch.tensor(labels), minlength=classes)
    return len(labels) / (int((counts > 0).sum()) * counts.clamp(min=1))


def arguments(
    recipe: Recipe,
    checkpoints: Path,
    *,
    every: int,
    best: str = "macro_f1",
    greater: bool = True,
    precision: Precision = FLOAT32,
) -> TrainingArguments:
    """Return the Trainer's settings; `best` is the metric that picks the best of the evaluations."""
    on_gpu = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=max(recipe.batch_size, 8),
        gradient_accumulation_steps=recipe.gradient_accumulation_steps,
        learning_rate=recipe.learning_rate,
        warmup_steps=min(recipe.warmup, 0.9999),  # a float below 1 is a share of the steps
        weight_decay=recipe.weight_decay,
        lr_scheduler_type=recipe.schedule if recipe.schedule != "constant" else "constant_with_warmup",
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=KEEP_CHECKPOINTS,
        load_best_model_at_end=True,
        metric_for_best_model=best,
        greater_is_better=greater,
        logging_steps=max(every // 20, 1),
        seed=recipe.seed,
        data_seed=recipe.seed,
        use_cpu=not on_gpu,
        activation_checkpointing=recipe.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},  # the other way needs inputs with gradients
        bf16=precision.name == "bfloat16",  # by a context of its own for each forward pass
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=on_gpu,
        accelerator_config={"split_batches": True},  # of several processes each takes its part of a batch
        average_tokens_across_devices=False,  # the loss is a batch's mean: as many times it would be counted
        ddp_find_unused_parameters=False,
        report_to=recipe.report_to,
        project="tweettune",
        run_name=_name_of(checkpoints),
        trackio_static_space_id=False,
        disable_tqdm=True,
    )


def _name_of(checkpoints: Path) -> str:
    """Return what a training is called elsewhere: its run, and which one of several it is."""
    parts = [part for part in checkpoints.parts if part != "checkpoints"]
    return "-".join(parts[-1:] if checkpoints.name == "checkpoints" else parts[-2:])


def _metrics(prediction: EvalPrediction) -> dict[str, float]:
    probabilities = softmax(prediction.predictions)
    scores = ClassificationMetric().compute(
        predictions=probabilities.argmax(axis=1).tolist(),
        references=prediction.label_ids.tolist(),
        probabilities=probabilities.tolist(),
    )
    of_label = probabilities[np.arange(len(probabilities)), prediction.label_ids]
    return {  # the Trainer's own loss counts rows twice that fill up the last batch of several processes
        "row_loss": float(-np.log(np.maximum(of_label, np.finfo(np.float32).tiny)).mean()),
        **{name: float(scores[name]) for name in ("accuracy", "macro_f1")},
    }


def last_checkpoint(folder: Path) -> str | None:
    """Return the newest whole checkpoint, None when there is none; one torn by a kill is removed.

    The Trainer writes trainer_state.json last, so a checkpoint without a readable one is torn.
    """
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: -int(path.name.split("-")[-1]))
    for path in found:
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            shutil.rmtree(path, ignore_errors=True)
            continue
        return str(path)
    return None
