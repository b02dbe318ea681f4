"""Push a model to the Hub: one commit, verified, stamped; a push that was cut off goes on when started again.

    pushed = push(prepare("demo", "ada/tweets"), HfApi())
    pushed.commit_url, pushed.verified.largest_difference

In order: may the token write there; what has changed; one commit of it, on the parent it was compared with;
the repository is downloaded by that commit into an empty cache in a new process, and has to answer as the
model here; a second, small commit writes that into the card and verification.json. Large files that the Hub
has already are not sent again. Nothing changed: nothing is sent.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from inference.common.hub import HubBusy, HubSilent, Timeouts, ask, hub_session, token_of
from training.publish.errors import RepoConflict
from training.publish.files import CARD, VERIFICATION, Outgoing
from training.publish.plan import Plan, stamped_card
from training.publish.remote import (
    PUSH_TIMEOUTS,
    Changes,
    Remote,
    check_card,
    compare,
    create,
    read_remote,
    send,
)
from training.publish.rights import Rights, check_rights
from training.publish.scan import check, check_secret
from training.publish.verify import PROBES, Answers, Verified, Verifier
from training.runs.provenance import versions

TITLE = "TweetTune: push of"


@dataclass(frozen=True)
class Step:
    """A push's progress."""

    phase: str
    """rights, compare, upload, commit, verify, stamp or done."""
    text: str = ""
    """A sentence for people."""
    done: int | None = None
    """Bytes that have gone out, while uploading."""
    total: int | None = None


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """A push that succeeded."""

    repo_id: str
    commit: str
    """The commit that was verified."""
    commit_url: str
    pr_url: str | None
    changed: bool
    """False when the Hub had it all, and nothing was sent."""
    verified: Verified
    notes: tuple[str, ...] = ()


Progress = Callable[[Step], None]


def push(
    plan: Plan,
    api: HfApi,
    *,
    progress: Progress = lambda step: None,
    timeouts: Timeouts = PUSH_TIMEOUTS,
    verifier: Callable[..., Verifier] = Verifier,
) -> Pushed:
    """Push a plan. Raises a PublishError or a HubError, in one sentence with the next step.

    Whatever ends it, the repository holds all of it or none.
    """
    to, counter = plan.destination, _Counter(progress)
    try:
        with hub_session(timeouts, sent=counter.sent):
            progress(Step("rights", f"Asking the Hub whether the token may write to {to.repo_id}."))
            rights = check_rights(to.repo_id, api, pr=to.pr)
            check_secret(plan.files, token_of(api, f"push to {to.repo_id}"))
            rights.check_private(to.repo_id, private=to.private)

            def verifying() -> Verifier:
                return verifier(plan.artifact, api, timeout_s=timeouts.answer_s)

            return _Push(plan, api, rights, counter, verifying).run()
    except (HubBusy, HubSilent) as error:
        raise error.changed(todo=f"{error.todo}; what has arrived is not sent twice") from error


