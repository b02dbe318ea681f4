"""The preview: what the Train tab and `python -m training data` show before a training."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.common.errors import DataError
from tests.support import tweets, write_csv
from training.data.load import DataSpec, load_splits
from training.data.preview import histogram, preview


def test_preview(tmp_path):
    path = write_csv(tmp_path / "t.csv", [*tweets(90), ("", "neutral")])
    seen = preview(load_splits(DataSpec(dataset=str(path), n_train=30)), limit=4)
    assert seen.n == sum(rows.used for rows in seen.report.rows.values())
    assert sum(seen.balance.values()) == seen.n == sum(part.n for part in seen.lengths)
    assert list(seen.balance) == ["negative", "neutral", "positive"]
    assert len(seen.rows) == 4
    assert (seen.rows[0].text, seen.rows[0].label) in tweets(90)
    assert json.loads(json.dumps(seen.to_json()))["rows"][0]["text"] == seen.rows[0].text
    assert "1 row had an empty text and is dropped." in seen.sentences()
    assert any(
        sentence.startswith("Lengths: half of the texts have at most") for sentence in seen.sentences()
    )


def test_a_preview_of_bad_data_is_the_same_error(tmp_path):
    with pytest.raises(DataError, match=r"t\.csv has no rows"):
        preview(load_splits(DataSpec(dataset=str(write_csv(tmp_path / "t.csv", [])))))


@given(st.lists(st.integers(1, 90) | st.integers(1, 100_000), min_size=1, max_size=200))
def test_the_histogram_counts_every_text_in_its_bin(lengths):
    bins = histogram(np.array(lengths))
    assert bins[0].low == 1 and bins[-1].high >= max(lengths)
    assert all(one.high + 1 == other.low for one, other in pairwise(bins))
    assert all(part.n == sum(part.low <= n <= part.high for n in lengths) for part in bins)


def test_a_length_on_the_edge_belongs_to_the_lower_bin():
    bins = histogram(np.array([20, 20, 21, 280]))
    assert [(part.low, part.high, part.n) for part in bins[:2]] == [(1, 20, 2), (21, 40, 1)]


def test_one_giant_does_not_squash_the_histogram():
    bins = histogram(np.array([*range(1, 141), 100_000] * 10))
    assert bins[0].high <= 30 and bins[-1].high == 100_000


def test_the_rows_that_are_shown_have_no_broken_characters_where_others_are_to_be_had(tmp_path):
    broken = [(f"Õ\ufffd\ufffdô {n}", "neutral") for n in range(60)]
    seen = preview(
        load_splits(DataSpec(dataset=str(write_csv(tmp_path / "a.csv", [*tweets(90), *broken])))), limit=8
    )
    assert len(seen.rows) == 8 and not any("\ufffd" in row.text for row in seen.rows)
    assert seen.report.counts.still_damaged == 60, "and they are told"
