"""Drive the real server under load and measure latency, throughput, errors, memory, shutdown.

    with load.server("runs/demo/artifact") as server:
        load.one_client(server, classifier, texts)      # what HTTP adds to the bare classifier
        load.many_clients(server, texts, clients=64, seconds=60)
        load.stopped(server, texts, clients=64)          # SIGTERM: is every accepted request answered?

The server is `python -m inference serve` in a process of its own; `wrk` drives it (Debian: `apt-get install
wrk`), one text a request. Generator and server share the machine's cores, so each result also holds wrk's
share of them. Every function returns a plain dict for a results file. Knows nothing about which figures are
good.
"""

import asyncio
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import psutil
from prometheus_client.parser import text_string_to_metric_families
from scipy import stats

from benchmarks import ROOT

SCRIPT = Path(__file__).with_name("wrk.lua")
READY_S = 300.0
PATIENCE_S = 60
BATCH = "tweettune_batch_seconds"
RACE_S = 0.05
"""A request sent this shortly before the signal may still lie unread in a socket that the server closes."""


@dataclass(frozen=True)
class Server:
    """A server at work."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def log_tail(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-2000:]


@contextmanager
def server(artifact: Path | str, *arguments: str) -> Iterator[Server]:
    """Run `python -m inference serve ARTIFACT …` and yield it when it is ready; stop it in the end.

    `arguments` are further models, as NAME=FOLDER, and options, in this order.
    Raises RuntimeError with the end of its log when it stops, or is not ready within five minutes.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "inference",
        "serve",
        str(artifact),
        *arguments,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        running = Server(f"http://127.0.0.1:{port}", process, log)
        try:
            _wait_until_ready(running)
            yield running
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(running: Server) -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until and running.process.poll() is None:
        try:
            with urllib.request.urlopen(f"{running.url}/readyz", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"The server did not get ready. The end of its log:\n{running.log_tail()}")


def one_client(
    running: Server, classifier: Any, texts: Sequence[str], *, rounds: int = 15, seconds: int = 2
) -> dict[str, Any]:
    """Return the p50 of one client and of the bare classifier on the same texts, in turns, in ms.

    In short turns, so that a slow minute of the machine falls on both. `added_ms` is the median over the
    rounds of the difference within a round, with the quartiles beside it.
    """
    http: list[dict[str, Any]] = []
    bare: list[float] = []
    for _ in range(rounds):
        bare.append(_bare_p50(classifier, texts, seconds))
        http.append(drive(running, texts, clients=1, seconds=seconds))
    added = [found["p50_ms"] - without for found, without in zip(http, bare, strict=True)]
    low, middle, high = quantiles(added, n=4) if rounds > 1 else added * 3
    return {
        "rounds": rounds,
        "http_p50_ms": round(median(found["p50_ms"] for found in http), 3),
        "bare_p50_ms": round(median(bare), 3),
        "added_ms": round(middle, 3),
        "added_quartiles_ms": [round(low, 3), round(high, 3)],
        "each_round": [
            {"http_p50_ms": h["p50_ms"], "bare_p50_ms": b} for h, b in zip(http, bare, strict=True)
        ],
        "not_answered_200": sum(found["not_answered_200"] for found in http),
    }


def _bare_p50(classifier: Any, texts: Sequence[str], seconds: float) -> float:
    times: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        start = time.perf_counter()
        classifier.predict([texts[len(times) % len(texts)]])
        times.append((time.perf_counter() - start) * 1000)
    return round(median(times), 3)


def many_clients(
    running: Server, texts: Sequence[str], *, clients: int = 64, seconds: int = 60, settle_s: float = 10.0
) -> dict[str, Any]:
    """Return the results of `drive`, the server's mean batch time, and its memory's slope in MB a minute.

    Memory is sampled each second. The first `settle_s` seconds, in which buffers grow to their size, are
    left out of the slope.
    """
    with memory(running.process.pid) as samples:
        count, seconds_before = batches(running)
        found = drive(running, texts, clients=clients, seconds=seconds)
    now, seconds_now = batches(running)
    batch_ms = round((seconds_now - seconds_before) / max(1, now - count) * 1000, 3)
    return {**found, "batch_ms": batch_ms, "memory": memory_slope(samples, settle_s=settle_s)}


