"""A scoring job: input, output, model and options, checked before a model is loaded.

    job = ScoringJob(Path("posts.csv"), Path("scored.csv"), model="runs/demo/artifact")
    table = open_input(job)

TweetTuneError
├── DataError       the input can't be read
└── ScoringError    the output can't be written, the job makes no sense, or the cluster failed
"""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from inference.common.errors import TweetTuneError
from inference.selective import check_asked
from inference.tables.formats import check_format, is_saved, open_texts
from inference.tables.parquet import arrow_files
from inference.tables.rows import CHUNK_CHARACTERS, CHUNK_ROWS, TextTable, kind_of, reading

RAY = "ray"
HEAD_BYTES = 1_048_576
MODEL_FILES = (
    *("config.json", "tokenizer.json", "*.safetensors", "onnx/packed*", "onnx/parity.json"),
    *("rung.json", "learnt.npz", "index.sqlite", "network/*.safetensors"),
)
READER = 3
"""Counts up when the same file is read as other rows: parts of both must not be mixed."""


class ScoringError(TweetTuneError):
    """The output can't be written, the job makes no sense, or the cluster failed."""


@dataclass(frozen=True)
class ScoringJob:
    """A file to score."""

    input: Path
    output: Path
    model: str
    engine: str = "auto"
    """One of `inference.engine`: computed here; ray: on a cluster."""
    workers: int | None = None
    """Ray's workers, one model each; None: as many as the cluster has CPUs."""
    text_column: str = ""
    """Empty: found by its name."""
    key: str = ""
    """The one input column that the output keeps; empty: all of them."""
    probabilities: bool = False
    precision: float | None = None
    """The required share of right answers: the column `sure` says whether an answer is sure enough."""
    abstain_below: float | None = None
    """The same, by the confidence below which an answer is not sure."""
    out_of_scope: bool = False
    """Whether a column says which texts are unlike those of the training."""
    overwrite: bool = False


def open_input(job: ScoringJob) -> TextTable:
    """Look at the input of a job. Raises DataError, or ScoringError or PredictionError for another part."""
    for path in (job.input, job.output):
        if str(path) == "-":
            raise ScoringError("Standard input and output can't be resumed; give the names of files.")
        if path == job.output or not is_saved(path):
            check_format(path, write=path == job.output)
    if job.output.is_dir():
        raise ScoringError(f"{job.output} is a folder; give the name of a file to write.")
    if job.output.exists() and not job.overwrite:
        raise ScoringError(
            f"{job.output} is there already; give another --output, or --overwrite to replace it."
        )
    check_asked(precision=job.precision, abstain_below=job.abstain_below)
    if job.workers is not None and job.engine != RAY:
        raise ScoringError(
            f"--workers is for Ray, and the engine is {job.engine}; give --engine ray as well."
        )
    table = open_texts(job.input, text_column=job.text_column, key=job.key)
    if job.output.exists() and job.output.samefile(job.input):
        raise ScoringError(f"{job.output} is the input itself; give another --output.")
    return table


def made_from(
    job: ScoringJob,
    table: TextTable,
    *,
    engine: str,
    folder: Path | None,
    abstain_below: float | None = None,
    out_of_scope_above: float | None = None,
) -> dict[str, object]:
    """Return what an output depends on: parts made from anything else must not be mixed with it.

    `folder`: where the model lies; of one from the Hub the commit that was fetched.
    """
    files = arrow_files(job.input)
    with reading(job.input), files[0].open("rb") as file:
        head = sha256(file.read(HEAD_BYTES)).hexdigest()
        stats_read = [found.stat() for found in files]
    model: object = job.model
    if folder:
        files = sorted(path for pattern in MODEL_FILES for path in folder.glob(pattern))
        stats = {str(path.relative_to(folder)): path.stat() for path in files}
        model = {name: [found.st_size, found.st_mtime_ns] for name, found in stats.items()}
    return {
        "input": {
            "bytes": sum(stat.st_size for stat in stats_read),
            "modified_ns": max(stat.st_mtime_ns for stat in stats_read),
            "sha256_of_first_mib": head,
        },
        "model": model,
        "engine": engine,
        "options": {
            "text_column": table.text_column,
            "key": job.key,
            "probabilities": job.probabilities,
            "format": kind_of(job.output),
            "chunk": [CHUNK_ROWS, CHUNK_CHARACTERS],
            "reader": READER,
            **({} if abstain_below is None else {"abstain_below": abstain_below}),
            **({} if out_of_scope_above is None else {"out_of_scope_above": out_of_scope_above}),
        },
    }
