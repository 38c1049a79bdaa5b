"""Each format's documented row shapes, as their own tools write them, become the same exchanges and feedback."""

import json
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journeyman.capture.imports import langfuse, tensorzero
from journeyman.capture.imports.importing import FORMATS
from journeyman.capture.imports.rows import Origin, moment, number
from journeyman.errors import InvalidInput
from journeyman.records import Exchange, Feedback, WireExchange

AT = 1_782_900_000_000_000
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
ASK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Capital of Tasmania?"}]
SAY = {"role": "assistant", "content": "Hobart."}
REQUEST = {"model": "gpt-4.1", "messages": ASK, "temperature": 0.2, "tools": [TOOL]}
ANSWER = {
    "id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4.1-2025-04-14",
    "choices": [{"index": 0, "message": SAY, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 19, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 8}},
}  # fmt: skip


def read(format, row, *, beside=()):
    """What a row becomes: checked exchanges, then feedback. `beside` are other rows of the same import."""
    known = FORMATS[format]
    aside = [kept for kept in (known.aside(each) for each in (*beside, row)) if kept] if known.aside else []
    origin = Origin(format, AT, lambda key: [kept for name, kept in aside if name == key])
    found = known.read_row(json.loads(json.dumps(row)), origin)
    exchanges = [each.exchange() for each in found if isinstance(each, WireExchange)]
    return exchanges, [each for each in found if isinstance(each, Feedback)]


def one(format, row, **options) -> Exchange:
    (made,), _ = read(format, row, **options)
    return made


def said(exchange):
    return [(each.role, each.text) for each in (*exchange.messages, exchange.reply)]


THE_TALK = [("system", "Be brief."), ("user", "Capital of Tasmania?"), ("assistant", "Hobart.")]


def test_openai_chat():
    made = one(
        "openai-chat", {"messages": [*ASK, {**SAY, "weight": 1}], "tools": [TOOL], "metadata": {"stage": "gold"}}
    )
    assert said(made) == THE_TALK
    assert (made.state, made.fidelity, made.source) == ("complete", "lossy", "import:openai-chat")
    assert made.tags == {"stage": "gold"}
    assert made.tools[0].function.name == "look_up"
    assert made.reply.model_extra["weight"] == 1


def test_openai_chat_with_the_older_functions():
    made = one("openai-chat", {"messages": [*ASK, SAY], "functions": [TOOL["function"]]})
    assert made.tools[0].function.name == "look_up"


def test_openai_preference_is_the_other_reply_and_its_correction():
    row = {
        "input": {"messages": ASK},
        "preferred_output": [SAY],
        "non_preferred_output": [{**SAY, "content": "Perth."}],
    }
    (made,), (given,) = read("openai-chat", row)
    assert made.reply.text == "Perth."
    assert (given.exchange_id, given.correction.text) == (made.id, "Hobart.")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "no list of messages"),
        ({"messages": []}, "no list of messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "robot"),
        ({"messages": ["hello"]}, "message 1 is no object"),
        ({"messages": ASK}, "ends with a user message"),
    ],
)
def test_openai_chat_says_why_a_row_cannot_be_used(row, reason):
    with pytest.raises(InvalidInput, match=reason):
        read("openai-chat", row)


def test_openpipe_log():
    made = one("openpipe", {"input": REQUEST, "output": ANSWER, "tags": {"prompt_id": "capital"}})
    assert said(made) == THE_TALK
    assert (made.usage.prompt_tokens, made.usage.completion_tokens, made.usage.cached_prompt_tokens) == (19, 3, 8)
    assert (made.model, made.served, made.sampling.temperature) == ("gpt-4.1", "gpt-4.1-2025-04-14", 0.2)
    assert (made.fidelity, made.tags, made.choices[0].finish_reason) == (
        "reconstructed",
        {"prompt_id": "capital"},
        "stop",
    )


def test_openpipe_log_of_an_error():
    made = one("openpipe", {"input": REQUEST, "output": {"error": {"message": "rate limited"}}, "tags": {}})
    assert (made.state, made.choices) == ("failed", ())
    assert "rate limited" in made.error


