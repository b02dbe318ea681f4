"""Classifies many tweets on the Compare tab: pasted or from a file, as a table, CSV and JSON lines.

    given = texts_of("so happy\nmeh", None)                 # -> Given(texts=["so happy", "meh"], n=2, …)
    for tally in answer_all(contenders, given.texts, stem): # after each batch
        tally.answered, tally.differ

Answers are written to the two files as they come, and only counts and the first rows stay in memory. A
visitor can stop at any moment and keep the answers so far.
"""

import csv
import json
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import gradio as gr

from inference.classifier import Prediction
from inference.common.errors import PredictionError
from inference.common.paths import cache_dir
from inference.common.text import whole
from inference.selective import USUAL_PRECISION
from inference.tables.rows import ENDINGS
from ui.account import may_train, visitor_of
from ui.compare.lineup import TUNED, Contender, Lineup
from ui.compare.view import other_labels
from ui.html import QUIET, esc, html, label_chip, note, page, row, table
from ui.translations import I18N, text

MOST = 50_000
_SHOWN, _BATCH, _MOST_KEPT = 100, 32, 16
_DRAW_EVERY_S = 0.5
_UPLOADS = (*ENDINGS, ".gz")


@dataclass(frozen=True)
class Given:
    """The texts to classify, how many there were, and how many rows of the file had none."""

    texts: list[str]
    n: int
    without: int = 0


@dataclass(frozen=True)
class Row:
    """A text with each contender's answer."""

    text: str
    answers: tuple[Prediction, ...]

    def record(self, keys: Sequence[str], contenders: Sequence[Contender]) -> dict[str, object]:
        """Return the row as a record; with `sure` and `out_of_scope` for models that know."""
        found: dict[str, object] = {"text": self.text}
        for key, answer, each in zip(keys, self.answers, contenders, strict=True):
            found |= {key: answer.label, f"{key}_probability": round(max(answer.probabilities), 4)}
            found |= {} if each.sure_from is None else {f"{key}_sure": answer.is_sure(each.sure_from)}
            if each.scope:
                found[f"{key}_out_of_scope"] = answer.is_out_of_scope(each.scope.above)
        return found


@dataclass
class Tally:
    """The counts and first rows of the answers so far."""

    titles: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    given: int
    sure_from: tuple[float | None, ...] = ()
    """The confidence below which each one's answers are unsure, None if unknown."""
    outside_above: tuple[float | None, ...] = ()
    """The share of unknown tokens above which a text is out of each one's scope, None if unknown."""
    answered: int = 0
    unsure: list[int] = field(default_factory=list)
    """How many of each one's answers are unsure."""
    outside: list[int] = field(default_factory=list)
    """How many texts are out of each one's scope."""
    differ: int = 0
    """On how many texts two gave different labels, which both know."""
    comparable: int = 0
    """To how many texts two or more gave labels that they both know."""
    compared: dict[tuple[int, int], int] = field(default_factory=dict)
    """For each pair, the number of texts to which both gave labels that both know."""
    agree: dict[tuple[int, int], int] = field(default_factory=dict)
    """For each pair, the number of these texts with the same label."""
    first: list[Row] = field(default_factory=list)
    first_differing: list[Row] = field(default_factory=list)
    files: tuple[str, ...] = ()

    def add(self, rows: Sequence[Row]) -> None:
        self.answered += len(rows)
        self.unsure = self.unsure or [0] * len(self.titles)
        for place, least in enumerate(self.sure_from):
            self.unsure[place] += sum(not one.answers[place].is_sure(least or 0.0) for one in rows)
        self.outside = self.outside or [0] * len(self.titles)
        for place, above in enumerate(self.outside_above):
            if above is not None:
                self.outside[place] += sum(one.answers[place].is_out_of_scope(above) for one in rows)
        known = [{label.casefold() for label in labels} for labels in self.labels]
        for one in rows:
            said = [answer.label.casefold() for answer in one.answers]
            same = {
                (a, b): said[a] == said[b]
                for a, b in combinations(range(len(said)), 2)
                if said[a] in known[b] and said[b] in known[a]
            }
            for pair, alike in same.items():
                self.compared[pair] = self.compared.get(pair, 0) + 1
                self.agree[pair] = self.agree.get(pair, 0) + alike
            self.comparable += bool(same)
            disagree = not all(same.values())
            self.differ += disagree
            for kept in [self.first, *([self.first_differing] if disagree else [])]:
                if len(kept) < _SHOWN:
                    kept.append(one)


