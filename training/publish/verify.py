"""Does a pushed model answer, downloaded again by its commit, as it did here?

    with Verifier(artifact, HfApi()) as verifier:      # two processes warm up
        ...upload and commit...
        verified = verifier.verify("ada/tweets", commit, adapter_only=False)

A new process with an empty cache loads the repository with plain `pipeline` and answers the 32 probes; label
names, labels and probabilities must be those of the artifact, loaded by a process of the same kind; onnx/,
where there is one, is asked too, by TweetTune's classifier.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi

from inference.artifact import ONNX_FOLDER, PARITY
from inference.common.hub import (
    HubBusy,
    HubError,
    HubSilent,
    NotAllowedOnHub,
    NotLoggedIn,
    NotOnHub,
    token_of,
)
from inference.common.store import JsonObject
from training.publish.errors import VerificationFailed

TOLERANCE = 1e-4
TOLERANCE_ADAPTER = 1e-3
"""An adapter beside its base rounds differently from the merged weights."""
ONNX_LEAST = 30
"""Labels of the 32 that onnx/ has to share with the weights: where its gate's 99 % hold, three others are
as good as never seen (0.4 %)."""
LONGEST_S = 1800.0
_ON_THE_WAY: tuple[type[HubError], ...] = (HubBusy, HubSilent, NotAllowedOnHub, NotLoggedIn, NotOnHub)
"""Errors that say nothing about the model."""
_ALONE = {"TOKENIZERS_PARALLELISM": "false", "OMP_WAIT_POLICY": "PASSIVE"}
"""For two processes on few cores: threads that spin while they wait made each three times slower."""
PROBES: tuple[str, ...] = (
    "what a day",
    "I could not be happier with how this turned out!",
    "the lift is out of order for the third week in a row",
    "The meeting has been moved to Thursday at ten.",
    "not bad, not bad at all",
    "well, that was a waste of an evening",
    "ok",
    "",
    "   ",
    "?!",
    "READ THE SIGN BEFORE YOU PARK HERE",
    "thank you thank you thank you",
    "see https://example.com/a/long/address?with=values for the timetable",
    "@somebody have you seen this? #monday #rain",
    "😀 😡 😐",
    "moved house today 📦📦📦 everything hurts 😭 and I love it 🎉",
    "it`s the little things, isn`t it",
    "\"quoted\", 'quoted', “quoted”, «quoted»",
    "first line\nsecond line\n\nlast line",
    "tabs\tand  double  spaces",
    "100 % sure, 3.5 km, 1,000 people, £20, -4 °C",
    "soooooo goooooood",
    "the food was lovely but we waited two hours for it",
    "nobody asked for this update and nobody needs it",
    "o dia está lindo e eu não tenho do que reclamar",
    "quel dommage, le concert est annulé",
    "das ist weder gut noch schlecht",
    "今日はとても良い一日でした",
    "هذا أسوأ يوم في الأسبوع",
    "это было неплохо",
    "Tweet: what a day\nSentiment: positive",
    "one sentence that goes on " + "and on and on " * 60 + "until it ends",
)
"""Our own sentences: none is anybody's post, none comes from a data set. They try what breaks between two
places: length, emptiness, links, emoji, scripts, quotes, white space; the last but one tries the prompt's own
words, the last one truncation. They are stored in the repository with the probabilities."""
_CODE = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True, kw_only=True)
class Verified:
    """The result of a verification."""

    commit: str
    """The commit that was downloaded."""
    n_texts: int
    largest_difference: float
    """Over all probabilities of all texts, between this machine and the Hub."""
    seconds: float
    """From the commit to the comparison: download, loading, answers."""
    date: str
    """Day of the verification, UTC, as 2026-11-23."""
    onnx_equal: int | None = None
    """Texts to which onnx/ gives the label of the weights, None without one."""


@dataclass(frozen=True)
class Answers:
    """A model's answers to the probes."""

    labels: tuple[str, ...]
    probabilities: tuple[tuple[float, ...], ...]
    onnx_equal: int | None = None


