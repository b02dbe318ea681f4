"""Save a ladder's rungs in a folder each, and load them wherever a model is taken.

    keep(predictor, folder, base={"name": "gpt2", "path": "…", "sha256": "9f2c…"})
    load_kept(folder)          # -> an equal predictor; `inference.baselines.model` makes it a Classifier

    rung.json        its parts: labels, prompts and their offsets, the base by its folder and hash
    learnt.npz       the parameters of a head or a bag of words
    index.sqlite     the labelled texts that its answers rest on
    network/         a trained network, as an artifact; the untouched base stays where it is
    reference.json   statistics that detect texts out of scope, if a part has a tokenizer (`reader_of`)

Loading runs no code from it: there is no pickle.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from inference.artifact import RUNG, read_record
from inference.baselines import Average, Example, Features, Predictor
from inference.baselines.bag_of_words import Arrays, BagOfWords, LinearHead, Majority
from inference.baselines.index import Index, Neighbours
from inference.baselines.prompting import Prompted
from inference.baselines.retrieval import FewShotRetrieval, FinalStates, TrunkFeatures
from inference.classifier import Classifier
from inference.common.errors import ArtifactError, TweetTuneError
from inference.common.store import JsonObject, write_json
from inference.engine.precision import FLOAT32
from inference.engine.pytorch import has_gpu, quiet_loading
from inference.prompt import Prompt

LEARNT, INDEX, NETWORK = "learnt.npz", "index.sqlite", "network"


def keep(predictor: Predictor, folder: Path, *, base: Mapping[str, str]) -> None:
    """Write a rung to a folder. `base`: name, folder ("path") and hash of its base."""
    folder.mkdir(parents=True, exist_ok=True)
    made_of = _Keeper(folder).described(predictor)
    write_json(folder / RUNG, {"labels": list(predictor.labels), "base": dict(base), "made_of": made_of})


def load_kept(folder: Path) -> tuple[Predictor, Classifier | None]:
    """Return the predictor of a rung, and the classifier that tokenizes for it, if any.

    Raises ArtifactError if its files or base can't be used, DataError for its index.
    """
    record = read_record(folder, RUNG) or {}
    try:
        made = _Maker(folder, record).made(record["made_of"])
        return made, reader_of(made)
    except (TweetTuneError, ModuleNotFoundError, MemoryError):
        raise
    except Exception as error:  # of JSON, NumPy, zlib, safetensors, tokenizers: files can be torn anywhere
        raise ArtifactError(
            f"The rung {folder} can't be read ({error!r}). Measure it again with `python -m training ladder`."
        ) from error


def reader_of(one: Predictor | Features | None) -> Classifier | None:
    """Return the classifier that tokenizes for a rung; None if nothing in it does."""
    match one:
        case Classifier():
            return one
        case FewShotRetrieval() | TrunkFeatures():
            return one.prompted
        case FinalStates():
            return one.classifier
        case LinearHead() | Neighbours():
            return reader_of(one.features if isinstance(one, LinearHead) else one.index.features)
        case Average():
            return next(filter(None, map(reader_of, one.predictors)), None)
    return None


class _Keeper:
    """Describes a rung's parts, and writes those that are too large for a record."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def described(self, one: Predictor) -> JsonObject:  # noqa: PLR0911  (one for each kind)
        match one:
            case Majority():
                return {"kind": "majority", "shares": list(one.shares)}
            case BagOfWords():
                np.savez_compressed(self.folder / LEARNT, allow_pickle=False, **one.learnt())
                return {"kind": "bag-of-words", "about": one.about}
            case LinearHead():
                np.savez_compressed(self.folder / LEARNT, allow_pickle=False, **one.learnt())
                return {"kind": "head", "about": one.about, "features": self.features(one.features)}
            case FewShotRetrieval():
                found = {
                    "kind": "retrieval",
                    "prompt": self.described(one.prompted),
                    "k": one.k,
                    "by": one.by,
                }
                return found | self.index(one.index) | {"offset": one.offset.tolist(), "over": one.over}
            case Neighbours():
                return {"kind": "nearest", "k": one.k, "by": one.by} | self.index(one.index)
            case Average():
                parts = [self.described(part) for part in one.predictors]
                return {"kind": "mean", "parts": parts, "weights": list(one.weights), "about": one.about}
            case Prompted():
                examples = [(example.text, example.label) for example in one.examples]
                found = {"kind": "prompt", "prompt": asdict(one.prompt), "words": list(one.words)}
                found |= {"examples": examples, "max_length": one.max_length, "about": one.about}
                return found | {"offset": one.engine.offset.tolist(), "precision": one.engine.precision.name}
            case Classifier():
                return {"kind": "network"} | self.network(one)
        raise TypeError(f"{type(one).__name__} can't be kept")

    def features(self, one: Features | None) -> JsonObject | None:
        match one:
            case TrunkFeatures():
                prompt = self.described(one.prompted)
                return {"kind": "trunk", "prompt": prompt, "layers": one.layers, "name": one.weights}
            case FinalStates():
                return {"kind": "states", "name": one.name} | self.network(one.classifier)
        return None

    def index(self, one: Index) -> JsonObject:
        (self.folder / INDEX).unlink(missing_ok=True)
        one.copy_to(self.folder / INDEX)
        return {"features": self.features(one.features)}

    def network(self, one: Classifier) -> JsonObject:
        one.model.save_pretrained(self.folder / NETWORK)
        one.save_tokenizer(self.folder / NETWORK)
        return {"precision": getattr(one.engine, "precision", FLOAT32).name}


