"""What the rules find goes, what they do not find stays, and records stay readable."""

import json
import random
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journeyman.capture.redact import Redactor, redactor_of
from journeyman.capture.redact_names import read_key, reveal
from journeyman.capture.redact_patterns import BUILT_IN, iban_is_valid, luhn
from journeyman.config import RedactionSettings
from journeyman.errors import InvalidInput
from journeyman.records import Feedback, WireExchange

KEY = b"k" * 32
ALL = list(BUILT_IN)


def redactor(**options):
    return Redactor(ALL, key=KEY, **options)


def exchange(*contents, **fields):
    messages = [{"role": "user", "content": content} for content in contents]
    return WireExchange(id="a" * 32, at=1, model="m", state="complete", **{"messages": messages, **fields})


SECRETS = {
    "email": ["alice@example.com", "o'neil.j+tag@mail.example.co.uk", "jürgen@müller.example", "a_b%c@x-y.io"],
    "card": ["4111111111111111", "4111 1111 1111 1111", "5500-0000-0000-0004", "3782 822463 10005", "6011000990139424"],
    "iban": [
        "DE89370400440532013000",
        "GB29 NWBK 6016 1331 9268 19",
        "MT84MALT011000012345MTLCAST001S",
        "NO9386011117947",
    ],
    "phone": [
        "+49 30 1234567",
        "+1 (415) 555-2671",
        "+4915112345678",
        "0044 20 7946 0958",
        "(212) 555-0123",
        "212-555-0123",
        "030 1234567",
    ],
    "secret": [
        "sk-proj-abcDEF123456ghiJKL789",
        "ghp_" + "a1B2" * 9,
        "github_pat_" + "a1B2_" * 8,
        "AKIAIOSFODNN7EXAMPLE",
        "xoxb-123456789012-abcdef",
        "hf_" + "aB3d" * 8,
        "AIza" + "a1B2c" * 7,
        "glpat-" + "a1b2c" * 4,
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.c2lnbmF0dXJl",
        "sk_live_abcdef1234567890",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE KEY-----",
    ],
    "ip": ["192.168.1.17", "2001:db8::8a2e:370:7334", "fe80::1"],
}
PLANTED = st.sampled_from([(name, value) for name, values in SECRETS.items() for value in values])


@pytest.mark.parametrize(("rule", "value"), [(rule, value) for rule, values in SECRETS.items() for value in values])
def test_each_rule_finds_its_own_and_no_more(rule, value):
    alone = Redactor([rule], key=KEY)
    assert re.fullmatch(rf"Say \[{rule}:[a-p]{{8}}\], please\.", alone.text(f"Say {value}, please."))
    assert alone.counts == {rule: 1}


@pytest.mark.parametrize(
    "text",
    [
        "Order 1234567890 of 2026-11-23 22:47:05 costs 1,234,567.89 euros.",
        "4111 1111 1111 1112",
        "call_1234567890123",
        "DE89370400440532013001",
        "task-management-system-2000",
        "sk-learn-tutorial-for-all",
        "meet @alice at 10:30",
        "version 1.2.3 of 10",
        "0.1234567890123456",
        "id 1760000000000",
        "Bearer of bad news and authentication",
        "550e8400-e29b-41d4-a716-446655440000",
        "0000000000000000",
        "a::b",
        "10:20:30",
    ],
)
def test_what_only_looks_like_it_stays(text):
    assert redactor().text(text) == text


def test_the_word_before_a_token_and_the_host_behind_a_password_stay():
    assert re.fullmatch(r"Bearer \[secret:\w+\]", redactor().text("Bearer abcdefgh12345678ijkl"))
    alone = Redactor(["secret"], key=KEY)
    assert re.fullmatch(r"db://\[secret:\w+\]@db\.internal/x", alone.text("db://ann:hunter22@db.internal/x"))


