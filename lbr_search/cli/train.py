"""`lbr-search train`: a recipe -> an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lbr_search.cli.options import home_of

train_app = typer.Typer(
    help="Train an encoder in two stages: learn the domain, then represent it.",
    epilog="Example: lbr-search train all lbr-mini-cpu --out runs/mine --data my-data",
    no_args_is_help=True,
)

RecipeName = Annotated[
    str, typer.Argument(help="TOML file, or the name of a shipped recipe.", metavar="RECIPE")
]
RunFolder = Annotated[
    Path, typer.Option("--out", help="Folder for checkpoints; an unfinished run goes on.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="section.key=value; repeat for several.", metavar="KEY=VALUE"),
]
DataFolder = Annotated[
    Path, typer.Option("--data", help="Folder that the recipe's data paths start from.")
]
OwnText = Annotated[
    list[str] | None,
    typer.Option(
        "--text",
        help="Own documents, anything that can be ingested, instead of the recipe's sources;"
        " repeat for several.",
        metavar="SOURCE",
    ),
]
OwnPairs = Annotated[
    list[Path] | None,
    typer.Option(
        "--pairs",
        help="Own pairs: JSON lines of query, title, positive, group; repeat for several. Without"
        " them, titles, headings, docstrings and definitions of --text ask for what they name.",
        metavar="FILE",
    ),
]


@train_app.command(epilog="Example: lbr-search train stage1 lbr-mini-cpu --out runs/mine")
def stage1(
    context: typer.Context,
    recipe: RecipeName,
    out: RunFolder,
    overrides: Overrides = None,
    data: DataFolder = Path(),
    text: OwnText = None,
    pairs: OwnPairs = None,
) -> None:
    """Learn: read the domain's text through the compression tokens."""
    own = _own(context, text, pairs)
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
) -> None:
    """Represent: contrastive training, from what stage 1 left in the same folder."""
    own = _own(context, text, pairs)
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
) -> None:
    """Both stages, one after the other."""
    own = _own(context, text, pairs)
    _train("all", recipe, out, overrides, data, own)


def _own(
    context: typer.Context, text: list[str] | None, pairs: list[Path] | None
) -> dict[str, Any] | None:
    """The user's own sources, or None for those of the recipe."""
    from lbr_search.train.sources import own_data

    return own_data(text or [], pairs or [], home=home_of(context)) if text or pairs else None


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
    app.add_typer(train_app, name="train")
