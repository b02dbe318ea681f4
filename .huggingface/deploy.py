"""Create or update a Space with this repository: one commit, then wait until the app answers.

    python .huggingface/deploy.py OWNER/NAME --dry-run
    python .huggingface/deploy.py OWNER/NAME --private --variable MODEL_ID=owner/model --bucket owner/runs
    HF_TOKEN=… X_BEARER_TOKEN=… python .huggingface/deploy.py OWNER/NAME --secret X_BEARER_TOKEN

Only the files of an allow-list are sent. Values of secrets come from the environment, never from the command
line, and are never printed. Files that the Space's owner has added stay. It can be run again at any time:
unchanged files are not sent. It needs only huggingface_hub and httpx2, and imports nothing of the project
that needs more.
"""

import argparse
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, SpaceInfo, SpaceRuntime, Volume
from huggingface_hub.hf_api import RepoFile

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # a script has its own folder there
from inference.common.command import run_command  # noqa: E402  (from that path)
from inference.common.errors import TweetTuneError  # noqa: E402
from inference.common.hub import (  # noqa: E402
    CLIENT_ERRORS,
    HubConflict,
    NotAllowedOnHub,
    NotLoggedIn,
    NotOnHub,
    Timeouts,
    ask,
    hub_session,
    token_of,
)
from inference.common.names import read_id  # noqa: E402

ALLOWED = (
    "app.py",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "requirements.txt",
    "ui/**/*.py",
    "ui/**/*.toml",
    "ui/**/*.css",
    "ui/**/*.js",
    "ui/preload.txt",
    "training/**/*.py",
    "training/**/*.toml",
    "inference/**/*.py",
    ".huggingface/*.md",
    ".huggingface/*.py",
    "docs/*.md",
    "docs/*.png",
)
OUR_FOLDERS = ("ui/", "training/", "inference/", ".huggingface/", "docs/")
"""Files below them that this repository no longer has are removed from the Space."""
OUR_MARK = "inference/artifact.py"
PREVIEW = "docs/preview.png"
"""The picture of link previews; the app serves it too."""
FRESH = {".gitattributes", "README.md", "app.py", "requirements.txt"}
TOKEN = re.compile(r"\b(?:hf_(?:oauth_)?[A-Za-z0-9]{30,}|gh[pousr]_\w{30,}|AKIA[A-Z0-9]{16}|sk-[\w-]{30,})\b")
_MACHINE = re.compile(r"(?<![\w.])/(?:home|Users)/[\w.-]+/")
TIMEOUTS = Timeouts(answer_s=30.0, connect_s=10.0, tries=4, longest_wait_s=60.0)
DATA = "/data"
LOG_LINES = 20
BUILDING = ("BUILDING", "RUNNING_BUILDING", "APP_STARTING", "RUNNING_APP_STARTING")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
T = TypeVar("T")


class DeployError(TweetTuneError):
    """The Space can't be deployed, for a reason other than an error of the Hub."""


# Which files make the Space, and how they differ from those that it has


@dataclass(frozen=True)
class Changes:
    """What one commit will do to the Space's files."""

    add: tuple[str, ...]
    change: tuple[str, ...]
    remove: tuple[str, ...]
    same: tuple[str, ...]
    foreign: tuple[str, ...]
    """Files of the Space that are not this project's; they stay."""

    def __bool__(self) -> bool:
        return bool(self.add or self.change or self.remove)


