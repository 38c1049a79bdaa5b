"""A random model under a grammar says nothing but what the grammar allows, and then it ends."""

import json
import shutil

import pytest
import torch
from tokenizers import AddedToken, Tokenizer

from journeyman.engines.local.sampling.constraints import Grammars
from journeyman.engines.local.sampling.grammars import ANY_OBJECT, Calls, reply_grammar
from journeyman.engines.local.sampling.rule import SamplingRule
from journeyman.engines.local.sampling.sampler import Sampler, sample
from journeyman.errors import InvalidInput, JourneymanError
from journeyman.records import Tool
from journeyman.rendering.chat import ChatTokenizer
from journeyman.rendering.tool_calls import CallStyle, offered_of

SHADE = {"type": "string", "enum": ["light", 'dark "grün"']}
SCHEMA = {
    "type": "object",
    "properties": {"shade": SHADE, "cents": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["shade", "cents"],
    "additionalProperties": False,
}
PAINT = Tool.model_validate({"function": {"name": "paint", "parameters": SCHEMA}})
NOW = Tool.model_validate({"function": {"name": "now"}})
STYLES = [CallStyle("signature"), CallStyle("tagged"), CallStyle("bare")]
XML = CallStyle("xml")


@pytest.fixture(scope="module")
def tokenizer(tiny):
    return ChatTokenizer(tiny)


@pytest.fixture(scope="module")
def grammars(tokenizer):
    return Grammars(tokenizer)


@pytest.fixture(scope="module")
def marked(tiny, tmp_path_factory):
    """A model whose markers are tokens of their own."""
    folder = shutil.copytree(tiny, tmp_path_factory.mktemp("marked") / "model")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens(
        [AddedToken(text, special=False) for text in ("<tool_call>", "</tool_call>", "<think>", "</think>")]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return ChatTokenizer(folder)


def written(tokenizer, constraint, seed=0, rule=None, favoured=(), most=600):
    """The text that a random model writes under a constraint, until it ends; `favoured` words are likelier."""
    generator = torch.Generator().manual_seed(seed)
    sampler = Sampler(rule or SamplingRule(1.0, seed=str(seed)), constraint=constraint)
    size, reply = tokenizer.tokenizer.get_vocab_size(), []
    liked = [id for word in favoured for id in tokenizer.encode(word)]
    while len(reply) < most:
        logits = torch.randn(1, size, generator=generator)
        logits[0, liked] += 6
        (token,) = sample(logits, [sampler], [0]).tokens
        sampler.accept(token)
        if token in tokenizer.stop_ids:
            assert sampler.failure is None
            return tokenizer.decode(reply)
        reply.append(token)
    raise AssertionError(f"no end: {tokenizer.decode(reply)!r}")


@pytest.mark.parametrize("rule", [None, SamplingRule(0), SamplingRule(1.0, 0.9, "s", top_k=5)], ids=str)
def test_json_of_a_schema(tokenizer, grammars, rule):
    grammar = reply_grammar(grammars.single, SCHEMA, None)
    found = set()
    for seed in range(12):
        said = json.loads(written(tokenizer, grammars.constraint(grammar), seed, rule))
        assert set(said) == {"shade", "cents"}
        assert said["shade"] in SHADE["enum"]
        assert 0 <= said["cents"] <= 99
        found.add(said["shade"])
    assert found == set(SHADE["enum"])


def test_any_json_object(tokenizer, grammars):
    grammar = reply_grammar(grammars.single, ANY_OBJECT, None)
    for seed in range(8):
        assert isinstance(json.loads(written(tokenizer, grammars.constraint(grammar), seed, favoured='"}1')), dict)


@pytest.mark.parametrize("style", [*STYLES, XML], ids=lambda style: style.name)
@pytest.mark.parametrize("many", [True, False])
def test_forced_calls_are_read_back_in_every_style(tokenizer, marked, style, many):
    for each in (tokenizer, marked):
        grammars = Grammars(each)
        grammar = reply_grammar(grammars.single, None, Calls(style, [PAINT, NOW], forced=True, many=many))
        counts = set()
        for seed in range(15):
            text = written(each, grammars.constraint(grammar), seed, most=3000)
            message = style.read(text, offered_of([PAINT, NOW]))
            assert not message.text.strip()
            counts.add(len(message.tool_calls))
            for call in message.tool_calls:
                arguments = json.loads(call.function.arguments)
                assert set(arguments) == ({"shade", "cents"} if call.function.name == "paint" else set())
        assert counts == {1} or (many and style.opening)


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
def test_one_call_beside_free_words_where_several_are_not_wanted(tokenizer, marked, style):
    for each in (tokenizer, marked):
        grammars = Grammars(each)
        grammar = reply_grammar(grammars.single, None, Calls(style, [NOW], many=False))
        before, after = style.around("now")
        for call, taken in (("{}", True), ('{"a": 1}', True), ("[1]", False), ("{", False)):
            assert accepts(each, grammars.constraint(grammar), f"{before}{call}{after}") == taken
        assert accepts(each, grammars.constraint(grammar), "words <tool and words")
        assert accepts(each, grammars.constraint(grammar), "")
        if style.opening:
            assert accepts(each, grammars.constraint(grammar), f"words {before}{{}}{after} words")
            assert not accepts(each, grammars.constraint(grammar), f"{before}{{}}{after}{before}{{}}{after}")
            assert not accepts(each, grammars.constraint(grammar), "words <tool_call>never")


def test_a_strict_tool_is_strict_wherever_it_is_called(tokenizer, grammars):
    strict = Tool.model_validate({"function": {"name": "paint", "parameters": SCHEMA, "strict": True}})
    calls = Calls(STYLES[0], [strict, NOW])
    assert calls.restricts
    assert not Calls(STYLES[0], [PAINT, NOW]).restricts
    grammar = reply_grammar(grammars.single, None, calls)
    good = '<tool_call>paint{"shade":"light","cents":5}</tool_call>'
    assert accepts(tokenizer, grammars.constraint(grammar), f"so {good} and {good}.")
    assert not accepts(tokenizer, grammars.constraint(grammar), '<tool_call>paint{"shade":"light"}</tool_call>')
    assert accepts(tokenizer, grammars.constraint(grammar), '<tool_call>now{"any": "thing"}</tool_call>')


def test_json_or_a_call(tokenizer, grammars):
    grammar = reply_grammar(grammars.single, SCHEMA, Calls(STYLES[0], [NOW]))
    assert accepts(tokenizer, grammars.constraint(grammar), '{"shade": "light", "cents": 5}')
    assert accepts(tokenizer, grammars.constraint(grammar), "<tool_call>now{}</tool_call>")
    assert not accepts(tokenizer, grammars.constraint(grammar), "words")


def test_white_space_is_bounded(tokenizer, grammars):
    grammar = reply_grammar(grammars.single, SCHEMA, None)
    assert accepts(tokenizer, grammars.constraint(grammar), '{\n  "shade": "light",\n  "cents": 5\n}')
    assert not accepts(tokenizer, grammars.constraint(grammar), '{  "shade": "light", "cents": 5}')
    grammar = reply_grammar(grammars.single, None, Calls(STYLES[0], [NOW], many=False))
    assert not accepts(tokenizer, grammars.constraint(grammar), "<tool_call>now{\n}</tool_call>"), "on one line"


def accepts(tokenizer, constraint, text):
    """Whether a reply may be exactly this text."""
    for token in [*tokenizer.encode(text), min(tokenizer.stop_ids)]:
        scores = torch.zeros(tokenizer.tokenizer.get_vocab_size())
        constraint.mask(scores)
        if scores[token] != 0:
            return False
        constraint.accept(token)
    return True


def test_a_thought_is_free_and_must_end(marked):
    grammars = Grammars(marked)
    grammar = reply_grammar(grammars.single, SCHEMA, None, thinks=True)
    good = '{"shade": "light", "cents": 5}'

    def fits(text, **thinking):
        return accepts(marked, grammars.constraint(grammar, thinks=True, **thinking), text)

    assert fits(f"<think>hm {{ words</think>\n\n{good}")
    assert fits(good)
    assert not fits("<think>hm words")
    assert not fits("<think>hm</think>words")
    assert not fits(f"{good}<think>")
    assert fits(f"hm</think>{good}", thinking=True)
    assert not fits("hm", thinking=True)


def test_a_model_without_thoughts_begins_none(tokenizer, grammars):
    grammar = reply_grammar(grammars.single, SCHEMA, None)
    assert not accepts(tokenizer, grammars.constraint(grammar), "<think></think>{}")
    assert accepts(tokenizer, grammars.constraint(grammar, thinking=True), 'a</think>{"shade": "light", "cents": 5}'), (
        "an end of thought that is spread over tokens is found, too"
    )


def test_choices_of_one_call_do_not_share_their_place(tokenizer, grammars):
    grammar = reply_grammar(grammars.single, SCHEMA, None)
    first, second = grammars.constraint(grammar), grammars.constraint(grammar)
    first.accept(tokenizer.encode("{")[0])
    assert accepts(tokenizer, second, '{"shade": "light", "cents": 5}')


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "wat"},
        {"$ref": "#/nowhere"},
        {"type": "string", "pattern": "(?<=a)b"},
        {"type": "object", "properties": {"a": {"not": {}}}},
        {"type": "string", "minLength": 5, "maxLength": 2},
        {"type": "object", "x-guidance": {}},
    ],
    ids=str,
)
def test_a_schema_that_cannot_be_enforced_is_refused_with_the_reason(grammars, schema):
    with pytest.raises(InvalidInput, match=r"cannot be enforced: .|leave it out"):
        grammars.constraint(reply_grammar(grammars.single, schema, None))


