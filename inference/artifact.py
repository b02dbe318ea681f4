"""An artifact: the servable folder of a fine-tuned classifier, with its records beside the weights.

    artifact/
      config.json, model.safetensors      the merged classifier: labels in id2label, pad token set
      tokenizer.json, tokenizer_config…   the tokenizer, with the prompt inside
      README.md                           the model card, with the measured results
      evaluation.json                     scores of base and fine-tuned on the locked test split
      provenance.json                     recipe, base, data, seed, versions, machine, duration
      reference.json                      statistics of the training texts (counts), to detect drift
      examples.json                       sentences of ours with both models' answers, for the card
      assets/                             the card's pictures
      base_head.safetensors               the calibrated zero-shot head of the untouched base
      adapter/                            the LoRA weights alone, for peft
      onnx/                               the same classifier for ONNX Runtime, and how closely it agrees

Loading needs only the first two lines of files.
"""

from collections.abc import Sequence
from pathlib import Path

from inference.common.errors import ArtifactError
from inference.common.names import read_id
from inference.common.paths import runs_dir
from inference.common.store import Damaged, JsonObject, read_json

EVALUATION = "evaluation.json"
PROVENANCE = "provenance.json"
REFERENCE = "reference.json"
BASE_HEAD = "base_head.safetensors"
ADAPTER = "adapter"
ADAPTER_CONFIG = "adapter_config.json"  # in the folder's root it would send Transformers to another folder
SHARDS = "model.safetensors.index.json"
ONNX_FOLDER = "onnx"
PARITY = "parity.json"
RUNG = "rung.json"
"""The record of a rung, in runs/LADDER/rungs/RUNG/: a folder that every command accepts as a model."""
RUNGS = "rungs"
_NAMED = 20
VALIDATION = "validation.jsonl"  # beside the artifact, in the run's folder: texts are not published


def model_of(given: str | Path) -> str:
    """Return the artifact's folder, or the id on the Hub, for the name of a model.

    A run (its name in `runs/`, or its folder) gives its artifact; LADDER/RUNG the folder that the ladder has
    kept for this rung; an address of the Hub its id. Raises ArtifactError for a run without a model,
    TweetTuneError for an address of something else.
    """
    text = read_id(str(given))
    for folder in (Path(text), runs_dir() / text):
        if (folder / "config.json").is_file() or (folder / RUNG).is_file():
            return str(folder)
        if (folder / "artifact").is_dir():
            return str(folder / "artifact")
        if kept := kept_rungs(folder):
            raise ArtifactError(f"{folder.name} is a ladder, with a model a rung. {_named(folder, kept)}")
        if any((folder / name).exists() for name in ("recipe.toml", "run.json")):
            raise ArtifactError(
                f"The run {folder.name} has no model (yet). See how it stands with `python -m training runs`."
            )
    ladder, _, rung = text.rpartition("/")
    for folder in (Path(ladder), runs_dir() / ladder) if ladder else ():
        if kept := kept_rungs(folder):
            if rung in kept:
                return str(folder / RUNGS / rung)
            raise ArtifactError(f"The ladder {folder.name} has kept no rung {rung!r}. {_named(folder, kept)}")
    return text


def kept_rungs(ladder: Path) -> list[str]:
    """Return the names of the rungs kept in a ladder's folder."""
    return sorted(path.parent.name for path in (ladder / RUNGS).glob(f"*/{RUNG}"))


def _named(ladder: Path, rungs: Sequence[str]) -> str:
    more = f" (and {len(rungs) - _NAMED} more)" if len(rungs) > _NAMED else ""
    known = ", ".join(f"{ladder.name}/{name}" for name in rungs[:_NAMED])
    return f"Name one of: {known}{more}; trained networks are kept by `ladder --keep`."


def check_artifact(path: Path) -> None:
    """Raise ArtifactError, in one sentence, when a folder can't be a classifier."""
    make_one = "Train one with `python -m training train quick`."
    if not path.exists():
        ladders = (found.parent for found in runs_dir().glob(f"*/{RUNGS}"))
        if ladder := next((one.name for one in ladders if str(path) in kept_rungs(one)), ""):
            raise ArtifactError(f"{path} is a rung of a ladder. Name it with its ladder: {ladder}/{path}.")
        raise ArtifactError(f"{path} does not exist. {make_one}")
    if not path.is_dir():
        raise ArtifactError(f"{path} is a file, not a model folder. {make_one}")
    names = sorted(entry.name for entry in path.iterdir())
    for needed in ("config.json", "tokenizer.json"):
        if needed not in names:
            found = ", ".join(names[:6]) or "nothing"
            raise ArtifactError(f"{path} has no {needed} (found: {found}). {make_one}")
    if not any(name.endswith(".safetensors") and name != BASE_HEAD for name in names):
        raise ArtifactError(f"{path} has no safetensors weights (found: {', '.join(names[:6])}). {make_one}")
    config = read_record(path, "config.json") or {}
    _check_weights(path, names, config)
    if not any("ForSequenceClassification" in name for name in config.get("architectures") or []):
        raise ArtifactError(
            f"{path} is not a classifier (its config names {config.get('architectures')}). {make_one}"
        )


def _check_weights(path: Path, names: Sequence[str], config: JsonObject) -> None:
    """Raise ArtifactError where Transformers would read more than the safetensors files of this folder."""
    where = "" if ADAPTER_CONFIG not in names else f"{ADAPTER_CONFIG}, which names another folder's model"
    if "transformers_weights" in config:
        where = "transformers_weights in its config.json, which names another file"
    shards = (read_record(path, SHARDS) or {}).get("weight_map", {})
    for shard in shards.values() if isinstance(shards, dict) else ["no shards"]:
        if not (isinstance(shard, str) and shard.endswith(".safetensors") and shard in names):
            where = f"{str(shard)[:80]!r} in its {SHARDS}, which is no safetensors file of the folder"
    if where:
        raise ArtifactError(f"{path} has {where}. Give a folder that holds its own weights.")


def read_record(path: Path, name: str) -> JsonObject | None:
    """Return a JSON record of an artifact or a run folder, None when it has none; ArtifactError if torn."""
    try:
        return read_json(path / name)
    except Damaged as why:
        raise ArtifactError(
            f"{path / name} can't be read ({why}). Write it again by training again."
        ) from why
