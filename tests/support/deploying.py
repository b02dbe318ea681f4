"""`.huggingface/deploy.py`, for tests: its folder has a dot, so it is no package."""

import importlib.util
import sys

from tests.support import REPOSITORY

SCRIPT = REPOSITORY / ".huggingface" / "deploy.py"
_spec = importlib.util.spec_from_file_location("deploy", SCRIPT)
deploy = importlib.util.module_from_spec(_spec)
sys.modules["deploy"] = deploy  # where dataclasses look for their module
_spec.loader.exec_module(deploy)