def test_openpipe_entry_with_criteria_and_a_rejected_message():
    row = {"messages": [*ASK, SAY], "tools": [TOOL], "split": "TRAIN", "rejected_message": {**SAY, "content": "Perth."},
           "criteria": {"accuracy": {"score": 1, "explanation": "it is"}}}  # fmt: skip
    (made,), (preferred, judged) = read("openpipe", row)
    assert (made.reply.text, made.tags) == ("Perth.", {"split": "train"})
    assert (preferred.correction.text, preferred.exchange_id) == ("Hobart.", made.id)
    assert (judged.name, judged.value, judged.reason) == ("accuracy", 1.0, "it is")


def test_art_group_gives_a_session_a_trajectory_and_an_exchange_a_choice():
    call = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
    turns = [
        *ASK,
        {
            "finish_reason": "tool_calls",
            "index": 0,
            "message": {"role": "assistant", "content": None, "tool_calls": [call]},
        },
        {"role": "tool", "tool_call_id": "c1", "content": "Hobart"},
        {"finish_reason": "stop", "index": 0, "message": SAY},
    ]
    attempt = {"messages_and_choices": turns, "tools": [TOOL], "reward": 0.7, "metrics": {"turns": 2},
               "metadata": {"scenario_id": "7"}, "logs": []}  # fmt: skip
    exchanges, scores = read("art", {"trajectories": [attempt, {**attempt, "reward": 0.1}]})
    assert len(exchanges) == 4
    first, second = exchanges[:2]
    assert first.session == second.session != exchanges[2].session
    assert second.messages[:3] == (*first.messages, first.reply)
    assert [(each.name, each.value) for each in scores] == [
        ("reward", 0.7),
        ("turns", 2),
        ("reward", 0.1),
        ("turns", 2),
    ]
    assert scores[0].session == first.session
    assert {each.fidelity for each in exchanges} == {"reconstructed"}
    assert len({each.tags["art.group"] for each in exchanges}) == 1


def test_art_without_choices_takes_the_last_reply():
    made = one("art", {"messages_and_choices": [*ASK, SAY, {"role": "user", "content": "thanks"}], "reward": 1})
    assert (said(made), made.fidelity) == (THE_TALK, "lossy")


HELICONE = {
    "request_id": "r-1", "request_created_at": "2026-07-01T10:00:00.250+00:00", "request_body": REQUEST,
    "response_body": ANSWER, "response_status": 200, "request_user_id": "ana", "provider": "OPENAI", "delay_ms": 812,
    "time_to_first_token": 140, "costUSD": 0.0002, "response_model": "gpt-4.1-2025-04-14", "feedback_rating": True,
    "request_properties": {"Helicone-Session-Id": "s-9", "stage": "production"}, "scores": {"helpful": 0.5},
}  # fmt: skip


def test_helicone():
    (made,), scores = read("helicone", HELICONE)
    assert said(made) == THE_TALK
    assert made.at.isoformat() == "2026-07-01T10:00:00.250000+00:00"
    assert (made.fidelity, made.session, made.person, made.upstream) == ("exact", "s-9", "ana", "openai")
    assert (made.latency, made.time_to_first_token, made.cost_usd, made.status) == (0.812, 0.14, 0.0002, 200)
    assert (made.external_id, made.tags) == ("r-1", {"stage": "production"})
    assert [(each.name, each.value) for each in scores] == [("rating", 1.0), ("helpful", 0.5)]


def test_helicone_csv_holds_bodies_as_strings_and_streams_are_reconstructed():
    row = {**HELICONE, "request_body": json.dumps({**REQUEST, "stream": True}), "response_body": json.dumps(ANSWER)}
    made = one("helicone", {name: each if isinstance(each, str) else json.dumps(each) for name, each in row.items()})
    assert (said(made), made.fidelity, made.latency) == (THE_TALK, "reconstructed", 0.812)


def test_helicone_with_anthropics_bodies():
    request = {"model": "claude-sonnet-4-5", "system": "Be brief.", "messages": ASK[1:], "max_tokens": 50}
    answer = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "Hobart."}],
              "stop_reason": "end_turn", "usage": {"input_tokens": 10, "output_tokens": 3}}  # fmt: skip
    made = one("helicone", {**HELICONE, "request_body": request, "response_body": answer})
    assert (made.api, said(made)) == ("messages", THE_TALK)
    assert (made.usage.prompt_tokens, made.choices[0].finish_reason) == (10, "end_turn")


def test_helicone_failed_and_without_bodies():
    made = one("helicone", {**HELICONE, "response_status": 500, "response_body": {"error": {"message": "boom"}}})
    assert made.state == "failed"
    assert "boom" in made.error
    with pytest.raises(InvalidInput, match="include-body"):
        read("helicone", {name: each for name, each in HELICONE.items() if "body" not in name})


