"""What the tabs draw: nothing from outside becomes markup, colours are constant, empty states lead on."""

import dataclasses
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

from inference.baselines import Example, Explained
from inference.classifier import Prediction
from inference.common.intervals import Interval
from inference.common.store import append_event
from inference.live.counts import FeedSnapshot
from inference.live.post import ClassifiedPost, Post
from inference.live.sources import SourceStatus
from inference.selective import CoveragePoint, Selective
from training.data.load import DataSpec, load_splits
from training.data.preview import preview
from training.evaluate.scores import (
    BASE,
    SINGLE_SCORES,
    TUNED,
    Answer,
    CalibrationBin,
    Comparison,
    Disagreement,
    Evaluation,
    Scores,
    System,
)
from training.recipes import load_recipe
from training.runs.run import Run, Status, create_run, list_runs
from ui.compare import view as render_compare
from ui.compare.code import in_code
from ui.compare.tab import EXAMPLES, telling
from ui.compare.tab import draw as draw_compare
from ui.compare.view import Side
from ui.html import esc, label_class
from ui.live import view as render_live
from ui.live.tab import draw as draw_live
from ui.page import header
from ui.plots import Series, histogram, line_chart, nice_ticks, share_chart
from ui.state import Model
from ui.train import view as render_train
from ui.train.view import RunView, preview_panel, read_run
from ui.translations import LANGUAGES, Texts, speaking

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)> \" ' & \x00 ${alert(1)} {{7*7}} ‮"
LABELS = ("negative", "neutral", "positive")
CSS = (Path(__file__).parent.parent.parent / "ui" / "theme.css").read_text()
VOID = {"br", "img", "input", "line", "rect", "polyline", "path", "circle"}


@dataclass(frozen=True)
class Answered:
    label: str = "positive"
    probabilities: tuple = (0.1, 0.2, 0.7)
    truncated: bool = False
    latency_ms: float | None = 12.3


class Checker(HTMLParser):
    """Fails on elements that were not closed; collects tags and attributes."""

    def __init__(self, drawn):
        super().__init__()
        self.open, self.tags, self.attributes = [], [], []
        self.feed(drawn)
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()


def evaluation(labels=LABELS):
    score = Interval(0.745, 0.71, 0.78)
    scores = Scores(
        **dict.fromkeys(SINGLE_SCORES, score),
        per_class_f1=dict.fromkeys(labels, score),
        confusion_matrix=((5, 1, 0), (1, 4, 1), (0, 2, 6)),
    )
    comparison = Comparison(
        first=BASE,
        second=TUNED,
        n=20,
        only_first_right=2,
        only_second_right=9,
        mcnemar_p=0.03,
        accuracy_difference=Interval(0.35, 0.1, 0.6),
        real=True,
        sentence="Fine-tuning is better.",
    )
    systems = tuple(System(name=name, scores=scores) for name in (BASE, TUNED))
    return Evaluation(split="test", labels=labels, n=20, systems=systems, comparisons=(comparison,))


def snapshot(**changes):
    post = ClassifiedPost(Post("1", EVIL, label="neutral"), "positive", 0.7)
    values = {
        "state": "running",
        "reason": "",
        "message": "",
        "source": "replay",
        "labels": LABELS,
        "received": 12,
        "classified": 10,
        "dropped": 1,
        "pending": 1,
        "counts": (5, 3, 2),
        "judged": 10,
        "right": 7,
        "rate_in_per_s": 2.0,
        "capacity_per_s": 80.0,
        "running_s": 65.0,
        "recent": (post,),
        "source_status": SourceStatus(),
        "filtered": {},
        "duplicates": 0,
        "agreed": 0,
        "disagreed": 0,
        "rate_classified_per_s": 0.0,
        "lag": None,
        "age": None,
    }
    return FeedSnapshot(**{**values, **changes})


