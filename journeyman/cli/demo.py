"""`journeyman demo`: the whole loop on the example bank."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def demo_command(
    customers: Annotated[int, typer.Option(min=20, help="Conversations to serve and to learn from.")] = 264,
    cases: Annotated[int, typer.Option(min=10, help="Held-out conversations for each model.")] = 100,
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
    # The openai client belongs to the demo's extra; the other commands do not need it.
    from journeyman.demos.loop import Demo

    folder = home or Path(".journeyman") / f"demo-{datetime.now():%Y%m%d-%H%M%S}"
    Demo(folder.resolve(), Console(), customers, cases, seed, teacher, base_url).run()
