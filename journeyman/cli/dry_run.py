"""`journeyman train … --dry-run`: what a run would learn, as it would learn it, before hours are spent."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.text import Text

from journeyman.cli.thread import harmless
from journeyman.config import Settings
from journeyman.engines.models import find_model
from journeyman.records import Run
from journeyman.store.store import Store
from journeyman.worker import config_of, preview

if TYPE_CHECKING:
    from journeyman.rendering.chat import ChatTokenizer
    from journeyman.rendering.masks import MaskedTokens

SHOWN = 3
"""How many examples are shown."""
_LEARNED, _CONTEXT = "bold green", "dim"


def show_plan(settings: Settings, store: Store, run: Run) -> None:
    """Print counts, then the first examples; where there is no colour, what is learned stands in ⟦brackets⟧."""
    from journeyman.training.schedule import total_steps
    from journeyman.training.sizes import count_parameters

    material, config = preview(settings, store, run), config_of(run)
    sizes = count_parameters(find_model(settings, config.base), config)
    steps = total_steps(config, len(material.training))
    shaped = "every weight" if config.full else f"an adapter of rank {config.rank} on {sizes.layers} layers"
    typer.echo(
        f"{run.kind}: {config.base} would learn {config.dataset} as {config.name}, {shaped}: {sizes.trained:,} of "
        f"{sizes.all:,} parameters, {steps} steps of {config.batch_rows} rows, learning rate {config.learning_rate:g}"
    )
    for title, examples in (("train", material.training), ("validation", material.validation)):
        samples = [sample for example in examples for sample in example]
        tokens, learned = sum(len(sample.ids) for sample in samples), sum(sample.learned for sample in samples)
        longest = max(len(sample.ids) for sample in samples)
        typer.echo(f"{title}: {len(examples)} rows, {tokens:,} tokens, {learned:,} learned, the longest row {longest}")
    console = Console(highlight=False)
    for number, example in enumerate(material.training[:SHOWN], start=1):
        for sample, title in zip(example, material.objective.titles(example), strict=False):
            named = f"row {number}, {title}" if title else f"row {number}"
            console.print(Text(f"── {named}, {len(sample.ids)} tokens, {sample.learned} learned", style="bold"))
            console.print(Text().join(decoded_pieces(material.tokenizer, sample, coloured=console.is_terminal)))
    typer.echo("Nothing was started.")


def decoded_pieces(tokenizer: "ChatTokenizer", sample: "MaskedTokens", *, coloured: bool) -> Iterator[Text]:
    """The decoded tokens, in runs of learned and unlearned ones; without colour, ⟦what is learned⟧ is bracketed."""
    start = 0
    for end in range(1, len(sample.ids) + 1):
        learned = sample.mask[start]
        if end < len(sample.ids) and sample.mask[end] == learned:
            continue
        decoded = tokenizer.decode(sample.ids[start:end], keep_special=True)
        text = "\n".join(harmless(line) for line in decoded.split("\n"))
        bracketed = f"⟦{text}⟧" if learned and not coloured else text
        yield Text(bracketed, style=_LEARNED if learned else _CONTEXT)
        start = end
