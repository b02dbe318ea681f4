"""The Train tab's HTML: the run at work, the list of runs, the preview of the data.

Draws what `run_view` and `training.data.load` hand over; knows nothing about events, clicks or files.
"""

from collections.abc import Sequence
from typing import Any

from ui.html import button, empty, esc, note, notes, page, row, score_text, state_chip, table, tiles
from ui.plots import Series, legend, line_chart, titled
from ui.train.run_view import RunView, read_evaluation
from ui.translations import Texts

_LONGEST_LIST = 50


def run_panel(view: RunView | None, text: Texts, *, now: float, loaded: str = "", may: bool = True) -> str:
    """Draw the chosen run: where it stands, its curves, its result and what can be done with it.

    `loaded` is the id of the run whose model is in use; `may`: whether the visitor may do anything with it.
    """
    if view is None:
        return page(empty(text("train.no_run"), text("train.no_run_next")))
    parts = [
        _title(view, text, loaded, may),
        _standing(view, text, now),
        _curves(view, text),
        _result(view, text),
    ]
    parts.append(notes(view.notes))
    return page(f'<div class="tt-card"><div class="tt-stack">{"".join(parts)}</div></div>')


def _title(view: RunView, text: Texts, loaded: str, may: bool) -> str:
    run_id, actions = view.run.id, ""
    if not may:
        actions = f'<span class="muted">{esc(text("train.in_use"))}</span>' if run_id == loaded else ""
    elif view.active:
        actions = button(text("train.cancel"), action="cancel", value=run_id)
    elif view.resumable:
        actions = button(text("train.resume"), action="resume", value=run_id, css="go")
    elif run_id == loaded:
        actions = f'<span class="muted">{esc(text("train.in_use"))}</span>'
    elif view.status.state == "finished":
        actions = button(text("train.use"), action="use", value=run_id, css="go")
    return (
        f'<div class="tt-row"><h2>{esc(run_id)}</h2>{state_chip(view.status.state, text)}'
        f'<span class="grow"></span><span class="tt-actions">{actions}</span></div>'
    )


def _standing(view: RunView, text: Texts, now: float) -> str:
    status = view.status
    if status.state in ("failed", "interrupted", "cancelled"):
        css = "bad" if status.state == "failed" else "warn"
        return note(status.message or text(f"train.{status.state}"), css) + _tiles(view, text, now)
    if not view.active:
        return _tiles(view, text, now)
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
        f'<div style="width:{100 * share:.1f}%"></div></div></div>' + _tiles(view, text, now)
    )


def _tiles(view: RunView, text: Texts, now: float) -> str:
    entries = []
    if view.total_steps:
        entries.append((text("train.step"), text.number(view.step), f"/ {text.number(view.total_steps)}"))
        entries.append(
            (text("train.epoch"), text.short(view.epoch), f"/ {text.short(view.run.recipe.epochs)}")
        )
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


def _curves(view: RunView, text: Texts) -> str:
    if not view.loss:
        return ""
    train, validation = text("train.loss_train"), text("train.loss_validation")
    loss = line_chart(
        [
            Series(train, "train", view.loss, thin=True),
            Series(train, "train", view.smooth_loss),
            Series(validation, "validation", view.curve("loss"), dots=True),
        ],
        text=text,
        title=text("train.loss"),
        x_last=view.total_steps,
    )
    keys = legend([("tt-s-train", train), ("tt-s-validation", validation)])
    drawn = titled(text("train.chart_loss"), keys, loss)
    if view.curve("accuracy"):
        names = (text("score.accuracy"), text("score.macro_f1"))
        right = line_chart(
            [
                Series(names[0], "validation", view.curve("accuracy"), dots=True),
                Series(names[1], "second", view.curve("macro_f1"), dots=True),
            ],
            text=text,
            title=text("train.chart_validation"),
            x_last=view.total_steps,
            percent=True,
        )
        keys = legend([("tt-s-validation", names[0]), ("tt-s-second", names[1])])
        drawn += titled(text("train.chart_validation"), keys, right)
    else:
        drawn += titled(text("train.chart_validation"), "", note(text("train.no_validation_yet")))
    return f'<div class="tt-two">{drawn}</div>'


def _result(view: RunView, text: Texts) -> str:
    evaluation = view.evaluation
    if not evaluation or not evaluation.tuned:
        return ""
    sides = ((text("compare.base"), evaluation.base), (text("compare.tuned"), evaluation.tuned))
    shown = [(name, (side.scores.accuracy, side.scores.macro_f1)) for name, side in sides if side]
    rows = [row(esc(name), [(score_text(one, text), "num") for one in scores]) for name, scores in shown]
    head = [
        (text("train.result_head", n=text.number(evaluation.n)), ""),
        (text("score.accuracy"), "num"),
        (text("score.macro_f1"), "num"),
    ]
    return table(head, rows, caption=text("train.result"))


def runs_table(
    runs: Sequence[Any], chosen: str, text: Texts, *, now: float, loaded: str = "", may: bool = True
) -> str:
    """Draw the list of runs, newest first; `loaded` and `may` as for `run_panel`."""
    if not runs:
        return ""
    names = ("run", "state", "recipe", "data", "accuracy", "when")
    head = [(text(f"runs.{name}"), "num" if name == "accuracy" else "") for name in names] + [("", "")]
    rows = [
        _run_row(run, run.id == chosen, text, now, _action(run, run.id == loaded, may, text))
        for run in runs[:_LONGEST_LIST]
    ]
    title = f'<div class="tt-row" style="margin:4px 0 8px"><h2>{esc(text("runs.title"))}</h2></div>'
    return page(title + table(head, rows, caption=text("runs.title"), css="tall"))


def _action(run: Any, loaded: bool, may: bool, text: Texts) -> str:
    state = run.status().state
    if loaded:
        return f'<span class="muted">{esc(text("train.in_use"))}</span>'
    if may and state == "finished":
        return button(text("train.use_short"), action="use", value=run.id, about=run.id)
    if may and state in ("cancelled", "failed", "interrupted"):
        return button(text("train.resume"), action="resume", value=run.id, about=run.id)
    return ""


def _run_row(run: Any, chosen: bool, text: Texts, now: float, action: str) -> str:
    status, evaluation = run.status(), read_evaluation(run)
    tuned = evaluation.tuned if evaluation else None
    accuracy = score_text(tuned.scores.accuracy, text) if tuned else "–"
    show = button(run.id, action="show", value=run.id, css="link")
    state = state_chip(status.state, text)
    if status.state == "running":
        state += f' <span class="muted small">{text.percent(status.progress, 0)}</span>'
    data = run.recipe.dataset.rsplit("/", 1)[-1] if run.recipe.dataset.startswith("/") else run.recipe.dataset
    cells = [(state, "nowrap"), (esc(run.recipe.name), ""), (esc(data), ""), (accuracy, "num")]
    cells.append((esc(text.when(status.started_at, now=now)), "muted nowrap"))
    cells.append((f'<span class="tt-actions">{action}</span>', ""))
    return row(show, cells, css="chosen" if chosen else "")
