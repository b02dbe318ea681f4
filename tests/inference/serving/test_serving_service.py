"""The service without HTTP: for threads, for tasks, and with models that come and go."""

import asyncio
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from inference import Classifier
from inference.baselines.index import Index, Neighbours
from inference.baselines.model import Answering
from inference.common.errors import ArtifactError, PredictionError
from inference.serving.errors import DeadlineExceeded, NotReady, UnknownModel
from inference.serving.models import name_of, sources_of
from inference.serving.schema import RetrieveRequest, Settings
from inference.serving.service import Service
from tests.support import tweets, wait_for
from tests.support.serve import Gated


@pytest.fixture
def service(trained_gpt2):
    with Service({"demo": trained_gpt2.artifact}, load=Classifier.load) as service:
        yield service


def waiting(service):
    """Return how many texts wait or are in work."""
    return service.models.get().batcher.load().texts


def test_texts_that_voted_are_added_to_the_answer_of_the_model_that_gave_it():
    """Its name may stand for another model by then, with its labels in another order."""
    examples = ["so good", "so bad"], ["positive", "negative"]

    def model(*labels: str) -> Answering:
        learnt = Index(None, labels)
        learnt.add(*examples)
        return Answering(Neighbours(learnt, k=1, by="words"), name="near")

    index = Index(None, ("negative", "positive"))
    index.add(*examples)
    with Service({"near": "near"}, load=lambda _: model("negative", "positive"), index=index) as service:
        classified = asyncio.run(service.classify(["good"]))
        service.put("near", model("positive", "negative"))
        request = RetrieveRequest.model_validate({"inputs": "good"}, context={"max_texts": 1})
        [found] = asyncio.run(service.retrieve(request, classified))
    assert found["model"] == found["label"] == "positive"


def test_threads_and_tasks_get_what_the_classifier_says(service):
    texts = [text for text, _ in tweets(50, seed=1)] + ["x" * 5000]
    with ThreadPoolExecutor(8) as threads:
        found = [answer for [answer] in threads.map(lambda text: service.predict([text]), texts)]
    together = asyncio.run(service.classify(texts))
    expected = service.models.get().classifier.predict(texts)
    for prediction, alone in zip(found, expected, strict=True):
        assert prediction.label == alone.label and prediction.truncated == alone.truncated
        assert prediction.probabilities == pytest.approx(alone.probabilities, abs=1e-6)
    assert [together.labels[column] for column in together.logits.argmax(axis=1)] == [
        p.label for p in expected
    ]
    assert together.encoded.truncated == [False] * 50 + [True]
    assert service.predict([]) == [] and asyncio.run(service.classify([])).logits.shape == (0, 3)


def test_what_is_no_text_is_refused_and_leaves_no_place_taken(service):
    for ask in (service.predict, lambda texts: asyncio.run(service.classify(texts))):
        with pytest.raises(PredictionError, match="Item 1 is int"):
            ask(["a", 1])
    assert waiting(service) == 0


def test_a_call_that_is_cancelled_or_too_late_leaves_no_place_taken(trained_gpt2):
    with Service({"demo": trained_gpt2.artifact}, load=Gated, settings=Settings(deadline_s=0.1)) as service:
        model = service.models.get().classifier
        model.close_gate()
        with pytest.raises(DeadlineExceeded, match=r"not ready within 0\.1 s"):
            service.predict(["a"])
        with pytest.raises(DeadlineExceeded, match=r"not ready within 0\.1 s"):
            asyncio.run(service.classify(["a"]))

        async def cancelled():
            task = asyncio.create_task(service.classify(["a"], deadline_s=60))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cancelled())
        assert waiting(service) == 0
        model.gate.set()
        assert service.predict(["a"], deadline_s=20)


