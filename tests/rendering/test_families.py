"""Loss masks proven by decoding, for each family's format: exactly the assistant's text with its end, nothing else."""

import json
import shutil
from itertools import groupby, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journeyman.records import FunctionCall, Message, Tool, ToolCall
from journeyman.records.message import assistant, system, tool_result, user
from journeyman.rendering.chat import TEMPLATE_FILE
from journeyman.rendering.masks import mask_conversation, mask_rows
from journeyman.rendering.reply import ReplyReader
from journeyman.rendering.tool_calls import offered_of, style_of
from tests.rendering.models import FAMILIES, write_family

ANYTHING = {"type": ["string", "integer", "null"]}
TOOL = Tool.model_validate(
    {"function": {"name": "look_up", "parameters": {"properties": {"order": ANYTHING, "days": ANYTHING}}}}
)
PIECES = ["a", "Hello", " ", "\n", "\n\n", "<", "é🙂", "0017", "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "user"]
# Templates may trim; what they trim is not theirs to learn, so that the words here begin and end with a letter.
WORDS = st.lists(st.sampled_from(PIECES), max_size=5).map(lambda pieces: "w" + "".join(pieces) + "w")
ARGUMENTS = st.dictionaries(st.sampled_from(["order", "days"]), WORDS | st.integers(-9, 9) | st.none(), max_size=2)
THOUGHTS = st.none() | WORDS


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    folder = tmp_path_factory.mktemp("families")
    return {family: write_family(folder / family, family) for family in FAMILIES}


def spoken(words, thought=None):
    message = assistant(words)
    return message if thought is None else Message.model_validate(message.wire() | {"reasoning_content": thought})


def called(arguments):
    function = FunctionCall(name="look_up", arguments=json.dumps(arguments, ensure_ascii=False))
    return Message(role="assistant", content=None, tool_calls=(ToolCall(id="c", function=function),))


def conversations():
    turn = st.builds(lambda asked, words, thought: [user(asked), spoken(words, thought)], WORDS, WORDS, THOUGHTS)
    loop = st.builds(
        lambda asked, arguments, result, words: [
            user(asked), called(arguments), tool_result("c", result), assistant(words)
        ],
        WORDS, ARGUMENTS, WORDS, WORDS,
    )  # fmt: skip
    opening = st.just([]) | WORDS.map(lambda words: [system(words)])
    turns = st.lists(turn | loop, min_size=1, max_size=3)
    return st.builds(lambda first, rest: first + [each for turn in rest for each in turn], opening, turns)


def ended(family, message):
    """What the model of this family would have written for the message, from its format's description alone."""
    end = {"llama3": "<|eot_id|>", "gemma3": "<end_of_turn>"}.get(family, "<|im_end|>")
    thought = (message.model_extra or {}).get("reasoning_content") or ""
    before = f"<think>\n{thought}\n</think>\n\n" if family == "qwen3" else ""
    if not message.tool_calls:
        return before + message.text + end
    arguments = message.tool_calls[0].function.arguments
    written = {
        "smollm2": f"<tool_call>look_up{arguments}</tool_call>",
        "qwen3": f'<tool_call>\n{{"name": "look_up", "arguments": {arguments}}}\n</tool_call>',
        "qwen3-coder": f"<tool_call>\n<function=look_up>\n{elements(arguments)}</function>\n</tool_call>",
        "llama3": f'{{"name": "look_up", "parameters": {arguments}}}',
        "gemma3": f'{{"name": "look_up", "parameters": {arguments}}}',
    }[family]
    return before + written + end


def elements(arguments):
    return "".join(f"<parameter={name}>\n{value}\n</parameter>\n" for name, value in json.loads(arguments).items())


def targets(row):
    """The runs of learned tokens; two targets never touch, for a prompt stands between them."""
    runs = groupby(zip(row.ids, row.mask, strict=True), key=lambda pair: pair[1])
    return [[id for id, _ in run] for learned, run in runs if learned]


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=25, deadline=None)
@given(messages=conversations())
def test_the_mask_decodes_to_the_assistants_own_text_and_its_end(families, family, messages):
    tokenizer = families[family]
    rows = mask_rows(tokenizer, messages, [TOOL])
    learned = [tokenizer.decode(ids, keep_special=True) for row in rows for ids in targets(row)]
    assert learned == [ended(family, message) for message in messages if message.role == "assistant"]
    ends = [ids[-1] for row in rows for ids in targets(row)]
    assert set(ends) <= tokenizer.stop_ids
    inside = [id for row in rows for ids in targets(row) for id in ids[:-1]]
    assert tokenizer.stop_ids.isdisjoint(inside), "a stop token that a reply spells is words"


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=25, deadline=None)
@given(messages=conversations())
def test_before_each_target_stand_the_ids_that_serving_shows(families, family, messages):
    tokenizer = families[family]
    served = [tokenizer.prompt(messages[:at], [TOOL]) for at, each in enumerate(messages) if each.role == "assistant"]
    shown = [
        list(row.ids[: at + 1])
        for row in mask_rows(tokenizer, messages, [TOOL])
        for at, (before, after) in enumerate(pairwise(row.mask))
        if after and not before
    ]
    assert shown == served


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=25, deadline=None)
@given(arguments=ARGUMENTS)
def test_a_call_that_is_learned_is_read_back_as_the_same_call(families, family, arguments):
    tokenizer = families[family]
    (row,) = mask_rows(tokenizer, [user("a"), called(arguments)], [TOOL])
    (ids,) = targets(row)
    reader = ReplyReader(style_of(tokenizer.template.text), offered_of([TOOL]))
    reader.add(tokenizer.decode(ids[:-1]), last=True)
    (found,) = reader.message.tool_calls
    assert (found.function.name, found.function.arguments) == ("look_up", json.dumps(arguments, ensure_ascii=False))


@pytest.mark.parametrize(("family", "count"), [(family, 3 if family == "qwen3" else 1) for family in FAMILIES])
def test_a_template_that_only_appends_makes_one_row_and_qwen3_one_for_each_thought_it_forgets(families, family, count):
    messages = [each for n in "abc" for each in (user(n), spoken(n + "!", "so"))]
    rows = mask_rows(families[family], messages)
    assert len(rows) == count
    if count == 1:
        assert rows == [mask_conversation(families[family], messages)]


def test_a_reply_that_the_next_prompt_reads_in_other_tokens_ends_its_row(families, tmp_path):
    """After `assistant\\n` the reply's own line breaks are tokens of their own; read at once they are joined."""
    shutil.copy(families["smollm2"].folder / TEMPLATE_FILE, tmp_path)
    tokenizer = families["qwen3"].for_adapter(tmp_path)
    messages = [user("a"), assistant("\n\nb"), user("c"), assistant("d")]
    first, second = mask_rows(tokenizer, messages)
    assert tokenizer.decode(targets(first)[0], keep_special=True) == "\n\nb<|im_end|>"
    assert list(second.ids[: second.mask.index(True)]) == tokenizer.prompt(messages[:3])
    assert list(mask_conversation(tokenizer, messages).ids) != list(second.ids), "one row would not be what is served"
