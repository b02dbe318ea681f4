"""The header line in HTML: name, base in use and why, model loaded, link to its run.

Draws a `ui.state.Model`; knows nothing about how it was loaded.
"""

from urllib.parse import quote

from inference.common.paths import runs_dir
from ui.html import esc, page
from ui.state import Model
from ui.theme import MARK
from ui.translations import Texts


def header(model: Model, text: Texts) -> str:
    """Draw the header line."""
    mark = MARK.format(fill="var(--tt-accent)", stroke="var(--tt-on-accent)")
    return page(
        f'<h1 class="tt-brand">{mark}TweetTune</h1>{_model(model, text)}{_base(model, text)}', "tt-head"
    )


def _model(model: Model, text: Texts) -> str:
    if model.state == "none":
        return _fact(text("header.model"), text("header.no_model"), text("header.no_model_why"))
    if model.state == "failed":
        return _fact(text("header.model"), text("header.failed"), model.message)
    if model.state == "loading":
        why = text("header.loading_slow" if model.slow else "header.loading")
        return _fact(text("header.model"), model.name, why)
    link = ""
    if model.run and model.run.path.parent == runs_dir():
        link = f'<a href="?run={quote(model.run.id)}">{esc(text("header.run"))}</a>'
    return _fact(text("header.model"), model.name, model.tuned.engine.name, link)


def _base(model: Model, text: Texts) -> str:
    provenance = model.provenance() or {}
    base = provenance.get("base") or {}
    if not base:
        return _fact(text("header.base"), "auto", text("header.base_auto")) if model.state == "none" else ""
    why = base.get("reason", "")
    if model.base_state == "loading":
        why = f"{why}; {text('header.loading')}" if why else text("header.loading")
    elif model.base_state == "failed":
        why = text("header.base_missing")
    return _fact(text("header.base"), base.get("name", ""), why)


def _fact(key: str, value: str, why: str = "", link: str = "") -> str:
    reason = f'<span class="why">{esc(why)}</span>' if why else ""
    return f'<div class="tt-fact"><span class="k">{esc(key)}</span><b>{esc(value)}</b>{reason}{link}</div>'