def test_a_name_is_known_before_its_model_is_there(trained_gpt2, trained_llama):
    service = Service({"demo": trained_gpt2.artifact, "late": "nowhere"}, load=Classifier.load)
    with pytest.raises(NotReady, match="Model demo is currently loading"):
        service.predict(["a"])
    with pytest.raises(UnknownModel, match=r"There is no model 'x' here\. Known: demo, late\."):
        service.predict(["a"], model="x")
    with pytest.raises(ArtifactError, match="nowhere does not exist"):
        service.load()
    assert service.predict(["a"]) and not service.ready
    service.put("late", Classifier.load(trained_llama.artifact))
    assert service.ready and service.predict(["a"], model="late")
    gone = weakref.ref(service.models.get("late").classifier)
    service.put("late", None)
    service.put("late", None)
    assert not service.ready and gone() is None
    assert b'queue_texts{model="late"}' not in service.metrics.exposition()
    service.close()
    with pytest.raises(NotReady):
        service.predict(["a"])


def test_loading_in_the_background_tells_how_it_went(trained_gpt2):
    service = Service({"demo": trained_gpt2.artifact}, load=Classifier.load)
    service.start()
    service.start()
    wait_for(lambda: service.ready)
    service.close()
    broken = Service({"demo": "nowhere"}, load=Classifier.load)
    broken.start()
    assert "nowhere does not exist" in str(wait_for(lambda: broken.error))
    broken.close()


def test_reloads_come_one_at_a_time_and_what_was_there_last_wins(trained_gpt2, trained_llama):
    """A slow load of what was there before must not take the place of a later one."""
    there, at_once, most = [trained_gpt2.artifact], [], []

    def load(source):
        at_once.append(source)
        most.append(len(at_once))
        artifact = there[-1]
        time.sleep(0.3 if artifact == trained_gpt2.artifact else 0)
        classifier = Classifier.load(artifact)
        at_once.pop()
        return classifier

    with Service({"demo": "anything"}, load=load) as service:
        threads = [threading.Thread(target=service.reload) for _ in range(8)]
        threads[0].start()
        wait_for(lambda: len(most) == 2)  # it looks at the old model
        there.append(trained_llama.artifact)
        for thread in threads[1:]:
            thread.start()
        for thread in threads:
            thread.join()
        assert service.models.get().classifier.folder == trained_llama.artifact
    assert max(most) == 1
    assert len(most) == 3, "one at the start, one that was asked for, and one for all who asked since"


def test_a_reload_that_is_asked_for_while_the_server_starts_follows_it(trained_gpt2, trained_llama):
    entered, go_on, loaded = threading.Event(), threading.Event(), []

    def load(source):
        loaded.append(trained_llama.artifact if loaded else trained_gpt2.artifact)
        entered.set()
        assert go_on.wait(30)
        return Classifier.load(loaded[-1])

    service = Service({"demo": "anything"}, load=load)
    service.start()
    entered.wait(30)
    again = threading.Thread(target=service.reload)
    again.start()
    go_on.set()
    again.join(60)
    assert service.models.get().classifier.folder == trained_llama.artifact and len(loaded) == 2
    service.close()


def test_a_model_whose_answers_are_no_numbers_is_refused_and_the_old_one_stays(service, trained_gpt2):
    class Broken(Gated):
        def logits(self, token_ids):
            return np.full((len(token_ids), 3), np.nan, dtype=np.float32)

    with pytest.raises(
        ArtifactError, match=r"Model demo answers with numbers that are not finite\. Train it"
    ):
        service.put("demo", Broken(str(trained_gpt2.artifact)))
    assert service.predict(["a"])


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("runs/demo/artifact", "demo"),
        ("/srv/models/tweets v2/", "tweets-v2"),
        ("owner/name", "name"),
        ("artifact", "artifact"),
        ("..", "model"),
        ("/", "model"),
    ],
)
def test_a_model_is_called_after_its_run_or_folder(source, name):
    assert name_of(source) == name
    assert sources_of([f"other={source}", source]) == {"other": source, name: source}


@pytest.mark.parametrize("name", ["", "../a", "a/b", ".hidden", "a b", "x" * 65])
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(ArtifactError, match="can't be a model's name"):
        Service({name: "somewhere"})
