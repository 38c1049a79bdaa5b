"""Conversations become the text and the ids that the model was made for, and nothing is dropped on the way."""

import json
import shutil
from itertools import pairwise

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from journeyman.errors import InvalidInput, ModelFileBroken
from journeyman.records import Message, Tool
from journeyman.records.message import assistant, call, system, tool_result, user
from journeyman.rendering.chat import TOOL_TEMPLATE, ChatTemplate, ChatTokenizer, read_template

BALANCE = Tool.model_validate(
    {
        "function": {
            "name": "balance",
            "description": "Balance of an account.",
            "parameters": {
                "type": "object",
                "properties": {
                    "account": {"type": "string"},
                    "currency": {"type": "string", "enum": ["EUR", "USD"]},
                    "days": {"type": "integer"},
                },
            },
        }
    }
)
CONVERSATION = [
    system("You are a bank."),
    user("How much have I got?"),
    call("c1", "balance", account="A-1", days=2),
    tool_result("c1", '{"cents": 120}'),
    assistant("1.20 EUR."),
]


@pytest.fixture
def folder(tiny, tmp_path):
    """A copy of the model, to be changed."""
    return shutil.copytree(tiny, tmp_path / "model")


@pytest.fixture(scope="module")
def ours():
    return ChatTemplate(TOOL_TEMPLATE.read_text())


def test_our_template_word_for_word(ours):
    assert ours.render(CONVERSATION[:4], [BALANCE]) == (
        "<|im_start|>system\nYou are a bank.\n"
        'To use a tool, write <tool_call>name{"argument":"value"}</tool_call>. Tools:\n'
        "balance(account, currency: EUR|USD, days: integer) - Balance of an account.<|im_end|>\n"
        "<|im_start|>user\nHow much have I got?<|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>balance{"account":"A-1","days":2}</tool_call><|im_end|>\n'
        '<|im_start|>tool\n{"cents": 120}<|im_end|>\n'
        "<|im_start|>assistant\n"
    )


def test_our_template_without_tools_and_system(ours):
    assert ours.render([user("hi")], ask_for_reply=False) == "<|im_start|>user\nhi<|im_end|>\n"


def test_our_template_only_appends(ours):
    rendered = [ours.render(CONVERSATION[:n], [BALANCE], ask_for_reply=False) for n in range(1, len(CONVERSATION) + 1)]
    assert all(longer.startswith(shorter) for shorter, longer in pairwise(rendered))


TEMPLATES = {
    "ours": TOOL_TEMPLATE.read_text(),
    "arguments as objects": (
        "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}"
        "{% for c in m.tool_calls or [] %}{{ c.function.name }}{{ c.function.arguments | tojson }}"
        "{{ c.function.arguments.account }}{% endfor %}<|im_end|>{% endfor %}"
    ),
    "tools as JSON, loop controls, trimmed blocks": (
        "{%- for tool in tools or [] %}\n  {{ tool | tojson(indent=2) }}\n{% endfor %}\n"
        "{% for m in messages %}\n    {% if m.role == 'tool' %}{% continue %}{% endif %}\n"
        "{{ m['content'] | default('', true) | trim }}{% endfor %}"
        "{% if add_generation_prompt %}go{% endif %}{{ eos_token }}"
    ),
    "a marked reply": "{% for m in messages %}{% generation %}\n{{ m.content }}{% endgeneration %}{% endfor %}",
}


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("length", [2, 4, 5])
def test_a_template_renders_as_transformers_renders_it(folder, name, length):
    (folder / "chat_template.jinja").write_text(TEMPLATES[name])
    theirs = AutoTokenizer.from_pretrained(folder)
    messages = [message.wire() for message in CONVERSATION[:length]]
    if name != "ours":
        # transformers asks for arguments as objects where the template does not expect a string.
        for made in (made for message in messages for made in message.get("tool_calls") or ()):
            made["function"]["arguments"] = json.loads(made["function"]["arguments"])
    for ask in (True, False):
        expected = theirs.apply_chat_template(
            messages, tools=[BALANCE.wire()], add_generation_prompt=ask, tokenize=False
        )
        assert read_template(folder).render(CONVERSATION[:length], [BALANCE], ask_for_reply=ask) == expected


def test_ids_are_those_of_transformers(tiny):
    theirs = AutoTokenizer.from_pretrained(tiny)
    text = "<|im_start|>user\ngrün 🙂 <|im_end|>\n"
    tokenizer = ChatTokenizer(tiny)
    assert tokenizer.encode(text) == theirs.encode(text, add_special_tokens=False)
    assert tokenizer.decode(tokenizer.encode(text), keep_special=True) == text
    assert tokenizer.decode(tokenizer.encode(text)) == "user\ngrün 🙂 \n"


def test_prompts_are_never_cut_or_padded_by_what_a_tokenizer_file_says(folder):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=50)
    tokenizer.save(str(folder / "tokenizer.json"))
    loaded = ChatTokenizer(folder)
    assert loaded.decode(loaded.encode("a word of more than eight tokens")) == "a word of more than eight tokens"


