"""Which options the parts of `sim_to_real.py` that train take; one that a part would take no notice of is refused."""

import typer

GAME, BANK = "training", "bank trained"
TRAINED = {GAME: {"seeds", "threads", "homes", "measured_only"}, BANK: {"seeds", "threads", "homes"}}
"""Parts that train a model, in the coin game and at the bank's desk, run when they are named; what each takes."""


def refuse_unused(context: typer.Context, only: str | None) -> None:
    """BadParameter for options of training that were given where the part, or scripted parts, do not use them."""
    taken = TRAINED.get(only or "", set())
    for name in sorted(set().union(*TRAINED.values()) - taken):
        source = context.get_parameter_source(name)  # by name: some versions of typer have an enumeration of their own
        if source is not None and source.name == "COMMANDLINE":
            users = " and ".join(f'--only "{part}"' for part, takes in TRAINED.items() if name in takes)
            raise typer.BadParameter(f"--{name.replace('_', '-')} is for {users} alone; leave it out")
