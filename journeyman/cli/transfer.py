"""`journeyman import` and `journeyman export`: what other tools captured comes in, what we captured goes out."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import typer

from journeyman.capture.erasure import Erasures
from journeyman.capture.exports import openai_chat, otlp, sending
from journeyman.capture.exports.reading import About, matching
from journeyman.capture.imports.importing import FORMATS, ImportReport, import_files
from journeyman.capture.parquet import write_parquet
from journeyman.capture.redact import redactor_of
from journeyman.cli.captured import open_captured
from journeyman.cli.thread import harmless
from journeyman.config import Settings
from journeyman.errors import InvalidInput
from journeyman.records import Filter, WireExchange
from journeyman.store.sql import open_store

app = typer.Typer(help="Write captured calls to files, or send them to other tools.", no_args_is_help=True)

NOTHING_GOOD = 1
"""Exit code of an import of which no row could be used; 0 when at least one could, or when there was none at all."""

_WHERE = typer.Option("", help="A filter, such as 'state = complete and tags.stage = production'.")


def import_command(
    format: str = typer.Argument(help=f"What wrote the files: {', '.join(FORMATS)}, or parquet."),
    files: list[Path] = typer.Argument(help="The files; gzip and zstd are unpacked. For parquet also folders."),
    tag: list[str] = typer.Option([], help="NAME=VALUE, given to every call; may be repeated."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only say what the files hold; store nothing."),
) -> None:
    """Import what another tool captured. Importing again adds only what is new."""
    tags = dict(_pair(each, "--tag") for each in tag)
    if dry_run:
        report = import_files(None, format, files, tags=tags, progress=_progress)
    else:
        settings = Settings()
        redactor = redactor_of(settings.redaction, settings.home)
        with closing(open_store(settings)) as store:
            is_erased = Erasures(store).is_erased
            report = import_files(
                store, format, files, tags=tags, redactor=redactor, is_erased=is_erased, progress=_progress
            )
    _print(report)
    if report.bad and not report.good:
        raise typer.Exit(NOTHING_GOOD)


@app.command("openai")
def export_openai(
    where: str = _WHERE,
    out: Path = typer.Option(..., "--out", "-o", help="The file to write."),
) -> None:
    """Write completed calls as JSON lines in OpenAI's chat fine-tuning format."""
    asked, left_out, rows = Filter.parse(where), Counter[str](), 0
    with open_captured(Settings()) as store:
        rows = _write_lines(out, ((line, 1) for line in openai_chat.lines(matching(store, asked), left_out)))
    typer.echo(f"{rows} rows written to {out}")
    for reason, number in left_out.most_common():
        if number:
            typer.echo(f"left out: {harmless(reason)} ({number})")


@app.command("parquet")
def export_parquet(
    where: str = _WHERE,
    out: Path = typer.Option(..., "--out", "-o", help="The folder to make; it must not hold anything yet."),
) -> None:
    """Write all calls, whole, as Parquet files by day. `journeyman import parquet` reads them back without loss."""
    asked = Filter.parse(where)
    with open_captured(Settings()) as store:
        about = About(whole=not asked.conditions)
        found = map(WireExchange.of, about.noted(matching(store, asked)))
        written = write_parquet(found, out, lambda: about.said(store))
    typer.echo(
        f"{written.exchanges} calls of {written.days} days and {written.feedback} pieces of feedback written to {out}"
    )


@app.command("otlp")
def export_otlp(
    where: str = _WHERE,
    out: str = typer.Option(..., "--out", "-o", help="The file to write, or the URL of an OTLP/HTTP endpoint."),
    header: list[str] = typer.Option([], help="NAME=VALUE, sent with each request to a URL; may be repeated."),
) -> None:
    """Write calls as OpenTelemetry spans (GenAI conventions) in OTLP/JSON, or send them."""
    asked, headers = Filter.parse(where), dict(_pair(each, "--header") for each in header)
    is_url = "://" in out
    if headers and not is_url:
        raise InvalidInput("--header goes with a URL only; nothing was written")
    with open_captured(Settings()) as store:
        requests = otlp.requests(matching(store, asked))
        if not is_url:
            typer.echo(f"{_write_lines(Path(out), requests)} spans written to {out}")
            return
        sent = asyncio.run(sending.send(out, requests, headers))
    typer.echo(f"{sent.spans} spans sent to {sending.traces_url(out)}")
    if sent.rejected or sent.message:
        typer.echo(f"of these the endpoint rejected {sent.rejected}: {harmless(sent.message) or 'it did not say why'}")


def _write_lines(out: Path, lines: Iterable[tuple[bytes, int]]) -> int:
    """Write lines to a file, whole or not at all; the sum of what each counts for."""
    unfinished = out.with_name(f"{out.name}.part")
    counted = 0
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            for line, number in lines:
                file.write(line)
                counted += number
        unfinished.replace(out)
    except OSError as problem:
        raise InvalidInput(f"cannot write {out} ({problem.strerror}); nothing half-written was left") from problem
    finally:
        if unfinished.parent.is_dir():
            unfinished.unlink(missing_ok=True)
    return counted


def _pair(text: str, option: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not name or not sign:
        raise InvalidInput(f"{option} {text!r} is not NAME=VALUE; nothing was done")
    return name, value


def _progress(path: Path, share: float) -> None:
    typer.echo(f"{path.name}: {share:.0%}", err=True)


def _print(report: ImportReport) -> None:
    fidelity = ", ".join(f"{number} {name}" for name, number in report.fidelity.most_common())
    typer.echo(
        f"{report.rows} rows: {report.exchanges} calls" + (f" ({fidelity})" if fidelity else "")
        + f" and {report.feedback} pieces of feedback"
    )  # fmt: skip
    if report.new is None:
        typer.echo("a dry run: nothing was stored")
    else:
        typer.echo(f"{report.new} calls are new; {report.exchanges - report.new} were in the store already")
    if report.passed_over:
        typer.echo(f"{report.passed_over} rows are no calls of their own, and were passed over")
    if report.erased:
        typer.echo(f"{report.erased} calls were left out: their person or session was erased here")
    if report.bad:
        typer.echo(f"{report.bad} rows could not be used" + (":" if report.problems else ""))
        for problem in report.problems:
            typer.echo(f"  {harmless(str(problem))}")
        if report.bad > len(report.problems):
            typer.echo(f"  … and {report.bad - len(report.problems)} more")