def drive(running: Server, texts: Sequence[str], *, clients: int, seconds: int) -> dict[str, Any]:
    """Post the texts in turn over `clients` connections for `seconds`.

    Returns answers, answers by status, answers a second (of status 200), latency quantiles of all answers in
    ms, socket errors, and the cores that wrk and the server kept busy. Raises RuntimeError when wrk fails.
    """
    tree = _tree(running.process.pid)
    with tempfile.TemporaryDirectory() as folder:
        bodies = Path(folder) / "bodies.jsonl"
        bodies.write_text("".join(f"{json.dumps({'inputs': text})}\n" for text in texts), encoding="utf-8")
        server_before, wrk_before, start = _cpu_s(tree), _children_cpu_s(), time.perf_counter()
        done = subprocess.run(
            [
                wrk(),
                "-t1",
                f"-c{clients}",
                f"-d{seconds}s",
                f"--timeout={PATIENCE_S}s",
                "-s",
                str(SCRIPT),
                f"{running.url}/",
                "--",
                str(bodies),
            ],
            capture_output=True,
            text=True,
            timeout=seconds + 2 * PATIENCE_S,
            check=False,
        )
    wall_s = time.perf_counter() - start
    result = next((line[7:] for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
    if done.returncode or result is None:
        raise RuntimeError(f"wrk failed: {(done.stderr or done.stdout)[-500:]}")
    found: dict[str, Any] = json.loads(result)
    good = found["by_status"].get("200", 0)
    return {
        "clients": clients,
        **found,
        "not_answered_200": found["answers"] - good + sum(found["socket_errors"].values()),
        "per_second": round(good / found["seconds"], 2),
        "wrk_cores": round((_children_cpu_s() - wrk_before) / wall_s, 3),
        "server_cores": round((_cpu_s(tree) - server_before) / wall_s, 3),
    }


def wrk() -> str:
    """Return where wrk is. Raises SystemExit, with what to do, when it is not installed."""
    if path := shutil.which("wrk"):
        return path
    raise SystemExit("The load benchmark needs wrk, and it is not installed. Run: make wrk")


def batches(running: Server) -> tuple[float, float]:
    """Return how many batches the server has computed since it began, and their seconds, by its /metrics."""
    with urllib.request.urlopen(f"{running.url}/metrics", timeout=PATIENCE_S) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    total: Counter[str] = Counter()
    for sample in (sample for family in families for sample in family.samples):
        total[sample.name] += sample.value
    return float(total[f"{BATCH}_count"]), float(total[f"{BATCH}_sum"])


def _tree(pid: int) -> list[psutil.Process]:
    """Return the server's processes: its workers are children of the one that was started."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def _cpu_s(processes: Sequence[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return float(sum(each.user + each.system for each in times))


def _children_cpu_s() -> float:
    """Return the CPU seconds of this process's ended children; the server, still at work, is not one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def memory(pid: int) -> Iterator[list[tuple[float, float]]]:
    """Yield a list that gets a (second, MB) of the memory of a process and its children each second."""
    samples: list[tuple[float, float]] = []
    over, tree, start = threading.Event(), _tree(pid), time.monotonic()

    def sample() -> None:
        with suppress(psutil.NoSuchProcess):
            while not over.wait(1.0):
                rss_mb = sum(process.memory_info().rss for process in tree) / 2**20
                samples.append((time.monotonic() - start, rss_mb))

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield samples
    finally:
        over.set()
        sampler.join()


def memory_slope(samples: Sequence[tuple[float, float]], *, settle_s: float = 10.0) -> dict[str, Any]:
    """Return the slope of (second, MB) samples by least squares, in MB a minute, with its 95 % interval.

    The interval takes the samples as independent. Memory is not, so it is on the narrow side.
    """
    kept = [(at, size) for at, size in samples if at >= settle_s]
    content: dict[str, Any] = {
        "samples": len(kept),
        "settle_s": settle_s,
        "first_mb": round(kept[0][1], 1) if kept else None,
        "last_mb": round(kept[-1][1], 1) if kept else None,
        "highest_mb": round(max(size for _, size in samples), 1) if samples else None,
        "mb_per_min": None,
    }
    if len(kept) < 3:
        return content
    line = stats.linregress([at / 60 for at, _ in kept], [size for _, size in kept])
    half = float(stats.t.ppf(0.975, len(kept) - 2) * line.stderr)
    slope = {"value": float(line.slope), "low": float(line.slope) - half, "high": float(line.slope) + half}
    return {**content, "mb_per_min": {key: round(value, 3) for key, value in slope.items()}}


@dataclass
class _Sent:
    """The requests of the clients in `stopped`, by outcome."""

    answered: Counter[str] = field(default_factory=Counter)
    unanswered_at: list[float] = field(default_factory=list)
    """When each request without a full answer was sent in full."""
    refused: int = 0
    """Connections that the server refused."""


def stopped(
    running: Server, texts: Sequence[str], *, clients: int = 64, seconds: float = 3.0
) -> dict[str, Any]:
    """Send SIGTERM to the server under load; return the outcome of every request and of the server.

    `lost` counts requests that were sent in full at least 50 ms before the signal and not answered in full:
    0 is the promise. `raced` counts unanswered ones of the last 50 ms and after: they reached a socket
    that the server was closing, and a client may safely repeat them.
    """
    sent, signalled_at = asyncio.run(_clients_until_stopped(running, texts, clients, seconds))
    try:
        status: int | None = running.process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        status = None
    lost = sum(at < signalled_at - RACE_S for at in sent.unanswered_at)
    return {
        "clients": clients,
        "by_status": dict(sorted(sent.answered.items())),
        "answered": sent.answered.total(),
        "lost": lost,
        "raced": len(sent.unanswered_at) - lost,
        "refused": sent.refused,
        "exit_status": status,
        "seconds_to_exit": round(time.monotonic() - signalled_at, 2),
    }


async def _clients_until_stopped(
    running: Server, texts: Sequence[str], clients: int, seconds: float
) -> tuple[_Sent, float]:
    sent, over = _Sent(), asyncio.Event()
    tasks = [
        asyncio.create_task(_client(running.port, texts[number % len(texts)], sent, over))
        for number in range(clients)
    ]
    await asyncio.sleep(seconds)
    signalled_at = time.monotonic()
    os.kill(running.process.pid, signal.SIGTERM)
    over.set()
    await asyncio.wait_for(asyncio.gather(*tasks), 2 * PATIENCE_S)
    return sent, signalled_at


async def _client(port: int, text: str, sent: _Sent, over: asyncio.Event) -> None:
    """Ask again and again on one connection; once the server is stopping, until it refuses."""
    body = json.dumps({"inputs": text}).encode()
    head = (
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            sent.refused += 1
            return
        try:
            while True:
                writer.write(head + body)
                at = time.monotonic()
                status, close = await asyncio.wait_for(_answer(reader), PATIENCE_S)
                sent.answered[status] += 1
                if close:
                    break
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            sent.unanswered_at.append(at)
        finally:
            writer.close()
        if over.is_set():
            return


async def _answer(reader: asyncio.StreamReader) -> tuple[str, bool]:
    """Read one answer in full. Returns its status and whether the server closes the connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    lines = head.split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
    await reader.readexactly(int(headers.get("content-length", 0)))
    return lines[0].split()[1], headers.get("connection") == "close"
