"""Two Gradio pieces that every tab uses: HTML without Gradio's own styling, and errors as sentences.

    panel = html(elem_id="run-panel", actions=True)
    with as_gradio_error():
        start(run)

Knows nothing about what is shown or done.
"""

from typing import Any

import gradio as gr

from inference.common.errors import TweetTuneError

HEADING = '<div class="tt"><h2>${value}</h2></div>'
REMARK = '<div class="tt"><p class="muted small">${value}</p></div>'
"""The templates of a section's title and of a remark, whose values are translated texts."""

ACTIONS_JS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-action]');
  if (button) trigger('select', {action: button.dataset.action, value: button.dataset.value});
});
"""


def html(value: Any = "", *, actions: bool = False, **options: Any) -> gr.HTML:
    """Return an HTML component for what `ui.html` draws; with `actions`, `select` tells which button."""
    options.setdefault("js_on_load", ACTIONS_JS if actions else None)
    return gr.HTML(value, apply_default_css=False, **options)


def into_view(elem_id: str) -> str:
    """Return the script that scrolls a part of the page into view, where it is not yet."""
    shown = f"document.getElementById('{elem_id}').scrollIntoView({{block: 'nearest'}})"
    return f"() => {{ setTimeout(() => {shown}, 300); }}"  # after the part was drawn


class as_gradio_error:  # noqa: N801  (a context manager, named as one reads it)
    """Within it, an error of ours becomes the sentence that is shown; only `gr.Error` reaches a client."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, where: object) -> None:
        if isinstance(error, TweetTuneError):
            raise gr.Error(str(error), print_exception=False, duration=12) from error
