"""The Train tab: choose base, data and recipe; preview the data; start, follow, use and publish runs.

    tab = build_train(workbench)
    tab.timer            # ticks while the tab is open; the page switches it on and off

All state lives in runs/, so every run is there after a reload or a restart. Each handler that changes
something first checks the visitor's rights. Knows nothing about how training is done.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from inference.common.errors import DataError, RecipeError, RunError
from inference.common.names import read_id
from inference.common.paths import cache_dir
from inference.common.store import JsonObject, write_bytes
from inference.tables.formats import open_texts
from training.audit.findings import Audit
from training.fit.beforehand import beforehand
from training.recipes import Recipe, available_recipes, change, load_recipe
from training.runs.process import cancel, resume, start
from training.runs.run import (
    ACTIVE,
    ADAPT,
    AUDIT,
    FORECAST,
    TRAIN,
    TUNE,
    Run,
    create_run,
    delete,
    list_runs,
    long_runs,
    rename,
    running,
    with_whole_paths,
)
from training.studies.adapt_order import AdaptOrder, adapt_recipe
from training.studies.audit_order import LABEL_ROWS, AuditOrder
from training.studies.forecast_order import ForecastOrder
from training.studies.forgetting_order import ForgettingOrder, check_finished
from training.studies.order import SearchOrder, usual_space
from ui.account import (
    SpaceSettings,
    Visitor,
    build_login,
    changes_something,
    check_may_train,
    may_train,
    standing,
    visitor_of,
)
from ui.html import HEADING, QUIET, REMARK, busy, esc, html, into_view, muted, note, page
from ui.state import Workbench, known_run
from ui.train.audit import audit_of, audit_panel
from ui.train.form import RecipeForm, built_in
from ui.train.kept import KeptForm
from ui.train.publish import build_publish
from ui.train.recipe_files import HUB_ID, UPLOADS, build_recipe_files, wire_recipe_files
from ui.train.view import has_curves, preview_panel, read_run, run_panel, runs_table, short_name
from ui.translations import I18N, text

if TYPE_CHECKING:
    from training.data.preview import Preview

SOURCES = ("auto", "embedded", "hub", "file")
BASES = ("auto", "embedded", "openai-community/gpt2", "distilbert/distilgpt2", "openai-community/gpt2-medium")
ACTIONS = ("cancel", "resume", "use", "forgetting", "rename", "delete")
MOST_WAITING = 10
TRIALS = 20
"""Of a search."""
MOST_OTHERS = 8
"""Runs whose curves can be laid over the chosen one's."""
_TELLING = ("method", "depth", "n_train", "epochs", "trunk_layers")
"""The settings that a training's time depends on most."""
_ADAPTS = ("text_column", "label_column", "label_names", "seed")
"""What an adaptation takes from the form of the data, too: held-out rows must not be learnt."""
_ALIKE = 4.0  # a run predicts another's time if neither has more than so many times the other's work


@dataclass(frozen=True)
class TrainTab:
    """What the page wires: `refresh`, the timer, and the events after which a model may have changed."""

    timer: gr.Timer
    refresh: Callable[..., tuple[object, ...]]
    inputs: list[gr.Component]
    outputs: list[gr.Component]
    chosen: gr.State
    model_changed: list[gr.events.Dependency]
    audit: gr.HTML
    """The audit of the chosen data; `select`: somebody wants to review its flagged labels."""
    panel: gr.HTML
    """The chosen run; `select` with "check": somebody wants to review the labels that this audit flagged."""
    asked: list[Any]
    flagged: Callable[[Sequence[Any]], tuple[Audit, Recipe]]
    """Returns the audit and the recipe for the values of `asked`."""
    kept: KeptForm


