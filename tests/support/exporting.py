"""A tiny artifact with an onnx/ folder, exported once a session, for the tests that serve one."""

import shutil
from pathlib import Path

from inference import Classifier
from inference.engine.onnx import Session
from inference.export.export import export_onnx
from tests.support import once, tweets


def exported(artifact: Path, folder: Path) -> Path:
    """Return a copy of an artifact in a new folder, with its export.

    The export is made once a session of each run's artifact; it must be one that no test changes.
    """

    def export(made: Path) -> Path:
        shutil.copytree(artifact, made)
        texts, labels = zip(*tweets(240, seed=3), strict=True)
        export_onnx(made, texts, labels)
        return made

    return Path(shutil.copytree(once(f"exported-{artifact.parent.name}", export), folder))


def sessions(path: Path, texts: list[str]) -> tuple[Session, Session, list[list[int]]]:
    """Return both networks of an artifact, and the texts as token ids."""
    ids = Classifier.load(path, engine="torch").encode(texts).token_ids
    return Session(path / "onnx" / "packed.onnx"), Session(path / "onnx" / "packed_int8.onnx"), ids
