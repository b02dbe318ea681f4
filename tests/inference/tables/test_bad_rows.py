"""Bad rows stay in their place with a reason; a file that can't be used is an error of one sentence."""

import csv
import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inference.common.errors import DataError
from inference.tables.formats import open_texts
from inference.tables.rows import CHUNK_ROWS
from tests.support.scored_files import converted, read_rows, rows_of, write_rows

# bad rows


def test_bad_rows_of_csv_stay_in_their_place_with_a_reason(tmp_path):
    content = (
        b"id,text\n1,good\n2,too,many\n3\n4,\xff\xfe\n"
        b'5,"opens and never closes\n6,"ends" badly\n7,"two\nlines"\n8,\n9,good\n'
    )
    found = rows_of(content, tmp_path)
    assert [(row["id"], row["text"], row["error"]) for row in found] == [
        ("1", "good", None),
        ("", "2,too,many", "the row has 3 cells where the header has 2"),
        ("", "3", "the row has 1 cells where the header has 2"),
        ("4", "ÿþ", None),
        ("", '5,"opens and never closes', "the quotes of the line are broken (',' expected after '\"')"),
        ("6", '"ends" badly', None),
        ("7", "two\nlines", None),
        ("8", "", None),
        ("9", "good", None),
    ]
    assert [row["label"] for row in found] == [None if row["error"] else "neutral" for row in found]
    as_csv = converted(tmp_path / "in.csv", tmp_path / "out.csv").read_bytes()
    assert b"\n4,\xff\xfe,neutral,0.5,false,\n" in as_csv
    rows = csv.DictReader(as_csv.decode("latin-1").splitlines(keepends=True))
    assert [row["error"] for row in rows] == [row["error"] or "" for row in found]


def test_a_quote_that_opens_in_the_last_rows_spoils_its_line_alone(tmp_path):
    lines = [f"{i},text {i}" for i in range(5_000)]
    lines[4_000] = '4000,"opens'
    found = rows_of(("id,text\n" + "\n".join(lines)).encode(), tmp_path)
    assert len(found) == 5_000
    assert [row["text"] for row in found if row["error"]] == ['4000,"opens']
    assert "unexpected end" in found[4_000]["error"]


def test_bad_rows_of_jsonl_stay_in_their_place_with_a_reason(tmp_path):
    lines = [
        b'{"id": 1, "text": "good"}',
        b'{"id": 2, "text": "cut',
        b"[1, 2]",
        b'{"id": 4}',
        b'{"id": 5, "text": null}',
        b'{"id": 6, "text": NaN}',
        b'{"id": 7, "text": 7}',
        b'{"id": 8, "text": "\xff"}',
        b'{"id": 9, "text": ' + b"[" * 100_000 + b"}",
        b"{}",
        b'{"id": 11, "text": ""}',
    ]
    reasons = [
        None,
        "the line is not JSON (Unterminated string starting at: line 1 column 19 (char 18))",
        "the line is not a JSON object but a list",
        "the text is missing",
        "the text is missing",
        "the text is missing",
        "the text is not a text (int)",
        None,
        "the line is nested too deeply",
        "the text is missing",
        None,
    ]
    for out in ("out.jsonl", "out.csv", "out.parquet"):
        found = rows_of(b"\n".join(lines), tmp_path, name="in.jsonl", out=out)
        assert [row["error"] or None for row in found] == reasons
        assert found[1]["text"] == lines[1].decode()
        assert found[7]["text"] == "ÿ"
        assert [row["label"] or None for row in found] == [None if r else "neutral" for r in reasons]
    assert [str(row.get("id") or "") for row in found] == ["1", "", "", "4", "5", "6", "7", "8", "", "", "11"]


def test_bad_rows_of_parquet_stay_in_their_place_with_a_reason(tmp_path):
    not_text = pa.array([b"good", b"caf\xe9", None, b""]).cast(pa.binary())
    broken = pa.StringArray.from_buffers(
        4, not_text.buffers()[1], not_text.buffers()[2], not_text.buffers()[0]
    )
    for column in (broken, not_text):
        pq.write_table(pa.table({"id": [1, 2, 3, 4], "text": column}), tmp_path / "in.parquet")
        found = read_rows(converted(tmp_path / "in.parquet", tmp_path / "out.jsonl"))
        assert [row["error"] for row in found] == [None, None, "the text is missing", None]
        assert [row["id"] for row in found] == [1, 2, 3, 4]
        assert found[1]["text"] == ("café" if column is broken else "caf\\xe9")
    pq.write_table(pa.table({"text": [1.5, float("nan")]}), tmp_path / "in.parquet")
    found = read_rows(converted(tmp_path / "in.parquet", tmp_path / "out.csv"))
    assert [row["error"] for row in found] == ["the text is not a text (float)", "the text is missing"]


# errors


