"""Where TweetTune keeps its things: `TWEETTUNE_HOME` moves all of them, the current folder is the default.

Paths are asked for at each use, never stored at import, so that a test (or a Space) can move them.
"""

import os
from pathlib import Path


def home() -> Path:
    """The folder that holds `runs/` and `.cache/`."""
    return Path(os.environ.get("TWEETTUNE_HOME", ".")).resolve()


def runs_dir() -> Path:
    """The folder of runs, one sub-folder each."""
    return home() / "runs"


def cache_dir() -> Path:
    """The folder of things that can be made again, such as the converted embedded base."""
    return home() / ".cache"
