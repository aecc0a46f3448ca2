"""`lbr-search bench probe`: which of a domain's terms an encoder knows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lbr_search.cli.options import DEFAULT_ENCODER, home_of


def probe(
    context: typer.Context,
    terms: Annotated[
        str,
        typer.Option(
            help=".obo, .csv (name, synonym, definition), or a source whose first sentences define."
        ),
    ],
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            help="lbr-mini, a checkpoint folder or st:NAME; repeat: the others are compared with"
            " the first. Default: lbr-mini.",
            show_default=False,
        ),
    ] = None,
    train: Annotated[
        list[Path] | None,
        typer.Option(help="Training text, to count the terms in; repeat for several."),
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="Terms asked of each kind.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of their choice.")] = 0,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File to write all numbers to.")
    ] = None,
) -> None:
    """Rank the true synonym and definition of domain terms among 50 that look like them."""
    from lbr_search.bench.probe import probe_json, probe_report, run_probe
    from lbr_search.bench.probe_terms import read_terms
    from lbr_search.bench.results import write_json
    from lbr_search.cli.console import show
    from lbr_search.cli.progress import Line
    from lbr_search.encoder.load import load_encoder

    found = read_terms(terms, home=home_of(context))
    encoders = [load_encoder(spec) for spec in encoder or [DEFAULT_ENCODER]]
    with Line() as line:
        result = run_probe(
            found, encoders, train=train or [], most=most, seed=seed, progress=line.say
        )
    show(probe_report(result))
    if json_file is not None:
        write_json(probe_json(result), json_file)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: lbr-search bench probe --terms doid.obo --encoder lbr-mini")(probe)
