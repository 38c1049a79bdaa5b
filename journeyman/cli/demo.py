"""`journeyman demo`: the whole loop on the example bank, or reinforcement learning in minutes."""

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from journeyman.errors import InvalidInput


class What(StrEnum):
    """Which demo."""

    bank = "bank"
    rl = "rl"


def demo_command(
    what: Annotated[
        What, typer.Argument(help="bank: capture, teach, measure, serve. rl: learn a task with a tool by doing it.")
    ] = What.bank,
    customers: Annotated[
        int | None, typer.Option(min=20, help="Conversations to serve and to learn from (264).")
    ] = None,
    cases: Annotated[int | None, typer.Option(min=10, help="Held-out conversations for each model (100).")] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other customers.")] = 0,
    teacher: Annotated[str | None, typer.Option(help="A real model as the incumbent; it needs --base-url.")] = None,
    base_url: Annotated[
        str | None, typer.Option(help="Where --teacher answers (OpenAI API); its key is read from OPENAI_API_KEY.")
    ] = None,
    home: Annotated[
        Path | None, typer.Option(help="Folder for all that is made; by default a new one in .journeyman/ here.")
    ] = None,
) -> None:
    """Capture, teach, measure, serve and promote, end to end on a real model, in about ten minutes on two cores."""
    folder = home or Path(".journeyman") / f"demo-{datetime.now():%Y%m%d-%H%M%S}"
    if what is What.rl:
        bank_only = {"--customers": customers, "--cases": cases, "--teacher": teacher, "--base-url": base_url}
        given = [option for option, value in bank_only.items() if value is not None]
        if given:
            raise InvalidInput(f"{', '.join(given)}: only the demo of the bank has these; leave them out")
        from journeyman.demos import rl

        rl.run(folder.resolve(), Console(), seed)
        return
    # The openai client belongs to the demo's extra; the other commands do not need it.
    from journeyman.demos.loop import Demo

    Demo(folder.resolve(), Console(), customers or 264, cases or 100, seed, teacher, base_url).run()
