"""The models as tools of the Model Context Protocol: `classify` and `compare`, for agents.

With an index also `retrieve`, whose answers rest on labelled texts, and `add_texts`, which adds some to it.

    mount_mcp(app, pipeline)                  # streamable HTTP at /mcp, in the pipeline of the other routes
    asyncio.run(serve_stdio(service))         # `python -m inference mcp MODEL`: an agent's own process

The tools take what `POST /`, `/v1/compare`, `/v1/retrieve` and `/v1/index` take, within the same limits and
in messages of 256 kB at most, and share their batches. An error is a tool error of one sentence. HTTP is
stateless, a JSON answer for each request, so several workers may serve one client.
"""

import logging
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import cast

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from fastapi import FastAPI, Request, Response
from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.message import SessionMessage
from starlette.types import Lifespan, Message, Scope

from inference.baselines.index import Index
from inference.common.store import JsonObject
from inference.serving import schema
from inference.serving.errors import BadRequest, ServingError
from inference.serving.routes import Call, RequestPipeline, schema_of
from inference.serving.schema import Classified
from inference.serving.service import Service

PATH = "/mcp"
MAX_BODY_BYTES = 262_144
"""The library reads a message on the event loop: one of 4 MB would hold up everybody for a second."""
_CALL = "tweettune.call"
_LIBRARY = Path(types.__file__).parent
_QUOTED = re.compile("[:'].*", re.DOTALL)
Classify = Callable[[list[str], str | None], Awaitable[Classified]]
Tools = Server[object, Request]
Reader = MemoryObjectReceiveStream[SessionMessage | Exception]
Writer = MemoryObjectSendStream[SessionMessage]


def _unquoted(record: logging.LogRecord) -> bool:
    """Cut a line of the library where it begins to quote a message: texts don't belong in a log."""
    if Path(record.pathname).is_relative_to(_LIBRARY):
        record.msg, record.args = _QUOTED.sub(".", record.getMessage()), ()
    return True


for _name in ("", "mcp.server.lowlevel.server"):  # it logs to the root, too
    logging.getLogger(_name).addFilter(_unquoted)


def tools(service: Service, classify: Classify) -> Tools:
    """Return an MCP server whose tools ask `classify` for the logits of texts by a model."""
    server: Tools = Server(
        "tweettune",
        version="1",  # of these tools, not of the library
        instructions="Classify short texts such as tweets with fine-tuned models.",
    )

    async def call(name: str, arguments: JsonObject) -> dict[str, object]:
        names, most = service.models.names, service.settings.max_texts
        if name == "classify":
            asked = schema.read(schema.ClassifyArguments, arguments, max_texts=most, models=names)
            classified = await classify(asked.inputs, asked.model)
            return {
                "model": classified.model,
                "results": schema.ranked(classified, top_k=asked.top_k, asked=asked),
                "truncated_texts": sum(classified.encoded.truncated),
            }
        if name == "compare":
            comparison = schema.read(schema.CompareArguments, arguments, max_texts=most)
            models = schema.models_to_compare(comparison, names)
            return schema.compare_answer([await classify(comparison.inputs, model) for model in models])
        if service.index is not None and name == "retrieve":
            given = schema.read(schema.RetrieveRequest, arguments, max_texts=most, models=names)
            return {"results": await service.retrieve(given, await classify(given.inputs, given.model))}
        if service.index is not None and name == "add_texts":
            texts = schema.read(schema.LabelledTexts, arguments, max_texts=most)
            became = await service.extend(texts)
            return {**became, "held": await service.in_thread(Index.counts, service.index)}
        known = ", ".join(tool.name for tool in _described(service))
        raise BadRequest(f"There is no tool {name[:80]!r}. Known: {known}.")

    async def described() -> list[types.Tool]:
        return _described(service)

    server.list_tools()(described)  # type: ignore[no-untyped-call]
    server.call_tool(validate_input=False)(call)  # `schema` checks, and says it in one sentence
    return server


async def serve_stdio(service: Service) -> None:
    """Serve a loaded service on standard input and output until the input ends."""

    async def classify(texts: list[str], model: str | None) -> Classified:
        return await service.classify(texts, model=model)

    server = tools(service, classify)
    # Given these, the library makes no wrappers of its own, which would close standard output as they go.
    for stream in (sys.stdin, sys.stdout):
        cast(TextIOWrapper, stream).reconfigure(encoding="utf-8", errors="replace")
    try:
        async with stdio_server(anyio.wrap_file(sys.stdin), anyio.wrap_file(sys.stdout)) as streams:
            await _run_until_answered(server, *streams)
    except BaseExceptionGroup as errors:
        if gone := errors.subgroup(BrokenPipeError):  # the agent has ended
            raise BrokenPipeError from gone
        raise


async def _run_until_answered(server: Tools, reader: Reader, writer: Writer) -> None:
    """Run a server on a pair of streams. It hears of the input's end when every request is answered.

    The library drops what is in work then, so a script that pipes its requests in would get no answer.
    """
    unanswered: set[types.RequestId] = set()
    ended, all_answered = False, anyio.Event()
    to_server, requests = anyio.create_memory_object_stream[SessionMessage | Exception]()
    answers, from_server = anyio.create_memory_object_stream[SessionMessage]()

    async def hand_in() -> None:
        nonlocal ended
        async with reader, to_server:
            async for message in reader:
                if isinstance(message, SessionMessage) and isinstance(
                    message.message.root, types.JSONRPCRequest
                ):
                    unanswered.add(message.message.root.id)
                await to_server.send(message)
            ended = True
            if unanswered:
                await all_answered.wait()

    async def hand_out() -> None:
        async with writer, from_server:
            async for message in from_server:
                await writer.send(message)
                unanswered.discard(getattr(message.message.root, "id", None))
                if ended and not unanswered:
                    all_answered.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hand_in)
        tasks.start_soon(hand_out)
        await server.run(requests, answers, server.create_initialization_options())


