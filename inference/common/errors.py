"""Every error TweetTune raises on purpose: one sentence on what happened, what was found, what to do.

TweetTuneError
├── ArtifactError     a model folder or repository can't be used
├── BaseError         a base model can't be loaded
├── DataError         a data set can't be read, or can't be learned from
├── PredictionError   an input can't be classified
├── RecipeError       a recipe or one of its settings is wrong
├── RunError          a run can't be started, found, cancelled or resumed
└── FeedError         a stream of posts can't be opened or controlled
    └── SourceError   a source of posts failed; its branches: inference/live/errors.py

Other branches are drawn where they are raised, such as HubError in common/hub.py, ScoringError in
scoring/job.py, ServingError in serving/errors.py and PublishError in training/publish/errors.py.
"""


class TweetTuneError(Exception):
    """What went wrong, in one sentence fit to be shown to a person."""


class ArtifactError(TweetTuneError):
    """A model folder or repository can't be used."""


class BaseError(TweetTuneError):
    """A base model can't be loaded."""


class DataError(TweetTuneError):
    """A data set can't be read, or can't be learned from."""


class PredictionError(TweetTuneError):
    """An input can't be classified."""


class RecipeError(TweetTuneError):
    """A recipe or one of its settings is wrong."""


class RunError(TweetTuneError):
    """A run can't be started, found, cancelled or resumed."""


class FeedError(TweetTuneError):
    """A stream of posts can't be opened or controlled."""
