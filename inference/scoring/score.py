"""Score a file: read, classify and write at the same time, chunk by chunk, so that a kill loses one at most.

    with shown_progress() as show:
        summary = score(job, open_input(job), Scored(show))

Reading and tokenizing run in one thread, writing in another, while the model computes; each is one chunk
ahead or behind, so memory is bounded by a few chunks. Knows nothing about what a format looks like.
"""

import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from inference.classifier import Classifier
from inference.scoring.job import RAY, Job, made_from
from inference.scoring.parts import Counts, Parts, open_parts
from inference.scoring.progress import Scored
from inference.tables.columns import added_columns
from inference.tables.errors import ScoringError
from inference.tables.formats import open_sink
from inference.tables.sinks import Predictions, Sink
from inference.tables.source import Chunk, Source, aligned, good_texts

Classified = Generator[tuple[Chunk, Predictions], None, None]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Summary:
    """What came of it; `rows`, `bad` and `truncated` count the whole output."""

    output: str
    rows: int
    bad: int
    truncated: int
    rows_from_before: int
    """Rows that an earlier, killed run had scored."""
    seconds: float
    rows_per_s: float
    """Of this run, without loading the model."""
    engine: str
    model: str
    text_column: str
    new_columns: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """All of it for people, in one line."""
        before = f" ({self.rows_from_before:,} from before)" if self.rows_from_before else ""
        return (
            f"{self.output}: {self.rows:,} rows{before}, {self.bad:,} bad, {self.truncated:,} truncated; "
            f"{self.rows_per_s:,.1f} rows/s with {self.engine}."
        )


def score(job: Job, source: Source, progress: Scored) -> Summary:
    """Score the input of a job, going on where a killed run of the same job has stopped.

    Raises ScoringError when a file can't be read or written, ArtifactError when the model can't be loaded.
    """
    classifier = _load(job)
    engine = classifier.engine.name
    added = added_columns(source.columns, classifier.labels, probabilities=job.probabilities)
    sink = open_sink(job.output, source, added)
    made = made_from(job, source, engine=engine, folder=classifier.folder)
    with open_parts(job.output, made, overwrite=job.overwrite) as parts:
        chunks, share = _after(source.chunks(), parts.done)
        before = parts.counts.rows
        progress.begin(rows=before, share=share)
        start = time.monotonic()
        _write_all(_classifying(job, classifier, source, parts.done, progress)(chunks), sink, parts, progress)
        parts.finish(sink.join)
        seconds = time.monotonic() - start
    return Summary(
        output=str(job.output),
        rows=parts.counts.rows,
        bad=parts.counts.bad,
        truncated=parts.counts.truncated,
        rows_from_before=before,
        seconds=round(seconds, 3),
        rows_per_s=round((parts.counts.rows - before) / max(seconds, 1e-9), 2),
        engine=f"{engine} on Ray" if job.engine == RAY else engine,
        model=job.model,
        text_column=source.text_column,
        new_columns=added.names,
    )


def _load(job: Job) -> Classifier:
    """Load the model here, also for Ray: its labels are needed, and what is wrong with it shows now."""
    return Classifier.load(job.model, engine="auto" if job.engine == RAY else job.engine)


def _after(chunks: Iterator[Chunk], count: int) -> tuple[Iterator[Chunk], float]:
    """Return the chunks behind the first `count`, and the share of the input that those were."""
    share = 0.0
    for chunk in islice(chunks, count):
        share = chunk.share_read
    return chunks, share


def _classifying(
    job: Job, classifier: Classifier, source: Source, done: int, progress: Scored
) -> Callable[[Iterator[Chunk]], Classified]:
    if job.engine != RAY:
        return partial(classify_here, classifier, progress)
    try:
        from inference.scoring.on_ray import classify_on_ray  # noqa: PLC0415  (Ray is an optional extra)
    except ImportError as error:
        raise ScoringError(
            f"--engine ray needs Ray, which is not installed ({error}); "
            "run pip install -r requirements-ray.txt."
        ) from error
    return partial(
        classify_on_ray,
        path=job.input,
        text_column=source.text_column,
        model=job.model,
        engine="torch" if classifier.engine.name == "torch" else "onnx",  # the same everywhere
        labels=classifier.labels,
        workers=job.workers,
        done=done,
    )


def classify_here(classifier: Classifier, progress: Scored, chunks: Iterator[Chunk]) -> Classified:
    """Yield each chunk with its predictions, None for a bad row."""
    for chunk, encoded in _ahead((chunk, classifier.encode(good_texts(chunk))) for chunk in chunks):
        logits = classifier.logits(encoded.token_ids, progress=partial(progress.within, chunk.share_read))
        yield chunk, aligned(chunk, classifier.predictions(logits, encoded.truncated))


def _ahead(items: Iterator[_T]) -> Iterator[_T]:
    """Yield the items, while a thread fetches the next one."""
    end: Any = object()
    with ThreadPoolExecutor(1, "read") as reading:
        coming = reading.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = reading.submit(next, items, end)
            yield item


def _write_all(classified: Classified, sink: Sink, parts: Parts, progress: Scored) -> None:
    """Write a part for each chunk, in a thread, while the next is being classified."""
    rows = parts.counts.rows
    with closing(classified), ThreadPoolExecutor(1, "write") as writing:
        last: Future[None] | None = None
        for chunk, predictions in classified:
            if last:
                last.result()
            last = writing.submit(_write, sink, parts, chunk, predictions)
            rows += len(predictions)
            progress.update(rows=rows, share=chunk.share_read)
        if last:
            last.result()


def _write(sink: Sink, parts: Parts, chunk: Chunk, predictions: Predictions) -> None:
    cut = sum(prediction is not None and prediction.truncated for prediction in predictions)
    bad = sum(prediction is None for prediction in predictions)
    parts.write(sink.part(chunk, predictions), Counts(len(predictions), bad, cut))
