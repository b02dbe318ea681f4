"""Read what people type or paste to name a model, a base or a data set of the Hub.

    read_id("https://huggingface.co/ada/tweets/tree/main")                     # -> "ada/tweets"
    read_id("https://huggingface.co/datasets/ada/posts", kind="dataset")       # -> "ada/posts"
    read_id("runs/demo")                                                       # -> "runs/demo", as it is

Makes no request: the caller finds out whether the repository exists.
"""

import os
import re
from typing import Literal
from urllib.parse import unquote, urlsplit

from inference.common.errors import TweetTuneError

Kind = Literal["model", "dataset", "space"]
_WORDS = {"model": "a model", "dataset": "a data set", "space": "a Space"}
_KINDS: dict[str, Kind] = {"models": "model", "datasets": "dataset", "spaces": "space"}
_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co", "www.hf.co")
_ADDRESS = re.compile(rf"[a-z][a-z0-9+.-]+:/|(?:{'|'.join(map(re.escape, _HOSTS))})(?:/|$)", re.IGNORECASE)
_NO_OWNERS = (
    *("api", "blog", "chat", "collections", "docs", "join", "learn", "login", "new", "organizations"),
    *("papers", "posts", "pricing", "search", "settings", "tasks"),
)
_OF_FILES = ("tree", "resolve", "blob", "raw", "commits", "commit", "edit", "blame")
_PAGES = (*_OF_FILES, "discussions", "viewer", "settings", "embed", "community", "activity", "logs", "files")


def read_id(given: str, kind: Kind = "model") -> str:
    """Return the id in an address of the Hub, and any other name as it is, without blanks around it.

    A data set's viewer names its configuration too: "ada/posts:english". Raises TweetTuneError for a page of
    another kind or another site, and for a branch or commit: main alone is taken.
    """
    text = given.strip()
    if not _ADDRESS.match(text):
        return text
    address = urlsplit(text if ":/" in text else f"https://{text}")
    parts = [unquote(part) for part in f"{address.netloc}/{address.path}".split("/") if part]
    if address.scheme.lower() != "hf":  # hf://datasets/ada/posts has no host
        host = parts.pop(0).lower() if parts else ""
        ours = urlsplit(os.environ.get("HF_ENDPOINT", "")).netloc
        if host not in (*_HOSTS, ours) or address.scheme.lower() not in ("http", "https", ""):
            raise _refusal(text, "it is no page of the Hub", kind)
    found: Kind = _KINDS[parts.pop(0)] if parts and parts[0] in _KINDS else "model"
    if not parts or parts[0] in _NO_OWNERS:
        raise _refusal(text, f"it is no page of {_WORDS[kind]}", kind)
    if found != kind:
        raise _refusal(text, f"it is the page of {_WORDS[found]}", kind)
    size = 1 if len(parts) == 1 or parts[1] in _PAGES else 2  # "gpt2" has no owner
    name, page = "/".join(parts[:size]), parts[size:]
    if len(page) > 1 and page[0] in _OF_FILES and page[1] != "main":
        raise _refusal(text, f"it names {page[1]}, and only main is taken", kind)
    if kind == "dataset" and len(page) > 1 and page[0] == "viewer" and page[1] != "default":
        return f"{name}:{page[1]}"
    return name


def _refusal(text: str, why: str, kind: Kind) -> TweetTuneError:
    what = _WORDS[kind]
    return TweetTuneError(f"{text[:200]} can't be taken: {why}. Give the id of {what}, as owner/name.")
