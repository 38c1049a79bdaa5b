"""Reference players, which say what a score on this suite is worth.

    python -m journeyman.demos.bank.players --count 200 --seed 0

`gold` is the scripted expert: it sees only the conversation, as every player does, and must solve every scenario.
`null` answers without helping, `random` calls tools at random with ids it has seen.
"""

import asyncio
import random
import re
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from journeyman.demos.bank import expert
from journeyman.demos.bank.database import Split
from journeyman.demos.bank.environment import BankSuite
from journeyman.engines.scripted import Script, ScriptedEngine
from journeyman.environments.rollout import roll_out_many
from journeyman.records import Message, Tool, Trajectory
from journeyman.records.message import assistant, call

_WORD = re.compile(r"[A-Za-z0-9-]+")


def gold(messages: Sequence[Message], tools: Sequence[Tool]) -> Message:
    """The scripted expert."""
    return expert.reply(messages)


def null(messages: Sequence[Message], tools: Sequence[Tool]) -> Message:
    """Polite, and no use to anybody."""
    return assistant("Thank you for your message.")


def random_calls(seed: int) -> Script:
    """A player that calls any tool with words of the conversation, or says some of them; the seed decides all."""

    def act(messages: Sequence[Message], tools: Sequence[Tool]) -> Message:
        rng = random.Random(f"{seed}/{len(messages)}/{messages[-1].text}")
        words = _WORD.findall(" ".join(message.text for message in messages[1:])) or ["hello"]
        if rng.random() < 0.3:
            return assistant(" ".join(rng.choices(words, k=6)) + rng.choice(".?"))
        function = rng.choice(tools).function
        properties = (function.parameters or {})["properties"]
        arguments = {
            name: rng.randrange(1, 9000) if shape["type"] == "integer" else rng.choice(words)
            for name, shape in properties.items()
        }
        return call(f"call_{len(messages)}", function.name, **arguments)

    return act


async def play(script: Script, name: str, split: str, count: int, seed: int) -> list[Trajectory]:
    """One attempt of a player at each of `count` scenarios."""
    suite = BankSuite()
    return await roll_out_many(suite, suite.scenarios(split, count, seed), ScriptedEngine(script), name)


def show(
    count: Annotated[int, typer.Option(min=1, help="How many scenarios.")] = 200,
    seed: Annotated[int, typer.Option(help="Decides the scenarios and the random player.")] = 0,
    split: Annotated[Split, typer.Option(help="Which scenarios.")] = "held-out",
) -> None:
    """Print how often each reference player succeeds."""
    table = Table("player", "success", "of", "share", "model calls", title=f"bank, {split}, seed {seed}")
    for name, script in {"gold": gold, "null": null, "random": random_calls(seed)}.items():
        played = asyncio.run(play(script, name, split, count, seed))
        won = sum(trajectory.score("success") == 1 for trajectory in played)
        calls = sum(trajectory.turns for trajectory in played) / count
        table.add_row(name, str(won), str(count), f"{won / count:.1%}", f"{calls:.1f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(show)
