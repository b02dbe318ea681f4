"""The recipe's settings as a form: one component a setting, chosen by its type.

    form = RecipeForm.build("quick")
    recipe = form.recipe("quick", values)       # values in the form's order; RecipeError for a bad one

New settings appear here by themselves. Base and data have fields of their own in the Train tab.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from training.recipes import Recipe, Setting, change, load_recipe, settings
from ui.html import HEADING, html
from ui.translations import I18N

ELSEWHERE = (
    "name",
    "description",
    "base",
    "dataset",
    "text_column",
    "label_column",
    "label_names",
    "more_data",
    "teacher",
    "unlabelled",
)
GROUPS = {
    "data": ("n_validation", "n_test", "stratified", "leak_gate", "seed", "max_length"),
    "prompt": ("label_words", "prompt_prefix", "prompt_suffix", "head"),
    "network": ("trunk_layers", "lora_r", "lora_alpha", "lora_dropout", "state_noise", "onnx"),
}
"""The less frequent settings; those in no group belong to the optimiser."""
FREQUENT = ("n_train", "epochs", "learning_rate", "batch_size", "depth", "method")


def built_in(name: str) -> Recipe:
    """Return a built-in recipe; visitors must not reach other files. Raises RecipeError."""
    return load_recipe(Path(name or "").name.removesuffix(".toml"))


@dataclass(frozen=True)
class RecipeForm:
    """The form's components, by setting."""

    fields: dict[str, gr.Component]

    @classmethod
    def build(cls, recipe: Recipe) -> "RecipeForm":
        """Draw the form inside the current Blocks, in a fold: frequent settings first."""
        known = {field.name: field for field in settings() if field.name not in ELSEWHERE}
        fields: dict[str, gr.Component] = {}
        with (
            gr.Accordion(I18N("train.all_settings"), open=False, elem_id="settings"),
            gr.Group(elem_classes="tt-form"),
        ):
            for names in (FREQUENT[i : i + 2] for i in range(0, len(FREQUENT), 2)):
                with gr.Row():
                    fields |= {name: _component(known[name], recipe) for name in names}
            rest = [name for name in known if name not in (*FREQUENT, *sum(GROUPS.values(), ()))]
            for group, names in {**GROUPS, "optimiser": tuple(rest)}.items():
                html(I18N(f"train.group_{group}"), html_template=HEADING)
                for pair in (names[i : i + 2] for i in range(0, len(names), 2)):
                    with gr.Row():
                        fields |= {name: _component(known[name], recipe) for name in pair}
        return cls(fields)

    @property
    def components(self) -> list[gr.Component]:
        """The components, in the order in which `values` and `recipe` take them."""
        return list(self.fields.values())

    def values(self, recipe: Recipe) -> list[object]:
        return [_shown(getattr(recipe, name)) for name in self.fields]

    def recipe(self, name: str, values: Sequence[object], **others: str) -> Recipe:
        """Return the named recipe with the form's changes. Raises RecipeError."""
        recipe = built_in(name)
        given = {key: _text(value) for key, value in zip(self.fields, values, strict=True)}
        changes = {key: text for key, text in given.items() if text != _text(_shown(getattr(recipe, key)))}
        return change(recipe, {**changes, **others})


def _component(setting: Setting, recipe: Recipe) -> gr.Component:
    value: Any = _shown(getattr(recipe, setting.name))
    label, info = I18N(f"setting.{setting.name}"), I18N(f"help.{setting.name}")
    if setting.choices:
        return gr.Dropdown(list(setting.choices), value=value, min_width=140, label=label, info=info)
    if setting.kind is bool:
        return gr.Checkbox(value=value, min_width=140, label=label, info=info)
    if setting.kind in (int, float):
        whole = setting.kind is int
        return gr.Number(
            value=value,
            precision=0 if whole else None,  # limits are the recipe's: its sentence names the setting
            step=1 if whole else 0.0001,
            min_width=140,
            label=label,
            info=info,
        )
    return gr.Textbox(value=value, max_lines=1, min_width=140, label=label, info=info)


def _shown(value: object) -> object:
    """Return a setting as its component shows it: lists with commas, line ends as \\n."""
    if isinstance(value, tuple):
        return ", ".join(value)
    return value.replace("\n", "\\n") if isinstance(value, str) else value


def _text(value: object) -> str:
    """Return a component's value as the text that `change` takes; 2.0 and 2 give the same."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.10g}" if isinstance(value, float) else str(value)
