"""An instance of Mastodon on loopback: timelines, and a stream of server-sent events.

    with Mastodon() as server:
        source = Source(server.url, allow_loopback=True)
        server.status("<p>what a day</p>")            # in the timelines, and sent to streams as an update
        server.send(b":thump\\n")                      # raw bytes into the stream
        server.private = True                         # timelines for users only: 401 without the token
        server.hang_up()                              # the stream ends; server.drop() breaks it

`min_id` gives what is immediately newer, as Mastodon does. Streaming always needs the token.
"""

import json
import threading

from tests.servers.web import Answer, Request, Web

FIRST_ID = 108_914_327_388_663_000


class Mastodon(Web):
    """An instance."""

    welcome = b":)\n"
    heartbeat = b":thump\n"  # every 15 s at Mastodon's

    def __init__(self, *, token="made-up-user-token"):
        super().__init__()
        self.token = token
        self.private = False
        self.statuses: list[dict] = []  # oldest first
        self.headers: dict[str, str] = {}  # added to the answers of the timelines
        self.streaming_url: str | None = self.url.replace("http", "ws")
        self._lock = threading.Lock()

    # What a test does

    def status(self, content, *, tags=(), local=True, **rest) -> dict:
        """Publish a status."""
        with self._lock:
            number = str(FIRST_ID + len(self.statuses))
            status = {
                "id": number,
                "created_at": "2026-08-30T23:05:46.839Z",
                "in_reply_to_id": None,
                "sensitive": False,
                "spoiler_text": "",
                "visibility": "public",
                "language": "en",
                "uri": f"https://example.social/users/a/statuses/{number}",
                "url": f"https://example.social/@a/{number}",
                "content": content,
                "reblog": None,
                "account": {"id": "1", "username": "a", "acct": "a" if local else "a@else.where"},
                "media_attachments": [],
                "mentions": [],
                "tags": [{"name": tag} for tag in tags],
            } | rest
            self.statuses.append(status)
        self.update(status)
        return status

    def update(self, status):
        """Send a status to the streams."""
        self.event("update", json.dumps(status))

    def event(self, name, data):
        """Send an event to the streams."""
        self.send(f"event: {name}\ndata: {data}\n\n".encode())

    # What the server does

    def answer(self, request: Request) -> Answer:
        """Answer as Mastodon does."""
        known = request.headers.get("authorization") == f"Bearer {self.token}"
        if "authorization" in request.headers and not known:
            return Answer(401, {"error": "The access token is invalid"})
        if request.path == "/api/v2/instance":
            return Answer(200, {"configuration": {"urls": {"streaming": self.streaming_url}}})
        if request.path.startswith("/api/v1/streaming/"):
            return self._stream() if known else Answer(401, {"error": "Missing access token"})
        if self.private and not known:
            return Answer(401, {"error": "This method requires an authenticated user"})
        name, _, tag = request.path.removeprefix("/api/v1/timelines/").partition("/")
        if name not in ("public", "tag"):
            return Answer(404, {"error": "Record not found"})
        return self._timeline(request, tag)

    def _timeline(self, request: Request, tag: str) -> Answer:
        with self._lock:
            found = [
                status
                for status in self.statuses
                if (not tag or tag in {known["name"] for known in status["tags"]})
            ]
        limit = min(40, int(request.query.get("limit", "20")))
        if "min_id" in request.query:
            page = [status for status in found if int(status["id"]) > int(request.query["min_id"])][:limit]
        else:
            page = found[-limit:]
        return Answer(200, page[::-1], self.headers)

    def _stream(self) -> Answer:
        return Answer(200, headers={"Content-Type": "text/event-stream"}, pieces=self.pieces())
