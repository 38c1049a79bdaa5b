"""The template contract: what keeps it has no fault, and each way of breaking it is found at its line."""

import json
from datetime import datetime

import pytest
from tokenizers import AddedToken, Tokenizer
from tokenizers.normalizers import NFKC

from journeyman.errors import InvalidInput
from journeyman.records.message import user
from journeyman.rendering.chat import TEMPLATE_FILE, ChatTokenizer
from journeyman.rendering.contract import contract, require_contract
from journeyman.rendering.provenance import Provenance
from tests.rendering.models import FAMILIES, TEMPLATES, write_family

QWEN3 = (TEMPLATES / "qwen3.jinja").read_text()


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    folder = tmp_path_factory.mktemp("families")
    return {family: write_family(folder / family, family) for family in FAMILIES}


@pytest.fixture
def under(families, tmp_path):
    """A family's tokenizer under a changed template: `old` stands in it once, and becomes `new`."""

    def changed(family, old, new):
        text = families[family].template.text
        assert text.count(old) == 1
        (tmp_path / TEMPLATE_FILE).write_text(text.replace(old, new))
        return families[family].for_adapter(tmp_path)

    return changed


def line_of(tokenizer, text):
    (line,) = [n for n, each in enumerate(tokenizer.template.text.split("\n"), start=1) if text in each]
    return line


def faults(tokenizer, rule):
    return [finding for finding in contract(tokenizer) if finding.fault and finding.rule == rule]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_families_keep_the_contract(families, family):
    assert [str(finding) for finding in contract(families[family]) if finding.fault] == []
    assert require_contract(families[family]) == contract(families[family])


def test_our_own_template_leaves_nothing_to_note(families):
    assert contract(families["smollm2"]) == []


def test_the_real_model(smollm2):
    assert contract(ChatTokenizer(smollm2)) == []


def test_qwen3_forgets_thoughts_on_the_line_that_writes_them(families):
    (found,) = [finding for finding in contract(families["qwen3"]) if finding.rule == "prefix"]
    assert not found.fault
    assert found.line == line_of(families["qwen3"], r"'\n<think>\n' + reasoning_content")
    assert found.excerpt == QWEN3.split("\n")[found.line - 1].strip()


def test_what_llama_and_gemma_cannot_show_is_noted(families):
    for family in ("llama3", "gemma3"):
        notes = {finding.line: finding for finding in contract(families[family])}
        assert "one tool at a time" in notes[line_of(families[family], "raise_exception('this model calls")].message
        assert "not in the characters" in notes[line_of(families[family], "called['arguments'] | tojson")].message


def test_a_generation_prompt_that_replies_do_not_continue(under):
    tokenizer = under("llama3", "{%- if add_generation_prompt %}", "{%- if add_generation_prompt %}\n{{- 'Now: ' }}")
    (found,) = faults(tokenizer, "stop")
    assert "does not continue" in found.message
    assert found.line == line_of(tokenizer, "'Now: '")


def test_a_reply_that_ends_with_another_token_than_the_engine_stops_at(under):
    tokenizer = under("gemma3", "{{- '<end_of_turn>\\n' }}", "{{- '<end_of_trun>\\n' }}")
    (found,) = faults(tokenizer, "stop")
    assert "<end_of_turn>" in found.message
    assert found.line == line_of(tokenizer, "<end_of_trun>")


def test_stop_tokens_that_do_not_fit_the_template(families, tmp_path):
    tokenizer = write_family(tmp_path / "model", "smollm2")
    (tokenizer.folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 7}))
    (found,) = faults(ChatTokenizer(tokenizer.folder), "stop")
    assert found.line == line_of(tokenizer, "message.get('tool_calls')") + 6, "the line that ends a turn"


def test_a_marker_that_the_tokenizer_does_not_know(under):
    tokenizer = under("llama3", "'<|start_header_id|>ipython<|end_header_id|>", "'<|header|>ipython<|end_header_id|>")
    (found,) = [finding for finding in contract(tokenizer) if "<|header|>" in finding.message]
    assert found.line == line_of(tokenizer, "<|header|>")


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ("{{- tool_call.arguments | replace('\"', '') }}", "not read back"),
        ("{{- tool_call.arguments | tojson }}x", "not read back"),
        ("{{- '{}' }}", "not read back"),
    ],
)
def test_calls_that_are_not_read_back(under, new, words):
    tokenizer = under("qwen3", "{{- tool_call.arguments }}", new)
    found = faults(tokenizer, "tools")
    assert found
    assert words in found[0].message


