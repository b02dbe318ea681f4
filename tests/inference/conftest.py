"""Tiny artifacts with their ONNX files, for the tests of engines and of the export."""

import json
import shutil

import pytest

from tests.support.exporting import exported


def _with_record(run, folder):
    path = exported(run.artifact, folder)
    return path, json.loads((path / "onnx" / "parity.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def exported_gpt2(trained_gpt2, tmp_path_factory):
    """Return the artifact's folder and the record of its parity."""
    return _with_record(trained_gpt2, tmp_path_factory.mktemp("onnx") / "gpt2")


@pytest.fixture(scope="session")
def exported_llama(trained_llama, tmp_path_factory):
    return _with_record(trained_llama, tmp_path_factory.mktemp("onnx") / "llama")


@pytest.fixture(params=["gpt2", "llama"])
def exported_model(request):
    return request.getfixturevalue(f"exported_{request.param}")


@pytest.fixture
def copy(exported_llama, tmp_path):
    """Return a copy of an exported artifact, which the test may break."""
    return shutil.copytree(exported_llama[0], tmp_path / "artifact")
