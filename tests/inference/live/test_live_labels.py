"""The store of a person's labels: several pages at once, a kill, undo, agreement and export."""

import dataclasses
import json
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from hypothesis.strategies import sampled_from

from inference.common.paths import is_on_bucket
from inference.live import review
from inference.live.post import ClassifiedPost, Post
from inference.live.review import AnnotationSession, Disagreement, LabelCounts, LabelError, LabelStore
from tests.support import REPOSITORY, tweets, write_csv
from training.data.load import DataSpec, load_splits

LABELS = ("negative", "neutral", "positive")


def disagreement(number, text=None, *, first="neutral", second="positive", models=("zero-shot", "runs/a")):
    return Disagreement(str(number), text or f"post number {number}", models[0], first, models[1], second)


@pytest.fixture
def opened(tmp_path):
    stores = []

    def opening(name="labels.sqlite", **options):
        stores.append(LabelStore(tmp_path / name, labels=LABELS, **options))
        return stores[-1]

    yield opening
    for store in stores:
        store.close()


def test_where_wal_cant_be_had_a_plain_journal_keeps_the_labels(opened, tmp_path, monkeypatch):
    shared = Path("/dev/shm")  # a mount, as a Space's bucket is
    if not shared.is_mount():
        pytest.skip("there is no mount here that can be written to")
    assert not is_on_bucket(shared / "labels.sqlite", shared), "this is no Space"
    monkeypatch.setenv("SPACE_ID", "ada/x")
    assert is_on_bucket(shared / "a" / "labels.sqlite", shared) and not is_on_bucket(tmp_path, shared)
    store = opened(wal=False)
    store.add([disagreement(n) for n in range(3)])
    assert store.label(1, "neutral") and opened(wal=False).label(2, "positive"), "two pages"
    store.clear()
    store.add([disagreement(7)])
    assert [path.name for path in tmp_path.glob("labels.sqlite*")] == ["labels.sqlite"]
    assert sqlite3.connect(tmp_path / "labels.sqlite").execute("PRAGMA journal_mode").fetchone() == (
        "delete",
    )
    assert opened().counts().waiting == 1, "and back, on a disk that can"
    assert (tmp_path / "labels.sqlite-wal").exists()


def test_a_journal_that_is_not_to_be_had_is_replaced(monkeypatch):
    """SQLite's files in memory have no WAL, and answer which journal they have instead."""
    store = LabelStore(Path(":memory:"), labels=LABELS)
    assert store._file.execute("PRAGMA synchronous").fetchone() == (2,), "full, as a plain journal needs"
    store.close()


def test_a_person_labels_skips_and_undoes(opened):
    store = opened()
    assert store.add([disagreement(n) for n in range(3)]) == 3
    session = store.session("page")
    first = session.view()
    assert first.item.text == "post number 2", "the newest first"
    assert first.last is None and session.view() == first, "and it stays"
    after = session.label(first.item.id, "positive")
    assert after.item.text == "post number 1" and (after.last.item, after.last.label) == (
        first.item,
        "positive",
    )
    again = session.label(first.item.id, "negative")  # the same key, pressed twice
    assert again == after
    skipped = session.skip(after.item.id)
    assert skipped.counts == LabelCounts(waiting=1, labelled=1, skipped=1) and skipped.last.label == ""
    back = session.undo()
    assert back.item == after.item and back.last is None and back.counts.skipped == 0
    assert session.undo().item == first.item
    assert session.undo().counts == LabelCounts(waiting=3, labelled=0, skipped=0)
    session.label(first.item.id, "negative")
    assert [(item.text, item.label) for item in store.labelled()] == [("post number 2", "negative")]


def test_an_empty_session_does_nothing(opened):
    session = opened().session("page")
    empty = session.view()
    assert empty.item is None
    assert session.label(1, "positive") == session.skip(1) == session.undo() == empty


def test_an_unknown_label_is_refused_and_the_post_stays(opened):
    store = opened()
    store.add([disagreement(1)])
    session = store.session("page")
    item = session.view().item
    for label in ("joy", ""):
        with pytest.raises(LabelError, match=r"no label '.*'\. Give one of: negative, neutral, positive"):
            session.label(item.id, label)
    assert session.label(item.id, "neutral").counts.labelled == 1