def test_arguments_that_are_no_json_reach_the_template_as_they_are(ours):
    broken = call("c", "f").model_dump(mode="json")
    broken["tool_calls"][0]["function"]["arguments"] = "{oops"
    message = Message.model_validate(broken)
    assert "<tool_call>f{oops</tool_call>" in ours.render([user("x"), message])
    assert ChatTemplate("{{ messages[0].tool_calls[0].function.arguments }}").render([message]) == "{oops"


def test_text_parts_are_joined_and_others_refused(ours):
    parts = Message(role="user", content=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])
    assert "user\nab<|im_end|>" in ours.render([parts])
    picture = Message(role="user", content=[{"type": "image_url", "image_url": {"url": "x"}}])
    with pytest.raises(InvalidInput, match="message 1 has a 'image_url' part"):
        ours.render([user("look"), picture])


@pytest.mark.parametrize(
    "template",
    ["{{ raise_exception('roles must alternate') }}", "{{ messages[9].content }}", "{{ 1 / 0 }}",
     "{{ 'a' + messages[0].nothing.more }}", "{{ messages[0]['content'] + none }}"],
)  # fmt: skip
def test_whatever_a_template_fails_on_is_a_refusal(template):
    with pytest.raises(InvalidInput, match="chat template refuses"):
        ChatTemplate(template).render([user("hi")])


def test_a_template_says_why_it_refuses():
    with pytest.raises(InvalidInput, match="roles must alternate"):
        ChatTemplate("{{ raise_exception('roles must alternate') }}").render([user("hi")])


def test_a_template_cannot_reach_out_of_its_sandbox():
    with pytest.raises(InvalidInput):
        ChatTemplate("{{ messages.__class__.__mro__[1].__subclasses__() }}").render([user("hi")])


def test_a_template_that_is_no_jinja():
    with pytest.raises(InvalidInput, match="not valid Jinja"):
        ChatTemplate("{% for %}")


def test_half_a_character_is_refused(tiny):
    with pytest.raises(InvalidInput, match="half a character"):
        ChatTokenizer(tiny).prompt([user("\ud83d")])


def test_a_template_is_known_by_its_text():
    assert ChatTemplate("a").version == ChatTemplate("a").version != ChatTemplate("b").version


def test_an_adapters_template_gets_the_special_tokens_of_the_base(tiny, tmp_path):
    base = ChatTokenizer(tiny)
    assert base.for_adapter(tmp_path) is base
    (tmp_path / "chat_template.jinja").write_text(base.template.text)
    assert base.for_adapter(tmp_path) is base
    (tmp_path / "chat_template.jinja").write_text("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}")
    own = base.for_adapter(tmp_path)
    assert own.decode(own.prompt([user("hi")]), keep_special=True) == "<|im_start|>hi<|im_end|>"
    assert own.stop_ids == base.stop_ids


def test_stop_ids_come_from_the_generation_settings_first(folder):
    (folder / "generation_config.json").write_text('{"eos_token_id": [2, 0]}')
    assert ChatTokenizer(folder).stop_ids == {0, 2}
    (folder / "generation_config.json").unlink()
    assert ChatTokenizer(folder).stop_ids == {2}
    (folder / "config.json").write_text("{}")
    with pytest.raises(ModelFileBroken, match="no end-of-sequence token"):
        _ = ChatTokenizer(folder).stop_ids


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_damaged_file_is_named(folder, name):
    (folder / name).write_text('{"cut')
    with pytest.raises(ModelFileBroken, match=rf"{name} is damaged"):
        ChatTokenizer(folder)


def test_a_missing_tokenizer_or_template_is_named(folder):
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelFileBroken, match="no chat template"):
        ChatTokenizer(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelFileBroken, match=r"tokenizer\.json is missing"):
        ChatTokenizer(folder)


def test_a_template_inside_the_tokenizers_settings_is_found(folder):
    (folder / "chat_template.jinja").unlink()
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": "hello {{ eos_token }}"}))
    assert ChatTokenizer(folder).template.render([user("x")]) == "hello <|im_end|>"


def test_a_developer_is_a_system_message_where_the_template_knows_no_developer(ours):
    for template, role in ((ours, "system"), (ChatTemplate("{{ messages[0].role }}{# developer #}"), "developer")):
        said = [Message(role="developer", content="Rule."), user("hi")]
        expected = [Message(role=role, content="Rule."), user("hi")]
        assert template.render(said) == template.render(expected)
    assert "Rule." in ours.render([Message(role="developer", content="Rule."), user("hi")])


def test_arguments_nested_beyond_reading_are_refused_in_words(ours):
    deep = call("c1", "f").model_dump() | {"tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "[" * 200_000}}
    ]}  # fmt: skip
    with pytest.raises(InvalidInput, match="nested too deeply"):
        ChatTemplate("{{ messages }}").render([user("hi"), Message.model_validate(deep)])
