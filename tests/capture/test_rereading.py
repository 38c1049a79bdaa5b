import json

import pytest

from journeyman.capture.archive import archived
from journeyman.capture.ingest import Ingester
from journeyman.capture.options import Options
from journeyman.capture.rereading import reread
from journeyman.capture.spool import Spool
from journeyman.records import Condition, Exchange, Filter
from journeyman.store.memory import MemoryStore

BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "my card is 4111"}]}).encode()
ANSWER = json.dumps(
    {"choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}
).encode()


class Masks:
    def feedback(self, feedback):
        return feedback

    def wire(self, exchange):
        for message in exchange.messages:
            message["content"] = message["content"].replace("4111", "****")
        return exchange


@pytest.fixture
def captured(tmp_path):
    """Twelve calls in several archived segments, and their store."""
    spool = Spool(tmp_path, segment_bytes=1500)
    for number in range(12):
        at = spool.start({"id": f"{number:032x}", "at": number, "api": "chat", "source": "gateway", "model": "m"}, BODY)
        spool.chunk(at, ANSWER)
        spool.end(at, {"state": "complete", "status": 200})
    spool.close()
    store = MemoryStore()
    Ingester(tmp_path, store, Options()).run_once()
    assert len(archived(tmp_path)) > 1
    return tmp_path, store


def test_other_rules_reach_what_was_stored_before(captured):
    folder, store = captured
    done = reread(folder, store, Options(redactor=Masks()), older_than=None)
    assert (done.replaced, done.absent) == (12, 0)
    assert {found.messages[0].text for found in store.find(Exchange)} == {"my card is ****"}


def test_an_older_parsers_records_are_replaced_and_todays_are_left(captured):
    folder, store = captured
    assert reread(folder, store, Options()).same == 12
    old = store.get(Exchange, f"{3:032x}")
    store.forget(Exchange, Filter(conditions=(Condition(field="id", operator="=", value=old.id),)))
    store.put(old.model_copy(update={"parser": 0, "messages": ()}))
    done = reread(folder, store, Options())
    assert (done.replaced, done.same) == (1, 11)
    assert store.get(Exchange, old.id).messages


def test_what_was_removed_stays_removed(captured):
    folder, store = captured
    store.forget(Exchange, Filter(conditions=(Condition(field="id", operator="=", value=f"{5:032x}"),)))
    done = reread(folder, store, Options(), older_than=None)
    assert (done.replaced, done.absent) == (11, 1)
    assert store.get(Exchange, f"{5:032x}") is None


def test_a_broken_archive_file_is_told_and_the_rest_is_read(captured):
    folder, store = captured
    archived(folder)[0].write_bytes(b"not zstd")
    done = reread(folder, store, Options(), older_than=None)
    assert len(done.unreadable) == 1
    assert 0 < done.replaced < 12
