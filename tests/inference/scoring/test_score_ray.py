"""`--engine ray` on a local cluster of two workers: the same rows as here, also when a worker is killed."""

import importlib.util
import json
import os
import random
import socket
import subprocess
import sys

import psutil
import pytest

from inference.baselines.index import Index
from inference.baselines.kept import hash_of, keep
from inference.baselines.prompting import Prompted
from inference.baselines.retrieval import FewShotRetrieval
from inference.cli import main
from inference.reference import reference_of, save_reference, token_lengths
from inference.tables.rows import CHUNK_ROWS
from tests.support import REPOSITORY, WORDS, command, tweets, wait_for
from tests.support.scored_files import write_rows
from training.model.bases import resolve_base
from training.model.classifier import load_language_model

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason="Ray is not installed; pip install -r requirements-ray.txt",
)


@pytest.fixture
def posts(tmp_path):
    rng = random.Random(5)
    words = [word for some in WORDS.values() for word in some]
    rows = [
        {"id": i, "text": None if i == 5_000 else " ".join(rng.choices(words, k=rng.randint(1, 14)))}
        for i in range(8 * CHUNK_ROWS + 7)
    ]
    rows[77]["text"] = "a lone \ud83d half"
    return write_rows(tmp_path / "in.jsonl", rows)


def workers_of(pid: int) -> list[psutil.Process]:
    """Return the processes with a model that a scoring has started."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        try:
            if "MapWorker" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            pass  # it ended meanwhile
    return found


@needs_ray
@pytest.mark.slow
def test_a_cluster_gives_the_rows_of_this_machine_though_a_worker_is_killed(
    posts, trained_gpt2, tmp_path, capsys
):
    given = ["score", posts, "--model", trained_gpt2.artifact]
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    assert main([*map(str, given), "--output", str(here), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    on_ray = ("--engine", "ray", "--workers", "2")
    running = subprocess.Popen(
        [sys.executable, "-m", "inference", *map(str, given), "--output", str(there), "--json", *on_ray],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    wait_for(lambda: list(tmp_path.glob("there*.partial/part-*[0-9]")) or running.poll() is not None)
    wait_for(lambda: len(workers_of(running.pid)) == 2 or running.poll() is not None)
    workers_of(running.pid)[0].kill()
    stdout, stderr = running.communicate(timeout=180)
    assert running.returncode == 0, stderr
    assert there.read_bytes() == here.read_bytes()
    of_cluster = json.loads(stdout)
    assert of_cluster["engine"] == f"{summary['engine']} on Ray"
    assert (of_cluster["rows"], of_cluster["bad"]) == (8 * CHUNK_ROWS + 7, 1)
    assert "Traceback" not in stderr


@pytest.fixture
def rung(tiny_gpt2, tmp_path):
    """Return the folder of a rung as a ladder keeps it: a prompt with the nearest tweets of an index."""
    base, labels = load_language_model(resolve_base(str(tiny_gpt2))), ("negative", "neutral", "positive")
    prompted = Prompted.build(base.model, base.tokenizer, labels, max_length=64)
    index = Index(None, labels)
    texts, names = zip(*tweets(40, seed=8), strict=True)
    index.add(texts, names)
    folder = tmp_path / "retrieval-words"
    asks = {"name": "tiny", "path": str(tiny_gpt2), "sha256": hash_of(base.model)}
    keep(FewShotRetrieval(prompted, index, k=2), folder, base=asks)
    counted = prompted.counted(texts)
    lengths = token_lengths(prompted.tokenizer)
    save_reference(reference_of(counted, validation=counted, lengths=lengths), folder)
    return folder


@needs_ray
@pytest.mark.slow
def test_a_cluster_scores_with_a_rung_as_this_machine_does(rung, tmp_path):
    rows = [*({"text": text} for text, _ in tweets(30, seed=9)), {"text": "обед был очень вкусный"}]
    source = write_rows(tmp_path / "in.jsonl", rows)
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    given = ["score", source, "--model", rung, "--probabilities", "--out-of-scope"]
    assert main([*map(str, given), "--output", str(here)]) == 0
    environment = {**os.environ, "HOME": str(tmp_path)}
    on_ray = ("--engine", "ray", "--workers", "1")
    done = command("inference", *given, "--output", there, *on_ray, env=environment)
    assert done.returncode == 0, done.stderr
    scored, expected = (
        [json.loads(line) for line in file.read_text().splitlines()] for file in (there, here)
    )
    assert scored == [pytest.approx(row, abs=2e-6) for row in expected], "to the last digit's rounding"
    assert scored[-1]["out_of_scope"] and "rung on Ray" in done.stdout


@needs_ray
def test_a_cluster_that_is_not_there_is_one_sentence(trained_gpt2, tmp_path):
    source = write_rows(tmp_path / "in.csv", [{"text": "a"}])
    given = ["score", source, "--model", trained_gpt2.artifact, "--output", tmp_path / "out.csv"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"  # bound, but nobody listens
        done = command("inference", *given, "--engine", "ray", env={**os.environ, "RAY_ADDRESS": address})
    assert (done.returncode, done.stdout) == (1, "")
    said = f"There is no Ray cluster at {address} (Connection refused); check RAY_ADDRESS."
    assert done.stderr.splitlines()[-1] == said, "after progress, where the model was long in loading"


def test_without_ray_the_error_says_what_to_install(trained_gpt2, tmp_path):
    source = write_rows(tmp_path / "in.csv", [{"text": "a"}])
    (tmp_path / "ray.py").write_text("raise ImportError('no such library')")
    given = ["score", source, "--model", trained_gpt2.artifact, "--output", tmp_path / "out.csv"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = command("inference", *given, "--engine", "ray", env=environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == (
        "--engine ray needs Ray, which is not installed (no such library); "
        "run pip install -r requirements-ray.txt."
    )
