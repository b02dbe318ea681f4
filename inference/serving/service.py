"""Texts in, probabilities out, for many callers at once: the server without HTTP.

    service = Service({"demo": "runs/demo/artifact"}, settings=Settings())
    service.start()                                   # loads in the background; or service.load() to wait
    await service.classify(["what a day"])            # -> Classified
    service.predict(["what a day"])                   # the same, for threads
    service.close()

Texts become token ids outside the batcher: a few at once, many in a thread, so that the event loop goes on.
"""

import asyncio
import gc
import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from inference.baselines.index import Index, beside
from inference.baselines.model import load_model
from inference.classifier import Classifier, EncodedTexts, Prediction
from inference.common.errors import DataError, TweetTuneError
from inference.serving import schema
from inference.serving.batcher import Batcher, Logits, QueuedRequest
from inference.serving.errors import BadRequest, DeadlineExceeded, NotReady, ServingError
from inference.serving.metrics import Metrics
from inference.serving.models import Models, ServedModel
from inference.serving.schema import Classified, Settings

_INLINE_CHARACTERS = 2_000  # below it a thread's round trip costs more than the tokenizer
T = TypeVar("T")
U = TypeVar("U")
log = logging.getLogger(__name__)


class Service:
    """Several models with one queue each. Use it as a context manager, or call `close`."""

    def __init__(
        self,
        sources: Mapping[str, str | Path],
        *,
        settings: Settings | None = None,
        engine: str = "auto",
        load: Callable[[str], Classifier] | None = None,
        expected: Collection[str] | None = None,
        index: Index | None = None,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        """Take names with an artifact's folder or Hub repository each; the first is the default.

        `index`: labelled texts that answers may rest on; it is closed with the service.
        `expected`: the names whose models are on their way; by default all are. `on_ready` is called each
        time that all models have been loaded.

        Raises ArtifactError for a name that is none. Nothing is loaded before `start` or `load`.
        """
        self.settings = settings or Settings()
        self.metrics = Metrics()
        self.index = index
        self.error: TweetTuneError | None = None
        """Why the models could not be loaded."""
        self.stopping = False
        """Set when the server is about to stop: it still answers, but is ready for nothing new."""
        self._on_ready = on_ready
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="service")
        self._started = threading.Event()
        self._loading = threading.Lock()  # one load at a time: several would need the memory of several
        self._asked_again = threading.Event()
        self.models = Models(
            {name: str(source) for name, source in sources.items()},
            load=load or (lambda source: load_model(source, engine=engine)),
            make_batcher=self._make_batcher,
            expected=expected,
        )

    def _make_batcher(self, name: str, classifier: Classifier, compute_lock: threading.Lock) -> Batcher:
        on_batch = self.metrics.on_batch(name)
        return Batcher(
            classifier.logits, settings=self.settings, compute_lock=compute_lock, on_batch=on_batch
        )

    def __enter__(self) -> "Service":
        self.load()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def ready(self) -> bool:
        """Whether every model is warmed up and the server is not about to stop."""
        return self.models.ready and not self.stopping

    def start(self) -> None:
        """Load the models in the background, once; `ready` and `error` say how it went."""
        if not self._started.is_set():
            self._started.set()
            threading.Thread(target=self._load_or_keep_error, name="load", daemon=True).start()

    def _load_or_keep_error(self) -> None:
        error: TweetTuneError | None = ServingError("The models could not be loaded; the log says why.")
        try:
            self.load()
            error = None
        except (TweetTuneError, OSError) as known:
            error = known if isinstance(known, TweetTuneError) else ServingError(str(known))
            log.error("%s", known)
        finally:  # whatever happened: a server that can never be ready must not wait for it
            self.error = error

    def load(self) -> None:
        """Load and warm up the models that are not loaded yet. Raises ArtifactError."""
        self._started.set()
        with self._loading:
            loaded = {model.name for model in self.models.loaded()}
            for name in self.models.names:
                if name not in loaded:
                    self.models.load(name)
                    self._announce(name)
            self._on_ready()

    def reload(self) -> None:
        """Load every model again from where it came from, and replace it; what is in work is answered.

        A model that can't be loaded stays as it was, and the log says why. However many ask while models are
        being loaded, one more load follows: what was on the disk last, wins.
        """
        self._asked_again.set()
        with self._loading:
            if not self._asked_again.is_set():
                return
            self._asked_again.clear()
            for name in self.models.names:
                try:
                    self.models.load(name)
                except (TweetTuneError, OSError) as error:
                    log.error("Model %s stays as it was: %s", name, error)
                else:
                    self._announce(name)
            self._on_ready()

    def put(self, name: str, classifier: Classifier | None) -> None:
        """Let a classifier that is loaded already answer under one of the names; None: nothing does."""
        if classifier is None:
            if self.models.drop(name):
                self.metrics.forget_model(name)
                _free()
        else:
            self.models.put(name, classifier)
            self._announce(name)

    def _announce(self, name: str) -> None:
        model = self.models.get(name)
        self.metrics.watch_model(name, model.classifier.engine, model.batcher.load)
        log.info("Model %s is ready: %s", name, model.about["engine_reason"])
        _free()

    async def classify(
        self,
        texts: Sequence[str],
        *,
        model: str | None = None,
        deadline_s: float | None = None,
        max_length: int | None = None,
    ) -> Classified:
        """Return the logits of some texts; cancelling the call drops what is not computed yet.

        `max_length`: tokens to which texts are cut, where the model takes more.

        Raises UnknownModel, NotReady, Overloaded, DeadlineExceeded, or PredictionError for what is no text.
        """
        if not texts:
            named = self.models.get(model)
            none = np.zeros((0, len(named.classifier.labels)), np.float32)
            return _classified(named, none, EncodedTexts([], []))
        deadline_s = deadline_s or self.settings.deadline_s
        served, request = self._reserve(model, len(texts), deadline_s)
        encode = partial(served.classifier.encode, max_length=max_length)
        try:
            async with asyncio.timeout(deadline_s):
                if sum(len(text) for text in texts if isinstance(text, str)) <= _INLINE_CHARACTERS:
                    encoded = encode(list(texts))
                else:
                    encoded = await self.in_thread(encode, list(texts))
                logits = await asyncio.wrap_future(served.batcher.submit(request, encoded.token_ids))
        except TimeoutError as error:
            raise _too_late(deadline_s) from error
        finally:
            request.future.cancel()  # gives the place back, whatever happened; nothing when it is answered
        return self._classified(served, logits, encoded)

    async def retrieve(
        self, request: schema.RetrieveRequest, classified: Classified
    ) -> list[dict[str, object]]:
        """Return what a model says of texts with the vote of the index's nearest ones; `classified`: alone.

        Raises PredictionError where the labels of model and index differ, or the index is empty.
        """
        assert self.index is not None, "only a service with an index is asked"
        model = classified.classifier  # its name may stand for another one by now
        assert model is not None
        both = beside(model, self.index, share=request.vote, k=request.k)
        alone = model.predictions(classified.logits, classified.encoded)
        votes = await self.in_thread(both.predictors[1].predict, request.inputs)
        answers = [both.mean(pair) for pair in zip(alone, votes, strict=True)]
        return schema.retrieved_answer(answers, alone, classified.labels)

    async def extend(self, request: schema.LabelledTexts) -> dict[str, int]:
        """Add labelled texts to the index and return what became of them. Raises BadRequest."""
        assert self.index is not None, "only a service with an index is asked"
        try:
            added = await self.in_thread(partial(self.index.add, labels=request.labels), request.inputs)
        except DataError as error:
            raise BadRequest(str(error)) from error
        return asdict(added)

    async def in_thread(self, work: Callable[[T], U], given: T) -> U:
        """Do what takes long in a thread, while the event loop goes on."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, given)

    def predict(
        self, texts: Sequence[str], *, model: str | None = None, deadline_s: float | None = None
    ) -> list[Prediction]:
        """Return one prediction a text, from any thread; errors as in `classify`."""
        if not texts:
            return []
        deadline_s = deadline_s or self.settings.deadline_s
        served, request = self._reserve(model, len(texts), deadline_s)
        try:
            encoded = served.classifier.encode(list(texts))
            logits = served.batcher.submit(request, encoded.token_ids).result(deadline_s)
        except TimeoutError as error:
            raise _too_late(deadline_s) from error
        finally:
            request.future.cancel()
        self._classified(served, logits, encoded)
        return served.classifier.predictions(logits, encoded)

    def _reserve(self, name: str | None, texts: int, deadline_s: float) -> tuple[ServedModel, QueuedRequest]:
        while True:
            served = self.models.get(name)
            try:
                return served, served.batcher.reserve(texts, deadline_s=deadline_s)
            except NotReady:  # it has been replaced since the line before: ask the new one
                if self.models.get(name) is served:
                    raise

    def _classified(self, served: ServedModel, logits: Logits, encoded: EncodedTexts) -> Classified:
        labels = served.classifier.labels
        best: NDArray[np.intp] = logits.argmax(axis=1)
        self.metrics.count_answers(
            served.name, (labels[column] for column in best), truncated=sum(encoded.truncated)
        )
        return _classified(served, logits, encoded)

    def close(self) -> None:
        self.models.close()
        self._threads.shutdown()
        if self.index is not None:
            self.index.close()


def _classified(served: ServedModel, logits: Logits, encoded: EncodedTexts) -> Classified:
    model = served.classifier
    return Classified(served.name, model.labels, logits, encoded, served.curve, model.scope, model)


def _free() -> None:
    """Let go of what nothing refers to: a model is too large to wait for the collector's next full round."""
    gc.unfreeze()
    gc.collect()


def _too_late(deadline_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"The answer was not ready within {deadline_s:g} s. Send fewer texts, or try again later."
    )
