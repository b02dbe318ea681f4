"""Real, tiny models and data for the tests: nothing here is a mock, nothing needs the network."""

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

# No test may see or touch what a user has: runs, labels, caches, tokens, settings, proxies, a language.
# This stands before all other imports, since some libraries read the environment when they are imported.
_KEPT = re.compile(r"(PATH|LD_LIBRARY_PATH|USER|LOGNAME|TMPDIR|VIRTUAL_ENV|NODE_MODULES|PYTEST_\w+)$")
for name in [name for name in os.environ if not _KEPT.match(name)]:
    del os.environ[name]
_HOME = tempfile.TemporaryDirectory(prefix="tweettune-tests-")
os.environ |= {name: str(Path(_HOME.name, name)) for name in ("HOME", "TWEETTUNE_HOME", "HF_HOME")} | {
    "HF_HUB_OFFLINE": "1",  # no test may reach for the Hub
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",  # tiny matrices: a second thread only waits
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
}
Path(os.environ["HOME"]).mkdir()
_SHARED = Path(os.environ.setdefault("PYTEST_SHARED_FOLDER", _HOME.name))
"""One for all processes of a session."""

import hypothesis
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.support import (
    REPOSITORY,
    Trained,
    command,
    once,
    train_arguments,
    tweets,
    wait_for,
    wait_until_ended,
    warm,
    write_csv,
)
from tests.support.bases import byte_tokenizer, save_base, save_gpt2
from tests.support.hub_fixtures import hub, large, online  # noqa: F401  (fixtures)
from training.runs.run import find_run

warm.prepare(Path(_HOME.name))
hypothesis.settings.register_profile("tests", deadline=None, database=None, derandomize=True)
hypothesis.settings.register_profile("anew", deadline=None, database=None)  # pytest --hypothesis-profile anew
hypothesis.settings.load_profile("tests")
# A script's background jobs ignore Ctrl-C and so would all that the tests start from there.
signal.signal(signal.SIGINT, signal.default_int_handler)
KNOWN = tweets(240, seed=7, words_known=4)
"""What a tiny base is taught, half of the words: zero-shot beats chance, and may be beaten."""


def pytest_collection_modifyitems(items):
    """Begin with the files of slow tests, then with the longest: so no process works alone at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    length = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path not in slow, -length[item.path], item.path))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    """Run what is marked `alone` while no other process of the session runs a test."""
    with _turn(alone=item.get_closest_marker("alone") is not None):
        return (yield)


@contextlib.contextmanager
def _turn(*, alone: bool):
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    with (_SHARED / "door").open("w") as door, (_SHARED / "room").open("w") as room:
        fcntl.flock(door, fcntl.LOCK_EX)  # who waits for an empty room lets nobody else in
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Every test has a TWEETTUNE_HOME of its own."""
    monkeypatch.setenv("TWEETTUNE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def warm_starts():
    """Let the processes of a file's tests start warm."""
    with warm.starts():
        yield


@pytest.fixture(scope="session")
def tiny_tweets() -> Path:
    """Return a CSV file of 360 made-up tweets with three labels."""
    return once("tweets.csv", lambda file: write_csv(file, tweets(360)))


@pytest.fixture(scope="session")
def tiny_tokenizer(tmp_path_factory):
    """Return a real byte-level BPE tokenizer of GPT-2's class, trained on the made-up tweets."""
    texts = [text for text, _ in tweets(300)] + ["Tweet: a\nSentiment: negative neutral positive"] * 20
    return byte_tokenizer(tmp_path_factory.mktemp("tokenizer"), texts)


@pytest.fixture(scope="session")
def tiny_gpt2(tiny_tokenizer) -> Path:
    """Return the folder of a real GPT-2 of three layers."""
    return once("tiny-gpt2", lambda folder: save_gpt2(folder, tiny_tokenizer, KNOWN))


@pytest.fixture(scope="session")
def tiny_llama(tiny_tokenizer) -> Path:
    """Return the folder of a real Llama of three layers, with grouped-query attention."""
    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=0,
        tie_word_embeddings=True,
    )

    def make(folder: Path) -> Path:
        torch.manual_seed(0)
        return save_base(LlamaForCausalLM(config), tiny_tokenizer, folder, KNOWN)

    return once("tiny-llama", make)


@pytest.fixture(params=["gpt2", "llama"])
def tiny_base(request) -> Path:
    """Return each tiny base in turn."""
    return request.getfixturevalue(f"tiny_{request.param}")


@pytest.fixture(scope="session")
def trained_gpt2(tiny_gpt2, tiny_tweets) -> Trained:
    """Return a run that the command line has trained from start to end, undisturbed."""

    def train(folder: Path) -> Trained:
        with warm.starts():
            done = command("training", *train_arguments(tiny_gpt2, tiny_tweets, folder), "--json")
        assert done.returncode == 0, done.stderr
        return Trained(find_run(folder), tiny_gpt2, tiny_tweets, done.stdout, done.stderr)

    return once("gpt2", train)


@pytest.fixture(scope="session")
def trained_llama(tiny_llama, tiny_tweets) -> Trained:
    """Return a finished run whose command line was killed as soon as the run was at work."""

    def train(folder: Path) -> Trained:
        arguments = [str(word) for word in train_arguments(tiny_llama, tiny_tweets, folder)]
        words = [sys.executable, "-m", "training", *arguments]
        with warm.starts():
            parent = subprocess.Popen(words, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: (folder / "recipe.toml").exists() and find_run(folder).status().pid)
        parent.send_signal(signal.SIGKILL)
        _, said = parent.communicate()
        run = find_run(folder)
        assert wait_until_ended(run).state == "finished", (folder / "log.txt").read_text()
        return Trained(run, tiny_llama, tiny_tweets, stderr=said)

    return once("llama", train)


@pytest.fixture(params=["gpt2", "llama"])
def trained(request) -> Trained:
    """Return each trained tiny model in turn."""
    return request.getfixturevalue(f"trained_{request.param}")
