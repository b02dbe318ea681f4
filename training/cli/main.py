"""The command line of training: `python -m training COMMAND`.

Each command is a function of the parsed arguments that returns an exit status. With `--json`, standard output
holds one JSON object and nothing else; all that is for people goes to standard error.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import training.jobs.runner  # noqa: F401  (registers who does the work of a rented run)
from inference.artifact import model_of, read_record
from inference.common.command import Commands, add_command, option, print_found, print_json, run_command
from inference.common.errors import DataError, RunError
from inference.common.store import JsonObject
from inference.common.text import one_line
from training.cli import doctor, ladder, studies
from training.cli import publish as cli_publish
from training.cli.options import (
    DATASET,
    RUN,
    RUN_DIR,
    UNLABELLED,
    changes_of,
    data_of,
    data_options,
    recipe_of,
    recipe_options,
    set_option,
)
from training.recipes import RULES, Recipe, available_recipes, change, settings
from training.runs import launch, process
from training.runs import run as jobs


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit status: 0 when it did what was asked."""
    return run_command(parser, arguments)


def parser() -> argparse.ArgumentParser:
    """Return the parser; the table of options in docs/commands.md is made from it."""
    top = argparse.ArgumentParser(
        prog="python -m training", description="Fine-tune a base on labelled posts and see what that changed."
    )
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (
        _add_train,
        _add_distil,
        _add_evaluate,
        _add_data,
        _add_index,
        _add_runs,
        *(module.add_commands for module in (doctor, ladder, studies, cli_publish)),
    ):
        add(commands)
    return top


def _add_train(commands: Commands) -> None:
    recipes = "\n".join(f"  {name:10} {recipe.description}" for name, recipe in available_recipes().items())
    known = "\n".join(f"  {s.name:28} {s.help}" for s in settings() if s.name not in ("name", "description"))
    sub = add_command(
        commands,
        "train",
        _train,
        "fine-tune a base by a recipe, then score base and fine-tuned on the test split",
        epilog=f"recipes:\n{recipes}\n\nsettings, for --set and for your own recipe file:\n{known}",
    )
    recipe_options(sub)
    option(sub, *UNLABELLED)
    option(sub, *RUN_DIR, type=Path)
    option(sub, "--reuse", "take the run that --run-dir holds already, and finish it if need be")
    option(
        sub,
        "--on jobs[:MACHINE]",
        "train on a rented machine of the Hub, such as jobs:l4x1; says first what it takes and costs",
    )
    option(
        sub,
        "--job-timeout TIME",
        "stop the rented machine after this time, such as 90m or 2h (default: three times the estimate)",
        default="",
    )
    option(
        sub,
        "--yes",
        "agree, unasked: to what --on costs and sends to the Hub, private; to --push making a public "
        "repository",
    )
    cli_publish.add_push_options(sub)


def _train(given: argparse.Namespace) -> int:
    if not launch.is_first():
        return _take_part()
    recipe = recipe_of(given)
    launch.check(recipe)
    cli_publish.check_before_training(given)
    if given.reuse and given.run_dir and (given.run_dir / "recipe.toml").is_file():
        run = jobs.find_run(given.run_dir)
        if given.on and not jobs.runner_of(run):
            raise RunError(
                f"{run.path} holds a run on this machine, so --on {given.on} can't be done with --reuse. "
                "Leave out --on, or give a new --run-dir."
            )
        cli_publish.keep_destination(run.path, given)
        status = run.status()
        if run.can_start(status):
            sys.stderr.write(f"Run {run.id} is {status.state}: going on with it.\n")
            _start(run)
    elif given.on:
        run = _rent(recipe, given)
        cli_publish.keep_destination(run.path, given)
    else:
        run = jobs.create_run(recipe, run_dir=given.run_dir)
        cli_publish.keep_destination(run.path, given)
        _start(run)
    launch.hand_on("")  # nothing more to share in
    return _watch(run, given)


def _start(run: jobs.Run) -> None:
    """Start a training, with all processes that were launched for it."""
    launch.hand_on(str(run.path))
    process.start(run)