def chosen_data(kind: str, hub_id: str, file: str | None) -> str:
    """Return the recipe's `dataset`. Raises DataError. A copy of a file is kept, for resumed runs."""
    if kind == "hub":
        repo_id = read_id(hub_id or "", "dataset")
        if not HUB_ID.fullmatch(repo_id) or Path(repo_id).exists():
            raise DataError(f"{repo_id!r} is not the id of a data set on the Hub. Write it as owner/name.")
        return repo_id
    if kind != "file":
        return kind
    if not file:
        raise DataError("No file was uploaded. Choose a CSV, TSV, JSONL or Parquet file, or other data.")
    content = Path(file).read_bytes()
    folder = cache_dir() / "uploads" / hashlib.sha256(content).hexdigest()[:12]
    kept = folder / Path(file).name[-80:]  # its own name, which errors, notes and runs show
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(kept, content)  # replaces an earlier upload, whole or not
    except OSError as error:
        raise DataError(f"The file can't be kept ({error.strerror}). Make room for it.") from error
    return str(kept)


def columns_of(file: str) -> tuple[tuple[str, ...], str, str]:
    """Return a file's columns and a guess of those with texts (else the longest) and labels (fewest values).

    Raises DataError if it can't be read.
    """
    from training.data.read import read_path  # noqa: PLC0415  (takes a second: not before the first page)

    table = next(iter(read_path(Path(file)).tables.values()))
    columns = {name: [str(value) for value in table.column(name)] for name in table.names}
    found: dict[str, str] = {}
    for kind in ("text", "label"):
        with suppress(DataError):
            found[kind] = table.pick(kind, where="")  # type: ignore[arg-type]
    longest = max(columns, key=lambda name: sum(map(len, columns[name])))
    text_column = found.get("text") or longest
    others = [name for name in columns if name != text_column and len(set(columns[name])) > 1]
    fewest = min(others, key=lambda name: len(set(columns[name])), default="")
    names = tuple(dict.fromkeys((*table.names, *found.values())))  # nested values too
    return names, text_column, found.get("label") or fewest


def preview_of(recipe: Recipe) -> "Preview":
    """Return the Preview of a recipe's data. Raises DataError if it can't be read or trained on."""
    from training.data.load import load_splits  # noqa: PLC0415
    from training.data.preview import preview  # noqa: PLC0415  (takes a second: not before the first page)

    return preview(load_splits(recipe.data))


def begin(workbench: Workbench, recipe: Recipe, *, kind: str = TRAIN) -> Run:
    """Start a new run, which waits for earlier ones. Raises RunError if too many are waiting.

    `kind`: a training, or a search, a forecast or an audit around the recipe, as the command line starts
    them.
    """
    if kind != AUDIT:
        _refuse_more(recipe, workbench.settings)

    def create() -> Run:
        if recipe.dataset not in ("auto", "embedded"):
            preview_of(recipe)  # unusable data leaves no failed run behind
        return (
            create_run(recipe) if kind == TRAIN else _order(workbench, kind, recipe).create(name=recipe.name)
        )

    return _enter(workbench, create)


def adapt(workbench: Workbench, recipe: Recipe, file: str | None, *, name: str = "") -> Run:
    """Start the adaptation of a recipe's base to a file of texts; the recipe's held-out rows are not learnt.

    `name`: its own, else the file's. Raises DataError, BaseError or RunError.
    """
    corpus = chosen_data("file", "", file)
    _, text_column, _ = columns_of(corpus)
    if most := workbench.settings.max_train_rows:
        table = open_texts(Path(corpus), text_column=text_column)
        if (rows := sum(len(chunk.problems) for chunk in table.chunks())) > most:
            raise RunError(f"An adaptation may have {most:,} texts here (found {rows:,}). Give fewer.")
    changes = {name: getattr(recipe, name) for name in ("base", "dataset", *_ADAPTS)}
    own = with_whole_paths(adapt_recipe(name or Path(corpus).stem, changes))
    order = AdaptOrder(recipe=own.model_dump(), corpus=corpus, text_column=text_column)
    return _enter(workbench, lambda: order.create(name=own.name))


def study_forgetting(workbench: Workbench, runs: Sequence[Run]) -> Run:
    """Start a study of what finished trainings forgot. Raises RunError for one without a model."""
    for run in runs:
        check_finished(run)
    order = ForgettingOrder(runs=tuple(str(run.path) for run in runs))
    return _enter(workbench, lambda: order.create(name=runs[0].id))


