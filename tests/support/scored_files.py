"""Tables for tests: written and read by the standard tools of each format, not by ours."""

import csv
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from inference import Prediction
from inference.scoring.parts import RowCounts, open_parts
from inference.scoring.score import ScoreColumns
from inference.tables.formats import open_texts, open_writer

LABELS = ("negative", "neutral", "positive")
SURE = Prediction("neutral", (0.25, 0.5, 0.25), truncated=False)
ENDINGS = [".csv", ".tsv", ".jsonl", ".parquet", ".csv.gz", ".jsonl.gz"]


def opened(path: Path, mode: str):
    unpack = gzip.open if path.suffix == ".gz" else open
    return unpack(path, mode, newline="", encoding="utf-8")


def write_rows(path: Path, rows: list[dict]) -> Path:
    """Write rows with the standard tools of each format, not with ours."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    with opened(path, "wt") as file:
        if ".jsonl" in path.name:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writerows([list(rows[0]), *(row.values() for row in rows)])
    return path


def read_rows(path: Path) -> list[dict]:
    """Read rows with the standard tools of each format."""
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    csv.field_size_limit(10_000_000)
    with opened(path, "rt") as file:
        if ".jsonl" in path.name:
            return [json.loads(line) for line in file.read().removesuffix("\n").split("\n")]
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


def converted(source: Path, out: Path, *, text_column: str = "", key: str = "", probabilities=False) -> Path:
    """Read and write a file with a fixed prediction for each good row: files without a model."""
    table = open_texts(source, text_column=text_column, key=key)
    columns = ScoreColumns.beside(table.kept, LABELS, probabilities=probabilities)
    writer = open_writer(out, table, columns.types)
    with open_parts(out, {}, overwrite=True) as parts:
        for chunk in table.chunks():
            found = chunk.aligned([SURE] * len(chunk.good_texts))
            parts.write(writer.part(chunk, columns.values(found, chunk.problems)), RowCounts(len(found)))
        parts.finish(writer.join)
    return out


def rows_of(content: bytes, tmp_path: Path, *, name="in.csv", out="out.jsonl", **options) -> list[dict]:
    (tmp_path / name).write_bytes(content)
    return read_rows(converted(tmp_path / name, tmp_path / out, **options))
