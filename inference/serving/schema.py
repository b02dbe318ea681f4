"""What goes in and out of a server, and how it can be set: pydantic models and the JSON made of them.

    request = read(HubRequest, decode(b'{"inputs": "what a day"}'), max_texts=1000)
    hub_answer(classified, request)             # -> [[{"label": "positive", "score": 0.91}, …]]

The formats are the Hub's text-classification API, text-embeddings-inference's, and our own below /v1. These
models describe /openapi.json, the MCP tools and the options of `python -m inference serve`. A body is checked
once, and one sentence says the first thing that is wrong with it.
"""

import ipaddress
import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    ModelWrapValidatorHandler,
    PlainValidator,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.dataclasses import dataclass as checked_dataclass

from inference.baselines import Example, rests_on
from inference.baselines.index import NEAREST, VOTE_SHARE
from inference.baselines.model import grounds_of
from inference.classifier import Classifier, EncodedTexts, Prediction, softmax
from inference.common.store import JsonObject
from inference.reference import Scope, needed
from inference.selective import CoveragePoint, threshold_of
from inference.serving.errors import BadRequest, BodyTooLarge, ServingError

LOOPBACK = "127.0.0.1"
PRIVATE_NETWORKS = f"{LOOPBACK},10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"
"""Where the proxy of a Space stands; nothing else reaches the app there."""
ALLOWED_HOSTS = "TWEETTUNE_ALLOWED_HOSTS"
MAX_TOP_K = 1000
MAX_NEAREST = 100
Positive = Field(gt=0, lt=1e12)
Answer = Mapping[str, object] | Sequence[object]
M = TypeVar("M", bound=BaseModel)


@checked_dataclass(
    frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
)
class Settings:
    """How a server behaves: limits, batching, access. The defaults suit two cores."""

    window_ms: Annotated[float, Field(ge=0, lt=1e12)] = 3.0
    """Milliseconds that a batch waits for more, if several requests just came at once; never when idle."""
    batch_tokens: Annotated[int, Positive] = 768
    """Tokens that are computed at once."""
    max_queue: Annotated[int, Positive] = 1024
    """Texts that may wait, or be in work, for one model; more: 429."""
    max_queue_tokens: Annotated[int, Positive] = 131_072
    """Tokens that may wait, or be in work, for one model; more: 429."""
    max_texts: Annotated[int, Positive] = 1000
    """Texts of one request; more: 413."""
    max_body_mb: Annotated[float, Positive] = 4.0
    """Megabytes of one request's body; more: 413."""
    max_bodies_mb: Annotated[float, Positive] = 64.0
    """Megabytes of all bodies that are being received or answered."""
    body_timeout_s: Annotated[float, Positive] = 20.0
    """Seconds in which a request's head must have arrived, and then its body; later: 408."""
    deadline_s: Annotated[float, Positive] = 60.0
    """Seconds in which an answer must be ready, from the arrival of the body on; later: 504."""
    rate_limit: Annotated[float, Field(ge=0, lt=1e12)] = 0.0
    """Texts a second that one client may send, in bursts of ten seconds' worth; more: 429; 0: any number."""
    cors_origins: tuple[str, ...] = ()
    """Web pages that may call the server from a browser; none by default."""
    tokens: tuple[str, ...] = Field(default=(), repr=False)
    """Bearer tokens, any one of which opens the server; none: it is open. Never printed."""
    trusted_proxies: str = LOOPBACK
    """Addresses and networks, with commas, whose X-Forwarded-For says who the client is; `*`: anybody's."""
    allowed_hosts: tuple[str, ...] = ()
    """Names, beside this machine's own, by which it may be asked; `*.example.com`: any below; `*`: any."""
    log_texts: bool = False
    """Whether the log may hold the texts."""

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_sentence(cls, given: object, check: "ModelWrapValidatorHandler[Settings]") -> "Settings":
        try:
            settings = check(given)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            if "unexpected" in first["type"] or not isinstance(first["input"], int | float):
                raise  # a slip of ours, not of who started the server
            raise ServingError(f"{first['loc'][0]} is {first['input']:g}. Give a number above 0.") from error
        for item in settings.trusted_proxies.split(","):
            try:
                if item.strip() != "*":
                    ipaddress.ip_network(item.strip())
            except ValueError as error:
                raise ServingError(
                    f"trusted_proxies has {item.strip()!r}, which is no address. "
                    "Give addresses or networks such as 10.0.0.0/8, with commas."
                ) from error
        for name in settings.allowed_hosts:
            if not re.fullmatch(r"\*|(\*\.)?[A-Za-z0-9._-]+", name):
                raise ServingError(
                    f"allowed_hosts has {name!r}, which is no name. Give names such as model.example.com, "
                    "without http:// and port."
                )
        return settings


