"""Jobs of the local Hub: it keeps the requested specs, and a function of the test does the work.

    def work(job):                            # in a thread of its own
        job.logs.append("epoch 1")            # goes to everybody who follows the logs
        subprocess.run(job.spec["command"], env=job.spec["environment"] | job.spec["secrets"])

    hub.on_job = work                         # it returns: COMPLETED; it raises: ERROR; None: RUNNING stays
    hub.jobs[0].spec, hub.jobs[0].status, hub.jobs[0].ended.is_set()

`job.ended` is set when the job is cancelled or exceeds its time-out: long work checks it. The prices are
those of the real Hub in autumn 2025. Not known: metrics, ports, networks, schedules.
"""

import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.servers.hub_http import Asked, Refusal, Reply
from tests.servers.hub_repos import TIME
from tests.servers.hub_rights import NO_TOKEN, Bearer

OVER = ("COMPLETED", "CANCELED", "ERROR", "DELETED")
DEFAULT_TIMEOUT_S = 1800


def _hardware(name, title, cpu, ram, micro_usd_a_minute, model=None, vram=None):
    accelerator = {"type": "gpu", "model": model, "quantity": "1", "vram": vram, "manufacturer": "Nvidia"}
    return {
        "name": name,
        "prettyName": title,
        "cpu": cpu,
        "ram": ram,
        "ephemeralStorage": "50 GB",
        "accelerator": accelerator if model else None,
        "unitCostMicroUSD": micro_usd_a_minute,
        "unitCostUSD": micro_usd_a_minute / 1e6,
        "unitLabel": "minute",
    }


HARDWARE = [
    _hardware("cpu-basic", "CPU Basic", "2 vCPU", "16 GB", 167),
    _hardware("cpu-upgrade", "CPU Upgrade", "8 vCPU", "32 GB", 500),
    _hardware("t4-small", "Nvidia T4 - small", "4 vCPU", "15 GB", 6_667, "T4", "16 GB"),
    _hardware("t4-medium", "Nvidia T4 - medium", "8 vCPU", "30 GB", 10_000, "T4", "16 GB"),
    _hardware("l4x1", "1x Nvidia L4", "8 vCPU", "30 GB", 13_333, "L4", "24 GB"),
    _hardware("a10g-small", "Nvidia A10G - small", "4 vCPU", "15 GB", 16_667, "A10G", "24 GB"),
    _hardware("a10g-large", "Nvidia A10G - large", "12 vCPU", "46 GB", 25_000, "A10G", "24 GB"),
    _hardware("a100-large", "Nvidia A100 - large", "12 vCPU", "142 GB", 41_667, "A100", "80 GB"),
]


@dataclass
class JobRecord:
    """A job. `spec` is what was posted, secrets included; `status` is the stage, and may be set."""

    id: str
    namespace: str
    spec: dict[str, Any]
    status: str = "SCHEDULING"
    logs: list[str] = field(default_factory=list)
    message: str | None = None
    ended: threading.Event = field(default_factory=threading.Event)
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: datetime | None = None
    finished: datetime | None = None

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.status in OVER

    def end(self, status: str, message: str | None = None) -> None:
        """End it, unless it has ended already."""
        if not self.over:
            self.status, self.message, self.finished = status, message, datetime.now(UTC)
        self.ended.set()

    def shown(self) -> dict[str, Any]:
        """Return the answer of inspect_job: the names of secrets, never their values."""
        owner = {"id": "0" * 24, "name": self.namespace, "type": "user"}
        spec = {key: value for key, value in self.spec.items() if key not in ("secrets", "timeoutSeconds")}
        times = {"createdAt": self.created, "startedAt": self.started, "finishedAt": self.finished}
        return (
            spec
            | {
                "id": self.id,
                "owner": owner,
                "initiator": owner | {"type": "user"},
                "timeout": self.spec.get("timeoutSeconds", DEFAULT_TIMEOUT_S),
                "secrets": dict.fromkeys(self.spec.get("secrets") or {}, ""),
                "status": {"stage": self.status, "message": self.message},
            }
            | {name: at.strftime(TIME) if at else None for name, at in times.items()}
        )


def events(lines: list[str], over: Callable[[], bool], ending: threading.Event) -> Iterator[bytes]:
    """Yield log lines as server-sent events, as they come, until the job has ended."""
    sent, beat = 0, time.monotonic()
    while True:
        last = over()  # asked before the lines: none is left behind
        while sent < len(lines):
            event = {"data": lines[sent], "timestamp": datetime.now(UTC).strftime(TIME)}
            yield f"data: {json.dumps(event)}\n\n".encode()
            sent += 1
        if last or ending.is_set():
            return
        if time.monotonic() - beat > 30:
            beat = time.monotonic()
            yield b": keep-alive\n\n"
        ending.wait(0.02)


