"""The Compare tab: a tweet to base and fine-tuned, the scoreboard of both, and where they disagree.

    tab = build_compare(workbench)
    tab.refresh(...)          # when another model is loaded

"Base" is the untouched language model answering the calibrated prompt. Where it can't be loaded, the tab
says so and goes on with the fine-tuned one. Knows nothing about how a model answers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from inference.common.errors import PredictionError
from ui.compare.view import answers, disagreements, scoreboard
from ui.gpu import predict
from ui.html import HEADING, as_gradio_error, empty, html, into_view, page
from ui.state import Model, Workbench, load_base, load_tuned
from ui.translations import I18N, text

FILTERS = ("all", "tuned", "base", "neither")
EXAMPLES = (
    "not bad at all, honestly",
    "ugh my flight got cancelled again",
    "meeting moved to 3pm tomorrow",
    "can't believe how much I love this song",
    "great, another monday. just what I needed",
    "I miss you guys so much",
)
_STEP = 25
_MOST_CHARACTERS = 100_000  # of a text that is looked at; what the model reads is shorter by far


@dataclass(frozen=True)
class CompareTab:
    """What the page wires: `refresh` with its inputs and outputs."""

    refresh: Callable[..., tuple[object, ...]]
    inputs: list[gr.Component]
    outputs: list[gr.Component]
    answers: gr.HTML


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
    )


def _why_no_answer(model: Model) -> str:
    return text("compare.model_slow", name=model.name) if model.slow else text(f"compare.model_{model.state}")


def draw(model: Model, only: str, most: int) -> tuple[str, str]:
    """Return the HTML of the scoreboard and of the disagreements."""
    if model.state in ("none", "failed"):
        message = model.message or text("compare.model_none")
        return page(empty(message, text("compare.no_model_next"))), ""
    if model.state == "loading" or model.tuned is None:
        return page(empty(_why_no_answer(model), text("compare.loading_next"))), ""
    evaluation = model.evaluation()
    labels = evaluation.labels if evaluation and evaluation.labels else model.tuned.labels
    rows = disagreements(model.disagreements(), labels, only=only, most=most)
    return scoreboard(evaluation), rows


def build_compare(workbench: Workbench) -> CompareTab:
    """Draw the tab inside the current Blocks."""
    with gr.Column(elem_classes="tt-panel"):
        with gr.Row(equal_height=True, elem_classes="tt-ask"):
            tweet = gr.Textbox(
                label=I18N("compare.tweet"),
                placeholder=I18N("compare.placeholder"),
                lines=2,
                max_lines=6,
                scale=8,
                min_width=240,
                elem_id="tweet",
                submit_btn=False,
            )
            go = gr.Button(I18N("compare.go"), variant="primary", scale=1, min_width=120, elem_id="compare")
        examples = gr.Dataset(
            components=[tweet],
            samples=[[example] for example in EXAMPLES],
            label=I18N("compare.examples"),
            layout="gallery",
            show_label=True,
            type="values",
            elem_id="examples",
        )
        result = html(elem_id="answers")
    scores = html(elem_id="scoreboard")
    with gr.Column(visible=False) as section:
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
        rows = html(elem_id="disagreements", actions=True)
        more, most = gr.Button(I18N("compare.more"), size="sm", elem_id="more"), gr.State(_STEP)
    _wire_question(workbench, tweet, result, go=go, examples=examples, rows=rows)

    def refresh(only: str, most: int) -> tuple[object, ...]:
        drawn = draw(workbench.model, only, most)
        return (*drawn, gr.Column(visible=bool(drawn[1])))

    inputs: list[gr.Component] = [only, most]
    outputs = [scores, rows, section]
    only.change(refresh, inputs, outputs, api_name="scoreboard", show_progress="hidden", queue=False)
    more.click(
        lambda most: most + _STEP, most, most, api_visibility="private", show_progress="hidden", queue=False
    ).then(refresh, inputs, outputs, api_visibility="private", show_progress="hidden", queue=False)
    return CompareTab(refresh, inputs, outputs, result)


def _wire_question(
    workbench: Workbench,
    tweet: gr.Textbox,
    result: gr.HTML,
    *,
    go: gr.Button,
    examples: gr.Dataset,
    rows: gr.HTML,
) -> None:
    """Ask both models when the button, an example or a row of the disagreements is pressed."""

    def compare(tweet: str) -> str:
        with as_gradio_error():
            return ask(workbench.model, tweet)

    def pick(sample: list[str]) -> tuple[str, str]:
        return sample[0], compare(sample[0])

    def pick_row(event: gr.EventData) -> tuple[str, str]:
        return event.value, compare(event.value)

    shared: dict[str, Any] = {
        "concurrency_id": "classify",
        "concurrency_limit": 2,
        "show_progress": "minimal",
    }
    gr.on([go.click, tweet.submit], compare, tweet, result, api_name="compare", **shared)
    examples.click(pick, examples, [tweet, result], api_visibility="private", **shared)
    rows.select(pick_row, None, [tweet, result], api_visibility="private", **shared).then(
        None, None, None, js=into_view("tweet")
    )
