"""`lbr-search query`: one question, or a file of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lbr_search.cli.console import to_stderr
from lbr_search.cli.options import (
    DenseWeight,
    EncoderOption,
    FusionOption,
    HitCount,
    JsonLines,
    LlmKeyFile,
    LlmModel,
    LlmTimeout,
    LlmUrl,
    ModeOption,
    RerankBudget,
    RerankDepth,
    RerankOption,
    RerankWeight,
    find_indexes,
    home_of,
    index_path,
    llm_spec,
)
from lbr_search.config import SearchConfig

SEARCH = SearchConfig()


def query(
    context: typer.Context,
    text: Annotated[
        str | None, typer.Argument(help="What to look for.", metavar="TEXT", show_default=False)
    ] = None,
    index: Annotated[
        list[Path] | None,
        typer.Option(
            help="Index folder, or s3://BUCKET/PATH; repeat to search several. Default: all under"
            " indexes/.",
            parser=index_path,
        ),
    ] = None,
    without: Annotated[
        str,
        typer.Option("--not", help="What you do not look for; its score comes off the query's."),
    ] = "",
    without_weight: Annotated[
        float, typer.Option("--not-weight", help="With --not: so much of its score, above 0.")
    ] = SEARCH.without_weight,
    like: Annotated[
        str | None,
        typer.Option(help="A doc_id instead of TEXT: documents whose vectors are near to its own."),
    ] = None,
    dedupe: Annotated[
        bool, typer.Option("--dedupe", help="Fold hits that say nearly the same as a better hit.")
    ] = False,
    k: HitCount = 10,
    mode: ModeOption = SEARCH.mode,
    domain: Annotated[
        str,
        typer.Option(
            help="Search the indexes of one domain; auto: of those that the query belongs to."
        ),
    ] = SEARCH.domain,
    fusion: FusionOption = None,
    dense_weight: DenseWeight = None,
    filter: Annotated[
        str | None, typer.Option(help="Condition on metadata, e.g. 'year > 2015'.")
    ] = None,
    encoder: EncoderOption = None,
    rerank: RerankOption = SEARCH.rerank,
    rerank_depth: RerankDepth = SEARCH.rerank_depth,
    rerank_weight: RerankWeight = None,
    rerank_budget_ms: RerankBudget = SEARCH.rerank_budget_ms,
    llm_url: LlmUrl = "",
    llm_model: LlmModel = "",
    llm_key_file: LlmKeyFile = None,
    llm_timeout_s: LlmTimeout = 60.0,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say of each hit why it stands where it stands.")
    ] = False,
    as_json: JsonLines = False,
    queries: Annotated[
        Path | None, typer.Option(help="Queries to answer: queries.jsonl, or id<TAB>text lines.")
    ] = None,
    ontology: Annotated[
        Path | None,
        typer.Option(help="Synonyms to add to queries: .obo, or .csv with columns name,synonym."),
    ] = None,
    run: Annotated[Path | None, typer.Option(help="TREC run to write; with --queries.")] = None,
) -> None:
    """Search indexes and show the best documents, with the passage that answers."""
    if sum(given is not None for given in (text, queries, like)) != 1:
        raise typer.BadParameter("give one of TEXT, --like DOC_ID and --queries FILE")
    if (queries is None) != (run is None) or (without and text is None):
        raise typer.BadParameter("--queries goes with --run OUT.trec, and --not with TEXT")
    from lbr_search.cli.render import show_domains, show_expansions, show_folded, show_hits
    from lbr_search.search.ontology import load_ontology
    from lbr_search.search.searcher import Searcher

    paths = index or find_indexes(home_of(context))
    known = None if ontology is None else load_ontology(ontology)
    chosen = {"fusion": fusion, "dense_weight": dense_weight, "rerank_weight": rerank_weight}
    config = {
        "mode": mode,
        "domain": domain,
        "is_deduped": dedupe,
        "without_weight": without_weight,
        "rerank": llm_spec(
            rerank, url=llm_url, model=llm_model, key_file=llm_key_file, timeout_s=llm_timeout_s
        ),
        "rerank_depth": rerank_depth,
        "rerank_budget_ms": rerank_budget_ms,
        **{name: value for name, value in chosen.items() if value is not None},
    }
    searcher = Searcher.open(paths, encoder=encoder, config=config, ontology=known)
    if queries is not None and run is not None:
        from lbr_search.cli.run_file import answer_file

        answer_file(searcher, queries, run, k=k, filter=filter)
    else:
        asked = text or ""
        hits = (
            searcher.search(asked, k=k, filter=filter, without=without)
            if like is None
            else searcher.like(like, k=k, filter=filter)
        )
        show_hits(searcher, asked, hits, as_json=as_json, is_explained=explain, without=without)
        show_expansions(searcher, asked, mode=mode)
        show_folded(hits)
        show_domains(hits)
    for warning in searcher.warnings:
        to_stderr(f"warning: {warning}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog="Example: lbr-search query 'sort a list' --index indexes/code -k 5 --mode hybrid"
    )(query)
