"""Spaces of the local Hub: settings, a build that takes some polls, logs. And buckets, as names to mount.

    space = hub.space("ada/demo")
    space.secrets, space.variables, space.hardware, space.volumes, space.stage
    space.url = server.url            # for space_info().host; by default https://ada-demo.hf.space
    space.polls = 3                   # how often its runtime is asked for until it runs
    space.ends_as = "RUNTIME_ERROR"; space.error = "exit code 1"      # or "BUILD_ERROR"
    space.logs["run"].append("Traceback …")

A commit to main rebuilds it; a changed secret, variable or volume restarts it. Nothing is really run. A
bucket has no files here, since they use Xet's protocol.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import yaml

from tests.servers.hub_http import Asked, Refusal, Reply
from tests.servers.hub_jobs import HARDWARE, events
from tests.servers.hub_repos import TIME, front_matter
from tests.servers.hub_rights import Bearer
from tests.servers.hub_store import Repo

RUNNING = ("RUNNING", "RUNNING_BUILDING", "RUNNING_APP_STARTING")
COMING_UP = ("BUILDING", "APP_STARTING", "RUNNING_BUILDING", "RUNNING_APP_STARTING")


@dataclass
class SpaceRecord:
    """A Space beside its files."""

    sdk: str
    url: str
    secrets: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    descriptions: dict[str, str] = field(default_factory=dict)
    hardware: str = "cpu-basic"
    sleep_time_s: int | None = None
    volumes: list[dict[str, Any]] = field(default_factory=list)
    stage: str = "NO_APP_FILE"
    polls: int = 2
    ends_as: str = "RUNNING"
    error: str | None = None
    logs: dict[str, list[str]] = field(default_factory=lambda: {"build": [], "run": []})
    builds: int = 0
    restarts: int = 0
    running_sha: str | None = None
    _polled: int = 0

    def begin(self, stage: str) -> None:
        """Begin to start up."""
        self.stage, self._polled = (f"RUNNING_{stage}" if self.stage in RUNNING else stage), 0

    def poll(self) -> None:
        """Advance the start, each time that the runtime is asked for."""
        if self.stage in COMING_UP:
            self._polled += 1
            if self._polled >= self.polls:
                self.stage = self.ends_as
            elif self._polled > 1:
                self.stage = self.stage.replace("BUILDING", "APP_STARTING")


class Spaces:
    """All Spaces, and the routes of their settings."""

    def __init__(self, hub):
        self.hub = hub
        self.records: dict[str, SpaceRecord] = {}
        self.buckets: dict[str, dict[str, Any]] = {}
        self.routes = [
            ("GET", "/runtime", "read", self._runtime),
            ("GET", "/secrets", "write", self._secrets),
            ("POST", "/secrets", "write", self._set),
            ("DELETE", "/secrets", "write", self._unset),
            ("GET", "/variables", "read", self._variables),
            ("POST", "/variables", "write", self._set),
            ("DELETE", "/variables", "write", self._unset),
            ("POST", "/hardware", "write", self._hardware),
            ("POST", "/sleeptime", "write", self._sleep_time),
            ("POST", "/(pause|restart)", "write", self._switch),
            ("PUT", "/volumes", "write", self._volumes),
            ("DELETE", "/volumes", "write", self._volumes),
            ("GET", "/logs/(build|run)", "write", self._logs),
        ]

    # What happens to the repository

    def check_new(self, payload: dict, bearer: Bearer) -> None:
        """Refuse a Space that its owner can't have. Raises Refusal."""
        if payload.get("sdk") not in ("gradio", "docker", "static", "streamlit"):
            raise Refusal(400, f"Invalid Space SDK: {payload.get('sdk')}")
        flavor = payload.get("hardware") or "cpu-basic"
        self._check_hardware(flavor)
        if not bearer.paying and payload["sdk"] != "static":
            raise Refusal(
                402, "A PRO subscription is required to create a Gradio Space on cpu-basic hardware."
            )

    def made(self, repo: Repo, payload: dict) -> None:
        """Record a new Space."""
        made = SpaceRecord(payload["sdk"], f"https://{_subdomain(repo)}.hf.space")
        made.hardware = payload.get("hardware") or "cpu-basic"
        made.sleep_time_s = payload.get("sleepTimeSeconds")
        made.volumes = list(payload.get("volumes") or [])
        for name, values in (("secrets", made.secrets), ("variables", made.variables)):
            for item in payload.get(name) or []:
                values[item["key"]] = item["value"]
        self.records[repo.name] = made

    def rebuild(self, repo: Repo) -> None:
        """Rebuild a Space from the files of main."""
        record, tree = self.records[repo.name], repo.tree()
        record.logs = {"build": ["===== Build Queued =====", "===== Building ====="], "run": []}
        try:
            card = front_matter(tree["README.md"].content().decode()) if "README.md" in tree else None
        except yaml.YAMLError:
            card = None
        if not card or "sdk" not in card:
            record.stage = "CONFIG_ERROR"
            return
        record.sdk = card["sdk"]
        needed = "Dockerfile" if card["sdk"] == "docker" else card.get("app_file", "app.py")
        if needed not in tree:
            record.stage = "NO_APP_FILE"
            return
        record.builds += 1
        record.running_sha = repo.refs["main"]
        record.begin("BUILDING")

    def shown(self, repo: Repo) -> dict[str, Any]:
        """Return the part of space_info that is for Spaces."""
        record = self.records[repo.name]
        return {
            "sdk": record.sdk,
            "subdomain": _subdomain(repo),
            "host": record.url,
            "runtime": self._said(record),
            "models": [],
            "datasets": [],
        }

    # The routes

    def _said(self, record: SpaceRecord) -> dict[str, Any]:
        running = record.stage in RUNNING
        said = {
            "stage": record.stage,
            "hardware": {"current": record.hardware if running else None, "requested": record.hardware},
            "storage": None,
            "gcTimeout": record.sleep_time_s or 172800,
            "replicas": {"current": int(running), "requested": 1},
            "devMode": False,
            "domains": [{"domain": record.url.split("://")[1], "stage": "READY"}],
            "sha": record.running_sha,
        }
        said |= {"volumes": record.volumes} if record.volumes else {}
        return said | ({"errorMessage": record.error} if record.error and "ERROR" in record.stage else {})

    def _runtime(self, hub, asked: Asked, repo: Repo) -> Reply:
        record = self.records[repo.name]
        record.poll()
        return Reply(self._said(record))

    def _listed(self, record: SpaceRecord, what: str) -> dict[str, Any]:
        now = datetime.now(UTC).strftime(TIME)
        values = record.secrets if what == "secrets" else record.variables
        return {
            key: {"key": key, "description": record.descriptions.get(key), "updatedAt": now}
            | ({"value": value} if what == "variables" else {})
            for key, value in values.items()
        }

    def _secrets(self, hub, asked: Asked, repo: Repo) -> Reply:
        return Reply(self._listed(self.records[repo.name], "secrets"))

    def _variables(self, hub, asked: Asked, repo: Repo) -> Reply:
        return Reply(self._listed(self.records[repo.name], "variables"))

    def _set(self, hub, asked: Asked, repo: Repo) -> Reply:
        record, wanted, what = self.records[repo.name], asked.json(), asked.path.rsplit("/", 1)[1]
        key, own = wanted["key"], record.secrets if what == "secrets" else record.variables
        if not key.replace("_", "a").isalnum() or key[0].isdigit():
            raise Refusal(400, f"Invalid key: {key}")
        if key in (record.variables if what == "secrets" else record.secrets):
            raise Refusal(400, f"Collision on {what}: {key} is a variable or a secret already")
        own[key] = str(wanted["value"])
        record.descriptions[key] = wanted.get("description", "")
        self._start_anew(record)
        return Reply(self._listed(record, what))

    def _unset(self, hub, asked: Asked, repo: Repo) -> Reply:
        record, what = self.records[repo.name], asked.path.rsplit("/", 1)[1]
        own, key = record.secrets if what == "secrets" else record.variables, asked.json()["key"]
        if own.pop(key, None) is None:
            raise Refusal(404, f"There is no {key}")
        self._start_anew(record)
        return Reply(self._listed(record, what))

    def _start_anew(self, record: SpaceRecord) -> None:
        if record.stage in RUNNING:
            record.restarts += 1
            record.begin("APP_STARTING")

    def _check_hardware(self, flavor: str) -> None:
        if flavor not in {row["name"] for row in HARDWARE} | {"zero-a10g"}:
            raise Refusal(400, f"Invalid hardware: {flavor}")

    def _hardware(self, hub, asked: Asked, repo: Repo) -> Reply:
        record, wanted = self.records[repo.name], asked.json()
        self._check_hardware(wanted["flavor"])
        if wanted["flavor"] != "cpu-basic" and not hub.rights.needed(asked).paying:
            raise Refusal(402, "Payment required: add a payment method to use this hardware.")
        record.hardware = wanted["flavor"]
        record.sleep_time_s = wanted.get("sleepTimeSeconds", record.sleep_time_s)
        self._start_anew(record)
        return Reply(self._said(record))

    def _sleep_time(self, hub, asked: Asked, repo: Repo) -> Reply:
        record = self.records[repo.name]
        record.sleep_time_s = asked.json()["seconds"]
        return Reply(self._said(record))

    def _switch(self, hub, asked: Asked, repo: Repo, what: str) -> Reply:
        record = self.records[repo.name]
        if what == "pause":
            record.stage = "PAUSED"
        else:
            record.restarts += 1
            record.begin("BUILDING" if "factory" in asked.query else "APP_STARTING")
        return Reply(self._said(record))

    def _volumes(self, hub, asked: Asked, repo: Repo) -> Reply:
        record = self.records[repo.name]
        wanted = asked.json()["volumes"] if asked.method == "PUT" else []
        for volume in wanted:
            if volume["type"] == "bucket" and volume["source"] not in self.buckets:
                raise Refusal(404, f"Bucket not found: {volume['source']}")
            if not volume["mountPath"].startswith("/") or volume["mountPath"] == "/":
                raise Refusal(400, f"Invalid mount path: {volume['mountPath']}")
        if asked.method == "DELETE" and not record.volumes:
            raise Refusal(400, "The Space has no volumes")
        record.volumes = wanted
        self._start_anew(record)
        return Reply({})

    def _logs(self, hub, asked: Asked, repo: Repo, what: str) -> Reply:
        record = self.records[repo.name]
        stream = events(record.logs[what], lambda: "ERROR" in record.stage, hub.ending)
        return Reply(headers={"Content-Type": "text/event-stream"}, stream=stream)

    def bucket(self, asked: Asked, bearer: Bearer | None, namespace: str, name: str) -> Reply:
        """Answer create_bucket, bucket_info and delete_bucket."""
        if bearer is None:
            raise Refusal(401, "Invalid username or password.")
        full = f"{bearer.name if namespace == 'me' else namespace}/{name}"
        url = f"{self.hub.endpoint}/buckets/{full}"
        if asked.method == "POST":
            if not bearer.may_create(full.split("/")[0]):
                raise Refusal(403, f"You don't have the rights to create a bucket under {namespace!r}")
            if full in self.buckets:
                raise Refusal(409, "You already created this bucket", url=url)
            private = asked.json().get("visibility") == "private"
            self.buckets[full] = {
                "id": full,
                "private": private,
                "size": 0,
                "totalFiles": 0,
                "createdAt": datetime.now(UTC).strftime(TIME),
            }
            return Reply({"url": url, "id": full})
        if full not in self.buckets or not bearer.belongs_to(full.split("/")[0]):
            raise Refusal(404, "Bucket not found", "RepoNotFound")
        return Reply(self.buckets.pop(full) if asked.method == "DELETE" else self.buckets[full])


def _subdomain(repo: Repo) -> str:
    return repo.name.replace("/", "-").replace("_", "-").replace(".", "-").lower()
