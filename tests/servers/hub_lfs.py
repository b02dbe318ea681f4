"""Large files of the local Hub: the LFS batch protocol, and a storage on a port of its own.

    large.batch(asked, repo)      # known files need no upload; large ones are sent in parts
    large.blob(sha256)            # -> Blob, None if it was never uploaded completely

As on the real Hub, the storage is another host: it takes signed addresses, and must never see a token. An
upload counts only if it is complete and has the announced hash. Knows the "basic" and
"multipart" transfers, not Xet's.
"""

import hashlib
import re
import secrets
import threading
from math import ceil
from pathlib import Path
from urllib.parse import quote

from tests.servers.hub_http import Asked, HttpServer, Refusal, Reply
from tests.servers.hub_rights import check_write
from tests.servers.hub_store import Blob, Repo, Store


class Large(HttpServer):
    """The storage, and the Hub's routes that lead there."""

    def __init__(self, hub, store: Store):
        super().__init__(hub.faults, hub.requests, hub.ending)
        self.hub, self.store = hub, store
        self._signatures: dict[str, str] = {}
        self._lock = threading.Lock()

    def blob(self, sha256: str) -> Blob | None:
        """Return an uploaded file."""
        path = self.store.large / sha256
        return Blob.large(path, sha256) if re.fullmatch(r"[0-9a-f]{64}", sha256) and path.is_file() else None

    def download_url(self, sha256: str) -> str:
        """Return a signed address for one file."""
        return self._signed(f"/get/{sha256}")

    def _signed(self, path: str) -> str:
        with self._lock:
            signature = self._signatures.setdefault(path, secrets.token_hex(16))
        return f"{self.url}{path}?X-Signature={signature}"

    # The Hub's routes

    def batch(self, hub, asked: Asked, repo: Repo) -> Reply:
        """Answer which files must be uploaded, and where to."""
        check_write(repo, hub.rights.of(asked), proposing=True)
        wanted = asked.json()
        assert wanted["operation"] == "upload" and wanted["hash_algo"] == "sha256", wanted
        return Reply(
            {
                "transfer": "multipart"
                if any(self._in_parts(o["size"]) for o in wanted["objects"])
                else "basic",
                "objects": [self._instructions(repo, o["oid"], o["size"]) for o in wanted["objects"]],
            }
        )

    def _in_parts(self, size: int) -> bool:
        return self.hub.part_size is not None and size > self.hub.part_size

    def _instructions(self, repo: Repo, oid: str, size: int) -> dict:
        if self.blob(oid):
            return {"oid": oid, "size": size}
        verify = {"href": f"{self.hub.endpoint}/{repo.path}.git/info/lfs/objects/verify"}
        if not self._in_parts(size):
            return {
                "oid": oid,
                "size": size,
                "actions": {"upload": {"href": self._signed(f"/put/{oid}")}, "verify": verify},
            }
        number = ceil(size / self.hub.part_size)
        header = {
            "chunk_size": str(self.hub.part_size),
            **{f"{n:05d}": self._signed(f"/part/{oid}/{n}") for n in range(1, number + 1)},
        }
        done = f"{self.hub.endpoint}/api/complete_multipart?oid={oid}&size={size}"
        return {
            "oid": oid,
            "size": size,
            "actions": {"upload": {"href": done, "header": header}, "verify": verify},
        }

    def verify(self, hub, asked: Asked, repo: Repo) -> Reply:
        """Confirm an upload."""
        wanted = asked.json()
        blob = self.blob(wanted["oid"])
        if blob is None or blob.size != wanted["size"]:
            raise Refusal(404, f"The object {wanted['oid']} was not uploaded")
        return Reply({})

    def complete(self, hub, asked: Asked) -> Reply:
        """Put the parts of a file together. The client sends no token here."""
        wanted, parts = asked.json(), []
        for part in wanted["parts"]:
            path = self.store.parts / f"{wanted['oid']}.{part['partNumber']}"
            if not path.is_file() or f'"{_hash(path)}"' != part["etag"]:
                raise Refusal(400, f"Part {part['partNumber']} was not uploaded")
            parts.append(path)
        whole = self.store.parts / f"{wanted['oid']}.whole.{secrets.token_hex(4)}"
        with whole.open("wb") as file:
            for path in parts:
                with path.open("rb") as source:
                    while piece := source.read(1 << 20):
                        file.write(piece)
        self._keep(whole, wanted["oid"], _hash(whole))
        for path in parts:
            path.unlink(missing_ok=True)
        return Reply({"success": True})

    # The storage

    def answer(self, asked: Asked) -> Reply:
        """Answer GET, HEAD and PUT of signed addresses."""
        path = asked.path
        if asked.query.get("X-Signature") != [self._signatures.get(path)]:
            raise Refusal(403, "SignatureDoesNotMatch")
        if "authorization" in asked.headers:
            raise Refusal(400, "Only one auth mechanism allowed")  # as S3 says it
        _, what, oid, *number = path.split("/")
        if what == "get" and asked.method in ("GET", "HEAD"):
            return Reply(self.store.large / oid, headers={"ETag": f'"{quote(oid)}"'})
        if asked.method != "PUT":
            raise Refusal(405, "MethodNotAllowed")
        arriving = self.store.parts / f"{oid}.arriving.{secrets.token_hex(4)}"
        found = hashlib.sha256()
        with arriving.open("wb") as file:
            for piece in asked.pieces():
                found.update(piece)
                file.write(piece)
        if what == "part":
            arriving.replace(self.store.parts / f"{oid}.{number[0]}")
            return Reply(b"", headers={"ETag": f'"{found.hexdigest()}"'})
        self._keep(arriving, oid, found.hexdigest())
        return Reply(b"")

    def _keep(self, path: Path, oid: str, found: str) -> None:
        if found != oid:
            path.unlink()
            raise Refusal(400, "The provided 'x-amz-checksum-sha256' header does not match what was computed")
        path.replace(self.store.large / oid)


def _hash(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            found.update(piece)
    return found.hexdigest()
