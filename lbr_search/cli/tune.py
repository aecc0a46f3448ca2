"""`lbr-search tune`: the search settings that suit an index, by judged queries."""

from __future__ import annotations

from typing import Annotated

import typer

from lbr_search.cli.console import to_stderr
from lbr_search.cli.options import EncoderOption, IndexFolder, JsonLines, RerankOption, home_of


def tune(
    context: typer.Context,
    index: IndexFolder,
    suite: Annotated[
        list[str],
        typer.Option(help="Suite whose documents are in the index; repeat for several."),
    ],
    split: Annotated[str, typer.Option(help="Whose judgements: dev or train, never test.")] = "dev",
    encoder: EncoderOption = None,
    rerank: RerankOption = "",
    as_json: JsonLines = False,
) -> None:
    """Choose fusion and weights for an index on judged queries; write its search.toml.

    The estimate is that of queries which had no part in the choice (nested cross-validation). Where
    it is not above the default settings', the defaults are written.
    """
    from lbr_search.bench.tune import tune as run_tune
    from lbr_search.cli.progress import Line
    from lbr_search.cli.render_tune import show_tune

    with Line() as line:
        result = run_tune(
            index,
            suite,
            split=split,
            encoder=encoder,
            rerank=rerank,
            home=home_of(context),
            progress=line.say,
        )
    show_tune(result, as_json=as_json)
    for sentence in result.warnings:
        to_stderr(f"warning: {sentence}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog="Example: lbr-search tune indexes/medical --suite corpora/demo/medical --split dev"
    )(tune)
