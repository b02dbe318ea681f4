"""Push labelled texts as a data set: text and label alone, names of people masked, shown before it is sent.

    plan = prepare_data(Path("labels.jsonl"), "ada/my-labels")
    print(*plan.sentences, sep="\\n")               # what will be public
    push_data(plan, HfApi())

Of each row only the text and the label leave; ids, addresses, authors and times stay. "@somebody" becomes
"@user". Labels accumulate: a push adds rows to what the repository holds and takes nothing away. The card's
prose is in .huggingface/dataset_card.md; no text of a post stands in it.
"""

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import CommitOperationAdd, DatasetCard, DatasetCardData, HfApi

from inference.common.errors import DataError
from inference.common.hub import Timeouts, hub_session, token_of
from inference.common.store import JsonObject
from inference.common.text import one_line
from inference.common.wording import listed
from inference.tables.objects import json_lines
from training.publish.card.examples import expected_label
from training.publish.card.markdown import escape, fill, table
from training.publish.errors import RepoConflict, VerificationFailed
from training.publish.files import CARD, Outgoing
from training.publish.remote import PUSH_TIMEOUTS, Remote, create, read_content, read_remote, send
from training.publish.rights import check_name, check_rights
from training.publish.scan import check, check_secret

ROWS = "train.jsonl"
"""The file of the rows in the repository."""
TAG = "tweettune"
"""Marks the card of a data set that TweetTune has pushed."""
SHOWN = 3
_TEXTS, _LABELS = ("text", "tweet", "post", "content", "sentence"), ("label", "sentiment", "class", "target")
_NAME = re.compile(r"(?<![\w@/])@[\w.-]*\w(?:@[\w.-]*\w)?")
_FEW_LABELS = 100
_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
Row = tuple[str, str]
"""A text and its label."""


