"""The commands that publish: `python -m training push`, `push-data`, and `train … --push`.

    add_commands(commands); add_push_options(train)

The token is that of HF_TOKEN or of `hf auth login`; it is never an argument. Knows nothing about how a push
is done: that is `training.publish`, which is loaded when it is needed.
"""

import argparse
import contextlib
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from inference.common.command import Commands, add_command, option, print_json
from inference.common.errors import RunError, TweetTuneError
from inference.common.names import read_id
from inference.common.progress import agreed
from inference.common.store import Damaged, JsonObject, write_json
from inference.common.wording import size
from training.runs.records import PUSH_TO, PushTo, read_as

if TYPE_CHECKING:
    from training.publish.plan import Plan
    from training.publish.pushing import Step


def add_commands(commands: Commands) -> None:
    """Add `push` and `push-data` to the parser."""
    sub = add_command(
        commands,
        "push",
        _push,
        "put a model on the Hub in one commit, download it again and check that it answers the same",
    )
    option(sub, "model RUN_OR_ARTIFACT", "a run's name or folder, or a model's folder")
    option(sub, "repo OWNER/NAME", "the repository; it is made when there is none")
    option(sub, "--private", "make a new repository private")
    option(sub, "--pr", "open a pull request instead of writing to main")
    option(sub, "--adapter-only", "push the LoRA weights alone; the base has to be on the Hub")
    option(
        sub,
        "--no-onnx",
        "do not export first, which takes minutes; what was exported before is pushed all the same",
    )
    option(sub, "--dry-run", "show files, sizes and the card; send nothing")
    option(sub, "--yes", "do not ask before a public repository is made")
    sub = add_command(
        commands,
        "push-data",
        _push_data,
        "put labelled texts on the Hub as a data set with its card, after showing what will be public",
    )
    option(sub, "file FILE.jsonl", "texts and labels, such as those of Live", type=Path)
    option(sub, "repo OWNER/NAME", "the repository; it is made when there is none")
    option(sub, "--private", "make a new repository private")
    option(sub, "--licence ID", "the data's licence, such as cc-by-4.0 (default: none is named)")
    option(sub, "--dry-run", "show what would be public; send nothing")
    option(sub, "--yes", "agree, unasked, that it becomes public")


def add_push_options(sub: argparse.ArgumentParser) -> None:
    """Add `--push` to `train`."""
    option(
        sub,
        "--push OWNER/NAME",
        "put the finished model on the Hub; the right to write there is checked before training",
    )
    option(sub, "--private", "with --push: make a new repository private")


def check_before_training(given: argparse.Namespace) -> None:
    """Raise an error, before hours are spent, when `--push` can't be done; ask where it is public."""
    if given.private and not given.push:
        raise RunError("--private is for --push. Give --push OWNER/NAME too, or leave out --private.")
    if given.push:
        from huggingface_hub import HfApi

        from training.publish.rights import check_rights

        given.push = read_id(given.push)
        rights = check_rights(given.push, HfApi())
        if given.private and rights.exists and not rights.private:
            raise RunError(
                f"{given.push} is public already. Give --push another name, or leave out --private."
            )
        if not rights.exists and not given.private:
            _agree(f"{given.push} will be public, with the model as soon as it is trained.", given)
        sys.stderr.write(f"{rights.user} may write to {given.push}: the finished model goes there.\n")


def keep_destination(run: Path, given: argparse.Namespace) -> None:
    """Save where a run's model goes, never the token, so that `resume` can push it too."""
    if given.push:
        write_json(run / PUSH_TO, dataclasses.asdict(PushTo(given.push, given.private)))


def destination_of(run: Path) -> str | None:
    """Return the repository that a run's model has yet to be pushed to, None where none can be read."""
    with contextlib.suppress(Damaged):
        if to := read_as(PushTo, run / PUSH_TO):
            return to.repo_id
    return None


def push_after_training(run: Path, artifact: Path) -> JsonObject | None:
    """Push the finished model to its run's destination. Returns the result for --json, None without one."""
    to = read_as(PushTo, run / PUSH_TO)
    if to is None:
        return None
    from training.publish.plan import prepare

    try:
        _export(artifact, dry_run=False)
        plan = prepare(artifact, to.repo_id, private=to.private)
        pushed = _do_push(plan)
    except TweetTuneError:
        sys.stderr.write(f"The model is not pushed yet: `python -m training resume {run}` tries again.\n")
        raise
    (run / PUSH_TO).unlink()
    return pushed


