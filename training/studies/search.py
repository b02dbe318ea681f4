"""Search for better settings: many trainings on one cached trunk, chosen on the validation split alone.

    search(run, log)                       # the work of a run of the kind "tune"
    Search.read(run.path).sentences()      # when it is finished

    runs/<id>/study.sqlite            Optuna's storage: a resumed search goes on with it
              trials/N.npy            each trial's answers to the validation rows, shape (rows, labels)
              repeats.json            the scores of the best trials by more seeds
              search.json, trials.csv, search.png, best.toml

Optuna's TPE draws the trials; the first one is the recipe as it was. A trial whose macro-F1 is below the
median of the others after as many evaluations is pruned. (Optuna's WilcoxonPruner compares row by row
while rows are still coming in; here all rows are scored at once, and what pruning saves is epochs.) A killed
trial is reported to Optuna as failed, since its sampler would otherwise avoid that region, and is drawn
again. The test split is never read.
"""

import csv
import gc
import io
import shutil
import time
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, Trial, TrialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from inference.artifact import read_record
from inference.classifier import softmax
from inference.common.errors import DataError, TweetTuneError
from inference.common.store import write_bytes, write_json, write_text
from training.evaluate.metrics import ClassificationMetric
from training.fit.prepare import Inner, Prepared, Preparing, load_data, prepare
from training.fit.teachers import answers_of_teachers
from training.fit.trainer import logits_of, train
from training.recipes import Recipe, change, save_recipe
from training.runs.log import RunLog
from training.runs.run import Run
from training.studies.order import BEST, REPEATED, Dimension, Search, SearchOrder, TrialResult, Value
from training.studies.pictures import search_picture

HALVES = 200
"""Times that the rows are split to measure how optimistic the best trial is."""


def search(run: Run, log: RunLog) -> None:
    """Take a search from its order to its results. Killed at any moment, it can be called again."""
    order = SearchOrder.from_json(run.order)
    recipe = order.settings
    (run.path / "trials").mkdir(exist_ok=True)
    data = load_data(recipe, next(iter(run.events("data")), None))
    log.event("data", **data.to_json())
    prepared = prepare(recipe, run.path, data=data, report=Preparing(log))
    study = _study(run.path, recipe)
    more = REPEATED * (REPEATED - 1) - sum(map(len, _repeated(run.path).values()))
    each, left = prepared.plan["train"], order.trials - len(_ended(study))
    plan = {"search": left * each, "repeat": more * each}
    log.plan({"teach": prepared.plan["teach"], **plan} if recipe.teachers else plan)
    if recipe.teachers:
        with log.phase("teach"):
            answers = answers_of_teachers(prepared, folder=run.path / "teachers", report=log)
        assert answers is not None, "nobody asks them to stop midway"
        log.note(answers.sentence)
        prepared = answers.taught_to(prepared)
    with log.phase("search"):
        _put_right(study, order, recipe)
        for place in range(left):
            _try(study, order, prepared, run.path, log, report=Inner(log, place, left))
    complete = study.get_trials(states=[TrialState.COMPLETE])
    if not complete:
        why = next((trial.user_attrs["why"] for trial in _ended(study) if "why" in trial.user_attrs), "")
        raise DataError(f"Every trial failed. {why}")
    with log.phase("repeat"):
        best = sorted(complete, key=lambda trial: -(trial.value or 0.0))[:REPEATED]
        repeats = _repeat(best, prepared, run.path, log)
    _complete(run.path, order, study, repeats, prepared)


def _study(folder: Path, recipe: Recipe) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.sqlite'}")
    study = optuna.create_study(
        storage=storage,
        study_name="search",
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
    )
    # By another seed than an earlier process, or it would draw that one's trials again.
    study.sampler = optuna.samplers.TPESampler(seed=(recipe.seed + len(study.trials)) % 2**32)
    return study


def _put_right(study: optuna.Study, order: SearchOrder, recipe: Recipe) -> None:
    """Enqueue the recipe's own settings first, and again the trial that a killed process was at."""
    own = {one.name: getattr(recipe, one.name) for one in order.space if one.holds(getattr(recipe, one.name))}
    if not study.trials:
        study.enqueue_trial(own)
    for trial in study.get_trials(states=[TrialState.RUNNING]):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params or (own if trial.number == 0 else {}))