def allowed_hosts(given: str | None = None) -> tuple[str, ...]:
    """Return names, of a text or of the environment, that are separated by commas or spaces."""
    given = os.environ.get(ALLOWED_HOSTS, "") if given is None else given
    return tuple(given.replace(",", " ").lower().split())


@dataclass(frozen=True)
class Classified:
    """What a model made of the texts of one request."""

    model: str
    labels: tuple[str, ...]
    logits: NDArray[np.float32]
    """Of shape (texts, labels), in input order."""
    encoded: EncodedTexts
    curve: Sequence[CoveragePoint] = ()
    """By which a threshold is chosen for a precision: as it was recorded when the model was loaded."""
    scope: Scope | None = None
    classifier: Classifier | None = None
    """The model that answered."""


# What comes in.


def _listed(inputs: object, info: ValidationInfo) -> object:
    """Return one text as a list. Raises BodyTooLarge for more texts than a request may hold."""
    most = info.context["max_texts"] if info.context else 1
    if isinstance(inputs, list) and len(inputs) > most:
        raise BodyTooLarge(
            f"{len(inputs)} texts are more than the {most} one request may hold. Send them in parts."
        )
    return [inputs] if isinstance(inputs, str) else inputs


_BATCH = 'Give a text, or a batch of texts as [["…"], ["…"]].'


class Batch(NamedTuple):
    """The texts of a request to /predict. `single`: one text, answered by one list."""

    texts: list[str]
    single: bool


def _batch(inputs: object, info: ValidationInfo) -> Batch:
    """Read what text-embeddings-inference takes: a batch is a list of lists; `[str, str]` would be a pair."""
    items = _listed(inputs, info)
    if not isinstance(items, list) or not items:
        raise BadRequest(f"inputs is missing. {_BATCH}")
    single = not isinstance(items[0], list)
    rows = [items] if single else items
    for place, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != 1 or not isinstance(row[0], str):
            raise BadRequest(
                f'Item {place} of inputs is no single text. A batch is [["…"], ["…"]]; '
                "this model can't classify pairs of texts."
            )
    return Batch([row[0] for row in rows], single)


Texts = Annotated[
    list[str],
    FailFast(),
    BeforeValidator(_listed, json_schema_input_type=str | list[str]),
    Field(description="A text, or a list of texts, such as tweets. Long ones are cut."),
]
TopK = Annotated[StrictInt, Field(ge=1, le=MAX_TOP_K)] | None
_One = Annotated[list[str], Field(min_length=1, max_length=1)]
_BATCH_JSON = str | _One | Annotated[list[_One], Field(min_length=1)]


def _names(models: object) -> list[str] | None:
    if models is not None and not (isinstance(models, list) and all(isinstance(n, str) for n in models)):
        raise BadRequest("models is not a list of names.")
    return models