def test_arguments_that_are_no_object_are_refused(grammars):
    wrong = Tool.model_validate({"function": {"name": "f", "parameters": {"type": "array"}}})
    with pytest.raises(InvalidInput, match=r"tools\.0\.function\.parameters"):
        reply_grammar(grammars.single, None, Calls(STYLES[0], [wrong], forced=True))


def test_a_grammar_that_gives_up_ends_the_reply_and_says_so(tokenizer, grammars):
    constraint = grammars.constraint(reply_grammar(grammars.single, SCHEMA, None))
    constraint.accept(tokenizer.encode("x")[0])
    scores = torch.zeros(tokenizer.tokenizer.get_vocab_size())
    constraint.mask(scores)
    assert set((scores == 0).nonzero()[:, 0].tolist()) == tokenizer.stop_ids
    assert isinstance(constraint.failure, JourneymanError)


def test_logits_may_be_wider_or_narrower_than_the_vocabulary(tokenizer, grammars):
    for extra in (64, -10):
        constraint = grammars.constraint(reply_grammar(grammars.single, SCHEMA, None))
        scores = torch.zeros(tokenizer.tokenizer.get_vocab_size() + extra)
        constraint.mask(scores)
        assert torch.isfinite(scores).any()
        assert not torch.isfinite(scores[tokenizer.tokenizer.get_vocab_size() :]).any()