def mount_mcp(app: FastAPI, pipeline: RequestPipeline) -> None:
    """Add `POST /mcp` to an app: same tokens, rates, bodies, log and metrics as its other routes.

    It starts and stops with the app's lifespan. A web page may not call it, unless its origin is one of
    `cors_origins`: a page that a local server trusts by its address could be anybody's (DNS rebinding).
    """

    async def classify(texts: list[str], model: str | None) -> Classified:
        request = server.request_context.request
        assert request is not None
        call: Call = request.scope[_CALL]
        try:
            return await pipeline.classify(call, texts, model)
        except ServingError as error:
            call.refusal = error.reason
            raise

    server = tools(pipeline.service, classify)
    managers: list[StreamableHTTPSessionManager] = []

    async def answer(call: Call, content: bytes) -> Response:
        origin = call.request.headers.get("origin")
        if origin is not None and origin not in pipeline.settings.cors_origins:
            return Response(schema.encode({"error": "Web pages may not call this address."}), 403)
        await pipeline.decode(content)  # the library answers 500 to JSON nested too deeply or not UTF-8
        return await _collected(managers[-1], {**call.request.scope, _CALL: call}, content)

    app.router.lifespan_context = _with_manager(app, server, managers)
    app.add_api_route(
        PATH,
        pipeline.raw(PATH, answer, max_bytes=MAX_BODY_BYTES),
        methods=["POST"],
        include_in_schema=False,
        response_model=None,
    )


def _with_manager(
    app: FastAPI, server: Tools, managers: list[StreamableHTTPSessionManager]
) -> Lifespan[FastAPI]:
    """Return the app's lifespan with a session manager within it; a manager can be run only once."""
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, object] | None]:
        manager = StreamableHTTPSessionManager(
            server, json_response=True, stateless=True, max_request_body_size=MAX_BODY_BYTES
        )
        async with inner(app) as state, manager.run():
            managers.append(manager)
            yield state

    return cast(Lifespan[FastAPI], lifespan)  # it hands on what the inner one gives


async def _collected(manager: StreamableHTTPSessionManager, scope: Scope, content: bytes) -> Response:
    """Return the answer of the library's own ASGI app to a body that was read already."""
    start: Message = {}
    parts: list[bytes] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            parts.append(message.get("body", b""))

    await manager.handle_request(scope, receive, send)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]}
    return Response(b"".join(parts), start["status"], headers)


def _described(service: Service) -> list[types.Tool]:
    """Return the tools as a client sees them, with this server's models and limits."""
    names, most = list(service.models.names), service.settings.max_texts
    loaded = service.models.loaded()
    labels = ", ".join(dict.fromkeys(label for model in loaded for label in model.classifier.labels))
    to_classify = schema_of(schema.ClassifyArguments)
    to_compare = schema_of(schema.CompareArguments)
    for given in (to_classify["properties"], to_compare["properties"]):
        given["inputs"]["anyOf"][1]["maxItems"] = most
    to_classify["properties"]["model"] |= {"enum": names, "default": names[0]}
    to_compare["properties"]["models"] |= {"items": {"type": "string", "enum": names}, "uniqueItems": True}
    return [
        types.Tool(
            name="classify",
            title="Classify texts",
            description=(
                "Say which label fits each text, for example its sentiment. Returns for each text the labels "
                "with their probabilities, best first, and how many texts were too long and lost their end. "
                f"Labels: {labels or 'known once the model is loaded'}."
            ),
            inputSchema=to_classify,
            annotations=_READS_ONLY,
        ),
        types.Tool(
            name="compare",
            title="Compare models",
            description=(
                "Ask two models or more for the label of the same texts. Returns for each text what each "
                "model says, with probabilities, whether they agree, and the share of texts they agree on. "
                f"Models: {', '.join(names)}."
            ),
            inputSchema=to_compare,
            annotations=_READS_ONLY,
        ),
        *(_of_the_index(names, service.index.labels, most) if service.index is not None else ()),
    ]


def _of_the_index(names: list[str], labels: Sequence[str], most: int) -> Iterator[types.Tool]:
    """Yield the tools of a server with an index of labelled texts."""
    to_retrieve, to_add = schema_of(schema.RetrieveRequest), schema_of(schema.LabelledTexts)
    for given in (to_retrieve["properties"], to_add["properties"]):
        given["inputs"]["anyOf"][1]["maxItems"] = most
    to_retrieve["properties"]["model"] |= {"enum": names, "default": names[0]}
    to_add["properties"]["labels"]["items"] = {"type": "string", "enum": list(labels)}
    yield types.Tool(
        name="retrieve",
        title="Classify with labelled texts",
        description=(
            "Classify texts with the vote of the nearest labelled texts that were added to the server's "
            "index, and see which these are. For words that are newer than the model."
        ),
        inputSchema=to_retrieve,
        annotations=_READS_ONLY,
    )
    yield types.Tool(
        name="add_texts",
        title="Add labelled texts",
        description=(
            "Add labelled texts to the server's index: `retrieve` finds them at once, nothing is trained. "
            f"Labels: {', '.join(labels)}. Returns how many were added, had another label before, were "
            "known, or are locked since they repeat texts that the model is measured on; and what it holds."
        ),
        inputSchema=to_add,
        annotations=types.ToolAnnotations(
            readOnlyHint=False, destructiveHint=False, idempotentHint=True, openWorldHint=False
        ),
    )


_READS_ONLY = types.ToolAnnotations(
    readOnlyHint=True, destructiveHint=False, idempotentHint=True, openWorldHint=False
)