class _Closed(BaseModel, extra="forbid"):
    """What takes no keys but its own. pydantic would list all others; a body may have 100,000 of them."""

    has_no: ClassVar[str]
    """How the sentence about one begins."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, given: object) -> object:
        unknown = [key for key in given if key not in cls.model_fields] if isinstance(given, dict) else []
        if unknown:
            known = ", ".join(cls.model_fields)
            raise BadRequest(f"{cls.has_no} {unknown[0][:80]!r}. Known: {known}.")
        return given


def _lower(given: object) -> object:
    return given.lower() if isinstance(given, str) else given


def _flag(*words: str) -> PlainValidator:
    """Return the check of what Transformers takes as true, false or one of some words."""

    def check(given: object, info: ValidationInfo) -> object:
        if given is None or isinstance(given, bool) or (isinstance(given, str) and given in words):
            return given
        raise BadRequest(f"{info.field_name} is {_shown(given)}. Give true, false, {' or '.join(words)}.")

    return PlainValidator(check, json_schema_input_type=bool | Literal[words])  # type: ignore[valid-type]


_NOT_CUT = "do_not_truncate"
_Share = Annotated[float, Field(gt=0, le=1, strict=True)] | None


Precision = Annotated[
    _Share,
    Field(description="Say of each answer whether it is `sure`, so that this share of those is right."),
]
AbstainBelow = Annotated[
    _Share, Field(description="The same, by the confidence below which an answer is not sure.")
]
OutOfScope = Annotated[
    StrictBool | None,
    Field(
        description="true: say of each text whether it is `out_of_scope`, unlike those of the training: more "
        "of its tokens were hardly in them than of 99 of 100 validation texts."
    ),
]
RestsOn = Annotated[
    StrictBool | None,
    Field(
        description="true: name the labelled texts that each answer `rests_on`, which retrieval and the "
        "nearest texts have; of other models there are none."
    ),
]


class HubParameters(_Closed):
    """The parameters of a request of the Hub's API: those of Transformers' pipeline, and when to abstain."""

    has_no = "parameters has no"
    top_k: TopK = None
    function_to_apply: Annotated[Literal["softmax", "sigmoid", "none"] | None, BeforeValidator(_lower)] = None
    return_all_scores: Annotated[
        StrictBool | None, Field(description="Older clients' top_k: false gives the best label alone.")
    ] = None
    truncation: Annotated[
        bool | str | None,
        _flag("longest_first", "only_first", _NOT_CUT),
        Field(description="false: a text that is too long is refused, and not cut."),
    ] = None
    max_length: Annotated[
        Annotated[StrictInt, Field(ge=1)] | None,
        Field(description="Cut texts to so many tokens, the prompt's included, where the model takes more."),
    ] = None
    padding: Annotated[
        bool | str | None,
        _flag("longest", "max_length", "do_not_pad"),
        Field(description="Taken and not used: it changes no answer."),
    ] = None
    batch_size: Annotated[
        Annotated[StrictInt, Field(ge=1)] | None,
        Field(description="Taken and not used: the server makes batches of all that waits."),
    ] = None
    precision: Precision = None
    abstain_below: AbstainBelow = None
    out_of_scope: OutOfScope = None
    rests_on: RestsOn = None

    @property
    def most(self) -> int | None:
        """How many labels to return for each text; None: all. `top_k` comes before what it replaced."""
        return 1 if self.return_all_scores is False and "top_k" not in self.model_fields_set else self.top_k

    @property
    def cuts(self) -> bool:
        """Whether a text that is too long loses its end; else it is refused."""
        return self.truncation not in (False, _NOT_CUT)


class HubRequest(_Closed):
    """A request of the Hub's text-classification API."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"inputs": "what a lovely day"},
                {"inputs": ["good", "bad"], "parameters": {"top_k": 1}},
            ]
        }
    )
    has_no = "A request has no"
    inputs: Texts
    parameters: HubParameters | None = None
    options: Annotated[
        JsonObject | None, Field(description="Taken and not used: how the Hub was to queue and to cache.")
    ] = None

    @property
    def asked(self) -> HubParameters:
        """The parameters, or what they are when none are given."""
        return self.parameters or HubParameters()


