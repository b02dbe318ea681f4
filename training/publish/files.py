"""Which files of an artifact leave the machine: an allow-list, by name; the rest stays, and is counted.

    files, left_out = collect(Path("runs/demo/artifact"), adapter_only=False)

No optimizer state, no pickle and no data is on the list. provenance.json goes with names in place of this
machine's paths. `scan` checks every byte of what goes.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from inference.artifact import (
    ADAPTER,
    BASE_HEAD,
    EVALUATION,
    ONNX_FOLDER,
    PARITY,
    PROVENANCE,
    REFERENCE,
    read_record,
)
from inference.common.store import JsonObject, sha256_of
from inference.engine.parity import FLOAT32, INT8, STANDARD
from training.publish.errors import NotPublishable
from training.runs.provenance import read_provenance

CARD = "README.md"
VERIFICATION = "verification.json"
LOADING = "classifier_config.json"
"""The file of what an adapter lacks: labels, pad token, depth."""
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
PUSHED = "pushed"
"""The key of provenance.json that names all files of a push."""
_RECORDS = (EVALUATION, PROVENANCE, REFERENCE, "examples.json")
ONNX_FILES = tuple(f"{ONNX_FOLDER}/{name}" for name in (FLOAT32, INT8, STANDARD, PARITY))
_WHOLE = (
    "config.json",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    BASE_HEAD,
    f"{ADAPTER}/adapter_config.json",
    f"{ADAPTER}/adapter_model.safetensors",
    *ONNX_FILES,
)
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
_SHOWN = (CARD, VERIFICATION, "assets/*.png", ".eval_results/*.yaml")
_MADE = (*_SHOWN, LOADING)
ALLOWED = (*TOKENIZER, *_RECORDS, *_WHOLE, *_ADAPTER, *_MADE)
"""All that a push may ever write, as patterns of paths in the repository."""
_LOCAL = re.compile(r"(?:[/~\\]|[A-Za-z]:[\\/]|file:)")


@dataclass(frozen=True)
class Outgoing:
    """One file of a push."""

    path_in_repo: str
    source: Path | bytes
    size: int

    @classmethod
    def of(cls, path_in_repo: str, source: Path | bytes) -> "Outgoing":
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        return cls(path_in_repo, source, size)

    def pieces(self) -> Iterator[bytes]:
        if isinstance(self.source, bytes):
            yield self.source
            return
        with self.source.open("rb") as file:
            while piece := file.read(1 << 24):
                yield piece

    @property
    def content(self) -> bytes:
        return b"".join(self.pieces())

    @cached_property
    def git_sha1(self) -> str:
        """The name that git gives to it."""
        found = hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        for piece in self.pieces():
            found.update(piece)
        return found.hexdigest()

    @cached_property
    def sha256(self) -> str:
        """The name that the large storage gives to it."""
        return sha256_of(self.source)


def allowed(path_in_repo: str) -> bool:
    """Whether a push may write, or remove, a file of this name."""
    return _is_one_of(path_in_repo, ALLOWED)


def is_metadata(path_in_repo: str) -> bool:
    """Whether a file is metadata that does not change predictions."""
    return _is_one_of(path_in_repo, (*_RECORDS, *_SHOWN))


def _is_one_of(path_in_repo: str, patterns: Iterable[str]) -> bool:
    path = PurePosixPath(path_in_repo)
    return any(
        path.match(pattern) and len(path.parts) == len(PurePosixPath(pattern).parts) for pattern in patterns
    )


def name_all(files: Sequence[Outgoing]) -> list[Outgoing]:
    """Return the files of a push, all named in its provenance.json, so that a later push knows them."""
    known = {file.path_in_repo: file for file in files}
    record = json.loads(known[PROVENANCE].content) if PROVENANCE in known else {}
    known[PROVENANCE] = _json(PROVENANCE, {**record, PUSHED: sorted({*known, PROVENANCE})})
    return [known[name] for name in sorted(known)]


def collect(artifact: Path, *, adapter_only: bool) -> tuple[list[Outgoing], list[str]]:
    """Return the files to push, without the card, and the names of those that stay.

    Raises NotPublishable when there is no adapter to push alone, or a file is not what its name says.
    """
    patterns = [*TOKENIZER, *_RECORDS, *(() if adapter_only else _WHOLE)]
    found = {path for pattern in patterns for path in artifact.glob(pattern) if path.is_file()}
    files = {path.relative_to(artifact).as_posix(): path for path in found}
    if adapter_only:
        files |= _adapter_files(artifact)
    made = {name: Outgoing.of(name, path) for name, path in files.items()}
    for name in made:
        _check_content(made[name])
    if provenance := public_provenance(artifact):
        made[PROVENANCE] = provenance
    if adapter_only:
        made["adapter_config.json"] = _json("adapter_config.json", _pinned(artifact))
        made[LOADING] = _json(LOADING, loading_facts(artifact))
    everything = {path.relative_to(artifact).as_posix() for path in artifact.rglob("*") if path.is_file()}
    taken = {path.relative_to(artifact).as_posix() for path in files.values()}
    stays = {name for name in everything - taken if name != CARD and not name.startswith("assets/")}
    return [made[name] for name in sorted(made)], sorted(stays)


def _adapter_files(artifact: Path) -> dict[str, Path]:
    files = {name: artifact / ADAPTER / name for name in _ADAPTER}
    missing = [name for name, path in files.items() if not path.is_file()]
    if missing:
        raise NotPublishable(
            f"{artifact} has no {ADAPTER}/{missing[0]}, so there is no adapter to push alone. "
            "Leave out --adapter-only, or train with method = lora."
        )
    return files


def _pinned(artifact: Path) -> JsonObject:
    """Return the adapter's config with the base's commit. Raises NotPublishable without one."""
    base = read_provenance(artifact).base
    if not base.commit:
        raise NotPublishable(
            f"An adapter needs the very base that it was trained on, and this one ({base.name or 'unknown'}, "
            f"{base.revision or 'unknown'}) is no commit of the Hub, so nobody could load it alone. "
            "Leave out --adapter-only."
        )
    config = read_record(artifact / ADAPTER, "adapter_config.json") or {}
    return {**config, "base_model_name_or_path": base.name, "revision": base.commit}


def loading_facts(artifact: Path) -> JsonObject:
    """Return the settings that the base's config needs so that an adapter fits onto it."""
    config = read_record(artifact, "config.json") or {}
    names = config.get("id2label") or {}
    depth = "n_layer" if "n_layer" in config else "num_hidden_layers"
    facts = {
        "num_labels": len(names),
        "id2label": names,
        "label2id": config.get("label2id"),
        "pad_token_id": config.get("pad_token_id"),
        depth: config.get(depth),
        "problem_type": "single_label_classification",
    }
    return {key: value for key, value in facts.items() if value is not None}


