"""`lbr-search bench gate`: exit 1 if an arm is significantly worse than in an earlier result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lbr_search.cli.options import JsonLines, home_of


def gate(
    context: typer.Context,
    baseline: Annotated[Path, typer.Option(help="Earlier results, as bench --json wrote them.")],
    suites: Annotated[
        list[str] | None,
        typer.Argument(
            help="Suites to measure as the baseline was. None: every suite under corpora/.",
            metavar="SUITE",
            show_default=False,
        ),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(help="Present results, as bench --json wrote them, instead of measuring."),
    ] = None,
    as_json: JsonLines = False,
) -> None:
    """Compare with earlier results, arm by arm; exit 1 on a significant drop of nDCG@10."""
    from lbr_search.bench.gate import (
        compare_results,
        gate_json,
        gate_report,
        read_results,
        refuse_drops,
        run_options,
    )
    from lbr_search.bench.runner import run_bench
    from lbr_search.cli.console import show, show_json
    from lbr_search.cli.progress import BenchLine

    earlier = read_results(baseline)
    if results is not None:
        present = read_results(results)
    else:
        with BenchLine() as line:
            options = run_options(earlier) | {"home": home_of(context), "progress": line.update}
            present = run_bench(suites or [], **options).to_json()
    found = compare_results(present, earlier)
    if as_json:
        show_json(gate_json(found))
    else:
        show(gate_report(found))
    refuse_drops(found, baseline=baseline)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: lbr-search bench gate --baseline main.json")(gate)
