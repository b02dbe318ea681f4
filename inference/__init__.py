"""Use a trained model: labels, prompt, artifact, classifier. Needs neither Gradio nor training code.

from inference import Classifier
"""

from typing import TYPE_CHECKING

from inference.common.errors import TweetTuneError

if TYPE_CHECKING:
    from inference.classifier import Classifier, Prediction

__version__ = "0.1.0"
__all__ = ["Classifier", "Prediction", "TweetTuneError"]


def __getattr__(name: str) -> object:
    """Import the classifier lazily: it is slow to import, and not needed for the errors."""
    if name in ("Classifier", "Prediction"):
        from inference import classifier  # noqa: PLC0415  (see above)

        return getattr(classifier, name)
    raise AttributeError(f"module 'inference' has no attribute {name!r}")
