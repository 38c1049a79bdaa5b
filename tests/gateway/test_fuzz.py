"""Whatever arrives, the gateway passes it on untouched or refuses it in words; it never fails, hangs or asks others."""

import json
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from journeyman.gateway.calls import ROUTES
from journeyman.gateway.otlp import PATHS as OTLP_PATHS
from journeyman.gateway.validate import BadField, read_request
from journeyman.records import Exchange, KeyRevocation
from tests.clients.provider import Call, running
from tests.clients.serving import KEY, PROVIDER_KEY, Serving, api_key, serving

CHAT = "/v1/chat/completions"
HI = b'{"model": "open/m", "messages": [{"role": "user", "content": "Hi"}]}'
FEW = settings(max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
LARGEST = 100_000
PATHS = st.sampled_from(sorted(ROUTES))
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(_LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
FIELDS = st.dictionaries(st.text().filter(lambda key: key not in ("model", "stream")), VALUES, max_size=5)


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Serving]:
    """Without keys: anybody may ask."""
    with (
        running() as provider,
        serving(tmp_path_factory.mktemp("home"), provider, max_body_bytes=LARGEST) as found,
    ):
        yield found


def exchange_of(served: Serving, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    """What comes back for these bytes on a connection of their own: status, headers, body; 0 when nothing does.

    It takes at most 10 s, or the test fails: nothing may hang.
    """
    port = int(served.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(sent)
        received = b""
        while data := connection.recv(1 << 16):
            received += data
    head, _, body = received.partition(b"\r\n\r\n")
    if not head:
        return 0, {}, b""
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split(" ")[1]), headers, body


def post(served: Serving, path: str, body: bytes, *headers: bytes) -> tuple[int, dict[str, str], bytes]:
    """POST with these further header lines."""
    lines = [b"POST " + path.encode() + b" HTTP/1.1", b"host: 127.0.0.1", b"connection: close"]
    lines += [b"content-length: %d" % len(body), *headers]
    return exchange_of(served, b"\r\n".join(lines) + b"\r\n\r\n" + body)


def asked_of_provider(served: Serving) -> list[Call]:
    """What the provider has received since the last look."""
    calls = served.provider.calls[:]
    served.provider.calls.clear()
    return calls


def is_error(body: bytes, path: str = CHAT) -> bool:
    """Whether the body is an error as this API's clients read it."""
    said = json.loads(body)
    return bool(said["error"]["message"]) and (path != "/v1/messages" or said["type"] == "error")


@FEW
@given(PATHS, FIELDS, FIELDS, st.sampled_from([None, "\t", 2]), st.booleans())
def test_a_body_arrives_byte_for_byte_but_for_the_models_name(served, path, before, after, indent, ascii_only):
    whole = json.dumps({**before, "model": "open/m", **after}, indent=indent, ensure_ascii=ascii_only)
    try:
        body = whole.encode()
    except UnicodeEncodeError:
        body = whole.encode(errors="surrogatepass")
    assume(body.count(b'"open/m"') == 1)
    asked_of_provider(served)
    assert post(served, path, body)[0] == 200
    [call] = asked_of_provider(served)
    assert (call.path, call.body) == (path, body.replace(b'"open/m"', b'"m"'))


@FEW
@given(PATHS, FIELDS, st.binary(max_size=60) | VALUES.map(lambda value: b', "x": ' + json.dumps(value).encode()))
@example(CHAT, {}, b"")
@example(CHAT, {}, b", \xff\xfe")
@example(CHAT, {}, b', "x": ' + b"[" * 5000)
@example(CHAT, {}, b', "x": "\\ud800"}')
def test_a_malformed_body_is_for_the_provider_when_its_model_can_be_found(served, path, before, rest):
    head = json.dumps(before).encode()[:-1] + (b", " if before else b"")
    assume(b"model" not in rest and b"\\u" not in rest.replace(b"\\ud800", b""))
    body = head + b'"model": "open/m"' + rest
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        asked_of_provider(served)
        status, _, said = post(served, path, body)
        if rest[:1] in (b"", b","):  # else what stands behind the name belongs to it
            [call] = asked_of_provider(served)
            assert call.body == head + b'"model": "m"' + rest
            assert (status, json.loads(said)["error"]["message"]) == (400, "your JSON is broken")
        assert status in (200, 400)


@FEW
@given(PATHS, st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()))
@example(CHAT, b"")
@example(CHAT, b"{")
@example(CHAT, b"[" * 50_000)
@example(CHAT, b'{"a":' * 15_000)
@example(CHAT, b'"' + b"\\" * 50_000)
@example(CHAT, b'{"model": ["open/m"]}')
@example(CHAT, b'{"model": {"model": "open/m"}')
@example(CHAT, b'[{"model": "open/m"}')
@example(CHAT, b'{"model": ""}')
@example(CHAT, b'{"\\"model": "open/m"')
@example(CHAT, b"\xef\xbb\xbf" + b'{"model": 3}')
def test_a_body_that_names_no_model_is_refused_here(served, path, body):
    asked_of_provider(served)
    status, _, said = post(served, path, body)
    assert status == 400
    assert is_error(said, path)
    assert asked_of_provider(served) == []


@FEW
@given(PATHS, st.sampled_from(["", "open/", "acme/", "nowhere/"]), st.text(min_size=1, max_size=600))
@example(CHAT, "open/", "../../../etc/passwd")
@example(CHAT, "open/", "m\r\nevil: 1")
@example(CHAT, "", "http://169.254.169.254/latest/meta-data")
@example(CHAT, "open/", "http://evil.example/m")
@example(CHAT, "", "open@evil.example/m")
@example(CHAT, "", "open:80/m")
@example(CHAT, "open/", "m?key=1#x")
@example(CHAT, "open/", "%2e%2e%2fm")
@example(CHAT, "acme/", "\u202em")
@example(CHAT, "nowhere/", "m")
def test_a_models_name_is_a_name_and_nothing_else(served, path, provider, model):
    asked_of_provider(served)
    body = json.dumps({"model": provider + model}).encode()
    status, headers, said = post(served, path, body)
    calls = asked_of_provider(served)
    if not calls:
        assert status in ((400, 404, 502) if provider == "nowhere/" else (400, 404))
        assert is_error(said, path)
        return
    [call] = calls
    assert provider in ("open/", "acme/")
    assert (call.method, call.path, json.loads(call.body)["model"]) == ("POST", path, model)
    assert call.headers["host"] == f"127.0.0.1:{served.provider.port}"
    assert call.headers.keys() == {"host", "content-length"} | ({"authorization"} if provider == "acme/" else set())
    assert "evil" not in headers


NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).map(str.encode) | st.sampled_from(
    [b"x-journeyman-session", b"x-journeyman-tags", b"x-journeyman-external-id", b"traceparent", b"cookie",
     b"content-type", b"content-encoding", b"accept-encoding", b"authorization", b"x-api-key", b"host", b"origin",
     b"x-request-id", b"x-journeyman-exchange", b"content-length", b"transfer-encoding", b"expect", b"connection"]
)  # fmt: skip
HEADERS = st.lists(st.tuples(NAMES | st.binary(max_size=10), st.binary(max_size=40)), max_size=5)


