"""How soon is the app there? Seconds from `python app.py` to its first page, and what importing costs.

python -m benchmarks startup
"""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from statistics import median

from benchmarks import results

TIMES = 5
LIMIT_S = 60


def main(dataset: str) -> None:
    """Measure, and write results/startup.json."""
    pages = [_first_page() for _ in range(TIMES)]
    imports = [_import("inference.classifier") for _ in range(TIMES)]
    results.write(
        "startup",
        rows=[
            {
                "name": "first page of the app",
                "n": TIMES,
                "seconds": median(pages),
                "worst_seconds": max(pages),
            },
            {
                "name": "import inference.classifier",
                "n": TIMES,
                "seconds": median(imports),
                "worst_seconds": max(imports),
            },
        ],
    )


def _first_page() -> float:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.perf_counter()
    app = subprocess.Popen(
        [sys.executable, "app.py"],
        env={**os.environ, "GRADIO_SERVER_PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while time.perf_counter() - started < LIMIT_S:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
                    if b"gradio" in page.read():
                        return round(time.perf_counter() - started, 2)
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05)
        raise SystemExit(f"The app had no page after {LIMIT_S} s.")
    finally:
        app.terminate()
        app.wait()


def _import(module: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    return round(time.perf_counter() - started, 2)
