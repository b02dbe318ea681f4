"""The newest ladder as a card: every way on the same tweets, is the best one really better, and what to take.

    ladder_card(newest_ladder(), posts_a_day=10_000)        # HTML, "" where no ladder is finished

It says the same as the ladder's own picture and as `python -m training advise`, in the visitor's language.
"""

from contextlib import suppress

from inference.common.errors import DataError, TweetTuneError
from inference.common.intervals import Interval
from training.ladder.advice import advise
from training.ladder.order import RUNGS
from training.ladder.results import Ladder, Pair, StepResult
from training.runs.run import LADDER, list_runs
from ui.html import esc, page
from ui.plots import dot_chart
from ui.translations import text

POSTS_A_DAY = 10_000


def newest_ladder() -> Ladder | None:
    """Return what the newest finished ladder found, None where there is none that can be read."""
    for run in list_runs(kind=LADDER):
        with suppress(TweetTuneError):
            if run.status().state == "finished" and (found := Ladder.read(run.path)):
                return found
    return None


def ladder_card(ladder: Ladder | None, *, posts_a_day: float = POSTS_A_DAY) -> str:
    """Draw all steps with their intervals, best first, one honest sentence, and what to take."""
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
    return page(f"<h2>{esc(title)}</h2>{body}{_advice(ladder, posts_a_day)}", "tt-card tt-stack")


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


def _advice(ladder: Ladder, posts_a_day: float) -> str:
    """Say what to take with all labels that were measured: "fine-tune, retrieve, or both?"."""
    labels = max(step.labels_used for step in ladder.steps)
    with suppress(DataError):
        found = advise(ladder, labels=labels, posts_a_day=round(posts_a_day))
        cost = text.number(found.usd_a_month, 2)
        told = [
            text(f"advice.{found.way.replace('-', '_')}"),
            text(
                "advice.rests_on",
                step=_named(found.step),
                share=text.percent(found.step.scores.accuracy.value),
                interval=text.interval(found.step.scores.accuracy),
                labels=text.number(labels),
                posts=text.number(posts_a_day),
                cost=cost,
            ),
            text("advice.sure" if found.sure else "advice.not_sure"),
        ]
        lines = f"<h3>{esc(text('advice.title'))}</h3><p><b>{esc(told[0])}</b> {esc(' '.join(told[1:]))}</p>"
        return f'<div class="tt-verdict"><div>{lines}</div></div>'
    return ""
