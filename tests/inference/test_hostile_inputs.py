"""Hostile requests: schemathesis over the OpenAPI document, hypothesis on texts, JSON odd or wrong."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.hostile import TEXT, ask, fetch, shared_target

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
DEEP = 100_000
POSTED = ("/", "/predict", "/v1/compare")


@pytest.fixture(scope="module")
def server(trained_gpt2):
    return shared_target(trained_gpt2.artifact)


@pytest.fixture(autouse=True)
def still_right(server):
    """Whatever a test sent, the next client gets its right answer."""
    yield
    server.still_answers()


@pytest.mark.slow
def test_schemathesis_finds_no_server_error_and_no_answer_that_openapi_does_not_describe(server, tmp_path):
    command = [
        SCHEMATHESIS,
        "run",
        f"{server.running.url}/openapi.json",
        "--seed",
        "7",
        "--max-examples",
        "60",
        "--phases",
        "examples,coverage,fuzzing",
        "--no-color",
        "--workers",
        "1",
        "--checks",
        "not_a_server_error,status_code_conformance,content_type_conformance,"
        "response_schema_conformance,unsupported_method",
        "--generation-database",
        "none",
        "--request-timeout",
        "20",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
    assert "Seed: 7" in done.stdout
    assert int(re.search(r"generated, (\d+) passed", done.stdout)[1]) > 300


texts = st.text(max_size=400) | st.text(alphabet=st.characters(categories=["Cs", "Co", "Cc", "Mn", "So"]))


@settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(texts, min_size=1, max_size=5))
def test_any_texts_are_answered(server, inputs):
    status, answer = ask(server.port, {"inputs": inputs})
    assert status == 200
    assert len(answer) == len(inputs)
    for row in answer:
        assert sum(label["score"] for label in row) == pytest.approx(1, abs=1e-4)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
bodies = json_values | st.fixed_dictionaries(
    {},
    optional={
        "inputs": json_values | st.text(),
        "parameters": json_values
        | st.fixed_dictionaries({}, optional={"top_k": json_values, "function_to_apply": json_values}),
        "models": json_values,
        "truncate": json_values,
        "raw_scores": json_values,
    },
)


@pytest.mark.parametrize("path", POSTED)
@settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(content=bodies)
def test_any_json_gets_an_answer_or_one_sentence(server, path, content):
    status, answer = ask(server.port, content, path)
    assert status in (200, 413, 422)
    if status != 200:
        assert is_one_sentence(answer["error"]), answer


def is_one_sentence(text: str) -> bool:
    return 10 < len(text) < 300 and text.rstrip().endswith((".", "}.")) and "\n" not in text


ODD = {
    "empty": b"",
    "spaces": b"   ",
    "a torn object": b'{"inputs": "a',
    "two objects": b'{"inputs": "a"}{"inputs": "b"}',
    "deep list": b'{"inputs": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep object": b'{"inputs": ' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
    "deep and torn": b"[" * DEEP,
    "NaN": b'{"inputs": "a", "unknown": NaN}',
    "Infinity": b'{"inputs": "a", "unknown": [-Infinity]}',
    "1e999": b'{"inputs": 1e999}',
    "a number of 100,000 digits": b'{"inputs": ' + b"9" * 100_000 + b"}",
    "not UTF-8": b'{"inputs": "\xff\xfe"}',
    "UTF-16": '{"inputs": "a"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"inputs": "a"}',
    "one key twice": b'{"inputs": "a", "inputs": "b"}',
    "null": b"null",
    "a list": b'["a"]',
    "inputs missing": b'{"input": "a"}',
    "inputs null": b'{"inputs": null}',
    "an empty text among numbers": b'{"inputs": ["", 5]}',
    "control characters": b'{"inputs": "a\x00b"}',
}


@pytest.mark.parametrize("path", POSTED)
@pytest.mark.parametrize("name", ODD)
def test_odd_json_is_refused_in_one_sentence(server, name, path):
    status, answer = ask(server.port, ODD[name], path)
    assert status in (413, 422), answer
    assert is_one_sentence(answer["error"]), answer


def test_many_keys_and_one_of_them_twice_are_answered_before_the_client_gives_up(server):
    """The search for the key that stands twice must not be quadratic: it would take minutes."""
    keys = ",".join(f'"{number}":0' for number in range(30_000))
    status, answer = ask(server.port, f'{{{keys},"x":1,"x":2}}'.encode())
    assert status == 422
    assert "twice" in answer["error"]


def test_lone_surrogates_are_answered_as_the_classifier_does(server):
    status, answer = ask(server.port, b'{"inputs": "\\ud800 i love \\udfff this"}')
    assert (status, answer) == ask(server.port, {"inputs": "\ufffd i love \ufffd this"})


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "",
        "application/jsonp",
        "application/json-patch+json",
    ],
)
def test_a_wrong_content_type_is_refused(server, kind):
    status, answer = ask(server.port, {"inputs": TEXT}, **{"Content-Type": kind})
    assert status == 415
    assert is_one_sentence(answer["error"])


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip"])
def test_a_packed_body_is_refused_and_not_unpacked(server, encoding):
    status, _ = ask(server.port, b"\x1f\x8b\x08" + b"\x00" * 100, **{"Content-Encoding": encoding})
    assert status in (415, 422)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
def test_other_methods_are_refused(server, method):
    assert fetch(server.port, "/predict", method)[0] in (404, 405)


def test_cross_origin_requests_are_not_allowed_by_default(server):
    status, _ = fetch(
        server.port,
        "/predict",
        "OPTIONS",
        **{"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"},
    )
    assert status in (400, 404, 405)


def test_the_openapi_document_has_an_example_for_each_posted_body(server):
    document = json.loads(fetch(server.port, "/openapi.json")[1])
    for path in POSTED:
        content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert content.get("example") or content.get("examples") or "example" in json.dumps(content)
