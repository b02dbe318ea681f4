"""May this token write to that repository? Asked before a training that is to be pushed, and before a push.

    rights = check_rights("ada/tweets", HfApi())
    rights.user, rights.exists, rights.private

Nothing is created or changed by asking.
"""

import re
from dataclasses import dataclass

from huggingface_hub import HfApi

from inference.common.hub import NotAllowedOnHub, NotOnHub, ask, bad_name, token_of
from inference.common.store import JsonObject
from training.publish.errors import RepoConflict

_NAME = re.compile(r"[\w][\w.-]{0,95}/(?!.*(?:--|\.\.))[\w][\w.-]{0,94}[\w]|[\w][\w.-]{0,95}/[\w]", re.ASCII)
_NEW_TOKEN = "Make one that may write, at huggingface.co/settings/tokens"


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

    def check_private(self, repo_id: str, *, private: bool) -> None:
        """Raise RepoConflict for a repository that is public where a private one was asked for."""
        if private and self.exists and not self.private:
            raise RepoConflict(
                f"{repo_id} is public, but --private was asked for. Make it private in its settings, give "
                "another name, or leave out --private."
            )


def check_name(repo_id: str) -> None:
    """Raise NotOnHub for what can't be OWNER/NAME."""
    if not _NAME.fullmatch(repo_id) or repo_id.endswith((".git", ".", "-")):
        raise bad_name(repo_id, "push there")


def check_rights(repo_id: str, api: HfApi, *, kind: str = "model", pr: bool = False) -> Rights:
    """Return what a login may do with a repository, which need not exist yet.

    `pr`: a pull request is enough. `kind`: "model" or "dataset". Raises a HubError with the next step, or
    RepoConflict for a pull request to a repository that is not there.
    """
    check_name(repo_id)
    doing = f"push to {repo_id}"
    token_of(api, doing)
    who = ask("read who you are", api.whoami)
    user = str(who.get("name", ""))
    token = (who.get("auth") or {}).get("accessToken") or {}
    try:
        found = ask(f"read {repo_id}", lambda: api.repo_info(repo_id, repo_type=kind), repo=repo_id)
    except NotOnHub:
        if pr:
            raise RepoConflict(
                f"There is no {repo_id} to open a pull request for. Leave out --pr, or check the name."
            ) from None
        found = None
    if token.get("role") == "read":
        raise NotAllowedOnHub(doing, "the token may only read", _NEW_TOKEN)
    if found is None:
        _check_may_create(repo_id, user, who, token)
        return Rights(user, exists=False, private=False)
    ours = True
    try:
        ask(doing, lambda: api.auth_check(repo_id, repo_type=kind, write=True), repo=repo_id)
    except (NotAllowedOnHub, NotOnHub) as error:
        if not pr:
            raise NotAllowedOnHub(
                doing,
                f"{user} may not write there with this token ({error.status})",
                "Take a token that may, at huggingface.co/settings/tokens, give another name, or push with "
                "--pr",
            ) from error
        ours = False
    return Rights(user, True, bool(found.private), found.sha, ours)


def _check_may_create(repo_id: str, user: str, who: JsonObject, token: JsonObject) -> None:
    owner, name = repo_id.split("/")
    doing = f"create {repo_id}"
    orgs = {str(org.get("name")): org for org in who.get("orgs") or ()}
    if owner != user and owner not in orgs:
        mine = ", ".join([user, *sorted(orgs)][:8])
        raise NotAllowedOnHub(
            doing,
            f"{user} may not create repositories for {owner} (but for {mine})",
            f"Give another name, such as {user}/{name}",
        )
    if owner in orgs and orgs[owner].get("roleInOrg") == "read":
        why = f"{user} may only read in {owner}"
        raise NotAllowedOnHub(doing, why, "Ask for the right to write, or give another name")
    if token.get("role") == "fineGrained" and not any(
        (grant.get("entity") or {}).get("name") == owner and "repo.write" in (grant.get("permissions") or ())
        for grant in (token.get("fineGrained") or {}).get("scoped") or ()
    ):
        raise NotAllowedOnHub(
            doing,
            f"the fine-grained token may not create repositories for {owner}",
            f"Give it write access to all repositories of {owner}, at huggingface.co/settings/tokens",
        )
