"""`lbr-search bench ann`: recall against speed of kinds of vector index, and how costs grow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

KINDS = ("flat", "hnsw", "ivf-sq8", "ivf-rabitq", "lancedb")  # bench.ann_indexes.BUILDERS; heavy


def ann(
    vectors: Annotated[
        Path | None,
        typer.Option(help="Own vectors, an .npy file of a row each. Default: synthetic ones."),
    ] = None,
    size: Annotated[
        list[int] | None,
        typer.Option(
            min=20,
            help="How many vectors; repeat to see growth. Default: 10,000, 31,623 and 100,000; of"
            " own vectors all.",
            show_default=False,
        ),
    ] = None,
    dim: Annotated[int, typer.Option(min=2, help="Of synthetic vectors.")] = 384,
    kind: Annotated[
        list[str] | None,
        typer.Option(help=f"{' | '.join(KINDS)}; repeat for several. Default: all."),
    ] = None,
    queries: Annotated[int, typer.Option(min=1, help="How many.")] = 200,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File to write all numbers to.")
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", help="File to write a page with the curves to.")
    ] = None,
) -> None:
    """Measure recall@10 against queries/s, build time and size of vector indexes."""
    from lbr_search.bench.ann import ann_json, load_vectors, run_ann, synthetic_vectors
    from lbr_search.bench.ann_report import ann_html, ann_report
    from lbr_search.bench.results import write_json, write_text
    from lbr_search.cli.console import show
    from lbr_search.cli.progress import Line
    from lbr_search.drawing import require_matplotlib

    if html_file is not None:
        require_matplotlib()
    sizes = size or ([10_000, 31_623, 100_000] if vectors is None else [])
    with Line() as line:
        if vectors is None:
            given = synthetic_vectors(max(sizes), dim=dim, n_queries=queries)
        else:
            given = load_vectors(vectors, n_queries=queries)
        results = run_ann(given, kinds=kind or KINDS, sizes=sizes, progress=line.say)
    show(ann_report(given, results))
    if json_file is not None:
        write_json(ann_json(given, results), json_file)
    if html_file is not None:
        write_text(ann_html(given, results), html_file)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: lbr-search bench ann --size 10000 --kind hnsw --html ann.html")(
        ann
    )