def _ended(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that came to an end of their own."""
    found = study.get_trials(states=[TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])
    return [trial for trial in found if trial.state != TrialState.FAIL or "why" in trial.user_attrs]


def _suggest(trial: Trial, one: Dimension, recipe: Recipe) -> Value:
    if one.low is None or one.high is None:
        drawn = trial.suggest_categorical(one.name, one.choices)
        return one.choices[one.choices.index(drawn)]
    wide = one.low > 0 and one.high >= 10 * one.low
    if isinstance(getattr(recipe, one.name), int):
        return trial.suggest_int(one.name, int(one.low), int(one.high), log=wide)
    return trial.suggest_float(one.name, one.low, one.high, log=wide)


class Pruning(TrainerCallback):
    """Reports the macro-F1 to Optuna after each evaluation, and ends a trial that falls behind."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.evaluations, self.pruned, self.last = 0, False, 0.0

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float],
        **kwargs: object,
    ) -> None:
        self.evaluations, self.last = self.evaluations + 1, metrics["eval_macro_f1"]
        self.trial.report(self.last, self.evaluations)
        at_the_end = state.global_step >= state.max_steps
        if not at_the_end and self.trial.should_prune():
            self.pruned = control.should_training_stop = True


def _try(
    study: optuna.Study, order: SearchOrder, prepared: Prepared, folder: Path, log: RunLog, *, report: Inner
) -> None:
    """Run one trial to its end, and report it to Optuna."""
    trial, started = study.ask(), time.perf_counter()
    recipe, place = prepared.recipe, folder / f"trial-{trial.number}"
    params = {one.name: _suggest(trial, one, recipe) for one in order.space}
    try:
        mine = change(recipe, params)
        pruning = Pruning(trial)
        scores = _trained(prepared, mine, place, report, callbacks=(pruning,))
    except TweetTuneError as error:
        trial.set_user_attr("why", str(error))
        study.tell(trial, state=TrialState.FAIL)
        log.note(f"Trial {trial.number} failed: {error}")
        return
    finally:
        shutil.rmtree(place, ignore_errors=True)
    trial.set_user_attr("seconds", time.perf_counter() - started)
    if pruning.pruned:
        trial.set_user_attr("macro_f1", pruning.last)
        study.tell(trial, state=TrialState.PRUNED)
        log.note(f"Trial {trial.number} is pruned after {pruning.evaluations} looks: {_listed(params)}.")
        return
    answers, macro_f1, accuracy = scores
    np.save(folder / "trials" / f"{trial.number}.npy", answers)
    trial.set_user_attr("accuracy", accuracy)
    study.tell(trial, macro_f1)
    log.note(f"Trial {trial.number}: macro-F1 {100 * macro_f1:.1f} %, with {_listed(params)}.")


def _trained(
    prepared: Prepared,
    recipe: Recipe,
    place: Path,
    report: Inner,
    *,
    seed: int | None = None,
    callbacks: tuple[TrainerCallback, ...] = (),
) -> tuple[NDArray[np.float64], float, float]:
    """Return a training's answers to the validation rows, their macro-F1 and their accuracy."""
    shutil.rmtree(place, ignore_errors=True)
    gc.collect()
    model = train(prepared, recipe, checkpoints=place, report=report, seed=seed, more_callbacks=callbacks)
    assert model is not None, "nobody asks it to stop midway"
    answers = softmax(logits_of(model, prepared.validation, prepared.trunk, prepared.precision))
    found = ClassificationMetric().compute(
        predictions=answers.argmax(1).tolist(),
        references=prepared.validation.labels,
        probabilities=answers.tolist(),
    )
    return answers, float(found["macro_f1"]), float(found["accuracy"])


def _listed(params: dict[str, Value]) -> str:
    return ", ".join(f"{name} {f'{v:.3g}' if isinstance(v, float) else v}" for name, v in params.items())


def _repeat(
    best: list[FrozenTrial], prepared: Prepared, folder: Path, log: RunLog
) -> dict[str, dict[str, float]]:
    """Run the best trials by more seeds; return their macro-F1 by trial and seed."""
    found = _repeated(folder)
    planned = [
        (trial, (prepared.recipe.seed + offset) % 2**32) for trial in best for offset in range(1, REPEATED)
    ]
    left = [(trial, seed) for trial, seed in planned if str(seed) not in found.get(str(trial.number), {})]
    for place, (trial, seed) in enumerate(left):
        recipe, report = change(prepared.recipe, trial.params), Inner(log, place, len(left))
        _, score, _ = _trained(prepared, recipe, folder / "repeat", report, seed=seed)
        found.setdefault(str(trial.number), {})[str(seed)] = score
        write_json(folder / "repeats.json", found)
        log.progress(place + 1, len(left))
    return found