def _push(given: argparse.Namespace) -> int:
    from huggingface_hub import HfApi

    from training.publish.plan import find_artifact, prepare
    from training.publish.rights import check_rights

    given.repo, rights = read_id(given.repo), None
    if not given.dry_run:
        rights = check_rights(given.repo, HfApi(), pr=given.pr)  # before anything that takes time
    if not (given.no_onnx or given.adapter_only):
        _export(find_artifact(given.model), dry_run=given.dry_run)
    plan = prepare(
        given.model, given.repo, private=given.private, pr=given.pr, adapter_only=given.adapter_only
    )
    if given.dry_run:
        _show_plan(plan, as_json=given.json)
        return 0
    if rights and not rights.exists and not given.private:
        _agree(f"{given.repo} will be public: {len(plan.files)} files, {size(plan.size)}.", given)
    result = _do_push(plan)
    if given.json:
        print_json(result)
    return 0


def _export(artifact: Path, *, dry_run: bool) -> None:
    from training.publish.plan import export_for_push

    if note := export_for_push(artifact, dry_run=dry_run):
        sys.stderr.write(f"{note}\n")


def _do_push(plan: "Plan") -> JsonObject:
    from huggingface_hub import HfApi

    from training.publish.pushing import push

    pushed = push(plan, HfApi(), progress=_Shown())
    for note in pushed.notes:
        sys.stderr.write(f"{note}\n")
    verified = pushed.verified
    apart = f"{verified.n_texts} texts, probabilities at most {verified.largest_difference:.1e} apart"
    if verified.onnx_equal is not None:
        apart += f"; onnx/ gives the same label on {verified.onnx_equal}"
    sys.stderr.write(f"{'Pushed' if pushed.changed else 'Nothing had changed'}, and verified: {apart}.\n")
    sys.stderr.write(f"{pushed.pr_url or pushed.commit_url}\n")
    return dataclasses.asdict(pushed)


class _Shown:
    """Prints a push's progress: sentences, and one line that counts."""

    def __init__(self) -> None:
        self.share = -1

    def __call__(self, step: "Step") -> None:
        if step.text:
            sys.stderr.write(f"{step.text}\n")
        elif step.total and step.done is not None:
            share = 100 * step.done // step.total
            if share // 10 != self.share // 10:
                sys.stderr.write(f"  {share} % of {size(step.total)}\n")
            self.share = share


def _show_plan(plan: "Plan", *, as_json: bool) -> None:
    files = [{"path": file.path_in_repo, "size": file.size} for file in plan.files]
    if as_json:
        print_json(
            {
                "repo_id": plan.destination.repo_id,
                "files": files,
                "size": plan.size,
                "card": plan.card,
                "left_out": list(plan.left_out),
                "notes": list(plan.notes),
            }
        )
        return
    for file in plan.files:
        sys.stdout.write(f"{file.path_in_repo:44} {size(file.size):>10}\n")
    sys.stdout.write(f"{'in all':44} {size(plan.size):>10}\n\n{plan.card}\n")
    for note in plan.notes:
        sys.stderr.write(f"{note}\n")
    sys.stderr.write(f"Nothing was sent to {plan.destination.repo_id}.\n")


def _push_data(given: argparse.Namespace) -> int:
    from huggingface_hub import HfApi

    from training.publish.dataset import prepare_data, push_data

    given.repo = read_id(given.repo, "dataset")
    plan = prepare_data(given.file, given.repo, private=given.private, licence=given.licence)
    for sentence in plan.sentences:
        sys.stderr.write(f"{sentence}\n")
    if given.dry_run:
        if given.json:
            print_json(plan.to_json())
        sys.stderr.write(f"Nothing was sent to {given.repo}.\n")
        return 0
    _agree("This is what will be sent.", given)
    pushed = push_data(plan, HfApi(), progress=lambda sentence: print(sentence, file=sys.stderr))  # noqa: T201
    sys.stderr.write(f"{'Pushed' if pushed.changed else 'Nothing had changed'}: {pushed.commit_url}\n")
    if given.json:
        print_json(dataclasses.asdict(pushed))
    return 0


def _agree(sentence: str, given: argparse.Namespace) -> None:
    """Ask, unless --yes was given. Raises RunError for anything but yes, and where nobody can be asked."""
    if given.yes:
        return
    sys.stderr.write(f"{sentence}\n")
    answer = agreed("Go on?")
    if answer is None:
        raise RunError("Nobody is there to agree, so nothing was sent. Add --yes, or --private.")
    if not answer:
        raise RunError("Nothing was sent. Push again to change your mind.")
