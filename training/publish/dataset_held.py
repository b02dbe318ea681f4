"""What a data set on the Hub holds already: labels accumulate, so a push adds to it and takes nothing away.

    held = read_held(api, read_remote(api, "ada/labels", revision="main", kind="dataset"))
    held.content, held.rows, held.licence

A data set is ours when its card has our tag. Knows nothing about what is added.
"""

import json
from dataclasses import dataclass
from typing import Any

from huggingface_hub import DatasetCard, HfApi

from training.publish.dataset_card import TAG
from training.publish.errors import RepoConflict
from training.publish.files import CARD
from training.publish.remote import Remote, read_content

ROWS = "train.jsonl"


@dataclass(frozen=True)
class Held:
    """The rows of a data set of ours; none where the repository is new."""

    content: bytes = b""
    """The file as it is, ending in a line break where there is a row."""
    rows: tuple[tuple[str, str], ...] = ()
    """(text, label) of each line that can be read."""
    licence: str | None = None


def read_held(api: HfApi, remote: Remote) -> Held:
    """Read what is there. Raises RepoConflict for a data set that TweetTune has not pushed."""
    others = sorted(set(remote.files) - {ROWS, CARD, ".gitattributes"})
    if others:
        raise RepoConflict(
            f"{remote.repo_id} holds other files than labels from here (found: {', '.join(others[:4])}). "
            "Give another name."
        )
    there = sorted(set(remote.files) & {ROWS, CARD})
    if not there:
        return Held()
    card = _metadata(read_content(api, remote, CARD, kind="dataset"), remote.repo_id) if CARD in there else {}
    if TAG not in (card.get("tags") or ()):
        raise RepoConflict(
            f"{remote.repo_id} holds a data set that TweetTune has not pushed (found: {', '.join(there)}, "
            f"and no card with the tag {TAG}), and a push would write into it. Give another name."
        )
    licence = card.get("license")
    content = read_content(api, remote, ROWS, kind="dataset") if ROWS in there else b""
    content += b"\n" if content and not content.endswith(b"\n") else b""
    return Held(content, tuple(_rows(content)), licence if isinstance(licence, str) else None)


def _metadata(card: bytes, repo_id: str) -> dict[str, Any]:
    try:
        return dict(vars(DatasetCard(card.decode("utf-8", "replace"), ignore_metadata_errors=True).data))
    except Exception as error:  # YAML that somebody wrote, whose errors are another library's
        raise RepoConflict(
            f"The card of {repo_id} can't be read ({type(error).__name__}), so nobody can tell whose data "
            "set it is. Mend its first lines on the Hub, or give another name."
        ) from error


def _rows(content: bytes) -> list[tuple[str, str]]:
    found = []
    for line in content.decode("utf-8", "replace").split("\n"):
        try:
            record = json.loads(line)
            found.append((str(record["text"]), str(record["label"])))
        except (ValueError, KeyError, TypeError):
            continue  # it stays in the file as it is
    return found
