"""`python -m inference live`: posts as they come, one JSON object at the end, no harm by any post."""

import io
import json
import logging
import os
import random
import resource
import signal
import subprocess
import sys
import threading

import pytest

from inference.classifier import Classifier
from inference.cli import main, parser
from inference.common.errors import FeedError
from inference.live.command import _until_the_end, one_line, printer, run
from inference.live.feed import Feed
from inference.live.post import ClassifiedPost, Post
from inference.live.sources import Mastodon, SourceStatus, SourceUnavailable
from inference.live.sources.replay import posts_of_file
from tests.servers.mastodon import Mastodon as MastodonServer
from tests.support import REPOSITORY, tweets, wait_for
from tests.support.feeds import LABELS, Given, classify, posts

pytestmark = pytest.mark.usefixtures("warm_starts")

KEYS = {"received", "classified", "filtered", "duplicates", "dropped", "rate_per_s", "lag_p50_s", "lag_p95_s"}
KEYS |= {"unsure", "hurried", "truncated", "out_of_scope"}
EVIL = "\x1b[31mred\x1b]0;title\x07 \u202egnp.exe\u2066 a\u0300\u0301\u0302\u0303b\r\nnext\x9b2J 👩\u200d🚒"


def write_posts(path, count=60):
    rng = random.Random(4)
    rows = [
        {"id": f"p{n}", "text": text, "true_label": label, "languages": [rng.choice(["en", "pt"])]}
        for n, (text, label) in enumerate(tweets(count, seed=5))
    ]
    rows += [rows[0], {"id": "evil", "text": EVIL, "languages": ["en"]}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return rows


def balanced(record):
    return record["received"] == sum(
        record[name] for name in ("classified", "filtered", "duplicates", "dropped")
    )


def test_a_file_is_replayed_and_every_post_accounted_for(trained_gpt2, tmp_path, capsys):
    rows = write_posts(tmp_path / "posts.jsonl")
    english = sum(row["languages"] == ["en"] for row in rows)
    again = rows[0]["languages"] == ["en"]
    posts, saved, model = tmp_path / "posts.jsonl", tmp_path / "saved.jsonl", trained_gpt2.artifact
    words = ["live", "replay", posts, "--model", model, "--json", "--languages", "en", "--save", saved]
    assert main([*map(str, words), "--save-texts"]) == 0
    out, said = capsys.readouterr()
    record = json.loads(out)
    assert record.keys() == KEYS and balanced(record)
    assert record["received"] == 62 and record["filtered"] == 62 - english and record["dropped"] == 0
    assert record["duplicates"] == again and record["classified"] == english - again
    assert record["rate_per_s"] > 0 and 0 < record["lag_p50_s"] <= record["lag_p95_s"]
    posts_shown = [
        line for line in said.splitlines() if not line.startswith("Unlike the texts of its training: ")
    ]
    assert len(posts_shown) == record["classified"], "with --json posts go to standard error"
    assert "\x1b" not in said and "\u202e" not in said
    assert len(posts_of_file(saved)[0]) == record["classified"]


def test_rows_that_are_left_out_of_a_replay_are_counted(trained_gpt2, tmp_path, capsys):
    (tmp_path / "posts.csv").write_text("7,what a day it is\n8,so sunny today, really\n9,an awful long day\n")
    assert main(["live", "replay", str(tmp_path / "posts.csv"), "--model", str(trained_gpt2.artifact)]) == 0
    said = capsys.readouterr().err
    assert (
        "posts.csv has no header; its columns are named by their places: 1 (7), 2 (what a day it is)." in said
    )
    assert "1 of 3 rows are left out (the first: the row has 3 cells where the header has 2)." in said


def test_posts_are_lines_on_standard_output_without_json(trained_gpt2, tmp_path, capsys):
    write_posts(tmp_path / "posts.jsonl")
    arguments = ["live", "replay", str(tmp_path / "posts.jsonl"), "--model", str(trained_gpt2.artifact)]
    assert main([*arguments, "--limit", "5", "--rate", "100", "--debug"]) == 0
    out, said = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 5 and lines[0].split()[0] in LABELS and "%" in lines[0]
    assert said.startswith("5 received, 5 classified, 0 filtered, 0 duplicates, 0 dropped. ")
    assert "classified a second. Lag: p50 " in said


def test_an_interrupt_ends_it_with_the_numbers(trained_gpt2, tmp_path):
    write_posts(tmp_path / "posts.jsonl")
    words = ["live", "replay", tmp_path / "posts.jsonl", "--model", trained_gpt2.artifact, "--rate", "5"]
    with subprocess.Popen(
        [sys.executable, "-m", "inference", *map(str, words), "--json"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr.readline().split()[0] in LABELS, "it streams"
        process.send_signal(signal.SIGTERM)
        while "Stopped." not in (line := process.stderr.readline()):
            assert line
        process.send_signal(signal.SIGINT)  # as somebody impatient does: the numbers are printed all the same
        out, said = process.communicate(timeout=60)
    record = json.loads(out)
    assert process.returncode == 0 and "Traceback" not in said
    assert balanced(record) and 1 <= record["classified"] < 62


def test_a_reader_that_leaves_ends_it_with_a_sentence(trained_gpt2, tmp_path):
    write_posts(tmp_path / "posts.jsonl")
    words = ["live", "replay", tmp_path / "posts.jsonl", "--model", trained_gpt2.artifact, "--rate", "5"]
    with subprocess.Popen(
        [sys.executable, "-m", "inference", *map(str, words)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(60) == 1
    assert "The output can't be written" in said and "Traceback" not in said


def test_a_pipe_which_can_be_read_once_only_is_refused(tmp_path, capsys):
    os.mkfifo(tmp_path / "posts.jsonl")
    artifact = REPOSITORY / "tests" / "fixtures" / "2026-11" / "run" / "artifact"
    assert main(["live", "replay", str(tmp_path / "posts.jsonl"), "--model", str(artifact)]) == 1
    assert "is neither a file nor a folder" in capsys.readouterr().err


def test_a_disk_that_fills_up_ends_it_with_a_sentence_and_a_whole_recording(trained_gpt2, tmp_path, capsys):
    """The limit on a file's size makes the system fail a write in its middle, as a full disk does."""
    write_posts(tmp_path / "posts.jsonl")
    saved, former = tmp_path / "saved.jsonl", resource.getrlimit(resource.RLIMIT_FSIZE)
    words = ["live", "replay", str(tmp_path / "posts.jsonl"), "--model", str(trained_gpt2.artifact), "--json"]
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, former[1]))
        assert main([*words, "--save", str(saved), "--save-texts", "--engine", "torch"]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    out, said = capsys.readouterr()
    assert said.splitlines()[-1] == f"{saved} can't be written (File too large). Choose another place."
    record = json.loads(out)
    assert balanced(record) and 1 <= len(posts_of_file(saved)[0]) <= record["classified"]


def test_words_of_a_service_do_not_reach_the_terminal_as_they_are(trained_gpt2, capsys):
    class Hostile:
        name = "replay"
        status = SourceStatus()

        def posts(self, stop):
            yield Post("1", "fine")
            raise SourceUnavailable("It said: \x1b]0;owned\x07\u202e and " + "went on, " * 500)

    given = parser().parse_args(["live", "replay", "f", "--model", str(trained_gpt2.artifact), "--json"])
    with pytest.raises(FeedError) as refused:
        run(given, {"file": lambda file, **options: Hostile()})
    said = str(refused.value)
    assert said.startswith("It said: ]0;owned and went on") and len(said) == 1000 and said.endswith("…")
    assert balanced(json.loads(capsys.readouterr().out))


def test_a_service_is_read_with_a_token_that_is_in_nothing_printed_saved_or_asked(
    trained_gpt2, capfd, tmp_path, caplog, monkeypatch
):
    caplog.set_level(logging.DEBUG)
    words = ["live", "mastodon", "cats", "--model", str(trained_gpt2.artifact), "--json", "--limit", "3"]
    given = parser().parse_args([*words, "--save", str(tmp_path / "a.jsonl"), "--save-texts"])
    with MastodonServer() as server:
        monkeypatch.setenv("MASTODON_TOKEN", server.token)

        def make(instance, **options):
            return Mastodon(server.url, allow_loopback=True, **options)

        def publish():
            wait_for(lambda: server.streams, 60)
            for number in range(3):
                server.status(f"<p>post {number} <script>evil()</script>#cats</p>", tags=["cats"])

        publisher = threading.Thread(target=publish)
        publisher.start()
        assert run(given, {"mastodon": make}) == 0
        publisher.join(10)
        assert any("authorization" in request.headers for request in server.asked)
        asked = [f"{request.path} {request.query}" for request in server.asked]
    out, said = capfd.readouterr()
    assert json.loads(out)["classified"] == 3 and "post 0 #cats" in said and "evil" not in said
    seen = [out, said, caplog.text, (tmp_path / "a.jsonl").read_text(), *asked]
    assert all(server.token not in text for text in seen)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["replay"],
            "There is nothing to replay: no file was given. Write `python -m inference live replay FILE "
            "--model M`. The app's Live tab replays held-out tweets without a file.",
        ),
        (["bluesky", "--rate", "5"], "--rate is for replay, not for bluesky. Leave it out."),
        (["replay", "f", "--cap-usd", "5"], "--cap-usd is for x and x-stream, not for replay. Leave it out."),
        (["x", "cats", "--instance", "a.b"], "--instance is for mastodon, not for x. Leave it out."),
        (["x", "cats", "--host", "a.b"], "--host is for bluesky, not for x. Leave it out."),
        (["bluesky", "--host", "a b/c"], "'a b/c' is no host of a Jetstream. Give its name, such as"),
        (["bluesky", "--save-texts"], "--save-texts was given without --save FILE"),
        (["replay", "nowhere.jsonl"], "nowhere.jsonl can't be replayed"),
        (["x", "cats"], "X needs a bearer token. Set X_BEARER_TOKEN, or type one in."),
        (["mastodon", "--instance", "127.0.0.1"], "'127.0.0.1' is not the address of an instance."),
        (["bluesky", "--save", "."], ". exists already. Give the name of a new file."),
        (
            ["bluesky", "--save", "no/where.jsonl"],
            "no is no folder, so no/where.jsonl can't be written. Make it first.",
        ),
    ],
)
def test_mistakes_are_reported_before_a_model_is_loaded(words, sentence, monkeypatch):
    monkeypatch.delenv("X_BEARER_TOKEN", raising=False)
    given = parser().parse_args(["live", *words, "--model", "no model"])
    with pytest.raises(FeedError) as refused:
        run(given)
    assert str(refused.value).startswith(sentence)


def test_a_missing_library_is_reported():
    code = (
        "import sys; sys.modules['tweepy'] = None; from inference.cli import main; "
        "sys.exit(main(['live', 'replay', 'a.jsonl', '--model', 'm']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    said = "`live` needs tweepy, which is not installed. Run: pip install -r requirements.txt\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_the_cost_of_x_is_shown_before_it_is_read(monkeypatch, capsys):
    monkeypatch.setenv("X_BEARER_TOKEN", "a-secret-token")
    given = parser().parse_args(["live", "x", "cats", "--model", "nowhere/at/all", "--cap-usd", "0.5"])
    with pytest.raises(Exception, match="nowhere/at/all"):
        run(given)
    printed = capsys.readouterr().err
    assert (
        "costs about $36.00 an hour" in printed and "It stops at $0.50" in printed and "secret" not in printed
    )


def test_the_state_of_the_source_and_its_cost_are_shown_as_it_runs():
    class Costly(Given):
        status = SourceStatus("connected", cost_usd=0.105)

    notes, source = [], Costly(posts(3), stay=True)
    feed = Feed(source, classify, labels=LABELS)
    thread = threading.Timer(1.5, feed.stop)
    thread.start()
    later = SourceStatus("reconnecting", reason="\x1b[2JIt broke.", cost_usd=0.11)
    threading.Timer(0.3, lambda: setattr(source, "status", later)).start()
    snapshot = _until_the_end(feed, notes.append)
    thread.join(10)
    assert snapshot.reason == "stopped"
    assert notes == ["Reconnecting: [2JIt broke.", "X: $0.11 spent, 3 posts received."]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_feed_that_fails_still_tells_its_numbers(trained_gpt2, tmp_path, monkeypatch, capsys):
    write_posts(tmp_path / "posts.jsonl")
    words = ["live", "replay", str(tmp_path / "posts.jsonl"), "--model", str(trained_gpt2.artifact), "--json"]
    monkeypatch.setattr(sys, "stderr", closed := io.StringIO())
    closed.close()
    given = parser().parse_args(words)
    with pytest.raises(FeedError, match="can't be written"):
        run(given)
    record = json.loads(capsys.readouterr().out)
    assert balanced(record) and record["classified"] > 0


def test_a_post_is_one_harmless_line():
    assert one_line(EVIL) == "[31mred]0;title gnp.exe a\u0300\u0301b next2J 👩\u200d🚒"
    assert one_line("x" * 100_000) == "x" * 199 + "…"
    assert one_line("زباله\u200cها 👨‍👩‍👧") == "زباله\u200cها 👨‍👩‍👧", "letters that hang together stay so"
    assert one_line("\ud83d\x00\ufeff\u2028") == ""
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    printer(out)([ClassifiedPost(Post("1", "olá\x1b\nmundo ☀"), "positive", 0.934)])
    assert out.buffer.getvalue() == b"positive    93.4%  ol? mundo ?\n"


def test_what_the_model_is_not_sure_of_is_counted_by_itself(trained_gpt2, tmp_path, capsys):
    rows = write_posts(tmp_path / "posts.jsonl")
    words = ["live", "replay", str(tmp_path / "posts.jsonl"), "--model", str(trained_gpt2.artifact)]
    assert main([*words, "--abstain-below", "0.5", "--json"]) == 0
    out, said = capsys.readouterr()
    unsure = sum(line.startswith("?") for line in said.splitlines())
    assert json.loads(out)["unsure"] == unsure and 0 < unsure < json.loads(out)["classified"]
    classifier = Classifier.load(trained_gpt2.artifact)
    found = classifier.predict([row["text"] for row in rows[:60] + rows[61:]])
    outside = sum(one.is_out_of_scope(classifier.scope.above) for one in found)
    assert json.loads(out)["out_of_scope"] == outside > 0
    assert f"Unlike the texts of its training: {outside} of {len(found)}." in said
    assert main([*words, "--abstain-below", "1"]) == 0
    assert "Not sure (below 1.00): " in capsys.readouterr().err
    assert main([*words, "--precision", "90"]) == 1
    assert "precision is 90. Give a share" in capsys.readouterr().err