def _take_part() -> int:
    """Work on the run that the first of several processes has made, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # at Ctrl-C the launcher sends SIGTERM too
    run = launch.taken()
    from training import worker

    return worker.main([run]) if run else 0


def _rent(recipe: Recipe, given: argparse.Namespace) -> jobs.Run:
    from training.jobs.command import rent, yes_or_no

    return rent(
        recipe,
        given.on,
        run_dir=given.run_dir,
        job_timeout=given.job_timeout,
        ask=(lambda question: True) if given.yes else yes_or_no,
        say=lambda sentence: print(sentence, file=sys.stderr),  # noqa: T201
    )


def _watch(run: jobs.Run, given: argparse.Namespace) -> int:
    from training.cli.terminal import follow_to_the_end, print_result

    follow_to_the_end(run, quiet=given.json)
    if not given.json:
        print_result(run)
        sys.stderr.write(f"The model is in {run.artifact}\n")
    pushed = cli_publish.push_after_training(run.path, run.artifact)
    if given.json:
        evaluation = run.evaluation()
        result = {
            "run": run.id,
            "artifact": str(run.artifact),
            **(evaluation.to_json() if evaluation else {}),
        }
        print_json(result | ({"pushed": pushed} if pushed else {}))
    return 0


def _add_distil(commands: Commands) -> None:
    sub = add_command(
        commands,
        "distil",
        _distil,
        "teach a finished run's answers to its own first layers: a smaller, faster student",
    )
    option(sub, *RUN)
    option(sub, "--depth N", "layers of the student", type=int, required=True)
    option(sub, *UNLABELLED, default="")
    set_option(sub)
    option(sub, *RUN_DIR, type=Path)


def _distil(given: argparse.Namespace) -> int:
    if not launch.is_first():
        return _take_part()
    run = jobs.create_run(_student(given), run_dir=given.run_dir)
    _start(run)
    return _watch(run, given)


def _student(given: argparse.Namespace) -> Recipe:
    """Return the recipe of a student: the teacher's own, on the teacher's first layers."""
    teacher = jobs.find_run(given.run)
    config = read_record(teacher.artifact, "config.json")
    if config is None:
        raise RunError(
            f"The run {teacher.id} is {teacher.status().state}: it has no model to learn from yet."
        )
    if next(iter(teacher.events("data")), {}).get("rules") != RULES:
        raise RunError(
            f"The rows of {teacher.id} were drawn by earlier rules: a student could learn from its test "
            "rows. Train it again first."
        )
    layers = int(config.get("num_hidden_layers") or config.get("n_layer") or 0)
    if not 1 <= given.depth < layers:
        raise RunError(
            f"--depth is {given.depth}. Give fewer layers than the teacher's {layers}, and 1 or more."
        )
    changes = {
        "name": f"{teacher.recipe.name}-student",
        "description": f"the first {given.depth} layers of {teacher.id}, taught by it",
        "base": str(teacher.artifact),
        "teacher": str(teacher.artifact),
        "teachers": 0,
        "teacher_temperature": 1.0,
        "unlabelled": given.unlabelled,
        "n_unlabelled": 0,
        "depth": given.depth,
        "trunk_layers": str(given.depth // 2),
        "onnx": True,
    }
    if not given.depth // 2:
        changes["state_noise"] = 0.0
    return change(change(teacher.recipe, changes), changes_of(given.set))


def _add_evaluate(commands: Commands) -> None:
    sub = add_command(commands, "evaluate", _evaluate, "score an artifact on a split of any labelled data")
    option(sub, "artifact ARTIFACT", "an artifact's folder, a run, or a rung of a ladder (LADDER/RUNG)")
    option(sub, "--dataset DATASET", f"{DATASET} (default: the one it was trained on)")
    data_options(sub)
    option(
        sub,
        "--label-map OLD=NEW",
        "which label of the model one of the data is, such as 0=negative,1=positive; repeatable",
        default=[],
        action="append",
    )
    option(sub, "--split", "of data that has splits", default="test", choices=("train", "validation", "test"))
    option(sub, "--limit N", "score N rows only (default: all)", default=0)
    option(
        sub,
        "--precision SHARE",
        'share of right answers that is wanted where it may say "I don\'t know" (0.8, 0.9 and 0.95)',
        type=float,
    )
    option(sub, "--with-base", "score the untouched base beside it")


def _evaluate(given: argparse.Namespace) -> int:
    artifact = Path(model_of(given.artifact))
    from training.cli.terminal import print_scores
    from training.evaluate.evaluate import evaluate_artifact
    from training.evaluate.scores import ALL_ROWS

    evaluation = evaluate_artifact(
        artifact,
        dataset=given.dataset,
        split=given.split,
        limit=given.limit,
        with_base=given.with_base,
        text_column=given.text_column,
        label_column=given.label_column,
        label_map=_label_map(given.label_map),
        precision=given.precision,
    )
    if given.json:
        print_json(evaluation.to_json())
    else:
        rows = f"{given.split} split"
        if evaluation.split == ALL_ROWS and evaluation.rows:
            rows = f"all rows of {evaluation.rows.data}"
        print_scores(evaluation, title=f"{given.artifact}, {rows}")
    return 0


def _label_map(given: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in given:
        parts = text.split(",")  # a label may hold a comma itself
        for part in parts if all("=" in part for part in parts) else [text]:
            old, equals, new = part.rpartition("=")
            if not equals:
                raise DataError(f"--label-map {text} has no =. Write OLD=NEW, such as 0=negative.")
            pairs[old.strip()] = new.strip()
    return pairs


def _add_data(commands: Commands) -> None:
    sub = add_command(
        commands, "data", _data, "look at a data set: class balance, lengths, sample rows, what was left out"
    )
    option(sub, "dataset", DATASET, default="auto", nargs="?")
    data_options(sub)
    option(
        sub,
        "--more-data FILE",
        "add a file of labelled texts to the training rows, as the setting more_data does, and show its "
        "duplicates and conflicts",
        type=Path,
    )


def _data(given: argparse.Namespace) -> int:
    # All of these take seconds.
    from training.cli.terminal import print_labelled, print_preview
    from training.data.add_labels import add_labels
    from training.data.load import load_splits
    from training.data.preview import preview

    spec = data_of(given)
    added = add_labels(spec, given.more_data) if given.more_data else None
    found = preview(added.splits if added else load_splits(spec))
    if given.json:
        more = {"more_data": added.report.to_json(texts=True)} if added else {}
        print_json({**found.to_json(), **more})
        return 0
    print_preview(found)
    if added:
        print_labelled(added.report)
    return 0


def _add_index(commands: Commands) -> None:
    sub = add_command(
        commands,
        "index",
        _index,
        "make an index of a run's training rows and of more labelled texts, for answers that rest on them",
        epilog="A server that was started with --index finds what is added at once.",
    )
    option(sub, *RUN)
    option(sub, "file FILE", "tables of labelled texts to add", nargs="*", type=Path)
    option(sub, "--to INDEX", "the index (default: index.sqlite of the run)", type=Path)


def _index(given: argparse.Namespace) -> int:
    run = jobs.find_run(given.run)
    from training.data.to_index import to_index

    path = given.to or run.path / "index.sqlite"
    found = to_index(run.recipe.data, path, given.file)
    return print_found(given, {"index": str(path), **found.to_json()}, found.sentences(str(path)))


def _add_runs(commands: Commands) -> None:
    add_command(commands, "runs", _runs, "list the runs, newest first")
    sub = add_command(
        commands,
        "resume",
        _resume,
        "go on with a cancelled, failed or interrupted run, and do the push that it was told to do",
    )
    option(sub, *RUN)
    sub = add_command(
        commands, "cancel", _cancel, "stop a run at its next step, leaving a checkpoint", json=False
    )
    option(sub, *RUN)
    sub = add_command(commands, "delete", _delete, "remove a run with its model for good", json=False)
    option(sub, *RUN)
    sub = add_command(
        commands, "rename", _rename, "give a run another name; the time in front of it stays", json=False
    )
    option(sub, *RUN)
    option(sub, "name NAME", "letters, digits and hyphens")


def _runs(given: argparse.Namespace) -> int:
    rows: list[JsonObject] = []
    for run in jobs.list_runs(kind=None):
        status, evaluation = run.status(), run.evaluation()
        tuned, recipe = evaluation.tuned if evaluation else None, run.known_recipe
        rows.append(
            {
                "run": run.id,
                "kind": run.kind,
                "recipe": recipe.name if recipe else "",
                "dataset": recipe.dataset if recipe else "",
                "state": status.state,
                "progress": status.progress,
                "accuracy": tuned.scores.accuracy.to_json() if tuned else None,
                "n": evaluation.n if evaluation else None,
                "message": status.message,
                "waits_for": [one.id for one in jobs.ahead_of(run)] if status.state == "queued" else [],
                "push_to": cli_publish.destination_of(run.path),
            }
        )
    if given.json:
        print_json({"runs": rows})
    elif not rows:
        sys.stdout.write("There are no runs yet. Start one with `python -m training train quick`.\n")
    for row in [] if given.json else rows:
        score = one_line(row["message"], longest=500)
        if row["accuracy"] and not score:
            score = f"accuracy {100 * row['accuracy']['value']:.1f} %"
        if waits := row["waits_for"]:
            score = f"place {len(waits)} in the queue, after {waits[-1]}"
        score += f", not pushed to {row['push_to']} yet" if row["push_to"] else ""
        what = row["recipe"] or row["kind"]
        sys.stdout.write(f"{row['run']:36} {what:10} {row['state']:12} {row['progress']:>4.0%}  {score}\n")
    return 0


def _resume(given: argparse.Namespace) -> int:
    run = jobs.find_run(given.run, kind=None)
    if not (run.status().state == "finished" and cli_publish.destination_of(run.path)):
        process.resume(run)
    return studies.watch(run, given) if run.kind in jobs.STUDIES else _watch(run, given)


def _cancel(given: argparse.Namespace) -> int:
    run = jobs.find_run(given.run, kind=None)
    process.cancel(run)
    if not run.can_resume:
        sys.stdout.write(f"{run.id} is stopped: nothing is half published.\n")
        return 0
    if jobs.runner_of(run):
        sys.stdout.write(f"{run.id} stops its job on the Hub; see it with `python -m training runs`.\n")
        return 0
    sys.stdout.write(
        f"{run.id} stops at its next step; resume it with `python -m training resume {run.id}`.\n"
    )
    return 0


def _delete(given: argparse.Namespace) -> int:
    run = jobs.find_run(given.run, kind=None)
    jobs.delete(run)
    sys.stdout.write(f"{run.id} is deleted.\n")
    return 0


def _rename(given: argparse.Namespace) -> int:
    run = jobs.find_run(given.run, kind=None)
    sys.stdout.write(f"{run.id} is called {jobs.rename(run, given.name).id} now.\n")
    return 0
