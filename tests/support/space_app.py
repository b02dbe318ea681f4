"""The app as a Space runs it: the environment that a Space sets, and sessions as a sign-in leaves them."""

import base64
import contextlib
import hashlib
import json
import time

import gradio.oauth
import itsdangerous
import pytest
from gradio_client import Client

from tests.support.live_app import live_app
from tests.support.served import app

SECRET = "a-secret-of-the-sign-in-of-this-space"
ENVIRONMENT = {
    "SPACE_ID": "ada/tweettune",
    "SYSTEM": "spaces",
    "SPACE_AUTHOR_NAME": "ada",
    "OAUTH_CLIENT_ID": "an-app",
    "OAUTH_CLIENT_SECRET": SECRET,
    "OAUTH_SCOPES": "openid profile contribute-repos",
    "OPENID_PROVIDER_URL": "http://127.0.0.1:9",
}
"""Nothing listens on port 9, and no test requests the Hub's sign-in page."""


def space(home, *arguments, cold=False, **environment):
    """Run the app as a Space and yield its URL."""
    return app(home, *arguments, cold=cold, **{**ENVIRONMENT, **environment})


@contextlib.contextmanager
def space_here(home, **environment):
    """Run the app as a Space in a thread of this process, whose environment is the Space's; yield its URL."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**ENVIRONMENT, "TWEETTUNE_HOME": str(home), **environment}.items():
            patch.setenv(name, value)
            if hasattr(gradio.oauth, name):  # which reads the environment when it is imported
                patch.setattr(gradio.oauth, name, value)
        with live_app() as running:
            yield running.url


def session(
    name: str,
    *,
    token: str = "",
    secret: str = SECRET,
    scope: str = "openid profile contribute-repos",
    expires_in_s: float = 3600,
) -> str:
    """Return the cookie that a browser has after signing in, as Gradio signs it."""
    info = {
        "access_token": token or "hf_oauth_" + name * 10,
        "scope": scope,
        "expires_at": int(time.time() + expires_in_s),
        "userinfo": {"name": name.title(), "preferred_username": name, "profile": "", "picture": ""},
    }
    key = hashlib.sha256(f"{secret}-v4".encode()).hexdigest()
    data = base64.b64encode(json.dumps({"oauth_info": info}).encode())
    return "session=" + itsdangerous.TimestampSigner(key).sign(data).decode()


@contextlib.contextmanager
def visitor(url: str, cookie: str = "", **headers: str):
    """Yield a client of the app: somebody signed in, or nobody."""
    headers = {**({"Cookie": cookie} if cookie else {}), **headers}
    client = Client(url, verbose=False, headers=headers, httpx_kwargs={"timeout": 60})  # of a busy machine
    try:
        yield client
    finally:
        client.close()