def _enter(workbench: Workbench, create: Callable[[], Run]) -> Run:
    with workbench.starting:
        _refuse_crowd()
        run = create()
        start(run, max_minutes=workbench.settings.max_run_minutes)
    return run


def _order(workbench: Workbench, kind: str, recipe: Recipe) -> ForecastOrder | SearchOrder | AuditOrder:
    asked = with_whole_paths(recipe).model_dump()
    if kind == AUDIT:
        return AuditOrder(
            recipe=asked, label_rows=min(workbench.settings.max_train_rows or LABEL_ROWS, LABEL_ROWS)
        )
    if kind == FORECAST:
        return ForecastOrder(recipe=asked)
    return SearchOrder(recipe=asked, trials=TRIALS, space=usual_space(recipe))


def act(workbench: Workbench, action: str, run_id: str, answer: str = "") -> str:
    """Cancel, resume, rename (to `answer`) or delete a run, use its model, or study what it forgot.

    A study compares it with the run `answer`, if there is one. Returns the id of the run to be shown.

    Raises RunError or ArtifactError.
    """
    if action not in ACTIONS:
        return run_id
    run = known_run(run_id, kind=TRAIN if action in ("use", "forgetting") else None)
    if action == "cancel":
        cancel(run)
    elif action == "resume":
        with workbench.starting:
            _refuse_crowd()
            resume(run, max_minutes=workbench.settings.max_run_minutes)
    elif action == "use":
        run.check()
        if run.status().state != "finished":
            raise RunError(f"The run {run.id} is not finished, so it has no model yet. Wait, or resume it.")
        workbench.use(str(run.artifact))
    elif action == "forgetting":
        return study_forgetting(workbench, [run, *([known_run(answer, kind=TRAIN)] if answer else [])]).id
    else:
        model = workbench.model.run
        if model and model.path == run.path:
            raise RunError(f"The model of the run {run.id} is in use. Use another model first.")
        if action == "rename":
            return rename(run, answer).id
        delete(run)
        return ""
    return run.id


def _refuse_more(recipe: Recipe, settings: SpaceSettings) -> None:
    most = settings.max_train_rows
    added = _count(recipe.more_data) if most else 0
    if most and not 0 < recipe.n_train <= most - added:
        asked = f"{recipe.n_train:,}" if recipe.n_train else "all"
        more = f" and {added:,} labels on top" if added else ""
        raise RunError(
            f"A run may have {most:,} training rows here, and {asked}{more} were asked for. "
            f"Set Training rows to {max(most - added, 0)} or fewer."
        )
    if most and recipe.unlabelled.strip() and not 0 < recipe.n_unlabelled <= most:
        asked = f"{recipe.n_unlabelled:,}" if recipe.n_unlabelled else "all"
        raise RunError(
            f"A run may have {most:,} texts without labels here, and {asked} were asked for. "
            f"Set Texts without labels drawn to {most} or fewer."
        )


def _count(file: str) -> int:
    """Return how many labelled texts a file of the duel adds at most."""
    return sum(1 for line in Path(file).read_bytes().splitlines() if line.strip()) if file else 0


def _refuse_crowd() -> None:
    waiting = sum(run.was_started and run.status().state == "queued" for run in list_runs(kind=None))
    if waiting >= MOST_WAITING:
        raise RunError(
            f"{waiting} runs are waiting already, the most that may. Cancel one, or come back later."
        )


def draw(workbench: Workbench, chosen: str, *, over: str = "", may: bool = True) -> tuple[str, str]:
    """Return the HTML of the chosen run (else the running, else the newest) and of the list of runs.

    `over`: the run whose curves are laid over its own; `may`: whether the visitor gets buttons for actions.
    """
    runs, now = long_runs(), time.time()
    by_id = {run.id: run for run in runs}
    run = by_id.get(chosen) or running() or (runs[0] if runs else None)
    model = workbench.model
    loaded = model.run.id if model.run and model.state == "ready" else ""
    ended = [one for one in runs if one.kind == TRAIN and one.status().state not in ACTIVE]
    other = next((one for one in ended if one.id == over and one != run), None)
    panel = run_panel(
        read_run(run) if run else None,
        now=now,
        loaded=loaded,
        may=may,
        over=read_run(other) if other else None,
        others=list(islice(filter(has_curves, ended), MOST_OTHERS)),
    )
    if chosen and chosen not in by_id:
        panel = page(note(text("train.no_such_run", run=chosen[:80]), "warn")) + panel
    return panel, runs_table(runs, run.id if run else "", now=now, loaded=loaded, may=may)


