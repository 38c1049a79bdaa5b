"""The real model through the engine, token for token; `benchmarks/serving.py` asks 200 prompts, and adapters."""

from journeyman.records import Tool
from journeyman.records.message import system, user
from tests.engines.local.conftest import generate, load_plain

LOOK_UP = Tool.model_validate({"function": {"name": "look_up", "parameters": {"properties": {"word": {}}}}})


def test_greedy_replies_are_those_of_transformers(smollm2, start):
    engine = start(smollm2, {}, rows=3, context=512)
    tokenizer, network = engine.tokenizer, load_plain(smollm2)
    prompts = [
        tokenizer.prompt([user("What is the capital of France?")]),
        tokenizer.prompt([system("Be brief."), user("grün 🙂?")], [LOOK_UP]),
        tokenizer.encode("Once upon a time"),
        tokenizer.prompt([user("Tell me about rain. " * 60)]),
    ]
    asked = [engine.ask(prompt, max_tokens=12) for prompt in prompts]
    for prompt, each in zip(prompts, asked, strict=True):
        assert each.reply == generate(network, prompt, 12)
        assert each.text == tokenizer.decode(each.reply)
