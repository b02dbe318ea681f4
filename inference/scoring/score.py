"""Score a file: read, classify and write at the same time, chunk by chunk, so that a kill loses one at most.

    summary = score(job, open_input(job), Progress(show))

Reading and tokenizing run in one thread, writing in another, while the model computes; each is one chunk
ahead or behind, so memory is bounded by a few chunks.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import TypeVar

from inference.baselines.model import load_model
from inference.classifier import Classifier, Prediction
from inference.reference import needed
from inference.scoring.job import RAY, ScoringError, ScoringJob, made_from
from inference.scoring.parts import Parts, RowCounts, open_parts
from inference.selective import asked_threshold
from inference.tables.formats import open_writer
from inference.tables.rows import TextChunk, TextTable
from inference.tables.write import TableWriter, Value

DECIMALS = 6
PREFIX = "tweettune_"
Predictions = Sequence[Prediction | None]
"""One for each row of a chunk, None for a bad row."""
Classified = Generator[tuple[TextChunk, list[Prediction | None]], None, None]
_T = TypeVar("_T")


@dataclass(frozen=True)
class ScoreColumns:
    """The names of the new columns."""

    label: str
    score: str
    probabilities: tuple[str, ...]
    """One a label, in label order; empty when they are not asked for."""
    sure: str
    """Whether the answer is sure enough; "" where nobody asks."""
    out_of_scope: str
    """Whether the text is unlike those of the training; "" where nobody asks."""
    truncated: str
    error: str
    abstain_below: float | None = None
    """The confidence below which an answer is not sure."""
    out_of_scope_above: float | None = None
    """The share of unknown tokens above which a text is out of scope."""

    @classmethod
    def beside(
        cls,
        taken: Iterable[str],
        labels: Sequence[str],
        *,
        probabilities: bool = False,
        abstain_below: float | None = None,
        out_of_scope_above: float | None = None,
    ) -> "ScoreColumns":
        """Name the new columns; a name that the input has already gets the prefix `tweettune_`."""
        used = set(taken)

        def free(name: str) -> str:
            while name in used:
                name = PREFIX + name
            used.add(name)
            return name

        one_a_label = tuple(free(f"probability_{label}") for label in labels) if probabilities else ()
        sure = "" if abstain_below is None else free("sure")
        outside = "" if out_of_scope_above is None else free("out_of_scope")
        return cls(
            free("label"),
            free("score"),
            one_a_label,
            sure,
            outside,
            free("truncated"),
            free("error"),
            abstain_below,
            out_of_scope_above,
        )

    @property
    def types(self) -> dict[str, type]:
        """The names and types of all of them, in the order in which they are written."""
        numbers = dict.fromkeys((self.score, *self.probabilities), float)
        asked = dict.fromkeys(filter(None, (self.sure, self.out_of_scope)), bool)
        return {self.label: str, **numbers, **asked, self.truncated: bool, self.error: str}

    def values(self, predictions: Predictions, problems: Sequence[str | None]) -> list[list[Value]]:
        """Return the new values of each row; a bad one has its problem alone."""
        rows: list[list[Value]] = []
        for prediction, problem in zip(predictions, problems, strict=True):
            if prediction is None:
                rows.append([*[None] * (len(self.types) - 1), problem])
                continue
            rounded = [round(p, DECIMALS) for p in prediction.probabilities]
            shown = rounded if self.probabilities else []
            asked = [] if self.abstain_below is None else [prediction.is_sure(self.abstain_below)]
            if self.out_of_scope_above is not None:
                asked.append(prediction.is_out_of_scope(self.out_of_scope_above))
            rows.append([prediction.label, max(rounded), *shown, *asked, prediction.truncated, problem])
        return rows


@dataclass(frozen=True)
class ScoringSummary:
    """The result; `rows`, `bad` and `truncated` count the whole output."""

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
    first_problem: str = ""
    """Why the first bad row that this run met is bad."""
    notes: tuple[str, ...] = ()
    """How the input was understood, where that is not plain."""
    abstain_below: float | None = None
    """The confidence below which an answer is not sure, where that was asked for."""
    unsure: int = 0
    out_of_scope_above: float | None = None
    """The share of unknown tokens above which a text is out of scope, where that was asked for."""
    out_of_scope: int = 0

    @property
    def nothing_scored(self) -> bool:
        """Whether there are rows, and all of them are bad."""
        return self.rows > 0 and self.bad == self.rows

    @property
    def sentence(self) -> str:
        before = f" ({self.rows_from_before:,} from before)" if self.rows_from_before else ""
        first = f" (the first: {self.first_problem})" if self.first_problem else ""
        unsure = "" if self.abstain_below is None else f", {self.unsure:,} not sure"
        outside = "" if self.out_of_scope_above is None else f", {self.out_of_scope:,} out of scope"
        return (
            f"{self.output}: {self.rows:,} rows{before}, {self.bad:,} bad{first}, {self.truncated:,} "
            f"truncated{unsure}{outside}; {self.rows_per_s:,.1f} rows/s with {self.engine}."
        )


class Progress:
    """Counts what is done and estimates the time left from what this process did itself."""

    def __init__(
        self, show: Callable[[float, str], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`show` is called with the share that is done, from 0 to 1, and a sentence."""
        self._show, self._clock = show, clock
        self._began_s, self._first_share = clock(), 0.0
        self._rows, self._share = 0, 0.0

    def begin(self, *, rows: int, share: float) -> None:
        """Count what an earlier run has done; the clock starts here."""
        self._began_s, self._first_share = self._clock(), share
        self.update(rows=rows, share=share)

    def update(self, *, rows: int, share: float) -> None:
        """Set how many rows are done in all, and their share of the input."""
        self._rows, self._share = rows, share
        self._draw(rows, share)

    def within(self, next_share: float, done: int, total: int) -> None:
        """Show how many texts of a chunk are done, at whose end that share of the input will be."""
        self._draw(self._rows + done, self._share + (next_share - self._share) * done / total)

    def _draw(self, rows: int, share: float) -> None:
        fresh = share - self._first_share
        left = ""
        if fresh > 0:
            left_s = (self._clock() - self._began_s) * (1 - share) / fresh
            left = f", {timedelta(seconds=round(left_s))} left"
        self._show(share, f"{rows:,} rows{left}")


