"""Files in and out: every format into every other, hostile texts, and what is kept to the letter."""

import datetime
import decimal
import json
import tracemalloc
from itertools import product

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference import Classifier
from inference.cli import main
from inference.tables.columns import LABEL_COLUMNS, TEXT_COLUMNS, pick_column, unique
from inference.tables.formats import open_texts
from inference.tables.rows import CHUNK_ROWS
from tests.support.scored_files import ENDINGS, converted, read_rows, rows_of, write_rows

HOSTILE = [
    "what a lovely day",
    "",
    " ",
    'she said "hi", twice',
    '"quoted from end to end"',
    "two\nlines",
    "a carriage\rreturn",
    "a carriage\rreturn and\r\nboth",
    "a tab\there; and a | there",
    "a NUL \0 inside",
    '=HYPERLINK("http://x","y")',
    "<script>alert('1')</script> &amp; &lt;",
    "\u05e9\u05dc\u05d5\u05dd \u202etxet\u202c \u0645\u0631\u062d\u0628\u0627",
    "a line\u2028separator, next\x85line, \x0b \x0c \x1c",
    "\U0001f937\U0001f3fd\u200d\u2640\ufe0f and \ufeff inside",
    "\\n is no line end, \\udcff no byte",
    "NaN",
    "null",
    "x" * 100_000,
    "good " * 20_000,
]


# every format into every other


@pytest.fixture(scope="module")
def classifier(trained_gpt2) -> Classifier:
    return Classifier.load(trained_gpt2.artifact)


@pytest.mark.parametrize(("read", "written"), list(product(ENDINGS, ENDINGS)))
def test_every_format_becomes_every_other(read, written, trained_gpt2, classifier, tmp_path, capsys):
    texts = [text for text in HOSTILE if len(text) < 1_000] + ["love the sunny day", "awful, broken, lost"]
    rows = [{"id": f"{i:03}", "text": text, "lang": "en"} for i, text in enumerate(texts)]
    source, out = write_rows(tmp_path / f"in{read}", rows), tmp_path / f"out{written}"
    assert main(["score", str(source), "--model", str(trained_gpt2.artifact), "--output", str(out)]) == 0
    found = read_rows(out)
    assert [{key: row[key] for key in rows[0]} for row in found] == rows
    assert list(found[0]) == ["id", "text", "lang", "label", "score", "truncated", "error"]
    for row, expected in zip(found, classifier.predict(texts), strict=True):
        assert row["label"] == expected.label
        assert float(row["score"]) == pytest.approx(max(expected.probabilities), abs=1e-5)
        assert row["error"] in (None, "")
        assert row["truncated"] in (False, "false")
    assert not list(tmp_path.glob("*.partial"))
    assert capsys.readouterr().out.startswith(f"{out}: {len(texts)} rows, 0 bad, 0 truncated; ")


def test_probabilities_truncation_and_texts_of_any_length(trained_gpt2, classifier, tmp_path):
    source = write_rows(tmp_path / "in.jsonl", [{"text": text} for text in HOSTILE])
    arguments = ["score", source, "--model", trained_gpt2.artifact, "--output", tmp_path / "out.parquet"]
    assert main([*map(str, arguments), "--probabilities"]) == 0
    for row, text, expected in zip(
        read_rows(tmp_path / "out.parquet"), HOSTILE, classifier.predict(HOSTILE), strict=True
    ):
        assert row["text"] == text
        assert row["truncated"] == expected.truncated
        probabilities = [row[f"probability_{label}"] for label in classifier.labels]
        assert probabilities == pytest.approx(expected.probabilities, abs=1e-5)
        assert row["score"] == max(probabilities)
    assert row["truncated"] is True


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=40), min_size=1, max_size=8),
    read=st.sampled_from(ENDINGS),
    written=st.sampled_from(ENDINGS),
)
def test_any_text_survives(texts, read, written, tmp_path):
    rows = [{"n": str(i), "text": text} for i, text in enumerate(texts)]
    out = converted(write_rows(tmp_path / f"in{read}", rows), tmp_path / f"out{written}")
    assert [{"n": row["n"], "text": row["text"]} for row in read_rows(out)] == rows


def test_a_lone_surrogate_is_spelt_out_where_unicode_has_none(tmp_path):
    line = b'{"text": "a \\ud83d b"}\n'
    (as_json,) = rows_of(line, tmp_path, name="in.jsonl", out="out.jsonl")
    assert (as_json["text"], as_json["label"]) == ("a \ud83d b", "neutral")
    for out in ("out.csv", "out.parquet"):
        (row,) = rows_of(line, tmp_path, name="in.jsonl", out=out)
        assert (row["text"], row["label"]) == ("a \\ud83d b", "neutral")