def test_two_pages_get_different_posts_and_the_first_answer_counts(opened):
    now = [1_000.0]
    store = opened(clock=lambda: now[0])
    other = opened(clock=lambda: now[0])  # the same file, as another process opens it
    store.add([disagreement(1), disagreement(2)])
    here, there = store.session("here"), other.session("there")
    mine = here.view().item
    assert {mine.id, there.view().item.id} == {1, 2}
    assert store.session("here") is here and store.session("third").view().item is None
    now[0] += 121  # both walked away
    late = other.session("late")
    assert late.view().item.id == mine.id
    late.label(mine.id, "negative")
    tried = here.label(mine.id, "positive")
    assert tried.taken and not tried.gone and tried.last is None
    assert [item.label for item in store.labelled()] == ["negative"]
    assert here.undo().counts.labelled == 1, "what another page decided is not taken back here"


def test_of_many_pages_those_used_last_are_remembered(opened):
    store = opened()
    pages = [store.session(f"page {n}") for n in range(201)]
    assert store.session("page 200") is pages[200] and store.session("page 0") is not pages[0]


def test_a_clock_that_jumps_back_hides_nothing(opened):
    now = [1e9]
    store = opened(clock=lambda: now[0])
    store.add([disagreement(1)])
    assert store.take()
    now[0] = 1_000.0
    assert store.take()


def test_a_text_is_kept_once_and_the_queue_is_bounded(opened):
    store = opened(max_waiting=10)
    assert store.add([disagreement(1, "same"), disagreement(2, "same"), disagreement(3, "  ")]) == 1
    item = store.take()
    assert store.label(item.id, "positive")
    assert store.add([disagreement(4, "same")]) == 0
    assert store.add([disagreement(n) for n in range(100, 130)]) == 30
    assert store.counts() == LabelCounts(waiting=10, labelled=1, skipped=0)
    assert store.take().text == "post number 129"


def test_a_post_on_somebodys_page_is_not_lost_to_the_limit(opened):
    now = [1_000.0]
    store = opened(max_waiting=10, clock=lambda: now[0])
    store.add([disagreement(n) for n in range(3)])
    session = store.session("page")
    item = session.view().item
    assert item.text == "post number 2"
    store.add([disagreement(n) for n in range(100, 130)])
    assert store.counts().waiting == 11
    session.label(item.id, "positive")
    assert session.undo().item == item
    store.add([disagreement(n) for n in range(200, 230)])
    gone = session.label(item.id, "neutral").item.id
    now[0] += 121  # they walked away
    store.add([disagreement(300)])
    store.add([disagreement(n) for n in range(400, 430)])
    late = session.label(gone, "positive")
    assert late.gone and not late.taken and not store.knows(gone)
    assert store.counts() == LabelCounts(waiting=10, labelled=1, skipped=0)


def test_a_feeds_disagreements_are_kept_and_a_full_disk_is_a_problem_to_show(opened, monkeypatch):
    store = opened()
    listen = store.listener("zero-shot", "runs/a")
    results = [
        ClassifiedPost(Post(f"{n}", f"post {n}"), "neutral", 0.9, "positive" if n % 2 else "neutral", 0.8)
        for n in range(10)
    ]
    listen(results)
    assert store.counts().waiting == 5 and store.problem == ""
    assert (store.take().first_model, store.take().second_label) == ("zero-shot", "positive")
    store._file.execute("PRAGMA max_page_count=1")
    monkeypatch.setattr(review, "_RETRY_S", 0.0)
    long = ClassifiedPost(Post("x", "x" * 90_000), "neutral", 0.9, "positive", 0.8)
    listen([long])
    assert "database or disk is full" in store.problem
    store._file.execute("PRAGMA max_page_count=100000")
    listen([long])
    assert store.counts().waiting == 6 and store.problem == ""


@pytest.mark.parametrize("pages", [1, 8])
def test_a_full_disk_is_named_and_what_was_there_stays(opened, pages):
    store = opened()
    store.add([disagreement(1)])
    store._file.execute(f"PRAGMA max_page_count={pages}")  # SQLite then behaves as on a full disk
    with pytest.raises(
        LabelError, match=r"can't be written \(database or disk is full\)\. Make room on the disk"
    ):
        store.add([disagreement(n, "x" * 3000 + str(n)) for n in range(2, 40)])
    assert store.counts() == LabelCounts(1, 0, 0) and store.take().text == "post number 1"


def test_hostile_texts_come_back_as_they_were(opened):
    store = opened()
    hostile = [
        "<script>alert(1)</script>",
        "'; DROP TABLE items; --",
        "nul \0 in it",
        "\u202eevil",
        "x" * 100_000,
    ]
    store.add([disagreement(n, text) for n, text in enumerate(hostile)])
    store.add([disagreement("lone", "lone \ud800 half")])
    texts = [store.take().text for _ in range(6)]
    assert texts == ["lone \ufffd half", *reversed(hostile)]