@FEW
@given(PATHS, HEADERS)
@example(CHAT, [(b"x-a", b"1\r\nevil: 2")])
@example(CHAT, [(b"x-a", b"1\nevil: 2")])
@example(CHAT, [(b"x-a: 1\r\nevil", b"2")])
@example(CHAT, [(b"transfer-encoding", b"chunked")])
@example(CHAT, [(b"content-length", b"5")])
@example(CHAT, [(b"content-encoding", b"gzip")])
@example(CHAT, [(b"x-journeyman-tags", b"=,")])
@example(CHAT, [(b"x-journeyman-session", b"\xff\xfe")])
@example(CHAT, [(b"traceparent", b"00-zz-zz-zz")])
@example(CHAT, [(b"host", b"evil.example")])
@example(CHAT, [(b"x", b"y" * 70_000)])
def test_headers_are_passed_refused_or_kept_here(served, path, headers):
    asked_of_provider(served)
    status, _, _ = post(served, path, HI, *(name + b": " + value for name, value in headers))
    assert status == 0 or 200 <= status < 500
    for call in asked_of_provider(served):
        assert call.path == path
        assert call.headers["host"] == f"127.0.0.1:{served.provider.port}"
        assert call.headers["content-length"] == str(len(call.body))
        kept_here = {"cookie", "connection", "transfer-encoding", "expect", "keep-alive", "te", "upgrade"}
        assert not kept_here & call.headers.keys()
        assert not any(name.startswith("x-journeyman-") for name in call.headers)
        assert PROVIDER_KEY not in call.headers.get("authorization", "")


