"""`journeyman label`: people label a random part of an evaluation, and correct what its judge said of the rest."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from journeyman.cli.eval import print_page
from journeyman.config import Settings
from journeyman.errors import InvalidInput
from journeyman.evals import save, save_versus, to_markdown, versus_to_markdown
from journeyman.evals.duel_labels import correct_duels, draw_duels, read_preferences
from journeyman.evals.journal import Finished, read_transcripts
from journeyman.evals.labels import correct, draw_sheet, read_labels, to_lines
from journeyman.registry.evidence import read_report, read_versus
from journeyman.store.sql import open_store

Transcripts = dict[tuple[str, str], Finished]


def label_command(
    report: Annotated[Path, typer.Argument(help="The JSON file that `journeyman eval` or `journeyman versus` wrote.")],
    sheet: Annotated[Path | None, typer.Option(help="Write a sheet to fill in, line by line.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Cases to label, drawn at random; for each model.")] = 50,
    seed: Annotated[int, typer.Option(help="Which cases.")] = 0,
    labels: Annotated[Path | None, typer.Option(help="A sheet that people have filled in.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the new report; beside the old one if absent.")] = None,
) -> None:
    """Correct a judge by people: draw a sheet of random cases, and read it again once it is filled in."""
    if (sheet is None) == (labels is None):
        raise InvalidInput("either draw a sheet (--sheet FILE), or read one that is filled in (--labels FILE)")
    kept = report.with_suffix(".transcripts.jsonl")
    conversations: Transcripts = read_transcripts(kept) if kept.exists() else {}
    duels = read_versus(report)
    measured = None if duels else read_report(report)
    if sheet is not None:
        if sheet.exists():
            raise InvalidInput(f"{sheet} exists, and may hold what people said; nothing was written. Name another file")
        if duels is not None:
            lines = draw_duels(duels, conversations, count, seed)
            what = "pairs to label in {}: set better to A, B or tie"
        else:
            assert measured is not None
            lines = draw_sheet(measured, conversations, count, seed)
            what = "answers to label in {}: set passed to true or false"
        sheet.write_text(to_lines(lines), encoding="utf-8")
        typer.echo(f"{len(lines)} {what.format(sheet)} in each line, then\njourneyman label {report} --labels {sheet}")
        return
    assert labels is not None
    if duels is not None:
        told = correct_duels(duels, *read_preferences(labels, duels))
        page, data = save_versus(told, out or report.parent, conversations)
        print_page(versus_to_markdown(told))
        typer.echo(f"The report is in {page} and {data}, with .html beside them")
        return
    assert measured is not None
    corrected = correct(measured, *read_labels(labels, measured))
    with closing(open_store(Settings())) as store:
        page, data = save(corrected, store, out or report.parent, conversations)
    print_page(to_markdown(corrected))
    typer.echo(f"Report {corrected.id} kept; also in {page} and {data}, with .html and .xml beside them")
