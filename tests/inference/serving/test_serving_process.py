"""The process that serves: models replaced under load, signals, several workers, starts that fail."""

import contextlib
import http.client
import json
import logging
import shutil
import signal
import socket
import threading
import time
import weakref
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from inference import Classifier
from inference.cli import main
from inference.common.store import write_json
from inference.selective import coverage_curve
from tests.support import tweets, wait_for
from tests.support.serve import command, is_ready, post, read, serving

pytestmark = pytest.mark.usefixtures("warm_starts")

TEXTS = [text for text, _ in tweets(5, seed=11)]


@pytest.fixture
def logs_as_before():
    """A server's command sets the process's logging up: undo that, where the process is this one."""
    loggers, hook = (
        [logging.getLogger(name) for name in ("", "inference.serving", "uvicorn")],
        threading.excepthook,
    )
    before = [(list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    hangup = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, hangup)
    threading.excepthook = hook
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


class Load:
    """Clients that ask again and again on connections they keep, and count what becomes of each request."""

    def __init__(self, running, *, clients=8, pause_s=0.0):
        self.running, self.pause_s = running, pause_s
        self.counts = Counter()
        self.labels = {}
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self._client, args=(seed,)) for seed in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        wait_for(lambda: self.counts[200] > 20)
        return self

    def __exit__(self, *exc):
        self.over.set()
        self.join()

    def join(self):
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()

    def _client(self, seed):
        connection = http.client.HTTPConnection("127.0.0.1", self.running.port, timeout=30)
        with contextlib.closing(connection):
            number = seed
            while not self.over.is_set():
                number += 1
                text = TEXTS[number % len(TEXTS)]
                body = json.dumps({"inputs": text})
                try:
                    connection.request("POST", "/", body, {"Content-Type": "application/json"})
                    answer = read(connection.getresponse())
                except (OSError, http.client.HTTPException):
                    self.counts["lost"] += 1
                    return
                self.counts[answer.status] += 1
                if answer.status == 200:
                    found = {row["label"]: round(row["score"], 4) for row in answer.json[0]}
                    self.labels.setdefault(text, set()).add(tuple(sorted(found.items())))
                if answer.headers.get("connection") == "close":
                    return
                time.sleep(self.pause_s)


def expected(artifact, text):
    classifier = Classifier.load(artifact)
    [found] = classifier.predict([text])
    pairs = zip(classifier.labels, (round(p, 4) for p in found.probabilities), strict=True)
    return tuple(sorted(pairs))


@pytest.fixture
def folder(tmp_path, trained_gpt2) -> Path:
    """Return a copy of an artifact that a test may change."""
    shutil.copytree(trained_gpt2.artifact, tmp_path / "model")
    return tmp_path / "model"


def test_a_model_is_replaced_without_dropping_a_request(trained_gpt2, trained_llama):
    with serving({"demo": trained_gpt2.artifact}, load=Classifier.load) as running:
        old = weakref.ref(running.service.models.get().classifier)
        with Load(running) as load:
            for artifact in (trained_llama.artifact, trained_gpt2.artifact, trained_llama.artifact):
                running.service.put("demo", Classifier.load(artifact))
                before = load.counts[200]
                wait_for(lambda before=before: load.counts[200] > before + 20)
        assert set(load.counts) == {200}, load.counts
        answers = {expected(one.artifact, TEXTS[0]) for one in (trained_gpt2, trained_llama)}
        assert load.labels[TEXTS[0]] <= answers
        wait_for(lambda: old() is None, seconds=20)
        [found] = running.ask({"inputs": TEXTS[0]}).json
        assert {row["label"]: round(row["score"], 4) for row in found} == dict(
            expected(trained_llama.artifact, TEXTS[0])
        )


def test_a_precision_goes_by_the_record_of_the_model_that_answers(folder):
    def record(confidence: float) -> None:
        curve = coverage_curve([0], [[confidence, 1 - confidence]])
        write_json(folder / "evaluation.json", {"chosen_on": [asdict(point) for point in curve]})

    def asked(running) -> tuple[int, bool]:
        answer = running.ask({"inputs": TEXTS[0], "parameters": {"precision": 0.9}})
        return answer.status, answer.status == 200 and answer.json[0][0]["sure"]

    record(0.51)
    with serving({"demo": str(folder)}, load=Classifier.load) as running:
        confidence = running.ask({"inputs": TEXTS[0]}).json[0][0]["score"]
        assert asked(running) == (200, confidence >= 0.51)
        for later in (confidence - 0.01, confidence + 0.001):  # another model is trained into the folder
            record(later)
            assert asked(running) == (200, confidence >= 0.51)
            running.service.reload()
            assert asked(running) == (200, confidence >= later)
        (folder / "evaluation.json").write_text('{"chosen_on": [')
        assert asked(running) == (200, False)
        running.service.reload()
        assert asked(running) == (422, False)


def test_sigterm_under_load_loses_no_request(tmp_path, trained_gpt2):
    body = json.dumps({"inputs": TEXTS[0]}).encode()
    with (
        command(f"mine={trained_gpt2.artifact}", folder=tmp_path) as running,
        socket.create_connection(("127.0.0.1", running.port), timeout=20) as slow,
        Load(running) as load,
        Load(running, pause_s=0.05) as calm,  # most of its connections are idle when the signal comes
    ):
        slow.sendall(post(body)[:-5])
        time.sleep(0.5)
        running.process.send_signal(signal.SIGTERM)
        wait_for(lambda: refused(running.port))
        slow.sendall(body[-5:])  # this request was coming in when the signal came
        answer = slow.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 ") and b"connection: close" in answer
        assert running.process.wait(10) == 0
        load.join()
        calm.join()
    counts = load.counts + calm.counts
    assert set(counts) == {200}, (counts, running.log.read_text()[-2000:])
    logged = [line for line in running.lines() if line.get("route") == "/"]
    assert len(logged) == counts[200] + 1, "answered, logged and received are the same requests"
    assert not any(text in running.log.read_text() for text in TEXTS)