@FEW
@given(st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]), st.binary(max_size=40))
@example("POST", b"v1/../v1/chat/completions")
@example("POST", b"/evil.example/v1/chat/completions")
@example("POST", b"v1/chat/completions/../../admin")
@example("POST", b"v1%2fchat%2fcompletions")
@example("POST", b"v1/chat/completions?url=http://evil.example/")
@example("GET", b"v1/chat/completions")
@example("GET", b"..%2f..%2fetc%2fpasswd")
def test_a_path_leads_to_a_route_or_nowhere(served, method, path):
    asked_of_provider(served)
    head = f"{method} /".encode() + path + b" HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n"
    status, _, _ = exchange_of(served, head + b"content-length: %d\r\n\r\n" % len(HI) + HI)
    assert status == 0 or 200 <= status < 500
    assert all(call.path in ROUTES for call in asked_of_provider(served))


@FEW
@given(st.binary(max_size=300))
@example(b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
@example(b"GET http://evil.example/healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
@example(b"CONNECT evil.example:80 HTTP/1.1\r\nhost: evil.example:80\r\n\r\n")
def test_bytes_that_are_no_request_do_no_harm(served, sent):
    asked_of_provider(served)
    with socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2])), timeout=10) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        received = connection.recv(1 << 16)
    assert not received or received.startswith(b"HTTP/1.1 ")
    assert not received.startswith(b"HTTP/1.1 5")
    assert asked_of_provider(served) == []


MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool", "robot"]) | VALUES},
        optional={"content": VALUES, "tool_calls": VALUES, "tool_call_id": VALUES, "name": VALUES},
    )
)
CHATS = st.fixed_dictionaries(
    {"model": st.just("tiny"), "messages": MESSAGES | VALUES},
    optional=dict.fromkeys(("tools", "stream", "stream_options", "metadata", "n", "stop", "seed", "top_p"), VALUES),
)


@settings(FEW, max_examples=200)
@given(CHATS.map(lambda chat: json.dumps(chat).encode()) | st.binary(max_size=100))
@example(b'{"model": "tiny", "messages": [{"role": "user", "content": "\\ud800"}]}')
@example(b'{"model": "tiny", "messages": [{"role": "user"}], "n": 1e999}')
@example(b'{"model": "tiny", "messages": [{"role": "user"}], "seed": %s}' % (b"9" * 5000))
@example(b'{"model": "tiny", "messages": ' + b"[" * 20_000)
@example(b'{"model": "tiny", "messages": [{"role": "user", "content": "x"}], "temperature": NaN}')
@example(b'{"model": "tiny", "messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]}')
def test_a_body_that_must_be_read_here_is_read_or_refused_in_words(raw):
    try:
        read = read_request(raw)
    except BadField as error:
        problem = error
    else:
        assert read.messages
        return
    assert str(problem)


OTLP_TYPES = st.sampled_from([b"application/json", b"application/x-protobuf", b"text/plain", b""])


@FEW
@given(st.sampled_from(sorted(OTLP_PATHS)), OTLP_TYPES, st.sampled_from([b"", b"gzip", b"br"]), st.binary(max_size=300))
@example("/v1/traces", b"application/json", b"", b"[" * 50_000)
@example("/v1/traces", b"application/x-protobuf", b"", b"\x0a\xff\xff\xff\xff\x0f")
@example("/v1/logs", b"application/x-protobuf", b"", b"\x0b" * 5000)
@example("/v1/logs", b"application/json", b"gzip", b"\x1f\x8b\x08\x00")
def test_spans_are_taken_or_refused(served, path, kind, coding, body):
    head = [b"content-type: " + kind, *([b"content-encoding: " + coding] if coding else [])]
    status, _, _ = post(served, path, body, *head)
    assert status in (200, 400, 415)


