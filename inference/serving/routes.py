"""The routes, for a server of their own or beside other ones: `add_routes(app, service)`.

    POST /  /models/{name}    the Hub's text-classification API
    POST /predict             text-embeddings-inference's
    POST /v1/compare          two models or more, side by side
    POST /v1/retrieve         answers that rest on labelled texts, where the service has an index of them
    POST /v1/index            adds to it; GET says what it holds
    GET  /health /info        text-embeddings-inference's
    GET  /healthz /readyz /version /metrics

Every GET route answers HEAD, too.

Every request passes one pipeline: an id, a token, a rate, a body within bounds, a line in the log, a count.
"""

import asyncio
import logging
import platform
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.types import Message

from inference import __version__
from inference.common.errors import PredictionError
from inference.common.machine import cores
from inference.common.store import JsonObject
from inference.serving import schema
from inference.serving.errors import BadRequest, BodyTooLarge, ServingError, SlowClient, WrongType
from inference.serving.limits import Bodies, Body, ClientGone, RateLimiter, check_token, network
from inference.serving.schema import Classified
from inference.serving.service import Service

log = logging.getLogger(__name__)
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PACKAGES = ("torch", "transformers", "tokenizers", "onnxruntime", "fastapi", "uvicorn")
_TEI_TYPES = {413: "Validation", 422: "Validation", 429: "Overloaded", 503: "Unhealthy"}
_INLINE_BYTES = 65_536  # a larger body is parsed in a thread: odd JSON of 4 MB takes half a second
CLIENT_GONE = 499  # nginx's number for it; nobody receives it


@dataclass
class Call:
    """One request in progress, and what the log and the metrics will say about it."""

    request: Request
    id: str
    texts: list[str] = field(default_factory=list)
    asked: int = 0
    """Texts that models were asked for: one text compared by two models counts twice."""
    tokens: int = 0
    truncated: int = 0
    refusal: str = ""


Handler = Callable[[Call, JsonObject], Awaitable[schema.Answer]]
RawHandler = Callable[[Call, bytes], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]
Responses = dict[int | str, JsonObject]
"""What else a route may answer, by status, as FastAPI describes it."""


