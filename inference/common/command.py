"""Shared by all command lines: parse, run a command, and end with one sentence and an exit status.

    sys.exit(run_command(parser, arguments))      # `command` of the parsed arguments returns the status
    sub = add_command(commands, "audit", _audit, "look for what is wrong with a data set")
    option(sub, "--limit N", "rows that are looked at", default=100)
    print_json({"text": "😀"})                     # one line of ASCII

A stream that takes no UTF-8 (a pipe on Windows, an ASCII locale) gets `\\U0001f600` for what it can't take. A
reader that has gone (`| head`) ends a command quietly.
"""

import argparse
import contextlib
import errno
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TextIO, TypeAlias

from inference.common.errors import TweetTuneError
from inference.common.store import JsonObject
from inference.common.text import one_line

MODEL = "an artifact's folder, a run, a rung of a ladder (LADDER/RUNG), or a Hub repository"
"""What may be given as a model, for the help of commands."""
INTERRUPTED, BROKEN_PIPE = 130, 141
"""Exit statuses by the convention of shells: ended by Ctrl-C, and output that nobody reads any more."""
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
_LONGEST = 20_000
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def run_command(parser: Callable[[], argparse.ArgumentParser], arguments: Sequence[str] | None = None) -> int:
    """Run a command line. Returns the exit status: 0 when it did what was asked."""
    take_any_text()
    debug = False
    try:
        try:
            given = parser().parse_args(arguments)
            debug = getattr(given, "debug", False)
            status: int = given.command(given)
        except SystemExit as error:
            if isinstance(error.__context__, BrokenPipeError):  # rich ends so
                raise BrokenPipeError from error
            sys.stdout.flush()  # argparse's help
            raise
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return _ended(INTERRUPTED, "Stopped.")
    except (TweetTuneError, OSError, UnicodeEncodeError) as error:
        if isinstance(error, BrokenPipeError):
            _silence(sys.stdout)
            return BROKEN_PIPE
        if debug:
            raise
        return _ended(1, _sentence(error))


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    help: str,
    *,
    description: str = "",
    epilog: str | None = None,
    json: bool = True,
) -> argparse.ArgumentParser:
    """Add a command that `run` does. The lines of `epilog` stay as they are; `json`: it can print JSON."""
    sub = commands.add_parser(
        name,
        help=help,
        description=description or help,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter if epilog else argparse.HelpFormatter,
    )
    option(sub, "--debug", "show the traceback of an error")
    if json:
        option(sub, "--json", "print one JSON object")
    sub.set_defaults(command=run)
    return sub


def option(
    parser: argparse.ArgumentParser, usage: str, help: str, *, default: object = None, **more: Any
) -> None:
    """Add an argument as its usage shows it: "RUN", "--limit N", or the switch "--quick".

    The default says the type of a number, and stands at the end of a help that does not name it. A whole
    number is one of 0 or more: what is below is refused here, under the name that was given.
    """
    name, _, metavar = usage.partition(" ")
    if metavar:
        more["metavar"] = metavar
    elif name.startswith("--") and not more:
        more["action"] = "store_true"
    if default is not None:
        more["default"] = default
        if isinstance(default, int | float):
            more.setdefault("type", type(default))
        if default and "(default: " not in help:
            help = f"{help} (default: {default})"
    if more.get("type") is int:
        more["type"] = whole
    parser.add_argument(name, help=help, **more)


def _sentence(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return (
            f"{error.object[:80]!a} can't be written in the encoding of this system ({error.encoding}). "
            "Set PYTHONUTF8=1, or give another name."
        )
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return f"{one_line(str(error.filename))} is too long a name for this system. Give a shorter one."
    try:
        sys.stdout.flush()
    except OSError:
        _silence(sys.stdout)
    if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
        return f"What was asked for can't be written ({error.strerror}). Make room, or give another place."
    return str(error)


def _ended(status: int, sentence: str) -> int:
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{one_line(sentence, longest=_LONGEST)}\n")  # names in it may hold anything
    return status


def _silence(stream: TextIO) -> None:
    """Discard a stream's buffered output, so that Python does not fail on it at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def take_any_text() -> None:
    """Make standard output and error accept any text, and replace them if they are closed."""
    for name, mode in {"stdin": "r", "stdout": "w", "stderr": "w"}.items():
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  (for good)
        elif isinstance(stream, io.TextIOWrapper) and mode == "w":
            stream.reconfigure(errors="backslashreplace")


def print_json(record: JsonObject) -> None:
    """Print one line of ASCII, which every pipe takes."""
    sys.stdout.write(json.dumps(record) + "\n")


def print_found(given: argparse.Namespace, record: JsonObject, sentences: Iterable[str]) -> int:
    """Print what a command found, as JSON where that was asked for. Returns the exit status."""
    if given.json:
        print_json(record)
    else:
        sys.stdout.write("".join(f"{sentence}\n" for sentence in sentences))
    return 0


def as_typed(argument: str) -> str:
    """Return an argument with its bytes read as UTF-8, whatever this system's encoding."""
    try:  # half surrogates are Python's stand-ins for bytes that this encoding does not know
        return argument if argument.isascii() else os.fsencode(argument).decode("utf-8", "replace")
    except UnicodeEncodeError:
        return argument


def positive(word: str) -> int:
    """Return the number above 0 that an option of argparse is given."""
    return _from(1, word, "above 0")


def whole(word: str) -> int:
    """Return the number of 0 or more that an option of argparse is given."""
    return _from(0, word, "of 0 or more")


def _from(least: int, word: str, requirement: str) -> int:
    with contextlib.suppress(ValueError):
        if (number := int(word)) >= least:
            return number
    raise argparse.ArgumentTypeError(f"{word} is not a number {requirement}")
