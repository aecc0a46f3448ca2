"""`lbr-search train`: a recipe -> an encoder."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Stage(StrEnum):
    """What to train."""

    STAGE1 = "stage1"
    STAGE2 = "stage2"
    ALL = "all"


def train(
    stage: Annotated[Stage, typer.Argument(help="Learn (stage1), represent (stage2), or both.")],
    recipe: Annotated[
        str, typer.Argument(help="TOML file, or the name of a shipped recipe.", metavar="RECIPE")
    ],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints; an unfinished run goes on.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="section.key=value; repeat for several.", metavar="KEY=VALUE"),
    ] = None,
    data: Annotated[
        Path, typer.Option(help="Folder that the recipe's data paths start from.")
    ] = Path(),
) -> None:
    """Train an encoder in two stages: learn the domain, then represent it."""
    from lbr_search.cli.progress import TrainLine
    from lbr_search.cli.render import show_training
    from lbr_search.train.run import train as run_training

    with TrainLine() as line:
        report = run_training(
            stage.value, recipe, out=out, overrides=overrides or [], data=data, progress=line.update
        )
    show_training(report)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: lbr-search train all lbr-mini-cpu --out runs/mine --data my-data")(
        train
    )