class _Maker:
    """Makes a rung again from its description; the base is loaded at most once."""

    def __init__(self, folder: Path, record: JsonObject) -> None:
        self.folder, self.labels = folder, tuple(record["labels"])
        self._base: Mapping[str, str] = record["base"]
        self._network: tuple[PreTrainedModel, PreTrainedTokenizerFast] | None = None

    def made(self, what: JsonObject) -> Predictor:  # noqa: PLR0911  (one for each kind)
        match what["kind"]:
            case "majority":
                return Majority(self.labels, tuple(what["shares"]))
            case "bag-of-words":
                return BagOfWords.of(self.learnt(), labels=self.labels, about=what["about"])
            case "head":
                features = self.features(what["features"])
                return LinearHead.of(self.learnt(), features, labels=self.labels, about=what["about"])
            case "retrieval":
                prompted, index = self.prompted(what["prompt"]), self.index(what)
                few = FewShotRetrieval(prompted, index, k=what["k"], by=what["by"])
                few.offset, few.over = np.array(what["offset"]), what["over"]
                return few
            case "nearest":
                return Neighbours(self.index(what), k=what["k"], by=what["by"])
            case "mean":
                parts = [self.made(part) for part in what["parts"]]
                return Average(parts, weights=what["weights"], about=what["about"])
            case "prompt":
                return self.prompted(what)
            case "network":
                return self.network(what)
        raise ValueError(f"no rung is made of {what['kind']!r}")

    def features(self, what: JsonObject) -> Features:
        if what["kind"] == "states":
            return FinalStates(self.network(what), name=what["name"])
        return TrunkFeatures(self.prompted(what["prompt"]), layers=what["layers"], name=what["name"])

    def index(self, what: JsonObject) -> Index:
        features = self.features(what["features"]) if what["features"] else None
        return Index(self.folder / INDEX, self.labels, features=features)

    def learnt(self) -> Arrays:
        # Opened here: NumPy would leave the file of a torn archive open.
        with (self.folder / LEARNT).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)

    def network(self, what: JsonObject) -> Classifier:
        engine = "torch-float32" if what["precision"] == "float32" else "torch"
        return Classifier.load(self.folder / NETWORK, engine=engine)

    def prompted(self, what: JsonObject) -> Prompted:
        model, tokenizer = self.base()
        found = Prompted.build(
            model,
            tokenizer,
            self.labels,
            prompt=Prompt(**what["prompt"]),
            words=what["words"],
            examples=[Example(text, label) for text, label in what["examples"]],
            max_length=what["max_length"],
            name=self._base["name"],
            # Another machine may not have bfloat16.
            precision="float32" if what["precision"] == "float32" else "auto",
        )
        found.engine.offset, found.about = np.array(what["offset"]), what["about"]
        return found

    def base(self) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
        """Return the network that was measured. Raises ArtifactError if it is missing or has changed."""
        if self._network is None:
            name, path = self._base["name"], self._base["path"]
            again = "Put it back, or measure the ladder again."
            if not Path(path).is_dir():
                raise ArtifactError(f"The base {name}, which this rung asks, is no more in {path}. {again}")
            with quiet_loading():
                options: dict[str, Any] = {"dtype": torch.float32, "use_safetensors": True}
                model = AutoModelForCausalLM.from_pretrained(path, local_files_only=True, **options)
                tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
            if hash_of(model) != self._base["sha256"]:
                raise ArtifactError(f"The base {name} in {path} is not the one that was measured. {again}")
            self._network = model.to("cuda") if has_gpu() else model, tokenizer
        return self._network


def hash_of(*parts: PreTrainedModel | NDArray[np.float64]) -> str:
    """Return the SHA-256 of weights, names and shapes included, in hexadecimal."""
    found = hashlib.sha256()
    for part in parts:
        named: Iterable[tuple[str, torch.Tensor]]
        named = (
            [("", torch.as_tensor(part))]
            if isinstance(part, np.ndarray)
            else sorted(part.state_dict().items())
        )
        for name, weight in named:
            found.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
            found.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