def view(state="running", **changes):
    run = Run(Path("/nowhere/20260101-quick"))
    run.__dict__["recipe"] = load_recipe("quick")  # what is read from its folder otherwise
    status = Status(state, "train", 0.42, 65.0, changes.pop("message", ""), 1, 1_000.0)
    values = {
        "total_steps": 100,
        "step": 40,
        "epoch": 1.2,
        "loss": ((1, 1.0), (40, 0.5)),
        "smooth_loss": ((1, 1.0), (40, 0.6)),
        "validation": ({"step": 30, "loss": 0.7, "accuracy": 0.6, "macro_f1": 0.5},),
    }
    return RunView(run, status, **{**values, **changes})


def everything(text):
    """Draw all there is, with hostile texts wherever a text comes from outside."""
    side = Side(EVIL, EVIL, EVIL, LABELS, Answered(truncated=True))
    other = Side(
        EVIL, EVIL, EVIL, (EVIL, "b"), Explained(EVIL, (0.9, 0.1), False, rests_on=(Example(EVIL, EVIL),))
    )
    row = Disagreement(EVIL, EVIL, Answer("neutral", (0.1, 0.8, 0.1)), Answer(EVIL, (0.9, 0.1, 0)))
    odd = evaluation((EVIL, "b", "c"))
    yield render_compare.answers([side, side, other])
    yield render_compare.answers([side], left_out=[(EVIL, EVIL)])
    yield render_compare.scoreboard(odd)
    yield render_compare.disagreements([row], (EVIL, "b"), only="all", most=9)
    yield render_live.numbers(snapshot(message=EVIL, labels=(EVIL, "b", "c")))
    yield render_live.posts(snapshot())
    for state in ("queued", "running", "finished", "failed", "cancelled", "interrupted"):
        yield render_train.run_panel(view(state, message=EVIL, notes=(EVIL,), evaluation=odd), now=2_000.0)
    tuned = SimpleNamespace(engine=SimpleNamespace(name=EVIL), folder=None)
    for model in ("none", "loading", "ready", "failed"):
        yield header(Model(state=model, source=EVIL, message=EVIL, tuned=tuned))


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_from_outside_becomes_markup(language):
    with speaking(language):
        all_drawn = list(everything(Texts(language)))
    for drawn in all_drawn:
        checker = Checker(drawn)
        assert not {"script", "img"} & set(checker.tags)
        assert not [name for name, _ in checker.attributes if name.startswith("on")]
        assert "\x00" not in drawn


def test_where_nobody_may_train_no_step_leads_to_training():
    for trains in (True, False):
        drawn = [
            draw_compare(Model(), "all", 9, trains=trains)[0],
            draw_live(None, 10.0, ready=False, trains=trains)["numbers"],
        ]
        for one in drawn:
            Checker(one)
            assert ('data-value="train"' in one) is trains
            assert ("Training is switched off here" in one) is not trains
        assert ("train one" in header(Model(), trains=trains)) is trains


def test_escaping_serves_text_and_attributes():
    assert esc("<b a=\"1\" b='2'>&") == "&lt;b a=&quot;1&quot; b=&#x27;2&#x27;&gt;&amp;"
    assert esc("a\x00b") == esc("a\ud800b") == "a�b"


def test_the_sentiments_have_their_colours_by_name_and_others_by_place():
    assert [label_class(label, 7) for label in ("negative", "Neutral", "POSITIVE")] == [
        "tt-l-negative",
        "tt-l-neutral",
        "tt-l-positive",
    ]
    assert [label_class("joy", i) for i in (0, 7, 8)] == ["tt-l-0", "tt-l-7", "tt-l-0"]
    for name in ("negative", "neutral", "positive", *range(8)):
        assert f".tt-l-{name}" in CSS


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_colours_have_the_contrast_that_wcag_asks_for(mode):
    light, dark = CSS.split(".dark {", 1)
    block = light.split(":root {", 1)[1] if mode == "light" else dark.split("}", 1)[0]
    colour = dict(re.findall(r"--tt-([\w-]+): (#[0-9a-f]{6})", block))
    for ground in ("page", "card", "well"):
        for ink in ("ink", "muted", "accent-ink"):
            assert contrast(colour[ink], colour[ground]) >= 4.5, (ink, ground)
    for label in ("neg", "neu", "pos"):
        assert contrast(colour[f"{label}-ink"], colour[f"{label}-soft"]) >= 4.5, label
        assert contrast(colour[label], colour["card"]) >= 3, label
    assert contrast(colour["on-accent"], colour["accent"]) >= 4.5
    assert contrast(colour["on-accent"], colour["accent-hover"]) >= 4.5
    assert contrast(colour["field"], colour["card"]) >= 3
    assert (
        contrast(colour["ink"], colour["bad-soft"]) >= 4.5
        and contrast(colour["ink"], colour["warn-soft"]) >= 4.5
    )


