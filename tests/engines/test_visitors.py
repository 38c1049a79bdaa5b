"""Programs of this machine may ask; web pages of others, and whoever takes us for somebody else, may not."""

import pytest

from journeyman.engines.visitors import Visitors

MINE = Visitors("127.0.0.1")


def refused(visitors=MINE, method="POST", json_only=True, **headers):
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    refusal = visitors.refusal(method, sent, json_only=json_only)
    return refusal and (refusal.status, refusal.code)


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8600", "localhost:8600", "LOCALHOST", "[::1]:8600", "127.1.2.3", "app.localhost:1"]
)
def test_this_machine_goes_by_many_names(host):
    assert refused(host=host) is None
    assert refused(host=host, origin=f"http://{host}", content_type="application/json; charset=utf-8") is None


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8600", "127.0.0.1.evil.example", "", "["])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_name_is_not_ours(host, method):
    assert refused(host=host, method=method) == (403, "foreign_origin")


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example", "file://", "http://["]
)
def test_a_page_of_somebody_else_may_not_post(origin):
    assert refused(origin=origin) == (403, "foreign_origin")
    assert refused(origin=origin, method="GET") is None


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_a_body_that_says_to_be_something_else_than_json_is_refused_where_json_is_all_there_is(kind):
    assert refused(content_type=kind) == (415, "unsupported_media_type")
    assert refused(content_type=kind, json_only=False) is None


def test_the_name_that_it_listens_under_is_its_own_and_on_all_addresses_every_name_is():
    assert refused(Visitors("Box.lan"), host="box.lan:80", origin="http://box.lan") is None
    for everywhere in (Visitors("0.0.0.0"), Visitors("::")):
        assert refused(everywhere, host="box.lan:80") is None
        assert refused(everywhere, origin="https://evil.example") == (403, "foreign_origin")