class PredictRequest(HubParameters):
    """A request of text-embeddings-inference's /predict. It takes the Hub's parameters, too."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"inputs": "what a lovely day"}, {"inputs": [["good"], ["bad"]]}]}
    )
    has_no = "A request has no"
    inputs: Annotated[Batch, PlainValidator(_batch, json_schema_input_type=_BATCH_JSON)]
    raw_scores: StrictBool | None = False
    truncate: StrictBool | None = True
    truncation_direction: Annotated[Literal["right"] | None, BeforeValidator(_lower)] = None
    parameters: HubParameters | None = None

    @property
    def asked(self) -> HubParameters:
        """The parameters, wherever they stand."""
        given = self.parameters.model_dump(exclude_unset=True) if self.parameters else {}
        if self.truncate is False:
            given["truncation"] = False
        return self.model_copy(update=given)


class RetrieveRequest(_Closed):
    """Texts whose answers rest on the nearest labelled texts of the index, too."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"inputs": "what a lovely day"}]})
    has_no = "A request has no"
    inputs: Texts
    model: Annotated[StrictStr | None, Field(description="Default: the first that is served.")] = None
    k: Annotated[StrictInt, Field(ge=1, le=MAX_NEAREST, description="Neighbours that vote.")] = NEAREST
    vote: Annotated[
        float, Field(ge=0, le=1, strict=True, description="Of the neighbours' vote in the answer.")
    ] = VOTE_SHARE


class LabelledTexts(_Closed):
    """Labelled texts for the index: a label for each text."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"inputs": ["that gig was zorgle"], "labels": ["positive"]}]}
    )
    has_no = "A request has no"
    inputs: Texts
    labels: Annotated[list[StrictStr], FailFast(), Field(description="The label of each text.")]


class CompareRequest(_Closed):
    """A request to compare models; all of them when none are named."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"inputs": "not bad at all"}]})
    has_no = "A request has no"
    inputs: Texts
    models: Annotated[
        list[str] | None,
        PlainValidator(_names, json_schema_input_type=Annotated[list[str], Field(min_length=2)]),
        Field(description="Which models to ask; all of them when it is left out."),
    ] = None


class ClassifyArguments(_Closed):
    """What the MCP tool `classify` takes."""

    has_no = "classify has no argument"
    inputs: Texts
    model: Annotated[str | None, Field(description="Which model to ask.")] = None
    top_k: Annotated[
        TopK, Field(description="How many labels to return for each text; all when it is left out.")
    ] = None
    precision: Precision = None
    abstain_below: AbstainBelow = None
    out_of_scope: OutOfScope = None
    rests_on: RestsOn = None


class CompareArguments(CompareRequest):
    """What the MCP tool `compare` takes."""

    has_no = "compare has no argument"