def test_a_score_is_written_with_its_interval_and_unit_in_each_language():
    english = render_compare.scoreboard(evaluation())
    assert "74.5\u00a0%" in english and "(71.0 – 78.0)" in english and "n = 20" in english
    assert "corrects 9 tweets and breaks 2" in english
    with speaking("pt-BR"):
        portuguese = render_compare.scoreboard(evaluation())
    assert "74,5\u00a0%" in portuguese and "negativo" in portuguese and "A diferença é real." in portuguese


def test_without_a_base_the_tuned_answer_stands_alone_and_says_why():
    drawn = render_compare.answers([side_of("Fine-tuned")], left_out=[("Base", "The base can't be loaded.")])
    assert "The base can&#x27;t be loaded." in drawn and drawn.count("tt-label") == 1


def test_disagreements_can_be_filtered_by_who_is_right():
    def row(tuned, base):
        return Disagreement(f"{tuned} {base}", "positive", Answer(base, (1,)), Answer(tuned, (1,)))

    rows = [row("positive", "neutral"), row("neutral", "positive"), row("negative", "neutral")]
    assert [one.right for one in rows] == ["tuned", "base", "neither"]
    for only, count in (("all", 3), ("tuned", 1), ("base", 1), ("neither", 1)):
        drawn = render_compare.disagreements(rows, LABELS, only=only, most=2)
        assert f"{min(count, 2)} of {count} shown" in drawn


def test_empty_states_say_what_to_do_next():
    assert "press Start training" in render_train.run_panel(None, now=0)
    assert "Press Start" in render_live.nothing_yet(True)
    assert "Train one in Train" in render_live.nothing_yet(False)
    assert "open Train" in render_compare.scoreboard(None)
    assert "trained here" in render_compare.disagreements([], LABELS, only="all", most=5)


def test_a_run_at_work_shows_percent_phase_time_left_and_cancel():
    drawn = render_train.run_panel(view("running"), now=1_030.0)
    assert "42\u00a0%" in drawn and "Training" in drawn and "about 1\u00a0min 05\u00a0s left" in drawn
    assert 'data-action="cancel"' in drawn and 'aria-valuenow="42"' in drawn


@pytest.mark.parametrize(
    ("state", "loaded", "actions"),
    [
        ("finished", "", ["use", "rename", "delete"]),
        ("cancelled", "", ["resume", "rename", "delete"]),
        ("interrupted", "", ["resume", "rename", "delete"]),
        ("failed", "", ["resume", "rename", "delete"]),
        ("running", "", ["cancel"]),
        ("finished", "20260101-quick", ["tab"]),
    ],
)
def test_what_can_be_done_with_a_run_depends_on_its_state(state, loaded, actions):
    drawn = render_train.run_panel(view(state, message="Why."), now=0, loaded=loaded)
    assert re.findall(r'data-action="(\w+)"', drawn) == actions


def test_a_live_snapshot_shows_all_its_counts_and_who_was_right():
    drawn = render_live.numbers(snapshot())
    for name in ("Received", "Classified", "Dropped", "Waiting for the model"):
        assert name in drawn
    assert "2.0" in drawn and "70.0\u00a0%" in drawn and "(39.7 – 89.2)" in drawn
    assert "true: neutral" in render_live.posts(snapshot())


