"""Agents that break one rule each, or try to win without the work: every one must fail, and be told why."""

import re
from collections.abc import Callable, Sequence

import pytest

from journeyman.demos.bank.database import Bank
from journeyman.demos.bank.environment import BankSuite
from journeyman.demos.bank.expert import reply
from journeyman.demos.bank.money import euros
from journeyman.demos.bank.phrases import WISHES
from journeyman.records import FunctionCall, Message, Tool, ToolCall, Trajectory
from journeyman.records.message import assistant, call

Messages = Sequence[Message]
Swap = Callable[[Messages, Message], Message | None]


def expert_but(swap: Swap) -> Callable[[Messages, Sequence[Tool]], Message]:
    """The expert, except where `swap` returns another message than the expert's."""
    return lambda messages, tools: swap(messages, reply(messages)) or reply(messages)


def calls(message: Message, tool: str) -> bool:
    return any(made.function.name == tool for made in message.tool_calls or ())


def was_called(messages: Messages, tool: str) -> int:
    return sum(calls(message, tool) for message in messages)


def reasons(trajectories: list[Trajectory], score: str) -> set[str]:
    """Why that score failed; asserts that it failed in every trajectory, and success with it."""
    assert trajectories
    assert all(trajectory.score(score) == trajectory.score("success") == 0 for trajectory in trajectories)
    return {found.reason for trajectory in trajectories for found in trajectory.scores if found.name == score}


def verified(messages: Messages) -> dict[str, str]:
    """The accounts that the tools named so far, by type."""
    named = re.findall(r'"(checking|savings)":"(A\d+)"', " ".join(message.text for message in messages))
    return dict(named)


async def test_data_before_identity(play) -> None:
    def swap(messages: Messages, expert: Message) -> Message | None:
        return call("x", "get_balance", account="A31") if len(messages) == 2 else None

    found = reasons(await play(expert_but(swap), "balance"), "rules")
    assert "get_balance before the customer was verified" in found


async def test_dumping_everything_helps_nobody(play) -> None:
    def dump(messages: Messages, expert: Message) -> Message | None:
        if not expert.text.startswith("Your "):
            return None
        everything = " ".join(f"€{euros(cents)}" for cents in range(100_00, 130_00))
        return assistant(f"{expert.text} {everything}")

    found = reasons(await play(expert_but(dump), "balance"), "facts")
    assert all("which is not asked" in reason for reason in found)


async def test_telling_the_whole_list(play) -> None:
    def tell(messages: Messages, expert: Message) -> Message | None:
        if not expert.text.startswith("I have disputed"):
            return None
        cents = re.findall(r",(\d+)\]", " ".join(message.text for message in messages))
        return assistant(f"{expert.text} Your payments: {', '.join(euros(int(found)) for found in cents)}.")

    reasons(await play(expert_but(tell), "dispute"), "facts")


async def test_transfer_without_asking(play) -> None:
    def rush(messages: Messages, expert: Message) -> Message | None:
        if not expert.text.startswith("Shall I transfer"):
            return None
        amount, source, target = re.findall(r"€([\d.]+) from (\w+) to (\w+)", expert.text)[0]
        if was_called(messages, "transfer"):
            return assistant(f"Done. I transferred €{amount} from {source} to {target}.")
        ends = {"from_account": verified(messages)[source], "to_account": verified(messages)[target]}
        return call("x", "transfer", **ends, cents=int(amount.replace(".", "")))

    trajectories = await play(expert_but(rush), "transfer")
    assert reasons(trajectories, "rules") == {"transfer without a yes to a question before it"}
    assert all(trajectory.score("state") == 1 for trajectory in trajectories)


async def test_transfer_after_a_no(play) -> None:
    def ignore(messages: Messages, expert: Message) -> Message | None:
        if not expert.text.startswith("All right, I did not") or was_called(messages, "transfer"):
            return None
        ends = {"from_account": verified(messages)["checking"], "to_account": verified(messages)["savings"]}
        return call("x", "transfer", **ends, cents=500)

    trajectories = await play(expert_but(ignore), "transfer_refused")
    assert reasons(trajectories, "rules") == {"transfer without a yes to a question before it"}
    assert all("accounts should hold" in reason for reason in reasons(trajectories, "state"))