def decode(body: bytes) -> JsonObject:
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


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        [(twice, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"{twice[:40]!r} stands in it twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


_ADVICE = {
    "inputs": "Give a text, or a list of texts.",
    "top_k": f"Give a whole number from 1 to {MAX_TOP_K}.",
    "function_to_apply": "Give softmax, sigmoid or none.",
    "raw_scores": "Give true or false.",
    "truncate": "Give true or false.",
    "truncation_direction": "Give right: a long text loses its end.",
    **dict.fromkeys(("return_all_scores", "out_of_scope", "rests_on"), "Give true or false."),
    "max_length": "Give a whole number of tokens from 1.",
    **dict.fromkeys(("precision", "abstain_below"), "Give a share above 0 and up to 1, such as 0.9."),
    "batch_size": "Give a whole number from 1.",
    "k": f"Give a whole number from 1 to {MAX_NEAREST}.",
    "vote": "Give a share from 0 to 1.",
    "labels": 'Give a label for each text, as {"inputs": ["…"], "labels": ["…"]}.',
    "options": "Give an object, or leave it out.",
}


def read(kind: type[M], body: Mapping[str, object], *, max_texts: int, models: Sequence[str] = ()) -> M:
    """Return a request; `models` are the names that are served.

    Raises BadRequest or BodyTooLarge: one sentence with the first mistake, what was found, and what to give.
    """
    try:
        return kind.model_validate(body, context={"max_texts": max_texts})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        *path, name = first["loc"]
        found, advice = first["input"], _ADVICE.get(str(name), "")
        if first["type"] == "missing":
            some = _BATCH if kind is PredictRequest else 'Give a text, or a list of texts: {"inputs": "…"}.'
            some = advice if name == "labels" else some
            raise BadRequest(f"{name} is missing. {some}") from error
        if path in (["inputs"], ["labels"]):
            raise BadRequest(f"Item {name} of {path[0]} is {_kind(found)}, not a text.") from error
        if name == "model":
            raise BadRequest(f"model is not a name. Known: {', '.join(models)}.") from error
        if name == "parameters":
            raise BadRequest(f"parameters is {_kind(found)}, not an object.") from error
        shown = _kind(found) if name == "inputs" else _shown(found)
        raise BadRequest(f"{name} is {shown}. {advice}") from error


def models_to_compare(request: CompareRequest, names: Sequence[str]) -> list[str]:
    """Return the models that a request names, or all. Raises BadRequest for fewer than two, or one twice."""
    if request.models is None and len(names) < 2:
        raise BadRequest(f"Comparing needs two models or more; this server has one ({names[0]}).")
    models = list(names) if request.models is None else request.models
    if len(models) < 2 or len(set(models)) < len(models):
        raise BadRequest(f"models must name two models or more, each once. Known: {', '.join(names)}.")
    return models


def _shown(value: object) -> str:
    return _kind(value) if isinstance(value, dict | list) else json.dumps(value)[:40]


def _kind(value: object) -> str:
    names = {type(None): "null", bool: "true or false", dict: "an object", list: "a list", str: "a text"}
    return names.get(type(value), "a number")


# What goes out. The models of the answers describe them; answers are made as plain lists, which is faster.


class Score(BaseModel):
    """A label with its score."""

    label: str = Field(examples=["positive"])
    score: float = Field(examples=[0.91])


class Ground(Score):
    """A labelled text that an answer rests on; its score is its similarity, higher is nearer."""

    text: str


class Ranked(Score):
    """One of a text's labels."""

    sure: Annotated[
        bool | None,
        Field(description="With `precision` or `abstain_below`: whether the text's answer is sure."),
    ] = None
    out_of_scope: Annotated[
        bool | None,
        Field(description="Where it is asked: whether the text is unlike the texts of the training."),
    ] = None
    rests_on: Annotated[
        list[Ground] | None,
        Field(
            description="Where it is asked, of a text's best label: the labelled texts that the answer rests "
            "on, nearest first."
        ),
    ] = None


class Retrieved(Score):
    """An answer, what the model alone says, and the labelled texts that voted, nearest first."""

    scores: dict[str, float]
    model: str
    rests_on: list[Ground]


class ModelAnswer(Score):
    """What one of the compared models says of a text."""

    scores: dict[str, float]


class ComparedText(BaseModel):
    """What each model says of a text, and whether they agree."""

    agree: bool
    predictions: dict[str, ModelAnswer]


class Comparison(BaseModel):
    """The answer to a comparison. `agreement`: the share of texts; None without a text or a common label."""

    models: list[str]
    common_labels: list[str]
    agreement: float | None
    results: list[ComparedText]


class ClassifierInfo(BaseModel):
    """The labels of a model by their numbers, and the numbers by the labels."""

    id2label: dict[str, str] = Field(examples=[{"0": "negative", "1": "positive"}])
    label2id: dict[str, int] = Field(examples=[{"negative": 0, "positive": 1}])


class ModelInfo(BaseModel):
    """What is served by default and within which limits, as text-embeddings-inference tells it."""

    model_config = ConfigDict(protected_namespaces=())
    model_id: str
    model_sha: str | None = None
    model_dtype: str
    model_type: dict[Literal["classifier"], ClassifierInfo]
    max_concurrent_requests: Annotated[int, Field(description="Texts that may wait, or be in work.")]
    max_input_length: Annotated[int, Field(description="Tokens, the prompt's included.")]
    max_batch_tokens: int
    max_batch_requests: int | None = None
    max_client_batch_size: Annotated[int, Field(description="Texts of one request.")]
    auto_truncate: bool = True
    tokenization_workers: int
    version: str
    sha: str | None = None
    docker_label: str | None = None


class Refusal(BaseModel):
    """Why a request was refused."""

    error: Annotated[str, Field(description="One sentence: what was found, what to do.")]
    error_type: Annotated[
        str | None, Field(description="On /predict, as text-embeddings-inference names it.")
    ] = None
    estimated_time: Annotated[float | None, Field(description="With 503: seconds a model takes to load.")] = (
        None
    )


def encode(answer: Answer) -> bytes:
    """Return compact JSON, in ASCII."""
    return json.dumps(answer, separators=(",", ":"), allow_nan=False).encode("ascii")


def hub_answer(classified: Classified, request: HubRequest) -> list[list[dict[str, object]]]:
    """Return, for each text, its labels with their scores, best first: what InferenceClient parses."""
    asked = request.asked
    function = asked.function_to_apply or "softmax"
    return ranked(classified, function, asked.most, asked=asked)


def predict_answer(classified: Classified, request: PredictRequest) -> Answer:
    """Return labels with their scores, best first: one list for a text, a list of lists for a batch."""
    asked = request.asked
    function = asked.function_to_apply or ("none" if request.raw_scores else "softmax")
    rows = ranked(classified, function, asked.most, asked=asked)
    return rows[0] if request.inputs.single else rows


def ranked(
    classified: Classified,
    function: str = "softmax",
    top_k: int | None = None,
    *,
    asked: HubParameters | ClassifyArguments | None = None,
) -> list[list[dict[str, object]]]:
    """Return for each text its labels, best first, scored by softmax or sigmoid, or with their logits.

    `asked`: what else is to be said of each text: whether its answer is sure, whether it is out of scope,
    what the answer rests on.
    Raises PredictionError where the model has no record for that.
    """
    found = softmax(classified.logits) if function == "softmax" else classified.logits.astype(np.float64)
    more: list[dict[str, bool]] = [{} for _ in found]
    curve = classified.curve
    least = asked and threshold_of(curve, precision=asked.precision, abstain_below=asked.abstain_below)
    if least is not None:
        chances = found if function == "softmax" else softmax(classified.logits)
        more = [{"sure": bool(row.max() >= least)} for row in chances]
    if asked and asked.out_of_scope:
        scope = needed(classified.scope)
        for each, ids in zip(more, classified.encoded.token_ids, strict=True):
            each["out_of_scope"] = scope.unknown_share(ids) > scope.above
    if function == "sigmoid":
        found = 1 / (1 + np.exp(-found.clip(-700, 700)))
    order = np.argsort(-found, axis=1, kind="stable")[:, :top_k]
    labels = classified.labels
    rows: list[list[dict[str, object]]] = [
        [{"label": labels[column], "score": row[column], **said} for column in columns]
        for row, columns, said in zip(found.tolist(), order.tolist(), more, strict=True)
    ]
    if asked and asked.rests_on:
        for (best, *_), ids in zip(rows, classified.encoded.token_ids, strict=True):
            best["rests_on"] = _grounds(grounds_of(ids))
    return rows


def _grounds(examples: Sequence[Example]) -> list[dict[str, object]]:
    return [{"text": one.text, "label": one.label, "score": one.similarity} for one in examples]


def retrieved_answer(
    answers: Sequence[Prediction], alone: Sequence[Prediction], labels: Sequence[str]
) -> list[dict[str, object]]:
    """Return each text's answer with its ground; `alone`: what the model says without the neighbours."""
    return [
        {
            "label": answer.label,
            "score": max(answer.probabilities),
            "scores": dict(zip(labels, answer.probabilities, strict=True)),
            "model": own.label,
            "rests_on": _grounds(rests_on(answer)),
        }
        for answer, own in zip(answers, alone, strict=True)
    ]


def compare_answer(answers: Sequence[Classified]) -> dict[str, object]:
    """Return for each text what each model says and whether they agree, and how often they do."""
    per_model = [
        [
            {
                "label": classified.labels[row.argmax()],
                "score": float(row.max()),
                "scores": dict(zip(classified.labels, row.tolist(), strict=True)),
            }
            for row in softmax(classified.logits)
        ]
        for classified in answers
    ]
    names = [classified.model for classified in answers]
    results = []
    for row in zip(*per_model, strict=True):
        agree = len({str(answer["label"]).casefold() for answer in row}) == 1
        results.append({"agree": agree, "predictions": dict(zip(names, row, strict=True))})
    known = set.intersection(*(set(map(str.casefold, classified.labels)) for classified in answers))
    common = [label for label in answers[0].labels if label.casefold() in known]
    agreement = sum(bool(row["agree"]) for row in results) / len(results) if results and common else None
    return {"models": names, "common_labels": common, "agreement": agreement, "results": results}