def expected(name: str, base: str, *settings: object) -> str:
    """Say what a training takes: time, memory, and what is trained; `settings`: the values of _TELLING."""
    values = {key: str(value) for key, value in zip(_TELLING, settings, strict=True) if value is not None}
    try:
        recipe = change(built_in(name), {**values, "base": (base or "auto").strip()})
        found = beforehand(recipe)
    except RecipeError:
        return ""  # Start says what is wrong
    sentences = [_by_another(recipe)]
    if found and found.high_s and not sentences[0]:
        low, high = (text.number(max(1, round(each / 60))) for each in (found.low_s, found.high_s))
        sentences = [text("train.rough", low=low, high=high)]
    if found:
        layers = {"n": text.number(found.trained), "layers": text.number(found.layers)}
        memory = text.number(found.memory_bytes / 1e9, 1)
        sentences.append(text(f"train.trained_{recipe.method}", memory=memory, **layers))
    shown = " ".join(filter(None, sentences))
    return page(muted(shown)) if shown else ""


def _by_another(asked: Recipe) -> str:
    """Estimate a training's time by a run of the same kind and about as much work; "" without one."""
    work = asked.n_train * asked.epochs
    for run in list_runs():
        recipe, status = run.known_recipe, run.status()
        if recipe is None:
            continue
        done = recipe.n_train * recipe.epochs
        alike = all(getattr(recipe, key) == getattr(asked, key) for key in ("base", "method", "depth"))
        if not (alike and status.state == "finished" and status.started_at and status.finished_at):
            continue
        if work and done and 1 / _ALIKE <= work / done <= _ALIKE:
            seconds = (status.finished_at - status.started_at) * work / done
            return text("train.expected", time=text.duration(seconds), run=short_name(run.id))
    return ""


def build_train(workbench: Workbench) -> TrainTab:
    """Draw the tab inside the current Blocks."""
    chosen, over, shown = gr.State(""), gr.State(""), gr.State([])
    timer = gr.Timer(1.0, active=False)
    strip = build_login()
    with gr.Row(elem_classes="tt-columns"):
        with gr.Column(scale=1, min_width=320, elem_id="train-form"):
            with gr.Column(elem_classes="tt-panel", elem_id="starting") as starting:
                go = gr.Button(I18N("train.start"), variant="primary", size="lg", elem_id="start-training")
            data = _data_form(workbench.settings.dataset)
            recipe_name, base, about, form, name = _recipe_form(load_recipe("quick"), workbench.settings.base)
            files, studies = _more()
            decisive = [recipe_name, base, *(form.fields[key] for key in _TELLING)]
            with starting:
                html(expected, inputs=decisive, elem_id="expected")
        with gr.Column(scale=2, min_width=320):
            preview = html(elem_id="data-preview", actions=True)
            audit = html(elem_id="data-audit", actions=True)
            panel = html(elem_id="run-panel", actions=True)
            runs = html(elem_id="run-list", actions=True)
            publish = build_publish(workbench.settings, workbench.publications)
    publishing: list[gr.Component] = [publish.run, publish.panel, publish.login, publish.preview]
    starters: list[gr.Component] = [*studies.values(), data.preview]
    outputs = [panel, runs, strip, go, *starters, *publishing, shown]
    inputs: list[gr.Component] = [*data.inputs, base, recipe_name, *form.components]
    _wire_preview(workbench, data, form, inputs, (preview, audit))

    def refresh(
        chosen: str, shown: list[str], over: str, request: gr.Request, profile: gr.OAuthProfile | None
    ) -> tuple[object, ...]:
        """Draw again; send only what has changed, so that nothing flickers or loses focus."""
        visitor = visitor_of(request, profile)
        may = may_train(workbench.settings, visitor)
        drawn: list[Any] = [
            *draw(workbench, chosen, over=over, may=may),
            standing(workbench.settings, visitor),
            {"interactive": may, "value": text("train.enqueue" if running() else "train.start")},
            *[{"interactive": may}] * len(starters),
            *publish.draw(visitor, chosen),
        ]
        new = [gr.update(**each) if isinstance(each, dict) else each for each in drawn]
        old: Sequence[object] = shown or [None] * len(drawn)
        return (
            *(gr.skip() if was == now else to for was, now, to in zip(old, drawn, new, strict=True)),
            drawn,
        )

    started = [chosen, preview, audit, panel, runs]
    _wire_start(workbench, form, {TRAIN: go, **studies}, [*inputs, name], started)
    kept = KeptForm(form, [*inputs, name], about, columns_of)
    kept.wire()
    filled = [*data.inputs[:2], *data.inputs[3:], base, about, name, *form.components, recipe_name]
    wire_recipe_files(lambda values: _recipe(form, values), form, inputs, files, panel=panel, filled=filled)
    timer.tick(
        refresh,
        [chosen, shown, over],
        outputs,
        api_name="refresh_runs",
        api_visibility="undocumented",
        show_progress="hidden",
        queue=False,
    )
    changed = [_wire_actions(workbench, source, [chosen, over, panel, runs]) for source in (panel, runs)]
    _api(workbench)

    def flagged(values: Sequence[Any]) -> tuple[Audit, Recipe]:
        recipe = _recipe(form, tuple(values))
        found = audit_of(recipe.data.whole())
        if found is None:
            raise DataError("This data has too many rows to be looked through here. Audit it as a run.")
        return found, recipe

    drawn: list[gr.Component] = [chosen, shown, over]
    return TrainTab(timer, refresh, drawn, outputs, chosen, changed, audit, panel, inputs, flagged, kept)