@dataclass(frozen=True, kw_only=True)
class DataPlan:
    """A data set as it would be public."""

    repo_id: str
    private: bool = False
    licence: str | None = None
    rows: tuple[Row, ...]
    sources: Mapping[str, int] = field(default_factory=dict)
    """Rows of each source of posts, such as "bluesky"; empty where the rows don't say."""
    languages: Mapping[str, int] = field(default_factory=dict)
    """Rows of each language, as the posts themselves declare it."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Rows that are not sent, by the reason, as the end of a sentence: "had no label"."""
    masked: int = 0
    """Names of people that became @user."""
    other_columns: tuple[str, ...] = ()
    """Columns that stay here."""

    @property
    def n(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> dict[str, int]:
        return dict(Counter(label for _, label in self.rows).most_common())

    @property
    def examples(self) -> tuple[Row, ...]:
        return self.rows[:SHOWN]

    @property
    def files(self) -> tuple[Outgoing, ...]:
        """The card and the rows, as a new repository gets them."""
        return (Outgoing.of(CARD, render_dataset_card(self).encode()), Outgoing.of(ROWS, _lines(self.rows)))

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what was left out or changed."""
        notes = [f"{count} rows {why}: left out." for why, count in self.left_out.items() if count]
        if self.masked:
            notes.append(f"{self.masked} names of people in the texts became @user.")
        if self.other_columns:
            notes.append(f"Other columns stay here: {listed(self.other_columns, most=12)}.")
        return tuple(notes)

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

    def to_json(self) -> JsonObject:
        names = ("repo_id", "private", "n", "labels", "examples", "notes")
        files = [{"path": file.path_in_repo, "size": file.size} for file in self.files]
        return {**{name: getattr(self, name) for name in names}, "files": files}


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
    """Rows of it that were not there yet."""


@dataclass(frozen=True)
class _Published:
    """The content of a data set of ours on the Hub; empty where the repository is new."""

    content: bytes = b""
    """The file as it is, ending in a line break where there is a row."""
    rows: tuple[Row, ...] = ()
    licence: str | None = None


def prepare_data(path: Path, repo_id: str, *, private: bool = False, licence: str | None = None) -> DataPlan:
    """Read labelled texts and say what of them would be public. Raises DataError or PublishError.

    `licence`: the Hub's name of the licence under which the rows may be used; none is assumed.
    """
    check_name(repo_id)
    lines = list(json_lines(path))
    records = [line.row for line in lines if not line.problem]
    torn = len(lines) - len(records)
    if not records:
        raise DataError(f"{path.name} holds no JSON object a line. Give a JSONL file of labelled texts.")
    columns = {name for record in records for name in record}
    text_column, label_column = (_column(columns, known, path) for known in (_TEXTS, _LABELS))
    rows: dict[Row, None] = {}
    empty = masked = 0
    for record in records:
        pair = tuple(_whole(record.get(column)) for column in (text_column, label_column))
        if not all(isinstance(value, str | int) and str(value).strip() for value in pair):
            empty += 1
            continue
        clean, count = _NAME.subn("@user", str(pair[0]))
        masked += count
        rows[clean, str(pair[1])] = None
    if not rows:
        raise DataError(f"{path.name} has no row with a text and a label. Label some posts first.")
    plan = DataPlan(
        repo_id=repo_id,
        private=private,
        licence=licence,
        rows=tuple(rows),
        sources=_counted(records, "source"),
        languages=_counted(records, "language", "lang"),
        left_out={
            "could not be read": torn,
            "had no text or no label": empty,
            "were duplicates": len(records) - empty - len(rows),
        },
        masked=masked,
        other_columns=tuple(sorted(columns - {text_column, label_column})),
    )
    if len(plan.labels) > _FEW_LABELS:
        raise DataError(
            f"{path.name} has {len(plan.labels)} different labels. Give one with at most {_FEW_LABELS}, or "
            "name its columns text and label."
        )
    check(plan.files)
    return plan


def _whole(value: object) -> object:
    """Return a text without half characters, which nobody could read from a file."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _column(names: Iterable[str], known: tuple[str, ...], path: Path) -> str:
    lower = {name.lower(): name for name in names}
    for name in known:
        if name in lower:
            return lower[name]
    raise DataError(
        f"{path.name} has no column {known[0]} (found: {', '.join(sorted(lower.values())[:8])}). Name it so."
    )


def _counted(records: Sequence[JsonObject], *columns: str) -> dict[str, int]:
    """Count the values of the first of some columns that there is."""
    for column in columns:
        if any(column in record for record in records):
            values = (str(record[column]) for record in records if record.get(column))
            return dict(Counter(values).most_common(20))
    return {}


def _lines(rows: Iterable[Row]) -> bytes:
    records = ({"text": text, "label": label} for text, label in rows)
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def push_data(
    plan: DataPlan,
    api: HfApi,
    *,
    progress: Callable[[str], None] = lambda sentence: None,
    timeouts: Timeouts = PUSH_TIMEOUTS,
) -> PushedData:
    """Push a data set in one commit, and check that the Hub has it. Raises a PublishError or a HubError."""
    repo_id = plan.repo_id
    with hub_session(timeouts):
        rights = check_rights(repo_id, api, kind="dataset")
        check_secret(plan.files, token_of(api, f"push to {repo_id}"))
        rights.check_private(repo_id, private=plan.private)
        if not rights.exists:
            create(api, repo_id, kind="dataset", private=plan.private)
        progress(f"Comparing with {repo_id}.")
        return _send(plan, api, progress)


def _send(plan: DataPlan, api: HfApi, progress: Callable[[str], None]) -> PushedData:
    remote = read_remote(api, plan.repo_id, revision="main", kind="dataset")
    published = _read_published(api, remote)
    known = set(published.rows)
    new = [row for row in plan.rows if row not in known]
    commit = remote.head
    changed = bool(new) or (plan.licence or published.licence) != published.licence
    if changed:
        progress(f"Adding {len(new)} rows to the {len(published.rows)} that are there.")
        files = _added(plan, published, new) if published.content else plan.files
        check_secret(files, token_of(api, f"push to {plan.repo_id}"))
        commit = send(
            api,
            plan.repo_id,
            [CommitOperationAdd(f.path_in_repo, f.content) for f in files],
            commit_message=f"TweetTune: {len(new)} labelled texts",
            repo_type="dataset",
            parent_commit=remote.head,
        ).oid
        there = read_remote(api, plan.repo_id, revision=commit, kind="dataset")
        if missing := [file.path_in_repo for file in files if not there.same(file)]:
            raise VerificationFailed(
                f"{plan.repo_id} does not have {missing[0]} as it was sent. Look at it, then push again."
            )
    url = f"{api.endpoint}/datasets/{plan.repo_id}/commit/{commit}"
    return PushedData(
        repo_id=plan.repo_id, commit=commit, commit_url=url, changed=changed, n=plan.n, added=len(new)
    )


def _read_published(api: HfApi, remote: Remote) -> _Published:
    """Read what is there. Raises RepoConflict for a data set that TweetTune has not pushed."""
    others = sorted(set(remote.files) - {ROWS, CARD, ".gitattributes"})
    if others:
        raise RepoConflict(
            f"{remote.repo_id} holds other files than labels from here (found: {', '.join(others[:4])}). "
            "Give another name."
        )
    there = sorted(set(remote.files) & {ROWS, CARD})
    if not there:
        return _Published()
    card: JsonObject = {}
    if CARD in there:
        content = read_content(api, remote, CARD).decode("utf-8", "replace")
        try:
            card = dict(vars(DatasetCard(content, ignore_metadata_errors=True).data))
        except Exception as error:  # YAML that somebody wrote, whose errors are another library's
            raise RepoConflict(
                f"The card of {remote.repo_id} can't be read ({type(error).__name__}), so nobody can tell "
                "whose data set it is. Mend its first lines on the Hub, or give another name."
            ) from error
    if TAG not in (card.get("tags") or ()):
        raise RepoConflict(
            f"{remote.repo_id} holds a data set that TweetTune has not pushed (found: {', '.join(there)}, "
            f"and no card with the tag {TAG}), and a push would write into it. Give another name."
        )
    licence = card.get("license")
    rows = read_content(api, remote, ROWS) if ROWS in there else b""
    rows += b"\n" if rows and not rows.endswith(b"\n") else b""
    known = [line.row for line in json_lines(rows) if {"text", "label"} <= line.row.keys()]
    return _Published(
        rows,
        tuple((str(record["text"]), str(record["label"])) for record in known),
        licence if isinstance(licence, str) else None,
    )


def _added(plan: DataPlan, published: _Published, new: Sequence[Row]) -> tuple[Outgoing, ...]:
    """Return the files with the new rows behind those that are there, and a card that counts them all."""
    rows = (*published.rows, *new)
    others = {"earlier pushes": len(rows) - plan.n} if len(rows) > plan.n else {}
    whole = dataclasses.replace(
        plan,
        rows=rows,
        licence=plan.licence or published.licence,
        sources={**plan.sources, **others} if plan.sources else {},
        languages={**plan.languages, **others} if plan.languages else {},
    )
    card = Outgoing.of(CARD, render_dataset_card(whole).encode())
    files = (card, Outgoing.of(ROWS, published.content + _lines(new)))
    check(files)
    return files


def render_dataset_card(plan: DataPlan) -> str:
    """Return the card of a data set: counts, and no text."""
    name, labels = plan.repo_id.split("/")[-1], plan.labels
    codes = sorted(code for code in plan.languages if re.fullmatch("[A-Za-z]{2,3}", code))
    sentiment = expected_label("positive", tuple(labels)) is not None
    metadata = DatasetCardData(
        language=[one.lower() for one in codes] or None,
        license=plan.licence,
        pretty_name=one_line(name, longest=96),
        task_categories=["text-classification"],
        task_ids=["sentiment-classification"] if sentiment else None,
        size_categories=[next((word for most, word in _SIZES if plan.n < most), "other")],
        tags=[TAG, "social-media"],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": ROWS}]}],
    )

    def counts(of: str, found: Mapping[str, int]) -> str:
        order = sorted(found.items(), key=lambda one: (-one[1], one[0]))
        rows = [[escape(name), f"{n:,}", f"{100 * n / max(plan.n, 1):.1f} %"] for name, n in order]
        return table((of, "rows", "share"), rows) if rows else ""

    return fill(
        "dataset_card.md",
        card_data=metadata.to_yaml().strip(),
        name=name,
        repo_id=plan.repo_id,
        rows=f"{plan.n:,}",
        labels=" · ".join(map(escape, labels)),
        label_table=counts("label", labels),
        source_table=counts("source", plan.sources),
        language_table=counts("language", plan.languages),
        licence=plan.licence,
        left_out=[f"{n:,} rows {escape(why)}" for why, n in plan.left_out.items() if n],
    )
