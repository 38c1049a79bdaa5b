"""`journeyman feedback`: say afterwards how a call went."""

import math
from contextlib import closing
from typing import Annotated

import typer

from journeyman.config import Settings
from journeyman.errors import InvalidInput
from journeyman.gateway.feedback import read_feedback
from journeyman.store.sql import open_store
from journeyman.store.tables import to_json

app = typer.Typer(help="Say how a call, one of a session's turns, or a session went.", no_args_is_help=True)


@app.command("add")
def add_feedback(
    name: Annotated[str | None, typer.Argument(help="What was looked at, such as success.", show_default=False)] = None,
    value: Annotated[float | None, typer.Option(help="The score, such as 1 or 0.5.")] = None,
    label: Annotated[str | None, typer.Option(help="A word, such as 'wrong tool'.")] = None,
    reason: Annotated[str, typer.Option(help="A comment.")] = "",
    correction: Annotated[str | None, typer.Option(help="The reply that should have been given.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag as NAME=VALUE. Repeat it.")] = None,
    session: Annotated[str | None, typer.Option(help="The session that it is about.")] = None,
    turn: Annotated[int | None, typer.Option(min=0, help="The session's call that it is about, from 0.")] = None,
    exchange_id: Annotated[str | None, typer.Option("--exchange", help="The exchange that it is about.")] = None,
    external_id: Annotated[str | None, typer.Option(help="Your own id of the exchange that it is about.")] = None,
    by: Annotated[str, typer.Option(help="Who says it.")] = "cli",
) -> None:
    """Add a score, a label, a comment, a correction or tags; the call itself stays as it is."""
    if value is not None and not math.isfinite(value):
        raise InvalidInput(f"--value {value}: it compares with no other score; give a finite number. Nothing was kept")
    given = {
        "name": name, "value": value, "label": label, "correction": correction, "tags": _tags(tag or []),
        "session": session, "turn": turn, "exchange_id": exchange_id, "external_id": external_id,
    }  # fmt: skip
    said = {key: what for key, what in given.items() if what is not None} | ({"reason": reason} if reason else {})
    [item] = read_feedback(to_json(said).encode())
    records = item.records(by)
    with closing(open_store(Settings())) as store:
        store.put(*records)
    typer.echo(f"Kept as {', '.join(record.id for record in records)}.")


def _tags(given: list[str]) -> dict[str, str] | None:
    tags = {}
    for each in given:
        name, sign, value = each.partition("=")
        if not name or not sign:
            raise InvalidInput(f"--tag {each!r} is not NAME=VALUE; nothing was kept")
        tags[name] = value
    return tags or None