def _more() -> tuple[
    tuple[gr.Button, gr.UploadButton, gr.DownloadButton], dict[str, gr.Button | gr.UploadButton]
]:
    """Draw the fold of rare actions: recipe files, and what else than a training can be started."""
    with gr.Accordion(I18N("train.more"), open=False, elem_id="train-more"):
        files = build_recipe_files()
        with gr.Row(elem_classes="tt-buttons"):
            studies: dict[str, gr.Button | gr.UploadButton] = {
                kind: gr.Button(I18N(f"train.{kind}"), size="sm", min_width=140, elem_id=f"start-{kind}")
                for kind in (AUDIT, TUNE, FORECAST)
            }
            studies[ADAPT] = gr.UploadButton(
                I18N("train.adapt"),  # type: ignore[arg-type]
                size="sm",
                min_width=140,
                file_types=list(UPLOADS),
                elem_id="start-adapt",
            )
        html(I18N("train.studies_how"), html_template=REMARK)
    return files, studies


def _wire_start(
    workbench: Workbench,
    form: RecipeForm,
    buttons: dict[str, gr.Button | gr.UploadButton],
    inputs: list[gr.Component],
    outputs: list[Any],
) -> None:
    """Wire what starts a run, each of its kind: a button, or the upload of what a base is adapted to."""

    def starting(kind: str) -> Callable[..., tuple[object, ...]]:
        @changes_something(workbench.settings)
        def start_it(visitor: Visitor, *values: Any) -> tuple[object, ...]:
            *settings, own_name = values[1:] if kind == ADAPT else values
            recipe = _recipe(form, tuple(settings))
            if own_name := str(own_name or "").strip()[:60]:
                recipe = change(recipe, {"name": own_name})
            if kind == ADAPT:
                run = adapt(workbench, recipe, values[0], name=own_name)
            else:
                run = begin(workbench, recipe, kind=kind)
            return (run.id, "", "", *draw(workbench, run.id))

        return start_it

    for kind, button in buttons.items():
        pressed = button.upload if isinstance(button, gr.UploadButton) else button.click
        pressed(
            starting(kind),
            [button, *inputs] if kind == ADAPT else inputs,
            outputs,
            api_name=f"start_{'training' if kind == TRAIN else kind}",
            concurrency_id="train",
            concurrency_limit=1,
            show_progress="hidden",
        ).success(None, None, None, js=into_view("run-panel"))


