"""The newest ladder as a card: every way on the same tweets, is the best one really better, and what to take.

    ladder_card(newest_ladder(), posts_a_day=10_000, changes_a_month=4)     # HTML, "" where none is finished

It says the same as the ladder's own picture and as `python -m training advise`, in the visitor's language.
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
from ui.html import esc, note, page
from ui.plots import dot_chart
from ui.translations import I18N, text

POSTS_A_DAY = 10_000


def newest_ladder() -> Ladder | None:
    """Return what the newest finished ladder found, None where there is none that can be read."""
    for run in list_runs(kind=LADDER):
        with suppress(TweetTuneError):
            if run.status().state == "finished" and (found := Ladder.read(run.path)):
                return found
    return None


def build_advice(card: gr.HTML) -> tuple[gr.Row, list[gr.Component]]:
    """Draw what the advice depends on, and let it follow: posts a day, changes a month, labels at hand."""
    with gr.Row(visible=False, elem_id="advice-asked") as row:
        posts = gr.Number(
            POSTS_A_DAY, label=I18N("compare.advice_posts"), minimum=0, precision=0, min_width=140
        )
        changes = gr.Number(0, label=I18N("compare.advice_changes"), minimum=0, min_width=140)
        labels = gr.Number(None, label=I18N("compare.advice_labels"), minimum=0, precision=0, min_width=140)
    gr.on(
        [posts.change, changes.change, labels.change],
        advised,
        [posts, changes, labels],
        [card, row],
        api_name="advise",
        show_progress="hidden",
    )
    return row, [posts, changes, labels]


def advised(
    posts_a_day: float | None, changes_a_month: float | None, labels: int | None
) -> tuple[str, object]:
    """Return the newest ladder's card with the advice, and whether there is one."""
    found = newest_ladder()
    drawn = ladder_card(found, posts_a_day=posts_a_day, changes_a_month=changes_a_month, labels=labels)
    return drawn, gr.update(visible=found is not None)


def ladder_card(
    ladder: Ladder | None,
    *,
    posts_a_day: float | None = POSTS_A_DAY,
    changes_a_month: float | None = 0.0,
    labels: int | None = None,
) -> str:
    """Draw all steps with their intervals, best first, one honest sentence, and what to take.

    `labels` at hand: None for as many as the ladder has used.
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
    body = dot_chart(rows, title=title)
    if len(ranked) > 1 and (pair := ladder.pair(ranked[0].name, ranked[1].name)):
        body += f"<p>{esc(_sentence(ranked[0], ranked[1], pair))}</p>"
    most = max(step.labels_used for step in ladder.steps)
    asked = (posts_a_day or 0.0, changes_a_month or 0.0, most if labels is None else labels)
    return page(f"<h2>{esc(title)}</h2>{body}{_advice(ladder, *asked)}", "tt-card tt-stack")


def _named(step: StepResult) -> str:
    key, n = f"rung.{step.rung}", text.number(step.labels_used)
    name = text(key) if text.has(key) else step.rung
    return text("ladder.step", name=name, n=n) if step.labels_used else name


def _sentence(best: StepResult, other: StepResult, pair: Pair) -> str:
    difference = pair.comparison.accuracy_difference
    low, high = difference.low, difference.high
    if difference.value < 0:  # the pair stands the other way round
        low, high = -high, -low
    told = text(
        "ladder.better" if pair.real else "ladder.no_difference",
        best=_named(best),
        other=_named(other),
        points=text.number(100 * abs(difference.value), 1),
        interval=text.interval(Interval(abs(difference.value), low, high), points=True),
    )
    if not pair.real and pair.smallest_difference:
        told += " " + text("ladder.least", points=text.number(100 * pair.smallest_difference, 1))
    return told


def _advice(ladder: Ladder, posts_a_day: float, changes_a_month: float, labels: int) -> str:
    """Say what to take with so many labels: "fine-tune, retrieve, or both?"."""
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
    told = [
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
    lines = f"<h3>{esc(text('advice.title'))}</h3><p><b>{esc(told[0])}</b> {esc(' '.join(told[1:]))}</p>"
    return f'<div class="tt-verdict"><div>{lines}<p>{esc(_news(fresh))}</p></div></div>'


def _news(found: Freshness | None) -> str:
    """Say what a new word does to the model, and what a change of the subject costs therefore."""
    if found is None:
        return text("advice.news_unknown")
    before = f"{text.percent(found.before.value)} ({text.interval(found.before)})"
    if not (row := found.taken_up):
        return text("advice.news_training", run=found.run, n=text.number(found.asked), before=before)
    return text(
        "advice.news_index",
        run=found.run,
        n=text.number(found.asked),
        before=before,
        labels=text.number(row.labels),
        after=f"{text.percent(row.fresh.value)} ({text.interval(row.fresh)})",
    )
