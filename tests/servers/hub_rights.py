"""Who may do what on the local Hub: users, organizations, and tokens with their roles.

    rights = Rights()
    rights.add("ada", "hf_…", orgs=("crew",), role="write")
    bearer = rights.of("hf_…")
    bearer.may_write(repo)

Roles: "write", "read", "fine-grained" (`scopes`: {"ada": ["repo.write"], "ada/model": ["repo.content.read"]},
or a plain list, which is for the user's own namespace), "oauth" (`scopes`: Sign in with Hugging Face's, as
["contribute-repos"]: may create repositories, and write those that it has created).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.servers.hub_http import Asked, Refusal
from tests.servers.hub_store import Repo

BAD_TOKEN = "Invalid credentials in Authorization header"
NO_TOKEN = "Invalid username or password."


@dataclass(frozen=True)
class Bearer:
    """A token and its user."""

    token: str
    name: str
    orgs: tuple[str, ...]
    role: str
    scopes: Mapping[str, Sequence[str]] | Sequence[str]
    paying: bool

    def belongs_to(self, namespace: str) -> bool:
        """Whether the user is, or is a member of, the namespace."""
        return namespace == self.name or namespace in self.orgs

    def _granted(self, namespace: str, repo: str | None) -> set[str]:
        """Return the scopes of a fine-grained token there."""
        if not isinstance(self.scopes, Mapping):
            return set(self.scopes) if namespace == self.name else set()
        return {p for place in (namespace, repo) if place for p in self.scopes.get(place, ())}

    def may_read(self, repo: Repo) -> bool:
        """Whether a private repository may be read."""
        if not self.belongs_to(repo.owner):
            return False
        if self.role == "fine-grained":
            return bool(self._granted(repo.owner, repo.name) & {"repo.content.read", "repo.write"})
        if self.role == "oauth":
            return self._oauth(repo, "read-repos", "write-repos", "manage-repos")
        return True

    def may_write(self, repo: Repo) -> bool:
        """Whether commits and settings are allowed."""
        if not self.belongs_to(repo.owner):
            return False
        if self.role == "fine-grained":
            return "repo.write" in self._granted(repo.owner, repo.name)
        if self.role == "oauth":
            return self._oauth(repo, "write-repos", "manage-repos")
        return self.role == "write"

    def may_create(self, namespace: str) -> bool:
        """Whether repositories may be created there."""
        if not self.belongs_to(namespace):
            return False
        if self.role == "fine-grained":
            return "repo.write" in self._granted(namespace, None)
        if self.role == "oauth":
            return bool(set(self.scopes) & {"contribute-repos", "manage-repos"})
        return self.role == "write"

    def may_run_jobs(self, namespace: str) -> bool:
        """Whether jobs may run at the namespace's cost."""
        if not self.belongs_to(namespace):
            return False
        if self.role == "fine-grained":
            return "job.write" in self._granted(namespace, None)
        return "jobs" in self.scopes if self.role == "oauth" else self.role == "write"

    def may_propose(self) -> bool:
        """Whether the token may open pull requests at all."""
        return self.role != "read"

    def _oauth(self, repo: Repo, *scopes: str) -> bool:
        own = "contribute-repos" in self.scopes and repo.created_by_app
        return own or bool(set(self.scopes) & set(scopes))

    def whoami(self) -> dict:
        """Return the answer of /api/whoami-v2."""
        said = {
            "type": "user",
            "id": f"{abs(hash(self.name)):024x}"[:24],
            "name": self.name,
            "fullname": self.name.title(),
            "email": f"{self.name}@example.com",
            "emailVerified": True,
            "canPay": self.paying,
            "isPro": self.paying,
            "periodEnd": None,
            "avatarUrl": "/avatar.svg",
            "orgs": [
                {
                    "type": "org",
                    "id": f"{n:024x}",
                    "name": org,
                    "fullname": org,
                    "roleInOrg": "write",
                    "avatarUrl": "/avatar.svg",
                    "isEnterprise": False,
                    "canPay": False,
                }
                for n, org in enumerate(self.orgs)
            ],
        }
        if self.role == "oauth":
            return said | {"auth": {"type": "app_token_as_user", "expiresAt": "2099-01-01T00:00:00.000Z"}}
        role = "fineGrained" if self.role == "fine-grained" else self.role
        shown = {"displayName": "made for a test", "role": role, "createdAt": "2026-01-01T00:00:00.000Z"}
        if self.role == "fine-grained":
            scopes = self.scopes if isinstance(self.scopes, Mapping) else {self.name: self.scopes}
            shown["fineGrained"] = {
                "canReadGatedRepos": False,
                "global": [],
                "scoped": [
                    {
                        "entity": {
                            "_id": "0" * 24,
                            "type": "model" if "/" in place else "user",
                            "name": place,
                        },
                        "permissions": list(permissions),
                    }
                    for place, permissions in scopes.items()
                ],
            }
        return said | {"auth": {"type": "access_token", "accessToken": shown}}


