"""Servers on loopback that speak each service's wire format, to test sources with the real clients.

    with Jetstream() as server:
        source = Bluesky(hosts=[server.url])
        server.post("what a day")
        server.drop()

All posts are made up. A test scripts what a server does next: refuse, stall, break off, send nonsense.
"""

import threading
import time

from inference.common.errors import TweetTuneError
from tests.support import wait_for


class Waits:
    """Waits in compressed time: records how long a wait should be, and returns soon."""

    def __init__(self):
        self.seconds = []

    def __call__(self, event, seconds):
        self.seconds.append(seconds)
        return event.wait(0.01)


class Listener:
    """Runs a source in a thread, as a feed does, and keeps what it gave. `error`: what it raised."""

    def __init__(self, source):
        self.source, self.posts, self.error = source, [], None
        self.stop_event = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            for post in self.source.posts(self.stop_event):
                self.posts.append(post)
        except TweetTuneError as error:
            self.error = error

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exception):
        self.stop()

    def stop(self) -> float:
        """Stop the source and return the seconds that took."""
        began = time.monotonic()
        self.stop_event.set()
        self.thread.join(10)
        assert not self.thread.is_alive()
        return time.monotonic() - began

    def wait(self, count: int, timeout_s: float = 10.0):
        """Return the first posts, once there are so many."""
        wait_for(lambda: len(self.posts) >= count or self.error, timeout_s)
        assert self.error is None, self.error
        return self.posts

    def ended(self, timeout_s: float = 10.0):
        """Wait until the source has ended by itself, and return its error, None for none."""
        wait_for(lambda: not self.thread.is_alive(), timeout_s)
        return self.error

    @property
    def texts(self) -> list[str]:
        """What was read, in order."""
        return [post.text for post in self.posts]
