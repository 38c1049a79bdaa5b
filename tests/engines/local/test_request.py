"""The text of a reply while it grows: whole characters only, and never a word behind a stop string."""

import random

import pytest

from journeyman.engines.local.request import Request
from journeyman.engines.local.sampling.rule import SamplingRule
from journeyman.engines.local.sampling.sampler import Sampler
from journeyman.rendering.chat import ChatTokenizer


@pytest.fixture(scope="module")
def tokenizer(tiny):
    return ChatTokenizer(tiny)


@pytest.fixture
def write(tokenizer):
    """Feeds ids to a request one by one; returns it with the pieces of text and the reason of its end."""

    def written(ids, stops=(), max_tokens=1000):
        request = Request([5], Sampler(SamplingRule()), max_tokens, tuple(stops), tokenizer, lambda update: None)
        pieces = []
        for id in ids:
            update = request.accept(id, -1.0, [])
            pieces.append(update.text)
            if update.finish_reason is not None:
                break
        return request, pieces, request.finish_reason

    return written


def ids_of(tokenizer, text):
    return tokenizer.encode(text)


def stop_id(tokenizer):
    (id,) = tokenizer.stop_ids
    return id


@pytest.mark.parametrize("text", ["grün 🙂 naïve", "日本語テキスト", "👩‍👩‍👧‍👦 family", "plain words", "", "\n\n\t"])
def test_pieces_are_whole_characters_and_together_the_text(tokenizer, write, text):
    _, pieces, reason = write([*ids_of(tokenizer, text), stop_id(tokenizer)])
    assert "".join(pieces) == text
    assert all("\N{REPLACEMENT CHARACTER}" not in piece for piece in pieces)
    assert reason == "stop"


@pytest.mark.parametrize("seed", range(20))
def test_any_ids_give_the_text_that_decoding_them_at_once_gives(tokenizer, write, seed):
    ids = [random.Random(seed + draw).randrange(3, 310) for draw in range(0, 4000, 100)]
    _, pieces, reason = write(ids, max_tokens=len(ids))
    assert "".join(pieces) == tokenizer.decode(ids)
    assert reason == "length"


def test_a_reply_that_ends_inside_a_character_says_so(tokenizer, write):
    ids = ids_of(tokenizer, "a🙂")
    _, pieces, _ = write(ids[:-1], max_tokens=len(ids) - 1)
    assert "".join(pieces) == "a\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("text", "stops", "shown"),
    [
        ("one END two", ["END"], "one "),
        ("one END two", ["two", "END"], "one "),
        ("ENDless", ["END"], ""),
        ("almost EN but not", ["END"], "almost EN but not"),
        ("EEEND", ["END"], "EE"),
        ("grün🙂stop", ["🙂s"], "grün"),
        ("a\n\nb", ["\n\n"], "a"),
    ],
)
def test_text_ends_before_the_first_stop_string(tokenizer, write, text, stops, shown):
    ids = ids_of(tokenizer, text)
    assert len(ids) > 1
    request, pieces, reason = write([*ids, stop_id(tokenizer)], stops)
    assert "".join(pieces) == shown
    assert reason == "stop"
    assert request.reply == ids[: len(request.reply)] or shown == text


def test_no_piece_ever_shows_what_may_become_a_stop_string(tokenizer, write):
    text = "The balance is 12.\nObservation: more"
    _, pieces, _ = write(ids_of(tokenizer, text), ["\nObservation:"])
    assert "".join(pieces) == "The balance is 12."
    shown = ""
    for piece in pieces:
        shown += piece
        assert "The balance is 12.".startswith(shown)


def test_a_held_beginning_of_a_stop_string_is_shown_at_the_end(tokenizer, write):
    _, pieces, reason = write([*ids_of(tokenizer, "all OBS"), stop_id(tokenizer)], ["OBSERVE"])
    assert ("".join(pieces), reason) == ("all OBS", "stop")


def test_the_stop_token_is_part_of_the_reply_and_not_of_the_text(tokenizer, write):
    request, pieces, reason = write([*ids_of(tokenizer, "ok"), stop_id(tokenizer), 7])
    assert request.reply[-1] == stop_id(tokenizer)
    assert len(request.logprobs) == len(request.reply)
    assert ("".join(pieces), reason) == ("ok", "stop")


def test_a_stop_token_in_the_last_place_counts_as_a_stop(tokenizer, write):
    _, _, reason = write([*ids_of(tokenizer, "ok"), stop_id(tokenizer)], max_tokens=len(ids_of(tokenizer, "ok")) + 1)
    assert reason == "stop"