class RequestPipeline:
    """What every request passes on its way in and out."""

    def __init__(self, service: Service) -> None:
        self.service, self.settings = service, service.settings
        self._bodies = Bodies(
            max_bytes=int(self.settings.max_body_mb * 2**20),
            max_all_bytes=int(self.settings.max_bodies_mb * 2**20),
            timeout_s=self.settings.body_timeout_s,
        )
        self._rates = RateLimiter(self.settings.rate_limit)

    def post(self, path: str, handler: Handler) -> Endpoint:
        """Return the endpoint of a route that takes JSON and answers JSON."""

        async def answer(call: Call, content: bytes) -> Response:
            return _json_response(await handler(call, await self.decode(content)))

        return self.raw(path, answer)

    def raw(self, path: str, handler: RawHandler, *, max_bytes: int | None = None) -> Endpoint:
        """Return the endpoint of a route that reads a body of JSON itself, of `max_bytes` at most."""

        async def endpoint(request: Request) -> Response:
            return await self._answer(path, request, partial(self._with_body, handler, max_bytes))

        return endpoint

    async def decode(self, content: bytes) -> JsonObject:
        """Return the JSON object of a body, a large one's without holding up the others."""
        if len(content) <= _INLINE_BYTES:
            return schema.decode(content)
        return await self.service.in_thread(schema.decode, content)

    def get(self, path: str, handler: Callable[[], Response], *, guarded: bool) -> Endpoint:
        """Return the endpoint of a route without a body; `guarded` ones ask for a token."""

        async def answer(call: Call) -> Response:
            if guarded:
                check_token(call.request.headers.get("authorization", ""), self.settings.tokens)
            return handler()

        async def endpoint(request: Request) -> Response:
            return await self._answer(path, request, answer)

        return endpoint

    async def _answer(
        self, route: str, request: Request, handler: Callable[[Call], Awaitable[Response]]
    ) -> Response:
        began, status = time.perf_counter(), 500
        given = request.headers.get("x-request-id", "")
        call = Call(request, given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex)
        try:
            response = await handler(call)
            status = response.status_code
        except ServingError as error:
            response = refusal(error, tei=route == "/predict")
            status, call.refusal = error.status, error.reason
            if status >= 500 and error.__cause__ is not None:
                log.error("%s", error, exc_info=error.__cause__, extra={"fields": {"id": call.id}})
        except ClientGone:
            response, status, call.refusal = Response(status_code=CLIENT_GONE), CLIENT_GONE, "client_gone"
        finally:
            self._record(route, call, status, time.perf_counter() - began)
        response.headers["X-Request-ID"] = call.id
        if self.service.stopping:
            response.headers["Connection"] = "close"
        if call.truncated:
            response.headers["X-Truncated-Texts"] = str(call.truncated)
        return response

    async def _with_body(self, handler: RawHandler, max_bytes: int | None, call: Call) -> Response:
        request = call.request
        headers = request.headers
        host = request.client.host if request.client else ""
        client = check_token(headers.get("authorization", ""), self.settings.tokens) or network(host)
        self._rates.check(client)
        self._rates.spend(client, 1)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise WrongType(f"The content type is {kind[:60]!r}. Send application/json.")
        if (encoding := headers.get("content-encoding", "")) not in ("", "identity"):
            raise WrongType(f"The content encoding is {encoding[:60]!r}. Send the body as it is.")
        body = Body(self._bodies, max_bytes)
        try:
            announced = headers.get("content-length", "")
            content = await body.read(
                request.receive,
                announced=int(announced) if announced.isdecimal() else 0,
                waits_for_100="expect" in headers,
            )
            return await _unless_gone(request, handler(call, content))
        except PredictionError as error:
            raise BadRequest(str(error)) from error
        finally:
            body.release()
            self._rates.spend(client, max(0, call.asked - 1))

    async def classify(
        self, call: Call, texts: list[str], model: str | None, asked: schema.HubParameters | None = None
    ) -> Classified:
        """Classify a call's texts, and record what the log says about them.

        Raises BodyTooLarge for texts that are too long and, as was asked, not to be cut.
        """
        call.texts = texts
        call.asked += len(texts)
        classified = await self.service.classify(
            texts, model=model, max_length=asked.max_length if asked else None
        )
        call.tokens += sum(classified.encoded.lengths)
        call.truncated = max(call.truncated, sum(classified.encoded.truncated))
        if asked and not asked.cuts and call.truncated:
            raise BodyTooLarge(
                f"Too long for the model: {call.truncated} of {len(texts)} texts. Let them be truncated."
            )
        return classified

    def _record(self, route: str, call: Call, status: int, seconds: float) -> None:
        metrics = self.service.metrics
        metrics.requests.labels(route, str(status)).inc()
        metrics.seconds.labels(route).observe(seconds)
        if call.refusal:
            metrics.rejections.labels(call.refusal).inc()
        level = logging.INFO if call.request.method == "POST" else logging.DEBUG  # probes come by the second
        if not log.isEnabledFor(level):
            return
        fields: dict[str, object] = {
            "id": call.id,
            "route": route,
            "status": status,
            "ms": round(seconds * 1000, 2),
            "texts": len(call.texts),
            "tokens": call.tokens,
        }
        if call.refusal:
            fields["refused"] = call.refusal
        if self.settings.log_texts:
            fields["inputs"] = call.texts
        log.log(level, "request", extra={"fields": fields})


async def _unless_gone(request: Request, answer: Awaitable[Response]) -> Response:
    """Await an answer, and give it up when the client closes its connection. Raises ClientGone then."""
    task = asyncio.current_task()
    assert task is not None
    waiting = True

    def give_up(gone: "asyncio.Future[Message]") -> None:
        if waiting and not gone.cancelled():
            task.cancel()

    gone = asyncio.ensure_future(request.receive())  # after the body, only a disconnect can come
    gone.add_done_callback(give_up)
    try:
        return await answer
    except asyncio.CancelledError:
        if gone.done() and not gone.cancelled():
            task.uncancel()
            raise ClientGone from None
        raise
    finally:
        waiting = False
        gone.cancel()


def refusal(error: ServingError, *, tei: bool = False) -> Response:
    """Return an error as the Hub's API, or text-embeddings-inference, words it."""
    content: dict[str, object] = {"error": str(error)}
    headers = {}
    if tei:
        content["error_type"] = _TEI_TYPES.get(error.status, "Backend")
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if error.status == 503 and error.retry_after_s is not None:
        content["estimated_time"] = float(error.retry_after_s)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, SlowClient):
        headers["Connection"] = "close"
    return Response(schema.encode(content), error.status, headers=headers, media_type="application/json")


