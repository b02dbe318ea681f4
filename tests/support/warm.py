"""Warm starts: `python -m training …` in the tests is a fork of a process that has imported it already.

Importing PyTorch, Transformers and Gradio takes ten seconds of a core; the tests start over 100 processes.
Within `starts()`, and in a file that uses the fixture `warm_starts`, `subprocess.Popen` of our own commands,
here and in the children, asks a fork server: the child gets the command's arguments, environment, folder,
streams and session, runs the same `__main__`, and ends as Python does. It does not inherit limits and ignored
signals. If libraries read a variable of the command's environment at import (HF_…), it forks from a server
that has imported only libraries that don't. All other processes start as usual.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib.util
import io
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PLAIN = """
torch torch._dynamo torch.distributed.checkpoint torch.distributed.tensor torch.export scipy.optimize
scipy.stats sympy pandas pyarrow.parquet sklearn.linear_model sklearn.feature_extraction.text onnx
tokenizers safetensors.torch fastapi uvicorn mcp.server prometheus_client PIL.Image rich.progress
requests httpx narwhals joblib jinja2 tweepy ftfy
"""
"""Modules that read none of our variables at import."""
OURS = """
app inference.cli inference.serving.process inference.serving.service training.cli.main training.fit.run
training.ladder.climb training.publish.answers training.publish.dataset training.worker
"""
COMMANDS = {
    "training",
    "training.worker",
    "training.publish.answers",
    "inference",
    "accelerate.commands.launch",
}
LATE = """
APP_LANGUAGE BASE CI COLUMNS DATASET GRADIO_SERVER_PORT MAX_ROWS MAX_RUN_MINUTES MODEL MODEL_ID PORT
PYTEST_CURRENT_TEST PYTHONIOENCODING PYTHONPATH PYTHONUNBUFFERED PYTHONUTF8 TERM TWEETTUNE_HOME
TWEETTUNE_TOKENS WHO_MAY_TRAIN X_BEARER_TOKEN
"""
"""Variables that are read on use, or are handled here."""
NEVER = ("PYTHON", "LANG", "LC_", "LD_", "TZ", "OMP_", "MPL", "MALLOC")
"""Variables that change the interpreter or what `PLAIN` does: such a command starts cold."""

_Cold = subprocess.Popen


class _Server:
    """The fork servers' state. The children have it too, since they are forks."""

    folder: Path | None = None
    wanted = False
    environment: dict[str, str] = {}  # noqa: RUF012  (of the servers, and so of their imports)
    process: subprocess.Popen | None = None
    lock = threading.Lock()


def prepare(folder: Path) -> None:
    """Make warm starts possible. The servers start with the first of them."""
    if sys.platform == "linux":
        _Server.folder, _Server.environment = folder, dict(os.environ)
        subprocess.Popen = Warm


@contextlib.contextmanager
def starts():
    """Context in which our own commands start warm. Tests of the start itself don't use it."""
    before, _Server.wanted = _Server.wanted, True
    try:
        yield
    finally:
        _Server.wanted = before