def collect(root: Path) -> dict[str, bytes]:
    """Return the allow-list's files by their path in the Space. Raises DeployError for a token in one."""
    files: dict[str, bytes] = {}
    for path in sorted({path for pattern in ALLOWED for path in root.glob(pattern)}):
        name = path.relative_to(root).as_posix()
        if path.is_symlink() or not path.is_file() or "__pycache__" in path.parts:
            continue
        files[name] = content = path.read_bytes()
        text = content.decode("utf-8", "ignore")
        if TOKEN.search(text):
            raise DeployError(f"{name} holds what looks like a token. Take it out; nothing was sent.")
        if found := _MACHINE.search(text):
            raise DeployError(
                f"{name} names a folder of this machine ({found[0]}). Take it out; nothing was sent."
            )
    missing = {name for name in ALLOWED if "*" not in name} - files.keys()
    if missing:
        raise DeployError(f"{root} lacks {', '.join(sorted(missing))}. Run this from a whole checkout.")
    return files


def with_thumbnail(readme: bytes, space: str) -> bytes:
    """Return a Space's README with the picture for the Hub's link previews."""
    address = f"https://huggingface.co/spaces/{space}/resolve/main/{PREVIEW}"
    return readme.replace(b"\nsdk: gradio\n", f"\nthumbnail: {address}\nsdk: gradio\n".encode(), 1)


def compare(files: dict[str, bytes], remote: dict[str, str], space: str) -> Changes:
    """Return the Changes to the Space's files. Raises DeployError if the Space holds something else."""
    if OUR_MARK not in remote and (others := sorted(remote.keys() - FRESH)):
        raise DeployError(
            f"{space} is a Space of something else (found: {', '.join(others[:4])}). Give another name."
        )
    same = {name for name, content in files.items() if remote.get(name) in _hashes(content)}
    gone = remote.keys() - files.keys()
    ours = {name for name in gone if name.startswith(OUR_FOLDERS)}
    return Changes(
        add=tuple(sorted(files.keys() - remote.keys())),
        change=tuple(sorted((files.keys() & remote.keys()) - same)),
        remove=tuple(sorted(ours)),
        same=tuple(sorted(same)),
        foreign=tuple(sorted(gone - ours - {".gitattributes"})),
    )


def _hashes(content: bytes) -> tuple[str, str]:
    git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    return git, hashlib.sha256(content).hexdigest()


