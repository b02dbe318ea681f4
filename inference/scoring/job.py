"""What is to be scored, with what, and how; and all that can be wrong with that before a model is loaded.

    job = Job(Path("posts.csv"), Path("scored.csv"), model="runs/demo/artifact")
    source = open_input(job)

Knows nothing about models.
"""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from inference.scoring.parts import check_out
from inference.tables.errors import ScoringError
from inference.tables.formats import check_format, open_source
from inference.tables.source import CHUNK_CHARACTERS, CHUNK_ROWS, Source, kind_of, readable

RAY = "ray"
HEAD_BYTES = 1_048_576
MODEL_FILES = ("config.json", "tokenizer.json", "*.safetensors", "onnx/packed*", "onnx/parity.json")


@dataclass(frozen=True)
class Job:
    """A file to score."""

    input: Path
    output: Path
    model: str
    engine: str = "auto"
    """auto, torch or onnx: computed here; ray: on a cluster."""
    workers: int | None = None
    """Ray's workers, one model each; None: as many as the cluster has CPUs."""
    text_column: str = ""
    """Empty: found by its name."""
    key: str = ""
    """The one input column that the output keeps; empty: all of them."""
    probabilities: bool = False
    overwrite: bool = False


def open_input(job: Job) -> Source:
    """Look at the input of a job. Raises ScoringError when it, or another part of the job, can't be used."""
    for path in (job.input, job.output):
        check_format(path)
    check_out(job.output, overwrite=job.overwrite)
    if job.workers is not None and job.engine != RAY:
        raise ScoringError(
            f"--workers is for Ray, and the engine is {job.engine}; give --engine ray as well."
        )
    source = open_source(job.input, text_column=job.text_column, key=job.key)
    if job.output.exists() and job.output.samefile(job.input):
        raise ScoringError(f"{job.output} is the input itself; give another --output.")
    return source


def made_from(job: Job, source: Source, *, engine: str, folder: Path | None) -> dict[str, Any]:
    """Return what an output depends on: parts made from anything else must not be mixed with it.

    `folder`: where the model lies; of one from the Hub the commit that was fetched.
    """
    with readable(job.input), job.input.open("rb") as file:
        head = sha256(file.read(HEAD_BYTES)).hexdigest()
        told = job.input.stat()
    return {
        "input": {"bytes": told.st_size, "modified_ns": told.st_mtime_ns, "sha256_of_first_mib": head},
        "model": _weights(folder) if folder else job.model,
        "engine": engine,
        "options": {
            "text_column": source.text_column,
            "key": job.key,
            "probabilities": job.probabilities,
            "format": kind_of(job.output),
            "chunk": [CHUNK_ROWS, CHUNK_CHARACTERS],
        },
    }


def _weights(folder: Path) -> dict[str, list[int]]:
    """Return sizes in bytes and times in ns of a model's files."""
    files = sorted(path for pattern in MODEL_FILES for path in folder.glob(pattern))
    return {str(path.relative_to(folder)): [path.stat().st_size, path.stat().st_mtime_ns] for path in files}