LITELLM = {
    "request_id": "chatcmpl-1", "call_type": "acompletion", "startTime": "2026-07-01 10:00:00.000",
    "endTime": "2026-07-01 10:00:00.800", "completionStartTime": "2026-07-01 10:00:00.200", "model": "gpt-4.1",
    "model_group": "support", "custom_llm_provider": "openai", "messages": "{}", "response": json.dumps(ANSWER),
    "proxy_server_request": json.dumps(REQUEST), "spend": "0.0003", "prompt_tokens": 19, "completion_tokens": 3,
    "metadata": '{"status": "success", "user_api_key_alias": "shop"}', "request_tags": '["gold"]', "end_user": "ana",
    "session_id": "s-9", "team_id": "t-1",
}  # fmt: skip


def test_litellm():
    made = one("litellm", LITELLM)
    assert (said(made), made.fidelity, made.sampling.temperature) == (THE_TALK, "reconstructed", 0.2)
    assert (made.model, made.served, made.upstream, made.project) == ("support", "gpt-4.1", "openai", "t-1")
    assert (made.latency, made.time_to_first_token, made.cost_usd) == (0.8, 0.2, 0.0003)
    assert (made.session, made.person, made.tags) == ("s-9", "ana", {"gold": "true", "key": "shop"})


def test_litellm_with_messages_alone_is_lossy_and_without_prompts_is_refused():
    made = one("litellm", {**LITELLM, "proxy_server_request": "{}", "messages": ASK})
    assert (said(made), made.fidelity) == (THE_TALK, "lossy")
    with pytest.raises(InvalidInput, match="store_prompts_in_spend_logs"):
        read("litellm", {**LITELLM, "proxy_server_request": "{}", "messages": "{}", "response": "{}"})


def test_litellm_failure():
    told = {"status": "failure", "error_information": {"error_message": "no such model", "error_class": "NotFound"}}
    made = one("litellm", {**LITELLM, "response": "{}", "metadata": told})
    assert (made.state, made.error) == ("failed", "no such model")


LANGFUSE = {
    "id": "o-1", "type": "GENERATION", "name": "answer", "traceId": "t-1", "startTime": "2026-07-01T10:00:00.000Z",
    "endTime": "2026-07-01T10:00:00.800Z", "completionStartTime": "2026-07-01T10:00:00.200Z", "model": "gpt-4.1",
    "modelParameters": {"temperature": 0.2}, "input": ASK, "output": SAY, "usageDetails": {"input": 19, "output": 3},
    "costDetails": {"total": 0.0002}, "level": "DEFAULT", "metadata": {"stage": "gold", "deep": {"a": 1}},
}  # fmt: skip
TRACE = {"id": "t-1", "timestamp": "2026-07-01T10:00:00Z", "name": "chat", "sessionId": "s-9", "userId": "ana",
         "tags": ["beta"]}  # fmt: skip


def test_langfuse_observation_and_its_trace():
    made = one("langfuse", LANGFUSE, beside=[TRACE])
    assert (said(made), made.fidelity, made.sampling.temperature) == (THE_TALK, "lossy", 0.2)
    assert (made.session, made.person, made.trace, made.span) == ("s-9", "ana", "t-1", "o-1")
    assert (made.usage.prompt_tokens, made.usage.completion_tokens, made.cost_usd) == (19, 3, 0.0002)
    assert (made.latency, made.time_to_first_token) == (0.8, 0.2)
    assert made.tags == {"stage": "gold", "beta": "true", "name": "answer", "trace": "chat"}
    assert one("langfuse", LANGFUSE).session == "t-1"


def test_langfuse_rows_in_snake_case_with_json_in_strings_are_the_same():
    snake = {langfuse._SNAKE.sub("_", name).lower(): each for name, each in LANGFUSE.items()}
    row = {name: each if isinstance(each, str) else json.dumps(each) for name, each in snake.items()}
    row["provided_model_name"] = row.pop("model")
    assert one("langfuse", row) == one("langfuse", LANGFUSE)


def test_langfuse_whole_bodies_are_reconstructed():
    made = one("langfuse", {**LANGFUSE, "input": REQUEST, "output": ANSWER})
    assert (said(made), made.fidelity, made.usage.cached_prompt_tokens) == (THE_TALK, "reconstructed", 8)


