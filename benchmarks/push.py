"""What does a push cost beyond the transfer? A 500 MB model to a Hub on loopback, verification included.

    python -m benchmarks push

The Hub is the tests' own (tests/servers/hub.py), in this process; the push is `python -m training push` in
another. The bare transfer is one PUT and one GET of as many bytes through the same server by a client that
does nothing else: a push sends them once, and the verification gets them once. The cost is all the rest, from
the start of Python to the stamped card.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import httpx2
from safetensors.torch import load_file, save_file

from benchmarks import ROOT, results
from benchmarks.serving import DEMO, gpt2_shape
from training.publish.files import Outgoing

TOKEN = "hf_" + "bench" * 7
ROUNDS = 3
GOAL_S = 30.0
LAYERS = 12
LARGE = 10_000_000


def main(dataset: str, *, layers: int = LAYERS, rounds: int = ROUNDS) -> None:
    """Measure, and write results/push.json. `layers`: of a network of GPT-2's width; 12 make 498 MB."""
    sys.path.insert(0, str(ROOT / "tests"))
    from tests.servers.hub import LocalHub  # noqa: PLC0415  (the tests' server; only here)

    with tempfile.TemporaryDirectory() as folder:
        artifact = _artifact(Path(folder) / "artifact", layers)
        size = sum(path.stat().st_size for path in artifact.rglob("*") if path.is_file())
        found = []
        for number in range(rounds):
            with LocalHub() as hub:
                hub.lfs_over = LARGE
                hub.add_user("ada", token=TOKEN)
                found.append(_round(hub, artifact, Path(folder)))
            print(f"round {number + 1}: {json.dumps(found[-1])}", flush=True)
        rows = _rows(found)
        if layers == LAYERS:
            results.write("push", size_mb=round(size / 1e6), rounds=rounds, goal_s=GOAL_S, rows=rows)
        else:
            print(json.dumps({"size_mb": round(size / 1e6), "rows": rows}, indent=1))


def _artifact(folder: Path, layers: int) -> Path:
    """Return an artifact of GPT-2's width with the demo's records."""
    gpt2_shape(folder, layers=layers)
    for name in ("evaluation.json", "provenance.json"):
        (folder / name).write_bytes((DEMO / name).read_bytes())
    return folder


def _round(hub: Any, artifact: Path, folder: Path) -> dict[str, float]:
    """Return seconds: the whole push, again with nothing changed, and the bare transfer both ways."""
    whole_s, pushed = _push(hub, artifact)
    again_s, again = _push(hub, artifact)
    if not pushed["changed"] or again["changed"]:
        raise SystemExit("The first push has to change something, and the second nothing.")
    up_s, down_s = _bare(hub, artifact / "model.safetensors", folder)
    return {
        "push_s": whole_s,
        "upload_s": up_s,
        "download_s": down_s,
        "beyond_s": round(whole_s - up_s - down_s, 2),
        "again_s": again_s,
        "verification_s": pushed["verified"]["seconds"],
    }


def _push(hub: Any, artifact: Path) -> tuple[float, dict[str, Any]]:
    command = [sys.executable, "-m", "training", "push", str(artifact), "ada/benchmark", "--yes", "--json"]
    started = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **hub.environment(TOKEN)},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = round(time.perf_counter() - started, 2)
    if done.returncode:
        raise SystemExit(f"The push failed: {done.stderr}")
    return seconds, json.loads(done.stdout)


def _bare(hub: Any, weights: Path, folder: Path) -> tuple[float, float]:
    """Return the seconds of one PUT and of one GET of as many bytes, through the same storage."""
    other = folder / "other.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(weights).items()}, other)  # not there yet
    file = Outgoing.of("model.safetensors", other)
    payload = {
        "operation": "upload",
        "transfers": ["basic"],
        "hash_algo": "sha256",
        "objects": [{"oid": file.sha256, "size": file.size}],
    }
    hub.part_size = None
    with httpx2.Client(timeout=600.0) as client:
        batch = client.post(
            f"{hub.endpoint}/ada/benchmark.git/info/lfs/objects/batch",
            json=payload,
            headers={"authorization": f"Bearer {TOKEN}"},
        )
        address = batch.json()["objects"][0]["actions"]["upload"]["href"]
        started = time.perf_counter()
        with other.open("rb") as content:
            client.put(
                address, content=content, headers={"content-length": str(file.size)}
            ).raise_for_status()
        up_s = time.perf_counter() - started
        started = time.perf_counter()
        with client.stream("GET", hub.large.download_url(file.sha256)) as answer, other.open("wb") as target:
            for piece in answer.iter_bytes():
                target.write(piece)
        down_s = time.perf_counter() - started
    return round(up_s, 2), round(down_s, 2)


def _rows(found: list[dict[str, float]]) -> list[dict[str, Any]]:
    names = {
        "push_s": "the whole push, verified and stamped",
        "upload_s": "bare upload",
        "download_s": "bare download",
        "beyond_s": "beyond the transfer",
        "verification_s": "of which verification, download included",
        "again_s": "pushed again, nothing changed",
    }
    return [
        {
            "name": name,
            "seconds": round(median(one[key] for one in found), 1),
            "worst_seconds": round(max(one[key] for one in found), 1),
        }
        for key, name in names.items()
    ]
