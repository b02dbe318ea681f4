"""Training and scoring read the same rows of any file: what one door counts as bad, the other does too."""

import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.common.errors import DataError
from inference.common.text import decoded
from inference.live.sources.replay import posts_of_file
from inference.tables.formats import open_texts
from training.data.read import read_table

GOOD = [f"row {i}" for i in range(12)]
PLAIN = "".join(f"{text},neutral\n" for text in GOOD)
PLAIN_TABS = "".join(f"neutral\t{text}\n" for text in GOOD)
ROWS = [{"text": text, "label": "neutral"} for text in GOOD]
LINES = "".join(json.dumps({"text": text, "label": "neutral"}) + "\n" for text in GOOD)
# name, content, texts that are read beside the good ones, rows that can't be read
HOSTILE = {
    "plain": ("t.csv", f"text,label\n{PLAIN}".encode(), [], 0),
    "a quote that opens": ("t.csv", f'text,label\n"opens,neutral\n{PLAIN}'.encode(), [], 1),
    "a quote that opens in the last line": ("t.csv", f'text,label\n{PLAIN}"opens,neutral'.encode(), [], 1),
    "two of them": ("t.csv", f'text,label\n"a,neutral\n{PLAIN}"b,neutral\n'.encode(), [], 2),
    "a quoted word": ("t.csv", f'text,label\n"well" said,neutral\n{PLAIN}'.encode(), ['"well" said'], 0),
    "bare quotes in a TSV": (
        "t.tsv",
        ('text\tlabel\n"I never\tneutral\nsaid "no"\tneutral\n' + PLAIN.replace(",", "\t")).encode(),
        ['"I never', 'said "no"'],
        0,
    ),
    "a line end within quotes": ("t.csv", f'text,label\n"a\nb",neutral\n{PLAIN}'.encode(), ["a\nb"], 0),
    "too many cells": ("t.csv", f"text,label\na,b,neutral\n{PLAIN}".encode(), [], 1),
    "byte order mark": ("t.csv", f"text,label\n{PLAIN}".encode("utf-8-sig"), [], 0),
    "semicolons, CRLF": (
        "t.csv",
        f"Text;Label\né;neutral\n{PLAIN}".replace(",", ";").replace("\n", "\r\n").encode(),
        ["é"],
        0,
    ),
    "Windows-1252": ("t.csv", f"text,label\ncafé “x”,neutral\n{PLAIN}".encode("cp1252"), ["café “x”"], 0),
    "mixed lines": (
        "t.csv",
        "text,label\nnaïve,neutral\n".encode() + "café,neutral\n".encode("cp1252") + PLAIN.encode(),
        ["naïve", "café"],
        0,
    ),
    "UTF-16": ("t.csv", f"text,label\ncafé ☕,neutral\n{PLAIN}".encode("utf-16"), ["café ☕"], 0),
    "UTF-16, big end first": (
        "t.jsonl",
        b"\xfe\xff" + ('{"text": "☕"}\n' + LINES).encode("utf-16-be"),
        ["☕"],
        0,
    ),
    "NUL": ("t.csv", f"text,label\na\0b,neutral\n{PLAIN}".encode(), ["a\0b"], 0),
    "a long line": ("t.csv", f"text,label\n{'x' * 300_000},neutral\n{PLAIN}".encode(), ["x" * 300_000], 0),
    "too long a line": ("t.csv", f"text,label\n{'x' * 16_000_000},neutral\n{PLAIN}".encode(), [], 1),
    "gzip": ("t.csv.gz", gzip.compress(f"text,label\n{PLAIN}".encode()), [], 0),
    "NULs in rows that would be sound UTF-16": (
        "t.csv",
        b"text,label\n\0\n;;;;\0\n" + b"\0\1\1\1\1\n\1\1\1\1\n" * 3 + PLAIN.encode(),
        [],
        8,
    ),
    "gzip of UTF-16": ("t.jsonl.gz", gzip.compress(f'{{"text": "é"}}\n{LINES}'.encode("utf-16")), ["é"], 0),
    "broken JSON": ("t.jsonl", f'{{"text": "cut\n[1]\n7\n{LINES}'.encode(), [], 3),
    "no text": ("t.jsonl", f'{{"text": 7}}\n{{"text": null}}\n{{}}\n{LINES}'.encode(), [], 3),
    "JSON in Windows-1252": ("t.jsonl", '{"text": "café"}\n'.encode("cp1252") + LINES.encode(), ["café"], 0),
    "line separators within JSON": (
        "t.jsonl",
        f'{{"text": "a\u2028b\x85c"}}\n{LINES}'.encode(),
        ["a\u2028b\x85c"],
        0,
    ),
    "UTF-16 without a mark": (
        "t.csv",
        f"text,label\ncafé ☕,neutral\n{PLAIN}".encode("utf-16-le"),
        ["café ☕"],
        0,
    ),
    "the same, big end first": (
        "t.tsv",
        f"text\tlabel\nпривет мир\tneutral\n{PLAIN}".replace(",", "\t").encode("utf-16-be"),
        ["привет мир"],
        0,
    ),
    "Excel's line sep=": (
        "t.csv",
        f"sep=;\r\ntext;label\r\na, b;neutral\r\n{PLAIN}".replace(",", ";").encode(),
        [],
        1,
    ),
    "commas in texts, semicolons between": (
        "t.csv",
        f"text;label, so\na, b;neutral\n{PLAIN.replace(',', ';')}".encode(),
        ["a, b"],
        0,
    ),
    "one column, commas bare": ("t.csv", ("text\na, b, c\n" + "\n".join(GOOD)).encode(), ["a, b, c"], 0),
    "stray quotes that close in a later line": (
        "t.tsv",
        ('text\tlabel\n"a\tneutral\nb\tneutral\nc"\tneutral\n' + PLAIN.replace(",", "\t")).encode(),
        ['"a', "b", 'c"'],
        0,
    ),
    "the same in a CSV": (
        "t.csv",
        f'text,label\n"a,neutral\nb,neutral\nc",neutral\n{PLAIN}'.encode(),
        ['"a', "b", 'c"'],
        0,
    ),
    "a cell of lines with commas": (
        "t.csv",
        f'text,label\n"a, b\nc, d",neutral\n{PLAIN}'.encode(),
        ["a, b\nc, d"],
        0,
    ),
    "plain text": ("t.txt", ('a\n"b, c\n' + "\n".join(GOOD)).encode(), ["a", '"b, c'], 0),
    "tabs in plain text": ("t.txt", f"label\ttext\nneutral\ta\n{PLAIN_TABS}".encode(), ["a"], 0),
    "an array": ("t.json", json.dumps([{"text": "a\nb"}, *ROWS], indent=1).encode(), ["a\nb"], 0),
    "an array in one line": ("t.jsonl", json.dumps([{"text": "é"}, *ROWS]).encode(), ["é"], 0),
    "arrays in lines": ("t.jsonl", f'[{{"text": "a"}}, {{"text": "b"}}, 3]\n{LINES}'.encode(), ["a", "b"], 1),
    "an array packed": ("t.json.gz", gzip.compress(json.dumps([7, *ROWS]).encode()), [], 1),
    "JSON lines by another name": ("t.ndjson", LINES.encode(), [], 0),
    "JSON lines in .json": ("t.json", f'{{"text": "a"}}\n{LINES}'.encode(), ["a"], 0),
    "a page of an answer": (
        "t.json",
        json.dumps({"data": ROWS, "meta": {"n": 12}}, indent=1).encode(),
        [],
        0,
    ),
    "pages in lines": (
        "t.jsonl",
        f"{json.dumps({'data': ROWS})}\n{json.dumps({'data': [{'text': 'a'}]})}".encode(),
        ["a"],
        0,
    ),
    "columns of pandas": (
        "t.json",
        json.dumps({"text": {str(i): text for i, text in enumerate(GOOD)}}).encode(),
        [],
        0,
    ),
    "an archive": (
        "tweets.js",
        b"window.YTD.tweets.part0 = "
        + json.dumps([{"tweet": {"id": "1", "full_text": text}} for text in GOOD], indent=1).encode(),
        [],
        0,
    ),
    "X": (
        "t.jsonl",
        "\n".join(json.dumps({"data": {"id": "1", "text": text}}) for text in GOOD).encode(),
        [],
        0,
    ),
    "long posts of X": (
        "t.jsonl",
        "\n".join(
            json.dumps({"data": {"text": text[:5], "note_tweet": {"text": text}}}) for text in GOOD
        ).encode(),
        [],
        0,
    ),
    "Jetstream": (
        "t.jsonl",
        (
            '{"kind": "identity"}\n'
            + "\n".join(json.dumps({"did": "d", "commit": {"record": {"text": text}}}) for text in GOOD)
        ).encode(),
        [],
        1,
    ),
}
REFUSED = {
    "empty": ("t.csv", b""),
    "blank": ("t.jsonl", b" \n\n"),
    "binary": ("t.csv", b"\x89PNG\r\n\x1a\n\0\0"),
    "NUL alone": ("t.csv", bytes(500)),
    "zip": ("t.tsv", b"PK\x03\x04"),
    "cut gzip": ("t.csv.gz", gzip.compress(f"text,label\n{PLAIN}".encode() * 99)[:-9]),
    "no gzip": ("t.csv.gz", b"text,label\n"),
    "no columns": ("t.jsonl", b"[]\n"),
    "parquet": ("t.parquet", b"PAR1"),
}


