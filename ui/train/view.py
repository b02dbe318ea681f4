"""The Train tab as HTML: a run, the list of runs, and the preview of a data set.

view = read_run(run)                 # curves, scores, sentences
run_panel(view, now=time.time())     # the same as HTML
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from training.doctor.diagnose import Diagnosis
from training.evaluate.scores import Evaluation
from training.recipes import available_recipes
from training.runs.records import Status
from training.runs.run import ACTIVE, ADAPT, TRAIN, TUNE, Run, ahead_of
from ui.html import (
    bars,
    button,
    empty,
    esc,
    fold,
    label_chip,
    muted,
    note,
    notes,
    page,
    row,
    score_text,
    state_chip,
    table,
    tiles,
)
from ui.plots import Series, histogram, legend, line_chart, systems_chart, titled
from ui.sentences import said
from ui.train.doctor import check_up, diagnosed
from ui.train.studies import study
from ui.translations import text

if TYPE_CHECKING:  # at run time it would import the datasets library before the first page
    from training.data.preview import Preview
    from training.data.report import DataReport

_MOST_POINTS = 240  # longer lines are thinned out, which nobody sees and speeds up the browser
_SMOOTHING = 0.9
_LONGEST_LIST = 50


@dataclass(frozen=True)
class RunView:
    """A snapshot of a run."""

    run: Run
    status: Status
    total_steps: int = 0
    step: int = 0
    epoch: float = 0.0
    loss: tuple[tuple[float, float], ...] = ()
    smooth_loss: tuple[tuple[float, float], ...] = ()
    validation: tuple[Mapping[str, float], ...] = ()
    notes: tuple[str, ...] = ()
    estimate_s: float | None = None
    evaluation: Evaluation | None = None
    ahead: tuple[str, ...] = ()
    """The runs that it waits for, by id."""
    diagnoses: tuple[Diagnosis, ...] = ()

    @property
    def active(self) -> bool:
        return self.status.state in ACTIVE

    @property
    def resumable(self) -> bool:
        return self.run.can_start(self.status)

    def curve(self, key: str) -> tuple[tuple[float, float], ...]:
        """Return (step, value) pairs of one key of the validation events."""
        return tuple((float(event["step"]), float(event[key])) for event in self.validation if key in event)


def read_run(run: Run) -> RunView:
    """Read a run's status and events; a damaged file counts as not written yet."""
    status = run.status()
    ahead = _ahead(run, status)
    try:
        stamp = (run.path / "events.jsonl").stat()
    except OSError:
        return RunView(run, status, ahead=ahead)
    read = _read(run, stamp.st_mtime_ns, stamp.st_size)
    found = diagnosed(run, status.state, len(read.validation))
    return replace(read, status=status, evaluation=run.evaluation(), ahead=ahead, diagnoses=found)


def has_curves(run: Run) -> bool:
    """Whether a run has steps to be drawn; cheaper than `read_run` for whoever asks many runs each second."""
    try:
        stamp = (run.path / "events.jsonl").stat()
    except OSError:
        return False
    return bool(_read(run, stamp.st_mtime_ns, stamp.st_size).loss)


def _ahead(run: Run, status: Status) -> tuple[str, ...]:
    return tuple(one.id for one in ahead_of(run)) if status.state == "queued" and run.was_started else ()


@lru_cache(maxsize=32)
def _read(run: Run, written_ns: int, size: int) -> RunView:
    """Read the events, cached by the file's time and size: every open page asks once a second."""
    events = run.events()
    steps = sorted({e["step"]: e for e in events if e.get("kind") == "step"}.items())
    checks = sorted({e["step"]: e for e in events if e.get("kind") == "validation"}.items())
    loss = [(float(step), float(event["loss"])) for step, event in steps]
    last = steps[-1][1] if steps else {}
    estimates = [e["seconds"] for e in events if e.get("kind") == "estimate"]
    notes = [e["text"] for e in events if e.get("kind") == "note" and e.get("text")]
    sentences = [s for e in events if e.get("kind") == "data" for s in e.get("sentences", ())]
    return RunView(
        run=run,
        status=run.status(),
        total_steps=int(last.get("total_steps", 0)),
        step=int(last.get("step", 0)),
        epoch=float(last.get("epoch", 0.0)),
        loss=_thin(loss),
        smooth_loss=_thin(_smooth(loss)),
        validation=tuple(event for _, event in checks),
        notes=tuple(dict.fromkeys([*notes, *sentences])),
        estimate_s=estimates[-1] if estimates else None,
    )