# Deploying


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(description="Create or update a Space with this repository.")
    top.add_argument("space", metavar="OWNER/NAME", help="the Space")
    top.add_argument("--private", action="store_true", help="create it private; refuse one that is public")
    top.add_argument("--hardware", metavar="FLAVOR", help="such as cpu-basic, t4-small, zero-a10g")
    top.add_argument(
        "--secret", action="append", default=[], metavar="NAME", help="set a secret to $NAME; repeatable"
    )
    top.add_argument(
        "--variable", action="append", default=[], metavar="NAME=VALUE", help="set a variable; repeatable"
    )
    top.add_argument(
        "--bucket", metavar="OWNER/NAME", help=f"mount a bucket at {DATA}: runs survive a restart"
    )
    top.add_argument("--dry-run", action="store_true", help="show files, sizes and settings; send nothing")
    top.add_argument("--no-wait", action="store_true", help="do not wait until the app answers")
    top.add_argument(
        "--timeout-s", type=float, default=1800, metavar="S", help="longest wait (default: 1800)"
    )
    top.add_argument("--poll-s", type=float, default=3, metavar="S", help="pause between looks (default: 3)")
    top.set_defaults(command=_main)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Deploy, or print in one sentence why not. Returns the exit status."""
    return run_command(parser, arguments)


def _main(given: argparse.Namespace) -> int:
    given.space = read_id(given.space, "space")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", given.space):
        raise DeployError(f"{given.space!r} is not the name of a Space. Write it as owner/name.")
    files, secrets, variables = collect(ROOT), _secrets(given.secret), _variables(given.variable)
    files["README.md"] = with_thumbnail(files["README.md"], given.space)
    with hub_session(TIMEOUTS):
        if given.dry_run:
            return _show(given, files, variables)
        api = HfApi(token=token_of(HfApi(), "deploy"))
        deploy(api, given, files, secrets, variables)
    return 0


def _say(sentence: str) -> None:
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


def _ask(doing: str, call: Callable[[], T], *, repo: str = "") -> T:
    """Call the Hub, and retry while it is silent or busy: a deployment can wait."""

    def pause(seconds: float) -> None:
        sys.stderr.write(f"The Hub can't {doing} now; again in {seconds:.0f} s.\n")
        time.sleep(seconds)

    return ask(doing, call, repo=repo, when_silent=True, sleep=pause)


def _secrets(names: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in names:
        if not _NAME.fullmatch(name):
            raise DeployError(
                f"--secret takes a name alone, not {name.partition('=')[0]}=…: a command line can be read. "
                "Put the value into the environment variable of that name."
            )
        if not os.environ.get(name):
            raise DeployError(f"The secret {name} is not in the environment. Run `export {name}=…` first.")
        found[name] = os.environ[name]
    return found


def _variables(pairs: Sequence[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not _NAME.fullmatch(name):
            raise DeployError(f"--variable {name} has no value. Write --variable NAME=VALUE.")
        if TOKEN.search(value):
            raise DeployError(
                f"The value of {name} looks like a token, and variables are public. Use --secret."
            )
        found[name] = value
    return found


def deploy(
    api: HfApi,
    given: argparse.Namespace,
    files: dict[str, bytes],
    secrets: dict[str, str],
    variables: dict[str, str],
) -> None:
    """Create or update the Space, and wait for the app. Raises DeployError, HubError."""
    space = given.space
    user = _ask("read who you are", api.whoami)["name"]
    info = _info(api, space)
    if info is None:
        _say(f"Creating the Space {space}, as {user}.")
        try:
            _ask(
                f"create the Space {space}",
                lambda: api.create_repo(
                    space,
                    repo_type="space",
                    space_sdk="gradio",
                    private=given.private or None,
                    exist_ok=True,
                    space_hardware=given.hardware,
                ),
            )
        except NotAllowedOnHub as error:
            if error.status != 402:
                raise
            raise error.changed(
                why="the Hub asks for a paid plan (402): a new Gradio Space needs PRO or Team, "
                "except on ZeroGPU",
                todo="Subscribe, or give --hardware zero-a10g",
            ) from error
        info = _info(api, space)
        if not variables.get("MODEL_ID"):  # a new Space is then useful by itself
            variables = {"FIRST_RUN": "quick"} | variables
    if info is None:
        raise DeployError(f"The Space {space} was created but can't be read. Check the token's rights.")
    if given.private and not info.private:
        raise DeployError(
            f"{space} exists and is public. Make it private in its settings, or leave out --private."
        )
    changes = compare(files, _remote(api, space, info.sha), space)
    _settle(api, given, secrets, variables)
    commit = _commit(api, space, files, changes, info.sha)
    _tell(changes)
    _say(f"Commit: {api.endpoint}/spaces/{space}/commit/{commit}")
    if not given.no_wait:
        _wait(api, given, commit, private=bool(info.private), hide=tuple(secrets.values()))


def _info(api: HfApi, space: str) -> SpaceInfo | None:
    try:
        return _ask(f"look at {space}", lambda: api.space_info(space), repo=space)
    except NotOnHub as error:
        if error.status:
            return None
        raise  # no name of a repository


def _remote(api: HfApi, space: str, revision: str) -> dict[str, str]:
    """Return the Space's files with the SHA-256 (LFS) or git's SHA-1 of each."""
    tree = _ask(
        f"list the files of {space}",
        lambda: list(api.list_repo_tree(space, recursive=True, revision=revision, repo_type="space")),
    )
    found = {}
    for entry in tree:
        if isinstance(entry, RepoFile):
            found[entry.path] = entry.lfs.sha256 if entry.lfs else entry.blob_id
    return found


def _settle(
    api: HfApi, given: argparse.Namespace, secrets: dict[str, str], variables: dict[str, str]
) -> None:
    """Set hardware, bucket, variables and secrets before sending files: the build then starts with them."""
    space = given.space
    runtime = _ask("read the Space's state", lambda: api.get_space_runtime(space))
    volumes = runtime.volumes or []
    _refuse_another_bucket(given, volumes)
    if given.hardware and given.hardware not in (runtime.hardware, runtime.requested_hardware):
        _ask(f"ask for {given.hardware}", lambda: api.request_space_hardware(space, given.hardware))
        _say(f"Hardware: {given.hardware}")
    if given.bucket:
        _mount(api, given, volumes)
    known = _ask("read the variables", lambda: api.get_space_variables(space)) if variables else {}
    for name, value in variables.items():
        if name not in known or known[name].value != value:
            _ask(f"set {name}", lambda n=name, v=value: api.add_space_variable(space, n, v))
            _say(f"Variable {name}={value}")
    for name, value in secrets.items():
        _ask(f"set the secret {name}", lambda n=name, v=value: api.add_space_secret(space, n, v))
        _say(f"Secret {name}: set")


def _refuse_another_bucket(given: argparse.Namespace, volumes: list[Volume]) -> None:
    other = next((v.source for v in volumes if v.mount_path == DATA and v.source != given.bucket), None)
    if given.bucket and other:
        raise DeployError(
            f"{other} is mounted at {DATA} of {given.space}, and the app would lose the runs in it. "
            "Unmount it in the Space's settings first, or leave out --bucket."
        )


def _mount(api: HfApi, given: argparse.Namespace, volumes: list[Volume]) -> None:
    if any(v.source == given.bucket and v.mount_path == DATA for v in volumes):
        return
    _ask("create the bucket", lambda: api.create_bucket(given.bucket, private=True, exist_ok=True))
    volume = Volume(type="bucket", source=given.bucket, mount_path=DATA)
    _ask(
        "mount the bucket", lambda: api.set_space_volumes(given.space, [*volumes, volume])
    )  # replaces the list
    _say(f"Bucket {given.bucket} at {DATA}")


def _commit(api: HfApi, space: str, files: dict[str, bytes], changes: Changes, parent: str) -> str:
    """Make one commit of all changes, if there are any. Returns the Space's newest commit."""
    if not changes:
        return parent
    operations = [
        *(CommitOperationAdd(name, files[name]) for name in (*changes.add, *changes.change)),
        *(CommitOperationDelete(name) for name in changes.remove),
    ]
    try:
        made = _ask(
            "send the files",
            lambda: api.create_commit(
                space, operations, commit_message="Deploy TweetTune", repo_type="space", parent_commit=parent
            ),
            repo=space,
        )
    except HubConflict as error:
        if error.status != 412:
            raise
        now = _info(api, space)  # perhaps it is our own commit, whose answer was lost
        if now is None or compare(files, _remote(api, space, now.sha), space):
            raise DeployError(
                f"{space} was changed while this ran; nothing was overwritten. Run it again."
            ) from error
        return str(now.sha)
    return str(made.oid)


