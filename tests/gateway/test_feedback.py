"""`POST /v1/feedback` over a real spool, and over a store alone."""

import json
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from journeyman.capture.feedback import FEEDBACK, feedback_payload, handle_feedback
from journeyman.capture.frames import Frame, Kind, read_frames, read_record
from journeyman.capture.spool import Spool
from journeyman.errors import JourneymanError
from journeyman.gateway.asgi import error_body
from journeyman.gateway.feedback import MOST_ITEMS, FeedbackRoute
from journeyman.gateway.keys import Caller
from journeyman.records import Feedback, Tagging
from journeyman.store.memory import MemoryStore

ANNA = Caller("c0ffee", known=True)
ANYONE = Caller("anonymous")


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def spool(tmp_path):
    opened = Spool(tmp_path / "spool")
    yield opened
    opened.close()


async def post(route: FeedbackRoute, body: object, caller: Caller = ANYONE) -> httpx.Response:
    async def answer(request: Request):
        try:
            return await route.answer(request, caller)
        except JourneymanError as error:
            return JSONResponse(error_body(error), status_code=error.status)

    app = Starlette(routes=[Route("/v1/feedback", answer, methods=["POST"])])
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        return await client.post("/v1/feedback", content=raw)


def spooled(folder: Path) -> list[tuple[str, bytes]]:
    """What RECORD frames lie in the spool."""
    found = []
    for path in sorted((folder / "spool").glob("*.spool")):
        for _, each in read_frames(path.read_bytes()):
            if isinstance(each, Frame) and each.kind is Kind.RECORD:
                what, _, body = read_record(each.payload)
                found.append((what, body))
    return found


@pytest.mark.parametrize("value", [1, 0.25, True, False, -3])
async def test_a_score_of_a_session(store, value):
    body = {"session": "s1", "name": "success", "value": value, "reason": "paid"}
    answer = await post(FeedbackRoute(store), body)
    assert answer.status_code == 201
    kept = store.get(Feedback, answer.json()["id"])
    assert (kept.session, kept.name, kept.value, kept.reason, kept.by) == ("s1", "success", value, "paid", "api")


async def test_a_label_a_comment_and_a_correction_with_who_said_it(store):
    route = FeedbackRoute(store)
    call = {"id": "t1", "type": "function", "function": {"name": "pay", "arguments": "{}"}}
    bodies = [
        {"external_id": "mine-7", "name": "kind", "label": "wrong tool"},
        {"exchange_id": "e1", "name": "note", "reason": "too long", "by": "ben"},
        {"exchange_id": "e1", "correction": "Say this."},
        {"session": "s1", "turn": 0, "correction": {"role": "assistant", "tool_calls": [call], "extra": 1}},
    ]
    answer = await post(route, bodies, ANNA)
    assert answer.status_code == 201
    kept = [store.get(Feedback, id) for id in answer.json()["ids"]]
    assert [each.by for each in kept] == ["c0ffee", "c0ffee/ben", "c0ffee", "c0ffee"]
    assert (kept[0].external_id, kept[0].label, kept[0].value) == ("mine-7", "wrong tool", None)
    assert kept[1].reason == "too long"
    assert (kept[2].name, kept[2].correction.wire()) == ("correction", {"role": "assistant", "content": "Say this."})
    assert kept[3].correction.wire() == {"role": "assistant", "tool_calls": [call], "extra": 1}
    assert kept[3].turn == 0


