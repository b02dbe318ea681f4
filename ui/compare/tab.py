"""The Compare tab: a tweet to base and fine-tuned, what fine-tuning changed, and where the two disagree.

    tab = build_compare(workbench)
    tab.refresh(...)          # when another model is loaded

"Base" is the untouched language model answering the calibrated prompt. Where it can't be loaded, the tab
says so and goes on with the fine-tuned one. Knows nothing about how a model answers.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from inference.common.errors import PredictionError
from inference.explain import leave_one_out
from ui.compare.many import build_many
from ui.compare.view import answers, disagreements, found_among, heat, in_code, scoreboard, skeleton
from ui.gpu import predict
from ui.html import HEADING, as_gradio_error, button, empty, html, into_view, page
from ui.state import Model, Workbench, load_base, load_tuned
from ui.translations import I18N, text

FILTERS = ("all", "tuned", "base", "neither")
EXAMPLES = {
    "ugh my flight got cancelled again": "negative",
    "can't believe how much I love this song": "positive",
    "meeting moved to 3pm tomorrow": "neutral",
    "I miss you guys so much": "negative",
}
HARD = {
    "not bad at all, honestly": "positive",
    "great, another monday. just what I needed": "negative",
    "😡😡😡": "negative",
}
"""What small models still get wrong: negation, irony, emoji alone. Each with its true label."""
_STEP = 10
_MOST_CHARACTERS = 100_000  # of a text that is looked at; what the model reads is shorter by far
_QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}


@dataclass(frozen=True)
class CompareTab:
    """What the page wires: `refresh` and `arrive` with their inputs and outputs."""

    refresh: Callable[..., tuple[object, ...]]
    inputs: list[gr.Component]
    outputs: list[gr.Component]
    arrive: Callable[..., tuple[object, ...]]
    tweet: gr.Textbox
    answers: list[gr.Component]
    """The answers, and what moved them."""


def truth_of(model: Model, tweet: str) -> str:
    """Return a tweet's true label where it is known: of the examples, and of the disagreements; else ""."""
    known = {**EXAMPLES, **HARD}.get(tweet, "")
    if known and model.tuned and known in model.tuned.labels:
        return known
    return next((one.label for one in model.disagreements() if one.text == tweet), "")


def ask(model: Model, tweet: str) -> str:
    """Return the answers of both as HTML. Raises PredictionError without a model or for an empty text."""
    folder = model.folder
    if model.state != "ready" or model.tuned is None or folder is None:
        raise PredictionError(model.message or _why_no_answer(model))
    tweet = (tweet or "")[:_MOST_CHARACTERS]
    if not tweet.strip():
        raise PredictionError(text("compare.no_text"))
    tuned, base = model.tuned, model.base
    mine = predict(tuned, [tweet], load=load_tuned, source=str(folder))[0]
    theirs = predict(base, [tweet], load=load_base, source=folder)[0] if base else None
    return answers(
        (model.name, tuned.labels, mine),
        (base.name_or_path, base.labels, theirs) if base and theirs else None,
        no_base=model.base_message,
        tweet=tweet,
        truth=truth_of(model, tweet),
    )


def explain(model: Model, tweet: str) -> str:
    """Return which words moved each answer, as HTML; "" where there is nothing to say."""
    tweet, folder = (tweet or "")[:_MOST_CHARACTERS], model.folder
    if model.tuned is None or folder is None or len(tweet.split()) < 2:
        return ""
    tuned, base, found = model.tuned, model.base, []
    if base:
        told = leave_one_out(
            lambda texts: predict(base, texts, load=load_base, source=folder), tweet, base.labels
        )
        found.append(("base", told.label, told.pieces))
    told = leave_one_out(
        lambda texts: predict(tuned, texts, load=load_tuned, source=str(folder)), tweet, tuned.labels
    )
    return heat([*found, ("tuned", told.label, told.pieces)])


def _why_no_answer(model: Model) -> str:
    return text("compare.model_slow", name=model.name) if model.slow else text(f"compare.model_{model.state}")


def draw(model: Model, only: str, most: int, search: str = "") -> tuple[str, str]:
    """Return the HTML of the scoreboard and of the disagreements."""
    if model.state in ("none", "failed"):
        message = model.message or text("compare.model_none")
        step = button(text("compare.to_train"), action="tab", value="train", css="go")
        return page(empty(message, text("compare.no_model_next")) + f'<div class="tt-row">{step}</div>'), ""
    if model.state == "loading" or model.tuned is None:
        return page(empty(_why_no_answer(model), text("compare.loading_next"))), ""
    evaluation = model.evaluation()
    labels = evaluation.labels if evaluation and evaluation.labels else model.tuned.labels
    rows = disagreements(model.disagreements(), labels, only=only, most=most, search=search)
    return scoreboard(evaluation), rows


def address_of(request: gr.Request | None) -> str:
    """Return the app's own address as the visitor's browser knows it, without a slash at its end."""
    if host := os.environ.get("SPACE_HOST"):
        return f"https://{host}"
    url = getattr(getattr(request, "request", None), "base_url", "") if request else ""
    return str(url).rstrip("/") or "http://localhost:7860"


