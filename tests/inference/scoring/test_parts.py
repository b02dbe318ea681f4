"""The folder of parts: whole or not there, never mixed, never thrown away unasked; and progress."""

import errno
import os

import pytest

from inference.common.progress import shown_progress
from inference.scoring.job import ScoringError
from inference.scoring.parts import RowCounts, open_parts
from inference.scoring.score import Progress, read_ahead

MADE = {"input": 1, "model": "m", "options": {"a": (1, 2)}}


def joined(paths, file) -> None:
    for path in paths:
        file.write(path.read_bytes())


def begun(out, *data, made=MADE, overwrite=False) -> None:
    """Write parts, then stop as a killed process does: without the end."""
    with open_parts(out, made, overwrite=overwrite) as parts:
        for one in data:
            parts.write(one, RowCounts(1, 0, 1))


def finished(out, *data, made=MADE, overwrite=False) -> bytes:
    with open_parts(out, made, overwrite=overwrite) as parts:
        for one in data:
            parts.write(one, RowCounts(1, 1, 0))
        parts.finish(joined)
    return out.read_bytes()


def test_parts_go_on_and_are_joined_in_order(tmp_path):
    out = tmp_path / "out.csv"
    begun(out, b"a", b"b")
    with open_parts(out, MADE, overwrite=False) as parts:
        assert (parts.done, parts.counts) == (2, RowCounts(2, 0, 2))
    assert not out.exists()
    assert finished(out, b"c") == b"abc"
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_ten_parts_and_more_stay_in_order(tmp_path):
    data = [str(i).encode() for i in range(12)]
    begun(tmp_path / "out.csv", *data)
    assert finished(tmp_path / "out.csv") == b"".join(data)


def test_a_torn_part_and_what_is_behind_a_gap_are_made_again(tmp_path):
    out = tmp_path / "out.csv"
    begun(out, b"a", b"b", b"c")
    paths = sorted((tmp_path / "out.csv.partial").glob("part-*"))
    paths[1].rename(paths[1].with_name(paths[1].name + ".writing"))
    with open_parts(out, MADE, overwrite=False) as parts:
        assert (parts.done, parts.counts) == (1, RowCounts(1, 0, 1))
    assert finished(out, b"B", b"C") == b"aBC"


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"input": 2}, "input"), ({"model": "n"}, "model"), ({"input": 2, "options": {}}, "input and options")],
)
def test_parts_of_another_scoring_are_kept_unless_they_may_go(changed, named, tmp_path):
    out = tmp_path / "out.csv"
    begun(out, b"a")
    other = {**MADE, **changed}
    with pytest.raises(ScoringError) as found:
        begun(out, made=other)
    assert str(found.value) == (
        f"{out}.partial holds part of a scoring with another {named}; run its command again to finish it, "
        "or give --overwrite to throw it away."
    )
    begun(out, b"x", made=other, overwrite=True)
    assert finished(out, made=other, overwrite=True) == b"x"  # overwrite goes on with parts of its own


def test_a_folder_of_that_name_with_other_files_is_left_alone(tmp_path):
    folder = tmp_path / "out.csv.partial"
    folder.mkdir()
    (folder / "diary.txt").write_text("mine")
    with pytest.raises(ScoringError, match=r"holds other files \(such as diary\.txt\); move them away"):
        begun(tmp_path / "out.csv", overwrite=True)
    assert (folder / "diary.txt").read_text() == "mine"


def test_a_damaged_manifest_is_another_scoring(tmp_path):
    begun(tmp_path / "out.csv", b"a")
    (tmp_path / "out.csv.partial" / "made-from.json").write_text("{")
    with pytest.raises(ScoringError, match="with another input and model and options; run its command again"):
        begun(tmp_path / "out.csv")


def test_a_folder_without_a_part_holds_nothing_back(tmp_path):
    begun(tmp_path / "out.csv")
    begun(tmp_path / "out.csv", b"a", made={**MADE, "model": "other"})


def test_one_process_at_a_time(tmp_path):
    out = tmp_path / "out.csv"
    with (
        open_parts(out, MADE, overwrite=False),
        pytest.raises(ScoringError, match=r"Another process is writing .*out\.csv; wait for it"),
        open_parts(out, MADE, overwrite=True),
    ):
        pass


def test_a_join_that_fails_loses_nothing(tmp_path):
    out = tmp_path / "out.csv"
    out.write_bytes(b"old")

    def full(paths, file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    begun(out, b"a", b"b", overwrite=True)
    with open_parts(out, MADE, overwrite=True) as parts, pytest.raises(ScoringError) as found:
        parts.finish(full)
    assert str(found.value) == (
        f"{out} can't be written (No space left on device); 2 rows are safe in out.csv.partial. "
        "Mend that and run the same command again to go on from there."
    )
    assert out.read_bytes() == b"old"
    assert finished(out, overwrite=True) == b"ab"


def test_what_can_not_be_written_is_one_sentence(tmp_path):
    with pytest.raises(ScoringError, match=r"x\.csv can't be written \(No such file or directory\); check"):
        begun(tmp_path / "none" / "x.csv")


# at the same time


def test_reading_is_one_item_ahead_and_no_more():
    taken = []
    items = read_ahead(taken.append(i) or i for i in range(5))
    for i in items:
        assert len(taken) <= i + 2
    assert taken == [0, 1, 2, 3, 4]


def test_an_error_of_the_reader_arrives():
    def broken():
        yield 1
        raise ScoringError("cut short")

    items = read_ahead(broken())
    assert next(items) == 1
    with pytest.raises(ScoringError, match="cut short"):
        next(items)


# progress


def test_the_time_left_counts_this_run_alone():
    said, now = [], [100.0]
    progress = Progress(lambda share, sentence: said.append((share, sentence)), clock=lambda: now[0])
    progress.begin(rows=5_000, share=0.5)
    now[0] += 60
    progress.update(rows=7_500, share=0.75)
    now[0] += 60
    progress.update(rows=10_000, share=1.0)
    assert said == [
        (0.5, "5,000 rows"),
        (0.75, "7,500 rows, 0:01:00 left"),
        (1.0, "10,000 rows, 0:00:00 left"),
    ]


def test_without_a_terminal_a_line_now_and_then(monkeypatch, capsys):
    now = [0.0]
    with shown_progress(clock=lambda: now[0]) as show:
        progress = Progress(show, clock=lambda: now[0])
        progress.begin(rows=0, share=0.0)
        for step in range(1, 5):
            now[0] += 6
            progress.update(rows=step, share=step / 4)
    assert capsys.readouterr().err == "50%: 2 rows, 0:00:12 left\n100%: 4 rows, 0:00:00 left\n"
