"""Real, tiny models and data for the tests: nothing here is a mock, nothing needs the network."""

import csv
import os
import pty
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # read at import: no test may reach for the Hub
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny matrices: a second thread only waits

import pytest
import torch
from hub_fixtures import hub, large, online  # noqa: F401  (fixtures)
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer, LlamaConfig, LlamaForCausalLM

from training.jobs import ACTIVE, Run, Status, find_run

# A script's background jobs ignore Ctrl-C and so would all that the tests start from there.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parent.parent
WORDS = {
    "negative": ["hate", "awful", "sad", "worst", "angry", "broken", "terrible", "lost"],
    "neutral": ["table", "monday", "report", "train", "paper", "number", "meeting", "street"],
    "positive": ["love", "great", "happy", "best", "thanks", "sunny", "wonderful", "win"],
}
FILLERS = ["the", "my", "this", "so", "today", "it", "is", "@friend", "really", "we", "at", "work", "#life"]


def tweets(count: int, *, seed: int = 0, words_known: int = 8) -> list[tuple[str, str]]:
    """Return made-up (text, label) pairs, a third of each label, no two texts alike."""
    rng, rows, seen = random.Random(seed), [], set()
    while len(rows) < count:
        label = list(WORDS)[len(rows) % 3]
        words = rng.choices(FILLERS, k=rng.randint(2, 9)) + rng.choices(
            WORDS[label][:words_known], k=rng.randint(2, 3)
        )
        rng.shuffle(words)
        text = " ".join(words)
        if text not in seen:
            seen.add(text)
            rows.append((text, label))
    return rows


def write_csv(path: Path, rows: list[tuple[str, str]], header: tuple[str, str] = ("text", "label")) -> Path:
    """Write (text, label) pairs as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Every test has a TWEETTUNE_HOME of its own."""
    monkeypatch.setenv("TWEETTUNE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def tiny_tweets(tmp_path_factory) -> Path:
    """Return a CSV file of 360 made-up tweets with three labels."""
    return write_csv(tmp_path_factory.mktemp("data") / "tweets.csv", tweets(360))


@pytest.fixture(scope="session")
def tiny_tokenizer(tmp_path_factory):
    """Return a real byte-level BPE tokenizer of GPT-2's class, trained on the made-up tweets."""
    trained = ByteLevelBPETokenizer()
    texts = [text for text, _ in tweets(300)] + ["Tweet: a\nSentiment: negative neutral positive"] * 20
    trained.train_from_iterator(texts, vocab_size=500, min_frequency=2, special_tokens=["<|endoftext|>"])
    folder = tmp_path_factory.mktemp("tokenizer")
    trained.save_model(str(folder))
    return GPT2Tokenizer.from_pretrained(str(folder), pad_token="<|endoftext|>")


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory, tiny_tokenizer) -> Path:
    """Return the folder of a real GPT-2 of three layers."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tiny_tokenizer),
        n_positions=256,
        n_embd=32,
        n_layer=3,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    return _save(GPT2LMHeadModel(config), tiny_tokenizer, tmp_path_factory.mktemp("bases") / "tiny-gpt2")


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory, tiny_tokenizer) -> Path:
    """Return the folder of a real Llama of three layers, with grouped-query attention."""
    torch.manual_seed(0)
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
    return _save(LlamaForCausalLM(config), tiny_tokenizer, tmp_path_factory.mktemp("bases") / "tiny-llama")


def _learn_a_little(model, tokenizer, *, steps: int) -> None:
    """Teach a language model half of the words, for a second: zero-shot beats chance, and may be beaten."""
    texts = [f"Tweet: {text}\nSentiment: {label}" for text, label in tweets(240, seed=7, words_known=4)]
    tokenizer.padding_side = "left"
    batches = [tokenizer(texts[at : at + 24], return_tensors="pt", padding=True) for at in range(0, 240, 24)]
    tokenizer.padding_side = "right"
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(steps):
        batch = batches[step % len(batches)]
        labels = batch["input_ids"].clone()
        labels[:, :-1] = -100
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def _save(model, tokenizer, folder: Path) -> Path:
    _learn_a_little(model, tokenizer, steps=90)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(params=["gpt2", "llama"])
def tiny_base(request) -> Path:
    """Return each tiny base in turn."""
    return request.getfixturevalue(f"tiny_{request.param}")


def command(module: str, *arguments: object, **options) -> subprocess.CompletedProcess:
    """Run `python -m MODULE …` to its end, as a user would."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=200,
        **options,
    )


def at_a_terminal(module: str, *arguments: object) -> bytes:
    """Run `python -m MODULE …` to its end as a person at a terminal does; return what they see."""
    ours, theirs = pty.openpty()
    watching = subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env={**os.environ, "CI": "", "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 65536):
            said += part
    except OSError:
        pass  # the other end is closed
    os.close(ours)
    assert watching.wait(timeout=60) == 0
    return said


def wait_for(condition, *, seconds: float = 120.0, every: float = 0.005):
    """Return what the condition returns as soon as it is true; fail when that takes too long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(every)
    raise AssertionError(f"it did not happen within {seconds} s")


def wait_until_ended(run: Run) -> Status:
    """Wait for the end of a run, whatever it is."""
    return wait_for(lambda: (s := run.status()).state not in ACTIVE and s, every=0.1)


@dataclass(frozen=True)
class Trained:
    """A finished run of the tests' recipe on a tiny base, and how it was started."""

    run: Run
    base: Path
    data: Path
    stdout: str = ""
    stderr: str = ""

    @property
    def artifact(self) -> Path:
        """The servable folder."""
        return self.run.artifact


LONGER = {
    "epochs": "6",
    "n_train": "200",
    "n_validation": "40",
    "learning_rate": "5e-3",
    "evals_per_epoch": "1",
}
"""Changes to `smoke` that leave time to stop a run midway, and teach the tiny bases something."""


def train_arguments(base: Path, data: Path, run_dir: Path) -> list[str]:
    """Return the command line of the tests' training."""
    changes = [word for pair in LONGER.items() for word in ("--set", "=".join(pair))]
    return ["train", "smoke", "--base", base, "--dataset", data, "--run-dir", run_dir, *changes]


@pytest.fixture(scope="session")
def trained_gpt2(tmp_path_factory, tiny_gpt2, tiny_tweets) -> Trained:
    """Return a run that the command line has trained from start to end, undisturbed."""
    folder = tmp_path_factory.mktemp("trained") / "gpt2"
    done = command("training", *train_arguments(tiny_gpt2, tiny_tweets, folder), "--json")
    assert done.returncode == 0, done.stderr
    return Trained(find_run(folder), tiny_gpt2, tiny_tweets, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def trained_llama(tmp_path_factory, tiny_llama, tiny_tweets) -> Trained:
    """Return a finished run whose command line was killed as soon as the run was at work."""
    folder = tmp_path_factory.mktemp("trained") / "llama"
    arguments = [str(word) for word in train_arguments(tiny_llama, tiny_tweets, folder)]
    parent = subprocess.Popen(
        [sys.executable, "-m", "training", *arguments], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: (folder / "recipe.toml").exists() and find_run(folder).status().pid)
    parent.send_signal(signal.SIGKILL)
    _, said = parent.communicate()
    run = find_run(folder)
    assert wait_until_ended(run).state == "finished", (folder / "log.txt").read_text()
    return Trained(run, tiny_llama, tiny_tweets, stderr=said)


@pytest.fixture(params=["gpt2", "llama"])
def trained(request) -> Trained:
    """Return each trained tiny model in turn."""
    return request.getfixturevalue(f"trained_{request.param}")