class Rights:
    """All tokens that the Hub knows."""

    def __init__(self):
        self._bearers: dict[str, Bearer] = {}

    def add(self, name, token, *, orgs=(), role="write", scopes=(), paying=True) -> Bearer:
        """Give a user a token; another call gives the same user another one."""
        assert role in ("read", "write", "fine-grained", "oauth"), role
        self._bearers[token] = bearer = Bearer(token, name, tuple(orgs), role, scopes, paying)
        return bearer

    def token_of(self, name: str) -> str:
        """Return a user's first token."""
        return next(bearer.token for bearer in self._bearers.values() if bearer.name == name)

    def of(self, asked: Asked) -> Bearer | None:
        """Return the caller, None without a token. Raises Refusal for an unknown token."""
        if asked.token is None:
            return None
        if asked.token not in self._bearers:
            raise Refusal(401, BAD_TOKEN)
        return self._bearers[asked.token]

    def needed(self, asked: Asked) -> Bearer:
        """Return the caller. Raises Refusal without a token."""
        bearer = self.of(asked)
        if bearer is None:
            raise Refusal(401, NO_TOKEN)
        return bearer


def check_read(repo: Repo | None, bearer: Bearer | None) -> Repo:
    """Return the repository if it exists and may be seen. Raises Refusal.

    The real Hub answers a stranger with 401 and no code, and the client takes that for a missing repository
    by the address, which begins with https. Over plain http it needs the code.
    """
    if repo is None or (repo.private and not (bearer and bearer.may_read(repo))):
        raise Refusal(404 if bearer else 401, "Repository not found" if bearer else NO_TOKEN, "RepoNotFound")
    return repo


def check_gate(repo: Repo, bearer: Bearer | None) -> None:
    """Raise Refusal if the caller may not have a gated repository's files; its information is public."""
    if not repo.gated or (bearer and (bearer.belongs_to(repo.owner) or bearer.name in repo.allowed)):
        return
    if bearer is None:
        text = f"Access to {repo.kind} {repo.name} is restricted. You must have access to it and be authenticated to access it. Please log in."  # noqa: E501
        raise Refusal(401, text, "GatedRepo")
    text = f"Access to {repo.kind} {repo.name} is restricted and you are not in the authorized list. Visit http://hub.local/{repo.name} to ask for access."  # noqa: E501
    raise Refusal(403, text, "GatedRepo")


def check_write(repo: Repo, bearer: Bearer | None, *, proposing: bool = False) -> Bearer:
    """Return the caller if they may write there, or propose. Raises Refusal."""
    if bearer is None:
        raise Refusal(401, NO_TOKEN)
    if bearer.may_write(repo) or (proposing and bearer.may_propose()):
        return bearer
    if bearer.role == "read":
        raise Refusal(403, "Forbidden: you must use a write token to upload to a repository.")
    if not bearer.belongs_to(repo.owner):
        raise Refusal(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")
    raise Refusal(403, "Authorization error.")