def elements(**values):
    return "".join(f"<parameter={name}>\n{value}\n</parameter>\n" for name, value in values.items())


def xml(function, written):
    before, after = XML.around(function)
    return before + written + after


def test_xml_arguments_are_of_their_schema(tokenizer, marked):
    for each in (tokenizer, marked):
        grammars = Grammars(each)
        grammar = reply_grammar(grammars.single, None, Calls(XML, [PAINT, NOW], forced=True, many=False))

        def fits(text, grammars=grammars, grammar=grammar, each=each):
            return accepts(each, grammars.constraint(grammar), text)

        assert fits(xml("paint", elements(shade="light", cents=5)))
        assert fits(xml("paint", elements(shade='dark "grün"', cents=99)))
        assert fits(xml("now", ""))
        assert not fits(xml("paint", elements(shade="grey", cents=5)))
        assert not fits(xml("paint", elements(shade="light", cents=100)))
        assert not fits(xml("paint", elements(shade="light")))
        assert not fits(xml("now", elements(any="thing")))
        assert not fits("words")


def test_text_in_xml_arguments_is_free_within_its_length_and_speaks_of_no_marker(tokenizer, grammars):
    properties = {
        "text": {"type": "string", "maxLength": 30},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "point": {"$ref": "#/$defs/Point"},
    }
    parameters = {
        "properties": properties,
        "required": ["text"],
        "$defs": {"Point": {"type": "object", "properties": {"x": {"type": "integer"}}, "additionalProperties": False}},
    }
    tool = Tool.model_validate({"function": {"name": "write", "parameters": parameters}})
    grammar = reply_grammar(grammars.single, None, Calls(XML, [tool], forced=True))

    def fits(**values):
        text = xml("write", elements(**values))
        if not accepts(tokenizer, grammars.constraint(grammar), text):
            return False
        assert XML.read(text, offered_of([tool])).tool_calls, "what is forced can be read"
        return True

    for text in ("", "a", "\n", "x" * 30, "<b>", "</p>", "<functional>"):
        assert fits(text=text)
    assert not fits(text="x" * 31)
    assert not fits(text="</parameter>")
    assert not fits(text="<function=f>")
    assert fits(text="a", note="null", point='{"x": 1}')
    assert fits(text="a", point="{}")
    assert not fits(text="a", point='{"y": 1}')
    assert not fits(point="{}")


def test_one_xml_call_beside_free_words(tokenizer, marked):
    for each in (tokenizer, marked):
        grammars = Grammars(each)
        grammar = reply_grammar(grammars.single, None, Calls(XML, [NOW], many=False))
        one = xml("now", elements(any="thing at all", more=1))
        assert accepts(each, grammars.constraint(grammar), f"words {one} words")
        assert accepts(each, grammars.constraint(grammar), xml("now", ""))
        assert not accepts(each, grammars.constraint(grammar), one + one)
        assert not accepts(each, grammars.constraint(grammar), xml("now", "words"))


@pytest.mark.parametrize(
    "changed",
    [
        {"properties": {"a": {"type": "string", "pattern": "x"}}},
        {"properties": {"a": {"type": "string", "minLength": 5, "maxLength": 2}}},
        {"properties": {"a": {"enum": ["a", 1]}}},
        {"properties": {"a": {"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 0}]}}},
        {"properties": {"a": {"$ref": "#/nowhere"}}},
        {"properties": {"a": {"type": "integer", "multipleOf": "x"}}},
        {"properties": {"a>": {"type": "string"}}},
        {"anyOf": [{"required": ["a"]}]},
    ],
    ids=str,
)
def test_what_xml_arguments_cannot_enforce_is_refused(grammars, changed):
    wrong = Tool.model_validate({"function": {"name": "f", "parameters": {"type": "object", **changed}}})
    with pytest.raises(InvalidInput, match=r"tools\.0\.function\.parameters: this schema cannot be enforced: ."):
        grammars.constraint(reply_grammar(grammars.single, None, Calls(XML, [wrong], forced=True)))
