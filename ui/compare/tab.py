"""The Compare tab: asks up to four models about a tweet, and shows what fine-tuning changed.

    tab = build_compare(workbench)
    tab.refresh(...)          # when another model is loaded

"Base" is the untouched language model answering the calibrated prompt. If it can't be loaded, the tab says so
and goes on with the fine-tuned one. Knows nothing about how a model answers.
"""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from inference.common.errors import PredictionError, TweetTuneError
from inference.explain import flips, leave_one_out
from training.evaluate.scores import Disagreement
from ui.account import address_of, may_train, visitor_of
from ui.compare.code import build_code, in_code
from ui.compare.ladder import build_ladder, ladder_card, newest_ladder
from ui.compare.learn import Teaching
from ui.compare.lineup import BASE, MOST, TAUGHT, TUNED, Lineup, why_no_answer
from ui.compare.many import build_many
from ui.compare.view import Side, answers, disagreements, found_among, heat, scoreboard, skeleton
from ui.html import HEADING, QUIET, busy, button, empty, html, into_view, page
from ui.state import Model, Workbench
from ui.translations import I18N, text

FILTERS = ("all", "tuned", "base", "neither")
EXAMPLES = {
    "ugh my flight got cancelled again": "negative",
    "can't believe how much I love this song": "positive",
    "meeting moved to 3pm tomorrow": "neutral",
}
HARD = {
    "not bad at all, honestly": "positive",
    "great, another monday. just what I needed": "negative",
    "😡😡😡": "negative",
}
"""Texts that small models get wrong (negation, irony, only emoji), with their true labels."""
_PLAIN = re.compile(r"(?!.*http)[\w ,.!?'’-]{20,90}")
_COARSE = re.compile(r"fuck|shit|bitch|cunt|nigg|fag|whore|slut|dick|pussy|asshole|wtf|stfu", re.IGNORECASE)
_FIRST, _STEP = 3, 10  # disagreements: at first, and with each "Show more"
_MOST_CHARACTERS = 100_000  # of a text; the model reads far fewer


@dataclass(frozen=True)
class CompareTab:
    """What the page wires: `refresh`, `first` and `arrive` with their inputs and outputs."""

    refresh: Callable[..., tuple[object, ...]]
    first: Callable[..., tuple[object, ...]]
    inputs: list[gr.Component]
    outputs: list[gr.Component]
    arrive: Callable[..., tuple[object, ...]]
    question: list[gr.Component]
    """The tweet and the chosen models."""
    answers: list[gr.Component]
    """The answers and their explanation."""

    @property
    def answered(self) -> list[gr.Component]:
        return [self.question[0], *self.answers]


def truth_of(model: Model, tweet: str, labels: Collection[str]) -> str:
    """Return the true label of an example or of a disagreement, "" for other tweets."""
    known = {**EXAMPLES, **HARD}.get(tweet, "")
    if known in labels:
        return known
    return next((one.label for one in model.disagreements() if one.text == tweet), "")


def telling(rows: Sequence[Disagreement]) -> str:
    """Return a readable test tweet that fine-tuning corrected, else the first example."""
    texts = (one.text for one in found_among(rows, "tuned"))
    plain = (one for one in texts if _PLAIN.fullmatch(one) and not _COARSE.search(one))
    return next(plain, next(iter(EXAMPLES)))


def ask(lineup: Lineup, tweet: str, chosen: Sequence[str] = (), *, may_load: bool = True) -> str:
    """Return the answers of the chosen models as HTML; by default of the base and the loaded model.

    Raises PredictionError without a model or for an empty text, and the errors of loading.
    """
    model, tweet = lineup.workbench.model, (tweet or "")[:_MOST_CHARACTERS]
    if not tweet.strip():
        raise PredictionError(text("compare.no_text"))
    contenders = lineup.of(chosen, may_load=may_load)
    sides = [
        Side(each.title, each.how, each.name, each.labels, found, each.sure_from, each.scope)
        for each, [found] in zip(contenders, lineup.answers(contenders, [tweet]), strict=True)
    ]
    without = BASE in (chosen or (BASE,)) and all(each.key != BASE for each in contenders)
    left_out = [(lineup.title(BASE), model.base_message)] if without else []
    labels = {label for each in contenders for label in each.labels}
    return answers(sides, left_out=left_out, tweet=tweet, truth=truth_of(model, tweet, labels))


def explain(lineup: Lineup, tweet: str, chosen: Sequence[str] = (), *, may_load: bool = True) -> str:
    """Return which words moved each answer, as HTML; "" for a single word."""
    tweet = (tweet or "")[:_MOST_CHARACTERS]
    if len(tweet.split()) < 2:
        return ""
    found, flipped = [], []
    for each in lineup.of(chosen, may_load=may_load):
        moved = leave_one_out(each.predict, tweet, each.labels)
        found.append((each.title, moved.label, moved.pieces))
        flipped.append(flips(each.predict, tweet))
    return heat(found, flipped)