def _json(name: str, record: JsonObject) -> Outgoing:
    return Outgoing.of(name, (json.dumps(record, ensure_ascii=False, indent=2) + "\n").encode())


def _check_content(file: Outgoing) -> None:
    """Raise NotPublishable for weights that are something else: a pickle, say."""
    suffix = PurePosixPath(file.path_in_repo).suffix
    start = next(file.pieces(), b"")[:1024]
    wrong = (
        (suffix == ".safetensors" and start[8:9] != b"{")
        or (suffix == ".onnx" and start[:1] != b"\x08")  # the first field of ONNX's protobuf: its version
        or (suffix == ".json" and start.lstrip()[:1] not in (b"{", b"["))
    )
    if wrong:
        raise NotPublishable(
            f"{file.path_in_repo} is not what its name says, so it is not pushed. Write the model again."
        )


def public_provenance(artifact: Path) -> Outgoing | None:
    """Return an artifact's provenance.json with names in place of paths, None where there is none."""
    record = read_record(artifact, PROVENANCE)
    return _json(PROVENANCE, without_paths(record)) if record else None


def without_paths(record: JsonObject) -> JsonObject:
    """Return a provenance record whose paths have become names: /data/mine.csv is mine.csv."""
    places = sorted(_paths_in(record), key=len, reverse=True)
    return {key: _renamed(value, places) for key, value in record.items()}


def _paths_in(record: JsonObject) -> set[str]:
    recipe, base = record.get("recipe") or {}, record.get("base") or {}
    source = (record.get("data") or {}).get("source") or {}
    found = {value for value in _strings(record) if _LOCAL.match(value) and "\n" not in value}
    if base.get("revision") == "local":
        found |= {str(recipe.get("base")), str(base.get("wanted"))}
    if source.get("kind") == "file":
        found |= {str(recipe.get("dataset")), str(source.get("location"))}
    return {path for path in found if "/" in path or "\\" in path}


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)


def _renamed(value: object, places: list[str]) -> object:
    if isinstance(value, Mapping):
        return {key: _renamed(inner, places) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_renamed(inner, places) for inner in value]
    if isinstance(value, str):
        for place in places:
            value = value.replace(place, re.split(r"[/\\]", place.rstrip("/\\"))[-1])
    return value
