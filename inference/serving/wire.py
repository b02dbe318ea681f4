"""The JSON that goes in and out: the Hub's text-classification API, text-embeddings-inference's, and our own.

    body = decode(b'{"inputs": "what a day"}')
    hub_request(body, max_texts=1000)           # -> HubRequest(texts=["what a day"], …)
    hub_answer(classified, request)             # -> [[{"label": "positive", "score": 0.91}, …]]

Checked by hand, not by pydantic: a request may hold a thousand texts, and an error is one sentence.
Knows nothing about HTTP or models.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.classifier import softmax
from inference.serving.errors import BadRequest, BodyTooLarge
from inference.serving.service import Classified

FUNCTIONS = ("softmax", "sigmoid", "none")
MAX_TOP_K = 1000
Answer = dict[str, Any] | list[Any]


@dataclass(frozen=True)
class HubRequest:
    """A request of the Hub's text-classification API."""

    texts: list[str]
    function: str
    top_k: int | None


@dataclass(frozen=True)
class PredictRequest:
    """A request of text-embeddings-inference's /predict. `single`: one text, answered by one list."""

    texts: list[str]
    single: bool
    raw_scores: bool
    truncate: bool


@dataclass(frozen=True)
class CompareRequest:
    """A request to compare models."""

    texts: list[str]
    models: list[str]


