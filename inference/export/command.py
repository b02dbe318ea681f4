"""`python -m inference export MODEL`: write onnx/, and say which engine passed the parity gate."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from inference.artifact import VALIDATION, check_artifact, model_of
from inference.common.command import print_json

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `export` to the parser of `python -m inference`."""
    export = commands.add_parser(
        "export",
        help="export a model to ONNX, checked against PyTorch",
        description="Export a model to ONNX, in float32 and int8, into its folder onnx/. A parity gate on "
        "the validation split says which of them --engine auto takes.",
    )
    export.add_argument("artifact", metavar="ARTIFACT", help="an artifact's folder, or a run")
    export.add_argument(
        "--validation",
        type=Path,
        metavar="F",
        help='labelled texts for the gate: JSON lines of {"text", "label"} (default: the run\'s own)',
    )
    export.add_argument("--json", action="store_true", help="print one JSON object")
    export.add_argument("--debug", action="store_true", help="show the traceback of an error")
    export.set_defaults(command=run)


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