def test_langfuse_plain_words_and_langchain_roles():
    made = one("langfuse", {**LANGFUSE, "input": "Capital of Tasmania?", "output": "Hobart."})
    assert said(made) == THE_TALK[1:]
    human = [{"role": "human", "content": "Capital of Tasmania?"}]
    assert (
        said(one("langfuse", {**LANGFUSE, "input": human, "output": {"role": "ai", "content": "Hobart."}}))
        == THE_TALK[1:]
    )


def test_langfuse_errors_spans_and_wrappers():
    made = one("langfuse", {**LANGFUSE, "level": "ERROR", "statusMessage": "timed out", "output": None})
    assert (made.state, made.error) == ("failed", "timed out")
    assert read("langfuse", {**LANGFUSE, "type": "SPAN"}) == ([], [])
    exchanges, _ = read("langfuse", {"data": [LANGFUSE, {**LANGFUSE, "id": "o-2"}], "meta": {"page": 1}})
    assert [each.external_id for each in exchanges] == ["o-1", "o-2"]


def test_langfuse_trace_download_with_observations_and_scores():
    scores = [
        {"id": "z-1", "name": "helpful", "value": 1, "observationId": "o-1", "comment": "yes", "dataType": "NUMERIC"},
        {"id": "z-2", "name": "tone", "value": 0, "stringValue": "kind", "dataType": "CATEGORICAL"},
        {"id": "z-3", "name": "fix", "stringValue": "Hobart!", "observationId": "o-1", "dataType": "CORRECTION"},
    ]
    (made,), (helpful, tone, fix) = read("langfuse", {**TRACE, "observations": [LANGFUSE], "scores": scores})
    assert (made.session, helpful.exchange_id, helpful.reason) == ("s-9", made.id, "yes")
    assert (tone.session, tone.exchange_id, tone.value) == ("s-9", None, 0)
    assert (fix.exchange_id, fix.correction.text) == (made.id, "Hobart!")


EPISODE, INFERENCE = "01978f2c-9d00-7000-8000-000000000001", "01978f2c-9d00-7000-8000-000000000002"
CHAT = {
    "id": INFERENCE, "function_name": "capitals", "variant_name": "short", "episode_id": EPISODE,
    "input": json.dumps({"system": "Be brief.", "messages": [
        {"role": "user", "content": [{"type": "text", "value": "Capital of Tasmania?"}]},
        {"role": "assistant", "content": [{"type": "tool_call", "id": "c1", "name": "look_up", "arguments": "{}"}]},
        {"role": "user", "content": [{"type": "tool_result", "id": "c1", "name": "look_up", "result": "Hobart"}]}]}),
    "output": json.dumps([{"type": "text", "text": "Hobart."}]),
    "tool_params": json.dumps({"tools_available": [{"name": "look_up", "description": "d", "parameters": {}}]}),
    "inference_params": '{"chat_completion": {"temperature": 0.2}}', "processing_time_ms": 800,
    "tags": {"stage": "gold"},
}  # fmt: skip
MODEL = {"id": "m", "inference_id": INFERENCE, "raw_request": json.dumps(REQUEST), "raw_response": json.dumps(ANSWER),
         "model_name": "gpt", "model_provider_name": "openai", "input_tokens": 19, "output_tokens": 3,
         "ttft_ms": 140}  # fmt: skip


def test_tensorzero_inference():
    made = one("tensorzero", CHAT)
    assert [each.role for each in made.messages] == ["system", "user", "assistant", "tool"]
    assert made.messages[2].tool_calls[0].function.name == "look_up"
    assert (made.messages[3].tool_call_id, made.messages[3].content) == ("c1", "Hobart")
    assert (made.model, made.session, made.fidelity) == ("capitals", EPISODE, "lossy")
    assert (made.reply.text, made.latency, made.sampling.temperature) == ("Hobart.", 0.8, 0.2)
    assert made.at.year == 2025
    assert made.tags == {"stage": "gold", "variant": "short"}
    assert made.tools[0].function.name == "look_up"


def test_tensorzero_with_the_model_inference_is_reconstructed():
    made = one("tensorzero", CHAT, beside=[MODEL])
    assert (said(made), made.fidelity, made.usage.prompt_tokens) == (THE_TALK, "reconstructed", 19)
    assert (made.served, made.upstream, made.time_to_first_token) == ("gpt", "openai", 0.14)
    assert read("tensorzero", MODEL) == ([], [])


