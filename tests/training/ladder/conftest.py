"""A finished ladder of every rung, for all who look at one."""

import pytest

from tests.support import once
from training.ladder.climb import climb
from training.ladder.order import Order
from training.ladder.results import Ladder
from training.runs.log import RunLog

LABELS = 24


@pytest.fixture(scope="session")
def order(tiny_gpt2, tiny_tweets):
    return Order(base=str(tiny_gpt2), dataset=str(tiny_tweets), labels=(LABELS,), limit=48, keep=True)


@pytest.fixture(scope="session")
def finished(order):
    """Return a finished ladder of every rung, with its trained networks: its run, and what it found."""

    def finish(home):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TWEETTUNE_HOME", str(home))
            run = order.create(name="tiny")
            log = RunLog(run.path)
            climb(run, log)
            log.finish("finished")
        return run, Ladder.read(run.path)

    return once("ladder", finish)
