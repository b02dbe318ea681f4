"""Export a model to ONNX before it is pushed, so that other clients find `onnx/` in the repository.

    note = export_for_push(Path("runs/demo/artifact"), dry_run=False)     # "" when it is there already

A model that can't be exported is pushed without, and the note says why. Knows nothing about the Hub.
"""

from pathlib import Path

from inference.artifact import ONNX_FOLDER, VALIDATION
from inference.common.errors import ArtifactError
from inference.engine.parity import STANDARD
from inference.export.command import validation_rows
from inference.export.export import export_onnx


def export_for_push(artifact: Path, *, dry_run: bool) -> str:
    """Export where nothing was exported, which takes minutes; a dry run only says so. Returns a sentence."""
    if (artifact / ONNX_FOLDER / STANDARD).is_file():
        return ""
    rows = artifact.absolute().parent / VALIDATION
    if dry_run and rows.is_file():
        return f"{ONNX_FOLDER}/ is not there yet: the push exports it first, unless --no-onnx is given."
    try:
        record = export_onnx(artifact, *validation_rows(rows))
    except ArtifactError as error:
        return f"It goes without {ONNX_FOLDER}/. {error}"
    return f"Exported to {ONNX_FOLDER}/: {record['why']} {record['standard']['why']}"
