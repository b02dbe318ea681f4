"""The routes, for a server of their own or beside other ones: `add_routes(app, service)`.

    POST /  /models/{name}    the Hub's text-classification API
    POST /predict             text-embeddings-inference's
    POST /v1/compare          two models or more, side by side
    GET  /healthz /readyz /version /metrics

Every request passes the same door: an id, a token, a rate, a body within bounds, a line in the log, a count.
Knows nothing about batches or models.
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
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from inference.common.errors import PredictionError
from inference.serving import openapi, wire
from inference.serving.errors import BadRequest, BodyTooLarge, ServingError, SlowClient, WrongType
from inference.serving.limits import Bodies, Body, ClientGone, RateLimiter, check_token, network
from inference.serving.service import Classified, Service

log = logging.getLogger(__name__)
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PACKAGES = ("torch", "transformers", "tokenizers", "onnxruntime", "fastapi", "uvicorn")
_TEI_TYPES = {413: "Validation", 422: "Validation", 429: "Overloaded", 503: "Unhealthy"}
_INLINE_BYTES = 65_536  # a larger body is parsed in a thread: odd JSON of 4 MB takes half a second
CLIENT_GONE = 499  # nginx's number for it; nobody receives it


@dataclass
class Call:
    """One request on its way: what the log and the metrics will tell of it."""

    request: Request
    id: str
    texts: list[str] = field(default_factory=list)
    asked: int = 0
    """Texts that models were asked for: one text compared by two models counts twice."""
    tokens: int = 0
    truncated: int = 0
    refusal: str = ""


Handler = Callable[[Call, dict[str, Any]], Awaitable[wire.Answer]]
Endpoint = Callable[[Request], Awaitable[Response]]


class Door:
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

    def raw(
        self,
        path: str,
        handler: Callable[[Call, bytes], Awaitable[Response]],
        *,
        max_bytes: int | None = None,
    ) -> Endpoint:
        """Return the endpoint of a route that takes a body of JSON and reads it itself.

        `max_bytes`: the most its body may have, if that is less than others may.
        """

        async def endpoint(request: Request) -> Response:
            return await self._answer(path, request, partial(self._with_body, handler, max_bytes))

        return endpoint

    async def decode(self, content: bytes) -> dict[str, Any]:
        """Return the JSON object of a body, a large one's without holding up the others."""
        if len(content) <= _INLINE_BYTES:
            return wire.decode(content)
        return await self.service.aside(wire.decode, content)

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
            self._tell(route, call, status, time.perf_counter() - began)
        response.headers["X-Request-ID"] = call.id
        if self.service.stopping:
            response.headers["Connection"] = "close"
        if call.truncated:
            response.headers["X-Truncated-Texts"] = str(call.truncated)
        return response

    async def _with_body(
        self, handler: Callable[[Call, bytes], Awaitable[Response]], max_bytes: int | None, call: Call
    ) -> Response:
        request = call.request
        headers = request.headers
        host = request.client.host if request.client else ""
        client = check_token(headers.get("authorization", ""), self.settings.tokens) or network(host)
        self._rates.check(client)
        self._rates.spend(client, 1)
        _check_type(headers.get("content-type", ""), headers.get("content-encoding", ""))
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

    async def classify(self, call: Call, texts: list[str], model: str | None) -> Classified:
        """Classify a call's texts, and note what the log tells of them."""
        call.texts = texts
        call.asked += len(texts)
        classified = await self.service.classify(texts, model=model)
        call.tokens += classified.tokens
        call.truncated = max(call.truncated, sum(classified.truncated))
        return classified

    def _tell(self, route: str, call: Call, status: int, seconds: float) -> None:
        metrics = self.service.metrics
        metrics.requests.labels(route, str(status)).inc()
        metrics.seconds.labels(route).observe(seconds)
        if call.refusal:
            metrics.rejections.labels(call.refusal).inc()
        level = logging.INFO if call.request.method == "POST" else logging.DEBUG  # probes come by the second
        if not log.isEnabledFor(level):
            return
        fields: dict[str, Any] = {
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

    def give_up(gone: "asyncio.Future[Any]") -> None:
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
    content: dict[str, Any] = {"error": str(error)}
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
    return Response(wire.encode(content), error.status, headers=headers, media_type="application/json")


def _check_type(content_type: str, encoding: str) -> None:
    kind = content_type.partition(";")[0].strip().lower()
    if kind != "application/json":
        raise WrongType(f"The content type is {kind[:60]!r}. Send application/json.")
    if encoding not in ("", "identity"):
        raise WrongType(f"The content encoding is {encoding[:60]!r}. Send the body as it is.")


def add_routes(app: FastAPI, service: Service) -> Door:
    """Add the routes to an app, before any mount at "/". The caller starts and closes the service.

    Returns the door, for routes of the caller's own.
    """
    door, settings = Door(service), service.settings

    async def hub(call: Call, body: dict[str, Any]) -> wire.Answer:
        request = wire.hub_request(body, max_texts=settings.max_texts)
        name = call.request.path_params.get("name")
        return wire.hub_answer(await door.classify(call, request.texts, name), request)

    async def predict(call: Call, body: dict[str, Any]) -> wire.Answer:
        request = wire.predict_request(body, max_texts=settings.max_texts)
        classified = await door.classify(call, request.texts, None)
        if not request.truncate and call.truncated:
            raise BodyTooLarge(f"{call.truncated} texts are too long for the model. Leave truncate at true.")
        return wire.predict_answer(classified, request)

    async def compare(call: Call, body: dict[str, Any]) -> wire.Answer:
        names = service.models.names
        request = wire.compare_request(body, max_texts=settings.max_texts, names=names)
        return wire.compare_answer(await _ask_all(door, call, request))

    router = APIRouter(tags=["classification"])
    for path, handler, described in (
        ("/", hub, openapi.HUB),
        ("/models/{name}", hub, openapi.HUB_NAMED),
        ("/predict", predict, openapi.PREDICT),
        ("/v1/compare", compare, openapi.COMPARE),
    ):
        name = path.strip("/").replace("/{name}", "") or "classify"
        router.add_api_route(path, door.post(path, handler), methods=["POST"], name=name, **described)
    for path, told, described, guarded in (
        ("/healthz", _healthy, openapi.HEALTH, False),
        ("/readyz", partial(_ready, service), openapi.READY, False),
        ("/version", partial(_version, service), openapi.VERSION, True),
        ("/metrics", partial(_metrics, service), openapi.METRICS, True),
    ):
        endpoint = door.get(path, told, guarded=guarded)
        router.add_api_route(path, endpoint, methods=["GET"], name=path.strip("/"), **described)
    app.include_router(router)
    return door


async def _ask_all(door: Door, call: Call, request: wire.CompareRequest) -> list[Classified]:
    for name in request.models:
        door.service.models.get(name)  # an unknown name is refused before anything is computed
    try:
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(door.classify(call, request.texts, name)) for name in request.models]
    except BaseExceptionGroup as errors:
        raise _first(errors) from None
    return [task.result() for task in asked]


def _first(errors: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _healthy() -> Response:
    return _json_response({"status": "ok"})


def _ready(service: Service) -> Response:
    loaded = {model.name for model in service.models.loaded()}
    models = {name: name in loaded for name in service.models.names}
    waiting = "loading" if service.models.expected else "empty"
    status = "ready" if service.ready else "stopping" if service.stopping else waiting
    return _json_response({"status": status, "models": models}, 200 if service.ready else 503)


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


def _json_response(answer: wire.Answer, status: int = 200) -> Response:
    return Response(wire.encode(answer), status, media_type="application/json")