def _smooth(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return exponential moving averages, bias-corrected."""
    average, weight, smooth = 0.0, 0.0, []
    for x, y in points:
        average = _SMOOTHING * average + (1 - _SMOOTHING) * y
        weight = _SMOOTHING * weight + (1 - _SMOOTHING)
        smooth.append((x, average / weight))
    return smooth


def _thin(points: list[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    step = max(1, len(points) // _MOST_POINTS)
    kept = points[::step]
    return tuple(kept if not points or kept[-1] == points[-1] else [*kept, points[-1]])


def run_panel(
    view: RunView | None,
    *,
    now: float,
    loaded: str = "",
    may: bool = True,
    over: RunView | None = None,
    others: Sequence[Run] = (),
) -> str:
    """Draw the chosen run: its progress, curves, result and actions.

    `loaded`: the id of the run whose model is in use; `may`: whether the visitor gets buttons for actions;
    `over`: the run whose curves are laid over its own, one of `others`.
    """
    if view is None:
        return page(empty(text("train.no_run"), text("train.no_run_next")) + _recipes(), "tt-stack")
    curves, remarks = _curves(view, over), ""
    health = check_up(view.diagnoses, view.run, view.status.state)
    if curves:
        curves += _others(view, over, others)
    if view.notes:
        remarks = fold(text("train.notes", n=text.number(len(view.notes))), notes(view.notes))
    if found := study(view.run):
        parts = [_title(view, loaded, may), found, remarks]
    elif view.evaluation and view.evaluation.tuned:  # the result first
        curves = fold(text("train.curves"), _standing(view, now) + curves)
        onward = _onward(view.run) if may else ""
        parts = [_title(view, loaded, may), _result(view), health, onward, curves, remarks]
    else:
        parts = [_title(view, loaded, may), _standing(view, now), health, curves, remarks]
    return page(f'<div class="tt-card"><div class="tt-stack">{"".join(parts)}</div></div>')


def _recipes() -> str:
    items = "".join(
        f"<li>{button(name, action='recipe', value=name, css='link')}"
        f'<span class="muted">{esc(text(f"recipe.{name}"))}</span></li>'
        for name in available_recipes()
    )
    title = text("train.recipes")
    return f'<div class="tt-card"><h2>{esc(title)}</h2><ul class="tt-recipes">{items}</ul></div>'


def _others(view: RunView, over: RunView | None, others: Sequence[Run]) -> str:
    """Draw the buttons that lay another run's curves over this one's."""
    chips = "".join(
        button(short_name(run.id), action="over", value=run.id, css="chip", about=text("train.over"))
        for run in others
        if run.id not in (view.run.id, over.run.id if over else "")
    )
    if over:
        chips += button(text("train.over_none"), action="over", value="", css="chip")
    return (
        f'<div class="tt-row"><span class="muted small">{esc(text("train.over"))}</span>{chips}</div>'
        if chips
        else ""
    )


def _onward(run: Run) -> str:
    """Draw what can be done next with a finished training's model."""
    chips = button(text("train.onward"), action="onward", value=run.id, css="chip")
    chips += button(text("train.forgetting"), action="forgetting", value=run.id, css="chip")
    return fold(text("train.further"), f'<div class="tt-row">{chips}</div>')


def _title(view: RunView, loaded: str, may: bool) -> str:
    run_id, actions = view.run.id, ""
    if run_id == loaded:
        actions = f'<span class="muted">{esc(text("train.in_use"))}</span>'
        actions += button(text("train.try"), action="tab", value="compare", css="go")
    elif not may:
        pass
    elif view.resumable:
        actions = button(text("train.resume"), action="resume", value=run_id, css="go")
    elif view.active:
        actions = button(text("train.cancel"), action="cancel", value=run_id)
    elif view.status.state == "finished" and view.run.kind == TRAIN:
        actions = button(text("train.use"), action="use", value=run_id, css="go")
    elif view.status.state == "finished" and view.run.kind == TUNE:
        actions = button(text("train.take"), action="take", value=run_id, css="go")
    elif view.status.state == "finished" and view.run.kind == ADAPT:
        actions = button(text("train.onward"), action="onward", value=run_id, css="go")
    if may and (view.resumable or not view.active) and run_id != loaded:
        asked = (text("train.rename_ask"), short_name(run_id))
        actions += button(text("train.rename"), action="rename", value=run_id, ask=asked)
        sure = text("train.delete_sure", run=run_id)
        actions += button(text("train.delete"), action="delete", value=run_id, confirm=sure)
    name = f'<h2 title="{esc(run_id)}">{esc(short_name(run_id))}</h2>'
    return (
        f'<div class="tt-row">{name}{_kind(view.run)}{state_chip(view.status.state)}'
        f'<span class="grow"></span><span class="tt-actions">{actions}</span></div>'
    )


def _kind(run: Run) -> str:
    """Draw the kind of a run that is no training."""
    key = f"kind.{run.kind}"
    name = text(key) if text.has(key) else run.kind
    return f'<span class="tt-tag">{esc(name)}</span>' if run.kind != TRAIN else ""


def short_name(run_id: str) -> str:
    """Return a run's name without its leading time, which the list shows in its own column."""
    return re.sub(r"^\d{8}-\d{6}-(?=.)", "", run_id)


def _standing(view: RunView, now: float) -> str:
    status = view.status
    if status.state in ("failed", "damaged", "interrupted", "cancelled"):
        css = "bad" if status.state in ("failed", "damaged") else "warn"
        return note(status.message or text(f"train.{status.state}"), css) + _tiles(view, now)
    if not view.active:
        return _tiles(view, now)
    if view.ahead:
        names = ", ".join(map(short_name, view.ahead))
        return note(text("train.waits", place=text.number(len(view.ahead)), runs=names))
    share = min(max(status.progress, 0.0), 1.0)
    phase = text(f"phase.{status.phase}") if text.has(f"phase.{status.phase}") else status.phase
    left = (
        text("train.left", time=text.duration(status.time_left_s)) if status.time_left_s is not None else ""
    )
    line = " · ".join(part for part in (phase or text("phase.start"), left) if part)
    percent = round(100 * share)
    return (
        f'<div><div class="tt-row" style="margin-bottom:6px"><span class="grow">{esc(line)}</span>'
        f'<b class="num">{text.percent(share, 0)}</b></div>'
        f'<div class="tt-progress" role="progressbar" aria-label="{esc(text("train.progress"))}" '
        f'aria-valuemin="0" aria-valuemax="100" aria-valuenow="{percent}">'
        f'<div style="width:{100 * share:.1f}%"></div></div></div>' + _tiles(view, now)
    )


def _tiles(view: RunView, now: float) -> str:
    entries = []
    if view.total_steps:
        entries.append((text("train.step"), text.number(view.step), f"/ {text.number(view.total_steps)}"))
        recipe = view.run.known_recipe
        of = f"/ {text.short(recipe.epochs)}" if recipe else ""
        entries.append((text("train.epoch"), text.short(view.epoch), of))
        entries.append((text("train.loss"), text.number(view.smooth_loss[-1][1], 3), ""))
    if accuracies := view.curve("accuracy"):
        best = max(y for _, y in accuracies)
        entries.append((text("train.best_validation"), text.percent(best), ""))
    if view.active and view.estimate_s is not None:
        entries.append((text("train.planned"), text.duration(view.estimate_s), ""))
    if view.status.started_at:
        spent = (view.status.finished_at or now) - view.status.started_at
        entries.append((text("train.spent"), text.duration(spent), ""))
    return tiles(entries) if entries else ""


def _curves(view: RunView, over: RunView | None = None) -> str:
    if not view.loss:
        return ""
    train, validation = text("train.loss_train"), text("train.loss_validation")
    loss = line_chart(
        [
            Series(train, "train", view.loss, thin=True),
            Series(train, "train", view.smooth_loss),
            Series(validation, "validation", view.curve("loss"), dots=True),
            *_over(over, [(train, "train", "smooth_loss"), (validation, "validation", "loss")]),
        ],
        title=text("train.loss"),
        x_last=view.total_steps,
    )
    base = view.evaluation.base if view.evaluation else None
    other_run = [("dashed", short_name(over.run.id))] if over else []
    keys = legend([("tt-s-train", train), ("tt-s-validation", validation), *other_run])
    drawn = titled(text("train.chart_loss"), keys, loss)
    if view.curve("accuracy"):
        names = (text("score.accuracy"), text("score.macro_f1"))
        right = line_chart(
            [
                Series(names[0], "validation", view.curve("accuracy"), dots=True),
                Series(names[1], "second", view.curve("macro_f1"), dots=True),
                *_over(over, [(names[0], "validation", "accuracy"), (names[1], "second", "macro_f1")]),
            ],
            title=text("train.chart_validation"),
            x_last=view.total_steps,
            percent=True,
            levels=[(base.scores.accuracy.value, "train")] if base else [],
        )
        below = [("tt-s-train", text("train.base_level"))] if base else []
        keys = legend([("tt-s-validation", names[0]), ("tt-s-second", names[1]), *below, *other_run])
        drawn += titled(text("train.chart_validation"), keys, right)
    else:
        drawn += titled(text("train.chart_validation"), "", note(text("train.no_validation_yet")))
    return f'<div class="tt-two tt-charts">{drawn}</div>'


def _over(view: RunView | None, lines: Sequence[tuple[str, str, str]]) -> list[Series]:
    """Return the curves of another run, dashed, for (name, class, key) of each."""
    if view is None:
        return []
    name = short_name(view.run.id)
    points = {"smooth_loss": view.smooth_loss}
    return [
        Series(f"{name}, {line}", css, points.get(key) or view.curve(key), dashed=True)
        for line, css, key in lines
    ]


def _result(view: RunView) -> str:
    evaluation = view.evaluation
    if not evaluation or not evaluation.tuned:
        return ""
    title = text("train.result_head", n=text.number(evaluation.n))
    return titled(title, "", systems_chart(evaluation, title=title))


def runs_table(runs: Sequence[Run], chosen: str, *, now: float, loaded: str = "", may: bool = True) -> str:
    """Draw the list of runs, newest first; `loaded` and `may` as for `run_panel`."""
    if not runs:
        return ""
    names = ("run", "state", "recipe", "data", "accuracy", "when")
    head = [(text(f"runs.{name}"), "num" if name == "accuracy" else "") for name in names] + [
        (text("runs.action"), "num")
    ]
    rows = [
        _run_row(run, run.id == chosen, now, _action(run, run.id == loaded, may))
        for run in runs[:_LONGEST_LIST]
    ]
    title = f'<div class="tt-row" style="margin:4px 0 8px"><h2>{esc(text("runs.title"))}</h2></div>'
    return page(title + table(head, rows, caption=text("runs.title"), css="tt-cards"))


def _action(run: Run, loaded: bool, may: bool) -> str:
    status = run.status()
    state = status.state
    if loaded:
        return f'<span class="muted">{esc(text("train.in_use"))}</span>'
    if may and state == "finished" and run.kind == TRAIN:
        return button(text("train.use_short"), action="use", value=run.id, about=run.id)
    if may and state in ACTIVE and run.was_started:
        return button(text("train.cancel"), action="cancel", value=run.id, about=run.id)
    if may and run.can_start(status):
        return button(text("train.resume"), action="resume", value=run.id, about=run.id)
    return ""


def _run_row(run: Run, chosen: bool, now: float, action: str) -> str:
    status, evaluation = run.status(), run.evaluation()
    tuned = evaluation.tuned if evaluation else None
    accuracy = score_text(tuned.scores.accuracy) if tuned else "–"
    show = button(short_name(run.id), action="show", value=run.id, css="link", about=run.id)
    state = state_chip(status.state)
    if status.state == "running":
        state += f' <span class="muted small">{text.percent(status.progress, 0)}</span>'
    if ahead := _ahead(run, status):
        state += (
            f' <span class="muted small">{esc(text("train.place", place=text.number(len(ahead))))}</span>'
        )
    if status.state == "damaged":
        state += muted(said(status.message))
    recipe = run.known_recipe.model_dump() if run.known_recipe else run.order.get("recipe") or {}
    name, data = (str(recipe.get(key) or "–") for key in ("name", "dataset"))
    columns = [
        ("state", state, "nowrap" if status.state != "damaged" else ""),
        ("recipe", f"{esc(name)} {_kind(run)}", ""),
        ("data", esc(said(data)), ""),
        ("accuracy", accuracy, "num"),
        ("when", esc(text.when(status.started_at, now=now)), "muted nowrap"),
    ]
    cells = [(f'<span class="k">{esc(text(f"runs.{key}"))}</span>{cell}', css) for key, cell, css in columns]
    cells.append((f'<span class="tt-actions">{action}</span>', ""))
    return row(show, cells, css="chosen" if chosen else "")


def preview_panel(seen: "Preview") -> str:
    """Draw a preview."""
    report = seen.report
    sizes = [
        (text(f"split.{split}"), text.number(rows.used), text("preview.rows"))
        for split, rows in report.rows.items()
    ]
    sizes.append((text("preview.median"), text.number(seen.median_characters), text("preview.characters")))
    sizes.append((text("preview.longest"), text.number(seen.longest_characters), text("preview.characters")))
    close = button(text("preview.close"), action="close", value="")
    title = (
        f'<div class="tt-row"><h2>{esc(text("preview.title"))}</h2>'
        f'<span class="muted grow">{esc(report.source.name)}</span>{close}</div>'
    )
    return page(
        f'{title}{tiles(sizes)}<div class="tt-two">{_balance(seen)}{_lengths(seen)}</div>'
        f"{_samples(seen)}{_account(report)}",
        "tt-card tt-stack",
    )


def _account(report: "DataReport") -> str:
    summary = text(
        "preview.account",
        n=text.number(sum(rows.read for rows in report.rows.values())),
        duplicates=text.number(report.removed),
    )
    return fold(summary, notes(report.sentences(texts=True)))


def _balance(seen: "Preview") -> str:
    total = max(seen.n, 1)
    rows = [
        (label, index, count / total, f"{text.number(count)} · {text.percent(count / total)}")
        for index, (label, count) in enumerate(seen.balance.items())
    ]
    return f'<div><h3 style="margin-bottom:8px">{esc(text("preview.balance"))}</h3>{bars(rows)}</div>'


def _lengths(seen: "Preview") -> str:
    counts = [part.n for part in seen.lengths]
    edges = [part.low - 1 for part in seen.lengths] + [seen.lengths[-1].high]
    title = text("preview.lengths")
    return f"<div><h3>{esc(title)}</h3>{histogram(counts, edges, title=title)}</div>"


def _samples(seen: "Preview") -> str:
    places = {label: place for place, label in enumerate(seen.balance)}
    rows = [
        row("", [(esc(seen_row.text), "text"), (label_chip(seen_row.label, places[seen_row.label]), "chips")])
        for seen_row in seen.rows
    ]
    head = [(text("preview.text"), ""), (text("preview.label"), "")]
    return table(head, rows, caption=text("preview.samples"), css="tt-cards")