async def test_tags_after_the_fact_alone_and_beside_a_score(store):
    route = FeedbackRoute(store)
    answer = await post(route, {"external_id": "mine", "tags": {"stage": "test"}}, ANNA)
    tagging = store.get(Tagging, answer.json()["id"])
    assert (tagging.external_id, tagging.tags, tagging.by) == ("mine", {"stage": "test"}, "c0ffee")
    answer = await post(route, {"session": "s", "name": "success", "value": 1, "tags": {"a": "b"}})
    assert store.get(Feedback, answer.json()["id"]).value == 1
    assert store.count(Tagging)[""] == 2


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"name": "success", "value": 1}, "session"),
        ({"session": "s", "value": 1}, "name"),
        ({"session": "s", "name": "success"}, "value"),
        ({"session": "s", "name": "success", "tags": {"a": "b"}}, "value"),
        ({"session": "s", "name": "success", "value": "1"}, "value"),
        ({"session": "s", "name": "success", "value": 1, "extra": 1}, "extra"),
        ({"session": "", "name": "success", "value": 1}, "session"),
        ({"exchange_id": "e", "turn": 1, "name": "success", "value": 1}, "turn"),
        ({"session": "s", "turn": -1, "name": "success", "value": 1}, "turn"),
        ({"session": "s", "turn": 1, "tags": {"a": "b"}}, "tags"),
        ({"session": "s", "tags": {}}, "tags"),
        ({"session": "s", "tags": {"a": 1}}, "tags.a"),
        ({"session": "s", "correction": "whose?"}, "correction"),
        ({"exchange_id": "e", "correction": ""}, "correction"),
        ({"exchange_id": "e", "correction": {"role": "user", "content": "no"}}, "correction"),
        ({"exchange_id": "e", "correction": {"content": "no role"}}, "correction"),
        ("not an object", "the body"),
        (b"{", "the body"),
        (b"", "the body"),
        (b'{"session": "s", "name": "x", "value": NaN}', "value"),
        ([], "1 to 1000"),
        ([{"session": "s", "name": "x", "value": 1}] * (MOST_ITEMS + 1), "1 to 1000"),
        ([{"session": "s", "name": "x", "value": 1}, {"session": "s"}], "item 1"),
        ([{"session": "s", "name": "x", "value": 1}, 7], "item 1"),
        (b"[" * 100_000, "the body"),
        (b"\xff\xfe", "the body"),
    ],
)
async def test_bad_feedback_is_refused_and_nothing_of_it_is_kept(store, body, says):
    answer = await post(FeedbackRoute(store), body)
    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]
    assert not store.find(Feedback)
    assert not store.find(Tagging)


async def test_what_is_too_large_is_refused(store):
    answer = await post(FeedbackRoute(store), b"[" + b" " * (17 << 20) + b"]")
    assert answer.status_code == 413


async def test_with_a_spool_it_is_there_when_the_answer_comes_and_the_store_is_not_asked(spool, tmp_path):
    class Away(MemoryStore):
        def put(self, *records):
            raise ConnectionError("away")

    bodies = [{"session": f"s{number}", "name": "success", "value": number} for number in range(MOST_ITEMS)]
    answer = await post(FeedbackRoute(Away(), spool), bodies, ANNA)
    assert answer.status_code == 201
    [(what, body)] = spooled(tmp_path)
    assert what == FEEDBACK
    records = handle_feedback({}, body)
    assert [record.id for record in records] == answer.json()["ids"]
    assert [record.value for record in records] == list(range(MOST_ITEMS))


async def test_a_spool_that_takes_nothing_says_to_send_it_again(store, spool):
    spool.close()
    answer = await post(FeedbackRoute(store, spool), {"session": "s", "name": "x", "value": 1})
    assert answer.status_code == 503
    assert "Send it again later" in answer.json()["error"]["message"]


def test_frames_hold_one_record_or_a_list_and_read_twice_they_store_once(store):
    said = Feedback(exchange_id="e", name="x", value=1, by="a")
    tagging = Tagging(session="s", tags={"a": "b"}, by="a")
    assert handle_feedback({}, feedback_payload([said, tagging])) == [said, tagging]
    assert handle_feedback({}, said.model_dump_json().encode()) == [said], "as the client's `feedback` writes it"
    for _ in range(2):
        store.put(*handle_feedback({}, feedback_payload([said, tagging])))
    assert (store.count(Feedback)[""], store.count(Tagging)[""]) == (1, 1)


@pytest.mark.parametrize("body", [b"", b"{", b"7", b"[7]", b'{"name": "x"}', b'[{"tags": {}}]', b"null"])
def test_frames_that_hold_something_else_are_told(body):
    with pytest.raises(ValueError, match="feedback in the spool"):
        handle_feedback({}, body)