class _Counter:
    """Reports how much has gone out."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.total = self.done = 0

    def sent(self, count: int) -> None:
        self.done += count
        self.step("upload", done=min(self.done, self.total), total=self.total)

    def step(self, phase: str, text: str = "", *, done: int | None = None, total: int | None = None) -> None:
        self.progress(Step(phase, text, done, total))


class _Push:
    def __init__(
        self, plan: Plan, api: HfApi, rights: Rights, counter: _Counter, verifying: Callable[[], Verifier]
    ) -> None:
        self.plan, self.api, self.rights, self.counter = plan, api, rights, counter
        self.verifying = verifying
        self.to = plan.destination
        self.notes: list[str] = []
        place = plan.artifact.absolute()
        self.title = f"{TITLE} {place.parent.name if place.name == 'artifact' else place.name}"
        self.branch = "main"
        self.pr_url = self._open_pr() if self.to.pr else None

    def run(self) -> Pushed:
        self._create()
        self.counter.step("compare", f"Comparing {len(self.plan.files)} files with {self.to.repo_id}.")
        remote = read_remote(self.api, self.to.repo_id, revision=self.branch)
        changes, verified = self._changes(remote)
        if verified and not changes:
            self.counter.step("done", f"{self.to.repo_id} has it all already: nothing was sent.")
            return self._pushed(verified.commit, verified, changed=False)
        with self.verifying() as verifier:
            commit = self._commit(changes, remote) if changes else remote.head
            self.counter.step("verify", f"Downloading commit {commit[:7]} again, in a new process.")
            found, answers = verifier.verify(self.to.repo_id, commit, adapter_only=self.to.adapter_only)
        self._stamp(commit, found, answers)
        self.counter.step("done", f"Verified at commit {commit[:7]}.")
        return self._pushed(commit, found, changed=True)

    def _pushed(self, commit: str, verified: Verified, *, changed: bool) -> Pushed:
        url = f"{self.api.endpoint}/{self.to.repo_id}/commit/{commit}"
        return Pushed(
            repo_id=self.to.repo_id,
            commit=commit,
            commit_url=url,
            pr_url=self.pr_url,
            changed=changed,
            verified=verified,
            notes=tuple(self.notes),
        )

    def _create(self) -> None:
        repo_id, private = self.to.repo_id, self.to.private
        if self.rights.exists:
            if self.rights.private and not private:
                self.notes.append(f"{repo_id} is private and stays so; its settings can make it public.")
            return
        create(self.api, repo_id, private=private)
        self.counter.step("compare", f"Created {repo_id}, {'private' if private else 'public'}.")

    def _open_pr(self) -> str | None:
        """Go on with the pull request that an earlier push of this user has opened, if it is still open."""
        found = ask(
            f"read the pull requests of {self.to.repo_id}",
            lambda: list(
                self.api.get_repo_discussions(
                    self.to.repo_id,
                    author=self.rights.user,
                    discussion_type="pull_request",
                    discussion_status="open",
                )
            ),
            repo=self.to.repo_id,
        )
        ours = [one for one in found if one.title == self.title and one.author == self.rights.user]
        if not ours:
            return None
        self.branch = f"refs/pr/{ours[0].num}"
        return f"{self.api.endpoint}/{self.to.repo_id}/discussions/{ours[0].num}"

    def _changes(self, remote: Remote) -> tuple[Changes, Verified | None]:
        """Return the changes to send, and the verification that still holds when there are none.

        The card on the Hub carries the stamp of the last verification, so it is compared with that in it.
        """
        verified = remote.verified
        files = self.plan.files
        if verified:
            stamped = stamped_card(self.plan, verified)
            changes = compare([stamped if f.path_in_repo == CARD else f for f in files], remote)
            if not changes:
                return changes, verified
        changes = compare(files, remote)
        if not self.to.pr and any(file.path_in_repo == CARD for file in changes.add):
            check_card(remote)
        if changes.foreign:
            self.notes.append(
                f"{len(changes.foreign)} files of {self.to.repo_id} are not ours and stay as they are."
            )
        return changes, None

    def _commit(self, changes: Changes, remote: Remote) -> str:
        """Send what has changed, in one commit on what it was compared with. Returns its id.

        The record of an earlier verification goes with the model that it was about.
        """
        self.counter.total = sum(file.size for file in changes.add)
        self.counter.step("upload", f"Sending {len(changes.add)} files.", done=0, total=self.counter.total)
        stale = [VERIFICATION] if changes.of_the_model and VERIFICATION in remote.files else []
        gone = [CommitOperationDelete(name) for name in (*changes.remove, *stale)]
        description = f"{len(changes.add)} files, {len(gone)} removed; by TweetTune."
        commit = self._send(
            [*_adds(changes.add), *gone], remote.head, title=self.title, description=description
        )
        self.counter.step(
            "upload", f"Committed {commit[:7]}.", done=self.counter.total, total=self.counter.total
        )
        return commit

    def _send(
        self,
        operations: Sequence[CommitOperationAdd | CommitOperationDelete],
        parent: str,
        *,
        title: str,
        description: str = "",
    ) -> str:
        opens = self.to.pr and self.branch == "main"
        made = send(
            self.api,
            self.to.repo_id,
            operations,
            commit_message=title,
            commit_description=description,
            parent_commit=parent,
            revision=self.branch,
            create_pr=opens,
        )
        if opens and made.pr_url:
            self.pr_url, self.branch = made.pr_url, f"refs/pr/{made.pr_url.rstrip('/').split('/')[-1]}"
        return str(made.oid)

    def _stamp(self, commit: str, verified: Verified, answers: Answers) -> None:
        self.counter.step("stamp", "Writing the verification into the card.")
        record = {
            "verified": dataclasses.asdict(verified),
            "texts": list(PROBES),
            "labels": list(answers.labels),
            "probabilities": [[round(chance, 6) for chance in row] for row in answers.probabilities],
            "versions": versions(),
        }
        content = (json.dumps(record, ensure_ascii=False, indent=1) + "\n").encode()
        files = [stamped_card(self.plan, verified), Outgoing.of(VERIFICATION, content)]
        check(files, secrets=self.plan.secrets)
        try:
            self._send(_adds(files), commit, title=f"Verified at commit {commit[:7]}")
        except RepoConflict as error:
            raise RepoConflict(
                f"The model is in {self.to.repo_id}, verified at commit {commit[:7]}, but the repository has "
                "changed since, so its card does not say so yet. Start the same push again to write that."
            ) from error


def _adds(files: Sequence[Outgoing]) -> list[CommitOperationAdd]:
    return [
        CommitOperationAdd(f.path_in_repo, f.source if isinstance(f.source, bytes) else str(f.source))
        for f in files
    ]
