"""Replay, the files it reads, and recordings: what is saved, what is left out, what comes back."""

import json
import resource
import threading
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inference.live.errors import RecordingError
from inference.live.post import ClassifiedPost, Post
from inference.live.recording import Recorder
from inference.live.sources import Replay, SourceBadQuery
from inference.live.sources.replay import posts_of_file

WHEN = datetime(2026, 7, 4, 14, 38, tzinfo=UTC)
POST = Post(
    "at://did:plc:abc/app.bsky.feed.post/3mpt",
    "so\nhappy \u2028 \U0001f600",
    label="positive",
    author="me.example",
    url="https://bsky.app/profile/did:plc:abc/post/3mpt",
    source="bluesky",
    created=WHEN,
    languages=("en", "pt"),
    is_reply=True,
    sensitive=True,
)
ONE = ClassifiedPost(POST, "negative", 0.8)


def record(path, *posts, texts):
    with Recorder(path, texts=texts, now=lambda: WHEN.timestamp() + 2) as recorder:
        recorder([ClassifiedPost(post, "negative", 0.876543219) for post in posts])
        assert recorder.count == len(posts)
    return path.read_text(encoding="utf-8").splitlines()


def test_a_recording_holds_ids_times_and_labels_and_no_text_unless_asked(tmp_path):
    [line] = record(tmp_path / "ids.jsonl", POST, texts=False)
    assert json.loads(line) == {
        "id": POST.id,
        "source": "bluesky",
        "created": "2026-07-04T14:38:00+00:00",
        "at": "2026-07-04T14:38:02+00:00",
        "label": "negative",
        "probability": 0.876543,
        "true_label": "positive",
        "languages": ["en", "pt"],
        "is_reply": True,
        "is_repost": False,
        "sensitive": True,
    }
    [line] = record(tmp_path / "texts.jsonl", POST, texts=True)
    assert {"text", "author", "url"} <= set(json.loads(line))


def test_what_was_recorded_with_texts_comes_back_the_same(tmp_path):
    posts = [
        POST,
        Post("2", "", source="x"),
        Post("3", '"quoted"\r\n\x00\t\u202e', label="neutral", source="x"),
    ]
    assert len(record(tmp_path / "a.jsonl", *posts, texts=True)) == 3
    assert posts_of_file(tmp_path / "a.jsonl")[0] == posts, "a model's label does not become the truth"


def test_a_recording_without_texts_can_not_be_replayed(tmp_path):
    record(tmp_path / "ids.jsonl", POST, POST, texts=False)
    with pytest.raises(SourceBadQuery, match=r"holds 2 posts and no text.* Record with texts to be able"):
        Replay.of_file(tmp_path / "ids.jsonl")


def test_a_recording_is_never_overwritten_and_each_line_is_on_disk_at_once(tmp_path):
    path = tmp_path / "a.jsonl"
    recorder = Recorder(path)
    recorder([ONE])
    assert path.read_text().count("\n") == 1
    with pytest.raises(RecordingError, match="exists already"):
        Recorder(path)
    recorder.close()
    with pytest.raises(RecordingError, match=r"can't be written \(No such file or directory\)"):
        Recorder(tmp_path / "none" / "a.jsonl")


