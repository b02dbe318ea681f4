"""The server's app: the routes alone, and the answers where there is none.

    app = create_server(service)
    answer_errors(app, service)          # refuse_other_methods(app), too: for an app with pages beside them

The process that runs it is `inference.serving.process`.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

import anyio.to_thread
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from inference.common.store import JsonObject
from inference.serving import mcp
from inference.serving.hosts import OwnHosts
from inference.serving.routes import LOADING, add_routes, ready
from inference.serving.schema import encode
from inference.serving.service import Service

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_DESCRIPTION = "Classifies texts; speaks the Hub's text-classification API and text-embeddings-inference's."


def create_server(service: Service) -> FastAPI:
    """Return the app of a service. Its lifespan starts the service, and closes it at the end."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await anyio.to_thread.run_sync(service.close)

    # The pages of /docs would load their scripts from another host: there is /openapi.json for tools to read.
    app = FastAPI(
        title="TweetTune", description=_DESCRIPTION, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    pipeline = add_routes(app, service)
    mcp.mount_mcp(app, pipeline)
    # Where no page is, a load balancer's probe is answered, as text-embeddings-inference does.
    probe = pipeline.get("/", partial(ready, service), guarded=False)
    app.add_api_route(
        "/", probe, methods=["GET"], summary="As /readyz", response_model=JsonObject, responses=LOADING
    )
    app.add_route("/", probe, methods=["HEAD"], include_in_schema=False)
    answer_errors(app, service)
    if service.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
            expose_headers=["Retry-After", "X-Request-ID", "X-Truncated-Texts"],
        )
    app.add_middleware(OwnHosts, service=service)  # last, so that it is asked first
    return app


def answer_errors(app: FastAPI, service: Service) -> None:
    """Make an app answer with JSON of one sentence to an unknown route, a wrong method, or a failure."""

    async def not_served(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        service.metrics.requests.labels("none", str(error.status_code)).inc()
        sentence = {
            404: "There is nothing at this address. /openapi.json lists what there is.",
            405: f"This address does not take {request.method}. /openapi.json lists what there is.",
        }.get(error.status_code, str(error.detail))
        return _json(sentence, error.status_code, error.headers)

    async def failed(request: Request, error: Exception) -> Response:
        return _json("The server failed on this request; its log says why.", 500)

    app.add_exception_handler(HTTPException, not_served)
    app.add_exception_handler(500, failed)


def _json(sentence: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(encode({"error": sentence}), status, headers=headers, media_type="application/json")


def refuse_other_methods(app: FastAPI) -> None:
    """Let an app's routes refuse a wrong method themselves; else a mount at "/" would take the request."""

    async def refuse(request: Request) -> Response:
        raise HTTPException(405)

    for path in {*app.openapi()["paths"], mcp.PATH} - {"/"}:
        app.add_route(path, refuse, methods=_METHODS, include_in_schema=False)
