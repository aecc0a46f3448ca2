"""`lbr-search train pairs`: training data from what a user has."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated

import typer

from lbr_search.cli.options import home_of


def pairs(
    context: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Anything that can be ingested, or a shipped corpus.", metavar="SOURCE"
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="JSON-lines file, packed as it is named.")],
    term_column: Annotated[
        str | None, typer.Option(help="Column of a glossary's terms, with --definition-column.")
    ] = None,
    definition_column: Annotated[
        str | None, typer.Option(help="Column of a glossary's definitions.")
    ] = None,
) -> None:
    """Make training pairs from structure: docstrings, titles, headings, definitions."""
    from lbr_search.cli.render import show_pairs
    from lbr_search.corpus.rejects import Rejects
    from lbr_search.corpus.sources import resolve_source
    from lbr_search.train.pairs import structure_pairs, write_pairs

    columns = (term_column, definition_column) if term_column and definition_column else None
    if columns is None and (term_column or definition_column):
        raise typer.BadParameter("--term-column and --definition-column go together")
    rejects = Rejects(None)
    resolved = [resolve_source(source, home_of(context)) for source in sources]
    made = (structure_pairs(each, rejects=rejects, columns=columns) for each in resolved)
    counts = write_pairs(itertools.chain.from_iterable(made), out)
    rejected = {f"rejected: {reason}": f"{n:,}" for reason, n in rejects.by_reason.items()}
    shown = {kind: f"{n:,}" for kind, n in counts.items()}
    show_pairs({**shown, **rejected, "pairs": f"{sum(counts.values()):,}", "file": str(out)})


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: lbr-search train pairs my-package/ --out my-pairs.jsonl.xz")(pairs)
