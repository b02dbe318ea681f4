"""An agent that asks the tools classify and compare, with the protocol's own client over both transports."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult

from inference import Classifier
from tests.support import REPOSITORY

TEXTS = ["i love this sunny day", "worst monday", "the paper"]


def over_http(port: int, *calls: tuple[str, dict], headers: dict[str, str] | None = None) -> list:
    """Return the tools and the results of some calls, over one client session."""

    async def run() -> list:
        async with (
            httpx.AsyncClient(headers=headers, timeout=30) as client,
            streamable_http_client(f"http://127.0.0.1:{port}/mcp", http_client=client) as (reader, writer, _),
            ClientSession(reader, writer) as session,
        ):
            return await asked(session, calls)

    return asyncio.run(run())


async def asked(session: ClientSession, calls) -> list:
    await session.initialize()
    tools = (await session.list_tools()).tools
    return [tools, *[await session.call_tool(name, arguments) for name, arguments in calls]]


def over_stdio(*arguments: object, calls=()) -> list:
    """Return the same from `python -m inference mcp`."""

    async def run() -> list:
        parameters = StdioServerParameters(
            command=sys.executable,
            args=["-m", "inference", "mcp", *map(str, arguments)],
            cwd=REPOSITORY,
            env=dict(os.environ),
        )
        with open(os.devnull, "w") as log:
            async with stdio_client(parameters, log) as streams, ClientSession(*streams) as session:
                return await asked(session, calls)

    return asyncio.run(run())


@contextmanager
def agent_process(*arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m inference mcp`, to be spoken to byte by byte."""
    command = [sys.executable, "-m", "inference", "mcp", *map(str, arguments)]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, cwd=REPOSITORY, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def content(result: CallToolResult) -> dict:
    """Return what a tool said; its text and its structured content say the same."""
    assert not result.isError, result.content
    assert json.loads(result.content[0].text) == result.structuredContent
    return result.structuredContent


def error(result: CallToolResult) -> str:
    assert result.isError
    return result.content[0].text


def check_classified(found: dict, artifact) -> None:
    classifier = Classifier.load(artifact)
    for row, prediction in zip(found["results"], classifier.predict(TEXTS), strict=True):
        expected = dict(zip(classifier.labels, prediction.probabilities, strict=True))
        assert {said["label"]: said["score"] for said in row} == pytest.approx(expected, abs=1e-5)
        assert row[0]["label"] == prediction.label
