"""No row is swallowed by a quote that nobody closes, and no cell is torn apart that a writer of CSV made."""

import csv
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.tables.formats import open_texts

LABELS = ("negative", "neutral", "positive")
PLAIN = [(f"row {i}", LABELS[i % 3]) for i in range(24)]
TEXTS = st.lists(
    st.tuples(st.text('ab",\t\n;| é', max_size=10), st.sampled_from(LABELS)), min_size=1, max_size=8
)
many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(path, content: str) -> tuple[list[str | None], int]:
    """Return the texts, None for a bad row, and how many are bad."""
    path.write_text(content, encoding="utf-8", newline="")
    texts = [text for chunk in open_texts(path, text_column="text").chunks() for text in chunk.texts]
    return texts, texts.count(None)


def written(rows, delimiter: str, order: int) -> str:
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter).writerows(row[::order] for row in [("text", "label"), *rows])
    return file.getvalue()


@many
@given(TEXTS, st.sampled_from([",", ";", "\t"]), st.sampled_from([1, -1]))
def test_what_csv_writes_comes_back(tmp_path, rows, delimiter, order):
    """All texts, or some are counted as bad."""
    rows = [*PLAIN, *rows]
    texts, bad = read(tmp_path / "t.csv", written(rows, delimiter, order))
    assert texts == [text for text, _ in rows] or bad, texts[24:]


@many
@given(TEXTS, st.sampled_from([1, -1]), st.booleans())
def test_tabs_between_and_bare_quotes_lose_no_row(tmp_path, rows, order, plain):
    rows = [(" ".join(text.split()) or "x", label) for text, label in rows]
    rows = [*(PLAIN if plain else []), *rows]
    lines = ["\t".join(row[::order]) for row in [("text", "label"), *rows]]
    texts, bad = read(tmp_path / "t.tsv", "\n".join(lines) + "\n")
    assert len(texts) >= len(rows)
    if plain:
        bare = [text.strip('"') if text else text for text in texts]
        assert bad or bare == [text.strip('"') for text, _ in rows]


@many
@given(st.lists(st.tuples(st.text('ab" é', min_size=1, max_size=8), st.sampled_from(LABELS)), max_size=8))
def test_commas_between_and_bare_quotes_lose_no_row(tmp_path, rows):
    rows = [*PLAIN, *rows]
    texts, _ = read(tmp_path / "t.csv", "\n".join(",".join(row) for row in [("text", "label"), *rows]))
    assert len(texts) == len(rows)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('id,text,label\n1,a,x\n2,"b,x\n3,c",x\n4,d,x\n', ["a", '"b', 'c"', "d"]),
        ('id,text\n1,a\n2,"b\n3,c"\n4,d\n', ["a", '"b', 'c"', "d"]),
        ('id,text\n1,a\n2,"b\nc, d"\n4,d\n', ["a", "b\nc, d", "d"]),
        ('text,label\n"a, b\nc",x\n"d ""e""",x\n', ["a, b\nc", 'd "e"']),
        ('text\n"a, b\nc, d"\ne\n', ["a, b\nc, d", "e"]),
        ('user,text\nann,"b\nbob,c"\n', [None, 'c"']),
        ('text,label\n"a\nb",x,extra\nc,x\n', [None, None, "c"]),
        ('"how do you\nfeel, today, text",label\na,x\n"b\nc",x\n', ["a", "b\nc"]),
    ],
)
def test_lines_of_a_quoted_cell_or_rows_of_their_own(content, found, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(content)
    table = open_texts(path, text_column="1" if content.startswith('"') else "text")
    assert [text for chunk in table.chunks() for text in chunk.texts] == found


def test_lines_that_a_quote_may_have_joined_are_counted(tmp_path):
    """One column alone can't tell a text of two lines from two texts between stray quotes."""
    path = tmp_path / "t.csv"
    path.write_text('text\nso good\n"the bus\ncame late"\n"one line"\nso bad\n"it rains\nand rains"\n')
    table = open_texts(path, text_column="text")
    for _ in range(2):  # a second reading tells no more
        assert sum(chunk.rows.n for chunk in table.chunks()) == 5
        [note] = table.reader.notes
        assert note.startswith("2 rows of t.csv have a quoted cell of several lines") and "line 3" in note
    path.write_text('text,label\n"a text\nof two lines",good\nso bad,bad\n')
    assert len(list(open_texts(path).chunks())) == 1 and open_texts(path).reader.notes == ()


@many
@given(
    st.lists(
        st.sampled_from(['"so good', 'so bad"', "a bus", '"late"', "rain, ok", 'so "odd" it is']), min_size=1
    ),
    st.sampled_from(["text", "text,user", "text, user", "user,text"]),
)
def test_no_row_is_swallowed_uncounted(tmp_path, texts, header):
    """Rows, bad rows and joined lines make up the file, whatever stands between the quotes."""
    place = "before" if header.startswith("user") else "after" if "user" in header else ""
    between = ", " if ", " in header else ","
    lines = [
        f"u{i}{between}{text}" if place == "before" else f"{text}{between}u{i}" if place else text
        for i, text in enumerate(texts)
    ]
    path = tmp_path / "t.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    table = open_texts(path, text_column="text")
    rows = sum(chunk.rows.n for chunk in table.chunks())
    assert rows == len(texts) or "quoted cell of several lines" in " ".join(table.reader.notes)