CUT_SHORT = gzip.compress(b"text\n" * 999, mtime=0)[:-9]


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("in.csv", b"a,b\n1,2\n", "no text column (found: a, b)"),
        ("in.csv", b"", "is empty"),
        ("in.csv", b"\xef\xbb\xbf\r\n", "is empty"),
        ("in.csv", b'"text\n', "has a header that can't be read (the quotes of the line are broken"),
        ("in.csv", b"PK\x03\x04", "is a binary file"),
        ("in.csv", bytes(500), "it holds NUL, as binary files do"),
        ("in.jsonl", b"\x89PNG\r\n\x1a\n", "is a binary file"),
        ("in.jsonl", b"\n", "is empty"),
        ("in.jsonl", b"[\n]\n", "holds no JSON object with a key"),
        ("in.jsonl", b'{"t": 1}', "no text column (found: t)"),
        ("in.jsonl.gz", b'{"t": 1}', "can't be read (Not a gzipped file"),
        ("in.csv.gz", CUT_SHORT, "is cut short (its gzip stream"),
        ("in.parquet", b"", "is empty"),
        ("in.parquet", b"PAR1", "is not a sound Parquet file (Parquet file size is 4 bytes"),
        ("in.parquet.gz", b"", "is Parquet, which is packed inside already"),
        ("in.xlsx", b"", "is of a type that can't be read or written (.xlsx); use .csv, .tsv, .jsonl"),
        ("in", b"", "(no ending); use .csv, .tsv, .jsonl, .parquet, "),
    ],
)
def test_a_file_that_can_not_be_used_is_one_sentence(name, content, found, tmp_path):
    """What happened, what was found, and after a semicolon what to do."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(open_texts(tmp_path / name).chunks())
    sentence = str(caught.value)
    assert sentence.removeprefix(f"{tmp_path}/").startswith(name)
    assert found in sentence
    assert "; " in sentence and sentence.endswith(".") and "\n" not in sentence


def test_a_file_that_is_not_there_and_a_column_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"There is no file .*none\.csv; check the path\."):
        open_texts(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match=r"folder\.csv is a folder; give one file"):
        open_texts(tmp_path / "folder.csv")
    source = write_rows(tmp_path / "in.csv", [{"text": "a", "id": "1"}])
    with pytest.raises(DataError, match=r"no column 'x' \(found: text, id\); .* with --text-column\."):
        open_texts(source, text_column="x")
    with pytest.raises(DataError, match=r"no column 'k' \(found: text, id\); .* with --key\."):
        open_texts(source, key="k")


def test_an_arrow_file_with_two_columns_of_one_name(tmp_path):
    table = pa.table([["a"], ["b"]], names=["text", "text"])
    with pa.ipc.new_file(str(tmp_path / "in.arrow"), table.schema) as file:
        file.write_table(table)
    with pytest.raises(DataError, match="has two columns of the same name; rename one"):
        open_texts(tmp_path / "in.arrow")


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        (pa.timestamp("s"), 3 * 10**11, "11476-08-15 05:20:00.000"),
        (pa.date32(), 4 * 10**6, "12921-08-18"),
        (pa.timestamp("s", tz="Mars/Phobos"), 10**9, "2001-09-09 01:46:40.000"),
    ],
)
def test_dates_that_python_does_not_know_are_texts(kind, value, shown, tmp_path):
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table({"text": ["a"], "at": pa.array([value], kind)}), source)
    assert open_texts(source).reader.pick("text") == "text"
    chunk = next(open_texts(source).reader.chunks())
    assert chunk.plain("at") == chunk.column("at") == [shown]
    inner = pa.array([{"at": value}], pa.struct([("at", kind)]))
    pq.write_table(pa.table({"text": ["a"], "meta": inner}), source)
    assert read_rows(converted(source, tmp_path / "out.jsonl"))[0]["text"] == "a"


def test_a_file_cut_off_midway_is_an_error_and_not_a_short_result(tmp_path):
    rows = [{"text": f"row {i}"} for i in range(3 * CHUNK_ROWS)]
    source = write_rows(tmp_path / "in.parquet", rows)
    content = source.read_bytes()
    source.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="not a sound Parquet file"):
        converted(source, tmp_path / "out.csv")
    source = write_rows(tmp_path / "in.csv.gz", rows)
    content = source.read_bytes()
    source.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="is cut short"):
        converted(source, tmp_path / "out.csv")


@pytest.mark.parametrize(
    ("name", "rows", "size"),
    [
        ("in.jsonl", (b'{"text": "a"}\n', b'{"text": "%s"}\n', b'{"text": "b"}\n'), 40_000_000),
        ("in.csv", (b"text\na\n", b"%s\n", b"b\n"), 40_000_000),
        ("in.csv", (b"text\na\n", b"%s\n", b"b\n"), 16_000_000),
        ("in.tsv", (b"text\na\n", b'b " %s\r\n', b"b\n"), 20_000_000),
    ],
)
def test_a_line_that_is_too_long_is_a_bad_row_and_the_rest_is_read(name, rows, size, tmp_path):
    source = tmp_path / name
    source.write_bytes(b"".join(rows).replace(b"%s", b"x" * size))
    found = read_rows(converted(source, tmp_path / "out.jsonl"))
    assert [row["error"] for row in found] == [
        None,
        "the line has over 16,000,000 characters; its rest is left out",
        None,
    ]
    assert [row["text"] for row in (found[0], found[2])] == ["a", "b"]
    assert 15_999_990 <= len(found[1]["text"]) <= 16_000_000


def test_a_line_that_is_too_long_within_quotes_spoils_that_row_and_its_own(tmp_path):
    (tmp_path / "in.csv").write_bytes(b'text\n"opens\n' + b"x" * 17_000_000 + b'\n"good"\n')
    found = read_rows(converted(tmp_path / "in.csv", tmp_path / "out.jsonl"))
    assert [row["text"][:6] for row in found] == ['"opens', "xxxxxx", "good"]
    assert found[0]["error"].startswith("a quote that opens in it does not close (the line has over")
    assert found[2]["error"] is None


def test_keys_have_a_limit(tmp_path):
    write_rows(tmp_path / "in.jsonl", [{"text": "a", f"key {i}": i} for i in range(1_001)])
    with pytest.raises(DataError, match="over 1,000 different keys"):
        open_texts(tmp_path / "in.jsonl")