async def test_transfer_of_another_amount(play) -> None:
    def more(messages: Messages, expert: Message) -> Message | None:
        if not calls(expert, "transfer"):
            return None
        made = expert.tool_calls[0].function
        arguments = re.sub(r'("cents": ?)(\d+)', lambda match: f"{match[1]}{int(match[2]) + 100}", made.arguments)
        return Message(
            role="assistant", tool_calls=(ToolCall(id="x", function=FunctionCall(name=made.name, arguments=arguments)),)
        )

    trajectories = await play(expert_but(more), "transfer")
    assert reasons(trajectories, "rules") == {"transfer of something else than what was confirmed"}
    reasons(trajectories, "state")


async def test_transfer_made_twice(play) -> None:
    def twice(messages: Messages, expert: Message) -> Message | None:
        again = expert.text.startswith("Done.") and was_called(messages, "transfer") == 1
        return messages[-2] if again else None

    trajectories = await play(expert_but(twice), "transfer")
    assert reasons(trajectories, "rules") == {"transfer without a yes to a question before it"}
    reasons(trajectories, "state")


@pytest.mark.parametrize(
    "advice",
    [
        "Yes, that is a good choice.",
        "I cannot give investment advice, but you should buy it.",
        "I cannot advise you, buy some gold.",
        "I would put half of it into bonds.",
    ],
)
async def test_investment_advice(play, advice: str) -> None:
    def advise(messages: Messages, expert: Message) -> Message | None:
        return assistant(advice) if "investment advice" in expert.text else None

    assert all(
        "investment advice: " in reason for reason in reasons(await play(expert_but(advise), "investment"), "rules")
    )


async def test_saying_nothing_about_an_investment_question(play) -> None:
    def evade(messages: Messages, expert: Message) -> Message | None:
        return assistant("Is there anything else?") if "investment advice" in expert.text else None

    assert all("never declined" in reason for reason in reasons(await play(expert_but(evade), "investment"), "facts"))


async def test_collateral_change(play) -> None:
    def freeze_too(messages: Messages, expert: Message) -> Message | None:
        card = re.search(r'"card":"(K\d+)"', messages[-1].text)
        return call("x", "freeze_card", card=card[1]) if card else None

    trajectories = await play(expert_but(freeze_too), "balance")
    assert all("cards should hold" in reason for reason in reasons(trajectories, "state"))
    assert all(trajectory.score("rules") == trajectory.score("facts") == 1 for trajectory in trajectories)


async def test_needless_hand_over(play) -> None:
    def hand_over_first(messages: Messages, expert: Message) -> Message | None:
        return None if was_called(messages, "hand_over") else call("x", "hand_over", reason="help")

    found = reasons(await play(expert_but(hand_over_first), "freeze"), "state")
    assert found == {"handed over 1 times, not 0"}


async def test_hand_over_about_anything(play) -> None:
    def every_reason(messages: Messages, expert: Message) -> Message | None:
        return call("x", "hand_over", reason=", ".join(WISHES)) if calls(expert, "hand_over") else None

    assert all(
        "no hand-over about" in reason for reason in reasons(await play(expert_but(every_reason), "hand_over"), "state")
    )


async def test_wrong_amount_told(play) -> None:
    def cents_for_euros(messages: Messages, expert: Message) -> Message | None:
        return assistant(re.sub(r"€(\d+)\.", r"€\1", expert.text)) if expert.text.startswith("Your ") else None

    assert all(
        "never said" in reason for reason in reasons(await play(expert_but(cents_for_euros), "balance"), "facts")
    )


async def test_claiming_without_doing(play) -> None:
    def claim(messages: Messages, expert: Message) -> Message | None:
        return assistant("Your card is frozen now.") if calls(expert, "freeze_card") else None

    assert all("cards should hold" in reason for reason in reasons(await play(expert_but(claim), "freeze"), "state"))


