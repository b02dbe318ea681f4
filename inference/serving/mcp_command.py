"""`python -m inference mcp MODEL …`: the tools of `inference.serving.mcp` on standard input and output.

Needs nothing heavy until it runs, so that `--help` comes at once.
"""

import argparse
import asyncio
import logging.config
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the command `mcp` to the parser of `python -m inference`."""
    mcp = commands.add_parser(
        "mcp",
        help="serve models to an agent as tools (Model Context Protocol, standard input and output)",
        description="Serve models to an agent as the tools classify and compare of the Model Context "
        "Protocol, on standard input and output. `serve` offers the same tools over HTTP, at /mcp.",
    )
    mcp.add_argument(
        "model",
        nargs="+",
        metavar="MODEL",
        help="an artifact's folder, or a Hub repository, or NAME=FOLDER; the first is the default",
    )
    mcp.add_argument("--engine", choices=("auto", "torch", "onnx"), default="auto", help="default: auto")
    mcp.add_argument("--debug", action="store_true", help="show the traceback of an error")
    mcp.set_defaults(command=run)


def run(given: argparse.Namespace) -> int:
    """Serve until standard input ends. Raises TweetTuneError when a model can't be loaded."""
    from inference.serving.logs import LOGGING  # noqa: PLC0415  (torch takes seconds; errors come first)
    from inference.serving.mcp import serve_stdio  # noqa: PLC0415
    from inference.serving.models import sources_of  # noqa: PLC0415
    from inference.serving.service import Service  # noqa: PLC0415

    logging.config.dictConfig(LOGGING)  # standard output is the protocol's
    with Service(sources_of(given.model), engine=given.engine) as service:
        asyncio.run(serve_stdio(service))
    return 0
