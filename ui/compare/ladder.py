"""The newest ladder as a card: all its steps on the same tweets, whether the best is better, and advice.

    ladder_card(newest_ladder(), posts_a_day=10_000, changes_a_month=4)     # HTML, "" without a ladder

It shows the same as the ladder's own picture and `python -m training advise`, in the visitor's language.
"""

from contextlib import suppress

import gradio as gr

from inference.common.errors import DataError, TweetTuneError
from inference.common.intervals import Interval
from training.ladder.advice import advise
from training.ladder.freshness import Freshness, measured_freshness
from training.ladder.order import RUNGS
from training.ladder.results import Ladder, Pair, StepResult
from training.runs.run import LADDER, list_runs
from ui.html import QUIET, button, esc, fold, html, note, page
from ui.plots import dot_chart
from ui.translations import text

POSTS_A_DAY = 10_000


def newest_ladder() -> Ladder | None:
    """Return the newest finished ladder that can be read, None without one."""
    for run in list_runs(kind=LADDER):
        with suppress(TweetTuneError):
            if run.status().state == "finished" and (found := Ladder.read(run.path)):
                return found
    return None


ASKED = ("posts", "changes", "labels")
"""The advice's inputs: posts a day, changes of the subject a month, labels at hand."""


def build_ladder() -> gr.HTML:
    """Make the card's component; its buttons ask for the advice's inputs."""
    card = html(elem_id="ladder", actions=True)

    def ask_again(event: gr.EventData) -> object:
        if event.action not in ASKED:
            return gr.skip()
        asked = dict(zip(ASKED, str(event.value).split(), strict=True))
        posts, changes, labels = (number(each) for each in (asked | {event.action: event.answer}).values())
        return ladder_card(newest_ladder(), posts_a_day=posts, changes_a_month=changes, labels=round(labels))

    card.select(ask_again, None, card, **QUIET)
    return card


def number(written: object) -> float:
    """Return a number typed in the visitor's language. Raises DataError if it is invalid or negative."""
    with suppress(ValueError):
        if 0 <= (found := float(text.plain(str(written)))) < 1e12:
            return found
    raise DataError(text("advice.no_number", given=str(written)[:40]))


def ladder_card(
    ladder: Ladder | None,
    *,
    posts_a_day: float = POSTS_A_DAY,
    changes_a_month: float = 0.0,
    labels: int | None = None,
) -> str:
    """Draw one sentence on the two best steps; in folds all steps with intervals, best first, and the advice.

    `labels`: those at hand; None for as many as the ladder has used.
    """
    if ladder is None:
        return ""
    ranked = ladder.ranked
    title = text("ladder.title", n=text.number(ladder.n))
    trained = {name for name, kind in RUNGS.items() if kind.trains}
    rows = [
        (_named(step), step.scores.accuracy, "validation" if step.rung in trained else "train")
        for step in ranked
    ]
    body = ""
    if len(ranked) > 1 and (pair := ladder.pair(ranked[0].name, ranked[1].name)):
        body += f"<p>{esc(_sentence(ranked[0], ranked[1], pair))}</p>"
    most = max(step.labels_used for step in ladder.steps)
    asked = (posts_a_day, changes_a_month, most if labels is None else labels)
    body += fold(text("ladder.steps", n=text.number(len(ranked))), dot_chart(rows, title=title))
    advice = f'<div class="tt-stack">{_advice(ladder, *asked)}{_asked(*asked)}</div>'
    return page(f"<h2>{esc(title)}</h2>{body}{fold(text('advice.title'), advice)}", "tt-card tt-stack")


def _named(step: StepResult) -> str:
    key, n = f"rung.{step.rung}", text.number(step.labels_used)
    name = text(key) if text.has(key) else step.rung
    return text("ladder.step", name=name, n=n) if step.labels_used else name


def _sentence(best: StepResult, other: StepResult, pair: Pair) -> str:
    difference = pair.comparison.accuracy_difference
    low, high = difference.low, difference.high
    if difference.value < 0:  # the pair stands the other way round
        low, high = -high, -low
    sentence = text(
        "ladder.better" if pair.real else "ladder.no_difference",
        best=_named(best),
        other=_named(other),
        points=text.number(100 * abs(difference.value), 1),
        interval=text.interval(Interval(abs(difference.value), low, high), points=True),
    )
    if not pair.real and pair.smallest_difference:
        sentence += " " + text("ladder.least", points=text.number(100 * pair.smallest_difference, 1))
    return sentence


def _advice(ladder: Ladder, posts_a_day: float, changes_a_month: float, labels: int) -> str:
    """Advise what to use with so many labels: "fine-tune, retrieve, or both?"."""
    fresh = measured_freshness(ladder.rows.data) if ladder.rows else None
    try:
        found = advise(
            ladder,
            labels=labels,
            posts_a_day=round(posts_a_day),
            changes_a_month=changes_a_month,
            freshness=fresh,
        )
    except DataError:
        return note(text("advice.none", labels=text.number(labels)))
    sentences = [
        text(f"advice.{found.way.replace('-', '_')}"),
        text(
            "advice.rests_on",
            step=_named(found.step),
            share=text.percent(found.step.scores.accuracy.value),
            interval=text.interval(found.step.scores.accuracy),
            labels=text.number(labels),
            posts=text.number(posts_a_day),
            cost=text.number(found.usd_a_month, 2),
        ),
        text("advice.sure" if found.sure else "advice.not_sure"),
    ]
    lines = f"<p><b>{esc(sentences[0])}</b> {esc(' '.join(sentences[1:]))}</p>"
    return f'<div class="tt-verdict"><div>{lines}<p>{esc(_news(fresh))}</p></div></div>'


def _asked(*numbers: float) -> str:
    written = [text.typed(figure) for figure in numbers]
    drawn = "".join(
        button(
            f"{text(f'advice.{name}')}: {text.number(figure) if figure == round(figure) else proposed}",
            action=name,
            value=" ".join(written),
            css="chip",
            ask=(text(f"advice.{name}"), proposed),
        )
        for name, figure, proposed in zip(ASKED, numbers, written, strict=True)
    )
    return f'<div class="tt-row">{drawn}</div>'


def _news(found: Freshness | None) -> str:
    """Say how the model copes with a new word, and hence what a change of the subject costs."""
    if found is None:
        return text("advice.news_unknown")
    before = text.score(found.before)
    if not (row := found.taken_up):
        return text("advice.news_training", run=found.run, n=text.number(found.asked), before=before)
    return text(
        "advice.news_index",
        run=found.run,
        n=text.number(found.asked),
        before=before,
        labels=text.number(row.labels),
        after=text.score(row.fresh),
    )