class Warm(_Cold):
    """A Popen whose process may be a fork, not our child: a server reports its end by a socket."""

    _connection: socket.socket | None = None

    def __del__(self, exiting=sys.is_finalizing):
        if not exiting():  # then the modules that it takes are gone, and the server ends what is at work
            super().__del__()

    def _execute_child(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *rest):
        # startupinfo, creationflags, shell, the pipes' ends, restore_signals, ids, umask, session, group
        shell, pipes, (*ids, session, group) = rest[2], rest[3:9], rest[10:]
        environment = dict(os.environ if env is None else env)
        folder = Path(cwd or os.getcwd()).resolve()
        plain = (
            not (executable or preexec_fn or pass_fds or shell)
            and group == -1
            and ids in ([None] * 3 + [-1],)
        )
        words = list(args) if isinstance(args, list | tuple) else [args]
        if unbuffered := words[1:2] == ["-u"]:  # as a launcher starts its processes
            del words[1]
        name = _Server.wanted and plain and _server_for(words, environment, folder)
        if not name:
            return super()._execute_child(args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *rest)
        streams = [number if number != -1 else at for at, number in enumerate(pipes[::2][:1] + pipes[3::2])]
        request = {
            "args": list(map(str, words[1:])),
            "env": environment | ({"PYTHONUNBUFFERED": "1"} if unbuffered else {}),
            "cwd": str(folder),
            "session": session,
        }
        self._connection = _connect(name)
        content = json.dumps(request).encode()
        socket.send_fds(self._connection, [len(content).to_bytes(4, "big")], streams)
        self._connection.sendall(content)
        self.pid = int.from_bytes(_exactly(self._connection, 4), "big")
        self._child_created = True
        self._close_pipe_fds(*pipes)
        return None

    def _ended(self, timeout: float | None) -> bool:
        """Wait for the end; take the exit status."""
        if self.returncode is None and self._connection:
            with selectors.DefaultSelector() as selector:
                selector.register(self._connection, selectors.EVENT_READ)
                if not selector.select(timeout):
                    return False
            said = _exactly(self._connection, 4)
            self.returncode = int.from_bytes(said, "big", signed=True)
            self._connection.close()
        return True

    def _internal_poll(self, *args, **options):
        if not self._connection:
            return super()._internal_poll(*args, **options)
        with self._waitpid_lock:
            self._ended(0)
        return self.returncode

    def _wait(self, timeout):
        if not self._connection:
            return super()._wait(timeout)
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._waitpid_lock:
                if self._ended(0.05):
                    return self.returncode
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired(self.args, timeout)


def _server_for(args: list, environment: dict[str, str], folder: Path) -> str:
    """Return the server that can fork a command: "ours", "plain", or "" for a cold start."""
    if args[:1] != [sys.executable] or len(args) < 2:
        return ""
    path = environment.get("PYTHONPATH", "").split(os.pathsep)
    here = folder == REPOSITORY or str(REPOSITORY) in path
    ours = (args[1] == "-m" and args[2] in COMMANDS) or args[1] == "app.py"
    changed = {
        name
        for name in environment.keys() | _Server.environment.keys()
        if environment.get(name) != _Server.environment.get(name)
    }.difference(LATE.split())
    if not ours or any(name.startswith(NEVER) for name in changed):
        return ""
    return "ours" if here and not changed else "plain"


def _connect(name: str) -> socket.socket:
    """Connect to a server; the first time wait until it listens."""
    log = _Server.folder / "warm.log"
    with _Server.lock:
        if _Server.process is None:
            with log.open("wb") as output:
                process = _Server.process = _Cold(
                    [sys.executable, __file__, str(_Server.folder), " " * 8192],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    env=_Server.environment,
                    cwd=REPOSITORY,
                    start_new_session=True,
                )
            atexit.register(process.wait)
            atexit.register(process.stdin.close)
    connection = socket.socket(socket.AF_UNIX)
    while connection.connect_ex(str(_Server.folder / name)):
        assert _Server.process is True or _Server.process.poll() is None, log.read_text()
        time.sleep(0.05)
    return connection


def _exactly(connection: socket.socket, count: int) -> bytes:
    said = b""
    while len(said) < count:
        part = connection.recv(count - len(said))
        assert part, "the server of warm starts has ended"
        said += part
    return said


# --- the servers


def main() -> None:
    """Import, serve, and in a fork become the requested command."""
    folder = Path(sys.argv[1])
    prepare(folder)
    _Server.process = _Server.wanted = True
    sys.path[0] = str(REPOSITORY)
    _later("onnxruntime")
    _import(PLAIN)
    other = os.fork()
    name = "plain" if other else "ours"
    if not other:
        _import(OURS)
    tasks = Path("/proc/self/task").iterdir()
    threads = [one for task in tasks if (one := (task / "comm").read_text().strip()) != "jemalloc_bg_thd"]
    assert len(threads) == 1, f"a fork lacks threads: {threads}"
    if request := _serve(folder / name):
        _become(request)
    if other:
        os.waitpid(other, 0)
    os._exit(0)