def _tell(changes: Changes) -> None:
    counts = f"{len(changes.add)} new, {len(changes.change)} changed, {len(changes.remove)} removed"
    _say(f"Files: {counts}, {len(changes.same)} equal already.")
    if changes.foreign:
        _say(f"Left alone: {', '.join(changes.foreign)}")


def _wait(api: HfApi, given: argparse.Namespace, commit: str, *, private: bool, hide: Sequence[str]) -> None:
    """Wait until the Space runs this commit and its `/healthz` answers. Raises DeployError with its log."""
    until, shown = time.monotonic() + given.timeout_s, ""
    while True:
        runtime = _ask("read the Space's state", lambda: api.get_space_runtime(given.space))
        stage, running = str(runtime.stage), runtime.raw.get("sha")
        old = running is not None and running != commit
        if stage != shown:
            _say(f"Stage: {stage}")
            shown = stage
        if stage == "PAUSED":  # a new commit does not wake it
            raise DeployError(
                f"The files are there, but the Space is paused. Press Restart at {api.endpoint}/spaces/"
                f"{given.space}, then run this again."
            )
        if stage == "SLEEPING" and not old:
            return _say("The Space sleeps, and wakes when somebody opens it.")
        if stage not in (*BUILDING, "RUNNING") and not old:
            raise DeployError(
                f"The Space is {stage}. Look at {api.endpoint}/spaces/{given.space}?logs=build."
                + _logs(api, given.space, build="BUILD" in stage or "CONFIG" in stage, hide=hide)
            )
        if stage == "RUNNING" and not old and (said := _health(api, runtime, private=private)):
            return _say(f"The app answers (model: {said.get('model', 'unknown')}): {_address(api, runtime)}")
        if time.monotonic() > until:
            raise DeployError(
                f"After {given.timeout_s:.0f} s the Space is {stage} and its app does not answer yet. "
                f"Look at {api.endpoint}/spaces/{given.space}?logs=container, or run this again."
            )
        time.sleep(given.poll_s)


