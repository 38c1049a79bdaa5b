"""The gateway's OpenAPI document is true: whatever schemathesis makes up from it gets an answer that it announces."""

import copy
import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error, response_schema_conformance
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance
from starlette.routing import Route

from journeyman.gateway.calls import ROUTES
from journeyman.gateway.openapi import openapi
from journeyman.gateway.otlp import PATHS as OTLP_PATHS
from tests.clients.provider import running
from tests.clients.serving import Serving, serving

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
OPERATIONS = [(path, method) for path, item in openapi()["paths"].items() for method in item]
PROTOBUF = "application/x-protobuf"
WAIT = 10


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Serving]:
    with running() as provider, serving(tmp_path_factory.mktemp("home"), provider) as found:
        yield found


def schema(**models: str):
    """The document as somebody reads it who writes no protobuf, and who may know which models there are."""
    document = copy.deepcopy(openapi())
    for path in OTLP_PATHS:
        del document["paths"][path]["post"]["requestBody"]["content"][PROTOBUF]
    for path in ROUTES if models else ():
        content = document["paths"][path]["post"]["requestBody"]["content"]
        content["application/json"]["schema"]["properties"]["model"] = {"enum": sorted(models.values())}
    return schemathesis.openapi.from_dict(document)


def ask(served: Serving, document, path: str, method: str, mode: GenerationMode, examples: int = 15) -> set[int]:
    """The statuses of the answers to so many made-up requests, each of which the document announces."""
    statuses = set()

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(case=document[path][method].as_strategy(generation_mode=mode))
    def asked(case):
        answer = case.call(base_url=served.url, timeout=WAIT)
        absent = answer.status_code == 502 and "the provider nowhere failed" in answer.text
        checks = [check for check in CHECKS if not (absent and check is not_a_server_error)]
        case.validate_response(answer, checks=checks)
        statuses.add(answer.status_code)

    asked()
    return statuses


@pytest.mark.parametrize(("path", "method"), OPERATIONS, ids=lambda part: part.strip("/"))
def test_every_answer_is_one_that_the_document_announces(served, path, method):
    seen = ask(served, schema(), path, method, GenerationMode.POSITIVE)
    if path in ROUTES:
        assert seen <= {400, 404}, "nobody made up a model's name"
        assert 200 in ask(served, schema(here="open/m"), path, method, GenerationMode.POSITIVE)
        assert ask(served, schema(gone="nowhere/m"), path, method, GenerationMode.POSITIVE, 5) == {502}
    elif path != "/v1/usage/totals":
        assert seen & {200, 201}
    if "requestBody" in openapi()["paths"][path][method]:
        refused = ask(served, schema(), path, method, GenerationMode.NEGATIVE)
        assert refused & {400, 415}


def test_the_document_is_served_and_lists_every_route(served):
    with urllib.request.urlopen(f"{served.url}/openapi.json", timeout=WAIT) as answer:
        assert json.load(answer) == json.loads(json.dumps(openapi()))
    by_hand = {(path, "post") for path in (*ROUTES, *OTLP_PATHS)}
    routed = {
        (route.path, method.lower())
        for route in served.gateway._rest.routes
        if isinstance(route, Route)
        for method in route.methods - {"HEAD"}
    }
    assert by_hand | routed == set(OPERATIONS)


@pytest.mark.parametrize("path", [*ROUTES, *OTLP_PATHS])
def test_a_route_that_is_asked_by_another_method_says_which_it_takes(served, path):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{served.url}{path}", timeout=WAIT)
    with refused.value as answer:
        assert (answer.code, answer.headers["allow"]) == (405, "POST")
        assert "is not served here" in json.load(answer)["error"]["message"]
