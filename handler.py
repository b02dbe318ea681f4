"""The model on Hugging Face Inference Endpoints: their runtime finds this file in the model's repository.

    handler = EndpointHandler("/repository")
    handler({"inputs": "what a day", "parameters": {"top_k": 1}})   # [[{"label": "positive", "score": 0.9}]]

It stands alone there. Where the repository has what `python -m inference export` wrote, and `onnxruntime` is
installed (a line in the repository's requirements.txt), it answers as that export's gate decided: by int8,
with float32 for close calls, or by float32. Else Transformers and PyTorch answer. The answer has the form of
the Hub's text-classification API, so `InferenceClient` reads it: a list for each text, also for a single one.
Scores are those of `inference.Classifier`. Knows nothing about HTTP: the runtime answers 400 with the text of
an error. It needs `ftfy` (a line in requirements.txt too): texts are mended as they were for training.
"""

import base64
import hashlib
import json
import logging
import math
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import ftfy
import numpy as np
from ftfy.fixes import unescape_html
from tokenizers import Encoding, Tokenizer

try:
    import onnxruntime
except ImportError:  # not installed everywhere
    onnxruntime = None

JsonObject = dict[str, Any]
Logits = Callable[[list[list[int]]], np.ndarray]
BATCH = 32
CHARACTERS_A_TOKEN = 64  # of the token limit: the rest of a longer text is ignored
BYTE = re.compile("<0x[0-9A-F]{2}>")  # of SentencePiece, for what it has no token for
PROBE_TOLERANCE = 0.05  # logits; a CPU whose int8 kernels overflow is off by far more
FIXES = ftfy.TextFixerConfig(
    unescape_html=False,
    uncurl_quotes=False,
    fix_character_width=False,
    fix_latin_ligatures=False,
    fix_line_breaks=False,
    explain=False,
)
LAYERS = 8
log = logging.getLogger(__name__)


class LabelScore(TypedDict):
    """A label of the answer."""

    label: str
    score: float
    sure: NotRequired[bool]
    out_of_scope: NotRequired[bool]