@pytest.mark.parametrize("path", sorted(ROUTES))
def test_a_body_that_is_too_large_is_413_announced_or_not(served, path):
    asked_of_provider(served)
    body = HI[:-1] + b', "x": "' + b"x" * LARGEST + b'"}'
    announced = post(served, path, body)
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    found = exchange_of(served, head.encode() + chunked)
    for status, _, said in (announced, found):
        assert status == 413
        assert is_error(said, path)
        assert b"max_body_bytes" in said
    assert asked_of_provider(served) == []
    assert post(served, path, body[: -LARGEST // 2] + b'"}')[0] == 200


@pytest.mark.parametrize("path", sorted(ROUTES))
def test_a_name_that_nobody_has_is_404(served, path):
    status, _, said = post(served, path, b'{"model": "nobody"}')
    assert (status, is_error(said, path), b"nobody" in said) == (404, True, True)


@pytest.mark.parametrize("path", [*sorted(ROUTES), "/v1/feedback", "/v1/traces", "/v1/models"])
def test_a_bad_key_is_401_with_the_same_words_whatever_is_wrong(tmp_path, path):
    past = datetime.now(UTC) - timedelta(days=1)
    expired = api_key(expires=past).model_copy(update={"hash": "e" * 64, "fingerprint": "e" * 12})
    good = api_key()
    with running() as provider, serving(tmp_path, provider, good, expired) as served:
        method = b"GET" if path == "/v1/models" else b"POST"

        def ask(*headers: bytes):
            lines = [method + b" " + path.encode() + b" HTTP/1.1", b"host: 127.0.0.1", b"connection: close"]
            lines += [b"content-length: 2", b"content-type: application/json", *headers]
            status, told, said = exchange_of(served, b"\r\n".join(lines) + b"\r\n\r\n{}")
            return status, {name: value for name, value in told.items() if name != "date"}, said

        key = KEY.encode()
        assert ask(b"authorization: Bearer " + key)[0] != 401
        served.store.put(KeyRevocation(fingerprint=good.fingerprint, by="test"))
        for _ in range(100):  # it counts within a second
            if (revoked := ask(b"authorization: Bearer " + key))[0] == 401:
                break
            time.sleep(0.05)
        wrong = [
            ask(), ask(b"authorization: Bearer jm-wrong"), ask(b"authorization: Basic " + key),
            ask(b"authorization: " + key), ask(b"authorization:"), ask(b"authorization: Bearer"),
            ask(b"authorization: Bearer " + key[:-1]), ask(b"x-api-key: " + key[::-1]), ask(b"x-api-key: \xff"),
            ask(b"authorization: Bearer " + b"x" * 5000), revoked,
        ]  # fmt: skip
        assert wrong[0][0] == 401
        assert all(each == wrong[0] for each in wrong)
        assert key not in wrong[0][2]
        assert provider.calls == []
        assert not served.store.find(Exchange)


def test_an_expired_key_is_refused_in_the_words_for_an_unknown_one(tmp_path):
    expired = api_key(expires=datetime.now(UTC) - timedelta(days=1))
    with running() as provider, serving(tmp_path, provider, expired) as served:
        known = post(served, CHAT, HI, b"authorization: Bearer " + KEY.encode())
        unknown = post(served, CHAT, HI, b"authorization: Bearer jm-x")
    assert known[0] == unknown[0] == 401
    assert known[2] == unknown[2]


def test_all_calls_of_this_file_have_come_to_their_end(served):
    assert post(served, CHAT, HI)[0] == 200
    served.gateway.settle(20)
    found = served.store.count(Exchange, by="state")
    assert found["complete"]
    assert found.keys() <= {"complete", "failed"}
