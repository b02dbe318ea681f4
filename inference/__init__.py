"""What a model is to the world: labels, prompt, artifact, classifier. Needs neither Gradio nor training code.

from inference import Classifier
"""

from importlib import import_module
from typing import Any

from inference.common.errors import TweetTuneError

_LAZY = ("Classifier", "Prediction")
__all__ = ["Classifier", "Prediction", "TweetTuneError"]


def __getattr__(name: str) -> Any:
    """Import the classifier when it is asked for: torch takes seconds, and errors and paths don't need it."""
    if name in _LAZY:
        return getattr(import_module("inference.classifier"), name)
    raise AttributeError(f"module 'inference' has no attribute {name!r}")
