"""`lbr-search index`: what an index holds, and whether it is whole."""

from __future__ import annotations

import typer

from lbr_search.cli.console import show_json
from lbr_search.cli.options import IndexFolder, JsonLines
from lbr_search.errors import IndexFormatError

index_app = typer.Typer(
    help="Look at an index, or check it.",
    epilog="Example: lbr-search index info indexes/medical",
    no_args_is_help=True,
)


@index_app.command(epilog="Example: lbr-search index info indexes/medical")
def info(folder: IndexFolder, as_json: JsonLines = False) -> None:
    """Show what an index holds, who encoded it, and how well its vector index recalls."""
    from lbr_search.cli.render import show_nested
    from lbr_search.index.info import index_info

    found = index_info(folder)
    if as_json:
        show_json(found)
    else:
        show_nested(found)


@index_app.command(epilog="Example: lbr-search index verify indexes/medical")
def verify(folder: IndexFolder) -> None:
    """Hash every file of an index and compare it with what was published; exit 1 if it differs."""
    from lbr_search.cli.render import show_pairs
    from lbr_search.index.info import verify_index

    found = verify_index(folder)
    if found.problems:
        raise IndexFormatError(
            f"{folder} is damaged:\n  " + "\n  ".join(found.problems),
            f"lbr-search ingest SOURCE... --index {folder} (after removing it), or copy it anew",
        )
    show_pairs({str(folder): f"{found.n_files} files and {found.n_rows:,} rows as published"})


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(index_app, name="index")