def scored(path) -> tuple[list[str], int]:
    """Return the texts that scoring classifies, and how many rows it calls bad."""
    chunks = list(open_texts(path).chunks())
    return [text for chunk in chunks for text in chunk.good_texts], sum(
        problem is not None for chunk in chunks for problem in chunk.problems
    )


def trained(path) -> tuple[list[str], int]:
    """Return the texts that training gets before they are mended, and how many rows it counts as bad."""
    table = read_table(path)
    column = table.column(table.pick("text", where=path.name))
    texts = [decoded(value) for value in column if isinstance(value, str)]
    return texts, table.broken_lines + len(column) - len(texts)


@pytest.mark.parametrize("case", HOSTILE)
def test_training_and_scoring_read_the_same_rows(case, tmp_path):
    name, content, more, bad = HOSTILE[case]
    (tmp_path / name).write_bytes(content)
    texts, counted = scored(tmp_path / name)
    assert sorted(texts) == sorted([*GOOD, *more])
    assert counted == bad
    assert trained(tmp_path / name) == (texts, counted)


@pytest.mark.parametrize("case", HOSTILE)
def test_a_replay_shows_the_same_posts(case, tmp_path):
    name, content, more, _ = HOSTILE[case]
    (tmp_path / name).write_bytes(content)
    posts = posts_of_file(tmp_path / name)[0]
    assert len(posts) == len(GOOD) + len(more)
    assert {post.label for post in posts} <= {"neutral", None}