def draw(model: Model, only: str, most: int, search: str = "", *, trains: bool = True) -> tuple[str, str]:
    """Return the HTML of the scoreboard and of the disagreements; `trains`: somebody may train here."""
    if model.state in ("none", "failed"):
        message = model.message or text("compare.model_none")
        step = button(text("compare.to_train"), action="tab", value="train", css="go") if trains else ""
        next_step = text("compare.no_model_next" if trains else "compare.no_model_off")
        return page(empty(message, next_step, act=step)), ""
    if model.state == "loading" or model.tuned is None:
        return page(empty(why_no_answer(model), text("compare.loading_next"))), ""
    evaluation = model.evaluation()
    labels = evaluation.labels if evaluation and evaluation.labels else model.tuned.labels
    rows = disagreements(model.disagreements(), labels, only=only, most=most, search=search)
    return scoreboard(evaluation), rows


def build_compare(workbench: Workbench, lineup: Lineup | None = None) -> CompareTab:
    """Draw the tab inside the current Blocks."""
    lineup = lineup or Lineup(workbench)
    with gr.Column(elem_classes="tt-panel"):
        asked = _Question(lineup)
        build_many(lineup, asked.models)
    scores = html(elem_id="scoreboard", actions=True)
    ladder = build_ladder()
    with gr.Column(visible=False, elem_classes="tt-panel") as section:
        only, search = _filter()
        rows = html(elem_id="disagreements", actions=True)
        more, most = gr.Button(I18N("compare.more"), size="sm", elem_id="more"), gr.State(_FIRST)
    code = build_code(lineup, asked.models)
    asked.wire(sources=[rows, asked.result])

    def refresh(
        only: str, most: int, search: str, chosen: list[str] | None, request: gr.Request
    ) -> tuple[object, ...]:
        model = workbench.model
        drawn = draw(model, only, most, search, trains=workbench.settings.trains)
        known = model.disagreements() if drawn[1] else []
        counted = [
            (f"{text(f'compare.only_{name}')} · {text.number(len(found_among(known, name)))}", name)
            for name in FILTERS
        ]
        rest = len(found_among(known, only, search)) > most
        usual = lineup.standard(chosen or [])
        programs = in_code(address_of(request), usual)
        who: dict[str, Any] = {} if usual == chosen else {"value": usual}
        return (
            *drawn,
            gr.Column(visible=bool(drawn[1])),
            gr.update(choices=counted),
            gr.update(visible=rest),
            programs,
            gr.update(choices=lineup.choices(), **who),
            ladder_card(newest_ladder()),
            *asked.teaching.shown(model),
        )

    def first(
        only: str, most: int, search: str, chosen: list[str] | None, request: gr.Request
    ) -> tuple[object, ...]:
        """Draw the tab as the page opens, with the models that the address names."""
        named = [key for key in request.query_params.get("models", "").split(",") if key]
        found = refresh(only, most, search, chosen, request)
        who = gr.update(choices=lineup.choices(), value=named[:MOST])
        return (*found[:6], who, *found[7:]) if named else found

    def arrive(tweet: str | None, chosen: list[str] | None) -> tuple[object, ...]:
        """Answer the text that the visitor brought along, else one that fine-tuning corrected; None: none.

        Without a model nothing is loaded unasked: the first example is only filled in.
        """
        if tweet is None:
            return gr.skip(), gr.skip(), gr.skip()
        if workbench.model.state == "none":
            titles = [lineup.title(key) for key in lineup.standard(chosen or [])]
            greeting = gr.skip() if tweet.strip() else next(iter(EXAMPLES))
            return greeting, skeleton(titles, text("compare.ask_base")), ""
        if workbench.model.state != "ready":
            return gr.skip(), gr.skip(), gr.skip()
        asked = tweet.strip() or telling(workbench.model.disagreements())
        try:
            chosen = chosen if chosen and lineup.is_there(chosen) else []
            # the visitor may have typed another text meanwhile
            return gr.skip() if tweet.strip() else asked, ask(lineup, asked, chosen), ""
        except TweetTuneError:
            return gr.skip(), gr.skip(), gr.skip()

    inputs: list[gr.Component] = [only, most, search, asked.models]
    outputs = [scores, rows, section, only, more, code, asked.models, ladder]
    outputs += [asked.teaching.panel, asked.teaching.label]
    only.input(refresh, inputs, outputs, api_name="scoreboard", show_progress="hidden", queue=False)
    search.change(refresh, inputs, outputs, **QUIET)
    more.click(lambda most: most + _STEP, most, most, **QUIET).then(refresh, inputs, outputs, **QUIET)

    def filter_by(event: gr.EventData) -> object:
        return event.value if event.action == "filter" else gr.skip()

    scores.select(filter_by, None, only, **QUIET).then(refresh, inputs, outputs, **QUIET).then(
        None, None, None, js=into_view("disagreements")
    )
    return CompareTab(refresh, first, inputs, outputs, arrive, [asked.tweet, asked.models], asked.drawn)


