"""`journeyman keys`: who may call the gateway, what for, and how much."""

from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from journeyman.cli.thread import harmless
from journeyman.config import Settings
from journeyman.errors import InvalidInput, NotFound
from journeyman.gateway.keys import has_keys, hash_of, new_key
from journeyman.records import ApiKey, KeyRevocation, Limits, now
from journeyman.store.sql import open_store
from journeyman.store.store import R, Store
from journeyman.store.tables import to_json

app = typer.Typer(help="See and change who may call the gateway, and how much.", no_args_is_help=True)
_FINGERPRINT = 12
_PAGE = 1000


class OnHangUp(StrEnum):
    """What becomes of a call whose client has gone."""

    CANCEL = "cancel"
    DRAIN = "drain"


@app.command("add")
def add_key(
    name: Annotated[str, typer.Argument(help="What to call it: whose it is, or what for.", show_default=False)],
    project: Annotated[str, typer.Option(help="Calls with it are filed under this project.")] = "default",
    alias: Annotated[
        list[str] | None,
        typer.Option(help="A model's name that it may ask for; PROVIDER/* for all of a provider. Repeat it. [all]"),
    ] = None,
    expires: Annotated[str, typer.Option(help="From this time on it is not good, such as 2027-01-01 (UTC).")] = "",
    requests_per_minute: Annotated[int | None, typer.Option(min=1, help="More is answered with 429.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=1, help="Of prompts and replies.")] = None,
    monthly_tokens: Annotated[int | None, typer.Option(min=0, help="Tokens in a calendar month (UTC).")] = None,
    monthly_usd: Annotated[str | None, typer.Option(help="US dollars in a calendar month (UTC).")] = None,
    durable: Annotated[
        bool, typer.Option("--durable", help="Answer only when the call's record is on the disk itself.")
    ] = False,
    on_hang_up: Annotated[
        OnHangUp, typer.Option(help="When a client hangs up: cancel its call (pay no more), or drain it (keep all).")
    ] = OnHangUp.CANCEL,
) -> None:
    """Make a key and print it: this once, as only its hash is kept."""
    if not name.strip() or not project.strip():
        raise InvalidInput("a key needs a name, and its project too; nothing was made")
    key = new_key()
    limits = Limits(
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        monthly_tokens=monthly_tokens,
        monthly_usd=_usd(monthly_usd),
    )
    record = ApiKey(
        name=name,
        hash=hash_of(key),
        fingerprint=hash_of(key)[:_FINGERPRINT],
        project=project,
        aliases=tuple(dict.fromkeys(alias or ())),
        limits=limits,
        expires=_expiry(expires),
        durable=durable,
        on_hang_up=on_hang_up.value,
    )
    with closing(open_store(Settings())) as store:
        is_first = not has_keys(store)
        store.put(record)
    typer.echo(key)
    typer.echo(f"Keep it now: it is not shown again. Its fingerprint is {record.fingerprint}.", err=True)
    if is_first:
        typer.echo("It is the first key: within a second, callers without a key are refused.", err=True)


@app.command("list")
def list_keys(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line; the hashes are left out.")] = False,
) -> None:
    """List the keys by their fingerprints, newest first."""
    with closing(open_store(Settings())) as store:
        keys = _all(store, ApiKey)
        revoked = {each.fingerprint: each for each in _all(store, KeyRevocation)}
    if as_json:
        for key in keys:
            shown = key.model_dump(mode="json", exclude={"hash"})
            typer.echo(to_json({**shown, "state": _state(key, revoked)}))
        return
    if not keys:
        typer.echo("No key yet: the gateway listens on this machine alone, and answers everyone there.")
        typer.echo("`journeyman keys add NAME` makes one.")
        return
    headings = ("fingerprint", "name", "project", "models", "limits", "expires (UTC)", "state")
    table = Table(*headings, box=None, header_style="dim", pad_edge=False)
    for key in keys:
        cells = (
            key.fingerprint,
            key.name,
            key.project,
            ", ".join(key.aliases) or "all",
            _limits(key),
            f"{key.expires:%Y-%m-%d %H:%M}" if key.expires else "never",
            _state(key, revoked),
        )
        table.add_row(*(Text(harmless(cell)) for cell in cells))
    Console().print(table)


@app.command("revoke")
def revoke_key(
    fingerprint: Annotated[str, typer.Argument(help="As `keys list` shows it.", show_default=False)],
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
) -> None:
    """Refuse a key from now on, for good; what was called with it stays."""
    with closing(open_store(Settings())) as store:
        keys = {key.fingerprint: key for key in _all(store, ApiKey)}
        if fingerprint not in keys:
            raise NotFound("key", fingerprint[:100], keys, hint="Give a fingerprint, never the key itself")
        revoked = {each.fingerprint: each for each in _all(store, KeyRevocation)}
        name = harmless(keys[fingerprint].name)
        if fingerprint in revoked:
            typer.echo(f"{fingerprint} ({name}) was revoked on {revoked[fingerprint].at:%Y-%m-%d %H:%M} UTC already.")
            return
        made = KeyRevocation(fingerprint=fingerprint, by="cli", reason=reason)
        store.put(made)
    typer.echo(f"{fingerprint} ({name}) is revoked: within a second, every gateway on this store refuses it.")
    if all(_state(key, {**revoked, fingerprint: made}) != "good" for key in keys.values()):
        typer.echo("No good key is left: all callers are refused until `journeyman keys add` makes one.", err=True)


def _all(store: Store, kind: type[R]) -> list[R]:
    found: list[R] = []
    while page := store.find(kind, after=found[-1].id if found else None, limit=_PAGE):
        found += page
    return found


def _state(key: ApiKey, revoked: dict[str, KeyRevocation]) -> str:
    if key.fingerprint in revoked:
        return "revoked"
    return "expired" if key.expires is not None and key.expires <= now() else "good"


def _limits(key: ApiKey) -> str:
    limits = key.limits
    shown = (
        ("{:,} requests/min", limits.requests_per_minute),
        ("{:,} tokens/min", limits.tokens_per_minute),
        ("{:,} tokens/month", limits.monthly_tokens),
        ("${:,f}/month", limits.monthly_usd),
    )
    return ", ".join(form.format(limit) for form, limit in shown if limit is not None) or "none"


def _expiry(text: str) -> datetime | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            f"--expires {text!r} is not a time such as 2027-01-01 or 2027-01-01T12:00+01:00; nothing was made"
        ) from None
    at = (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    if at <= now():
        raise InvalidInput(f"--expires {text!r} is over already; nothing was made. Give a time to come, or none")
    return at


def _usd(text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        amount = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        amount = Decimal("nan")
    if not amount.is_finite() or amount < 0:
        raise InvalidInput(f"--monthly-usd {text!r} is not an amount such as 25 or 12.50; nothing was made")
    return amount
