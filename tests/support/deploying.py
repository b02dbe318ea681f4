"""The modules of `.huggingface/deploy.py`, for tests: their folder has a dot, so it is no package."""

import importlib.util
import sys

from tests.support import REPOSITORY

FOLDER = REPOSITORY / ".huggingface"


def module(name):
    """Import one of the script's modules."""
    sys.path.insert(0, str(FOLDER))
    try:
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        found = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(name, found)
        spec.loader.exec_module(found)
        return found
    finally:
        sys.path.remove(str(FOLDER))


hub_calls, space_files = module("hub_calls"), module("space_files")
deploy = module("deploy")