def score(job: ScoringJob, table: TextTable, progress: Progress) -> ScoringSummary:
    """Score the input of a job, going on where a killed run of the same job has stopped.

    Raises DataError or ScoringError when a file can't be read or written, ArtifactError when the model can't
    be loaded, PredictionError when the model has no record for what is asked of its answers.
    """
    # Loaded here for Ray too: its labels are needed, and what is wrong with it shows now.
    classifier = load_model(job.model, engine="auto" if job.engine == RAY else job.engine)
    engine = classifier.engine.name
    below = asked_threshold(classifier.folder, precision=job.precision, abstain_below=job.abstain_below)
    above = needed(classifier.scope).above if job.out_of_scope else None
    columns = ScoreColumns.beside(
        table.kept,
        classifier.labels,
        probabilities=job.probabilities,
        abstain_below=below,
        out_of_scope_above=above,
    )
    writer = open_writer(job.output, table, columns.types)
    made = made_from(
        job, table, engine=engine, folder=classifier.folder, abstain_below=below, out_of_scope_above=above
    )
    with open_parts(job.output, made, overwrite=job.overwrite) as parts:
        chunks, share = table.chunks(), 0.0
        for chunk in islice(chunks, parts.done):
            share = chunk.rows.share_read
        before = parts.counts.rows
        progress.begin(rows=before, share=share)
        start = time.monotonic()
        if job.engine == RAY:
            classified = _classify_on_ray(job, classifier, table, chunks, parts.done)
        else:
            classified = classify_here(classifier, progress, chunks)
        problem = _write_all(classified, columns, writer, parts, progress)
        parts.finish(writer.join)
        seconds = time.monotonic() - start
    return ScoringSummary(
        output=str(job.output),
        rows=parts.counts.rows,
        bad=parts.counts.bad,
        truncated=parts.counts.truncated,
        rows_from_before=before,
        seconds=round(seconds, 3),
        rows_per_s=round((parts.counts.rows - before) / max(seconds, 1e-9), 2),
        engine=f"{engine} on Ray" if job.engine == RAY else engine,
        model=job.model,
        text_column=table.text_column,
        new_columns=tuple(columns.types),
        first_problem=problem,
        notes=table.reader.notes,
        abstain_below=below,
        unsure=parts.counts.unsure,
        out_of_scope_above=above,
        out_of_scope=parts.counts.out_of_scope,
    )