def _filter() -> tuple[gr.Radio, gr.Textbox]:
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


class _Question:
    """The question with the choice of models, and their answers."""

    def __init__(self, lineup: Lineup) -> None:
        """Draw the question and an empty answer inside the current Blocks."""
        self.lineup = lineup
        planned = [BASE, TUNED] if lineup.workbench.model.source else []
        with gr.Column(elem_id="question"), gr.Row(equal_height=True, elem_classes="tt-ask"):
            self.tweet = gr.Textbox(
                "",
                label=I18N("compare.tweet"),
                placeholder=I18N("compare.placeholder"),
                lines=2,
                max_lines=6,
                scale=8,
                min_width=240,
                elem_id="tweet",
                submit_btn=False,
            )
            self.go = gr.Button(
                I18N("compare.go"), variant="primary", scale=1, min_width=120, elem_id="compare"
            )
        self.models = gr.Dropdown(
            [(I18N(f"compare.{key}"), key) for key in planned],
            value=planned,
            multiselect=True,
            allow_custom_value=True,  # a model of the Hub
            max_choices=MOST,
            label=I18N("compare.models"),
            info=I18N("compare.models_help"),
            elem_id="models",
        )
        with gr.Column(elem_id="try-these"):  # keeps their place while they load
            self.examples = [
                gr.Dataset(
                    components=[self.tweet],
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
        self.result = html(skeleton(), elem_id="answers", actions=True)
        self.moved = html(elem_id="heat")
        self.drawn: list[gr.Component] = [self.result, self.moved]
        self.teaching = Teaching(lineup.knowledge)

    def _asked(
        self,
        tweet: str | None,
        chosen: list[str] | None,
        request: gr.Request,
        profile: gr.OAuthProfile | None,
    ) -> Iterator[str]:
        tweet, chosen = tweet or "", chosen or []
        may = may_train(self.lineup.workbench.settings, visitor_of(request, profile))
        if tweet.strip() and not self.lineup.is_there(chosen):
            yield busy(text("compare.loading_models"))
        yield ask(self.lineup, tweet, chosen, may_load=may)

    def wire(self, *, sources: list[gr.HTML]) -> None:
        """Wire all that asks: the button, an example, a row of the disagreements, a variation."""

        def compare(
            tweet: str, models: list[str] | None, request: gr.Request, profile: gr.OAuthProfile | None
        ) -> Iterator[str]:
            yield from self._asked(tweet, models, request, profile)

        def pick(
            sample: list[str], models: list[str] | None, request: gr.Request, profile: gr.OAuthProfile | None
        ) -> Iterator[tuple[str, str]]:
            for drawn in self._asked(sample[0], models, request, profile):
                yield sample[0], drawn

        def pick_row(
            models: list[str] | None,
            request: gr.Request,
            profile: gr.OAuthProfile | None,
            event: gr.EventData,
        ) -> Iterator[tuple[str, str]]:
            for drawn in self._asked(event.value, models, request, profile):
                yield event.value, drawn

        def what_moved(tweet: str, models: list[str] | None) -> str:
            return explain(self.lineup, tweet, models or [], may_load=False)

        shared: dict[str, Any] = {
            "concurrency_id": "classify",
            "concurrency_limit": 2,
            "show_progress": "minimal",
        }
        tweet, models, result = self.tweet, self.models, self.result
        picked: dict[str, Any] = {"api_visibility": "private", **shared}
        asked = [
            gr.on(
                [self.go.click, tweet.submit], compare, [tweet, models], result, api_name="compare", **shared
            ),
            *(each.click(pick, [each, models], [tweet, result], **picked) for each in self.examples),
            *(each.select(pick_row, models, [tweet, result], **picked) for each in sources),
        ]

        def with_it(chosen: list[str]) -> object:
            """Return the choice of models, with the taught one added."""
            kept = [key for key in self.lineup.standard(chosen) if key != TAUGHT][: MOST - 1]
            return gr.update(choices=self.lineup.choices(), value=[*kept, TAUGHT])

        taught = self.teaching.wire(tweet, models, with_it)
        asked.append(taught.success(compare, [tweet, models], result, api_visibility="private", **shared))
        for event in asked:
            event.success(
                what_moved,
                [tweet, models],
                self.moved,
                js=_ASKED_JS,
                api_visibility="private",
                show_progress="hidden",
                concurrency_id="explain",
                concurrency_limit=1,
            )
            event.failure(lambda: (skeleton(), ""), None, self.drawn, **QUIET)


_ASKED_JS = "(text, models) => { window.ttAsked?.(models); return [text, models]; }"
"""Puts text and models in the address and scrolls the text into view: see ui/page.js."""
