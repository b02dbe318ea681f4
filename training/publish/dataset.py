"""Push labelled texts as a data set: text and label alone, names of people masked, shown before it is sent.

    plan = prepare_data(Path("labels.jsonl"), "ada/my-labels")
    print(*plan.sentences, sep="\\n")               # what will be public
    push_data(plan, token=token)

Of each row only the text and the label leave; ids, addresses, authors and times stay. "@somebody" becomes
"@user". Exact duplicates are sent once; rows that are there already stay. Knows nothing about how the labels
came about.
"""

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, constants

from inference.common.errors import DataError
from training.publish.dataset_card import DataSummary, render_dataset_card
from training.publish.dataset_held import ROWS, Held, read_held
from training.publish.errors import NotLoggedIn, RepoConflict, VerificationFailed
from training.publish.files import CARD, Outgoing
from training.publish.remote import read_remote
from training.publish.rights import check_name, check_rights
from training.publish.scan import check, check_secret
from training.publish.session import Patience, hub_client, hub_errors

SHOWN = 3
_TEXTS, _LABELS = ("text", "tweet", "post", "content", "sentence"), ("label", "sentiment", "class", "target")
_NAME = re.compile(r"(?<![\w@/])@[\w.-]*\w(?:@[\w.-]*\w)?")
_FEW_LABELS = 100


@dataclass(frozen=True, kw_only=True)
class DataPlan:
    """A data set as it would be public."""

    repo_id: str
    private: bool
    files: tuple[Outgoing, ...]
    """The card and the rows, as a new repository gets them."""
    rows: tuple[tuple[str, str], ...]
    """All of them, (text, label)."""
    summary: DataSummary
    licence: str | None
    n: int
    labels: dict[str, int]
    """Rows of each label, the most frequent first."""
    examples: tuple[tuple[str, str], ...]
    """A few rows, (text, label), as they would be read."""
    notes: tuple[str, ...]
    """What was left out or changed, in sentences."""

    @property
    def sentences(self) -> tuple[str, ...]:
        """What a person has to agree to."""
        who = "you and your organization" if self.private else "everybody, for good"
        counts = ", ".join(f"{count} {label}" for label, count in self.labels.items())
        return (
            f"{self.n} texts with their labels ({counts}) go to {self.repo_id}, readable by {who}.",
            *self.notes,
            f"Rows that {self.repo_id} has already stay there; only those that it lacks are added.",
            "The texts were written by other people: publish them only where the service's terms allow it.",
            *(f"For example, {label}: {text[:100]}" for text, label in self.examples),
        )


@dataclass(frozen=True, kw_only=True)
class PushedData:
    """A data set that is on the Hub."""

    repo_id: str
    commit: str
    commit_url: str
    changed: bool
    """False when the Hub had it all, and nothing was sent."""
    n: int
    """Rows of the file that was pushed."""
    added: int
    """Those of them that were not there yet."""


def prepare_data(path: Path, repo_id: str, *, private: bool = False, licence: str | None = None) -> DataPlan:
    """Read labelled texts and say what of them would be public. Raises DataError or PublishError.

    `licence`: the Hub's name of the licence under which the rows may be used; none is assumed.
    """
    check_name(repo_id)
    read = _read(path)
    labels = dict(Counter(label for _, label in read.rows).most_common())
    if len(labels) > _FEW_LABELS:
        raise DataError(
            f"{path.name} has {len(labels)} different labels. Give one with at most {_FEW_LABELS}, or name "
            "its columns text and label."
        )
    summary = DataSummary(
        rows=len(read.rows),
        labels=labels,
        file=ROWS,
        columns=("text", "label"),
        sources=read.counted("source"),
        languages=read.counted("language", "lang"),
        left_out=read.left_out,
    )
    return DataPlan(
        repo_id=repo_id,
        private=private,
        files=_files(repo_id, summary, _lines(read.rows), licence),
        rows=tuple(read.rows),
        summary=summary,
        licence=licence,
        n=len(read.rows),
        labels=labels,
        examples=tuple(read.rows[:SHOWN]),
        notes=read.notes,
    )


def _lines(rows: Iterable[tuple[str, str]]) -> bytes:
    return "".join(
        json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n" for text, label in rows
    ).encode()


def _files(repo_id: str, summary: DataSummary, rows: bytes, licence: str | None) -> tuple[Outgoing, ...]:
    """Return the files of a data set, looked at byte by byte."""
    card = render_dataset_card(repo_id, summary, licence=licence)
    files = (Outgoing.of(CARD, card.encode()), Outgoing.of(ROWS, rows))
    check(files)
    return files