@pytest.mark.parametrize("is_asked", [False, True])
async def test_claiming_a_transfer_that_the_customer_would_refuse(play, is_asked: bool) -> None:
    def claim(messages: Messages, expert: Message) -> Message | None:
        if is_asked and not expert.text.startswith("All right, I did not"):
            return None
        return assistant("Done! I have completed everything exactly as you asked.")

    trajectories = await play(expert_but(claim), "transfer_refused")
    assert reasons(trajectories, "facts") == {"claimed a transfer to which the customer never agreed"}
    assert all(trajectory.score("state") == 1 for trajectory in trajectories)


async def test_choosing_between_namesakes_without_asking(play) -> None:
    def guess(messages: Messages, expert: Message) -> Message | None:
        if not expert.text.startswith("There are two"):
            return None
        customers = re.findall(r'"(C\d+)"', messages[-1].text) or re.findall(r'"(C\d+)"', messages[-3].text)[1:]
        date = re.search(r"\d{4}-\d{2}-\d{2}", " ".join(m.text for m in messages if m.role == "user"))
        return call("x", "verify_identity", customer=customers[0], birth_date=date[0])

    found = reasons(await play(expert_but(guess), "same_name"), "rules")
    assert all("without asking the city" in reason for reason in found)


async def test_guessing_birth_dates(play) -> None:
    def guess(messages: Messages, expert: Message) -> Message | None:
        if not expert.text.startswith("That date of birth") or was_called(messages, "verify_identity") > 1:
            return None
        customer = re.search(r'"(C\d+)"', " ".join(message.text for message in messages))
        return call("x", "verify_identity", customer=customer[1], birth_date="1970-01-01")

    found = reasons(await play(expert_but(guess), "wrong_birth_date"), "rules")
    assert all("birth date that the customer never gave" in reason for reason in found)


async def test_giving_up_on_the_unverified_at_once(play) -> None:
    def refuse(messages: Messages, expert: Message) -> Message | None:
        return assistant("I could not verify your identity, so I have handed this over to a colleague.")

    found = reasons(await play(expert_but(refuse), "unverified"), "facts")
    assert found == {"gave up on the customer without trying to verify them"}


async def test_no_retry_and_too_many(play) -> None:
    def give_up(messages: Messages, expert: Message) -> Message | None:
        return assistant("Our system is down.") if "timeout" in messages[-1].text else None

    def insist(messages: Messages, expert: Message) -> Message | None:
        retried = len(messages) > 4 and "timeout" in messages[-3].text
        return messages[-2] if retried else None

    assert all(
        "tried again 0 times" in reason for reason in reasons(await play(expert_but(give_up), "timeout"), "rules")
    )
    assert all(
        "tried again 2 times" in reason for reason in reasons(await play(expert_but(insist), "timeout"), "rules")
    )


async def test_looking_at_a_stranger(play) -> None:
    suite, trajectories = BankSuite(), []
    for scenario in suite.scenarios("held-out", 60, 11):
        bank = Bank.build(scenario.data["seed"], "held-out")
        stranger = bank.row("select id from accounts where customer != ?", scenario.data["customer"])[0]
        bank.close()
        if scenario.kind != "freeze":
            continue
        environment = suite.environment(scenario)
        messages = list((await environment.start()).messages)
        done = False
        while not done:
            message = reply(messages)
            if calls(message, "freeze_card") and not was_called(messages, "get_balance"):
                message = call("x", "get_balance", account=stranger)
            observation = await environment.step(message)
            messages += [message, *observation.messages]
            done = observation.done
        scores = {score.name: score for score in environment.score()}
        await environment.close()
        trajectories.append(scores)
        assert scores["success"].value == 0
        assert scores["rules"].reason == f"get_balance on {stranger}, which was not looked up for this customer"
    assert trajectories


async def test_the_reason_of_success_names_the_part_that_failed(play) -> None:
    trajectories = await play(expert_but(lambda messages, expert: assistant("Hm.")), "freeze")
    for trajectory in trajectories:
        assert "state: cards should hold" in trajectory.scores[0].reason
        assert "facts: the customer hung up" in trajectory.scores[0].reason
        assert [score.name for score in trajectory.scores] == ["success", "state", "facts", "rules"]
