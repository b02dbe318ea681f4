"""A tiny artifact with an onnx/ folder, exported once a session, for the tests that serve one."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from inference import Classifier
from inference.engine.onnx import Session
from inference.export.export import export_onnx
from tests.support import tweets


def exported(artifact: Path, folder: Path) -> Path:
    """Return a copy of an artifact, in a new folder, with what export adds."""
    return Path(shutil.copytree(_exported_once(artifact), folder))


@functools.cache
def _exported_once(artifact: Path) -> Path:
    place = tempfile.mkdtemp(prefix="exported-")
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    folder = Path(shutil.copytree(artifact, Path(place) / "artifact"))
    texts, labels = zip(*tweets(240, seed=3), strict=True)
    export_onnx(folder, texts, labels)
    return folder


def sessions(path: Path, texts: list[str]) -> tuple[Session, Session, list[list[int]]]:
    """Return both networks of an artifact, and the texts as token ids."""
    ids = Classifier.load(path, engine="torch").encode(texts).token_ids
    return Session(path / "onnx" / "packed.onnx"), Session(path / "onnx" / "packed_int8.onnx"), ids