class _Later(types.ModuleType):
    """A module that is imported when it is used."""

    def __getattr__(self, name):
        del sys.modules[self.__name__]
        self.__dict__.update(vars(importlib.import_module(self.__name__)))
        return self.__dict__[name]


def _later(name: str) -> None:
    """Put off the import of ONNX Runtime, which starts a thread: a fork would lack it."""
    module = importlib.util.module_from_spec(importlib.util.find_spec(name))
    module.__class__ = _Later
    sys.modules[name] = module


def _import(names: str) -> None:
    for name in names.split():
        importlib.import_module(name)


def _serve(path: Path) -> dict | None:
    """Fork for each request. Returns it in the child; returns None when the tests have ended."""
    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(16)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.data:
                    selector.unregister(key.fd)
                    _tell_the_end(key.fd, *key.data)
                elif key.fileobj is not listener:
                    _end(selector)
                    return None
                elif request := _fork(listener, selector):
                    return request


def _fork(listener: socket.socket, selector: selectors.BaseSelector) -> dict | None:
    connection, _ = listener.accept()
    length, streams, _, _ = socket.recv_fds(connection, 4, 3)
    request = json.loads(_exactly(connection, int.from_bytes(length, "big")))
    if pid := os.fork():
        for number in streams:
            os.close(number)
        selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, connection))
        connection.sendall(pid.to_bytes(4, "big"))
        return None
    for target, number in enumerate(streams):
        os.dup2(number, target)
        os.close(number)
    for key in list(selector.get_map().values()):
        if key.data:
            key.data[1].close()
            os.close(key.fd)
    connection.close()
    listener.close()
    return request


def _end(selector: selectors.BaseSelector) -> None:
    """End the processes that the tests have left running."""
    for key in list(selector.get_map().values()):
        if key.data:
            os.kill(key.data[0], signal.SIGKILL)
            _tell_the_end(key.fd, *key.data)


def _tell_the_end(pidfd: int, pid: int, connection: socket.socket) -> None:
    os.close(pidfd)
    _, status = os.waitpid(pid, 0)
    with connection, contextlib.suppress(OSError):  # whoever asked is gone
        connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))


def _become(request: dict) -> None:
    """Run the requested command, up to the end of its `__main__`."""
    if request["session"]:
        os.setsid()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    words = request["args"]
    _show(["python", *words])
    path = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    module = words[1] if words[0] == "-m" else ""
    sys.path[:1] = [request["cwd"] if module else str(Path(words[0]).resolve().parent), *path]
    sys.argv = words[1:] if module else words
    _open_streams()
    sys.modules["numpy"].random.seed()
    status = 0
    try:
        if module:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as ended:
        status = ended.code or 0
        if not isinstance(status, int):
            print(status, file=sys.stderr)
            status = 1
    # What Python does at its end, but for the tidying up of half a gigabyte that is shared with the server.
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status & 255)


def _open_streams() -> None:
    """Open the standard streams as Python does when it starts."""
    errors = os.environ.get("PYTHONIOENCODING", "").partition(":")[2] or sys.stdout.errors
    at_once = bool(os.environ.get("PYTHONUNBUFFERED"))
    for number, (name, mode) in enumerate({"stdin": "rb", "stdout": "wb", "stderr": "wb"}.items()):
        stream = io.TextIOWrapper(
            open(number, mode, closefd=False),  # noqa: SIM115  (as long as the process)
            encoding=sys.stdout.encoding,
            errors="backslashreplace" if name == "stderr" else errors,
            line_buffering=name == "stderr" or os.isatty(number),
            write_through=at_once and mode == "wb",
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _show(words: list[str]) -> None:
    """Set the command line that lists of processes show."""
    stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = int(stat[45]), int(stat[46])
    content = b"\0".join(os.fsencode(word) for word in words)[: end - begin - 1]
    ctypes.memmove(begin, content.ljust(end - begin, b"\0"), end - begin)


if __name__ == "__main__":
    main()