def decode(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body. Raises BadRequest for anything else, duplicate keys and NaN too."""
    try:
        found = json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise BadRequest("The body is not UTF-8. Send JSON in UTF-8.") from error
    except RecursionError as error:
        raise BadRequest('The body is nested too deeply. Send {"inputs": "…"}.') from error
    except ValueError as error:  # json.JSONDecodeError, or a number of too many digits
        raise BadRequest(f"The body is not JSON ({str(error)[:80]}).") from error
    if not isinstance(found, dict):
        raise BadRequest(f'The body is {_kind(found)}, not an object. Send {{"inputs": "…"}}.')
    return found


def encode(answer: Answer) -> bytes:
    """Return compact JSON, in ASCII."""
    return json.dumps(answer, separators=(",", ":"), allow_nan=False).encode("ascii")


def hub_request(body: dict[str, Any], *, max_texts: int) -> HubRequest:
    """Read `{"inputs": str | [str], "parameters": {"top_k", "function_to_apply"}}`; other keys pass."""
    parameters = body.get("parameters")
    if not isinstance(parameters, dict | None):
        raise BadRequest(f"parameters is {_kind(parameters)}, not an object.")
    parameters = parameters or {}
    if unknown := [name for name in parameters if name not in ("top_k", "function_to_apply")]:
        raise BadRequest(f"parameters has no {unknown[0][:80]!r}. Known: top_k, function_to_apply.")
    function = parameters.get("function_to_apply")
    if function is not None and function not in FUNCTIONS:
        raise BadRequest(f"function_to_apply is {_show(function)}. Give softmax, sigmoid or none.")
    top_k = parameters.get("top_k")
    if top_k is not None and (type(top_k) is not int or not 1 <= top_k <= MAX_TOP_K):
        raise BadRequest(f"top_k is {_show(top_k)}. Give a whole number from 1 to {MAX_TOP_K}.")
    return HubRequest(_texts(body, max_texts), function or "softmax", top_k)


def hub_answer(classified: Classified, request: HubRequest) -> Answer:
    """Return, for each text, its labels with their scores, best first: what InferenceClient parses."""
    return _ranked(scores(classified, request.function), classified.labels, request.top_k)


def predict_request(body: dict[str, Any], *, max_texts: int) -> PredictRequest:
    """Read `{"inputs": str | [str] | [[str], …], "raw_scores", "truncate"}`.

    As in text-embeddings-inference a batch is a list of lists, and `[str, str]` a pair, which only models
    that take pairs can answer: BadRequest says so.
    """
    raw_scores, truncate = (_flag(body, name) for name in ("raw_scores", "truncate"))
    inputs = body.get("inputs")
    single = not (isinstance(inputs, list) and inputs and isinstance(inputs[0], list))
    items = [inputs] if isinstance(inputs, str) else inputs
    if not isinstance(items, list) or not items:
        raise BadRequest('inputs is missing. Give a text, or a batch of texts as [["…"], ["…"]].')
    if len(items) > max_texts:
        raise _too_many(len(items), max_texts)
    rows = [items] if single else items
    for place, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != 1 or not isinstance(row[0], str):
            raise BadRequest(
                f'Item {place} of inputs is no single text. A batch is [["…"], ["…"]]; '
                "this model can't classify pairs of texts."
            )
    return PredictRequest([row[0] for row in rows], single, raw_scores is True, truncate is not False)


def predict_answer(classified: Classified, request: PredictRequest) -> Answer:
    """Return labels with their scores, best first: one list for a text, a list of lists for a batch."""
    found = scores(classified, "none" if request.raw_scores else "softmax")
    ranked = _ranked(found, classified.labels, None)
    return ranked[0] if request.single else ranked


def compare_request(body: dict[str, Any], *, max_texts: int, names: Sequence[str]) -> CompareRequest:
    """Read `{"inputs": str | [str], "models"?: [str]}`; all models when none are named.

    Raises BadRequest for fewer than two, or a name given twice.
    """
    models = body.get("models")
    if models is None:
        models = list(names)
        if len(models) < 2:
            raise BadRequest(f"Comparing needs two models or more; this server has one ({models[0]}).")
    if not isinstance(models, list) or not all(isinstance(name, str) for name in models):
        raise BadRequest("models is not a list of names.")
    if len(models) < 2 or len(set(models)) < len(models):
        raise BadRequest(f"models must name two models or more, each once. Known: {', '.join(names)}.")
    return CompareRequest(_texts(body, max_texts), models)


def compare_answer(answers: Sequence[Classified]) -> Answer:
    """Return for each text what each model says and whether they agree, and how often they do."""
    per_model = []
    for classified in answers:
        found = scores(classified, "softmax")
        per_model.append(
            [
                {
                    "label": classified.labels[row.argmax()],
                    "score": float(row.max()),
                    "scores": dict(zip(classified.labels, row.tolist(), strict=True)),
                }
                for row in found
            ]
        )
    names = [classified.model for classified in answers]
    results = [
        {
            "agree": len({str(said["label"]) for said in row}) == 1,
            "predictions": dict(zip(names, row, strict=True)),
        }
        for row in zip(*per_model, strict=True)
    ]
    agreement = sum(bool(row["agree"]) for row in results) / len(results) if results else None
    return {"models": names, "agreement": agreement, "results": results}


def scores(classified: Classified, function: str) -> NDArray[np.float64]:
    """Return scores of shape (texts, labels): by softmax, by sigmoid, or the logits themselves."""
    logits = classified.logits
    if function == "softmax":
        return softmax(logits)
    raw = logits.astype(np.float64)
    return 1 / (1 + np.exp(-raw.clip(-700, 700))) if function == "sigmoid" else raw


def _ranked(found: NDArray[np.float64], labels: Sequence[str], top_k: int | None) -> list[Any]:
    order = np.argsort(-found, axis=1, kind="stable")[:, :top_k]
    return [
        [{"label": labels[column], "score": row[column]} for column in columns]
        for row, columns in zip(found.tolist(), order.tolist(), strict=True)
    ]


def _texts(body: dict[str, Any], max_texts: int) -> list[str]:
    if "inputs" not in body:
        raise BadRequest('inputs is missing. Give a text, or a list of texts: {"inputs": "…"}.')
    inputs = body["inputs"]
    texts = [inputs] if isinstance(inputs, str) else inputs
    if not isinstance(texts, list):
        raise BadRequest(f"inputs is {_kind(inputs)}. Give a text, or a list of texts.")
    if len(texts) > max_texts:
        raise _too_many(len(texts), max_texts)
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise BadRequest(f"Item {place} of inputs is {_kind(text)}, not a text.")
    return texts


def _too_many(found: int, max_texts: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"{found} texts are more than the {max_texts} one request may hold. Send them in parts."
    )


def _flag(body: dict[str, Any], name: str) -> bool | None:
    value = body.get(name)
    if not isinstance(value, bool | None):
        raise BadRequest(f"{name} is {_show(value)}. Give true or false.")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        [(twice, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"{twice[:40]!r} stands in it twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _kind(value: Any) -> str:
    names = {type(None): "null", bool: "true or false", dict: "an object", list: "a list", str: "a text"}
    return names.get(type(value), "a number")


def _show(value: Any) -> str:
    return _kind(value) if isinstance(value, dict | list) else json.dumps(value)[:40]
