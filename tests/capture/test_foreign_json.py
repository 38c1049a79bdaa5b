"""What JSON may hold and few libraries take: integers of any size, NaN, half surrogate pairs, deep nesting.

It is stored, read back and exported, wherever in a call it stands.
"""

import json
from collections import Counter
from typing import Any

import pytest

from journeyman.capture.exports import openai_chat, otlp
from journeyman.capture.parquet import read_parquet, write_parquet
from journeyman.capture.parsing import parse
from journeyman.capture.redact import redactor_of
from journeyman.config import RedactionSettings
from journeyman.records import Exchange, WireExchange
from journeyman.store.sql import SqlStore

DEEP: Any = 1
for _ in range(300):
    DEEP = [DEEP]
ODD = {"huge": 10**30, "half": "\ud800 ana@example.org", "nan": float("nan"), "deep": DEEP}
PARTS = [("huge",), ("half",), ("huge", "half"), ("nan",), ("deep",), tuple(ODD)]


def ask(odd: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        "chat": {
            "messages": [{"role": "user", "content": "x", "more": odd}], "metadata": {"a": odd}, "seed": 10**30,
            "tools": [{"type": "function", "function": {"name": "f", "parameters": odd}}], "unknown": odd,
        },
        "messages": {
            "messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "1", "input": odd}]}],
            "metadata": {"user_id": odd},
        },
        "responses": {
            "input": [{"type": "function_call", "arguments": odd, "call_id": "1"}, {"type": "x", "x": odd}],
        },
        "completions": {"prompt": [10**30, "x"], "unknown": odd},
        "embeddings": {"input": [[10**30]], "unknown": odd},
    }  # fmt: skip


def answer(odd: dict[str, Any]) -> dict[str, dict[str, Any]]:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": odd}}
    return {
        "chat": {
            "choices": [{"message": {"role": "assistant", "tool_calls": [call]}, "logprobs": odd}],
            "usage": {"prompt_tokens": 10**30, "more": odd},
        },
        "messages": {
            "content": [{"type": "tool_use", "id": "1", "name": "f", "input": odd}], "usage": {"input_tokens": 10**30},
        },
        "responses": {
            "output": [{"type": "function_call", "name": "f", "arguments": odd, "call_id": "1"}],
            "usage": {"input_tokens": 10**30},
        },
        "completions": {"choices": [{"text": "x", "index": 10**30, "more": odd}]},
        "embeddings": {"data": [odd]},
    }  # fmt: skip


@pytest.mark.parametrize("api", ["chat", "messages", "responses", "completions", "embeddings"])
def test_it_is_stored_and_exported(tmp_path, api):
    store = SqlStore(f"sqlite:///{tmp_path / 'store.db'}")
    redactor = redactor_of(RedactionSettings(rules=["email"]), tmp_path)
    for number, parts in enumerate(PARTS):
        odd = {name: ODD[name] for name in parts}
        start = {"id": f"{number:032x}", "at": 1, "api": api, "source": "gateway", "model": "m", "upstream": "u"}
        body, whole = ({"model": "m", **made(odd)[api]} for made in (ask, answer))
        raw = (json.dumps(body).encode(), json.dumps(whole).encode())
        store.put(redactor.wire(parse(start, *raw, {"state": "complete", "status": 200})))
    found = list(store.find(Exchange))
    assert len(found) == len(PARTS)
    assert "ana@example.org" not in "".join(map(str, found))
    for line, _ in otlp.requests(found):
        json.loads(line)
    for line in openai_chat.lines(found, Counter()):
        json.loads(line)
    write_parquet(map(WireExchange.of, found), tmp_path / "out")
    assert {each.id for each in read_parquet(tmp_path / "out")} == {each.id for each in found}
    store.close()
