"""Where TweetTune keeps its things: `TWEETTUNE_HOME` moves all of them, the current folder is the default.

On a Space with a bucket mounted at /data they are there, and outlive a restart without a setting.
Paths are asked for at each use, never stored at import, so that a test (or a Space) can move them.
"""

import os
from pathlib import Path

BUCKET = Path("/data")


def home() -> Path:
    """The folder that holds `runs/`, `labels/` and `.cache/`."""
    given = os.environ.get("TWEETTUNE_HOME") or (str(BUCKET) if has_bucket() else ".")
    return Path(given).resolve()


def has_bucket(mount: Path = BUCKET) -> bool:
    """Whether this is a Space with a mount that can be written to, where runs outlive a restart."""
    return bool(os.environ.get("SPACE_ID")) and mount.is_mount() and os.access(mount, os.W_OK)


def is_on_bucket(path: Path, mount: Path = BUCKET) -> bool:
    """Whether a file is on a Space's bucket: object storage, whose files may not be mapped into memory."""
    return has_bucket(mount) and path.resolve().is_relative_to(mount)


def runs_dir() -> Path:
    """The folder of runs, one sub-folder each."""
    return home() / "runs"


def cache_dir() -> Path:
    """The folder of things that can be made again, such as the converted embedded base."""
    return home() / ".cache"
