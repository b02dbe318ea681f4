"""The card of a data set of posts that somebody labelled and shares.

    card = render_dataset_card("ada/labels", summary)         # README.md's text
    card = render_dataset_card("ada/labels", summarize(rows, file="labels.jsonl"))

The prose is in .huggingface/dataset_card.md. Counts only: no text of a post stands in the card. Knows nothing
about how the rows were gathered or are sent.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData

from training.publish.card import TEMPLATES, check_repo
from training.publish.card_examples import expected_label
from training.publish.markdown import code, plain, table, text

TAG = "tweettune"
"""Tells a data set that TweetTune has pushed."""
_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """What a data card tells of the rows."""

    rows: int
    labels: Mapping[str, int]
    """Rows of each label."""
    file: str
    """The file in the repository."""
    columns: Sequence[str] = ()
    sources: Mapping[str, int] = field(default_factory=dict)
    """Rows of each source of posts, such as "bluesky"; empty where the rows don't say."""
    languages: Mapping[str, int] = field(default_factory=dict)
    """Rows of each language, as the posts themselves declare it."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Rows that were not sent, by the reason, as the end of a sentence: "had no label"."""


def summarize(
    rows: Iterable[Mapping[str, Any]], *, file: str, left_out: Mapping[str, int] | None = None
) -> DataSummary:
    """Count rows of {"text", "label", …} as they will be sent, and "source" and "language" if there."""
    total = 0
    columns: dict[str, None] = {}
    counts: dict[str, Counter[str]] = {"label": Counter(), "source": Counter(), "language": Counter()}
    for row in rows:
        total += 1
        columns |= dict.fromkeys(map(str, row))
        for key, counter in counts.items():
            if row.get(key) not in (None, ""):
                counter[str(row[key])] += 1
    return DataSummary(
        rows=total,
        labels=counts["label"],
        file=file,
        columns=tuple(columns),
        sources=counts["source"],
        languages=counts["language"],
        left_out=left_out or {},
    )


def render_dataset_card(repo_id: str, summary: DataSummary, *, licence: str | None = None) -> str:
    """Return the card of a data set. Raises ArtifactError for an impossible name.

    `licence`: the Hub's name of the licence that the rows' owner gives; none is assumed.
    """
    check_repo(repo_id)
    name = repo_id.split("/")[-1]
    labels = [text(label) for label in summary.labels]
    card = DatasetCard.from_template(
        _metadata(name, summary, licence),
        template_path=str(TEMPLATES / "dataset_card.md"),
        name=text(name),
        repo_id=repo_id,
        rows=f"{summary.rows:,}",
        labels=" · ".join(labels),
        label_table=_counted(("label", "rows", "share"), summary.labels, summary.rows),
        source_table=_counted(("source", "rows", "share"), summary.sources, summary.rows),
        language_table=_counted(("language", "rows", "share"), summary.languages, summary.rows),
        columns=", ".join(map(code, summary.columns)),
        file=code(summary.file),
        licence=licence,
        left_out=[f"{n:,} rows {text(why)}" for why, n in summary.left_out.items() if n],
    )
    return "\n".join(line.rstrip() for line in str(card).splitlines()).rstrip() + "\n"


def _counted(head: tuple[str, str, str], counts: Mapping[str, int], total: int) -> str:
    if not counts:
        return ""
    order = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return table(head, [[text(name), f"{n:,}", f"{100 * n / max(total, 1):.1f} %"] for name, n in order])


def _metadata(name: str, summary: DataSummary, licence: str | None) -> DatasetCardData:
    sentiment = expected_label("positive", tuple(summary.labels)) is not None
    codes = sorted(
        code for code in summary.languages if code.isascii() and code.isalpha() and 2 <= len(code) <= 3
    )
    return DatasetCardData(
        language=[one.lower() for one in codes] or None,
        license=licence,
        pretty_name=plain(name, limit=96),
        task_categories=["text-classification"],
        task_ids=["sentiment-classification"] if sentiment else None,
        size_categories=[next((word for most, word in _SIZES if summary.rows < most), "other")],
        tags=[TAG, "social-media"],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": summary.file}]}],
    )