def test_charts_are_named_images_and_survive_odd_numbers():
    lines = [
        Series("train", "train", [(1, 2.0), (2, float("nan")), (3, 2.0)]),
        Series("validation", "validation", []),
    ]
    drawn = line_chart(lines, title="Loss")
    Checker(drawn)
    assert 'role="img"' in drawn and 'aria-label="Loss: train 2"' in drawn and "nan" not in drawn
    assert line_chart([Series("a", "train", [])], title="Loss") == ""
    assert share_chart([(0, 0), (1, 3)], ("a", "b"), slots=4, title="t", ago="x").count("<rect") == 2
    assert histogram([0, 0], [0, 10, 20], title="t").count("<rect") == 2
    lengths = histogram([1] * 14, range(0, 43, 3), title="t")
    assert re.findall(r'class="tick x[^>]*>(\d+)<', lengths) == ["0", "10", "20", "30", "40"]


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.31, 0.9), (5, 5), (0, 0), (-3, 2), (1e-6, 2e-6), (0, 12345)]
)
def test_ticks_are_few_and_enclose_their_range(low, high):
    ticks = nice_ticks(low, high, most=4)
    assert ticks[0] <= low and ticks[-1] >= high and 2 <= len(ticks) <= 7
    assert ticks == sorted(set(ticks))


def test_a_preview_shows_balance_lengths_rows_and_what_was_dropped(tiny_tweets):
    drawn = preview_panel(preview(load_splits(DataSpec(dataset=str(tiny_tweets)))))
    Checker(drawn)
    assert "Class balance" in drawn and "Length in characters" in drawn and "Rows used:" in drawn
    assert drawn.count("<rect") > 3 and drawn.count("<tr") > 5


def test_long_curves_are_thinned_and_a_torn_line_is_passed_over(tmp_path):
    run = create_run(load_recipe("quick"), run_dir=tmp_path / "run")
    events = run.path / "events.jsonl"
    for step in range(1, 1001):
        append_event(events, "step", step=step, total_steps=1000, epoch=step / 500, loss=1 / step)
    append_event(events, "validation", step=500, epoch=1.0, loss=0.4, accuracy=0.6, macro_f1=0.5)
    with events.open("ab") as file:
        file.write(b'{"kind": "step", "st')
    seen = read_run(run)
    assert len(seen.loss) < 300 and seen.loss[-1][0] == 1000
    assert seen.smooth_loss[0] == (1.0, pytest.approx(1.0)) and seen.curve("accuracy") == ((500.0, 0.6),)
    assert seen.active and seen.evaluation is None


def side_of(title, prediction=None, labels=LABELS):
    return Side(title, "how", "name", labels, prediction or Answered())


def test_answers_are_told_in_a_sentence_and_held_against_the_true_label():
    calm = Answered("neutral", (0.1, 0.8, 0.1))
    sides = [side_of("Base", calm), side_of("Fine-tuned")]
    drawn = render_compare.answers(sides, tweet="so it is", truth="positive")
    assert "They disagree: Base says neutral, Fine-tuned says positive." in drawn
    assert 'role="status"' in drawn and "True label" in drawn
    assert drawn.count("✓ right") == 1 and drawn.count("✗ wrong") == 1
    assert 'data-value="SO IT IS"' in drawn and "it is not true that so it is" in drawn
    same = render_compare.answers([side_of("a"), side_of("b")])
    assert "They agree: both say positive." in same and "✓" not in same and "data-action" not in same
    assert "all say positive" in render_compare.answers([side_of("a"), side_of("b"), side_of("c")])
    assert "a says positive." in render_compare.answers([side_of("a")])
    with speaking("pt-BR"):
        translated = render_compare.answers(sides)
    assert "Discordam: Base diz neutro, Fine-tuned diz positivo." in translated


def test_other_labels_are_said_and_only_common_ones_can_agree():
    odd = side_of("Run b", Answered("Positive", (0.2, 0.8)), ("angry", "Positive"))
    drawn = render_compare.answers([side_of("Base"), odd], truth="neutral")
    assert "both say positive" in drawn and "only these can be compared: positive" in drawn
    assert drawn.count("✗ wrong") == 1  # nobody is wrong about a label that it does not know
    none = side_of("Run c", Answered("x", (0.2, 0.8)), ("y", "x"))
    assert "no label in common" in render_compare.answers([side_of("Base"), none])
    assert "labels" not in render_compare.answers([side_of("Base"), side_of("b", labels=LABELS[::-1])])