def _repeated(folder: Path) -> dict[str, dict[str, float]]:
    """Return the macro-F1 of the best trials by more seeds, so far: by trial and seed."""
    return read_record(folder, "repeats.json") or {}


def optimism(right: NDArray[np.bool_], *, seed: int) -> float | None:
    """Return by how much the best of several looks better than it is, in accuracy on all rows.

    `right`: shape (systems, rows). The rows are split in two again and again: the best on one half is scored
    on the other, and what it loses there is what choosing made up. Halves have more luck in them than the
    whole, by the square root of 2. None for one system, or fewer than two rows.
    """
    systems, rows = right.shape
    if systems < 2 or rows < 2:
        return None
    random, lost = np.random.default_rng(seed), []
    for _ in range(HALVES):
        order = random.permutation(rows)
        one, other = right[:, order[: rows // 2]].mean(1), right[:, order[rows // 2 :]].mean(1)
        lost.append(one.max() - other[one.argmax()])
    return max(float(np.mean(lost)) / 2**0.5, 0.0)


def _complete(
    folder: Path,
    order: SearchOrder,
    study: optuna.Study,
    repeats: dict[str, dict[str, float]],
    prepared: Prepared,
) -> None:
    recipe = prepared.recipe
    trials = tuple(_result(trial, repeats) for trial in _ended(study))
    complete = [trial.number for trial in trials if trial.state == "complete"]
    answers = [np.load(folder / "trials" / f"{number}.npy").argmax(1) for number in complete]
    right = np.array(answers) == np.array(prepared.validation.labels)
    found = Search(
        recipe=recipe.name,
        n_validation=len(prepared.validation),
        trials=trials,
        best=max((one for one in trials if one.by_seed), key=lambda one: one.mean).number,
        importances=_importances(study),
        optimism=optimism(right, seed=recipe.seed),
    )
    named = {
        "name": f"{recipe.name}-tuned",
        "description": f"the best of {len(trials)} trials around {recipe.name}",
    }
    save_recipe(change(recipe, {**found.winner.params, **named}), folder / BEST)
    write_text(folder / "trials.csv", _csv(found, order))
    write_bytes(folder / "search.png", search_picture(found))
    found.write(folder)
    for name in ("repeat", "teachers"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for left_over in folder.glob("trunk-*"):
        left_over.unlink()


def _result(trial: FrozenTrial, repeats: dict[str, dict[str, float]]) -> TrialResult:
    states = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
    score = trial.value if trial.state == TrialState.COMPLETE else trial.user_attrs.get("macro_f1")
    more = repeats.get(str(trial.number), {})
    return TrialResult(
        number=trial.number,
        state=states[trial.state],
        params=trial.params,
        seconds=round(trial.user_attrs.get("seconds", 0.0), 1),
        macro_f1=score,
        accuracy=trial.user_attrs.get("accuracy"),
        by_seed=(score or 0.0, *more.values()) if more else (),
        why=trial.user_attrs.get("why", ""),
    )


def _importances(study: optuna.Study) -> dict[str, float]:
    """Return how much each setting matters, the most first; {} where too few trials tell."""
    complete = study.get_trials(states=[TrialState.COMPLETE])
    if len({trial.value for trial in complete}) < 4:
        return {}
    try:
        found = optuna.importance.get_param_importances(study)
    except (ValueError, RuntimeError):  # a setting had one value in all of them
        return {}
    return {name: round(float(share), 4) for name, share in found.items()}


def _csv(found: Search, order: SearchOrder) -> str:
    out, names = io.StringIO(), [one.name for one in order.space]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["trial", "state", "macro_f1", "accuracy", "mean_of_seeds", "seconds", *names])
    for one in found.trials:
        mean = one.mean if one.by_seed else ""
        values = [one.params.get(name, "") for name in names]
        writer.writerow([one.number, one.state, one.macro_f1, one.accuracy, mean, one.seconds, *values])
    return out.getvalue()
