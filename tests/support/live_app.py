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

import uvicorn

from app import create_app
from inference.live.sources import SOURCES
from inference.serving.schema import Settings
from inference.serving.service import Service
from tests.support.served import free_port, wait_for
from ui.live.feeds import LiveFeeds
from ui.live.review import Duels
from ui.state import Workbench, load_tuned


@dataclass(frozen=True)
class Running:
    """The app, and what it holds in memory."""

    url: str
    workbench: Workbench
    live: LiveFeeds
    duels: Duels

    def newest_feed(self) -> Any:
        """Return the feed that was started last, whoever's it is; it may have ended."""
        return self.live._all()[-1]

    def feeds(self) -> list[Any]:
        """Return the feeds that run, whoever's they are, the newest first."""
        return [session for session in reversed(self.live._all()) if session.feed.state != "ended"]


@contextlib.contextmanager
def live_app(artifact: Path | None, *, sources: dict[str, Any] | None = None) -> Iterator[Running]:
    """Serve the app with a model, whose sources may be replaced; it is ready when this returns."""
    service = Service({"fine-tuned": "", "base": ""}, settings=Settings())
    workbench = Workbench(model=str(artifact) if artifact else None, on_loaded=service.put)
    feeds, duels = LiveFeeds({**SOURCES, **(sources or {})}), Duels(load_tuned)
    port = free_port()
    config = uvicorn.Config(
        asyncio.run(_built(workbench, service, feeds, duels)),
        host="127.0.0.1",
        port=port,
        log_level="warning",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="app")
    thread.start()
    try:
        wait_for(lambda: server.started)
        if artifact:
            workbench.use(str(artifact))
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