def test_an_answer_below_the_models_threshold_is_an_i_do_not_know():
    prediction = Prediction("positive", (0.1, 0.2, 0.7), False)
    unsure = dataclasses.replace(side_of("Fine-tuned", prediction), sure_from=0.71)
    drawn = render_compare.answers([unsure])
    Checker(drawn)
    assert "I don&#x27;t know: 70\u00a0% sure; for 90\u00a0% right it takes 71\u00a0%." in drawn
    assert "know" not in render_compare.answers([dataclasses.replace(unsure, sure_from=0.7)])
    assert "know" not in render_compare.answers([dataclasses.replace(unsure, sure_from=None)])


def test_the_coverage_curve_is_drawn_with_its_intervals_and_what_the_thresholds_gave():
    point, half = Interval(0.9, 0.8, 0.95), Interval(0.5, 0.4, 0.6)
    curve = (CoveragePoint(0.8, half, point), CoveragePoint(0.4, Interval(1.0, 0.9, 1.0), half))
    chosen = (Selective(0.9, 0.71, half, point), Selective(0.95, None, Interval(0.0, 0.0, 0.1), None))
    drawn = render_compare.scoreboard(dataclasses.replace(evaluation(), coverage=curve, selective=chosen))
    Checker(drawn)
    assert (
        'class="band ' in drawn
        and "from a confidence of 80\u00a0%: 50.0\u00a0% answered, 90.0\u00a0%" in drawn
    )
    assert ">40\u00a0%<" in drawn and ">40.0\u00a0%<" not in drawn, "no decimals at round ticks"
    assert "71\u00a0%, chosen on validation, 50.0\u00a0% (40.0 – 60.0) are answered" in drawn
    assert "For 95\u00a0% right: no threshold gave that" in drawn
    flat = (CoveragePoint(0.5, Interval(1.0, 0.9, 1.0), Interval(1.0, 1.0, 1.0)),)  # one point, no spread
    Checker(render_compare.scoreboard(dataclasses.replace(evaluation(), coverage=flat)))
    assert "band" not in render_compare.scoreboard(evaluation())


def test_an_answer_names_the_tweets_that_it_rests_on():
    prediction = Explained("positive", (0.1, 0.2, 0.7), False, rests_on=(Example("so glad", "positive"),))
    drawn = render_compare.answers([side_of("Nearest", prediction)])
    assert "Rests on 1 labelled tweets" in drawn and "so glad" in drawn and "no room" not in drawn
    drawn = render_compare.answers([side_of("Nearest", dataclasses.replace(prediction, dropped=7))])
    assert "7 more had no room in its prompt" in drawn
    nothing = dataclasses.replace(prediction, rests_on=(), dropped=8)
    drawn = render_compare.answers([side_of("Retrieval", nothing)])
    assert "8 more had no room" in drawn and "Rests on" not in drawn, "where none had room, too"


def test_what_changed_is_one_bar_whose_parts_filter():
    drawn = render_compare.scoreboard(evaluation())
    Checker(drawn)
    assert "right before and after 13, corrected 9, broken 2, wrong before and after 0" in drawn
    assert re.findall(r'data-action="filter" data-value="(\w+)"', drawn) == ["tuned", "base", "neither"]
    assert 'class="tt-dots"' in drawn and "Confusion matrices" in drawn and "Change, in points" in drawn


def test_reliability_is_drawn_and_said_in_words():
    found = evaluation()
    bins = (CalibrationBin(0.4, 0.5, 10, 0.45, 0.4), CalibrationBin(0.9, 1.0, 30, 0.95, 0.8))
    systems = tuple(
        dataclasses.replace(each, scores=dataclasses.replace(each.scores, calibration=bins))
        for each in found.systems
    )
    drawn = render_compare.scoreboard(dataclasses.replace(found, systems=systems))
    Checker(drawn)
    assert "is right 80\u00a0% of the time (n = 30)" in drawn and "95\u00a0% → 80\u00a0% (n = 30)" in drawn


