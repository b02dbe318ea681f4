"""The app's process: says where it is, opens a browser, and loads the model once the page can be had.

    Server(config, workbench).run()

Knows nothing about what is served.
"""

import webbrowser

import uvicorn

from training.terminal import is_at_a_desktop
from ui.gpu import announce
from ui.state import Workbench


class Server(uvicorn.Server):
    """Says where the app is and begins to load the model once the page can be had."""

    def __init__(self, config: uvicorn.Config, workbench: Workbench) -> None:
        super().__init__(config)
        self.workbench = workbench

    async def startup(self, *args: object, **kwargs: object) -> None:
        """Tell ZeroGPU where there is one, bind the port, then print the URL."""
        announce()
        await super().startup(*args, **kwargs)
        if self.started:
            url = f"http://127.0.0.1:{self.config.port}"
            print(f"TweetTune is at {url}", flush=True)  # noqa: T201
            if is_at_a_desktop():
                webbrowser.open(url)
            self.workbench.load_in_background()
