"""A tiny artifact with an onnx/ folder, for the tests that serve one."""

import shutil
from pathlib import Path

from inference.export.export import export_onnx
from tests.support import tweets


def exported(artifact: Path, folder: Path) -> Path:
    """Return a copy of an artifact, in a new folder, with what export adds."""
    shutil.copytree(artifact, folder)
    texts, labels = zip(*tweets(120, seed=5), strict=True)
    export_onnx(folder, texts, labels)
    return folder
