"""What a push will do, before anything is sent: `prepare` reads, renders and checks every byte.

    plan = prepare(Path("runs/demo"), "ada/tweets")
    plan.files, plan.card, plan.left_out, plan.notes          # what --dry-run shows

Needs no network.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inference.artifact import ONNX_FOLDER, VALIDATION, check_artifact
from inference.common.errors import ArtifactError, RunError
from inference.common.wording import listed
from inference.engine.parity import STANDARD
from training.publish.card import render_card
from training.publish.errors import PublishError
from training.publish.files import CARD, Outgoing, collect, name_all
from training.publish.rights import check_name
from training.publish.scan import check
from training.publish.verify import Verified
from training.runs import run as jobs


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where a model goes, and how."""

    repo_id: str
    private: bool = False
    """Whether a new repository is private; an existing one is never made public or private."""
    pr: bool = False
    """Whether to open a pull request instead of committing to main."""
    adapter_only: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that a push will send."""

    artifact: Path
    destination: Destination
    files: tuple[Outgoing, ...]
    """In the order of their names, the card and its pictures included."""
    left_out: tuple[str, ...]
    """Files of the artifact that stay: they are not on the allow-list, or not asked for."""
    notes: tuple[str, ...]
    """Sentences that people should know."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Secrets to search for besides this process's own, in the stamped card too."""

    @property
    def card(self) -> str:
        """The card as it is sent first, before the verification is stamped into it."""
        return next(f.content.decode() for f in self.files if f.path_in_repo == CARD)

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def prepare(
    run_or_artifact: Path | str,
    repo_id: str,
    *,
    private: bool = False,
    pr: bool = False,
    adapter_only: bool = False,
    secrets: Sequence[str] = (),
) -> Plan:
    """Return what a push of a run (name or folder) or of an artifact's folder will send.

    `secrets`: values to look for in the files, beside the secrets of this process's environment.

    Raises PublishError when a file must not leave the machine, ArtifactError or RunError when there is no
    finished model.
    """
    check_name(repo_id)
    artifact = find_artifact(run_or_artifact)
    destination = Destination(repo_id=repo_id, private=private, pr=pr, adapter_only=adapter_only)
    files, left_out = collect(artifact, adapter_only=adapter_only)
    card = render_card(artifact, repo_id=repo_id, adapter_only=adapter_only)
    files += [Outgoing.of(CARD, card.text.encode())]
    files += [Outgoing.of(name, content) for name, content in card.files.items()]
    files = name_all(files)
    check(files, secrets=secrets)
    stays = f"{len(left_out)} files of the artifact stay here: {listed(left_out, most=6)}."
    return Plan(
        artifact=artifact,
        destination=destination,
        files=tuple(files),
        left_out=tuple(left_out),
        notes=(stays,) if left_out else (),
        secrets=tuple(secrets),
    )


def find_artifact(run_or_artifact: Path | str) -> Path:
    """Return the artifact of a run's name, a run's folder or an artifact's folder."""
    path = Path(run_or_artifact)
    if not (path / "recipe.toml").is_file() and (path / "config.json").is_file():
        check_artifact(path)
        return path
    try:
        run = jobs.find_run(run_or_artifact)
    except RunError as error:
        raise ArtifactError(
            f"{run_or_artifact} is neither a run nor a model's folder. See the runs with "
            "`python -m training runs`, or give the folder of a finished run."
        ) from error
    run.check()
    state = run.status().state
    if state != "finished":
        what = (
            "Wait for its end" if state in jobs.ACTIVE else f"Go on with `python -m training resume {run.id}`"
        )
        raise PublishError(f"The run {run.id} is {state}, so there is nothing to push yet. {what}.")
    check_artifact(run.artifact)
    return run.artifact


def export_for_push(artifact: Path, *, dry_run: bool) -> str:
    """Export to onnx/ where nothing was exported, which takes minutes; a dry run only says so.

    Returns a sentence, "" when it is there already. A model that can't be exported goes without.
    """
    from inference.export.export import export_onnx, validation_rows  # noqa: PLC0415  (torch takes seconds)

    if (artifact / ONNX_FOLDER / STANDARD).is_file():
        return ""
    rows = artifact.absolute().parent / VALIDATION
    if dry_run and rows.is_file():
        return f"{ONNX_FOLDER}/ is not there yet: the push exports it first, unless --no-onnx is given."
    try:
        exported = export_onnx(artifact, *validation_rows(rows))
    except ArtifactError as error:
        return f"It goes without {ONNX_FOLDER}/. {error}"
    return f"Exported to {ONNX_FOLDER}/: {exported.why} {exported.record['standard']['why']}"


def stamped_card(plan: Plan, verified: Verified) -> Outgoing:
    """Return the card with the stamp of a verification."""
    to = plan.destination
    card = render_card(plan.artifact, repo_id=to.repo_id, verified=verified, adapter_only=to.adapter_only)
    return Outgoing.of(CARD, card.text.encode())