@dataclass(frozen=True, kw_only=True)
class _Read:
    """Rows of a file, and what became of the others."""

    rows: list[tuple[str, str]]
    left_out: dict[str, int]
    masked: int
    others: tuple[str, ...]
    records: list[dict[str, Any]]

    def counted(self, *columns: str) -> dict[str, int]:
        """Count the values of the first of some columns that there is."""
        for column in columns:
            if column in self.others:
                return dict(Counter(str(r[column]) for r in self.records if r.get(column)).most_common(20))
        return {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out or changed, in sentences."""
        notes = [f"{count} rows {why}: left out." for why, count in self.left_out.items() if count]
        if self.masked:
            notes.append(f"{self.masked} names of people in the texts became @user.")
        if self.others:
            notes.append(f"Other columns stay here: {', '.join(self.others[:12])}.")
        return tuple(notes)


def _read(path: Path) -> _Read:
    records, torn = _records(path)
    names = Counter(name for record in records for name in record)
    text, label = (_column(names, known, path) for known in (_TEXTS, _LABELS))
    found: dict[tuple[str, str], None] = {}
    empty = masked = usable = 0
    for record in records:
        pair = record.get(text), record.get(label)
        if not all(isinstance(value, str | int) and str(value).strip() for value in pair):
            empty += 1
            continue
        usable += 1
        clean, count = _NAME.subn("@user", str(pair[0]))
        masked += count
        found[clean, str(pair[1])] = None
    if not found:
        raise DataError(f"{path.name} has no row with a text and a label. Label some posts first.")
    left_out = {
        "could not be read": torn,
        "had no text or no label": empty,
        "were duplicates": usable - len(found),
    }
    others = tuple(sorted(set(names) - {text, label}))
    return _Read(rows=list(found), left_out=left_out, masked=masked, others=others, records=records)


def _records(path: Path) -> tuple[list[dict[str, Any]], int]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read ({error}). Give a JSONL file of labelled texts.") from error
    records, torn = [], 0
    for line in filter(str.strip, lines):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict):
            records.append(record)
        else:
            torn += 1
    if not records:
        raise DataError(f"{path.name} holds no JSON object a line. Give a JSONL file of labelled texts.")
    return records, torn


def _column(names: Iterable[str], known: tuple[str, ...], path: Path) -> str:
    lower = {name.lower(): name for name in names}
    for name in known:
        if name in lower:
            return lower[name]
    raise DataError(
        f"{path.name} has no column {known[0]} (found: {', '.join(sorted(lower.values())[:8])}). Name it so."
    )


def push_data(
    plan: DataPlan,
    *,
    token: str | None,
    endpoint: str | None = None,
    progress: Callable[[str], None] = lambda sentence: None,
    patience: Patience | None = None,
) -> PushedData:
    """Push a data set in one commit, and check that the Hub has it. Raises a PublishError."""
    repo_id, patience = plan.repo_id, patience or Patience()
    rights = check_rights(repo_id, token=token, endpoint=endpoint, kind="dataset")
    if not token:
        raise NotLoggedIn("Nobody is logged in to the Hub. Log in with `hf auth login`, or set HF_TOKEN.")
    check_secret(plan.files, token)
    if rights.exists and plan.private and not rights.private:
        raise RepoConflict(
            f"{repo_id} is public, but --private was asked for. Make it private in its settings, give "
            "another name, or leave out --private."
        )
    with hub_client(patience), hub_errors(f"write to {repo_id}", repo_id=repo_id):
        api = HfApi(endpoint=endpoint or constants.ENDPOINT, token=token)
        if not rights.exists:
            api.create_repo(repo_id, repo_type="dataset", private=plan.private, exist_ok=True)
        progress(f"Comparing with {repo_id}.")
        return _send(plan, api, progress)


def _send(plan: DataPlan, api: HfApi, progress: Callable[[str], None]) -> PushedData:
    remote = read_remote(api, plan.repo_id, revision="main", kind="dataset")
    held = read_held(api, remote)
    new = [row for row in plan.rows if row not in set(held.rows)]
    commit = remote.head
    changed = bool(new) or (plan.licence or held.licence) != held.licence
    if changed:
        progress(f"Adding {len(new)} rows to the {len(held.rows)} that are there.")
        files = _added(plan, held, new) if held.content else plan.files
        check_secret(files, str(api.token))
        made = api.create_commit(
            plan.repo_id,
            [CommitOperationAdd(f.path_in_repo, b"".join(f.pieces())) for f in files],
            commit_message=f"TweetTune: {len(new)} labelled texts",
            repo_type="dataset",
            parent_commit=remote.head,
        )
        commit = str(made.oid)
        there = read_remote(api, plan.repo_id, revision=commit, kind="dataset")
        if missing := [file.path_in_repo for file in files if not there.same(file)]:
            raise VerificationFailed(
                f"{plan.repo_id} does not have {missing[0]} as it was sent. Look at it, then push again."
            )
    url = f"{api.endpoint}/datasets/{plan.repo_id}/commit/{commit}"
    return PushedData(
        repo_id=plan.repo_id, commit=commit, commit_url=url, changed=changed, n=plan.n, added=len(new)
    )


def _added(plan: DataPlan, held: Held, new: Sequence[tuple[str, str]]) -> tuple[Outgoing, ...]:
    """Return the files with the new rows behind those that are there, and a card that counts them all."""
    rows = [*held.rows, *new]
    others = {"earlier pushes": len(rows) - plan.n} if len(rows) > plan.n else {}
    sources, languages = (
        {**counts, **others} if counts else {} for counts in (plan.summary.sources, plan.summary.languages)
    )
    summary = dataclasses.replace(
        plan.summary,
        rows=len(rows),
        labels=dict(Counter(label for _, label in rows).most_common()),
        sources=sources,
        languages=languages,
    )
    return _files(plan.repo_id, summary, held.content + _lines(new), plan.licence or held.licence)


def as_json(plan: DataPlan) -> dict[str, Any]:
    """Return a plan as a JSON object, without the rows."""
    found = {name: getattr(plan, name) for name in ("repo_id", "private", "n", "labels", "examples", "notes")}
    return {**found, "files": [{"path": file.path_in_repo, "size": file.size} for file in plan.files]}