# what is kept to the letter


def test_a_jsonl_line_is_kept_to_the_letter(tmp_path):
    lines = [
        '{"text": "a", "n": 0.10, "big": 12345678901234567890123, "n": 2}',
        '{ "text":"\\u00e9\\ud800",  "x": {"y": [1, 2.50, null]} }',
        '{"label": "gold", "text": "b", "far": 1e400}',
    ]
    (tmp_path / "in.jsonl").write_text("\n\n".join(lines) + "\r\n", encoding="utf-8")
    written = converted(tmp_path / "in.jsonl", tmp_path / "out.jsonl").read_text().splitlines()
    for line, out in zip(lines, written, strict=True):
        assert out.startswith(line[:-1].rstrip() + ', "tweettune_label": "neutral", "score": 0.5, ')
        assert json.loads(out)["error"] is None


def test_csv_keeps_its_mark_delimiter_line_ends_and_bytes(tmp_path):
    content = b'\xef\xbb\xbfid;Tweet;name\r\n1;"two\r\nlines; one\rcell";caf\xe9\r\n\r\n2;plain;b\r\n'
    (tmp_path / "in.csv").write_bytes(content)
    out = converted(tmp_path / "in.csv", tmp_path / "out.csv").read_bytes()
    assert out == (
        b"\xef\xbb\xbfid;Tweet;name;label;score;truncated;error\r\n"
        b'1;"two\r\nlines; one\rcell";caf\xe9;neutral;0.5;false;\r\n'
        b"2;plain;b;neutral;0.5;false;\r\n"
    )
    row, _ = rows_of(content, tmp_path)
    assert row["name"] == "café"


def test_a_column_name_twice_stays_in_csv_and_is_numbered_elsewhere(tmp_path):
    content = b"a,text,a\n1,x,2\n"
    (tmp_path / "in.csv").write_bytes(content)
    assert converted(tmp_path / "in.csv", tmp_path / "out.csv").read_bytes().startswith(b"a,text,a,label,")
    assert rows_of(content, tmp_path)[0]["a_2"] == "2"


def test_tab_separated_tweets_with_bare_quotes_stay_so(tmp_path):
    content = b'text\tid\n"I never asked\t1\nhe said "no" \xe2\x80\xa8twice"\t2\n"both"\t3\n'
    (tmp_path / "in.tsv").write_bytes(content)
    out = converted(tmp_path / "in.tsv", tmp_path / "out.tsv").read_bytes()
    kept = b"".join(b"\t".join(line.split(b"\t")[:2]) + b"\n" for line in out.splitlines())
    assert kept == content
    assert [row["text"][0] for row in rows_of(content, tmp_path, name="in.tsv")] == ['"', "h", '"']


def test_a_formula_is_left_as_it_is(tmp_path):
    rows = [{"text": text} for text in ("=1+1", "+49", "-1", "@me", "\t=2")]
    assert [
        {"text": row["text"]}
        for row in read_rows(converted(write_rows(tmp_path / "i.csv", rows), tmp_path / "o.csv"))
    ] == rows


def test_parquet_keeps_types_and_metadata(tmp_path):
    when = datetime.datetime(2026, 7, 4, 14, 38, 7, 112_000, tzinfo=datetime.UTC)
    table = pa.table(
        {
            "text": pa.array(["a", "b"]).dictionary_encode(),
            "when": pa.array([when, None], pa.timestamp("ns", "UTC")),
            "price": pa.array([decimal.Decimal("1.10"), None], pa.decimal128(5, 2)),
            "tags": pa.array([["x", "y"], []], pa.list_(pa.string())),
            "user": pa.array([{"n": 1, "f": float("nan")}, None]),
            "raw": pa.array([b"\xff\x00", b"ok"]),
            "nan": pa.array([float("nan"), 1.5], pa.float32()),
            "whole": pa.array([2**60, None]),
        }
    ).replace_schema_metadata({"huggingface": "{}"})
    pq.write_table(table, tmp_path / "in.parquet")
    same = pq.read_table(converted(tmp_path / "in.parquet", tmp_path / "same.parquet"))
    assert same.select(table.column_names).schema.equals(table.schema)
    assert same.schema.metadata == table.schema.metadata
    assert same.select(["when", "price", "tags", "raw", "whole"]).equals(
        table.select(["when", "price", "tags", "raw", "whole"])
    )
    plain, _ = read_rows(converted(tmp_path / "in.parquet", tmp_path / "out.jsonl"))
    assert plain["when"].startswith("2026-07-04 14:38:07.112")
    assert (plain["price"], plain["tags"], plain["whole"]) == ("1.10", ["x", "y"], 2**60)
    assert (plain["user"], plain["nan"], plain["raw"]) == ({"n": 1, "f": None}, None, "\\xff\0")
    cells, empty = read_rows(converted(tmp_path / "in.parquet", tmp_path / "out.csv"))
    assert (cells["tags"], cells["user"]) == ('["x", "y"]', '{"n": 1, "f": null}')
    assert (empty["when"], empty["whole"]) == ("", "")


