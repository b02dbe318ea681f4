"""The app where records are torn, empty or foreign: every page is drawn, the run is shown as damaged."""

import shutil
from pathlib import Path

import pytest

from inference.common.errors import DataError, RunError
from inference.live.review import LabelError, LabelStore
from tests.support import REPOSITORY
from tests.support.broken_runs import DAMAGES, KINDS, RECORDS, finished
from ui.account import SpaceSettings
from ui.live.feeds import Recording
from ui.live.review import Duels
from ui.pushes import Publications
from ui.state import Workbench, known_run, newest_artifact
from ui.train.publish import finished as publishable
from ui.train.publish import order_of
from ui.train.tab import act, chosen_data, draw


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_record_stops_no_page(kind, home):
    (home / "runs").mkdir(parents=True)
    good = finished(home / "runs" / "good")
    bad = KINDS[kind](home / "runs" / "bad")
    workbench = Workbench(settings=SpaceSettings())
    for path in [path for path in bad.path.iterdir() if path.name in RECORDS]:
        content = path.read_bytes()
        for damaged in (*DAMAGES.values(), content[: len(content) // 2], None):
            path.unlink()
            path.mkdir() if damaged is None else path.write_bytes(damaged)
            panel, runs = draw(workbench, "bad")
            assert ">good<" in runs and "finished" in runs
            if kind in ("push", "push-data"):
                Publications().newest("ada")
            else:
                state = known_run("bad").status().state
                assert f"tt-state {state}" in panel and f"tt-state {state}" in runs
                if state == "damaged":
                    assert "can&#x27;t be used" in panel
                    for do in (lambda: act(workbench, "use", "bad"), lambda: order_of("bad", "ada/x")):
                        with pytest.raises(RunError, match="The run bad is damaged"):
                            do()
            assert newest_artifact() in {str(run.artifact) for run in (good, bad)}
            assert "good" in publishable()
        path.rmdir()
        path.write_bytes(content)


def test_an_upload_that_was_cut_short_is_whole_when_it_comes_again(home, tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("text,label\nhi,good\n")
    kept = Path(chosen_data("file", "", str(file)))
    kept.write_bytes(kept.read_bytes()[:3])
    assert Path(chosen_data("file", "", str(file))).read_bytes() == file.read_bytes()
    shutil.rmtree(kept.parent)
    kept.parent.write_text("no folder")
    with pytest.raises(DataError, match="can't be kept"):
        chosen_data("file", "", str(file))


def test_what_lies_among_the_recordings_stops_none(home):
    folder = home / ".cache" / "recordings"
    (folder / "folder.jsonl").mkdir(parents=True)
    (folder / "gone.jsonl").symlink_to("nowhere")
    for number in range(20):
        (folder / f"torn-{number}.jsonl").write_bytes(b'{"id')
    recording = Recording()
    recording.start("bluesky", texts=False)
    assert recording.view().state == "recording" and len(list(folder.iterdir())) < 20
    recording.stop()


def test_a_torn_store_of_labels_is_a_sentence_and_the_others_open(home):
    labels = ("negative", "neutral", "positive")
    whole = (REPOSITORY / "tests" / "fixtures" / "2026-11" / "labels.sqlite").read_bytes()
    duels = Duels(lambda source: pytest.fail(source))
    path = duels.store(labels, owner="").path
    for content in (b"garbage" * 99, whole[:5000], whole.replace(b"UNIQUE", b"UNIQ\xadE"), b"\0" * 4096):
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
        path.write_bytes(content)
        with pytest.raises(LabelError, match=r"Move it away|can't be"):
            LabelStore(path, labels=labels).review(key=str)
        assert Duels(duels._load).store(("bad", "good"), owner="").counts().labelled == 0