@dataclass(frozen=True)
class _DataForm:
    inputs: list[Any]
    preview: gr.Button
    more: gr.Accordion
    """The fold with columns and labels."""


def _data_form(proposed: str) -> _DataForm:
    kind_first = proposed if proposed in ("auto", "embedded") else "hub"
    with gr.Column(elem_classes="tt-panel"):
        html(I18N("train.data_title"), html_template=HEADING)
        kind = gr.Radio(
            [(I18N(f"train.data_{name}"), name) for name in SOURCES],
            value=kind_first,
            label=I18N("train.data"),
            info=I18N("train.data_help"),
            container=False,
            elem_id="data-kind",
        )
        hub_id = gr.Textbox(
            proposed if kind_first == "hub" else "",
            label=I18N("train.hub_id"),
            placeholder="owner/name",
            visible=kind_first == "hub",
            max_lines=1,
        )
        file = gr.File(
            label=I18N("train.file"), file_types=list(UPLOADS), visible=False, height=150, elem_id="data-file"
        )
        with gr.Accordion(I18N("train.columns"), open=False) as more, gr.Group(elem_classes="tt-form"):
            with gr.Row():
                columns = [
                    gr.Dropdown(
                        [""],
                        value="",
                        label=I18N(f"setting.{name}"),
                        info=I18N(f"help.{name}"),
                        allow_custom_value=True,
                        min_width=140,
                    )
                    for name in ("text_column", "label_column")
                ]
            names = gr.Textbox(label=I18N("setting.label_names"), info=I18N("help.label_names"), max_lines=1)
        preview = gr.Button(I18N("train.preview"), size="md", elem_id="preview-data")
    kind.change(
        lambda kind: (gr.update(visible=kind == "hub"), gr.update(visible=kind == "file")),
        kind,
        [hub_id, file],
        **QUIET,
    )
    return _DataForm([kind, hub_id, file, *columns, names], preview, more)


def _recipe_form(
    first: Recipe, proposed: str
) -> tuple[gr.Dropdown, gr.Dropdown, gr.HTML, RecipeForm, gr.Textbox]:
    recipes = available_recipes()
    with gr.Column(elem_classes="tt-panel"):
        html(I18N("train.recipe_title"), html_template=HEADING)
        with gr.Row():
            base = gr.Dropdown(
                list(dict.fromkeys([proposed, *BASES])),
                value=proposed,
                label=I18N("setting.base"),
                info=I18N("help.base"),
                allow_custom_value=True,
                min_width=140,
                elem_id="base",
            )
            name = gr.Dropdown(
                list(recipes), value=first.name, label=I18N("setting.name"), min_width=140, elem_id="recipe"
            )
        about = html(I18N(f"recipe.{first.name}"), html_template=REMARK)
        form = RecipeForm.build(first)
        own = gr.Textbox(
            "", label=I18N("train.name"), placeholder=I18N("train.name_help"), max_lines=1, elem_id="run-name"
        )

    def show_recipe(name: str) -> list[object]:
        recipe = built_in(name)
        return [esc(text(f"recipe.{name}")), *form.values(recipe)]

    name.input(
        show_recipe, name, [about, *form.components], api_name="recipe", show_progress="hidden", queue=False
    )
    return name, base, about, form, own


def _recipe(form: RecipeForm, values: tuple[Any, ...]) -> Recipe:
    """Return the recipe of the whole form. Raises RecipeError or DataError."""
    kind, hub_id, file, text_column, label_column, label_names, base, name, *rest = values
    return form.recipe(
        name,
        rest,
        base=(base or "auto").strip(),
        dataset=chosen_data(kind, hub_id, file),
        text_column=text_column or "",
        label_column=label_column or "",
        label_names=label_names or "",
    )