def _address(api: HfApi, runtime: SpaceRuntime) -> str:
    """Return the app's own address; it is http if the Hub's is, as in tests."""
    domains = [each["domain"] for each in runtime.raw.get("domains") or [] if each.get("domain")]
    return f"{urlsplit(api.endpoint).scheme}://{domains[0]}" if domains else ""


def _health(api: HfApi, runtime: SpaceRuntime, *, private: bool) -> dict[str, object] | None:
    """Return the answer of `/healthz`, None without one; only the Hub's hosts get the token."""
    address = _address(api, runtime)
    if not address:
        return None
    headers = {}
    if private and may_have_the_token(address, api.endpoint):
        headers["Authorization"] = f"Bearer {api.token}"
    try:
        answer = httpx2.get(f"{address}/healthz", headers=headers, timeout=10)
        said = answer.json() if answer.status_code == 200 else None
    except (httpx2.HTTPError, ValueError):
        return None
    return said if isinstance(said, dict) and said.get("status") == "ok" else None


def may_have_the_token(address: str, endpoint: str) -> bool:
    """Whether an address is the Hub's own: a Space may have anybody's domain."""
    host = urlsplit(address).hostname or ""
    return host.endswith(".hf.space") or host == urlsplit(endpoint).hostname


def _logs(api: HfApi, space: str, *, build: bool, hide: Sequence[str]) -> str:
    try:
        lines = "".join(api.fetch_space_logs(space, build=build)).splitlines()[-LOG_LINES:]
    except CLIENT_ERRORS:
        return " Its log can't be read."
    text = "\n".join(lines)
    for value in hide:
        text = text.replace(value, "***")
    return f" The end of its log:\n{TOKEN.sub('***', text)}" if lines else " Its log is empty."


def _show(given: argparse.Namespace, files: dict[str, bytes], variables: dict[str, str]) -> int:
    """Print the files to send and, if the Hub can be asked, what they would change."""
    for name, content in files.items():
        _say(f"{len(content):>9,}  {name}")
    _say(f"{sum(map(len, files.values())):>9,}  bytes in {len(files)} files")
    for name, value in variables.items():
        _say(f"Variable {name}={value}")
    for name in given.secret:
        _say(f"Secret {name}: from the environment")
    if given.hardware or given.bucket:
        _say(json.dumps({"hardware": given.hardware, "bucket": given.bucket}))
    try:
        api = HfApi(token=token_of(HfApi(), "look"))
        if (info := _info(api, given.space)) is None:
            _say(f"The Space {given.space} would be created.")
        else:
            _tell(compare(files, _remote(api, given.space, info.sha), given.space))
    except NotLoggedIn as error:
        _say(f"Not compared with the Hub: {error.why}. {error.todo}.")
    except TweetTuneError as error:
        _say(f"Not compared with the Hub: {error}")
    _say("Nothing was sent.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