@given(
    st.text(max_size=60), PLANTED, st.text(max_size=60), st.sampled_from(["text", "json", "nested", "result", "error"])
)
@settings(max_examples=500, deadline=None)
def test_what_is_planted_does_not_survive(before, planted, after, place):
    _, value = planted
    text = f"{before} {value} {after}"
    written = json.dumps({"note": text, "many": [text]})
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": written}}
    fields = {
        "text": {"messages": [{"role": "user", "content": text}]},
        "json": {"messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]},
        "nested": {
            "choices": [
                {
                    "message": {"role": "assistant", "content": [{"type": "text", "text": text}]},
                    "finish_reason": "stop",
                    "tokens": None,
                }
            ]
        },
        "result": {"messages": [{"role": "tool", "tool_call_id": "c", "content": written}]},
        "error": {"error": text, "tags": {"note": text}},
    }[place]
    cleaned = redactor().wire(exchange(**fields))
    spoken = repr((cleaned.messages, cleaned.choices, cleaned.error, cleaned.tags)).replace("\\\\n", "\n")
    assert value not in spoken.replace("\\n", "\n")
    assert cleaned.fidelity == "lossy"
    if place == "json":
        json.loads(cleaned.messages[0]["tool_calls"][0]["function"]["arguments"])
    if place == "result":
        json.loads(cleaned.messages[0]["content"])


@given(st.lists(st.text(max_size=30) | PLANTED.map(lambda planted: planted[1]), max_size=6).map("".join))
@settings(max_examples=500, deadline=None)
def test_a_second_pass_changes_nothing(text):
    once = redactor(patterns={"word": r"\bpl\w+", "all": "[0-9]{3}"})
    cleaned = once.text(text)
    assert once.text(cleaned) == cleaned
    first = once.wire(exchange(text))
    assert once.wire(first) == first


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | PLANTED.map(lambda p: p[1]),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=12,
    )
)
@settings(max_examples=300, deadline=None)
def test_json_stays_json_and_everything_else_in_it_stays(value):
    written = json.dumps(value)
    cleaned = redactor().text(written)
    if written[:1] in "[{":
        json.loads(cleaned)
    if not redactor().counts and cleaned == written:
        assert json.loads(cleaned) == value or value != value or "NaN" in written


def test_equal_values_stay_equal_and_others_do_not():
    first, again, other = (redactor().text(text) for text in ("a@example.com", "a@example.com", "b@example.com"))
    assert first == again != other
    assert Redactor(["email"], key=b"x" * 32).text("a@example.com") != first


def test_numbers_and_names_of_fields_inside_arguments_are_looked_at():
    cleaned = redactor().text('{"card": 4111111111111111, "a@example.com": 1, "id": "b@example.com", "n": 12345678901}')
    told = json.loads(cleaned)
    assert told["card"].startswith("[card:")
    assert told["id"].startswith("[email:")
    assert any(name.startswith("[email:") for name in told)
    assert told["n"] == 12345678901


def test_letters_written_as_numbers_hide_nothing():
    arguments = '{"mail": "alice\\u0040example.com"}'
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    cleaned = redactor().wire(exchange(messages=[{"role": "assistant", "content": None, "tool_calls": [call]}]))
    assert "[email:" in cleaned.messages[0]["tool_calls"][0]["function"]["arguments"]


def test_tokens_go_with_what_they_spell():
    tokens = {"prompt": [1], "reply": [2], "logprobs": [-0.5]}
    message = {"role": "assistant", "content": "ok", "logprobs": {"content": []}}
    choices = [{"message": message, "finish_reason": "stop", "tokens": tokens}]
    clean = exchange("nothing here", choices=choices)
    assert redactor().wire(clean) is clean
    cleaned = redactor().wire(exchange("a@example.com", choices=choices))
    assert cleaned.choices == [
        {"message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop", "tokens": None}
    ]
    assert (cleaned.fidelity, cleaned.tags) == ("lossy", {"redacted": "email"})
    assert choices[0]["tokens"] is tokens
    cleaned.exchange()


def test_sampling_stays_readable():
    cleaned = redactor().wire(exchange("x", sampling={"seed": 4111111111111111, "user": "a@example.com"}))
    assert cleaned.exchange().sampling.seed == 4111111111111111
    assert cleaned.sampling["user"].startswith("[email:")


