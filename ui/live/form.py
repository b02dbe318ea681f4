"""The form of the Live tab (source, second model, filters), which makes a `StreamRequest`.

    form = LiveForm.build(runs)
    request = form.request(values)      # values in the order of `form.components`; raises FeedError

Fields that a source doesn't need are hidden. Start empties the field of the token.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gradio as gr

from inference.common.errors import TweetTuneError
from inference.live.pricing import (
    ASSUMED_POSTS_PER_S,
    DEFAULT_CAP_USD,
    PRICE_DATE,
    PRICE_PER_POST_USD,
    Estimate,
    cap_in_posts,
)
from inference.live.request import (
    DEFAULT_INSTANCE,
    SETTINGS_OF,
    SOURCE_NAMES,
    StreamRequest,
    app_has_x_token,
    split_words,
)
from inference.selective import PRECISIONS
from inference.tables.rows import ENDINGS
from ui.html import QUIET, esc, html, page
from ui.train.tab import columns_of
from ui.translations import I18N, text

NAMES = (
    "source",
    "rate",
    "query",
    "instance",
    "token",
    "cap",
    "file",
    "second",
    "keywords",
    "languages",
    "reposts",
    "replies",
    "unpaced",
    "text_column",
    "label_column",
    "precision",
)
FOLLOWING = (
    *("source", "rate", "unpaced", "query", "instance", "second", "keywords", "languages", "reposts"),
    *("replies", "precision"),
)
"""The fields that show the request of the feed that a page follows."""
UPLOADS = (*ENDINGS, ".gz")
_FASTEST_ON_SLIDER = 50
_X_SOURCES = SETTINGS_OF["cap_usd"]
_SHOWN_FOR = {
    "rate": SETTINGS_OF["rate_per_s"],
    "unpaced": SETTINGS_OF["rate_per_s"],
    "query": SETTINGS_OF["query"],
    "instance": SETTINGS_OF["instance"],
    "token": SETTINGS_OF["token"],
    "cap": _X_SOURCES,
    "file": SETTINGS_OF["file"],
    "text_column": SETTINGS_OF["file"],
    "label_column": SETTINGS_OF["file"],
}


@dataclass(frozen=True)
class LiveForm:
    """The form's components, by name."""

    fields: dict[str, Any]
    cost: Any
    """The line that says what reading X costs."""
    about: Any
    """A line about the source."""

    @classmethod
    def build(cls, seconds: Sequence[tuple[Any, str]]) -> "LiveForm":
        """Draw the form inside the current Blocks; `seconds` are the choices of a second model."""
        fields: dict[str, Any] = {}
        with gr.Row(equal_height=False, elem_classes="tt-controls"):
            fields["source"] = gr.Dropdown(
                [(I18N(f"source.{name}"), name) for name in SOURCE_NAMES],
                value="replay",
                label=I18N("live.source"),
                min_width=200,
                scale=3,
                elem_id="live-source",
            )
            fields["rate"] = gr.Slider(
                1,  # whole numbers: Gradio writes others with a point, whatever the language
                _FASTEST_ON_SLIDER,
                value=2,
                step=1,
                label=I18N("live.wanted_rate"),
                min_width=220,
                scale=4,
                elem_id="rate",
            )
            fields["instance"] = _box("instance", value=DEFAULT_INSTANCE, visible=False, scale=2)
            fields["query"] = _box("query", visible=False, scale=3, placeholder="")
            fields["second"] = gr.Dropdown(
                list(seconds),
                value="",
                label=I18N("live.second"),
                min_width=200,
                scale=3,
                elem_id="live-second",
                allow_custom_value=True,  # runs come and go while a page is open
            )
        fields["file"] = gr.File(
            label=I18N("live.file"),
            file_types=list(UPLOADS),
            file_count="single",
            visible=False,
            height=110,
            elem_id="live-file",
        )
        with gr.Row(equal_height=False, elem_classes="tt-controls"):
            fields |= {name: _column(name) for name in ("text_column", "label_column")}
        with gr.Row(equal_height=False, elem_classes="tt-controls"):
            fields["token"] = gr.Textbox(
                "",
                label=I18N("live.token"),
                type="password",
                visible=False,
                max_lines=1,
                min_width=220,
                scale=3,
                elem_id="live-token",
                html_attributes=gr.InputHTMLAttributes(autocomplete="off", spellcheck=False),
            )
            fields["cap"] = gr.Number(
                DEFAULT_CAP_USD,
                label=I18N("live.cap"),
                visible=False,
                step=0.5,
                min_width=140,
                scale=1,
                elem_id="live-cap",
            )
        cost = html(visible=False, elem_id="live-cost")
        about = html(I18N("live.about_replay"), html_template=_ABOUT, elem_id="live-about")
        with gr.Accordion(I18N("live.more"), open=False, elem_id="live-more"):
            with gr.Row(equal_height=False, elem_classes="tt-controls"):
                fields["precision"] = _precision()
                fields["unpaced"] = gr.Checkbox(
                    False,
                    label=I18N("live.unpaced"),
                    info=I18N("live.unpaced_help"),
                    min_width=240,
                    scale=3,
                    elem_id="live-unpaced",
                )
            with gr.Row(equal_height=False, elem_classes="tt-controls"):
                fields["keywords"] = _box("keywords", info=I18N("live.keywords_help"))
                fields["languages"] = _box("languages", info=I18N("live.languages_help"))
            with gr.Row():
                fields["reposts"] = gr.Checkbox(True, label=I18N("live.reposts"), min_width=140)
                fields["replies"] = gr.Checkbox(True, label=I18N("live.replies"), min_width=140)
        form = cls({name: fields[name] for name in NAMES}, cost, about)
        form._wire()
        return form

    @property
    def components(self) -> list[Any]:
        """The components, in the order in which `request` takes their values."""
        return list(self.fields.values())

    def request(self, values: Sequence[Any]) -> StreamRequest:
        """Return the form's request. Raises FeedError for an unusable cap or source."""
        given = dict(zip(NAMES, values, strict=True))
        is_x = given["source"] in _X_SOURCES
        return StreamRequest(
            source=given["source"] or "replay",
            query=given["query"] or "",
            instance=given["instance"] or "",
            token=given["token"] or "",
            file=given["file"] or "",
            rate_per_s=None if given["unpaced"] else float(given["rate"] or 2.0),
            cap_usd=float(given["cap"] or 0.0) if is_x else DEFAULT_CAP_USD,
            keywords=split_words(given["keywords"]),
            languages=split_words(given["languages"]),
            reposts=bool(given["reposts"]),
            replies=bool(given["replies"]),
            second=given["second"] or "",
            text_column=given["text_column"] or "",
            label_column=given["label_column"] or "label",
            precision=given["precision"] or None,
        )

    def followed(self, request: StreamRequest | None) -> list[Any]:
        """Return the values of `following` for a feed's request; None changes nothing."""
        if request is None:
            return [gr.skip()] * len(FOLLOWING)
        now = {
            "source": request.source,
            "rate": request.rate_per_s if request.rate_per_s is not None else gr.skip(),
            "unpaced": request.rate_per_s is None,
            "query": request.query,
            "instance": request.instance or DEFAULT_INSTANCE,
            "second": request.second,
            "keywords": ", ".join(request.keywords),
            "languages": ", ".join(request.languages),
            "reposts": request.reposts,
            "replies": request.replies,
            "precision": request.precision or 0.0,
        }
        return [now[name] for name in FOLLOWING]

    @property
    def following(self) -> list[Any]:
        return [self.fields[name] for name in FOLLOWING]

    def _wire(self) -> None:
        fields = self.fields
        names = list(_SHOWN_FOR)

        def show(source: str, cap: float | None) -> list[object]:
            changes: list[object] = [
                gr.update(visible=source in _SHOWN_FOR[name], **_wording(name, source)) for name in names
            ]
            cost = gr.update(visible=source in _X_SOURCES, value=cost_line(cap))
            return [*changes, cost, I18N(f"live.about_{source.replace('-', '_')}")]

        outputs = [*(fields[name] for name in names), self.cost, self.about]
        fields["source"].change(show, [fields["source"], fields["cap"]], outputs, **QUIET)
        fields["file"].upload(
            _columns, fields["file"], [fields["text_column"], fields["label_column"]], **QUIET
        )
        fields["cap"].change(cost_line, fields["cap"], self.cost, **QUIET)