def _wire_preview(
    workbench: Workbench,
    data: _DataForm,
    form: RecipeForm,
    inputs: list[gr.Component],
    panels: tuple[gr.HTML, gr.HTML],
) -> None:
    preview, audit = panels

    @changes_something(workbench.settings)
    def preview_data(visitor: Visitor, *values: object) -> Iterator[str]:
        drawn = ""
        yield busy(text("preview.loading"))
        try:
            drawn = preview_panel(preview_of(_recipe(form, values)))
        finally:
            yield drawn  # after an error this clears "loading"

    @changes_something(workbench.settings)
    def audit_data(visitor: Visitor, *values: object) -> Iterator[str]:
        drawn = ""
        yield busy(text("audit.looking"))
        try:
            drawn = audit_panel(audit_of(_recipe(form, values).data.whole()))
        finally:
            yield drawn

    def find_columns(file: str | None) -> tuple[object, ...]:
        """Offer the columns of an uploaded file, and open their fold."""
        if not file:
            return gr.skip(), gr.skip(), gr.skip()
        names, text_column, label_column = columns_of(file)
        guessed = [gr.update(choices=["", *names], value=name) for name in (text_column, label_column)]
        return (*guessed, gr.Accordion(open=True))

    kind, hub_id, file, *columns, _ = data.inputs
    shared: dict[str, Any] = {"show_progress": "hidden", "concurrency_id": "preview", "concurrency_limit": 1}
    # Clear the preview of other data, which would be taken for this one's.
    gr.on([each.change for each in (kind, hub_id, file)], lambda: ("", ""), None, [preview, audit], **QUIET)
    found = file.upload(find_columns, file, [*columns, data.more], **QUIET).success(
        preview_data, inputs, preview, api_visibility="private", **shared
    )
    pressed = data.preview.click(preview_data, inputs, preview, api_name="preview", **shared)
    for seen in (found, pressed):
        seen.success(
            audit_data,
            inputs,
            audit,
            api_name="audit" if seen is pressed else None,
            api_visibility="public" if seen is pressed else "private",
            show_progress="hidden",
            concurrency_id="audit",
            concurrency_limit=1,
        )
    data.preview.click(None, None, None, js=into_view("data-preview"))
    preview.select(lambda: ("", ""), None, [preview, audit], **QUIET)


def _wire_actions(workbench: Workbench, source: gr.HTML, outputs: list[Any]) -> gr.events.Dependency:
    def on_action(
        current: str, over: str, request: gr.Request, event: gr.EventData, profile: gr.OAuthProfile | None
    ) -> tuple[str, str, str, str]:
        action, run_id, visitor = event.action, event.value, visitor_of(request, profile)
        # The page's script opens a tab; another handler fills the form.
        if action in ("tab", "take", "recipe", "onward", "check"):
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        if action == "over":
            run_id, over = current, run_id
        if action in ACTIONS:  # else the run is only selected
            check_may_train(workbench.settings, visitor)
        if action == "use":
            gr.Info(text("train.loading", run=run_id), duration=4)
        answer = over if action == "forgetting" else str(getattr(event, "answer", "") or "")
        run_id = act(workbench, action, run_id, answer)
        may = may_train(workbench.settings, visitor)
        return (run_id, over, *draw(workbench, run_id, over=over, may=may))

    return source.select(
        on_action,
        outputs[:2],
        outputs,
        api_visibility="private",
        show_progress="hidden",
        concurrency_id="actions",
        concurrency_limit=2,
    )


def _api(workbench: Workbench) -> None:
    """Add API endpoints that do the same as the buttons in the lists."""

    @changes_something(workbench.settings)
    def run_action(visitor: Visitor, action: str, run_id: str, answer: str = "") -> str:
        if action not in ACTIONS:
            raise RunError(f"{action!r} is no action. Choose {', '.join(ACTIONS[:-1])} or {ACTIONS[-1]}.")
        return f"{action}: {act(workbench, action, run_id, answer) or run_id}"

    def list_all() -> list[JsonObject]:
        found = [(run, run.known_recipe) for run in list_runs()]
        return [
            {"id": run.id, "recipe": recipe.name if recipe else "", "state": run.status().state}
            for run, recipe in found
        ]

    gr.api(run_action, api_name="run_action", concurrency_id="actions")
    gr.api(list_all, api_name="runs", queue=False)