def test_tensorzero_json_function():
    made = one("tensorzero", {**CHAT, "output": json.dumps({"raw": '{"city":"Hobart"}', "parsed": {"city": "Hobart"}})})
    assert made.reply.text == '{"city":"Hobart"}'


def test_tensorzero_feedback():
    made = one("tensorzero", CHAT)
    metric = {"id": "f1", "target_id": EPISODE, "metric_name": "solved", "value": True}
    _, (of_episode,) = read("tensorzero", metric, beside=[CHAT])
    _, (of_inference,) = read("tensorzero", {**metric, "target_id": INFERENCE}, beside=[CHAT])
    shown = {"id": "f2", "inference_id": INFERENCE, "value": json.dumps([{"type": "text", "text": "Hobart!"}])}
    _, (demonstration,) = read("tensorzero", shown)
    comment = {"id": "f3", "target_id": INFERENCE, "target_type": "inference", "value": "nice"}
    _, (said_of_it,) = read("tensorzero", comment)
    assert (of_episode.session, of_episode.value, of_episode.name) == (EPISODE, 1.0, "solved")
    assert of_inference.exchange_id == demonstration.exchange_id == said_of_it.exchange_id == made.id
    assert (demonstration.correction.text, said_of_it.reason) == ("Hobart!", "nice")


def test_tensorzero_export_with_demonstrations_as_output():
    row = {**CHAT, "dispreferred_outputs": [[{"type": "text", "text": "Perth."}]]}
    (made,), (given,) = read("tensorzero", row)
    assert (made.reply.text, given.correction.text, given.exchange_id) == ("Perth.", "Hobart.", made.id)


def test_ids_are_the_same_every_time_and_others_for_other_rows():
    assert one("helicone", HELICONE).id == one("helicone", HELICONE).id
    assert one("helicone", {**HELICONE, "request_id": "r-2"}).id != one("helicone", HELICONE).id
    row = {"messages": [*ASK, SAY]}
    assert one("openai-chat", row).id == one("openai-chat", row).id
    assert one("openai-chat", {"messages": [*ASK, {**SAY, "content": "?"}]}).id != one("openai-chat", row).id


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-07-01T10:00:00Z", 1_782_900_000_000_000),
        ("2026-07-01 10:00:00", 1_782_900_000_000_000),
        ("2026-07-01T12:00:00+02:00", 1_782_900_000_000_000),
        (1_782_900_000, 1_782_900_000_000_000),
        ("1782900000000", 1_782_900_000_000_000),
        (1_782_900_000_000_000_000, 1_782_900_000_000_000),
        ("yesterday", None),
        (-5, None),
        (True, None),
        (float("nan"), None),
        (1e300, None),
    ],
)
def test_moments(value, expected):
    assert moment(value) == expected


def test_numbers():
    assert [number(each) for each in ("1.5", 2, True, "x", None, "inf", [], 10**400)] == [
        1.5, 2.0, 1.0, None, None, None, None, None,
    ]  # fmt: skip


WORDS = sorted(
    {"messages", "tools", "role", "content", "input", "output", "choices", "message", "messages_and_choices", "type",
     "trajectories", "reward", "metrics", "tool_calls", "function", "arguments", "name", "id", "usage", "GENERATION",
     "request_body", "response_body", "proxy_server_request", "response", "prompt", "text", "tool_result", "assistant",
     "user", "system", "inference_id", "model_name", "function_name", "episode_id", "target_id", "metric_name", "value",
     "tool_params", "scores", "observations", "traceId", "timestamp", "data", "criteria", "rejected_message", "tags",
     "startTime", "prompt_tokens", "token_ids", "logprobs", "preferred_output", "additional_histories", "stringValue"}
)  # fmt: skip
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from(WORDS)
)
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=6)
    | inner.map(json.dumps),
    max_leaves=25,
)  # fmt: skip


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(row=st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), anything, max_size=8))
def test_no_row_breaks_a_format(format, row):
    """Any JSON object is read into records that can be stored, or refused with a reason."""
    with suppress(InvalidInput):
        exchanges, _ = read(format, row)
        assert all(each.source == f"import:{format}" for each in exchanges)


def test_aside_takes_only_what_others_look_for():
    assert langfuse.aside(LANGFUSE) is None
    assert langfuse.aside(TRACE)[0] == "t-1"
    assert tensorzero.aside(MODEL) == (INFERENCE, MODEL)
    assert tensorzero.aside(CHAT) == (INFERENCE, {})
