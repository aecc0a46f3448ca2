"""`lbr-search train pairs | pack | tokenizer`: training data made, packed, and how it tokenises."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated

import typer

from lbr_search.cli.options import DEFAULT_PEER, home_of
from lbr_search.cli.train_options import DataFolder, Overrides, RecipeName


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


def pack(
    recipe: RecipeName,
    out: Annotated[Path, typer.Option("--out", help="Folder for the sources and recipe.toml.")],
    data: DataFolder = Path(),
    overrides: Overrides = None,
    max_mb: Annotated[
        float, typer.Option(min=0.001, help="Size of all sources together, in millions of bytes.")
    ] = 60.0,
) -> None:
    """Clean and compress a recipe's sources into a folder that can travel to another machine."""
    from lbr_search.cli.progress import Line
    from lbr_search.cli.render import named_counts, show_pairs
    from lbr_search.train.pack import RECIPE_FILE
    from lbr_search.train.pack import pack as pack_sources
    from lbr_search.train.recipe import load_recipe

    settings = load_recipe(recipe, overrides=overrides)
    with Line() as line:
        packed = pack_sources(
            settings, data, out=out, max_bytes=int(max_mb * 1e6), progress=line.say
        )
    rows = {
        source.name: named_counts({"rows": source.n_rows, "cut": source.n_cut, **source.counts})
        + f", {source.size_bytes / 1e6:.2f} MB"
        for source in packed
    }
    total = f"{sum(source.size_bytes for source in packed) / 1e6:.2f} of {max_mb:g} MB"
    then = f"lbr-search train all {out / RECIPE_FILE} --data {out} --out DIR"
    show_pairs({**rows, "total": total, "train with": then})


def tokenizer(
    recipe: RecipeName,
    data: DataFolder = Path(),
    overrides: Overrides = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            help="Folder with tokenizer.json or GPT-2's two files, or a packaged model; repeat for"
            f" several. Default: {DEFAULT_PEER.removeprefix('st:')}.",
            metavar="FOLDER_OR_PACKAGE",
        ),
    ] = None,
) -> None:
    """Measure bytes a token by domain: the recipe's own vocabulary beside others."""
    from lbr_search.cli.progress import Line
    from lbr_search.cli.render import show_vocabularies
    from lbr_search.train.recipe import load_recipe
    from lbr_search.train.vocabulary import compare_vocabularies

    settings = load_recipe(recipe, overrides=overrides)
    others = compare or [DEFAULT_PEER.removeprefix("st:")]
    with Line() as line:
        found = compare_vocabularies(settings, data, others=others, progress=line.say)
    show_vocabularies(found)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: lbr-search train pairs my-package/ --out my-pairs.jsonl.xz")(pairs)
    app.command(epilog="Example: lbr-search train pack lbr-mini-gpu --data my-data --out packed")(
        pack
    )
    app.command(
        epilog="Example: lbr-search train tokenizer smoke --set data.tokenizer_chars=100000"
    )(tokenizer)
