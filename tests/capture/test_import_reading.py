"""Files as people have them: packed, pretty-printed, with byte order marks, broken lines and cut ends."""

import gzip
import json
import math

import pytest
import zstandard

from journeyman.capture.imports import reading
from journeyman.capture.imports.reading import ExportFile, decoded
from journeyman.errors import InvalidInput

ROWS = [{"n": number, "text": 'a "quoted" } brace ]\\ \n'} for number in range(5)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def rows_of(path, content, name="rows.jsonl"):
    target = path / name
    target.write_bytes(content)
    return list(ExportFile(target).rows())


def read(path, content, name="rows.jsonl"):
    return [row.fields for row in rows_of(path, content, name)]


@pytest.mark.parametrize(
    "content",
    [
        LINES,
        b"\xef\xbb\xbf" + LINES,
        LINES.replace(b"\n", b"\r\n"),
        b"\n\n" + LINES.rstrip(b"\n"),
        gzip.compress(LINES),
        zstandard.compress(LINES),
        zstandard.compress(LINES[:40]) + zstandard.compress(LINES[40:]),
        json.dumps(ROWS).encode(),
        b"\xef\xbb\xbf" + json.dumps(ROWS, indent=2).encode(),
        gzip.compress(json.dumps(ROWS, indent=1).encode()),
    ],
    ids=["plain", "bom", "crlf", "blank", "gzip", "zstd", "zstd-frames", "array", "pretty-array", "packed-array"],
)
def test_every_packing_gives_the_same_rows(tmp_path, content):
    assert read(tmp_path, content) == ROWS


def test_one_pretty_object_is_one_row(tmp_path):
    (row,) = rows_of(tmp_path, json.dumps(ROWS[0], indent=2).encode())
    assert (row.line, row.fields) == (1, ROWS[0])


def test_csv_keeps_line_ends_inside_cells_and_leaves_empty_cells_out(tmp_path):
    content = (
        '\ufeffid,input,output\r\n1,"[{""role"": ""user""}]","two\r\nlines"\r\n2,,x\r\n3,too,many,cells\r\n4,few\r\n'
    )
    found = rows_of(tmp_path, content.encode(), "export.CSV")
    assert [row.fields for row in found[:2]] == [
        {"id": "1", "input": '[{"role": "user"}]', "output": "two\r\nlines"},
        {"id": "2", "output": "x"},
    ]
    assert [row.problem for row in found[2:]] == ["has not the 3 cells of the header"] * 2


def test_broken_lines_are_told_by_number_and_cost_only_themselves(tmp_path):
    content = b'{"a": 1}\n{"a": \n[1]\n\n{"a": 2}\n{"a": ' + b"[" * 100_000 + b"\n"
    found = rows_of(tmp_path, content)
    assert [(row.line, row.fields) for row in found if not row.problem] == [(1, {"a": 1}), (5, {"a": 2})]
    assert [row.line for row in found if row.problem] == [2, 3, 6]


def test_a_broken_element_of_an_array_costs_only_itself(tmp_path):
    found = rows_of(tmp_path, b'[\n{"a": 1},\n{"a": oops},\n{"a": 2}\n]')
    assert [(row.line, row.fields) for row in found] == [(2, {"a": 1}), (3, None), (4, {"a": 2})]


def test_a_long_string_across_pieces_is_one_row(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_PIECE", 64)
    value = {"text": 'x" {[' * 200, "next": "\\"}
    assert read(tmp_path, json.dumps([value, ROWS[0], value], indent=1).encode()) == [value, ROWS[0], value]


def test_a_row_beyond_the_limit_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MOST_ROW_BYTES", 100)
    found = rows_of(tmp_path, b'{"a": 1}\n{"a": "' + b"x" * 1000 + b'"}\n{"a": 2}\n')
    assert [(row.line, row.fields) for row in found] == [(1, {"a": 1}), (2, None), (3, {"a": 2})]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_cut_file_keeps_what_came_before(tmp_path, pack):
    many = b"".join(json.dumps({"n": number}).encode() + b"\n" for number in range(300_000))
    found = rows_of(tmp_path, pack(many)[:-2000])
    assert found[-1].problem
    assert found[0].fields == {"n": 0}
    assert len(found) > 10


def test_sloppy_json_is_read_and_made_storable():
    found = decoded(b'{"a": NaN, "b": "\\ud800", "c": "\xff"}')
    assert math.isnan(found.pop("a")), "whether that may be is the format's to say"
    assert found == {"b": "\ufffd", "c": "\ufffd"}
    with pytest.raises(ValueError, match="deep"):
        decoded(b"[" * 200_000)


def test_utf16_and_missing_files_say_what_to_do(tmp_path):
    with pytest.raises(InvalidInput, match="UTF-8"):
        rows_of(tmp_path, '{"a": 1}'.encode("utf-16"))
    with pytest.raises(InvalidInput, match="cannot read"):
        ExportFile(tmp_path / "absent")
