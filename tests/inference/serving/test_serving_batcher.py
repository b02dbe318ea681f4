"""Dynamic batching: whatever is asked at once, each request gets the answer it would get alone."""

import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.serving.batcher import Batcher
from inference.serving.errors import DeadlineExceeded, NotReady, Overloaded, ServingError
from inference.serving.schema import Settings
from tests.support import wait_for


def answer(token_ids):
    """Return "logits" that tell each text by its ids: their sum and their number."""
    return np.array([[sum(ids), len(ids)] for ids in token_ids], dtype=np.float32)


class Gate:
    """A model that computes nothing until the gate is opened, and remembers its batches."""

    def __init__(self):
        self.open = threading.Event()
        self.entered = threading.Event()
        self.batches = []

    def logits(self, token_ids):
        self.batches.append(list(token_ids))
        self.entered.set()
        assert self.open.wait(20)
        return answer(token_ids)


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.fixture
def behind(gate):
    """Return a batcher of 5 texts, 100 tokens at most, whose engine is busy with one text."""
    batcher = Batcher(
        gate.logits, settings=Settings(max_queue=5, max_queue_tokens=100, batch_tokens=20, deadline_s=20)
    )
    ask(batcher, [[1]])
    gate.entered.wait(20)
    yield batcher
    gate.open.set()
    batcher.close()


def ask(batcher, token_ids, *, deadline_s=20.0):
    """Return the future of a request's logits."""
    return batcher.submit(batcher.reserve(len(token_ids), deadline_s=deadline_s), token_ids)


requests = st.lists(
    st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=30), min_size=1, max_size=12),
    min_size=1,
    max_size=25,
)


@given(requests, st.integers(1, 100), st.floats(0, 3))
@settings(max_examples=40, deadline=None)
def test_each_request_gets_the_answer_it_would_get_alone(asked, batch_tokens, window_ms):
    batches = []

    def logits(token_ids):
        batches.append(token_ids)
        return answer(token_ids)

    batcher = Batcher(logits, settings=Settings(batch_tokens=batch_tokens, window_ms=window_ms))
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda ids: ask(batcher, ids).result(20), asked))
    batcher.close()
    for ids, found in zip(asked, answers, strict=True):
        assert found.tolist() == answer(ids).tolist()
    assert sum(map(len, batches)) == sum(map(len, asked)), "each text is computed once"
    for batch in batches:
        assert len(batch) == 1 or sum(map(len, batch)) <= batch_tokens
    assert (batcher.load().texts, batcher.load().tokens) == (0, 0)


def test_what_gathers_while_the_engine_is_busy_goes_together(behind, gate):
    futures = [ask(behind, [[n] * 3]) for n in range(3)]
    gate.open.set()
    wait(futures, 20)
    assert [len(batch) for batch in gate.batches] == [1, 3]


def test_a_lone_client_never_waits_for_the_window():
    batcher = Batcher(answer, settings=Settings(window_ms=60_000))
    for _ in range(50):
        ask(batcher, [[1, 2]]).result(20)  # a single window would be a minute
    batcher.close()


def test_after_a_batch_of_two_requests_the_next_waits_for_both(gate):
    batcher = Batcher(gate.logits, settings=Settings(window_ms=500))
    ask(batcher, [[1]])
    gate.entered.wait(20)

    def client(own_time_s):
        for _ in range(5):
            ask(batcher, [[1]]).result(20)
            time.sleep(own_time_s)

    with ThreadPoolExecutor(2) as clients:
        done = [clients.submit(client, own_time_s) for own_time_s in (0.001, 0.03)]
        wait_for(lambda: batcher.load().texts == 3)
        gate.open.set()
        wait(done, 20)
    batcher.close()
    assert [len(batch) for batch in gate.batches] == [1, 2, 2, 2, 2, 2]


def test_once_the_engine_is_idle_a_request_waits_for_nobody(gate):
    now = [0.0]
    batcher = Batcher(gate.logits, settings=Settings(window_ms=5000), clock=lambda: now[0])
    ask(batcher, [[1]])
    gate.entered.wait(20)
    both = [ask(batcher, [[1]]), ask(batcher, [[1]])]
    gate.open.set()
    wait(both, 20)
    now[0] = 6
    assert ask(batcher, [[1]]).result(2).tolist() == [[1, 1]]
    batcher.close()


def test_a_request_of_many_texts_lets_smaller_ones_pass(behind, gate):
    batcher, order = behind, []
    many = ask(batcher, [[1] * 20] * 3)  # a batch each
    small = ask(batcher, [[1] * 5])
    for name, future in (("many", many), ("small", small)):
        future.add_done_callback(lambda _, name=name: order.append(name))
    gate.open.set()
    wait([many, small], 20)
    assert order == ["small", "many"]


