"""The typer application: global options, and the commands joined from their modules."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from lbr_search.cli import (
    bench_group,
    corpora,
    doctor,
    index,
    ingest,
    query,
    train,
    tune,
    upkeep,
)

app = typer.Typer(
    name="lbr-search",
    help="Ingest corpora, search them by meaning and by words, and measure how well it works.",
    epilog='Example: lbr-search ingest && lbr-search query "drug that thins the blood"',
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # locals hold the user's text
)
for module in (ingest, upkeep, query, bench_group, tune, train, corpora, index, doctor):
    module.register(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lbr-search {version('lbr-search')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    home: Annotated[
        Path,
        typer.Option(
            envvar="LBR_HOME", help="Folder that holds corpora/ and indexes/.", show_default=True
        ),
    ] = Path(),
    is_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Ingest corpora, search them by meaning and by words, and measure how well it works."""
    context.obj = home
