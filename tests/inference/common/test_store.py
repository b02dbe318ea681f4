"""Files by rename, JSON lines that survive a kill, checksums."""

import json
import threading

import pytest

from inference.common.store import append_event, by_rename, read_jsonl, sha256_of, write_json, write_jsonl


def test_a_reader_never_sees_half_of_a_status(tmp_path):
    path, seen, over = tmp_path / "status.json", set(), threading.Event()
    write_json(path, {"n": 0, "filler": ""})

    def read():
        while not over.is_set():
            record = json.loads(path.read_text())
            assert len(record["filler"]) == record["n"] * 100
            seen.add(record["n"])

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(400):
        write_json(path, {"n": n, "filler": "x" * n * 100})
    over.set()
    reader.join()
    assert len(seen) > 10
    assert [entry.name for entry in tmp_path.iterdir()] == ["status.json"]


def test_a_record_that_cant_be_written_leaves_the_old_one(tmp_path):
    write_json(tmp_path / "status.json", {"state": "running"})
    with pytest.raises(OSError, match="Is a directory"):
        (tmp_path / "folder").mkdir()
        write_json(tmp_path / "folder", {})
    with pytest.raises(KeyboardInterrupt), by_rename(tmp_path / "status.json", durable=True) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert (tmp_path / "status.json").read_text() == '{\n  "state": "running"\n}\n'
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["folder", "status.json"]
    write_jsonl(tmp_path / "lines.jsonl", [{"text": "a\nb\u2028c"}, {"text": "é"}])
    assert list(read_jsonl(tmp_path / "lines.jsonl")) == [{"text": "a\nb\u2028c"}, {"text": "é"}]


def test_a_torn_line_spoils_no_other(tmp_path):
    path = tmp_path / "events.jsonl"
    append_event(path, "note", text="first")
    with path.open("a") as file:
        file.write('{"kind": "note", "te')
    assert [event["text"] for event in read_jsonl(path)] == ["first"]
    append_event(path, "note", text="second")
    append_event(path, "note", text="third")
    assert [event["text"] for event in read_jsonl(path)] == ["first", "second", "third"]


def test_many_writers_lose_no_event(tmp_path):
    path = tmp_path / "events.jsonl"
    append_event(path, "note", n=-1)
    writers = [
        threading.Thread(target=lambda w=w: [append_event(path, "note", n=w * 100 + n) for n in range(100)])
        for w in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(event["n"] for event in read_jsonl(path)) == list(range(-1, 400))


def test_a_checksum_of_a_file_is_that_of_its_bytes(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256_of(tmp_path / "file") == sha256_of(b"abc")
    assert sha256_of(b"abc").startswith("ba7816bf8f01cfea") and len(sha256_of(b"")) == 64