def test_identifiers_are_redacted_on_request_only():
    told = exchange("x", person="a@example.com", session="b@example.com")
    assert redactor().wire(told) is told
    cleaned = redactor(identifiers=True).wire(told)
    assert cleaned.person.startswith("[email:")
    assert cleaned.session.startswith("[email:")


def test_images_are_not_read_as_text():
    url = "data:image/png;base64," + "sk-" + "a1B2" * 20
    part = {"type": "image_url", "image_url": {"url": url}}
    told = exchange([part], "a@example.com")
    assert redactor().wire(told).messages[0]["content"] == [part]


def test_feedback_is_redacted_too():
    cleaned = redactor().feedback(Feedback(exchange_id="x", name="n", reason="ask a@example.com", by="me"))
    assert "[email:" in cleaned.reason


def test_own_patterns_come_first_and_bad_ones_are_refused():
    assert redactor(patterns={"order": r"ORD-\d+"}).text("ORD-12 is here").startswith("[order:")
    for patterns in ({"Bad Name": "x"}, {"email": "x"}, {"broken": "("}):
        with pytest.raises(InvalidInput):
            redactor(patterns=patterns)
    with pytest.raises(InvalidInput, match="there is: secret"):
        Redactor(["emails"], key=KEY)


@given(st.lists(PLANTED.map(lambda planted: planted[1]) | st.text(max_size=10), max_size=5).map(" ".join))
@settings(max_examples=100, deadline=None)
def test_who_has_the_key_can_read_what_was_there(text):
    text = text.encode("utf-8", "ignore").decode()
    closed = Redactor(ALL, key=KEY, reversible=True).text(text)
    if not text.lstrip().startswith(("{", "[")):
        assert reveal(closed, KEY) == text
        assert reveal(closed, b"other key, as long as that one..") == closed


def test_reversing_needs_a_key():
    with pytest.raises(InvalidInput, match="key"):
        Redactor(ALL, reversible=True)


def test_the_key_is_made_once_and_is_private(tmp_path):
    first = read_key(None, None, tmp_path)
    assert read_key(None, None, tmp_path) == first
    assert (tmp_path / "redaction.key").stat().st_mode & 0o077 == 0
    assert [path.name for path in tmp_path.iterdir()] == ["redaction.key"]
    with pytest.raises(InvalidInput, match="shorter"):
        read_key("short", None, tmp_path)
    with pytest.raises(InvalidInput, match="no file"):
        read_key(None, tmp_path / "absent", tmp_path)


def test_settings_make_a_redactor(tmp_path):
    assert redactor_of(RedactionSettings(), tmp_path) is None
    made = redactor_of(RedactionSettings(rules=["email"], key="0123456789abcdef"), tmp_path)
    assert made.text("a@example.com").startswith("[email:")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "a@",
        "a.",
        "@a.",
        "1",
        "1 ",
        "41 ",
        "4111-",
        "+1 ",
        "+1",
        "sk-",
        "eyJ",
        "eyJaaaaaaaaaaaaa.",
        "Bearer ",
        "://a:",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN ",
        "DE89 ",
        "DE00",
        "1.",
        "a:",
        "::",
        "{",
        "[",
        "SG.",
        "030 123 ",
        "xoxb-",
        "x" * 64 + "@",
    ],
)
def test_time_grows_with_the_text_and_not_faster(piece):
    def seconds(size):
        text = "@ :// PRIVATE KEY ghp_ 0000000000000 " + piece * (size // len(piece))
        began = time.process_time()
        redactor().text(text)
        return time.process_time() - began

    small, large = min(seconds(1 << 14) for _ in range(3)), seconds(1 << 17)
    assert large < 0.2 or large < 24 * max(small, 0.001)


def test_check_digits():
    assert luhn("4111111111111111")
    assert not luhn("4111111111111112")
    assert iban_is_valid("DE89370400440532013000")
    assert not iban_is_valid("DE8937040044053201300")


@given(st.integers(13, 19), st.sampled_from("3456"), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_any_valid_card_goes(length, first, chance: random.Random):
    body = first + "".join(chance.choice("0123456789") for _ in range(length - 2))
    number = next(body + digit for digit in "0123456789" if luhn(body + digit))
    assert number not in redactor().text(f"my card is {number}.")
