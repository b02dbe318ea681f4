"""The worker's diary, by a clock that the tests turn."""

import pytest

from inference.common.store import read_jsonl
from training.runs.log import RunLog


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def log(tmp_path, clock):
    return RunLog(tmp_path, clock=clock)


def status(log):
    [record] = read_jsonl_of_one(log.run / "status.json")
    return record


def read_jsonl_of_one(path):
    path.with_suffix(".line").write_text(path.read_text().replace("\n", " "))
    return list(read_jsonl(path.with_suffix(".line")))


def progress(log):
    return [e for e in read_jsonl(log.run / "events.jsonl") if e["kind"] == "progress"]


PLAN = {"cache": 40.0, "train": 100.0, "evaluate": 60.0}


def test_before_there_is_a_plan_no_time_is_promised(log, clock):
    with log.phase("prepare"):
        clock.now += 5
        log.progress(1, 2)
        assert (log.time_left_s(), log.overall()) == (None, 0.0)
    assert status(log)["time_left_s"] is None


def test_at_first_the_time_left_is_the_plan(log):
    log.plan(PLAN)
    with log.phase("cache"):
        assert log.time_left_s() == 200.0


def test_a_machine_that_holds_the_plan_counts_down_with_the_clock(log, clock):
    log.plan(PLAN)
    with log.phase("cache"):
        for done in range(1, 11):
            clock.now += 4
            log.progress(done, 10)
            assert log.time_left_s() == pytest.approx(200 - 4 * done)
    with log.phase("train"):
        clock.now += 50
        log.progress(1, 2)
        assert log.time_left_s() == pytest.approx(110)
        assert log.overall() == pytest.approx(90 / 200)


def test_a_machine_of_half_the_speed_doubles_what_is_to_come(log, clock):
    log.plan(PLAN)
    with log.phase("cache"):
        clock.now += 40
        log.progress(5, 10)
        assert log.time_left_s() == pytest.approx(40 + 2 * 160)


def test_one_wild_phase_does_not_scale_the_rest_beyond_three(log, clock):
    log.plan(PLAN)
    with log.phase("cache"):
        clock.now += 4000
        log.progress(10, 10)
        assert log.time_left_s() == pytest.approx(3 * 160)


def test_loading_before_the_first_progress_is_no_part_of_the_pace(log, clock):
    log.plan(PLAN)
    log.seconds |= {"cache": 40.0, "train": 100.0}
    with log.phase("evaluate"):
        clock.now += 20
        assert log.time_left_s() == pytest.approx(40)
        clock.now += 100
        assert log.time_left_s() == pytest.approx(15), "the work is still to come"
        for done in range(1, 101):
            clock.now += 0.6
            log.progress(done, 100)
            assert log.time_left_s() == pytest.approx(0.6 * (100 - done), abs=6)


def test_what_an_earlier_process_has_done_promises_no_speed(log, clock):
    log.plan(PLAN)
    log.seconds["cache"] = 40.0
    with log.phase("train"):
        for done in range(60, 101):
            clock.now += 1
            log.progress(done, 100)
            if done > 60:
                assert log.time_left_s() == pytest.approx(100 - done + 60, rel=0.05)


def test_progress_never_falls_and_ends_at_one(log, clock):
    log.plan(PLAN)
    shares = []
    for name, seconds in (("cache", 300), ("train", 3), ("evaluate", 900)):
        with log.phase(name):
            shares.append(log.overall())
            for done in range(1, 8):
                clock.now += seconds / 7
                log.progress(done, 7)
                shares.append(log.overall())
        shares.append(log.overall())
    assert shares == sorted(shares)
    assert len(set(shares)) > 20
    assert (shares[0], shares[-1]) == (0.0, 1.0)


def test_progress_is_written_twice_a_second_and_at_the_end(log, clock):
    with log.phase("train"):
        for done in range(1, 101):
            clock.now += 0.1
            log.progress(done, 100)
    written = progress(log)
    assert 20 <= len(written) <= 22
    assert (written[0]["done"], written[-1]["done"]) == (0, 100)
    assert written[-1]["phase"] == "train"


def test_seconds_of_a_phase_that_came_twice_add_up(log, clock):
    for seconds in (3, 4):
        with log.phase("cache"):
            clock.now += seconds
    assert log.seconds == {"cache": 7.0}


def test_a_phase_that_failed_is_not_a_finished_one(log, clock):
    with pytest.raises(KeyError), log.phase("cache"):
        raise KeyError
    assert log.seconds == {}


def test_status_while_running_and_at_the_end(log, clock):
    log.plan(PLAN)
    with log.phase("cache"):
        clock.now += 20
        log.progress(5, 10)
    running = status(log)
    assert (running["state"], running["phase"], running["progress"]) == ("running", "cache", 0.1)
    assert running["started_at"] == 1000.0
    assert running["pid"] > 0
    clock.now += 10
    log.finish("failed", "The disk is full. Free it.")
    ended = status(log)
    assert (ended["state"], ended["message"]) == ("failed", "The disk is full. Free it.")
    assert (ended["pid"], ended["time_left_s"], ended["finished_at"]) == (None, None, 1030.0)
    [error] = [e for e in read_jsonl(log.run / "events.jsonl") if e["kind"] == "error"]
    assert error["message"] == "The disk is full. Free it."


def test_a_finished_run_is_whole(log):
    log.finish("finished")
    assert (status(log)["state"], status(log)["progress"]) == ("finished", 1.0)
