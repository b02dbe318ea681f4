"""Posts from a file: a recording, other JSON lines, CSV or TSV, Parquet, or plain text.

    posts_of_file("monday.jsonl")      # -> [Post(id="at://…", text="…", label="positive"), ...]

The column of texts is found by its name, as `python -m inference score` finds it; the column of true labels,
where there is one, is `label`. Plain text holds one post a line. Knows nothing about splits: a model may have
been trained on what is in the file.
"""

from collections.abc import Iterator
from pathlib import Path

from inference.common.errors import TweetTuneError
from inference.live.post import Post, clean
from inference.live.recording import recorded_posts
from inference.live.sources.errors import SourceBadQuery


def posts_of_file(path: str | Path, *, text_column: str = "", label_column: str = "label") -> list[Post]:
    """Return the posts of a file, in their order. Rows without a text are left out.

    Raises SourceBadQuery when the file can't be read, is of an unknown kind, or has no column of texts.
    """
    file = Path(path)
    if file.suffix.lower() == ".jsonl":
        return recorded_posts(file)
    plain_text = file.suffix.lower() == ".txt"
    try:
        rows = list(_lines(file) if plain_text else _table(file, text_column, label_column))
    except (TweetTuneError, OSError, UnicodeDecodeError) as error:
        raise SourceBadQuery(f"{path} can't be replayed: {error}") from error
    return [
        Post(f"{file.name.split('.')[0]}-{number}", clean(text), label=label, source="replay")
        for number, (text, label) in enumerate(rows, 1)
        if text and text.strip()
    ]


def _lines(path: Path) -> Iterator[tuple[str, None]]:
    with path.open(encoding="utf-8-sig") as file:
        for line in file:
            yield line.removesuffix("\n"), None


def _table(path: Path, text_column: str, label_column: str) -> Iterator[tuple[str | None, str | None]]:
    from inference.tables.formats import open_texts  # noqa: PLC0415  (pyarrow takes a while)

    table = open_texts(path, text_column=text_column)
    labelled = label_column in table.kept
    for chunk in table.chunks():
        labels = chunk.rows.plain(label_column) if labelled else [None] * chunk.rows.n
        for text, label in zip(chunk.texts, labels, strict=True):
            yield text, None if label in (None, "") else str(label)