class EndpointHandler:
    """Loads the folder once; each call classifies the texts of one request."""

    def __init__(self, path: str = "") -> None:
        folder = Path(path or Path(__file__).parent)
        config = _json(folder / "config.json")
        _check_weights(folder, config)
        self.labels = [config["id2label"][str(place)] for place in range(len(config["id2label"]))]
        self.pad_id = config.get("pad_token_id") or 0
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        max_length = _max_length(folder, config)
        self.characters = CHARACTERS_A_TOKEN * max_length
        self.tokenizer.enable_truncation(max_length)
        self.tokenizer.no_padding()
        self.curve, self.scope = _curve(folder), _scope(folder, self.tokenizer)
        self.engine, self.logits = _engine(folder, self.pad_id)
        log.info("The engine is %s", self.engine)

    def __call__(self, data: JsonObject) -> list[list[LabelScore]]:
        """Return for each text its labels with scores, best first.

        `data` is a request: `inputs` is a text or a list of texts; `parameters` may hold `top_k` (default:
        all labels), or its forerunner `return_all_scores`; `function_to_apply` ("softmax", the default,
        "sigmoid" or "none"); `max_length`, in tokens, where the model takes more; and `truncation`, false to
        refuse what is too long. With `precision`, a required share of right answers, or `abstain_below`, a
        confidence, each label comes with `sure`, false where the answer should count as "I don't know"; with
        `out_of_scope`, it comes with whether the text is unlike those of the training. `padding` and
        `batch_size` change no answer. Raises ValueError.
        """
        if unknown := [name for name in data if name not in ("inputs", "parameters", "options")]:
            raise ValueError(f"A request has no {unknown[0][:80]!r}. Known: inputs, parameters, options.")
        texts = _texts(data.get("inputs"))
        asked = _parameters(data.get("parameters") or {})
        top_k, function = asked["top_k"], asked["function_to_apply"]
        sure_from = self._sure_from(asked["precision"], asked["abstain_below"])
        if not texts:
            return []
        bare = [text.strip(" \t\r\n\0") for text in texts]
        found = self.tokenizer.encode_batch([_mended(text[: self.characters]) for text in bare])
        token_ids = [_cut(each, asked["max_length"]) or [self.pad_id] for each in found]
        ways = zip(bare, found, token_ids, strict=True)
        cut = sum(
            bool(each.overflowing) or len(ids) < len(each) or len(text) > self.characters
            for text, each, ids in ways
        )
        if cut and asked["truncation"] in (False, "do_not_truncate"):
            raise ValueError(f"Too long for the model: {cut} of {len(texts)} texts. Let them be truncated.")
        result = np.zeros((len(texts), len(self.labels)))
        order = sorted(range(len(texts)), key=lambda row: -len(token_ids[row]))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            result[rows] = self.logits([token_ids[row] for row in rows])
        answers = [self._answer(scores, top_k) for scores in FUNCTIONS[function](result)]
        if sure_from is not None:
            _mark(answers, "sure", _softmax(result).max(axis=1) >= sure_from)
        if asked["out_of_scope"]:
            _mark(answers, "out_of_scope", self._outside(token_ids))
        return answers

    def _outside(self, token_ids: list[list[int]]) -> list[bool]:
        if self.scope is None:
            raise ValueError("The model has no record by which a text is out of scope. Leave that out.")
        known, above, pieces, lengths = self.scope

        def share(ids: list[int]) -> float:
            if lengths and len(ids) / max(1, sum(lengths[i] for i in ids)) > pieces:
                return 1.0
            return sum(i not in known for i in ids) / max(1, len(ids))

        return [share(ids) > above for ids in token_ids]

    def _answer(self, scores: np.ndarray, top_k: int | None) -> list[LabelScore]:
        best = np.argsort(-scores, kind="stable")[:top_k]
        return [{"label": self.labels[place], "score": float(scores[place])} for place in best]

    def _sure_from(self, precision: float | None, abstain_below: float | None) -> float | None:
        """Return the confidence from which on answers are sure, by the record of the validation rows."""
        if precision is None:
            return abstain_below
        if abstain_below is not None:
            raise ValueError('"precision" and "abstain_below" both say when to abstain. Give one of them.')
        if not self.curve:
            raise ValueError(
                "The model has no record of its validation rows, so no threshold is known for a precision. "
                'Say at which confidence to abstain ("abstain_below").'
            )
        enough = [threshold for threshold, right in self.curve if right >= precision]
        if not enough:
            raise ValueError(
                f"No threshold makes {100 * precision:g} % of the model's answers right; the most on its "
                f"validation rows is {100 * max(right for _, right in self.curve):.1f} %. Ask for less."
            )
        return min(enough)


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "softmax": _softmax,
    "sigmoid": lambda logits: 1 / (1 + np.exp(-logits)),
    "none": lambda logits: logits,
}


def _texts(inputs: object) -> list[str]:
    texts = [inputs] if isinstance(inputs, str) else inputs
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError('"inputs" is neither a text nor a list of texts. Send {"inputs": "a text"}.')
    return texts


PARAMETERS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "top_k": (
        lambda given: type(given) is int and given > 0,
        "a whole number from 1. Leave it out for all labels",
    ),
    **dict.fromkeys(
        ("return_all_scores", "out_of_scope"), (lambda given: type(given) is bool, "true or false")
    ),
    "function_to_apply": (lambda given: str(given).lower() in FUNCTIONS, f"one of {', '.join(FUNCTIONS)}"),
    "truncation": (
        lambda given: type(given) is bool or given in ("longest_first", "only_first", "do_not_truncate"),
        "true, false, longest_first, only_first or do_not_truncate",
    ),
    "max_length": (lambda given: type(given) is int and given > 0, "a whole number from 1"),
    "padding": (
        lambda given: type(given) is bool or given in ("longest", "max_length", "do_not_pad"),
        "true, false, longest, max_length or do_not_pad",
    ),
    "batch_size": (lambda given: type(given) is int and given > 0, "a whole number from 1"),
    **dict.fromkeys(
        ("precision", "abstain_below"),
        (
            lambda given: type(given) in (int, float) and 0 < given <= 1,
            "a share above 0 and up to 1, such as 0.9",
        ),
    ),
}
"""The parameters of a request: whether a value is right, and what to give."""


