"""A training in two processes is the training of one: `accelerate launch`, gloo, a shared batch."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from tests.support import REPOSITORY, command, train_arguments, wait_for
from tests.support.served import free_port
from training.runs.process import cancel
from training.runs.run import find_run

pytestmark = [pytest.mark.usefixtures("warm_starts"), pytest.mark.slow]

# Without what each process draws for itself (noise; a Llama has no dropout), and with full batches.
PLAIN = ["--set", "state_noise=0", "--set", "n_train=192", "--set", "batch_size=16"]


def launched(*words) -> list[str]:
    """Return the command line of a command in two processes."""
    places = ["--num_machines", "1", "--main_process_port", str(free_port())]
    usual = ["--mixed_precision", "no", "--dynamo_backend", "no", "--num_processes", "2"]
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", *places, *usual]
    return [*launcher, "-m", "training", *map(str, words)]


def start(*words) -> subprocess.Popen:
    return subprocess.Popen(
        launched(*words), cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def ended(process: subprocess.Popen) -> str:
    out, _ = process.communicate(timeout=240)
    return out


def weights(run) -> dict[str, torch.Tensor]:
    return load_file(run.artifact / "model.safetensors")


def curve(run) -> dict[int, float]:
    return {event["step"]: event["loss"] for event in run.events("validation")}


@pytest.fixture(scope="module")
def alone(tiny_llama, tiny_tweets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    done = command("training", *train_arguments(tiny_llama, tiny_tweets, folder), *PLAIN)
    assert done.returncode == 0, done.stderr
    return find_run(folder)


def test_two_processes_train_as_one_does(alone, tiny_llama, tiny_tweets, tmp_path, home):
    folder = tmp_path / "run"
    process = start(*train_arguments(tiny_llama, tiny_tweets, folder), *PLAIN, "--json")
    said = ended(process)
    assert process.returncode == 0, said
    run = find_run(folder)
    assert curve(run) == pytest.approx(curve(alone), rel=1e-3)
    together, single = weights(run), weights(alone)
    base = load_file(tiny_llama / "model.safetensors")
    for name, tensor in single.items():
        assert torch.allclose(together[name], tensor, atol=1e-5), name
    assert any(not torch.equal(tensor, base[name]) for name, tensor in single.items() if name in base)
    record = json.loads((run.artifact / "provenance.json").read_text())
    assert record["processes"] == 2 and len(list(run.events("result"))) == 1
    assert len(list(run.events("data"))) == 1, "one of them writes"
    assert [path.name for path in tmp_path.iterdir() if path.is_dir() and path.name != "home"] == ["run"]
    assert not (home / "runs").exists()


def test_cancelled_and_launched_again_it_ends_with_the_same_weights(alone, tiny_llama, tiny_tweets, tmp_path):
    folder = tmp_path / "run"
    words = [*train_arguments(tiny_llama, tiny_tweets, folder), *PLAIN]
    process = start(*words)
    wait_for(lambda: (folder / "recipe.toml").exists() and list(find_run(folder).events("validation")))
    cancel(find_run(folder))
    said = ended(process)
    assert process.returncode != 0
    assert find_run(folder).status().state == "cancelled", said
    process = start(*words, "--reuse")
    said = ended(process)
    assert process.returncode == 0, said
    for name, tensor in weights(alone).items():
        assert torch.allclose(weights(find_run(folder))[name], tensor, atol=1e-5), name
    process = start(*words, "--reuse")  # it is finished: nobody waits for anything
    assert ended(process) and process.returncode == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("train", "smoke", "--set", "batch_size=15"), "batch_size is 15, and 2 processes share each batch."),
        (("ladder", "--rungs", "majority"), "Only a training works in several processes."),
    ],
)
def test_what_can_not_be_shared_is_refused(words, sentence, tiny_llama, tiny_tweets):
    process = start(*words, "--base", tiny_llama, "--dataset", tiny_tweets)
    assert sentence in ended(process)
    assert process.returncode != 0


def test_without_a_launcher_it_says_so(tiny_llama, tiny_tweets, home):
    done = command(
        *("training", "train", "smoke", "--base", tiny_llama, "--dataset", tiny_tweets),
        env={**os.environ, "WORLD_SIZE": "2"},
    )
    assert done.returncode == 1
    assert "WORLD_SIZE is 2, but no launcher answers." in done.stderr
    assert not home.exists(), "no run was made"
