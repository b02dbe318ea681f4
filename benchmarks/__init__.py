"""One script a claim; each writes a file in results/, from which the tables of the documents are made."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
CACHE = ROOT / ".cache"
"""For runs and measurements that a stopped benchmark goes on with."""