def test_disagreements_come_surest_mistake_first_and_can_be_searched():
    def row(words, base, tuned):
        return Disagreement(words, "positive", Answer("negative", base), Answer("positive", tuned))

    rows = [row("a so so day", (0.5, 0.5), (0.1, 0.9)), row("Great day", (0.9, 0.1), (0.4, 0.6))]
    assert [one.text for one in render_compare.found_among(rows, "all")] == ["Great day", "a so so day"]
    assert [one.text for one in render_compare.found_among(rows, "tuned", "GREAT")] == ["Great day"]
    assert render_compare.found_among(rows, "base") == []
    drawn = render_compare.disagreements(rows, LABELS, only="all", most=5, search="so so")
    assert "1 of 1 shown" in drawn and "Great" not in drawn and "✓" in drawn and "✗" in drawn


def test_a_visitor_is_met_by_a_tweet_that_was_corrected_and_reads_well():
    def corrected(words, base=(0.9, 0.1)):
        return Disagreement(words, "positive", Answer("negative", base), Answer("positive", (0.2, 0.8)))

    plain = "What a day, the train came in time!"
    odd = [
        "look http://t.co/x what a lovely day",
        "so \ufffd lovely, what a day",
        "Nice!",
        "<b>what a lovely day</b>",
        "What a shitty day, the train came late",
    ]
    broken = Disagreement(
        "It is fine, I only wanted to say so",
        "neutral",
        Answer("neutral", (0.9, 0.1)),
        Answer("positive", (0.2, 0.8)),
    )
    rows = [broken, *map(corrected, odd), corrected(plain, (0.6, 0.4))]
    assert telling(rows) == plain
    assert telling(rows[:-1]) == telling([]) == next(iter(EXAMPLES))


def test_programs_are_given_this_very_address_text_and_models():
    address = "https://a.example"
    drawn = in_code(address, tweet='it\'s "so"')
    Checker(drawn)
    assert f"{address}/mcp" in drawn and drawn.count(f"{address}/models/fine-tuned") == 3
    assert "it\\u0027s" in drawn and "</script" not in drawn
    both = in_code(address, ["base", "tuned"])
    assert f"{address}/models/base" in both and both.count(f"{address}/v1/compare") == 2
    others = in_code(address, ["few-shot-4", "tuned", EVIL])
    Checker(others)
    assert "/models/" not in others and others.count("few-shot-4") == 3
    assert "page&#x27;s own API" in others and "gradio_api/call/answers" in others


def test_words_that_moved_an_answer_are_marked_by_their_weight():
    drawn = render_compare.heat([("Fine-tuned", "positive", (("so", 0.01), (EVIL, -0.4), ("happy", 0.8)))])
    Checker(drawn)
    assert "--heat:1.00" in drawn and 'class="against"' in drawn and "−40.0" in drawn
    assert render_compare.heat([]) == ""


def test_a_finished_run_opens_with_its_result_and_folds_the_rest():
    drawn = render_train.run_panel(
        view("finished", evaluation=evaluation(), notes=("One.", "Two.")), now=2_000.0
    )
    assert (
        drawn.index("on the test split, n = 20")
        < drawn.index("<summary>Curves")
        < drawn.index("2 notes on data")
    )
    loaded = render_train.run_panel(view("finished"), now=0, loaded="20260101-quick")
    assert 'data-action="tab" data-value="compare"' in loaded and 'data-action="delete"' not in loaded
    assert render_train.short_name("20261125-150038-smoke") == "smoke"
    assert [render_train.short_name(each) for each in ("demo", "20261125-150038-")] == [
        "demo",
        "20261125-150038-",
    ]


def test_the_header_says_what_was_gained_and_which_run_is_at_work(tmp_path):
    drawn = header(
        Model(state="none"), SimpleNamespace(id="a b", status=lambda: Status("running", progress=0.36))
    )
    assert "before and after fine-tuning" in drawn and "Training 36\u00a0%" in drawn and "?run=a%20b" in drawn
    assert drawn.index("<summary") < drawn.index("GPT-2 where the Hub"), "the base's reason is folded"


def test_a_damaged_run_is_listed_with_what_is_wrong(home):
    create_run(load_recipe("smoke")).path.joinpath("status.json").write_text("{torn")
    [damaged] = list_runs()
    drawn = render_train.runs_table([damaged], "", now=0.0)
    Checker(drawn)
    assert damaged.status().state == "damaged" and "damaged</span>" in drawn and "status.json" in drawn
    assert str(home) not in drawn
