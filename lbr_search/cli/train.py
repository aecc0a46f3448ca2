"""`lbr-search train`: a recipe -> an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from lbr_search.cli import ablate, train_data
from lbr_search.cli.options import home_of
from lbr_search.cli.train_options import (
    DataFolder,
    Generate,
    Overrides,
    OwnPairs,
    OwnText,
    RecipeName,
    RunFolder,
    own_sources,
)

train_app = typer.Typer(
    help="Train an encoder in two stages: learn the domain, then represent it.",
    epilog="Example: lbr-search train all lbr-mini-cpu --out runs/mine --data my-data",
    no_args_is_help=True,
)


@train_app.command(epilog="Example: lbr-search train stage1 lbr-mini-cpu --out runs/mine")
def stage1(
    context: typer.Context,
    recipe: RecipeName,
    out: RunFolder,
    overrides: Overrides = None,
    data: DataFolder = Path(),
    text: OwnText = None,
    pairs: OwnPairs = None,
    generate: Generate = 0,
) -> None:
    """Learn: read the domain's text through the compression tokens."""
    own = own_sources(home_of(context), text, pairs)
    overrides = [*(overrides or []), f"data.generate={generate}"] if generate else overrides
    _train("stage1", recipe, out, overrides, data, own)


@train_app.command(epilog="Example: lbr-search train stage2 lbr-mini-cpu --out runs/mine")
def stage2(
    context: typer.Context,
    recipe: RecipeName,
    out: RunFolder,
    overrides: Overrides = None,
    data: DataFolder = Path(),
    text: OwnText = None,
    pairs: OwnPairs = None,
    generate: Generate = 0,
) -> None:
    """Represent: contrastive training, from what stage 1 left in the same folder."""
    own = own_sources(home_of(context), text, pairs)
    overrides = [*(overrides or []), f"data.generate={generate}"] if generate else overrides
    _train("stage2", recipe, out, overrides, data, own)


@train_app.command(
    "all", epilog="Example: lbr-search train all lbr-mini-cpu --out runs/mine --text my-notes/"
)
def both_stages(
    context: typer.Context,
    recipe: RecipeName,
    out: RunFolder,
    overrides: Overrides = None,
    data: DataFolder = Path(),
    text: OwnText = None,
    pairs: OwnPairs = None,
    generate: Generate = 0,
) -> None:
    """Both stages, one after the other."""
    own = own_sources(home_of(context), text, pairs)
    overrides = [*(overrides or []), f"data.generate={generate}"] if generate else overrides
    _train("all", recipe, out, overrides, data, own)


def _train(
    stage: str,
    recipe: str,
    out: Path,
    overrides: list[str] | None,
    data: Path,
    own: dict[str, Any] | None,
) -> None:
    from lbr_search.cli.progress import TrainLine
    from lbr_search.cli.render import show_training
    from lbr_search.train.run import train

    with TrainLine() as line:
        report = train(
            stage,
            recipe,
            out=out,
            overrides=overrides or [],
            data=data,
            progress=line.update,
            own=own,
        )
    show_training(report)


def register(app: typer.Typer) -> None:
    """Add the group."""
    for module in (train_data, ablate):
        module.register(train_app)
    app.add_typer(train_app, name="train")
