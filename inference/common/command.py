"""What all command lines here do alike: parse, run a command, and end in one sentence and an exit status.

    sys.exit(run_command(parser, arguments))      # `command` of the parsed arguments returns the status
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
from collections.abc import Callable, Sequence
from typing import TextIO

from inference.common.errors import TweetTuneError
from inference.common.store import JsonObject

MODEL = "an artifact's folder, a run, a rung of a ladder (LADDER/RUNG), or a Hub repository"
"""What may be given as a model, for the help of commands."""
INTERRUPTED, BROKEN_PIPE = 130, 141
"""Exit statuses, as shells give them to what Ctrl-C ends, and to what has no reader any more."""
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
        except SystemExit:  # of argparse, after the help
            sys.stdout.flush()
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


def _sentence(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return (
            f"{error.object[:80]!a} can't be written in the encoding of this system ({error.encoding}). "
            "Set PYTHONUTF8=1, or give another name."
        )
    try:
        sys.stdout.flush()
    except OSError:
        _silence(sys.stdout)
    if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
        return f"What was asked for can't be written ({error.strerror}). Make room, or give another place."
    return str(error)


def _ended(status: int, sentence: str) -> int:
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{sentence}\n")
    return status


def _silence(stream: TextIO) -> None:
    """Let what a stream still holds go nowhere, so that Python's own end does not stumble over it."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def take_any_text() -> None:
    """Let standard output and error take any text, and be there where they were closed."""
    for name, mode in {"stdin": "r", "stdout": "w", "stderr": "w"}.items():
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  (for good)
        elif isinstance(stream, io.TextIOWrapper) and mode == "w":
            stream.reconfigure(errors="backslashreplace")


def print_json(record: JsonObject) -> None:
    """Print one line of ASCII, which every pipe takes."""
    sys.stdout.write(json.dumps(record) + "\n")


def as_typed(argument: str) -> str:
    """Return an argument as its bytes say in UTF-8, whatever this system's encoding makes of them."""
    try:  # half surrogates are Python's stand-ins for bytes that this encoding does not know
        return argument if argument.isascii() else os.fsencode(argument).decode("utf-8", "replace")
    except UnicodeEncodeError:
        return argument


def positive(word: str) -> int:
    """Return the number above 0 that an option of argparse is given."""
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{word} is not a number above 0")
    return number