def test_tools_and_results_that_are_left_out(under):
    (found,) = faults(under("llama3", "{{- tool | tojson(indent=4) + '\\n\\n' }}", ""), "tools")
    assert "tools that are offered" in found.message
    (found,) = faults(under("llama3", "+ message['content'] + '<|eot_id|>'", "+ '<|eot_id|>'"), "tools")
    assert "result" in found.message


def test_a_thought_that_is_lost(under):
    tokenizer = under("qwen3", "reasoning_content.strip('\\n')", "''")
    (found,) = [finding for finding in contract(tokenizer) if finding.rule == "thoughts"]
    assert found.line == line_of(tokenizer, "'\\n<think>\\n' + ''")


def test_a_template_that_fails_is_named_with_its_line(under):
    tokenizer = under("gemma3", "{{- message['content'] | trim }}", "{{- message['content'].nothing() }}")
    found = faults(tokenizer, "renders")
    assert [finding.line for finding in found] == [line_of(tokenizer, "nothing()")]
    with pytest.raises(InvalidInput, match=rf"nothing was started(.|\n)*line {found[0].line}: "):
        require_contract(tokenizer)


def test_the_day_in_a_prompt(under):
    tokenizer = under("llama3", "{{- instructions +", "{{- strftime_now('%Y') + instructions +")
    (found,) = [finding for finding in contract(tokenizer) if finding.rule == "clock"]
    assert found.line == line_of(tokenizer, "strftime_now")
    assert str(datetime.now().year) in tokenizer.template.render([user("a")])


def test_a_prompt_that_counts_the_replies_is_rewritten(under):
    tokenizer = under(
        "smollm2", "{%- for message in turns -%}", "{{- messages | length -}}\n{%- for message in turns -%}"
    )
    found = [finding for finding in contract(tokenizer) if finding.rule in ("prefix", "stop")]
    assert {finding.line for finding in found} == {line_of(tokenizer, "messages | length")}


@pytest.mark.parametrize("special", [True, False])
def test_no_normaliser_makes_a_control_token_of_what_a_user_types(tmp_path, special):
    folder = write_family(tmp_path / "model", "smollm2").folder
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.normalizer = NFKC()
    written = json.loads(tokenizer.to_str())
    for token in written["added_tokens"]:
        token |= {"normalized": True, "special": special or token["content"] == "<|im_end|>"}
    (folder / "tokenizer.json").write_text(json.dumps(written))
    raw = Tokenizer.from_str(json.dumps(written))
    assert raw.token_to_id("<|im_end|>") in raw.encode("＜|im_end|＞").ids, "or there is nothing to prove"
    loaded = ChatTokenizer(folder)
    assert faults(loaded, "control") == []
    assert loaded.prompt([user("＜|im_end|＞")]).count(loaded.vocabulary.added["<|im_end|>"]) == 1


def test_a_control_token_that_people_can_write_is_a_fault(tmp_path):
    """In a token of one character there is no room for a seam: such a tokenizer cannot be protected."""
    folder = write_family(tmp_path / "model", "smollm2").folder
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken("§", special=True)])
    tokenizer.save(str(folder / "tokenizer.json"))
    loaded = ChatTokenizer(folder)
    assert loaded.vocabulary.added["§"] in loaded.prompt([user("a § b")]), "or there is nothing to find"
    found = faults(loaded, "control")
    assert "§ in a user's message" in " ".join(finding.message for finding in found)
    assert {finding.line for finding in found} == {line_of(loaded, "'<|im_start|>' + message['role']")}


def test_lines_are_found_in_macros_and_blocks_too(families, tmp_path):
    (tmp_path / TEMPLATE_FILE).write_text(
        "{% macro head(role) %}\n<{{ role }}>\n{% endmacro %}\n"
        "{% set opening %}\n  padded\n{% endset %}\n"
        "{{ opening | trim | length }}\n"
        "{% for m in messages %}\n{{ head(m.role) }}\n{{ m.content }}\n{% endfor %}\n"
    )
    template = families["smollm2"].for_adapter(tmp_path).template
    text = template.render([user("words")])
    lines = Provenance(template)
    assert text == "6<user>\n\nwords\n" or "words" in text
    found = lines.line_at([user("words")], (), text.index("words"), ask_for_reply=True)
    assert lines.excerpt(found) == "{{ m.content }}"
