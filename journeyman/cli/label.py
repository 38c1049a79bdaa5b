"""`journeyman label`: people label a random part of an evaluation, and correct what its judge said of the rest."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from journeyman.cli.eval import print_page
from journeyman.config import Settings
from journeyman.errors import InvalidInput
from journeyman.evals import save, to_markdown
from journeyman.evals.journal import Finished, read_transcripts
from journeyman.evals.labels import correct, draw_sheet, read_labels, to_lines
from journeyman.registry.evidence import read_report
from journeyman.store.sql import open_store

Transcripts = dict[tuple[str, str], Finished]


def label_command(
    report: Annotated[Path, typer.Argument(help="The JSON file that `journeyman eval` wrote.")],
    sheet: Annotated[Path | None, typer.Option(help="Write a sheet to fill in; passed is null in each line.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Cases to label, drawn at random; for each model.")] = 50,
    seed: Annotated[int, typer.Option(help="Which cases.")] = 0,
    labels: Annotated[Path | None, typer.Option(help="A sheet that people have filled in.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the new report; beside the old one if absent.")] = None,
) -> None:
    """Correct a judge by people: draw a sheet of random cases, and read it again once it is filled in."""
    if (sheet is None) == (labels is None):
        raise InvalidInput("either draw a sheet (--sheet FILE), or read one that is filled in (--labels FILE)")
    measured = read_report(report)
    kept = report.with_suffix(".transcripts.jsonl")
    conversations: Transcripts = read_transcripts(kept) if kept.exists() else {}
    if sheet is not None:
        if sheet.exists():
            raise InvalidInput(f"{sheet} exists, and may hold what people said; nothing was written. Name another file")
        lines = draw_sheet(measured, conversations, count, seed)
        sheet.write_text(to_lines(lines), encoding="utf-8")
        typer.echo(
            f"{len(lines)} answers to label in {sheet}: set passed to true or false in each line, then\n"
            f"journeyman label {report} --labels {sheet}"
        )
        return
    assert labels is not None
    corrected = correct(measured, *read_labels(labels, measured))
    with closing(open_store(Settings())) as store:
        page, data = save(corrected, store, out or report.parent, conversations)
    print_page(to_markdown(corrected))
    typer.echo(f"Report {corrected.id} kept; also in {page} and {data}, with .html and .xml beside them")