def build_compare(workbench: Workbench) -> CompareTab:
    """Draw the tab inside the current Blocks."""
    with gr.Column(elem_classes="tt-panel"):
        with gr.Row(equal_height=True, elem_classes="tt-ask"):
            tweet = gr.Textbox(
                "",
                label=I18N("compare.tweet"),
                info=I18N("compare.keys"),
                placeholder=I18N("compare.placeholder"),
                lines=2,
                max_lines=6,
                scale=8,
                min_width=240,
                elem_id="tweet",
                submit_btn=False,
            )
            go = gr.Button(I18N("compare.go"), variant="primary", scale=1, min_width=120, elem_id="compare")
        with gr.Column(elem_id="try-these"):  # its place is kept while they are on their way
            examples = [
                gr.Dataset(
                    components=[tweet],
                    samples=[[example] for example in samples],
                    label=I18N(f"compare.{name}"),
                    layout="gallery",
                    show_label=True,
                    type="values",
                    elem_id=name,
                    elem_classes="tt-examples",
                )
                for name, samples in (("examples", EXAMPLES), ("hard", HARD))
            ]
        result = html(skeleton(), elem_id="answers", actions=True)
        moved = html(elem_id="heat")
        build_many(workbench)
    scores = html(elem_id="scoreboard", actions=True)
    with gr.Column(visible=False) as section:
        only, search = _filter()
        rows = html(elem_id="disagreements", actions=True)
        more, most = gr.Button(I18N("compare.more"), size="sm", elem_id="more"), gr.State(_STEP)
    code = html(elem_id="code")
    _wire_question(workbench, tweet, [result, moved], go=go, examples=examples, sources=[rows, result])

    def refresh(only: str, most: int, search: str, request: gr.Request) -> tuple[object, ...]:
        model = workbench.model
        drawn = draw(model, only, most, search)
        known = model.disagreements() if drawn[1] else []
        counted = [
            (f"{text(f'compare.only_{name}')} · {text.number(len(found_among(known, name)))}", name)
            for name in FILTERS
        ]
        rest = len(found_among(known, only, search)) > most
        told = in_code(address_of(request), next(iter(EXAMPLES))) if model.state == "ready" else ""
        return (
            *drawn,
            gr.Column(visible=bool(drawn[1])),
            gr.update(choices=counted),
            gr.update(visible=rest),
            told,
        )

    def arrive(tweet: str) -> tuple[object, ...]:
        """Answer the text that the visitor brought along, or else the first example."""
        if workbench.model.state != "ready":
            return gr.skip(), gr.skip(), gr.skip()
        tweet = tweet.strip() or next(iter(EXAMPLES))
        try:
            return tweet, ask(workbench.model, tweet), ""
        except PredictionError:
            return gr.skip(), gr.skip(), gr.skip()

    inputs: list[gr.Component] = [only, most, search]
    outputs = [scores, rows, section, only, more, code]
    only.input(refresh, inputs, outputs, api_name="scoreboard", show_progress="hidden", queue=False)
    search.change(refresh, inputs, outputs, **_QUIET)
    more.click(lambda most: most + _STEP, most, most, **_QUIET).then(refresh, inputs, outputs, **_QUIET)

    def filter_by(event: gr.EventData) -> object:
        return event.value if event.action == "filter" else gr.skip()

    scores.select(filter_by, None, only, **_QUIET).then(refresh, inputs, outputs, **_QUIET).then(
        None, None, None, js=into_view("disagreements")
    )
    return CompareTab(refresh, inputs, outputs, arrive, tweet, [result, moved])


def _filter() -> tuple[gr.Radio, gr.Textbox]:
    """Draw what chooses among the disagreements: who is right, and a word."""
    with gr.Row(elem_classes="tt-filter"):
        html(I18N("compare.disagree"), html_template=HEADING, min_width=200)
        only = gr.Radio(
            [(I18N(f"compare.only_{name}"), name) for name in FILTERS],
            value="all",
            label=I18N("compare.filter"),
            show_label=False,
            container=False,
            elem_id="filter",
            scale=3,
        )
        search = gr.Textbox(
            "",
            placeholder=I18N("compare.search"),
            label=I18N("compare.search"),
            show_label=False,
            container=False,
            max_lines=1,
            min_width=160,
            elem_id="search",
        )
    return only, search


def _wire_question(
    workbench: Workbench,
    tweet: gr.Textbox,
    drawn: list[gr.Component],
    *,
    go: gr.Button,
    examples: list[gr.Dataset],
    sources: list[gr.HTML],
) -> None:
    """Ask both models when the button, an example, a row of the disagreements or a variation is pressed."""

    def compare(tweet: str) -> str:
        with as_gradio_error():
            return ask(workbench.model, tweet)

    def pick(sample: list[str]) -> tuple[str, str]:
        return sample[0], compare(sample[0])

    def pick_row(event: gr.EventData) -> tuple[str, str]:
        return event.value, compare(event.value)

    def what_moved(tweet: str) -> str:
        with as_gradio_error():
            return explain(workbench.model, tweet)

    shared: dict[str, Any] = {
        "concurrency_id": "classify",
        "concurrency_limit": 2,
        "show_progress": "minimal",
    }
    result, moved = drawn
    picked: dict[str, Any] = {"api_visibility": "private", **shared}
    asked = [
        gr.on([go.click, tweet.submit], compare, tweet, result, api_name="compare", **shared),
        *(each.click(pick, each, [tweet, result], **picked) for each in examples),
        *(each.select(pick_row, None, [tweet, result], **picked) for each in sources),
    ]
    for event in asked:
        event.success(
            what_moved,
            tweet,
            moved,
            js=_ASKED_JS,
            api_visibility="private",
            show_progress="hidden",
            concurrency_id="explain",
            concurrency_limit=1,
        )
        event.failure(lambda: (skeleton(), ""), None, drawn, **_QUIET)


_ASKED_JS = "(text) => { window.ttAsked?.(); return [text]; }"
"""Notes the text in the address and brings it into view: see ui/theme.py."""
