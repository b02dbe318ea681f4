"""The app in a thread of the tests' own process, so that its sources can be servers on loopback.

with live_app(home, sources={"x": lambda *a, **o: XSearch(*a, base_url=server.url, **o)}) as running:
    running.url; running.workbench
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app import create_app
from inference.live.sources import SOURCES
from inference.serving.process import listen
from inference.serving.schema import Settings
from inference.serving.service import Service
from tests.support import wait_for
from ui.account import read_settings
from ui.live.feeds import LiveFeeds
from ui.live.review import Duels
from ui.server import Server
from ui.state import Workbench, load_tuned


@dataclass(frozen=True)
class Running:
    """The app and its state."""

    url: str
    workbench: Workbench
    live: LiveFeeds
    duels: Duels

    def newest_feed(self) -> Any:
        """Return the feed that was started last, of any owner; it may have ended."""
        return self.live._all()[-1]

    def feeds(self) -> list[Any]:
        """Return the running feeds of all owners, newest first."""
        return [session for session in reversed(self.live._all()) if session.feed.state != "ended"]


@contextlib.contextmanager
def live_app(artifact: Path | None = None, *, sources: dict[str, Any] | None = None) -> Iterator[Running]:
    """Serve the app in this process's environment; its sources may be replaced.

    With an artifact its model and base are loaded when this returns; without one MODEL_ID's, or the newest
    run's, is on its way.
    """
    service = Service({"fine-tuned": "", "base": ""}, settings=Settings(), expected=())
    workbench = Workbench(
        model=str(artifact or "") or read_settings().model_id,
        on_expected=service.models.expect,
        on_loaded=service.put,
    )
    feeds, duels = LiveFeeds({**SOURCES, **(sources or {})}), Duels(load_tuned)
    app = asyncio.run(_built(workbench, service, feeds, duels))
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        server = Server(service, app, workbench, host="127.0.0.1", port=port)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="app")
        thread.start()
        try:
            wait_for(lambda: server.started)
            if artifact:
                wait_for(lambda: workbench.model.base_state in ("ready", "failed"))
            yield Running(f"http://127.0.0.1:{port}", workbench, feeds, duels)
        finally:
            feeds.stop_all()
            server.should_exit = True
            thread.join(30)
            service.close()


async def _built(workbench: Workbench, service: Service, feeds: LiveFeeds, duels: Duels) -> Any:
    """Build the app. Without a running event loop Gradio would make one and leave it open."""
    return create_app(workbench, service, feeds, duels)
