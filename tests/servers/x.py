"""X's API v2 on loopback: recent search, the filtered stream and its rules.

    with X() as server:
        source = XSearch("#python", token=server.token, base_url=server.url)
        server.tweet("learning #python")                  # found by the search, and sent to the stream
        server.script.append(too_many(reset=…))           # the next answer, whatever is asked
        server.send(b'{"data": {"id"')                    # raw bytes into the stream
        server.hang_up()                                  # the stream ends; server.drop() breaks it

Long texts and posts that are referred to come to who asks for them alone; "1" refers to the first post.
Answers 401 to another token, 409 to a stream without rules, and 429 to a second stream.
"""

import json
import threading

from tests.servers.web import Answer, Request, Web

FIRST_ID = 1_234_567_890_123_456_000
DISCONNECT = {
    "title": "operational-disconnect",
    "disconnect_type": "UpstreamOperationalDisconnect",
    "detail": "This stream has been disconnected upstream for operational reasons.",
    "type": "https://api.twitter.com/2/problems/operational-disconnect",
}
TOO_MANY_CONNECTIONS = {
    "title": "ConnectionException",
    "connection_issue": "TooManyConnections",
    "detail": "This stream is currently at the maximum allowed connection limit.",
    "type": "https://api.twitter.com/2/problems/streaming-connection",
}


def problem(status: int, title: str, detail: str = "", **rest) -> Answer:
    """Return an error as X writes it."""
    body = {"title": title, "detail": detail or title, "type": "about:blank", "status": status}
    return Answer(status, body | rest)


def too_many(*, reset: int | None = None, **headers: str) -> Answer:
    """Return 429, with the time at which the limit starts anew."""
    known = {} if reset is None else {"x-rate-limit-remaining": "0", "x-rate-limit-reset": str(reset)}
    return Answer(429, {"title": "Too Many Requests", "detail": "Too Many Requests"}, known | headers)


class X(Web):
    """The API of X."""

    heartbeat = b"\r\n"  # every 20 s at X's

    def __init__(self, *, token="AAAA%2Fmade-up-token"):
        super().__init__()
        self.token = token
        self.tweets: list[dict] = []  # oldest first
        self.rules: dict[str, dict] = {}
        self.stream_query: dict[str, str] = {}
        self.headers: dict[str, str] = {}  # added to the answers of the search
        self._lock = threading.Lock()

    # What a test does

    def tweet(self, text, **rest) -> dict:
        """Publish a tweet."""
        with self._lock:
            tweet = {
                "id": str(FIRST_ID + len(self.tweets)),
                "text": text,
                "lang": "en",
                "created_at": "2026-01-15T10:30:00.000Z",
                "author_id": "9876543210",
                "edit_history_tweet_ids": [str(FIRST_ID + len(self.tweets))],
            } | rest
            self.tweets.append(tweet)
        rules = [{"id": rule["id"], "tag": rule.get("tag", "")} for rule in self.rules.values()]
        shown = {"data": self._shown(tweet, self.stream_query), "matching_rules": rules}
        self.send(json.dumps(shown | self._included([tweet], self.stream_query)).encode() + b"\r\n")
        return tweet

    def message(self, message):
        """Send a JSON message to everybody who streams."""
        self.send(json.dumps(message).encode() + b"\r\n")

    # What the server does

    def answer(self, request: Request) -> Answer:
        """Answer as X does."""
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return problem(401, "Unauthorized")
        if request.path == "/2/tweets/search/recent":
            return self._search(request)
        if request.path == "/2/tweets/search/stream/rules":
            return self._change_rules(request.body) if request.method == "POST" else self._list_rules()
        if request.path == "/2/tweets/search/stream":
            self.stream_query = request.query
            return self._stream()
        return problem(404, "Not Found")

    def _search(self, request: Request) -> Answer:
        size = int(request.query.get("max_results", 10))
        if not 10 <= size <= 100:
            message = f"The `max_results` query parameter value [{size}] is not between 10 and 100"
            return problem(400, "Invalid Request", errors=[{"message": message}])
        with self._lock:
            since = int(request.query.get("since_id", 0))
            found = [tweet for tweet in reversed(self.tweets) if int(tweet["id"]) > since]
        at = int(request.query.get("next_token", "0"))
        page, meta = found[at : at + size], {"result_count": len(found[at : at + size])}
        if page:
            meta |= {"newest_id": page[0]["id"], "oldest_id": page[-1]["id"]}
        if len(found) > at + size:
            meta["next_token"] = str(at + size)
        shown = {"data": [self._shown(tweet, request.query) for tweet in page]} if page else {}
        return Answer(200, shown | self._included(page, request.query) | {"meta": meta}, self.headers)

    @staticmethod
    def _shown(tweet: dict, query: dict[str, str]) -> dict:
        hidden = {"note_tweet"} - {*query.get("tweet.fields", "").split(",")}
        return {key: value for key, value in tweet.items() if key not in hidden}

    def _included(self, page: list[dict], query: dict[str, str]) -> dict:
        if "referenced_tweets.id" not in query.get("expansions", "").split(","):
            return {}
        asked = {each["id"] for tweet in page for each in tweet.get("referenced_tweets", ())}
        found = [
            self._shown(tweet, query) | {"id": number}
            for place, tweet in enumerate(self.tweets, 1)
            for number in {tweet["id"], str(place)} & asked
        ]
        return {"includes": {"tweets": found}} if found else {}

    def _list_rules(self) -> Answer:
        return Answer(200, {"data": list(self.rules.values()), "meta": {"result_count": len(self.rules)}})

    def _change_rules(self, body) -> Answer:
        if "delete" in body:
            for number in body["delete"]["ids"]:
                self.rules.pop(number, None)
            return Answer(200, {"meta": {"summary": {"deleted": len(body["delete"]["ids"])}}})
        [rule] = body["add"]
        for known in self.rules.values():
            if known["value"] == rule["value"]:
                error = {"title": "DuplicateRule", "value": rule["value"], "id": known["id"]}
                return Answer(201, {"meta": {"summary": {"created": 0}}, "errors": [error]})
        number = str(len(self.asked) + 1000)
        self.rules[number] = rule | {"id": number}
        return Answer(201, {"data": [self.rules[number]], "meta": {"summary": {"created": 1}}})

    def _stream(self) -> Answer:
        if not self.rules:
            return problem(409, "Conflict", "You must define at least one rule.")
        if self.streams:
            return Answer(429, TOO_MANY_CONNECTIONS, {"x-rate-limit-remaining": "40"})
        return Answer(200, headers={"Content-Type": "application/json"}, pieces=self.pieces())