_REFUSED: Responses = {
    error.status: {"model": schema.Refusal, "description": error.__doc__}
    for error in ServingError.__subclasses__()
}
LOADING: Responses = {503: {"model": JsonObject, "description": "Not yet, or no more."}}
_NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "One of the models that are served.",
    "schema": {"type": "string", "examples": ["demo"]},
}


def add_routes(app: FastAPI, service: Service) -> RequestPipeline:
    """Add the routes to an app, before any mount at "/". The caller starts and closes the service.

    Returns the pipeline, for routes of the caller's own.
    """
    pipeline, router = RequestPipeline(service), APIRouter(tags=["classification"])
    most = service.settings.max_texts

    async def hub(call: Call, body: JsonObject) -> schema.Answer:
        request = schema.read(schema.HubRequest, body, max_texts=most)
        name = call.request.path_params.get("name")
        return schema.hub_answer(await pipeline.classify(call, request.inputs, name, request.asked), request)

    async def predict(call: Call, body: JsonObject) -> schema.Answer:
        request = schema.read(schema.PredictRequest, body, max_texts=most)
        classified = await pipeline.classify(call, request.inputs.texts, None, request.asked)
        return schema.predict_answer(classified, request)

    async def compare(call: Call, body: JsonObject) -> schema.Answer:
        request = schema.read(schema.CompareRequest, body, max_texts=most)
        names = schema.models_to_compare(request, service.models.names)
        return schema.compare_answer(await _ask_all(pipeline, call, request.inputs, names))

    ranked = "For each text its labels with scores, best first. X-Truncated-Texts: how many lost their end."
    agreement = "For each text what each model says, and whether they agree."
    as_hub = "Classify, as the Hub's text-classification API"
    as_tei = "Classify, as text-embeddings-inference"
    rows, row = list[list[schema.Ranked]], list[schema.Ranked]
    for path, handler, body, answer, summary, description in (
        *(_with_index(pipeline) if service.index is not None else ()),
        ("/", hub, schema.HubRequest, rows, as_hub, ranked),
        ("/models/{name}", hub, schema.HubRequest, rows, as_hub, ranked),
        ("/predict", predict, schema.PredictRequest, row | rows, as_tei, ranked),
        ("/v1/compare", compare, schema.CompareRequest, schema.Comparison, "Compare models", agreement),
    ):
        content = {"application/json": {"schema": schema_of(body)}}
        router.add_api_route(
            path,
            pipeline.post(path, handler),
            methods=["POST"],
            name=path.strip("/").replace("/{name}", "") or "classify",
            summary=summary,
            response_model=answer,
            response_description=description,
            responses=_REFUSED,
            openapi_extra={
                "requestBody": {"required": True, "content": content},
                "parameters": [_NAME] if "{name}" in path else [],
            },
        )
    text: Responses = {200: {"content": {"text/plain": {}}}}
    guard: Responses = {401: _REFUSED[401]}
    unready: Responses = {503: _REFUSED[503]}
    about = "What is served, and its limits, as text-embeddings-inference"
    index = service.index

    def counts() -> Response:
        assert index is not None
        return _json_response(index.counts())

    for path, report, summary, response_model, answers in (
        *(
            [("/v1/index", counts, "What the index holds", dict[str, int], guard)]
            if index is not None
            else ()
        ),
        ("/healthz", lambda: _json_response({"status": "ok"}), "Is the process alive", JsonObject, {}),
        ("/readyz", partial(ready, service), "Is every model loaded and warmed up", JsonObject, LOADING),
        ("/health", partial(ready, service), "As /readyz", JsonObject, LOADING),
        ("/info", partial(_info, service), about, schema.ModelInfo, unready | guard),
        ("/version", partial(_version, service), "What is served, by which versions", JsonObject, guard),
        ("/metrics", partial(_metrics, service), "Counts, in Prometheus' text format", None, text | guard),
    ):
        endpoint = pipeline.get(path, report, guarded=401 in answers)
        router.add_api_route(
            path,
            endpoint,
            methods=["GET"],
            name=path.strip("/"),
            summary=summary,
            response_model=response_model,
            responses=answers,
        )
        router.add_route(path, endpoint, methods=["HEAD"], include_in_schema=False)
    app.include_router(router)
    return pipeline