def test_texts_of_like_length_of_a_request_go_together(behind, gate):
    many = ask(behind, [[1] * 9, [1], [1] * 9, [1]])
    gate.open.set()
    assert many.result(20)[:, 1].tolist() == [9, 1, 9, 1]
    assert [len(ids) for ids in gate.batches[1]] == [9, 9, 1, 1]


def test_a_full_queue_refuses_and_says_when_to_come_again(behind):
    ask(behind, [[1]] * 4)
    sentence = r"The queue is full \(texts: 5, tokens: 5\)\. Try again in 1 s\."
    with pytest.raises(Overloaded, match=sentence) as found:
        behind.reserve(1, deadline_s=9)
    assert found.value.retry_after_s == 1


def test_tokens_fill_the_queue_too_and_give_their_place_back(behind):
    ask(behind, [[1] * 90])
    with pytest.raises(Overloaded):
        ask(behind, [[1] * 10])
    assert behind.load().texts == 2
    ask(behind, [[1] * 9])


def test_an_empty_queue_takes_a_request_that_is_larger_than_it():
    batcher = Batcher(answer, settings=Settings(max_queue=2, max_queue_tokens=5, batch_tokens=3))
    assert ask(batcher, [[n] * 4 for n in range(7)]).result(20).shape == (7, 2)
    batcher.close()


def test_the_wait_is_estimated_from_the_measured_rate():
    now = [0.0]
    gate = Gate()

    def logits(token_ids):
        now[0] += len(token_ids)  # a text a second, ten tokens each
        return gate.logits(token_ids)

    gate.open.set()
    batcher = Batcher(logits, settings=Settings(max_queue=4, batch_tokens=10), clock=lambda: now[0])
    ask(batcher, [[1] * 10]).result(20)
    gate.open.clear()
    ask(batcher, [[1] * 10] * 4, deadline_s=99)
    with pytest.raises(Overloaded) as found:
        batcher.reserve(1, deadline_s=9)
    assert found.value.retry_after_s == 4
    gate.open.set()
    batcher.close()


def test_what_is_too_late_is_answered_so_and_not_computed(behind, gate):
    late = ask(behind, [[7]], deadline_s=0.01)
    time.sleep(0.05)
    gate.open.set()
    with pytest.raises(DeadlineExceeded, match="The answer was not ready in time"):
        late.result(20)
    assert [[7]] not in gate.batches


def test_what_is_given_up_is_not_computed_and_its_place_is_free(behind, gate):
    given_up = ask(behind, [[7], [8], [9]])
    assert given_up.cancel()
    assert behind.load().texts == 1
    gate.open.set()
    with pytest.raises(CancelledError):
        given_up.result(20)
    behind.close()
    assert sum(map(len, gate.batches)) == 1


def test_a_request_given_up_midway_frees_the_engine(gate):
    batcher = Batcher(gate.logits, settings=Settings(batch_tokens=2))
    many = ask(batcher, [[1, 1]] * 10)
    gate.entered.wait(20)
    many.cancel()
    gate.open.set()
    batcher.close()
    assert len(gate.batches) == 1


def test_a_model_that_fails_answers_so_and_computes_on():
    def logits(token_ids):
        if token_ids[0] == [13]:
            raise RuntimeError("out of luck")
        return answer(token_ids)

    batcher = Batcher(logits)
    with pytest.raises(ServingError, match=r"could not compute an answer \(RuntimeError\)") as found:
        ask(batcher, [[13]]).result(20)
    assert "out of luck" in str(found.value.__cause__)
    assert ask(batcher, [[1]]).result(20).tolist() == [[1, 1]]
    batcher.close()


def test_close_answers_what_is_accepted_and_takes_nothing_new(behind, gate):
    futures = [ask(behind, [[n]]) for n in range(3)]
    queued = behind.load().texts
    closing = threading.Thread(target=behind.close)
    closing.start()
    wait_for(lambda: behind._closed)
    with pytest.raises(NotReady, match="Send it again"):
        behind.reserve(1, deadline_s=9)
    assert queued == 4 and not any(future.done() for future in futures)
    gate.open.set()
    closing.join(20)
    assert all(future.done() for future in futures) and not closing.is_alive()


def test_close_waits_for_a_request_whose_place_is_reserved():
    batcher = Batcher(answer)
    job = batcher.reserve(1, deadline_s=9)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    wait_for(lambda: batcher._closed)
    assert batcher.submit(job, [[1]]).result(20).tolist() == [[1, 1]]
    closing.join(20)
    assert not closing.is_alive()


def test_models_that_share_a_lock_compute_one_at_a_time():
    lock, at_work, most = threading.Lock(), [0], [0]

    def logits(token_ids):
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        time.sleep(0.002)
        at_work[0] -= 1
        return answer(token_ids)

    batchers = [Batcher(logits, compute_lock=lock) for _ in range(3)]
    wait([ask(batcher, [[1]]) for _ in range(5) for batcher in batchers], 20)
    for batcher in batchers:
        batcher.close()
    assert most == [1]