def texts_of(pasted: str, file: str | None) -> Given:
    """Return the pasted lines and the texts of a file, at most 50,000. Raises DataError."""
    from inference.tables.formats import open_texts  # noqa: PLC0415  (pyarrow takes a while)

    found = [line.strip() for line in whole(pasted or "").splitlines() if line.strip()]
    n, without = len(found), 0
    for chunk in open_texts(Path(file)).chunks() if file else ():
        there = [one for one in chunk.texts if one and one.strip()]
        n, without = n + len(there), without + len(chunk.texts) - len(there)
        found += there[: max(0, MOST - len(found))]
    return Given(found[:MOST], n, without)


def ask_each(contenders: Sequence[Contender], texts: Sequence[str]) -> list[Sequence[Prediction]]:
    """Ask the contenders one after the other."""
    return [each.predict(texts) for each in contenders]


def answer_all(
    contenders: Sequence[Contender],
    texts: Sequence[str],
    stem: Path,
    *,
    ask: Callable[[Sequence[Contender], Sequence[str]], list[Sequence[Prediction]]] = ask_each,
) -> Iterator[Tally]:
    """Classify the texts into `stem`.csv and .jsonl; yields the same Tally after each batch.

    Raises PredictionError without a text.
    """
    if not texts:
        raise PredictionError(text("many.no_texts"))
    keys = ["fine_tuned" if each.key == TUNED else each.key for each in contenders]
    files = stem.with_suffix(".csv"), stem.with_suffix(".jsonl")
    tally = Tally(
        tuple(each.title for each in contenders),
        tuple(each.labels for each in contenders),
        len(texts),
        tuple(each.sure_from for each in contenders),
        tuple(each.scope.above if each.scope else None for each in contenders),
    )
    tally.files = tuple(map(str, files))
    for start in range(0, len(texts), _BATCH):
        part = list(texts[start : start + _BATCH])
        found = ask(contenders, part)
        rows = [Row(one, tuple(answers)) for one, *answers in zip(part, *found, strict=True)]
        _append(files, [one.record(keys, contenders) for one in rows], begin=not start)
        tally.add(rows)
        yield tally


def _append(files: tuple[Path, Path], records: Sequence[dict[str, object]], *, begin: bool) -> None:
    table_path, lines_path = files
    encoding = "utf-8-sig" if begin else "utf-8"  # with a byte order mark, which Excel needs
    with table_path.open("a", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(records[0]))
        if begin:
            writer.writeheader()
        writer.writerows(records)
    with lines_path.open("a", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(one)}\n" for one in records)


def new_stem() -> Path:
    """Return the path stem for the files of one question; the oldest files are deleted."""
    folder = cache_dir() / "answers"
    folder.mkdir(parents=True, exist_ok=True)
    old = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime)
    for each in old[: max(0, len(old) - _MOST_KEPT)]:
        each.unlink(missing_ok=True)
    return folder / f"answers-{secrets.token_hex(3)}"


def draw(tally: Tally, given: Given, *, only: bool) -> str:
    """Draw the answers, all or `only` those on which the models disagree."""
    shown = tally.first_differing if only else tally.first

    def chip(place: int, answer: Prediction) -> str:
        share = f' <span class="interval">{esc(text.percent(max(answer.probabilities), 0))}</span>'
        chip = label_chip(answer.label, tally.labels[place].index(answer.label))
        least = tally.sure_from[place] if tally.sure_from else None
        doubt = "" if least is None or answer.is_sure(least) else f" {esc(text('many.unsure'))}"
        above = tally.outside_above[place] if tally.outside_above else None
        if above is not None and answer.is_out_of_scope(above):
            doubt += f' <span class="interval">{esc(text("many.outside"))}</span>'
        return f'<span class="k">{esc(tally.titles[place])}</span>{chip}{share}{doubt}'

    drawn = [
        row("", [(esc(one.text), "text"), *((chip(*each), "chips") for each in enumerate(one.answers))])
        for one in shown
    ]
    n = text.number(tally.answered)
    summary = text("many.told", n=n, differ=text.number(tally.differ), shown=text.number(len(drawn)))
    notes = "".join(
        note(text("many.unsure_n", name=title, n=text.number(count), wanted=text.percent(USUAL_PRECISION, 0)))
        for title, count in zip(tally.titles, tally.unsure, strict=False)
        if count
    )
    notes += "".join(
        note(text("many.outside_n", name=title, n=text.number(count)))
        for title, count in zip(tally.titles, tally.outside, strict=False)
        if count
    )
    if given.n > MOST:
        notes += note(text("many.cut", n=text.number(given.n), most=text.number(MOST)), "warn")
    if given.without:
        notes += note(text("many.without", n=text.number(given.without)), "warn")
    if tally.answered < tally.given:
        notes += note(text("many.stopped", n=n, of=text.number(tally.given)), "warn")
    notes += other_labels(list(zip(tally.titles, tally.labels, strict=True)))
    if len(tally.titles) > 1 and tally.comparable < tally.answered:
        notes += note(text("many.comparable", n=text.number(tally.comparable), of=n), "warn")
    head = [(name, "") for name in (text("compare.tweet"), *tally.titles)]
    return page(
        f'<p class="small" role="status">{esc(summary)}</p>{notes}{_agreement(tally)}'
        + table(head, drawn, caption=text("many.title"), css="tt-cards tall"),
        "tt-stack",
    )