def classify_here(classifier: Classifier, progress: Progress, chunks: Iterator[TextChunk]) -> Classified:
    """Yield each chunk with its predictions, None for a bad row."""
    for chunk, encoded in read_ahead((chunk, classifier.encode(chunk.good_texts)) for chunk in chunks):
        show = partial(progress.within, chunk.rows.share_read)
        logits = classifier.logits(encoded.token_ids, progress=show)
        yield chunk, chunk.aligned(classifier.predictions(logits, encoded))


def read_ahead(items: Iterator[_T]) -> Iterator[_T]:
    """Yield the items, while a thread fetches the next one."""
    end = object()
    with ThreadPoolExecutor(1, "read") as pool:
        coming: Future[_T | object] = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield item  # type: ignore[misc]  # `end` is what ends the loop


def _classify_on_ray(
    job: ScoringJob, classifier: Classifier, table: TextTable, chunks: Iterator[TextChunk], done: int
) -> Classified:
    try:
        from inference.scoring.on_ray import classify_on_ray  # noqa: PLC0415  (Ray is an optional extra)
    except ImportError as error:
        raise ScoringError(
            f"--engine ray needs Ray, which is not installed ({error}); "
            "run pip install -r requirements-ray.txt."
        ) from error
    precision, name = getattr(classifier.engine, "precision", None), classifier.engine.name
    return classify_on_ray(
        chunks,
        path=job.input,
        text_column=table.text_column,
        model=job.model,
        # The same everywhere.
        engine=f"torch-{precision.name}" if precision else "onnx" if name.startswith("onnx") else "auto",
        labels=classifier.labels,
        workers=job.workers,
        done=done,
    )


def _write_all(
    classified: Classified, columns: ScoreColumns, writer: TableWriter, parts: Parts, progress: Progress
) -> str:
    """Write a part for each chunk, in a thread, while the next is being classified.

    Returns why the first bad row is bad, "" if none is.
    """
    first_problem = ""

    def write(chunk: TextChunk, predictions: Predictions) -> None:
        good = [prediction for prediction in predictions if prediction]
        cut = sum(prediction.truncated for prediction in good)
        unsure = sum(not prediction.is_sure(columns.abstain_below or 0.0) for prediction in good)
        above = columns.out_of_scope_above
        outside = 0 if above is None else sum(prediction.is_out_of_scope(above) for prediction in good)
        data = writer.part(chunk, columns.values(predictions, chunk.problems))
        parts.write(data, RowCounts(len(predictions), len(predictions) - len(good), cut, unsure, outside))

    rows = parts.counts.rows
    with closing(classified), ThreadPoolExecutor(1, "write") as pool:
        last: Future[None] | None = None
        for chunk, predictions in classified:
            if last:
                last.result()
            last = pool.submit(write, chunk, predictions)
            first_problem = first_problem or next(filter(None, chunk.problems), "")
            rows += len(predictions)
            progress.update(rows=rows, share=chunk.rows.share_read)
        if last:
            last.result()
    return first_problem
