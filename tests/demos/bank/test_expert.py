from journeyman.demos.bank.expert import ASK_BOTH, ASK_DATE, BROKEN, GREET, NO_ADVICE, reply
from journeyman.demos.bank.players import gold
from journeyman.records import Message
from journeyman.records.message import assistant, call, system, tool_result, user

NAMED = (
    user("Please freeze my card."),
    assistant(ASK_BOTH),
    user("I'm Anna Keller, born 1984-03-12."),
    call("a", "find_customer", name="Anna Keller"),
    tool_result("a", '{"customers":{"C17":"Graz"}}'),
)
VERIFIED = (
    *NAMED,
    call("b", "verify_identity", customer="C17", birth_date="1984-03-12"),
    tool_result("b", '{"ok":true,"accounts":{"checking":"A31"},"card":"K17"}'),
)


def made(message: Message) -> tuple[str, str]:
    assert message.tool_calls is not None
    return message.tool_calls[0].function.name, message.tool_calls[0].function.arguments.replace(" ", "")


def test_the_same_conversation_gives_the_same_reply() -> None:
    assert reply(VERIFIED) == reply(VERIFIED)
    assert made(reply(VERIFIED)) == ("freeze_card", '{"card":"K17"}')


def test_it_asks_for_what_is_missing() -> None:
    assert reply([system("..."), user("Hello")]).text == GREET
    assert reply(NAMED[:1]).text == ASK_BOTH
    assert reply([*NAMED[:2], user("Anna Keller.")]).text == ASK_DATE
    assert reply([user("Should I buy gold?")]).text == NO_ADVICE


def test_it_reads_messages_as_they_come_over_the_wire() -> None:
    again = [Message.model_validate(message.wire()) for message in VERIFIED]
    assert reply(again) == reply(VERIFIED)
    parts = Message(role="user", content=[{"type": "text", "text": "Please freeze my card."}])
    assert reply([parts, *VERIFIED[1:]]) == reply(VERIFIED)


def test_a_timeout_is_tried_again_once() -> None:
    late = '{"error":"timeout, try again"}'
    once = [*VERIFIED, call("c", "freeze_card", card="K17"), tool_result("c", late)]
    assert made(reply(once)) == ("freeze_card", '{"card":"K17"}')
    twice = [*once, call("d", "freeze_card", card="K17"), tool_result("d", late)]
    assert made(reply(twice))[0] == "hand_over"
    thrice = [*twice, call("e", "hand_over", reason="x"), tool_result("e", late)]
    thrice += [call("f", "hand_over", reason="x"), tool_result("f", late)]
    assert reply(thrice).text == BROKEN


def test_it_takes_over_from_an_agent_that_erred() -> None:
    erred = [*VERIFIED, call("c", "freeze_card", card="K99"), tool_result("c", '{"error":"unknown card K99"}')]
    assert made(reply(erred)) == ("freeze_card", '{"card":"K17"}')
    other_name = [*NAMED[:3], call("a", "find_customer", name="Anna"), tool_result("a", '{"customers":{}}')]
    assert made(reply(other_name)) == ("find_customer", '{"name":"AnnaKeller"}')


async def test_its_wording_is_short_and_regular(play) -> None:
    trajectories = await play(gold, split="train")
    said = [m for t in trajectories for m in t.messages if m.role == "assistant" and not m.tool_calls]
    assert max(len(message.text.split()) for message in said) <= 25
    shapes = {"".join(" " if c.isdigit() else c for c in m.text).split("€")[0] for m in said}
    assert len(shapes) < 30
    calls = [m for t in trajectories for m in t.messages if m.tool_calls]
    assert all(len(message.tool_calls or ()) == 1 and message.content is None for message in calls)


async def test_customers_are_brief_too(play) -> None:
    words = [
        len(message.text.split())
        for t in await play(gold, split="train")
        for message in t.messages
        if message.role == "user"
    ]
    assert max(words) <= 35
    assert sum(words) / len(words) < 15