def test_many_threads_may_record(tmp_path):
    with Recorder(tmp_path / "a.jsonl", texts=True) as recorder:
        threads = [
            threading.Thread(target=lambda: [recorder([ONE, ONE]) for _ in range(100)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert recorder.count == 800 and posts_of_file(tmp_path / "a.jsonl")[0] == [POST] * 800


def test_a_full_disk_is_reported_and_leaves_whole_lines(tmp_path):
    """The system's own limit on a file's size fails a write in its middle, as a full disk does."""
    path, former = tmp_path / "a.jsonl", resource.getrlimit(resource.RLIMIT_FSIZE)
    recorder = Recorder(path, texts=True)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, former[1]))
        with pytest.raises(RecordingError) as refused:
            recorder([ONE] * 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
        recorder.close()
    assert str(refused.value) == f"{path} can't be written (File too large). Choose another place."
    assert posts_of_file(path)[0] == [POST] * recorder.count and recorder.count >= 3


def test_a_duel_is_recorded_with_both_labels(tmp_path):
    with Recorder(tmp_path / "a.jsonl") as recorder:
        recorder([ClassifiedPost(POST, "neutral", 0.5, "positive", 0.7)])
    recorder([ONE])  # of a batch that a slow model still had in hand when the recording was closed
    row = json.loads((tmp_path / "a.jsonl").read_text())
    assert (row["label"], row["second_label"], row["second_probability"]) == ("neutral", "positive", 0.7)


def test_json_lines_of_others_serve_too(tmp_path):
    path = tmp_path / "b.jsonl"
    path.write_text(
        '\ufeff{"text": "a", "label": "joy"}\n\n{"text": "b", "url": "javascript:x", "languages": 3}\n'
    )
    first, second = posts_of_file(path)[0]
    assert (first.id, first.text, first.label, first.source) == ("b-1", "a", "joy", "replay")
    assert (second.id, second.url, second.languages, second.label) == ("b-2", "", (), None)


def test_what_no_encoder_takes_and_what_is_no_id_comes_from_no_file(tmp_path):
    rows = [
        {"text": "a", "id": "\ud800", "true_label": "so\ud800", "url": "https://a.b/\ud83d"},
        {"text": "b", "id": True},
        {"text": "c", "id": True},
        {"text": "d", "id": 7},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    posts = posts_of_file(path)[0]
    assert [post.id for post in posts] == ["\ufffd", "a-2", "a-3", "7"]
    assert (posts[0].label, posts[0].url) == ("so\ufffd", "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'{"text": 1}\n{nonsense\n',
            r"no text to replay: 2 of 2 rows are left out \(the first: the text is not",
        ),
        (b"[1]\n", "holds no JSON object with a key"),
        (b"[" * 100_000, "nested too deeply"),
        (b"\xff\xfe\x00", "can't be replayed"),
    ],
)
def test_odd_json_lines_are_refused(tmp_path, content, message):
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(SourceBadQuery, match=message):
        posts_of_file(tmp_path / "a.jsonl")[0]


def test_rows_that_are_left_out_stand_in_the_status(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "a"}\n{nonsense\n{"text": ""}\n{"text": "b"}\n')
    replay = Replay.of_file(tmp_path / "a.jsonl", rate_per_s=None)
    assert [post.text for post in replay.posts(threading.Event())] == ["a", "b"]
    assert replay.status.reason.startswith("2 of 4 rows are left out (the first: the line is not JSON")


def test_files_of_other_kinds(tmp_path):
    (tmp_path / "a.csv").write_text(
        '\ufefftext,label\n"so, happy\nday",positive\n,neutral\nlate again,\n', encoding="utf-8"
    )
    (tmp_path / "a.tsv").write_text("label\ttext\nneutral\tat work\n")
    (tmp_path / "a.txt").write_text("one\n\ntwo \u2028 lines\n", encoding="utf-8")
    pq.write_table(pa.table({"text": ["from parquet", None], "label": [2, 1]}), tmp_path / "a.parquet")
    rows = {
        kind: [(p.id, p.text, p.label) for p in posts_of_file(tmp_path / f"a.{kind}")[0]]
        for kind in ("csv", "tsv", "txt", "parquet")
    }
    assert rows == {
        "csv": [("a-1", "so, happy\nday", "positive"), ("a-3", "late again", None)],
        "tsv": [("a-1", "at work", "neutral")],
        "txt": [("a-1", "one", None), ("a-3", "two \u2028 lines", None)],
        "parquet": [("a-1", "from parquet", "2")],
    }
    assert posts_of_file(tmp_path / "a.csv", "label", "text")[0][0].text == "positive"


def test_files_that_can_not_be_read(tmp_path):
    (tmp_path / "a.csv").write_text("when,label\nx,y\n")
    with pytest.raises(
        SourceBadQuery, match=r"can't be replayed: .*has no text column \(found: when, label\)"
    ):
        posts_of_file(tmp_path / "a.csv")[0]
    for name, content in (("b.parquet", b"no parquet"), ("b.txt", b"PK\x03\x04"), ("b.csv", b"\xff\xfe")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SourceBadQuery, match=f"{name} can't be replayed"):
            posts_of_file(tmp_path / name)[0]
    for name in ("none.csv", "none.txt", "a.xlsx", "a"):
        with pytest.raises(SourceBadQuery, match=f"{name} can't be replayed"):
            posts_of_file(tmp_path / name)[0]


def test_a_file_is_replayed_in_its_order_as_fast_as_it_is_taken_and_in_rounds(tmp_path):
    posts = [Post(str(number), f"post {number}", source="x") for number in range(3000)]
    record(tmp_path / "a.jsonl", *posts, texts=True)
    waits = []
    replay = Replay.of_file(
        tmp_path / "a.jsonl", rate_per_s=None, rounds=2, wait=lambda stop, seconds: waits.append(seconds)
    )
    shown = list(replay.posts(threading.Event()))
    assert waits == []
    assert shown[:3000] == posts and [post.text for post in shown[3000:]] == [post.text for post in posts]
    assert shown[3000].id == "0/2" and len({post.id for post in shown}) == 6000
    assert replay.status.state == "ended" and replay.status.read == 6000


def test_a_replay_shows_its_state_and_slows_down_when_asked_to():
    now = [0.0]

    def wait(stop, seconds):
        now[0] += seconds
        return stop.is_set()

    given = [Post(str(number), "a") for number in range(100)]
    replay = Replay(given, rate_per_s=None, clock=lambda: now[0], wait=wait)
    assert replay.status.state == "ready"
    stop = threading.Event()
    stream = replay.posts(stop)
    for _ in range(50):
        next(stream)
    assert replay.status.state == "connected" and replay.status.read == 50 and now == [0.0]
    replay.set_rate(20)
    for _ in range(7):
        next(stream)
    assert now[0] == pytest.approx(7 / 20, abs=1 / 20)
    stop.set()
    assert list(stream) == [] and replay.status.state == "ended"