@pytest.mark.parametrize("case", REFUSED)
def test_what_one_door_refuses_the_other_refuses_with_the_same_words(case, tmp_path):
    name, content = REFUSED[case]
    (tmp_path / name).write_bytes(content)
    found = []
    for read in (scored, trained):
        with pytest.raises(DataError) as caught:
            read(tmp_path / name)
        found.append(str(caught.value))
    assert found[0] == found[1]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["t.csv", "t.tsv", "t.jsonl"]),
    st.lists(st.text("ab\"',;\t \0é☕\r{}", max_size=12) | st.binary(max_size=8), max_size=12),
)
def test_whatever_the_lines_no_row_is_lost_uncounted(tmp_path, name, lines):
    """Rows read and rows counted as bad are the same at both doors."""
    separator = "\t" if name == "t.tsv" else ","
    head = b"" if name == "t.jsonl" else f"text{separator}label\n".encode()
    end = LINES if name == "t.jsonl" else PLAIN.replace(",", separator)
    middle = [line.encode() if isinstance(line, str) else line for line in lines]
    (tmp_path / name).write_bytes(head + b"\n".join(middle) + b"\n" + end.encode())
    try:
        read = trained(tmp_path / name)
    except DataError as error:
        refusals = (
            "is broken",
            "binary",
            "sound JSON",
            "no JSON object",
        )  # mostly bad rows, or UTF-16's mark
        assert any(words in str(error) for words in refusals)
    else:
        assert read == scored(tmp_path / name)
