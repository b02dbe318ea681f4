"""The app's process: prints the URL, opens a browser, and loads the model once the page is served.

    Server(service, app, workbench, host="127.0.0.1", port=7860).run()

It stops like `python -m inference serve`: accepted requests are answered. Only the streams that open pages
hold forever are cut after a moment. Knows nothing about what is served.
"""

import asyncio
import socket
import threading
import webbrowser
from typing import Any

from inference.serving import process
from inference.serving.service import Service
from training.cli.terminal import is_at_a_desktop
from ui.delivery import pack_all
from ui.gpu import announce
from ui.state import Workbench

_STREAMS = "/gradio_api/"
_STREAMS_S = 1.0
"""How long the streams of open pages live on when the app stops."""


class Server(process.GracefulServer):
    """Prints the URL and starts to load the model once the page is served."""

    def __init__(self, service: Service, app: Any, workbench: Workbench, *, host: str, port: int) -> None:
        super().__init__(service, app, host=host, port=port)
        self.workbench = workbench

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell ZeroGPU where there is one, bind the port, then print the URL."""
        announce()
        await super().startup(sockets)
        if self.started:
            host = self.config.host
            host = "127.0.0.1" if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host
            url = f"http://{host}:{self.config.port}"
            print(f"TweetTune is at {url}", flush=True)  # noqa: T201
            if is_at_a_desktop():
                webbrowser.open(url)
            threading.Thread(target=pack_all, name="pack", daemon=True).start()
            self.workbench.load_in_background()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer accepted requests, and don't wait for open pages."""
        asyncio.get_running_loop().call_later(_STREAMS_S, self._cut_streams)
        await super().shutdown(sockets)

    def _cut_streams(self) -> None:
        for connection in list(self.server_state.connections):
            cycle = getattr(connection, "cycle", None)  # of a request; a web socket has none
            if cycle and not cycle.response_complete and cycle.scope["path"].startswith(_STREAMS):
                connection.transport.close()