class Jobs:
    """All jobs and their routes."""

    def __init__(self, hub):
        self.hub = hub
        self.records: list[JobRecord] = []
        self.work: Callable[[JobRecord], None] | None = None
        self._threads: list[threading.Thread] = []
        self._numbers = itertools.count(0x687F_B701_0294)

    def stop(self) -> None:
        """End what runs, and wait for the work to notice."""
        for job in self.records:
            job.end("CANCELED")
        for thread in self._threads:
            thread.join(5)

    def hardware(self, hub, asked: Asked) -> Reply:
        """Answer list_spaces_hardware and list_jobs_hardware."""
        return Reply(HARDWARE)

    def answer(self, asked: Asked, bearer: Bearer | None) -> Reply:
        """Answer the routes below /api/jobs/."""
        if asked.path == "/api/jobs/hardware":
            return Reply(HARDWARE)
        if bearer is None:
            raise Refusal(401, NO_TOKEN)
        found = re.fullmatch(r"/api/jobs/([^/]+)(?:/([^/]+))?(?:/([^/]+))?", asked.path)
        if found is None:
            raise Refusal(404, "Not here")
        namespace, job_id, what = found.groups()
        if not bearer.may_run_jobs(namespace):
            raise Refusal(403, f"Your token may not run jobs for {namespace}: it needs the right job.write.")
        if job_id is None:
            return (
                self._create(asked, bearer, namespace)
                if asked.method == "POST"
                else self._list(asked, namespace)
            )
        job = next((j for j in self.records if (j.id, j.namespace) == (job_id, namespace)), None)
        if job is None:
            raise Refusal(404, "Job not found")
        if what == "logs":
            return self._logs(asked, job)
        if what == "cancel" and asked.method == "POST":
            job.end("CANCELED")
            return Reply(job.shown())
        if what is not None:
            raise Refusal(406 if what == "metrics" else 404, f"Not here: {what}")
        return Reply(job.shown())

    def _create(self, asked: Asked, bearer: Bearer, namespace: str) -> Reply:
        spec = asked.json()
        if spec.get("flavor") not in {row["name"] for row in HARDWARE}:
            raise Refusal(400, f"Invalid flavor: {spec.get('flavor')}")
        if not (spec.get("dockerImage") or spec.get("spaceId")) or not spec.get("command"):
            raise Refusal(400, "A job needs an image and a command")
        if not bearer.paying:
            raise Refusal(
                402, "Pre-paid credit balance is insufficient - add more credits to your account to use Jobs."
            )
        job = JobRecord(f"{next(self._numbers):024x}", namespace, spec)
        self.records.append(job)
        for target in (self._run, self._watch):
            thread = threading.Thread(target=target, args=(job,), daemon=True, name=f"job-{job.id}")
            self._threads.append(thread)
            thread.start()
        return Reply(job.shown())

    def _run(self, job: JobRecord) -> None:
        job.started, job.status = datetime.now(UTC), "RUNNING"
        job.logs.append(f"===== Job started at {job.started:%Y-%m-%d %H:%M:%S} =====")
        if self.work is None:
            return  # the test sets the status
        try:
            self.work(job)
        except (RuntimeError, OSError, AssertionError) as error:
            job.end("ERROR", f"Job failed: {error}")
        job.end("COMPLETED")

    def _watch(self, job: JobRecord) -> None:
        if not job.ended.wait(job.spec.get("timeoutSeconds", DEFAULT_TIMEOUT_S)):
            job.end("ERROR", "Job timeout")

    def _list(self, asked: Asked, namespace: str) -> Reply:
        stages = asked.query.get("stage")
        labels = [label.split("=", 1) for label in asked.query.get("label", [])]
        return Reply(
            [
                job.shown()
                for job in reversed(self.records)
                if job.namespace == namespace
                and (not stages or job.status in stages)
                and all((job.spec.get("labels") or {}).get(key) == value for key, value in labels)
            ]
        )

    def _logs(self, asked: Asked, job: JobRecord) -> Reply:
        lines = job.logs
        if tail := asked.query.get("tail"):
            lines = job.logs[-int(tail[0]) :] if job.over else lines
        return Reply(
            headers={"Content-Type": "text/event-stream"},
            stream=events(lines, lambda: job.over, self.hub.ending),
        )