def _agreement(tally: Tally) -> str:
    """Draw how often each pair agrees, where it can be compared; "" for fewer than three models."""
    if len(tally.titles) < 3:
        return ""

    def share(one: int, other: int) -> str:
        pair = min(one, other), max(one, other)
        if one == other:
            return text.percent(1.0, 0)
        return text.percent(tally.agree[pair] / tally.compared[pair], 0) if pair in tally.compared else "–"

    places = range(len(tally.titles))
    rows = [
        row(esc(tally.titles[line]), [(esc(share(line, column)), "num") for column in places])
        for line in places
    ]
    caption = text("many.agreement")
    head = [("", ""), *((title, "num") for title in tally.titles)]
    return f"<h3>{esc(caption)}</h3>{table(head, rows, caption=caption)}"


def progress_bar(tally: Tally, seconds: float) -> str:
    """Draw the progress and the time left."""
    left = text.duration(seconds * (tally.given - tally.answered) / tally.answered)
    done, of = text.number(tally.answered), text.number(tally.given)
    share, name = f"{100 * tally.answered / tally.given:.1f}", esc(text("many.title"))
    return page(
        f'<p class="small">{esc(text("many.progress", done=done, of=of, left=left))}</p>'
        f'<div class="tt-progress" role="progressbar" aria-label="{name}" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{share}"><div style="width:{share}%"></div></div>',
        "tt-stack",
    )


def build_many(lineup: Lineup, models: gr.Dropdown) -> None:
    """Draw the section inside the current Blocks; `models`: the choice of models."""
    with gr.Accordion(I18N("many.title"), open=False, elem_id="many"):
        with gr.Row():
            pasted = gr.Textbox("", label=I18N("many.pasted"), lines=4, max_lines=8, min_width=240)
            label: Any = I18N("many.file")
            file = gr.File(
                label=label, file_types=list(_UPLOADS), height=140, min_width=200, elem_id="many-file"
            )
        with gr.Row(elem_classes="tt-buttons"):
            go = gr.Button(I18N("many.go"), variant="primary", size="md", elem_id="many-go")
            stop = gr.Button(I18N("many.stop"), variant="stop", size="md", visible=False, elem_id="many-stop")
            only = gr.Checkbox(False, label=I18N("many.only"), container=False, min_width=200)
            saves = [gr.DownloadButton(name, size="md", visible=False) for name in ("CSV", "JSONL")]
        drawn, kept = html(elem_id="many-answers"), gr.State()

    def show(kept: tuple[Tally, Given] | None, only: bool) -> str:
        return draw(*kept, only=bool(only)) if kept else ""

    def finish(kept: tuple[Tally, Given] | None, only: bool) -> tuple[object, ...]:
        """Show the answers, complete or not."""
        files = [gr.update(value=path, visible=True) for path in kept[0].files] if kept else [gr.skip()] * 2
        return (show(kept, only), kept, gr.update(visible=True), gr.update(visible=False), *files)

    def compare_many(  # noqa: PLR0917  (Gradio passes them by place)
        pasted: str,
        file: str | None,
        only: bool,
        chosen: list[str] | None,
        request: gr.Request,
        profile: gr.OAuthProfile | None,
    ) -> Iterator[tuple[object, ...]]:
        given = texts_of(pasted, file)
        may = may_train(lineup.workbench.settings, visitor_of(request, profile))
        contenders = lineup.of(chosen or [], may_load=may)
        started = drawn_s = time.monotonic()
        for tally in answer_all(contenders, given.texts, new_stem(), ask=lineup.answers):
            if (now := time.monotonic()) - drawn_s > _DRAW_EVERY_S or tally.answered == _BATCH:
                drawn_s = now
                bar = progress_bar(tally, now - started)
                hidden = [gr.update(visible=False)] * 2
                yield bar, (tally, given), gr.update(visible=False), gr.update(visible=True), *hidden
        yield finish((tally, given), only)

    outputs = [drawn, kept, go, stop, *saves]
    asked = go.click(
        compare_many,
        [pasted, file, only, models],
        outputs,
        api_name="compare_many",
        concurrency_id="many",
        concurrency_limit=1,
        show_progress="hidden",
    )
    asked.failure(finish, [kept, only], outputs, **QUIET)
    stop.click(finish, [kept, only], outputs, cancels=[asked], **QUIET)
    only.change(show, [kept, only], drawn, **QUIET)
