"""`journeyman traces`: look at what crossed the gateway."""

from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from journeyman.capture.trajectories import join
from journeyman.cli.conversations import SHORT_ID, print_conversations
from journeyman.cli.thread import first_words, harmless, one_line, print_thread
from journeyman.config import Settings
from journeyman.errors import InvalidInput, NotFound
from journeyman.records import Condition, Exchange, Filter, Message
from journeyman.store.sql import open_store
from journeyman.store.store import Store
from journeyman.store.tables import to_json

app = typer.Typer(help="Look at the calls that were captured.", no_args_is_help=True)

MOST_CALLS = 10_000
"""A session's newest calls that are shown."""


@app.command("list")
def list_traces(
    where: str = typer.Option("", help="A filter, such as 'state = complete and tags.stage = production'."),
    limit: int = typer.Option(20, min=1, help="How many to show, newest first."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object per line, complete."),
) -> None:
    """List captured calls, newest first."""
    asked = Filter.parse(where)
    with closing(open_store(Settings())) as store:
        found = store.find(Exchange, asked, limit=limit)
        total = store.count(Exchange, asked)[""]
    if as_json:
        for exchange in found:
            typer.echo(to_json(exchange.model_dump(mode="json")))
        return
    console = Console()
    console.print(_table(found))
    console.print(Text(f"{len(found)} of {total} calls" + (f" where {asked}" if where else ""), style="dim"))


@app.command("show")
def show_trace(
    id: str = typer.Argument(help="The exchange's id, or a part that only it starts or ends with."),
    as_json: bool = typer.Option(False, "--json", help="The whole exchange as JSON."),
) -> None:
    """Show one captured call, turn by turn."""
    with closing(open_store(Settings())) as store:
        exchange = find_exchange(store, id)
    if as_json:
        typer.echo(to_json(exchange.model_dump(mode="json")))
        return
    console = Console()
    print_thread(console, (*exchange.messages, *(choice.message for choice in exchange.choices)))
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(exchange).items():
        facts.add_row(Text(name, style="dim"), Text(harmless(value)))
    console.print(facts)


@app.command("session")
def show_session(
    name: str = typer.Argument(help="The session's name, or the id of a trace."),
    as_json: bool = typer.Option(False, "--json", help="One trajectory per branch and line, as JSON."),
) -> None:
    """Show a session's calls as the conversations that they were, with their branches."""
    with closing(open_store(Settings())) as store:
        found = find_session(store, name)
        total = store.count(Exchange, found.where)[""]
    conversations = join(found.exchanges)
    if as_json:
        for branch in (branch for conversation in conversations for branch in conversation.branches):
            typer.echo(to_json(branch.trajectory().model_dump(mode="json")))
        return
    console = Console()
    print_conversations(console, conversations)
    console.print(Text(f"{len(found.exchanges)} of {total} calls where {found.where}", style="dim"))


class Session(NamedTuple):
    """The newest calls of a session or a trace, and the filter that finds them all."""

    exchanges: Sequence[Exchange]
    where: Filter


def find_session(store: Store, name: str) -> Session:
    """The calls of the session of that name, else those of the trace with that id; NotFound when there are none."""
    for field in ("session", "trace"):
        where = Filter(conditions=(Condition(field=field, operator="=", value=name),))
        if exchanges := store.find(Exchange, where, limit=MOST_CALLS):
            return Session(exchanges, where)
    newest = [exchange.session for exchange in store.find(Exchange, limit=50) if exchange.session]
    raise NotFound("session", name, list(dict.fromkeys(newest))[:5], "The newest are listed here.")


def find_exchange(store: Store, id: str) -> Exchange:
    """The exchange with that id, or the only one whose id starts or ends with it."""
    exact = store.get(Exchange, id)
    if exact is not None:
        return exact
    holding = store.find(Exchange, Filter(conditions=(Condition(field="id", operator="~", value=id),)))
    found = [exchange for exchange in holding if id and (exchange.id.startswith(id) or exchange.id.endswith(id))]
    if len(found) == 1:
        return found[0]
    if not found:
        newest = [exchange.id for exchange in store.find(Exchange, limit=5)]
        raise NotFound("exchange", id, newest, "The newest are listed here; more: journeyman traces list")
    some = ", ".join(exchange.id for exchange in found[:5])
    raise InvalidInput(f"{len(found)} exchanges have an id that starts or ends with {id!r}; give more of it: {some}")


def _table(exchanges: Sequence[Exchange]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    # In a narrow terminal words give way, ids and numbers do not.
    for name in ("time (UTC)", "id"):
        table.add_column(name, no_wrap=True)
    for name in ("model", "state", "session"):
        table.add_column(name)
    for name in ("tokens", "cost", "latency"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("user", "reply"):
        table.add_column(name, max_width=40)
    for exchange in exchanges:
        table.add_row(
            f"{exchange.at:%m-%d %H:%M:%S}",
            Text(harmless(exchange.id[-SHORT_ID:])),
            one_line(exchange.model),
            one_line(exchange.state, style="" if exchange.state == "complete" else "red"),
            one_line(exchange.session or "-"),
            str(exchange.usage.total_tokens),
            _cost(exchange),
            "-" if exchange.latency is None else f"{exchange.latency:.2f} s",
            first_words(_last_user(exchange)),
            first_words(exchange.reply),
        )
    return table


def _facts(exchange: Exchange) -> dict[str, str]:
    """What is known of the call besides its messages; what is not known is left out."""
    usage = exchange.usage
    facts = {
        "id": exchange.id,
        "time": f"{exchange.at:%Y-%m-%d %H:%M:%S %Z}",
        "state": exchange.state + (f": {exchange.error}" if exchange.error else ""),
        "model": exchange.model,
        "answered by": " ".join(filter(None, (exchange.upstream, exchange.served, exchange.adapter))),
        "session": exchange.session or "",
        "tags": ", ".join(f"{name}={value}" for name, value in exchange.tags.items()),
        "tools": ", ".join(tool.function.name for tool in exchange.tools),
        "sampling": to_json(exchange.sampling.wire()) if exchange.sampling.wire() else "",
        "finish": ", ".join(filter(None, (choice.finish_reason for choice in exchange.choices))),
        "prompt": f"{usage.prompt_tokens} tokens ({usage.cached_prompt_tokens} cached)",
        "reply": f"{usage.completion_tokens} tokens",
        "cost": "" if exchange.cost_usd is None else _cost(exchange),
        "latency": "" if exchange.latency is None else f"{exchange.latency:.3f} s",
        "first token": "" if exchange.time_to_first_token is None else f"{exchange.time_to_first_token:.3f} s",
        "HTTP status": str(exchange.status or ""),
    }
    return {name: value for name, value in facts.items() if value}


def _cost(exchange: Exchange) -> str:
    return "-" if exchange.cost_usd is None else f"${exchange.cost_usd:.6f}"


def _last_user(exchange: Exchange) -> Message | None:
    return next((message for message in reversed(exchange.messages) if message.role == "user"), None)
