"""Which files make the Space, and how they differ from those that it has.

    files = collect(root)                      # {path in the Space: content}
    changes = compare(files, remote)           # remote: {path: git's SHA-1, or SHA-256 for LFS}

Knows nothing about how they are sent.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from hub_calls import DeployError

ALLOWED = (
    "app.py",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "requirements.txt",
    "ui/**/*.py",
    "ui/**/*.toml",
    "ui/**/*.css",
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
FRESH = {".gitattributes", "README.md", "app.py", "requirements.txt"}
TOKEN = re.compile(r"\b(?:hf_(?:oauth_)?[A-Za-z0-9]{30,}|gh[pousr]_\w{30,}|AKIA[A-Z0-9]{16}|sk-[\w-]{30,})\b")
_MACHINE = re.compile(r"(?<![\w.])/(?:home|Users)/[\w.-]+/")


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


def compare(files: dict[str, bytes], remote: dict[str, str], space: str = "it") -> Changes:
    """Say what is to be done to the Space's files. Raises DeployError for a Space of something else."""
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
