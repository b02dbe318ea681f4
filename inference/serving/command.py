"""The options of `python -m inference serve MODEL …` (HTTP) and `mcp MODEL …` (standard input and output)."""

import argparse
import asyncio
import logging.config
import os
import signal
import threading
from pathlib import Path

from pydantic import TypeAdapter

from inference.common.command import MODEL, Commands, add_command, option
from inference.engine import ENGINES
from inference.serving.errors import ServingError
from inference.serving.schema import ALLOWED_HOSTS, LOOPBACK, PRIVATE_NETWORKS, Settings, allowed_hosts

TOKENS = "TWEETTUNE_TOKENS"
PROXIES = "FORWARDED_ALLOW_IPS"
PORT = 8000
_MODEL = f"{MODEL}, or NAME=FOLDER; the first is the default"
_INDEX = "an index of labelled texts that answers may rest on: adds what retrieves from it and adds to it"
_OPTIONS = {
    "max_queue": "N",
    "max_texts": "N",
    "max_body_mb": "MB",
    "body_timeout_s": "S",
    "deadline_s": "S",
    "rate_limit": "N",
    "window_ms": "MS",
}
"""The settings that are options, with what they are measured in."""


def add_parsers(commands: Commands) -> None:
    """Add the commands `serve` and `mcp` to the parser of `python -m inference`."""
    _add_serve(commands)
    mcp = add_command(
        commands,
        "mcp",
        run_mcp,
        "serve models to an agent as tools (Model Context Protocol, standard input and output)",
        description="Serve models to an agent as the tools classify and compare of the Model Context "
        "Protocol, on standard input and output; with an index also retrieve and add_texts. `serve` offers "
        "the same tools over HTTP, at /mcp.",
        json=False,
    )
    option(mcp, "model MODEL", _MODEL, nargs="+")
    option(mcp, "--index F", _INDEX, type=Path)
    option(mcp, "--engine", "what computes", default="auto", choices=tuple(ENGINES))


def _add_serve(commands: Commands) -> None:
    serve = add_command(
        commands,
        "serve",
        run,
        "serve models over HTTP",
        description="Serve models over HTTP, as the Hub's text-classification API and as "
        f"text-embeddings-inference. Tokens come from the environment variable {TOKENS} or a file. "
        "SIGTERM: answer what is accepted, then stop. SIGHUP: load the models again.",
        json=False,
    )
    option(serve, "model MODEL", _MODEL, default=os.environ.get("MODEL", "").split(), nargs="*")
    option(
        serve, "--host HOST", "address to listen on; 0.0.0.0: all (default: %(default)s)", default=host_of()
    )
    option(serve, "--port PORT", f"port; 0: a free one (default: the variable PORT, else {PORT})", type=int)
    option(
        serve,
        "--workers N",
        "processes, each with its own models and metrics; one uses two cores fully",
        default=1,
    )
    described = TypeAdapter(Settings).json_schema()["properties"]
    option(serve, "--engine", "what computes", default="auto", choices=tuple(ENGINES))
    for name, metavar in _OPTIONS.items():
        default, about = getattr(Settings, name), described[name]["description"]
        usage = f"--{name.replace('_', '-')} {metavar}"
        option(
            serve, usage, f"{about[0].lower()}{about[1:].rstrip('.')} (default: {default:g})", default=default
        )
    option(
        serve,
        "--cors-origin URL",
        "let web pages of this origin call the server; repeatable (default: none)",
        default=[],
        action="append",
    )
    option(
        serve,
        "--trusted-proxies IPS",
        "addresses and networks, with commas, whose X-Forwarded-For is believed "
        f"(default: the variable {PROXIES}, else {LOOPBACK})",
    )
    option(
        serve,
        "--allowed-hosts NAMES",
        "names, with commas, by which it may be asked beside this machine's own; *.example.com: any "
        f"below; *: any (default: the variable {ALLOWED_HOSTS})",
        default=allowed_hosts(),
        type=allowed_hosts,
    )
    option(serve, "--index F", _INDEX, type=Path)
    option(serve, "--token-file F", "a file of bearer tokens, one a line", type=Path)
    option(serve, "--log-texts", "write the texts to the log")


def run(given: argparse.Namespace) -> int:
    """Serve until a signal comes. Raises TweetTuneError when that is not possible."""
    if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to load again
    port = port_of(PORT, PORT=os.environ.get("PORT")) if given.port is None else given.port
    settings = settings_of(given)
    from inference.serving.models import sources_of
    from inference.serving.process import serve

    serve(
        sources_of(given.model),
        settings=settings,
        host=given.host,
        port=port,
        engine=given.engine,
        workers=given.workers,
        index=given.index,
    )
    return 0


def run_mcp(given: argparse.Namespace) -> int:
    """Serve until standard input ends. Raises TweetTuneError when a model can't be loaded."""
    from inference.baselines.index import Index
    from inference.serving.mcp import serve_stdio
    from inference.serving.models import sources_of
    from inference.serving.process import LOGGING
    from inference.serving.service import Service

    logging.config.dictConfig(LOGGING)  # standard output is the protocol's
    index = Index(given.index) if given.index else None
    with Service(sources_of(given.model), engine=given.engine, index=index) as service:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a thread that waits for a line hears of no interrupt
        asyncio.run(serve_stdio(service))
    return 0


def settings_of(given: argparse.Namespace) -> Settings:
    """Return the settings that the options make. Raises ServingError for one that makes no sense."""
    return Settings(
        **{name: getattr(given, name) for name in _OPTIONS},
        cors_origins=tuple(given.cors_origin),
        tokens=tokens(given.token_file),
        trusted_proxies=given.trusted_proxies or trusted_proxies(),
        allowed_hosts=given.allowed_hosts,
        log_texts=given.log_texts,
    )


def host_of(given: str | None = None) -> str:
    """Return the address to listen on: what was given, on a Space all, elsewhere this machine's own alone."""
    return given or ("0.0.0.0" if os.environ.get("SPACE_ID") else LOOPBACK)


def port_of(default: int, **variables: str | None) -> int:
    """Return the port that the first variable with a value gives. Raises ServingError for what is none."""
    for name, given in variables.items():
        if given:
            if given.isdecimal() and int(given) < 65_536:
                return int(given)
            raise ServingError(f"{name} is {given[:40]!r}. Give a number from 0 to 65535.")
    return default


def trusted_proxies() -> str:
    """Return whose X-Forwarded-For is believed: who the environment says; on a Space its proxy, too."""
    return os.environ.get(PROXIES) or (PRIVATE_NETWORKS if os.environ.get("SPACE_ID") else LOOPBACK)


def tokens(file: Path | None) -> tuple[str, ...]:
    """Return the bearer tokens of the environment and of a file; blank lines and `# …` are passed over.

    Raises ServingError for a file that can't be read or holds none: the server would stand open.
    """
    found = os.environ.get(TOKENS, "").replace(",", " ").split()
    if file is None:
        return tuple(found)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ServingError(f"The token file {file} can't be read ({error}). Mend it.") from error
    in_file = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not in_file:
        raise ServingError(f"The token file {file} holds no token. Write one a line.")
    return (*found, *in_file)