WORKER = """
import sys, time
from pathlib import Path
from inference.live.review import Disagreement, LabelStore
store = LabelStore(Path(sys.argv[1]), labels=("no", "yes"))
store.add([Disagreement(str(n), f"text {n}", "a", "no", "b", "yes") for n in range(400)])
session = store.session("page")
while item := session.view().item:
    session.label(item.id, "yes")
    print(store.counts().labelled, flush=True)
"""


def test_what_was_labelled_survives_a_kill(tmp_path):
    path = tmp_path / "labels.sqlite"
    command = [sys.executable, "-c", WORKER, str(path)]
    worker = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    said = 0
    for line in worker.stdout:
        said = int(line)
        if said >= 20:
            break
    worker.send_signal(signal.SIGKILL)
    said = max([said, *map(int, worker.stdout.read().split())])
    worker.wait()
    worker.stdout.close()
    store = LabelStore(path, labels=("no", "yes"))
    counts = store.counts()
    assert said <= counts.labelled < 400
    assert counts.labelled + counts.waiting == 400
    assert store.session("page").view().item is not None
    store.close()


def test_many_threads_label_each_post_once(opened):
    store = opened()
    store.add([disagreement(n) for n in range(120)])
    done = [0] * 4

    def work(place):
        session = store.session(f"page {place}")
        while item := session.view().item:
            done[place] += session.label(item.id, "positive").last is not None

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(done) == 120
    assert store.counts() == LabelCounts(waiting=0, labelled=120, skipped=0)


def test_who_and_when_are_not_stored(opened, tmp_path):
    store = opened()
    store.add([disagreement(1), disagreement(2)])
    session = store.session("page")
    session.skip(session.label(session.view().item.id, "positive").item.id)
    file = sqlite3.connect(tmp_path / "labels.sqlite")
    names = {row[1] for row in file.execute("PRAGMA table_info(items)")}
    shown = file.execute("SELECT DISTINCT shown FROM items").fetchall()
    file.close()
    assert names == {
        *("id", "post_id", "text", "first_model", "first_label", "second_model", "second_label", "shown"),
        *("skipped", "label", "confidence"),
    }
    assert shown == [(0.0,)]  # when it was shown would tell when it was labelled


def test_agreement_is_counted_for_each_pair_of_models(opened):
    store = opened()
    older = [disagreement(n, models=("zero-shot", "runs/old")) for n in range(4)]
    newer = [disagreement(n, models=("zero-shot", "runs/new")) for n in range(10, 20)]
    store.add(older + newer)
    for item in iter(store.take, None):
        labels = {"12": "neutral", "13": "negative"}
        store.label(item.id, labels.get(item.post_id, "positive"))
    latest, oldest = store.agreement()
    assert (latest.second_model, latest.n, latest.neither) == ("runs/new", 10, 1)
    assert (latest.first.value, latest.second.value) == (0.1, 0.8)
    assert latest.second.low == pytest.approx(0.490, abs=0.001)
    assert (oldest.second_model, oldest.n, oldest.second.value) == ("runs/old", 4, 1.0)


def test_duplicates_and_conflicts_are_listed_and_only_sound_rows_are_written(opened, tmp_path):
    store = opened()
    given = [
        ("Good day", "positive"),
        ("good  DAY", "positive"),
        ("well", "neutral"),
        ("Well", "negative"),
        ("line\nbreak “ü” 😍", "negative"),
    ]
    for number, (text, label) in enumerate(given):
        store.add([disagreement(number, text)])
        store.label(store.take().id, label)
    found = store.review()
    assert [group.texts for group in found.duplicates] == [("Good day", "good  DAY")]
    assert [(g.texts, g.labels) for g in found.conflicts] == [(("well", "Well"), ("neutral", "negative"))]
    path = tmp_path / "mine.jsonl"
    assert store.export(path) == found
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    assert rows == [{"text": "Good day", "label": "positive"}, {"text": given[4][0], "label": "negative"}]
    assert len(store.review(key=str).rows) == 5
    assert not list(tmp_path.glob("*.tmp"))


def test_an_export_is_a_data_set(opened, tmp_path):
    store = opened()
    for number, (text, label) in enumerate(tweets(60)):
        store.add([disagreement(number, text)])
        store.label(store.take().id, label)
    store.export(tmp_path / "mine.jsonl")
    splits = load_splits(DataSpec(dataset=str(tmp_path / "mine.jsonl")))
    assert splits.labels == LABELS
    assert sum(map(len, (splits.train, splits.validation, splits.test))) == 60