def schema_of(kind: type[BaseModel]) -> JsonObject:
    """Return the JSON schema of a request, without references, titles, and null for what may be left out."""
    whole = kind.model_json_schema()
    definitions = whole.pop("$defs", {})

    def tidy(node: object) -> object:
        if isinstance(node, list):
            return [tidy(each) for each in node]
        if not isinstance(node, dict):
            return node
        kinds = [each for each in node.get("anyOf", ()) if each != {"type": "null"}]
        if len(kinds) == 1:
            return tidy({**kinds[0], **{key: value for key, value in node.items() if key != "anyOf"}})
        if "$ref" in node:
            return tidy(definitions[node["$ref"].rsplit("/", 1)[1]])
        left_out = {("title", str), ("default", type(None))}
        return {key: tidy(value) for key, value in node.items() if (key, type(value)) not in left_out}

    tidied = tidy(whole)
    assert isinstance(tidied, dict)
    return tidied


async def _ask_all(
    pipeline: RequestPipeline, call: Call, texts: list[str], models: list[str]
) -> list[Classified]:
    for name in models:
        pipeline.service.models.get(name)  # an unknown name is refused before anything is computed
    try:
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(pipeline.classify(call, texts, name)) for name in models]
    except BaseExceptionGroup as errors:
        error: BaseException = errors
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
    return [task.result() for task in asked]


def _with_index(pipeline: RequestPipeline) -> tuple[tuple[Any, ...], ...]:
    """Return the routes of a service with an index: path, handler, body, answer, what it does and returns."""
    service = pipeline.service
    most = service.settings.max_texts

    async def retrieve(call: Call, body: JsonObject) -> schema.Answer:
        request = schema.read(schema.RetrieveRequest, body, max_texts=most)
        return await service.retrieve(request, await pipeline.classify(call, request.inputs, request.model))

    async def extend(call: Call, body: JsonObject) -> schema.Answer:
        request = schema.read(schema.LabelledTexts, body, max_texts=most)
        call.texts, call.asked = request.inputs, len(request.inputs)
        return await service.extend(request)

    vote = "Classify, with the vote of the nearest labelled texts"
    grounds = "For each text its answer, and the labelled texts that it rests on."
    became = "How many were added, had another label, were known, or are locked: duplicates of test rows."
    return (
        ("/v1/retrieve", retrieve, schema.RetrieveRequest, list[schema.Retrieved], vote, grounds),
        ("/v1/index", extend, schema.LabelledTexts, dict[str, int], "Add to the index", became),
    )


def ready(service: Service) -> Response:
    """Say whether every model that is expected is loaded and warmed up."""
    loaded = {model.name for model in service.models.loaded()}
    models = {name: name in loaded for name in service.models.names}
    waiting = "loading" if service.models.expected else "empty"
    status = "ready" if service.ready else "stopping" if service.stopping else waiting
    answer: dict[str, object] = {"status": status, "models": models}
    if not service.ready:
        answer |= {"error": f"The server is not ready: {status}.", "error_type": _TEI_TYPES[503]}
    return _json_response(answer, 200 if service.ready else 503)


def _info(service: Service) -> Response:
    model = service.models.get()
    labels, engine, settings = model.classifier.labels, model.classifier.engine, service.settings
    of_the_hub = model.classifier.folder not in (None, Path(model.classifier.name_or_path))
    info = schema.ModelInfo(
        model_id=model.classifier.name_or_path if of_the_hub else model.name,  # no path of this machine
        model_dtype="int8" if "int8" in engine.name else "float32",
        model_type={
            "classifier": schema.ClassifierInfo(
                id2label={str(place): label for place, label in enumerate(labels)},
                label2id={label: place for place, label in enumerate(labels)},
            )
        },
        max_concurrent_requests=settings.max_queue,
        max_input_length=model.classifier.max_length,
        max_batch_tokens=settings.batch_tokens,
        max_client_batch_size=settings.max_texts,
        tokenization_workers=cores(),
        version=__version__,
    )
    return _json_response(info.model_dump())


def _version(service: Service) -> Response:
    packages = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    models = [model.about for model in service.models.loaded()]
    return _json_response({"models": models, "default": service.models.default, "packages": packages})


def _metrics(service: Service) -> Response:
    return Response(service.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


def _json_response(answer: schema.Answer, status: int = 200) -> Response:
    return Response(schema.encode(answer), status, media_type="application/json")
