"""`python -m inference export MODEL`: write onnx/, and say which engine passed the parity gate."""

import argparse
import sys
from pathlib import Path

from inference.artifact import VALIDATION, check_artifact, model_of
from inference.common.command import Commands, add_command, option, print_json


def add_parser(commands: Commands) -> None:
    """Add the command `export` to the parser of `python -m inference`."""
    export = add_command(
        commands,
        "export",
        run,
        "export a model to ONNX, checked against PyTorch",
        description="Export a model to ONNX, in float32 and int8, into its folder onnx/. A parity gate on "
        "the validation split says which of them --engine auto takes.",
    )
    option(export, "artifact ARTIFACT", "an artifact's folder, or a run")
    option(
        export,
        "--validation F",
        'labelled texts for the gate: JSON lines of {"text", "label"} (default: the run\'s own)',
        type=Path,
    )


def run(given: argparse.Namespace) -> int:
    """Export. Raises ArtifactError when it can't be done."""
    artifact = Path(model_of(given.artifact))
    check_artifact(artifact)
    from inference.export.export import export_onnx, validation_rows

    texts, labels = validation_rows(given.validation or artifact.absolute().parent / VALIDATION)

    def show(done: int, total: int) -> None:
        sys.stderr.write(f"exporting: step {done} of {total}\n")

    exported = export_onnx(artifact, texts, labels, progress=show)
    if given.json:
        print_json(exported.record)
    else:
        sys.stdout.write(f"{artifact / 'onnx'} is written: {exported.why}\n")
    return 0
