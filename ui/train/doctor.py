"""The doctor's diagnoses of a run on the Train tab, and a button that takes the changed recipe.

diagnosed(run, state, evaluations)    # what the doctor finds, as of so many evaluations
check_up(found, run, state)              # the same as HTML; `ui.train.recipe_files` handles the button
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache

from inference.common.errors import RecipeError
from training.doctor.diagnose import Diagnosis, changes_of, examine
from training.runs.run import Run
from ui.html import button, esc, fold, notes
from ui.translations import text

_NOT_IN_THE_FORM = ("more_data", "teacher", "unlabelled")


@lru_cache(maxsize=32)
def diagnosed(run: Run, state: str, evaluations: int) -> tuple[Diagnosis, ...]:
    """Return the doctor's diagnoses, cached until the state changes or there is another evaluation."""
    with suppress(RecipeError):
        return tuple(examine(run))
    return ()


def check_up(found: Sequence[Diagnosis], run: Run, state: str) -> str:
    """Draw what is wrong with a run and what to change; "" while nothing is known yet."""
    if not found and state != "finished":
        return ""
    if not found:
        return f'<p class="muted">{esc(text("doctor.nothing"))}</p>'
    act, recipe = "", run.known_recipe
    if recipe and (changes := changes_of(found)):
        changed = ", ".join(
            f"{text(f'setting.{name}')}: {_value(name, value)}" for name, value in changes.items()
        )
        beyond = any(getattr(recipe, name).strip() for name in _NOT_IN_THE_FORM)
        fill = "" if beyond else button(text("doctor.take"), action="take", value=run.id, css="go")
        sentence = esc(text("doctor.change", settings=changed))
        act = f'<div class="tt-row"><span class="grow">{sentence}</span>{fill}</div>'
    title = text("doctor.title", n=text.number(len(found)))
    return fold(title, f"{notes([one.sentence for one in found])}{act}")


def _value(name: str, value: object) -> str:
    """Write a setting's value; 0 as its meaning in the help: "all" of "training rows; 0: all"."""
    if value == 0 and (stands_for := re.search(r"\b0: (.+)$", text(f"help.{name}"))):
        return stands_for[1]
    return text.short(value) if isinstance(value, int | float) else str(value)
