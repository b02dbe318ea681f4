"""What a model is to the world: labels, prompt, artifact, classifier. Needs neither Gradio nor training code.

from inference import Classifier
"""

from typing import Any

from inference.common.errors import TweetTuneError

__all__ = ["Classifier", "Prediction", "TweetTuneError"]


def __getattr__(name: str) -> Any:
    """Import the classifier when it is asked for: it is slow to import, and errors need it not."""
    if name in ("Classifier", "Prediction"):
        from inference import classifier  # noqa: PLC0415  (see above)

        return getattr(classifier, name)
    raise AttributeError(f"module 'inference' has no attribute {name!r}")