class Verifier:
    """Two processes that load the libraries while the upload is under way."""

    def __init__(self, artifact: Path, api: HfApi, *, timeout_s: float = 60.0) -> None:
        self.artifact, self.timeout_s = artifact, timeout_s
        self._token = token_of(api, "verify a push")
        online = {
            "HF_ENDPOINT": str(api.endpoint),
            "HF_HUB_OFFLINE": "0",
            "TRANSFORMERS_OFFLINE": "0",
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_ETAG_TIMEOUT": str(max(int(timeout_s), 1)),
            "HF_HUB_DOWNLOAD_TIMEOUT": str(max(int(timeout_s), 1)),
        }
        self._here = _Child({"HF_HUB_OFFLINE": "1"})
        self._there = _Child(online)
        self._here.order({"model": str(artifact.absolute()), "revision": None, "adapter": False})

    def __enter__(self) -> "Verifier":
        return self

    def __exit__(self, *error: object) -> None:
        self._here.end()
        self._there.end()

    def verify(self, repo_id: str, commit: str, *, adapter_only: bool) -> tuple[Verified, Answers]:
        """Compare. Raises VerificationFailed with what differs, HubSilent or HubBusy."""
        start = time.perf_counter()
        self._there.order(
            {
                "model": repo_id,
                "revision": commit,
                "adapter": adapter_only,
                "timeout_s": self.timeout_s,
                "token": self._token,
                "onnx": not adapter_only and (self.artifact / ONNX_FOLDER / PARITY).is_file(),
            }
        )
        there = self._there.answer(f"{repo_id} at commit {commit[:7]}")
        here = self._here.answer(str(self.artifact.name))
        tolerance = TOLERANCE_ADAPTER if adapter_only else TOLERANCE
        difference = compare(here, there, where=f"{repo_id} at commit {commit[:7]}", tolerance=tolerance)
        verified = Verified(
            commit=commit,
            n_texts=len(PROBES),
            largest_difference=difference,
            seconds=round(time.perf_counter() - start, 1),
            date=time.strftime("%Y-%m-%d", time.gmtime()),
            onnx_equal=there.onnx_equal,
        )
        return verified, there


def compare(here: Answers, there: Answers, *, where: str, tolerance: float) -> float:
    """Return the largest difference of a probability. Raises VerificationFailed when they are not alike."""
    again = "The model is not verified. Train or export it again, then push again."
    if here.labels != there.labels:
        raise VerificationFailed(
            f"{where} names its labels {', '.join(there.labels)}, but they are {', '.join(here.labels)}. "
            f"{again}"
        )
    differences = [
        max(abs(a - b) for a, b in zip(mine, theirs, strict=True))
        for mine, theirs in zip(here.probabilities, there.probabilities, strict=True)
    ]
    place = max(range(len(differences)), key=differences.__getitem__)
    if not differences[place] <= tolerance:
        raise VerificationFailed(
            f"{where} answers otherwise than the model that was pushed: a probability of "
            f"{PROBES[place][:40]!r} is off by {differences[place]:.4f} (allowed: {tolerance:g}). {again}"
        )
    if there.onnx_equal is not None and there.onnx_equal < ONNX_LEAST:
        raise VerificationFailed(
            f"{where} answers otherwise by its onnx/ than by its weights: {there.onnx_equal} of "
            f"{len(PROBES)} labels are the same (at least: {ONNX_LEAST}). Export it again, then push again."
        )
    return differences[place]


class _Child:
    """A process of `answers`. Nothing of its order is seen in a list of processes, or in its environment."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_CODE), kept.get("PYTHONPATH")]))
        for name in ("HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE", "HUGGING_FACE_HUB_TOKEN"):
            kept.pop(name, None)
        self._work_folder = tempfile.mkdtemp(prefix="tweettune-verify-")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the process)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "training.publish.answers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,  # it ends when its input does, and removes its cache: no signal is needed
            env={**kept, **_ALONE, "HF_HOME": self._work_folder, **environment},
        )
        self._said = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        self._said = self._process.stdout.read()

    def order(self, order: JsonObject) -> None:
        """Send it the model to load; a process that has died is noticed by `answer`."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({**order, "texts": PROBES}) + "\n")
            self._process.stdin.flush()

    def answer(self, what: str) -> Answers:
        """Wait for its answer. Raises what went wrong there."""
        self._reader.join(LONGEST_S)
        if self._reader.is_alive():
            why = f"it took more than {LONGEST_S / 60:.0f} minutes"
            raise HubSilent(f"load {what}", why, "Push again later")
        lines = [line for line in self._said.splitlines() if line.startswith("{")]
        if not lines:
            raise VerificationFailed(f"{what} could not be loaded ({self._last_error()}). Push it again.")
        return _answers(json.loads(lines[-1]), what)

    def _last_error(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:200] if lines else f"its process ended with {self._process.poll()}"

    def end(self) -> None:
        """End it, whatever it is doing. Closing its input makes it remove its cache and go."""
        with contextlib.suppress(BrokenPipeError):
            assert self._process.stdin
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(5)
        assert self._process.stdout
        self._process.stdout.close()
        self._errors.close()
        shutil.rmtree(self._work_folder, ignore_errors=True)


def _answers(said: JsonObject, what: str) -> Answers:
    if "error" in said:
        kinds = {kind.__name__: kind for kind in _ON_THE_WAY}
        if kind := kinds.get(str(said["error"])):
            raise kind(f"load {what}", str(said["why"]), str(said["todo"]))
        raise VerificationFailed(f"{what} could not be loaded ({said['why']}). Push it again.")
    rows: Sequence[Sequence[float]] = said["probabilities"]
    return Answers(tuple(said["labels"]), tuple(tuple(row) for row in rows), said.get("onnx_equal"))
