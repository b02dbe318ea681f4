"""Classify on a Ray cluster: the same chunks as here, spread over workers that hold a model each.

    for chunk, predictions in classify_on_ray(chunks, path=…, model=…, labels=…, workers=2, …):

Without RAY_ADDRESS a cluster is started on this machine for the time of the job. A reading task, on this
machine, streams the texts of each chunk to Ray Data; the workers answer with probabilities; and this process
puts them beside the rows, which it reads itself, so that only texts and probabilities travel. Ray restarts a
worker that dies and repeats its unfinished work.
"""

import logging
import os
import socket
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from itertools import islice, zip_longest
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reads these when it is imported
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")

import numpy as np
import pyarrow as pa
import ray
import ray.data
from numpy.typing import NDArray

from inference.baselines.model import load_model
from inference.classifier import Prediction
from inference.common.errors import TweetTuneError
from inference.common.text import whole
from inference.scoring.job import ScoringError
from inference.tables.formats import open_texts
from inference.tables.rows import TextChunk

CONNECT_TIMEOUT_S = 5.0
OBJECT_STORE_BYTES = 500_000_000  # of a cluster on this machine: it holds a few chunks of texts


class Worker:
    """A process with a model, started once and given chunk after chunk."""

    def __init__(self, model: str, engine: str) -> None:
        self.classifier = load_model(model, engine=engine)

    def __call__(self, chunk: pa.Table) -> pa.Table:
        """Return a chunk's number, and of its texts the probabilities, cuts and shares of unknown tokens."""
        found = self.classifier.predict(chunk["texts"][0].as_py())
        return pa.table(
            {
                "chunk": chunk["chunk"],
                "probabilities": pa.array([[list(p.probabilities) for p in found]], _PROBABILITIES),
                "truncated": pa.array([[p.truncated for p in found]], pa.list_(pa.bool_())),
                "unknown": pa.array([[p.unknown_share for p in found]], pa.list_(pa.float64())),
            }
        )


_PROBABILITIES = pa.list_(pa.list_(pa.float64()))


def classify_on_ray(
    chunks: Iterator[TextChunk],
    *,
    path: Path,
    text_column: str,
    model: str,
    engine: str,
    labels: Sequence[str],
    workers: int | None,
    done: int,
) -> Generator[tuple[TextChunk, list[Prediction | None]], None, None]:
    """Yield each chunk with its predictions, None for a bad row; `chunks` begin behind the first `done`.

    Raises ScoringError when the cluster can't be reached, or the workers fail otherwise than by their death.
    """
    place = str(Path(model).resolve()) if Path(model).exists() else model
    with _cluster(workers) as cpus:
        texts = _texts(path.resolve(), text_column, done)
        answers = texts.map_batches(
            Worker,
            fn_constructor_args=(place, engine),
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=workers or cpus),
            num_cpus=1,
        )
        found = answers.iter_batches(batch_size=1, batch_format="pyarrow")
        for number, (chunk, answer) in enumerate(zip_longest(chunks, found), done):
            if not (chunk and answer and _answers(answer, number, chunk)):
                raise ScoringError(
                    f"Ray's answers don't fit the rows of {path} from chunk {number} on: it changed "
                    "meanwhile. Run the command again, with --overwrite."
                )
            yield chunk, chunk.aligned(_predictions(answer, labels))


def _texts(path: Path, text_column: str, done: int) -> ray.data.Dataset:
    """Return a Ray data set with a row for each chunk: its number and the texts of its good rows."""
    here = ray.get_runtime_context().get_node_id()
    return ray.data.from_items([str(path)]).map_batches(
        _read,
        fn_kwargs={"text_column": text_column, "done": done},
        batch_size=None,
        num_cpus=0,  # other than the workers', so that Ray doesn't read within a worker
        label_selector={"ray.io/node-id": here},
    )


def _read(paths: dict[str, NDArray[np.generic]], *, text_column: str, done: int) -> Iterator[pa.Table]:
    table = open_texts(Path(str(paths["item"][0])), text_column=text_column)
    for number, chunk in enumerate(islice(table.chunks(), done, None), done):
        # Arrow holds no lone surrogates; the classifier would make the same of them.
        texts = [whole(text) for text in chunk.good_texts]
        yield pa.table({"chunk": [number], "texts": pa.array([texts], pa.list_(pa.large_string()))})


def _answers(answer: pa.Table, number: int, chunk: TextChunk) -> bool:
    """Whether this is the answer to a chunk: neither lost, nor doubled, nor out of turn."""
    of_chunk, count = answer["chunk"][0].as_py(), len(answer["probabilities"][0])
    return bool(of_chunk == number and count == len(chunk.good_texts))


def _predictions(answer: pa.Table, labels: Sequence[str]) -> Iterator[Prediction]:
    columns = [answer[name][0].as_py() for name in ("probabilities", "truncated", "unknown")]
    for probabilities, truncated, unknown in zip(*columns, strict=True):
        best = max(range(len(labels)), key=probabilities.__getitem__)
        yield Prediction(labels[best], tuple(probabilities), truncated, unknown_share=unknown)


@contextmanager
def _cluster(workers: int | None) -> Iterator[int]:
    """Within it there is a cluster, with the CPUs given, and what Ray says goes to standard error."""
    local = {"num_cpus": workers, "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    address = os.environ.get("RAY_ADDRESS", "")
    _check_reachable(address)
    with redirect_stdout(sys.stderr):
        try:
            ray.init(**quiet, **({"address": address} if address else local))
            context = ray.data.DataContext.get_current()
            context.execution_options.preserve_order = True
            context.target_max_block_size = 1  # a chunk is a block: else hundreds would wait for each other
            context.enable_progress_bars = False
            yield int(ray.cluster_resources().get("CPU", 1))
        except (ray.exceptions.RayError, ConnectionError) as error:
            raise _explained(error) from error
        finally:
            ray.shutdown()


def _check_reachable(address: str) -> None:
    """Fail fast if the cluster is unreachable: Ray itself would try for a quarter of an hour."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not (host and port.isdigit()):
        return  # "auto", "local" or none: Ray finds out at once
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise ScoringError(
            f"There is no Ray cluster at {address} ({error.strerror or error}); check RAY_ADDRESS."
        ) from error


def _explained(error: Exception) -> TweetTuneError:
    cause = getattr(error, "cause", None)
    if isinstance(cause, TweetTuneError):
        return cause  # a worker's own words
    reason = " ".join(str(error).split())[:200]
    return ScoringError(
        f"The Ray cluster failed ({reason}); look at its logs, then run the same command again: "
        "it goes on from the last whole part."
    )