def refused(port):
    """Return whether nobody listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_sighup_loads_the_model_again_and_a_second_sigint_ends_it_at_once(tmp_path, folder, trained_llama):
    before, after = expected(folder, TEXTS[0]), expected(trained_llama.artifact, TEXTS[0])
    with command(f"demo={folder}", folder=tmp_path) as running:
        with Load(running, clients=3) as load:
            (folder / "model.safetensors").unlink()  # not written over: the model at work may be mapped to it
            (folder / "model.safetensors").write_bytes(b"torn")
            running.process.send_signal(signal.SIGHUP)
            wait_for(lambda: any("stays as it was" in line["message"] for line in running.lines()))
            assert load.labels[TEXTS[0]] == {before}
            shutil.rmtree(folder)
            shutil.copytree(trained_llama.artifact, folder)
            running.process.send_signal(signal.SIGHUP)
            wait_for(lambda: after in load.labels[TEXTS[0]])
        assert set(load.counts) == {200} and load.labels[TEXTS[0]] == {before, after}
        with socket.create_connection(("127.0.0.1", running.port)) as slow:
            slow.sendall(post(b"", length=100))
            time.sleep(0.2)
            running.process.send_signal(signal.SIGINT)
            wait_for(lambda: refused(running.port))
            running.process.send_signal(signal.SIGINT)
            assert running.process.wait(5) == 128 + signal.SIGINT


def workers_of(running):
    children = psutil.Process(running.process.pid).children()
    return [child for child in children if "spawn_main" in str(child.cmdline())]


def test_workers_share_address_settings_cores_and_rate(tmp_path, trained_gpt2):
    """Every option reaches them, and signals at their start do no harm."""
    limits = (
        "--max-texts",
        2,
        "--max-body-mb",
        0.001,
        "--rate-limit",
        1,
        "--cors-origin",
        "https://a.example",
    )
    variables = {"OMP_NUM_THREADS": "2", "TWEETTUNE_TOKENS": "first second"}
    options = (f"demo={trained_gpt2.artifact}", "--workers", 2, *limits)
    with command(*options, folder=tmp_path, ready=False, **variables) as running:
        wait_for(lambda: "TweetTune serves at" in running.log.read_text())
        for _ in range(10):
            running.process.send_signal(signal.SIGHUP)
            time.sleep(0.1)
        wait_for(lambda: running.process.poll() is not None or is_ready(running), every=0.1)
        assert [worker.environ()["OMP_NUM_THREADS"] for worker in workers_of(running)] == ["1", "1"]
        first, second = ({"Authorization": f"Bearer {token}"} for token in ("first", "second"))
        assert running.ask({"inputs": TEXTS[0]}).status == 401
        assert running.ask({"inputs": [TEXTS[0]] * 3}, **first).status == 413
        assert running.ask({"inputs": "a" * 2000}, **first).status == 413
        answer = running.ask({"inputs": TEXTS[0]}, **first, Origin="https://a.example")
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "https://a.example")
        began = time.monotonic()
        statuses = Counter(running.ask({"inputs": TEXTS[0]}, **second).status for _ in range(40))
        assert set(statuses) == {200, 429} and statuses[200] <= 11 + (time.monotonic() - began), statuses
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(30) == 0
    assert all(line["level"] in ("info", "warning") for line in running.lines())
    assert "second" not in running.log.read_text()


def test_a_worker_that_is_ended_by_a_signal_of_its_own_is_an_error(tmp_path, trained_gpt2):
    with command(trained_gpt2.artifact, "--workers", 2, folder=tmp_path) as running:
        workers_of(running)[0].kill()
        assert running.process.wait(30) == 1
    assert "A worker has ended with an error" in running.log.read_text()


def test_a_worker_that_cannot_load_its_model_ends_them_all(tmp_path):
    with command(tmp_path / "nowhere", "--workers", 2, folder=tmp_path, ready=False) as running:
        assert running.process.wait(60) == 1
    assert "A worker has ended with an error" in running.log.read_text()


def test_a_model_that_cannot_be_loaded_is_one_sentence_and_status_1(tmp_path):
    with command(tmp_path / "nowhere", folder=tmp_path, ready=False) as running:
        assert running.process.wait(60) == 1
    assert running.log.read_text().splitlines()[-1].startswith(f"{tmp_path}/nowhere does not exist.")


@pytest.mark.usefixtures("logs_as_before")
def test_an_address_in_use_is_one_sentence(trained_gpt2, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", str(trained_gpt2.artifact), "--port", str(port)]) == 1
    sentence = (
        f"127.0.0.1:{port} can't be listened on (Address already in use). Give another --host or --port."
    )
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("models", "sentence"),
    [
        (["runs/a/artifact", "other/a"], "Two models would be called a. Write NAME=FOLDER for one of them."),
        (["a=x", "a=y"], "Two models would be called a."),
    ],
)
@pytest.mark.usefixtures("logs_as_before")
def test_two_models_of_one_name_are_refused(models, sentence, capsys):
    assert main(["serve", *models]) == 1
    assert sentence in capsys.readouterr().err