def _columns(file: str | None) -> list[object]:
    """Offer the columns of a file; plain text and recordings have none."""
    with suppress(TweetTuneError):
        names, *guessed = columns_of(file or "")
        return [gr.update(choices=["", *names], value=name) for name in guessed]
    return [gr.update(choices=[""], value="")] * 2


_ABOUT = '<div class="tt"><p class="muted small tt-about">${value}</p></div>'


def _precision() -> gr.Dropdown:
    shares = [(f"{100 * share:.0f} %", share) for share in PRECISIONS]
    return gr.Dropdown(
        [(I18N("live.always_answers"), 0.0), *shares],
        value=0.0,
        label=I18N("live.precision"),
        min_width=200,
        scale=3,
        elem_id="live-precision",
    )


def _column(name: str) -> gr.Dropdown:
    return gr.Dropdown(
        [""],
        value="",
        label=I18N(f"setting.{name}"),
        allow_custom_value=True,
        visible=False,
        min_width=180,
        elem_id=f"live-{name.replace('_', '-')}",
    )


def _box(name: str, **options: Any) -> gr.Textbox:
    options.setdefault("value", "")
    return gr.Textbox(
        label=I18N(f"live.{name}"), max_lines=1, min_width=200, elem_id=f"live-{name}", **options
    )


def _wording(name: str, source: str) -> dict[str, Any]:
    """Return the label and help of a field, which depend on the source."""
    if name == "query":
        kind = "x" if source in _X_SOURCES else source
        return {"label": I18N(f"live.query_{kind}")} if source in _SHOWN_FOR["query"] else {}
    if name == "token" and source in _X_SOURCES:
        own = "live.token_own" if app_has_x_token() else "live.token_needed"
        return {"label": I18N("live.token"), "info": I18N(own)}
    return {"label": I18N("live.token"), "info": I18N("live.token_mastodon")} if name == "token" else {}


def cost_line(cap: float | None) -> str:
    """Say what reading X costs, before it starts."""
    if cap is None or not math.isfinite(cap) or cap <= 0:
        return page(f'<p class="small">{esc(text("live.cost_no_cap"))}</p>')
    cost = Estimate(cap_in_posts(cap))
    sentence = text(
        "live.cost",
        price=text.number(PRICE_PER_POST_USD, 3),
        date=PRICE_DATE,
        posts=text.number(cost.cap_posts),
        cap=text.number(cap, 2),
        rate=text.short(ASSUMED_POSTS_PER_S),
        hour=text.number(cost.usd_per_hour, 2),
        left=text.duration(cost.seconds),
    )
    return page(f'<p class="small tt-cost">{esc(sentence)}</p>')
