"""Options that the commands of `lbr-search train` share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

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

Generate = Annotated[
    int,
    typer.Option(
        min=0,
        help="Queries that the model writes for passages of the texts between the stages; those"
        " that find their passage again are trained on.",
    ),
]


def own_sources(
    home: Path, text: list[str] | None, pairs: list[Path] | None
) -> dict[str, Any] | None:
    """What --text and --pairs put in the place of the recipe's sources; None = nothing.

    Raises:
        CorpusError: a source is not found.
    """
    if not text and not pairs:
        return None
    from lbr_search.train.sources import own_data

    return own_data(text or [], pairs or [], home=home)


def generated(n: int) -> list[str]:
    """The setting that `--generate` stands for; none where it was not given."""
    return [f"data.generate={n}"] if n else []
