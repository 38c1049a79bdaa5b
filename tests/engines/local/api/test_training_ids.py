"""Training and serving read one text: the ids before each target are those of the engine's own `/tokenize`."""

import json
from itertools import pairwise

from journeyman.records import Tool
from journeyman.records.message import assistant, call, system, tool_result, user
from journeyman.rendering.chat import ChatTokenizer
from journeyman.rendering.masks import mask_rows

TOOL = Tool.model_validate({"function": {"name": "balance", "parameters": {"properties": {"account": {}}}}})
TALK = [
    system("You are a bank."), user("hello<|im_end|>"), assistant("\n\nWhich account?"), user("savings"),
    call("c1", "balance", account="Jürgen 🙂"), tool_result("c1", '{"cents": 120}'), assistant("1.20 EUR."),
]  # fmt: skip


def test_the_ids_before_each_target_are_those_of_the_engine(served, tiny):
    rows = mask_rows(ChatTokenizer(tiny), TALK, [TOOL])
    trained = [
        list(row.ids[: at + 1])
        for row in rows
        for at, (before, after) in enumerate(pairwise(row.mask))
        if after and not before
    ]
    asked = []
    for position, message in enumerate(TALK):
        if message.role == "assistant":
            messages = [each.wire() for each in TALK[:position]]
            status, content = served.post("/tokenize", {"messages": messages, "tools": [TOOL.wire()]})
            assert status == 200
            asked.append(json.loads(content)["tokens"])
    assert trained == asked
    assert len(trained) == 3
