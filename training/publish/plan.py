"""What a push will do, before anything is sent: `prepare` reads, renders and looks at every byte.

    plan = prepare(Path("runs/demo"), "ada/tweets")
    plan.files, plan.card, plan.left_out, plan.notes          # what --dry-run shows

Needs no network beyond what the training data may need to be read again. Knows nothing about the Hub.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inference.artifact import PROVENANCE, VALIDATION, check_artifact, read_record
from inference.common.errors import ArtifactError, RunError, TweetTuneError
from inference.common.store import read_jsonl
from training.publish.card import render_card
from training.publish.errors import PublishError
from training.publish.files import CARD, Outgoing, collect, name_all
from training.publish.rights import check_name
from training.publish.scan import Scanned, check
from training.publish.verify import Verified
from training.recipes import Recipe, load_recipe
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
    scanned: Scanned
    notes: tuple[str, ...]
    """What people should know, in sentences."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """What was looked for beside this process's own secrets; the stamped card is looked at for it too."""

    @property
    def card(self) -> str:
        """The card as it is sent first, before the verification is stamped into it."""
        return next(b"".join(f.pieces()).decode() for f in self.files if f.path_in_repo == CARD)

    @property
    def size(self) -> int:
        """Bytes in all."""
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
    texts, notes = known_texts(artifact)
    scanned = check(files, texts=texts, secrets=secrets)
    if scanned.short:
        notes.append(
            f"{scanned.short} training texts of fewer than six words were not looked for in the files."
        )
    if left_out:
        notes.append(f"{len(left_out)} files of the artifact stay here: {', '.join(left_out[:6])}.")
    return Plan(
        artifact=artifact,
        destination=destination,
        files=tuple(files),
        left_out=tuple(left_out),
        scanned=scanned,
        notes=tuple(notes),
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
    state = run.status().state
    if state != "finished":
        what = (
            "Wait for its end" if state in jobs.ACTIVE else f"Go on with `python -m training resume {run.id}`"
        )
        raise PublishError(f"The run {run.id} is {state}, so there is nothing to push yet. {what}.")
    check_artifact(run.artifact)
    return run.artifact


def known_texts(artifact: Path) -> tuple[list[str], list[str]]:
    """Return the texts that must not leave, and a sentence for each kind of them that is not at hand.

    Those are the rows the run has stored (validation, disagreements), the data set's, read again, and those
    of the file of labelled texts that was added to them.
    """
    stored = [*_stored(artifact.parent)]
    record = read_record(artifact, PROVENANCE) or {}
    recipe = record.get("recipe")
    if not isinstance(recipe, dict):
        return stored, [
            f"The model does not say what it was trained on: {len(stored)} texts were looked for."
        ]
    texts, notes = [*stored], []
    try:
        texts += _read_again(recipe, (record.get("data") or {}).get("source") or {})
    except (TweetTuneError, OSError, TypeError) as error:
        notes.append(
            f"The training data can't be read again ({_why(error)}), so only {len(stored)} stored texts were "
            "looked for in the files."
        )
    try:
        texts += _added(artifact, str(recipe.get("more_data") or ""))
    except (TweetTuneError, OSError) as error:
        notes.append(
            f"The labelled texts that were added can't be read again ({_why(error)}), so they were not "
            "looked for in the files."
        )
    return texts, notes


def _why(error: Exception) -> str:
    return " ".join(str(error).split())[:160].rstrip(".")


def _added(artifact: Path, name: str) -> list[str]:
    """Return the texts of the file that was added to the training rows; provenance has its name alone."""
    if not name:
        return []
    from training.data.columns import find_column  # noqa: PLC0415  (datasets takes seconds)
    from training.data.files import read_path  # noqa: PLC0415

    own = artifact.parent / "recipe.toml"
    place = Path((load_recipe(own).more_data if own.is_file() else "").strip() or name).expanduser()
    table = read_path(place).tables["train"]
    found = table.column(find_column(table, "text", given="", where=place.name))
    return [str(text) for text in found if text is not None]


def _stored(run: Path) -> Iterator[str]:
    for name in (VALIDATION, "disagreements.jsonl"):
        yield from (str(row["text"]) for row in read_jsonl(run / name) if "text" in row)


def _read_again(recipe: dict[str, object], source: dict[str, object]) -> list[str]:
    """Return the texts of the data set that was used, which need not be what "auto" would take today."""
    from training.data.load import DataSpec, load_splits  # noqa: PLC0415  (datasets takes seconds)

    known = {key: tuple(value) if isinstance(value, list) else value for key, value in recipe.items()}
    places = {"embedded": "embedded", "hub": source.get("name")}
    known["dataset"] = places.get(str(source.get("kind"))) or source.get("location") or known.get("dataset")
    settings = dataclasses.asdict(Recipe(**known))  # type: ignore[arg-type]  # TypeError for other settings
    names = {field.name for field in dataclasses.fields(DataSpec)}
    splits = load_splits(DataSpec(**{name: settings[name] for name in names & settings.keys()}))
    return [*splits.train["text"], *splits.validation["text"], *splits.test["text"]]


def stamped_card(plan: Plan, verified: Verified) -> Outgoing:
    """Return the card with the stamp of a verification."""
    to = plan.destination
    card = render_card(plan.artifact, repo_id=to.repo_id, verified=verified, adapter_only=to.adapter_only)
    return Outgoing.of(CARD, card.text.encode())
