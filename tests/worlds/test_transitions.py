"""Kinds of errors: one kind has one name, whatever it was about."""

from journeyman.worlds.transitions import error_kind


def test_one_kind_of_error_has_one_name():
    assert error_kind({"error": "Order with ID 17 not found. There is: [1, 2]"}) == error_kind(
        {"error": "Order with ID 23 not found. There is: [9]"}
    )
    assert error_kind("Error during execution: no such thing") is not None
    assert error_kind({"error": ""}) is None
    assert error_kind({"ok": True}) is None