def test_nothing_to_export_and_nowhere_to_write(opened, tmp_path):
    store = opened()
    with pytest.raises(LabelError, match=r"There is no label to export \(0 texts .* Label some posts first"):
        store.export(tmp_path / "mine.jsonl")
    store.add([disagreement(1)])
    store.label(store.take().id, "neutral")
    with pytest.raises(LabelError, match="can't be written"):
        store.export(tmp_path / "no" / "folder" / "mine.jsonl")


def test_clear_leaves_no_text_on_the_disk_nor_on_a_page(opened, tmp_path):
    store = opened()
    store.add([disagreement(n, f"a secret confession {n}") for n in range(2)])
    session = store.session("page")
    session.label(session.view().item.id, "positive")
    assert store.agreement()
    store.clear()
    assert store.counts() == LabelCounts(0, 0, 0) and store.agreement() == ()
    assert store.session("page").view().item is None
    for path in tmp_path.glob("labels.sqlite*"):
        assert b"secret confession" not in path.read_bytes()


def test_what_the_model_is_least_sure_of_is_labelled_first(opened):
    store = opened()
    answers = [
        (0, 0.9, "neutral"),
        (1, 0.4, "neutral"),
        (2, 0.4, "neutral"),
        (3, 0.3, "positive"),
        (4, 0.6, "neutral"),
    ]
    store.listener("a", "b")(
        [ClassifiedPost(Post(str(n), f"post {n}"), label, p, "positive", 0.9) for n, p, label in answers]
    )
    assert [store.take().text for _ in range(4)] == ["post 2", "post 1", "post 4", "post 0"]


def test_a_store_of_before_is_gone_on_with(opened, tmp_path):
    file = sqlite3.connect(tmp_path / "labels.sqlite")
    for statement in review._SCHEMA.replace(",\n    confidence REAL NOT NULL DEFAULT 1", "").split(";"):
        file.execute(statement)
    old = "INSERT INTO items (post_id, text, first_model, first_label, second_model, second_label, label)"
    file.executemany(
        f"{old} VALUES ('1', ?, 'a', 'neutral', 'b', 'positive', ?)", [("x", "neutral"), ("y", None)]
    )
    file.execute("PRAGMA user_version=1")
    file.commit()
    file.close()
    store = opened()
    assert store.counts() == LabelCounts(1, 1, 0)
    store.add([dataclasses.replace(disagreement(1), confidence=0.5)])
    assert [store.take().text, store.take().text] == ["post number 1", "y"]


def test_a_file_that_is_no_store_is_refused(tmp_path):
    path = write_csv(tmp_path / "labels.sqlite", tweets(200))
    with pytest.raises(
        LabelError, match=r"labels.sqlite can't be used as a store of labels \(.*Move it away"
    ):
        LabelStore(path, labels=LABELS)
    newer = tmp_path / "newer.sqlite"
    file = sqlite3.connect(newer)
    file.execute("PRAGMA user_version=7")
    file.close()
    with pytest.raises(LabelError, match="it is of version 7, and 2 is known"):
        LabelStore(newer, labels=LABELS)


class Labelling(RuleBasedStateMachine):
    """Any order of labelling, skipping and undoing ends where a plain list would."""

    path: Path

    @initialize()
    def start(self):
        self.store = LabelStore(self.path, labels=LABELS)
        self.store.clear()
        self.store.add([disagreement(n) for n in range(4)])
        self.session, self.done, self.state = AnnotationSession(self.store), [], {}

    @rule(answer=sampled_from([*LABELS, None]))
    def decide(self, answer):
        item = self.session.view().item
        assert (item is None) == (len(self.state) == 4)
        if item:
            after = self.session.label(item.id, answer) if answer else self.session.skip(item.id)
            assert after.last.item == item
            self.done.append(item.id)
            self.state[item.id] = answer

    @rule()
    def undo(self):
        before, after = self.session.view().item, self.session.undo().item
        if self.done:
            assert after.id == self.done[-1]
            self.state.pop(self.done.pop())
        else:
            assert after == before

    @invariant()
    def counts_are_right(self):
        if hasattr(self, "store"):
            kept = {item.id: item.label for item in self.store.labelled()}
            assert kept == {i: label for i, label in self.state.items() if label}
            assert self.store.counts().waiting == 4 - len(self.state)

    def teardown(self):
        if hasattr(self, "store"):
            self.store.close()


def test_any_order_of_decisions(tmp_path):
    class Here(Labelling):
        path = tmp_path / "machine.sqlite"

    run_state_machine_as_test(Here, settings=settings(max_examples=20, stateful_step_count=15, deadline=None))
