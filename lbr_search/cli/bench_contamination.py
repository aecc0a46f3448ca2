"""`lbr-search bench contamination`: what training saw of suites, and the scores without it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lbr_search.cli.options import EncoderOption, JsonLines, home_of


def contamination(
    context: typer.Context,
    train: Annotated[
        list[Path],
        typer.Option(help="File or folder of training text or pairs; repeat for several."),
    ],
    suites: Annotated[
        list[str] | None,
        typer.Argument(
            help="Suite folders or names. None: every suite under corpora/.",
            metavar="SUITE",
            show_default=False,
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Which qrels: train, dev or test.")] = "test",
    encoder: EncoderOption = None,
    results: Annotated[
        Path | None,
        typer.Option(help="Scores to split, as bench --json wrote them, instead of measuring."),
    ] = None,
    as_json: JsonLines = False,
) -> None:
    """Find test queries and answers in training text; show scores with and without them."""
    from lbr_search.bench.clean_scores import clean_json, clean_report, clean_scores
    from lbr_search.bench.contamination import find_overlaps
    from lbr_search.bench.gate import read_results
    from lbr_search.bench.runner import run_bench
    from lbr_search.bench.suites import default_encoders, open_suites
    from lbr_search.cli.console import show, show_json
    from lbr_search.cli.progress import BenchLine

    home = home_of(context)
    given = read_results(results) if results is not None else None
    overlaps, n_texts = find_overlaps(open_suites(suites or [], split=split, home=home), train)
    if given is None:
        specs = default_encoders([encoder] if encoder else [])
        with BenchLine() as line:
            measured = run_bench(
                suites or [], split=split, encoders=specs, home=home, progress=line.update
            )
        given = measured.to_json()
    found = clean_scores(overlaps, given, n_texts=n_texts)
    if as_json:
        show_json(clean_json(found))
    else:
        show(clean_report(found))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: lbr-search bench contamination --train pairs.jsonl scifact")(
        contamination
    )