def _parameters(given: object) -> JsonObject:
    """Return every parameter; None for what was not given, but for the function. Raises ValueError."""
    if not isinstance(given, dict):
        raise ValueError(
            f'"parameters" is {type(given).__name__}, not an object. Send {{"top_k": 1}}, or none.'
        )
    if unknown := [name for name in given if name not in PARAMETERS]:
        raise ValueError(f'"parameters" has no {unknown[0][:80]!r}. Known: {", ".join(PARAMETERS)}.')
    for name, value in given.items():
        is_right, expected = PARAMETERS[name]
        if value is not None and not is_right(value):
            raise ValueError(f'"{name}" is {value!r}, not {expected}.')
    if given.get("return_all_scores") is False and "top_k" not in given:
        given = {**given, "top_k": 1}
    function = (given.get("function_to_apply") or "softmax").lower()
    return {**dict.fromkeys(PARAMETERS), **given, "function_to_apply": function}


def _cut(encoding: Encoding, max_length: int | None) -> list[int]:
    """Return the ids of a text that loses its end to a limit; the prompt around it stays whole."""
    prompt = encoding.special_tokens_mask
    if max_length is None or len(prompt) <= max_length:
        return encoding.ids
    if max_length <= sum(prompt):
        raise ValueError(
            f'"max_length" is {max_length}, and the prompt alone has {sum(prompt)} tokens. Give more.'
        )
    end = len(prompt) - prompt[::-1].index(0)  # of the text
    return encoding.ids[: end - (len(prompt) - max_length)] + encoding.ids[end:]


def _mended(text: str) -> str:
    """Return a text as `inference.common.mend` mends it: entities, broken encodings, halves of characters."""
    if not re.search(r"[^\t\n\r\x20-\x7e]|&#?\w+;", text):
        return text
    # It joins what belongs together as one character.
    text = text.replace("\0", " ").encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    half = re.compile("[\ud800-\udc7f\udd00-\udfff]")
    if re.search("[\udc80-\udcff]", text):  # bytes that were not UTF-8
        text = half.sub("\ufffd", text).encode("utf-8", "surrogateescape").decode("cp1252", "replace")
    again = half.sub("\ufffd", text)
    for _ in range(LAYERS):
        text = ftfy.fix_text(_unescaped(again), FIXES)
        if (again := _unescaped(text)) == text:
            break
    return text.strip()


def _unescaped(text: str) -> str:
    for _ in range(LAYERS):
        before = text
        text = unescape_html(re.sub(r"&(?:(?:amp|#0*38|#x0*26);)+", "&", text, flags=re.IGNORECASE))
        if text == before:
            break
    return text


def _json(file: Path) -> JsonObject:
    return json.loads(file.read_text(encoding="utf-8"))


def _curve(folder: Path) -> list[tuple[float, float]]:
    """Return thresholds of confidence, each with the share right of the validation rows' surer answers."""
    try:
        record = _json(folder / "evaluation.json")["chosen_on"]
        return [(float(point["threshold"]), float(point["right"]["value"])) for point in record]
    except (OSError, ValueError, KeyError, TypeError):  # none, or somebody else's
        return []


def _mark(answers: list[list[LabelScore]], name: str, marks: Iterable[bool]) -> None:
    for answer, mark in zip(answers, marks, strict=True):
        for each in answer:
            each[name] = bool(mark)


def _scope(folder: Path, tokenizer: Tokenizer) -> tuple[set[int], float, float, dict[int, int]] | None:
    """Return the ids of the tokens that training knew, and the share of others that is too much.

    Then the tokens a character above which no token of a text counts as known, and the characters of each
    token; none where an earlier version's record does not say so.
    """
    try:
        record = _json(folder / "reference.json")
        bits = base64.b64decode(record["known_tokens"])
        known = {8 * at + bit for at, byte in enumerate(bits) for bit in range(8) if byte >> bit & 1}
        above, pieces = float(record["out_of_scope_above"]), record.get("out_of_scope_pieces")
        if pieces is None:
            return known, above, math.inf, {}
        each = tokenizer.get_vocab().items()
        lengths = {number: 1 if BYTE.fullmatch(token) else len(token) for token, number in each}
        return known, above, float(pieces), lengths
    except (OSError, ValueError, KeyError, TypeError):  # none, or an earlier version's
        return None


def _check_weights(folder: Path, config: JsonObject) -> None:
    """Raise ValueError where Transformers would read more than the safetensors files of this folder."""
    index = folder / "model.safetensors.index.json"
    shards = set(_json(index)["weight_map"].values()) if index.is_file() else set()
    names = {entry.name for entry in folder.iterdir()}
    elsewhere = [name for name in shards if not (name.endswith(".safetensors") and name in names)]
    elsewhere += names & {"adapter_config.json"}
    elsewhere += config.keys() & {"transformers_weights"}
    if elsewhere:
        raise ValueError(
            f"{folder} may name weights elsewhere ({elsewhere[0]!r}). "
            "Give a repository that holds its own model as safetensors."
        )


