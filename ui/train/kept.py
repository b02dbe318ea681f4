"""Keeps the Train tab's form in the browser, so that a reload or a lost connection loses none of it.

    kept = KeptForm(form, [*data.inputs, base, name, *form.components, own_name], about, columns_of)
    kept.wire()                                   # each change is written to the browser's storage
    demo.load(kept.restore, field, kept.outputs, js=READ_JS)

The browser's copy may be from another version, or forged: it is restored if it is whole and valid, else
ignored. Of an upload it holds the path on the server, which is only accepted inside the folder of uploads.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from inference.common.errors import TweetTuneError
from ui.html import esc
from ui.train.form import RecipeForm
from ui.translations import text

_KEY = "tweettune-form"
READ_JS = f"() => [localStorage.getItem('{_KEY}') || '']"
_BEFORE = ("kind", "hub_id", "file", "text_column", "label_column", "label_names", "base", "recipe")
_KINDS = ("auto", "embedded", "hub", "file")
_LONGEST = 20_000


@dataclass(frozen=True)
class KeptForm:
    """The form's fields: data, base, the recipe's name, its settings, the run's own name."""

    form: RecipeForm
    fields: list[Any]
    about: gr.HTML
    """The description of the recipe."""
    columns_of: Callable[[str], tuple[tuple[str, ...], str, str]]

    @property
    def outputs(self) -> list[Any]:
        return [*self.fields, self.about]

    def wire(self) -> None:
        """Write the fields to the browser's storage whenever one of them changes."""
        names = json.dumps([*_BEFORE, *self.form.fields, "own_name"])
        store = (
            f"(...values) => localStorage.setItem('{_KEY}', JSON.stringify(Object.fromEntries("
            f"{names}.map((name, place) => [name, values[place] ?? null]))))"
        )
        changes = [each.change for each in self.fields]
        gr.on(changes, None, self.fields, None, js=store, api_visibility="private", show_progress="hidden")

    def restore(self, kept: str) -> list[object]:
        """Return the values of the fields; nothing changes if nothing usable was kept."""
        found: object = None
        with suppress(ValueError, RecursionError):
            found = json.loads(kept) if kept and len(kept) < _LONGEST else None
        if isinstance(found, dict):
            with suppress(TweetTuneError, KeyError, TypeError, ValueError):
                return self._filled(found)
        return [gr.skip()] * len(self.outputs)

    def _filled(self, found: dict[str, Any]) -> list[object]:
        """Return the values of all fields. Raises the recipe's error for an invalid value."""
        settings = [found[name] for name in self.form.fields]
        name, kind = str(found["recipe"]), str(found["kind"])
        self.form.recipe(name, settings)
        if kind not in _KINDS:
            raise ValueError(kind)
        file, choices = _uploaded(found["file"]), [""]
        if file:
            choices += self.columns_of(file)[0]
        columns = [gr.update(choices=choices, value=str(found[key] or "")) for key in _BEFORE[3:5]]
        return [
            kind,
            gr.update(value=str(found["hub_id"] or ""), visible=kind == "hub"),
            gr.update(value=file, visible=kind == "file"),
            *columns,
            str(found["label_names"] or ""),
            str(found["base"] or "auto"),
            name,
            *settings,
            str(found["own_name"] or ""),
            esc(text(f"recipe.{name}")),
        ]


def _uploaded(kept: object) -> str | None:
    """Return an upload's path if it still exists; no other file of the server is accepted."""
    path = Path(str(kept.get("path") or "")) if isinstance(kept, dict) else Path()
    inside = Path(get_upload_folder()).resolve()
    return str(path) if path.is_file() and path.resolve().is_relative_to(inside) else None
