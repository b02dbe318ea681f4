"""Saves the form as a recipe file and loads one, in the format of the command line.

    save, load, file = build_recipe_files()
    filled_in(form, load_recipe("mine.toml"))      # -> values for data, columns, base, name and settings

Knows nothing about runs but where a search keeps the best recipe.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from inference.tables.rows import ENDINGS
from training.doctor.diagnose import changed, examine
from training.recipes import Recipe, change, load_recipe, save_recipe
from training.runs.run import TUNE
from training.studies.order import BEST
from ui.html import SAVE_JS, esc
from ui.state import export_folder, known_run
from ui.train.form import RecipeForm, built_in
from ui.translations import I18N, text

UPLOADS = (*ENDINGS, ".gz")
HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?(:[\w.+-]+)?")


def build_recipe_files() -> tuple[gr.Button, gr.UploadButton, gr.DownloadButton]:
    """Draw the buttons that save and load a recipe; the page presses the third once the file is made."""
    label: Any = I18N("train.recipe_load")
    with gr.Row(elem_classes="tt-buttons"):
        save = gr.Button(I18N("train.recipe_save"), size="sm", min_width=130, elem_id="recipe-save")
        load = gr.UploadButton(label, file_types=[".toml"], size="sm", min_width=130, elem_id="recipe-load")
    return save, load, gr.DownloadButton("TOML", visible="hidden", elem_id="recipe-file")


def filled_in(form: RecipeForm, recipe: Recipe) -> list[object]:
    """Return a recipe's values for the form: data, columns, base, description, name, settings.

    A recipe's own data file is not loaded: the visitor uploads it.
    """
    is_hub = bool(HUB_ID.fullmatch(recipe.dataset)) and not recipe.dataset.lower().endswith(UPLOADS)
    kind = recipe.dataset if recipe.dataset in ("auto", "embedded") else "hub" if is_hub else "file"
    return [
        kind,
        gr.update(value=recipe.dataset if kind == "hub" else "", visible=kind == "hub"),
        recipe.text_column,
        recipe.label_column,
        ", ".join(recipe.label_names),
        recipe.base,
        esc(recipe.description),
        recipe.name,
        *form.values(recipe),
    ]


def wire_recipe_files(
    recipe_of: Callable[..., Recipe],
    form: RecipeForm,
    inputs: list[gr.Component],
    buttons: tuple[gr.Button, gr.UploadButton, gr.DownloadButton],
    *,
    panel: gr.HTML,
    filled: list[Any],
) -> None:
    """Wire saving the form as a recipe, and filling it from a file, a search's best, or the doctor's changes.

    `recipe_of` makes a recipe from the values of `inputs`; `filled`: the components that `filled_in` fills,
    and the choice of a built-in recipe.
    """
    save, load, file = buttons
    quiet: dict[str, Any] = {"show_progress": "hidden"}  # queued, else gr.Info shows nothing

    def save_recipe_file(kind: str, hub_id: str, uploaded: str | None, *values: Any) -> str:
        recipe = recipe_of(("auto" if kind == "file" else kind, hub_id, None, *values))
        if kind == "file" and uploaded:
            recipe = change(recipe, {"dataset": Path(uploaded).name})
        place = export_folder() / f"{recipe.name}.toml"  # of a built-in one
        place.parent.mkdir()
        save_recipe(recipe, place)
        return str(place)

    def load_recipe_file(path: str) -> list[object]:
        return fill(load_recipe(path))

    def fill(recipe: Recipe) -> list[object]:
        values = filled_in(form, recipe)
        files = [name for name in ("more_data", "teacher", "unlabelled") if getattr(recipe, name)]
        if values[0] == "file":
            gr.Info(text("train.recipe_data", name=Path(recipe.dataset).name), duration=10)
        for name in files:
            gr.Info(text("train.recipe_left", name=text(f"setting.{name}")), duration=10)
        return [*values, gr.skip()]

    def take(event: gr.EventData) -> list[object]:
        if event.action != "take":
            return _pressed(form, event.action, event.value, len(filled))
        run = known_run(event.value, kind=None)
        if run.kind != TUNE:
            return fill(changed(run.recipe, examine(run)))
        recipe = load_recipe(run.path / BEST)
        gr.Info(text("train.taken"), duration=6)
        return [*[gr.skip()] * 5, *filled_in(form, recipe)[5:], gr.skip()]

    save.click(save_recipe_file, inputs, file, api_name="save_recipe", queue=False, **quiet).success(
        None, None, None, js=SAVE_JS.format("recipe-file")
    )
    load.upload(load_recipe_file, load, filled, api_name="load_recipe", **quiet)
    panel.select(take, None, filled, api_visibility="private", **quiet)


def _pressed(form: RecipeForm, action: str, value: str, n: int) -> list[object]:
    """Return the form's values for a built-in recipe or for a run as the base; the others stay."""
    if action == "onward":
        gr.Info(text("train.onward_how"), duration=8)
        return [*[gr.skip()] * 5, str(known_run(value, kind=None).artifact), *[gr.skip()] * (n - 6)]
    if action != "recipe":
        return [gr.skip()] * n
    recipe = built_in(value)
    about = esc(text(f"recipe.{recipe.name}"))
    return [*[gr.skip()] * 6, about, gr.skip(), *form.values(recipe), recipe.name]