def _max_length(folder: Path, config: JsonObject) -> int:
    limit = _json(folder / "tokenizer_config.json")["model_max_length"]
    return int(min(limit, config.get("max_position_embeddings") or config["n_positions"]))


def _engine(folder: Path, pad_id: int) -> tuple[str, Logits]:
    """Return the engine's name and why it was taken, and the function from token ids to logits."""
    record = _json(folder / "onnx" / "parity.json") if (folder / "onnx" / "parity.json").is_file() else {}
    if reason := _against_onnx(folder, record):
        return f"torch: {reason}", _torch_logits(folder, pad_id)
    float32 = _onnx_logits(folder / "onnx" / "packed.onnx")
    if record["choice"] != "int8":
        return "onnx: int8 did not pass its gate", float32
    gate = record["engines"]["int8"]
    int8 = _onnx_logits(folder / "onnx" / "packed_int8.onnx")
    off = np.abs(int8(gate["probe_token_ids"]) - np.array(gate["probe_logits"])).max()
    if not off <= PROBE_TOLERANCE:
        return f"onnx: this CPU's int8 is off by {off:.2f} logits", float32

    def logits(token_ids: list[list[int]]) -> np.ndarray:
        answer = int8(token_ids)
        best = np.partition(answer, -2, axis=1)[:, -2:]
        close = np.flatnonzero(best[:, 1] - best[:, 0] < gate["close_call_margin"])
        if len(close):
            answer[close] = float32([token_ids[row] for row in close])
        return answer

    return "onnx-int8: it passed its gate", logits


def _against_onnx(folder: Path, record: JsonObject) -> str:
    """Return why the exported files can't be used, "" if they can."""
    if not record:
        return "the repository has no onnx/parity.json"
    if onnxruntime is None:
        return "onnxruntime is not installed"
    if Path("/dev/nvidia0").exists():
        return "a GPU is there"
    engines = record["engines"]
    needed = {"model.safetensors": record["weights_sha256"], "onnx/packed.onnx": engines["float32"]["sha256"]}
    if record["choice"] == "int8":
        needed["onnx/packed_int8.onnx"] = engines["int8"]["sha256"]
    changed = [name for name, sha256 in needed.items() if _sha256(folder / name) != sha256]
    return f"{changed[0]} is not what was exported and checked" if changed else ""


def _sha256(file: Path) -> str | None:
    if not file.is_file():
        return None
    found = hashlib.sha256()
    with file.open("rb") as content:
        while part := content.read(2**20):
            found.update(part)
    return found.hexdigest()


def _padded(token_ids: list[list[int]], pad_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Return input ids and attention mask of shape (texts, longest), padded on the right."""
    longest = max(map(len, token_ids))
    ids = np.array([row + [pad_id] * (longest - len(row)) for row in token_ids], dtype=np.int64)
    mask = np.array([[1] * len(row) + [0] * (longest - len(row)) for row in token_ids], dtype=np.int64)
    return ids, mask


def _onnx_logits(file: Path) -> Logits:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _cores()
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def logits(token_ids: list[list[int]]) -> np.ndarray:
        ids, mask = _padded(token_ids, 0)
        return session.run(None, {"input_ids": ids, "attention_mask": mask})[0]

    return logits


def _cores() -> int:
    """Return the cores that the container leaves to this process."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(allowed, -(-int(quota) // int(period))))
    except (OSError, ValueError):  # no control group, or no limit
        return allowed


def _torch_logits(folder: Path, pad_id: int) -> Logits:
    import torch  # noqa: PLC0415  (takes seconds, and is not needed where ONNX Runtime answers)
    from transformers import AutoModelForSequenceClassification  # noqa: PLC0415

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, local_files_only=True
    )
    model = model.eval().to(device)

    def logits(token_ids: list[list[int]]) -> np.ndarray:
        ids, mask = (torch.from_numpy(array).to(device) for array in _padded(token_ids, pad_id))
        with torch.inference_mode():
            return model(input_ids=ids, attention_mask=mask, use_cache=False).logits.cpu().numpy()

    return logits