def test_columns_of_jsonl_get_the_type_of_their_values_in_parquet(tmp_path):
    rows = [
        {"text": "a", "i": 1, "f": 1, "b": True, "mixed": 1, "deep": {"x": 1}, "long": 2**60, "huge": 2**70},
        {"text": "b", "i": None, "f": 1.5, "mixed": "one", "late": "x", "long": 0.5},
    ]
    table = pq.read_table(converted(write_rows(tmp_path / "in.jsonl", rows), tmp_path / "out.parquet"))
    kinds = {name: str(table.schema.field(name).type) for name in table.column_names}
    assert (kinds["i"], kinds["f"], kinds["b"], kinds["late"]) == ("int64", "double", "bool", "string")
    assert {kinds[name] for name in ("mixed", "deep", "long", "huge")} == {"string"}
    assert table["mixed"].to_pylist() == ["1", "one"]
    assert table["deep"].to_pylist() == ['{"x": 1}', None]
    assert table["long"].to_pylist() == [str(2**60), "0.5"]
    assert table["late"].to_pylist() == [None, "x"]


# columns


def test_new_columns_make_way_for_those_of_the_input(tmp_path):
    row = {"text": "a", "label": "gold", "score": "9", "tweettune_label": "t", "probability_neutral": "p"}
    for suffix in ENDINGS:
        source = write_rows(tmp_path / f"in{suffix}", [row])
        (found,) = read_rows(converted(source, tmp_path / f"out{suffix}", probabilities=True))
        assert {key: found[key] for key in row} == row
        assert found["tweettune_tweettune_label"] == "neutral"
        assert float(found["tweettune_score"]) == 0.5
        assert float(found["tweettune_probability_neutral"]) == 0.5
        assert float(found["probability_negative"]) == 0.25


@pytest.mark.parametrize("suffix", ENDINGS)
def test_a_key_stands_alone_beside_the_new_columns(suffix, tmp_path):
    source = write_rows(tmp_path / f"in{suffix}", [{"ID": "7", "text": "a", "b": "c"}])
    (found,) = read_rows(converted(source, tmp_path / f"out{suffix}", key="id"))
    assert list(found) == ["ID", "label", "score", "truncated", "error"]
    assert found["ID"] == "7"


def test_the_text_column_is_found_by_name_or_given():
    assert pick_column(("id", "Full Text", "text"), "text", where="f") == "text"
    assert pick_column(("id", "Full Text"), "text", where="f") == "Full Text"
    assert pick_column(("Body", "body"), "text", given="body", where="f") == "body"
    assert pick_column(("a", "What-Said"), "text", given="what_said", where="f") == "What-Said"
    assert all(pick_column((name,), "text", where="f") == name for name in TEXT_COLUMNS)
    assert all(pick_column((name,), "label", where="f") == name for name in LABEL_COLUMNS)
    assert unique(["a", "b", "a", "a_2", "a"]) == ("a", "b", "a_2", "a_2_2", "a_3")


# memory


def test_memory_does_not_grow_with_the_file(tmp_path):
    for read, written in ((".csv", ".jsonl"), (".jsonl", ".parquet"), (".parquet", ".csv")):
        peaks = []
        for chunks in (2, 12):
            rows = [{"id": str(i), "text": f"row {i} " * 5} for i in range(chunks * CHUNK_ROWS)]
            source = write_rows(tmp_path / f"in{chunks}{read}", rows)
            del rows
            tracemalloc.start()
            converted(source, tmp_path / f"out{chunks}{written}")
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        small, large = peaks
        assert large < 1.3 * small + 1_000_000, f"{read} to {written}: {small:,} and {large:,} bytes"


def test_a_chunk_of_long_texts_ends_early(tmp_path):
    for name in ("in.jsonl", "in.parquet"):
        source = write_rows(tmp_path / name, [{"text": "x" * 3_000_000}] * 12)
        chunks = list(open_texts(source).chunks())
        assert [len(chunk.texts) for chunk in chunks] == [chunk.rows.n for chunk in chunks] == [6, 6]
        assert chunks[-1].rows.share_read == 1.0 and chunks[0].rows.share_read < 1
