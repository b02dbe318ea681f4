"""Many tweets at once on the Compare tab: pasted or from a file, as a table, as CSV and as JSON lines.

    rows = answer_all(model, ["so happy", "meh"])      # -> [Row(text="so happy", base=…, tuned=…), …]

Both models answer in batches, so that the page can say how far it is.
"""

import csv
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from inference.classifier import Prediction
from inference.common.errors import PredictionError
from inference.common.paths import cache_dir
from ui.gpu import predict
from ui.html import as_gradio_error, esc, html, label_chip, note, page, row, table
from ui.state import Model, Workbench, load_base, load_tuned
from ui.translations import I18N, text

MOST = 500
_SHOWN, _BATCH, _MOST_KEPT = 100, 32, 16
_UPLOADS = (".csv", ".tsv", ".jsonl", ".parquet", ".txt")
_QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}


@dataclass(frozen=True)
class Row:
    """A text and what the models make of it."""

    text: str
    tuned: Prediction
    base: Prediction | None

    @property
    def disagrees(self) -> bool:
        """Whether base and fine-tuned give different labels."""
        return self.base is not None and self.base.label != self.tuned.label

    def record(self) -> dict[str, object]:
        """Return it as a row of a table."""
        found: dict[str, object] = {"text": self.text}
        for name, answer in (("base", self.base), ("fine_tuned", self.tuned)):
            if answer:
                found |= {name: answer.label, f"{name}_probability": round(max(answer.probabilities), 4)}
        return found


def texts_of(pasted: str, file: str | None) -> list[str]:
    """Return the lines pasted, then the texts of a file. Raises SourceError for one that can't be read."""
    from inference.live.sources.replay import posts_of_file  # noqa: PLC0415  (takes a second: not before the page)

    found = [line.strip() for line in (pasted or "").splitlines() if line.strip()]
    return found + ([post.text for post in posts_of_file(file) if post.text.strip()] if file else [])


def answer_all(
    model: Model, texts: Sequence[str], *, progress: Callable[[float], None] = lambda share: None
) -> list[Row]:
    """Return what both models make of each text. Raises PredictionError without a model or a text."""
    tuned, base, folder = model.tuned, model.base, model.folder
    if model.state != "ready" or tuned is None or folder is None:
        raise PredictionError(text("compare.model_none"))
    if not texts:
        raise PredictionError(text("many.no_texts"))
    rows: list[Row] = []
    for start in range(0, len(texts), _BATCH):
        part = list(texts[start : start + _BATCH])
        mine = predict(tuned, part, load=load_tuned, source=str(folder))
        theirs = predict(base, part, load=load_base, source=folder) if base else [None] * len(part)
        rows += [Row(*each) for each in zip(part, mine, theirs, strict=True)]
        progress(len(rows) / len(texts))
    return rows


def draw(rows: Sequence[Row], labels: Sequence[str], *, n_given: int, only: bool) -> str:
    """Draw the answers, all or only where the two differ."""
    found = [one for one in rows if one.disagrees or not only]

    def chip(name: str, answer: Prediction | None) -> str:
        if answer is None:
            return "–"
        share = f' <span class="interval">{esc(text.percent(max(answer.probabilities), 0))}</span>'
        drawn = label_chip(answer.label, labels.index(answer.label) if answer.label in labels else 0)
        return f'<span class="k">{esc(text(f"compare.{name}"))}</span>{drawn}{share}'

    drawn = [
        row(
            "",
            [(esc(one.text), "text"), (chip("base", one.base), "chips"), (chip("tuned", one.tuned), "chips")],
        )
        for one in found[:_SHOWN]
    ]
    differ = sum(one.disagrees for one in rows)
    told = text(
        "many.told", n=text.number(len(rows)), differ=text.number(differ), shown=text.number(len(drawn))
    )
    cut = (
        note(text("many.cut", n=text.number(n_given), most=text.number(MOST)), "warn")
        if n_given > MOST
        else ""
    )
    head = [(text(f"compare.{name}"), "") for name in ("tweet", "base", "tuned")]
    return page(
        f'<p class="small" role="status">{esc(told)}</p>{cut}'
        + table(head, drawn, caption=text("many.title"), css="tt-cards tall"),
        "tt-stack",
    )


def save(rows: Sequence[Row]) -> list[str]:
    """Write the answers as CSV and as JSON lines and return the paths; the oldest files are deleted."""
    folder = cache_dir() / "answers"
    folder.mkdir(parents=True, exist_ok=True)
    old = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime)
    for each in old[: max(0, len(old) - _MOST_KEPT)]:
        each.unlink(missing_ok=True)
    stem = folder / f"answers-{secrets.token_hex(3)}"
    records = [one.record() for one in rows]
    table_path, lines_path = stem.with_suffix(".csv"), stem.with_suffix(".jsonl")
    with table_path.open("w", encoding="utf-8-sig", newline="") as file:  # with a mark: Excel asks for it
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)
    lines_path.write_text("".join(f"{json.dumps(one)}\n" for one in records), encoding="utf-8")
    return [str(table_path), str(lines_path)]


def build_many(workbench: Workbench) -> None:
    """Draw the section inside the current Blocks."""
    with gr.Accordion(I18N("many.title"), open=False, elem_id="many"):
        with gr.Row():
            pasted = gr.Textbox("", label=I18N("many.pasted"), lines=4, max_lines=8, min_width=240)
            file = gr.File(label=I18N("many.file"), file_types=list(_UPLOADS), height=140, min_width=200)
        with gr.Row(elem_classes="tt-buttons"):
            go = gr.Button(I18N("many.go"), variant="primary", size="md", elem_id="many-go")
            only = gr.Checkbox(False, label=I18N("many.only"), container=False, min_width=200)
            saves = [gr.DownloadButton(name, size="md", visible=False) for name in ("CSV", "JSONL")]
        drawn, kept = html(elem_id="many-answers"), gr.State(([], 0))

    def show(kept: tuple[list[Row], int], only: bool) -> str:
        rows, n_given = kept
        labels = workbench.model.tuned.labels if workbench.model.tuned else ()
        return draw(rows, labels, n_given=n_given, only=bool(only)) if rows else ""

    def compare_many(
        pasted: str,
        file: str | None,
        only: bool,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[object, ...]:
        with as_gradio_error():
            texts = texts_of(pasted, file)
            rows = answer_all(workbench.model, texts[:MOST], progress=progress)
            files = [gr.update(value=path, visible=True) for path in save(rows)]
        return (show((rows, len(texts)), only), (rows, len(texts)), *files)

    go.click(
        compare_many,
        [pasted, file, only],
        [drawn, kept, *saves],
        api_name="compare_many",
        concurrency_id="many",
        concurrency_limit=1,
    )
    only.change(show, [kept, only], drawn, **_QUIET)
