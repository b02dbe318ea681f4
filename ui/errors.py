"""One place where the project's errors become what Gradio shows.

    with as_gradio_error():
        start(run)
"""

import gradio as gr

from inference.errors import TweetTuneError


class as_gradio_error:  # noqa: N801  (a context manager, named as one reads it)
    """Within it, an error of ours becomes the sentence that Gradio shows; only `gr.Error` reaches a client."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, where: object) -> None:
        if isinstance(error, TweetTuneError):
            raise gr.Error(str(error), print_exception=False, duration=12) from error
