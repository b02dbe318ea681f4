"""The time left of a ladder is honest from its first step on, by a clock that the test turns."""

import pytest

from training.ladder.order import Order
from training.ladder.plan import Counted, planned
from training.runs.log import RunLog

ORDER = Order(labels=(96, 1000))
STEPS = ORDER.steps(labels=ORDER.labels, classes=3)
COUNTED = Counted(
    text_tokens=26.0,
    word_tokens=2.0,
    classes=3,
    validation=500,
    test=3534,
    unlabelled=1000,
    context=2048,
    parameters=135_000_000,
    batch_size=16,
    recipe=ORDER.recipe,
)
PLAN = planned(STEPS, COUNTED, flops_per_s=60e9)


def climbed(log, clock, pace):
    """Yield, ten times in each step, the time left that is told and the true one; `pace` by step."""
    true = {name: pace(name) * (one.build + one.answer) for name, one in PLAN.items()}
    log.plan({name: one.build + one.answer for name, one in PLAN.items()})
    for name, one in PLAN.items():
        began = clock[0]
        with log.phase(name):
            for tenth in range(10):
                share = tenth / 10
                clock[0] = began + share * true[name]
                if share >= one.build_share:
                    log.progress(round(1000 * share), 1000)
                later = list(true)[list(true).index(name) + 1 :]
                yield log.time_left_s(), (1 - share) * true[name] + sum(map(true.__getitem__, later))
            clock[0] = began + true[name]


@pytest.fixture
def clock():
    return [1000.0]


@pytest.fixture
def log(tmp_path, clock):
    return RunLog(tmp_path, clock=lambda: clock[0])


def test_a_machine_as_fast_as_measured_gets_the_true_time_from_the_start(log, clock):
    for estimate, true in climbed(log, clock, lambda name: 1.0):
        assert estimate == pytest.approx(true, rel=0.02, abs=1)


def test_a_small_step_that_takes_ten_times_as_long_says_nothing_about_the_hours_to_come(log, clock):
    small = ("majority", "bag-of-words")
    for estimate, true in climbed(log, clock, lambda name: 10.0 if name.startswith(small) else 1.0):
        assert estimate == pytest.approx(true, rel=0.35, abs=1)


def test_a_machine_that_turns_out_half_as_fast_is_believed_after_a_step_of_weight(log, clock):
    whole = sum(one.build + one.answer for one in PLAN.values())
    for estimate, true in climbed(log, clock, lambda name: 2.0):
        assert 0.49 * true - 1 <= estimate <= 1.05 * true + 1, "never far too high"
        if 2 * whole - true > 0.3 * whole:
            assert estimate == pytest.approx(true, rel=0.25, abs=2)


def test_the_weights_of_the_steps_are_those_of_their_tokens():
    def tokens(name):
        return PLAN[name].build + PLAN[name].answer

    assert tokens("zero-shot-prompts") == pytest.approx(4 * tokens("zero-shot-batch"), rel=0.02)
    assert 10 < tokens("retrieval-features-1000") / tokens("zero-shot-batch") < 16
    assert tokens("few-shot-16") > tokens("few-shot-4") > tokens("zero-shot-batch")
    assert tokens("nearest-1000") < tokens("head-1000") < tokens("full-1000")
    assert PLAN["both-1000"].build < PLAN["lora-1000"].build, "its model is that of lora"
    alone = planned(ORDER.steps(labels=(1000,), classes=3)[-1:], COUNTED, flops_per_s=60e9)
    assert alone["both-1000"].build > PLAN["lora-1000"].build
    assert tokens("majority-1000") < 1
    half = planned(STEPS, COUNTED, flops_per_s=120e9)["zero-shot"].answer
    assert half == pytest.approx(PLAN["zero-shot"].answer / 2, rel=0.02)
