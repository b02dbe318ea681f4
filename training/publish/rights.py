"""May this token write to that repository? Asked before a training that is to be pushed, and before a push.

    rights = check_rights("ada/tweets", token=token)
    rights.user, rights.exists, rights.private

Nothing is created or changed by asking. Knows nothing about what is to be pushed.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
from huggingface_hub import constants

from training.publish.errors import HubSilent, NotAllowed, NotLoggedIn, PublishError, RepoConflict
from training.publish.session import LATER, Patience, bad_name, refusal, retry_after_s, translated

QUICK = Patience(timeout_s=10.0, connect_s=5.0, tries=3, longest_wait_s=5.0)
_NAME = re.compile(r"[\w][\w.-]{0,95}/(?!.*(?:--|\.\.))[\w][\w.-]{0,94}[\w]|[\w][\w.-]{0,95}/[\w]", re.ASCII)


@dataclass(frozen=True)
class Rights:
    """What a token may do with a repository."""

    user: str
    exists: bool
    private: bool
    """Whether the repository is private; False for one that does not exist."""
    head: str | None = None
    """The newest commit of its main branch, None for one that does not exist."""
    ours: bool = True
    """Whether the token may write there, and not only open a pull request."""


def check_name(repo_id: str) -> None:
    """Raise PublishError for what can't be OWNER/NAME."""
    if not _NAME.fullmatch(repo_id) or repo_id.endswith((".git", ".", "-")):
        raise bad_name(repo_id)


def check_rights(
    repo_id: str,
    *,
    token: str | None,
    endpoint: str | None = None,
    kind: str = "model",
    pr: bool = False,
    patience: Patience = QUICK,
) -> Rights:
    """Return what the token may do with a repository, which need not exist yet.

    `pr`: a pull request is enough. `kind`: "model" or "dataset". Raises a PublishError with the next step:
    NotLoggedIn, NotAllowed, RepoConflict, HubBusy or HubSilent.
    """
    check_name(repo_id)
    if not token:
        raise NotLoggedIn(
            "Nobody is logged in to the Hub. Log in with `hf auth login`, or set HF_TOKEN to a token that "
            "may write, from huggingface.co/settings/tokens."
        )
    if constants.is_offline_mode():
        raise HubSilent("The Hub is switched off by HF_HUB_OFFLINE. Unset it, then push again.")
    with _Asking(repo_id, token, endpoint or constants.ENDPOINT, patience) as ask:
        who = ask.json("/api/whoami-v2", "read who you are")
        found = ask.json(f"/api/{kind}s/{repo_id}", f"read {repo_id}", missing_is_none=True)
        user = str(who.get("name", ""))
        if found is None:
            if pr:
                raise RepoConflict(
                    f"There is no {repo_id} to open a pull request for. Leave out --pr, or check the name."
                )
            _check_may_create(repo_id, who)
            return Rights(user, exists=False, private=False)
        ours = _check_may_write(repo_id, who, ask, kind=kind, pr=pr)
        return Rights(user, True, bool(found.get("private")), found.get("sha"), ours)


class _Asking:
    """GET requests to the Hub's API, with time-outs, without the process's shared session."""

    def __init__(self, repo_id: str, token: str, endpoint: str, patience: Patience) -> None:
        self.repo_id, self.patience = repo_id, patience
        self.client = httpx2.Client(
            base_url=endpoint,
            headers={"authorization": f"Bearer {token}", "user-agent": "tweettune"},
            timeout=httpx2.Timeout(patience.timeout_s, connect=patience.connect_s),
        )

    def __enter__(self) -> "_Asking":
        return self

    def __exit__(self, *error: object) -> None:
        self.client.close()

    def get(self, path: str, doing: str) -> httpx2.Response:
        """Return the answer, whatever it is. Asks again while the Hub is busy; raises HubSilent."""
        for attempt in range(1, self.patience.tries + 1):
            try:
                response = self.client.get(path)
            except httpx2.HTTPError as error:
                if attempt == 1 and isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError):
                    continue  # a connection that broke once may hold the second time
                raise translated(error, doing, self.repo_id) from error
            wait_s = retry_after_s(response.headers) or 0.5 * attempt
            if response.status_code not in LATER or wait_s > self.patience.longest_wait_s:
                return response
            if attempt < self.patience.tries:
                time.sleep(wait_s)
        return response

    def json(self, path: str, doing: str, *, missing_is_none: bool = False) -> Any:
        """Return an answer's JSON. Raises PublishError for a refusal."""
        response = self.get(path, doing)
        code = response.headers.get("x-error-code", "")
        if missing_is_none and (response.status_code == 404 or code == "RepoNotFound"):
            return None
        if response.status_code >= 400:
            raise _refused(response, doing, self.repo_id)
        try:
            return response.json()
        except ValueError as error:
            raise PublishError(
                f"What answers at {self.client.base_url} is not the Hub (no JSON). Check HF_ENDPOINT."
            ) from error


def _refused(response: httpx2.Response, doing: str, repo_id: str) -> PublishError:
    said = response.headers.get("x-error-message", "")
    return refusal(response.status_code, response.headers, said, doing, repo_id)


def _token_of(who: Mapping[str, Any]) -> Mapping[str, Any]:
    return (who.get("auth") or {}).get("accessToken") or {}


def _check_may_write(repo_id: str, who: Mapping[str, Any], ask: _Asking, *, kind: str, pr: bool) -> bool:
    """Tell whether the token may write, True, or may only propose, False, which `pr` allows."""
    if _token_of(who).get("role") == "read":
        raise _reads_only(repo_id)
    response = ask.get(f"/api/{kind}s/{repo_id}/auth-check/write", f"write to {repo_id}")
    if response.status_code < 400:
        return True
    if response.status_code in (403, 404) and pr:
        return False
    if response.status_code == 403:
        raise NotAllowed(
            f"{who.get('name')} may not write to {repo_id} with this token. Take a token that may, at "
            "huggingface.co/settings/tokens, give another name, or push with --pr."
        )
    raise _refused(response, f"write to {repo_id}", repo_id)


def _check_may_create(repo_id: str, who: Mapping[str, Any]) -> None:
    owner, user = repo_id.split("/")[0], str(who.get("name"))
    orgs = {str(org.get("name")): org for org in who.get("orgs") or ()}
    token = _token_of(who)
    if token.get("role") == "read":
        raise _reads_only(repo_id)
    if owner != user and owner not in orgs:
        mine = ", ".join([user, *sorted(orgs)][:8])
        raise NotAllowed(
            f"{user} may not create repositories for {owner} (but for {mine}). "
            f"Give another name, such as {user}/{repo_id.split('/')[1]}."
        )
    if owner in orgs and orgs[owner].get("roleInOrg") == "read":
        raise NotAllowed(
            f"{user} may only read in {owner}. Ask for the right to write, or give another name."
        )
    if token.get("role") == "fineGrained" and not _granted(token, owner):
        raise NotAllowed(
            f"The fine-grained token may not create repositories for {owner}. Give it write access to all "
            f"repositories of {owner}, at huggingface.co/settings/tokens."
        )


def _granted(token: Mapping[str, Any], owner: str) -> bool:
    scoped = (token.get("fineGrained") or {}).get("scoped") or ()
    return any(
        (grant.get("entity") or {}).get("name") == owner and "repo.write" in (grant.get("permissions") or ())
        for grant in scoped
    )


def _reads_only(repo_id: str) -> NotAllowed:
    return NotAllowed(
        f"The token may only read, so {repo_id} can't be pushed to. "
        "Make one that may write, at huggingface.co/settings/tokens."
    )
