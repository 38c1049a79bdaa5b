"""Our OpenAPI document is true: schemathesis makes up requests from it, and every answer is one that it announces."""

import copy
import json

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from openai.resources.chat.completions import Completions as ChatCompletions
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error, response_schema_conformance
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance
from starlette.routing import Route

from journeyman.engines.local.api.door import DRAIN
from journeyman.engines.local.api.openapi import OPERATIONS, openapi
from tests.engines.local.conftest import WAIT

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
ASKED = [operation for operation in OPERATIONS if operation.path != DRAIN]
SMALL = {"max_tokens": 3, "max_completion_tokens": 3, "max_output_tokens": 3, "n": 2, "best_of": 2}
"""No number that a schema allows is wrong; these keep the test short."""


@pytest.fixture(scope="module")
def known():
    """The document as somebody reads it who knows which models there are, and who is modest."""
    document = copy.deepcopy(openapi())
    document["paths"]["/v1/models/{name}"]["get"]["parameters"][0]["schema"] = {"enum": ["tiny", "red", "purple"]}
    for name, schema in document["components"]["schemas"].items():
        properties = schema.get("properties", {})
        if name.endswith("Body") and "model" in properties:
            properties["model"] = {"enum": ["tiny", "red"]}
            schema["required"] = sorted({*schema.get("required", ()), *(properties.keys() & SMALL.keys())})
            for field in properties.keys() & SMALL.keys():
                properties[field] = {"type": "integer", "minimum": 1, "maximum": SMALL[field]}
    return schemathesis.openapi.from_dict(document)


@pytest.fixture(scope="module")
def plain():
    return schemathesis.openapi.from_dict(copy.deepcopy(openapi()))


def ask(served, schema, operation, mode, examples):
    strategy = schema[operation.path][operation.method].as_strategy(generation_mode=mode)

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(case=strategy)
    def asked(case):
        answer = case.call(base_url=served.url, timeout=WAIT)
        # A deadline that nobody could keep is no fault of the server.
        checks = [check for check in CHECKS if answer.status_code != 504 or check is not not_a_server_error]
        case.validate_response(answer, checks=checks)
        seen.add(answer.status_code)

    seen = set()
    asked()
    return seen


@pytest.mark.parametrize("operation", ASKED, ids=lambda operation: f"{operation.method} {operation.path}")
def test_every_answer_is_one_that_the_document_announces(served, known, plain, operation):
    seen = ask(served, known, operation, GenerationMode.POSITIVE, 30)
    assert 200 in seen or "lora" in operation.path, "nothing made up here is an adapter"
    if operation.body is not None or any(parameter["in"] == "query" for parameter in operation.parameters):
        ask(served, plain, operation, GenerationMode.POSITIVE, 5)
        ask(served, plain, operation, GenerationMode.NEGATIVE, 15)


def test_the_document_is_served_and_lists_every_route(served):
    found = served.get("/openapi.json")
    assert found == json.loads(json.dumps(openapi()))
    application = served.engine.app()._app
    routes = {
        (method.lower(), route.path.replace(":path", ""))
        for route in application.routes
        if isinstance(route, Route)
        for method in route.methods - {"HEAD"}
    }
    assert routes == {(operation.method, operation.path) for operation in OPERATIONS}


def test_the_document_knows_what_the_stock_client_sends():
    chat = openapi()["components"]["schemas"]["ChatBody"]["properties"]
    assert {"model", "messages", "stream", "tools"} <= chat.keys()
    assert {"model", "messages", "stream", "tools"} <= set(ChatCompletions.create.__annotations__)
