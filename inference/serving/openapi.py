"""What the OpenAPI document says of each route: bodies, answers and errors, with examples. Data, no code."""

from typing import Any

TEXT = {"type": "string", "example": "what a lovely day"}
TEXTS = {"type": "array", "items": TEXT}
_INPUTS = {"oneOf": [TEXT, TEXTS], "description": "A text, or a list of texts."}
_SCORE = {
    "type": "object",
    "required": ["label", "score"],
    "properties": {"label": {"type": "string"}, "score": {"type": "number"}},
}
_RANKED = {"type": "array", "items": _SCORE}
_SCORES = [
    {"label": "positive", "score": 0.91},
    {"label": "neutral", "score": 0.06},
    {"label": "negative", "score": 0.03},
]
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"type": "string", "description": "One sentence: what was found, what to do."},
        "error_type": {
            "type": "string",
            "description": "On /predict, as text-embeddings-inference names it.",
        },
        "estimated_time": {"type": "number", "description": "With 503: seconds a model takes to load."},
    },
}
_REFUSALS = {
    401: ("No token, or a wrong one.", "A token is needed. Send the header 'Authorization: Bearer TOKEN'."),
    404: ("No such model.", "There is no model 'x' here. Known: demo."),
    408: ("The body came too slowly.", "The body did not arrive within 20 s."),
    413: ("Too large.", "2000 texts are more than the 1000 one request may hold. Send them in parts."),
    415: ("Not JSON.", "The content type is 'text/plain'. Send application/json."),
    422: ("Not what this route takes.", "inputs is a number. Give a text, or a list of texts."),
    429: ("Too much at once.", "The queue is full (texts: 980, tokens: 24500). Try again in 9 s."),
    503: ("The model is being loaded.", "Model demo is currently loading"),
    504: ("Not ready in time.", "The answer was not ready within 60 s. Send fewer texts."),
}


def _content(schema: dict[str, Any], example: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema, "example": example}}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the descriptions of error answers."""
    return {
        status: {
            "description": _REFUSALS[status][0],
            "content": _content(_ERROR, {"error": _REFUSALS[status][1]}),
        }
        for status in statuses
    }


_BODY_REFUSALS = refusals(401, 408, 413, 415, 422, 429, 503, 504)
_NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "One of the models that are served.",
    "schema": {"type": "string", "example": "demo"},
}


def _body(properties: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "required": ["inputs"], "properties": properties}
    named = {name: {"value": value} for name, value in examples.items()}
    return {"required": True, "content": {"application/json": {"schema": schema, "examples": named}}}


_HUB_BODY = _body(
    {
        "inputs": _INPUTS,
        "parameters": {
            "type": "object",
            "nullable": True,
            "additionalProperties": False,
            "properties": {
                "top_k": {"type": "integer", "minimum": 1, "maximum": 1000},
                "function_to_apply": {"type": "string", "enum": ["softmax", "sigmoid", "none"]},
            },
        },
    },
    {
        "one text": {"inputs": "what a lovely day"},
        "several": {"inputs": ["what a lovely day", "the train is late again"], "parameters": {"top_k": 1}},
    },
)
_SHARED = {"summary": "Classify, as the Hub's text-classification API"}
HUB: dict[str, Any] = {
    **_SHARED,
    "responses": {
        200: {
            "description": "For each text its labels with scores, best first.",
            "content": _content({"type": "array", "items": _RANKED}, [_SCORES]),
            "headers": {
                "X-Truncated-Texts": {
                    "description": "How many texts were too long and lost their end.",
                    "schema": {"type": "integer"},
                }
            },
        },
        **_BODY_REFUSALS,
    },
    "openapi_extra": {"requestBody": _HUB_BODY},
}
HUB_NAMED: dict[str, Any] = {
    **_SHARED,
    "responses": {**HUB["responses"], **refusals(404)},
    "openapi_extra": {"requestBody": _HUB_BODY, "parameters": [_NAME]},
}
PREDICT: dict[str, Any] = {
    "summary": "Classify, as text-embeddings-inference",
    "responses": {
        200: {
            "description": "Labels with scores, best first; a list of such lists for a batch.",
            "content": _content({"oneOf": [_RANKED, {"type": "array", "items": _RANKED}]}, _SCORES),
        },
        **_BODY_REFUSALS,
    },
    "openapi_extra": {
        "requestBody": _body(
            {
                "inputs": {
                    "oneOf": [
                        TEXT,
                        {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 1},
                        {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 1},
                        },
                    ]
                },
                "raw_scores": {"type": "boolean", "default": False},
                "truncate": {"type": "boolean", "default": True},
            },
            {"one text": {"inputs": "what a lovely day"}, "a batch": {"inputs": [["good"], ["bad"]]}},
        )
    },
}
COMPARE: dict[str, Any] = {
    "summary": "Ask two models or more, and see where they agree",
    "responses": {
        200: {
            "description": "For each text what each model says, and whether they agree.",
            "content": _content(
                {
                    "type": "object",
                    "required": ["models", "agreement", "results"],
                    "properties": {
                        "models": {"type": "array", "items": {"type": "string"}},
                        "agreement": {"type": "number", "nullable": True},
                        "results": {"type": "array", "items": {"type": "object"}},
                    },
                },
                {
                    "models": ["base", "demo"],
                    "agreement": 0.0,
                    "results": [
                        {
                            "agree": False,
                            "predictions": {
                                "base": {"label": "neutral", "score": 0.6, "scores": {"neutral": 0.6}},
                                "demo": {"label": "positive", "score": 0.9, "scores": {"positive": 0.9}},
                            },
                        }
                    ],
                },
            ),
        },
        **_BODY_REFUSALS,
        **refusals(404),
    },
    "openapi_extra": {
        "requestBody": _body(
            {"inputs": _INPUTS, "models": {"type": "array", "items": {"type": "string"}, "minItems": 2}},
            {"all models": {"inputs": "not bad at all"}},
        )
    },
}
_OBJECT = {"type": "object"}
HEALTH: dict[str, Any] = {
    "summary": "Is the process alive",
    "responses": {200: {"description": "It is.", "content": _content(_OBJECT, {"status": "ok"})}},
}
READY: dict[str, Any] = {
    "summary": "Is every model loaded and warmed up",
    "responses": {
        200: {"description": "All are.", "content": _content(_OBJECT, {"status": "ready"})},
        503: {"description": "Not yet, or no more.", "content": _content(_OBJECT, {"status": "loading"})},
    },
}
VERSION: dict[str, Any] = {
    "summary": "What is served: models, engines, provenance, versions",
    "responses": {
        200: {"description": "No path of the machine is told.", "content": _content(_OBJECT, {"models": []})},
        **refusals(401, 429),
    },
}
METRICS: dict[str, Any] = {
    "summary": "Counts, in Prometheus' text format",
    "responses": {200: {"description": "Metrics.", "content": {"text/plain": {}}}, **refusals(401)},
}
