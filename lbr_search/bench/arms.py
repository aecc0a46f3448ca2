"""One way to search one suite, measured: its run, its quality, its time."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from lbr_search.bench.memory import peak_memory
from lbr_search.bench.metrics import DEEP_DEPTH, DEPTH, evaluate, parse_metric
from lbr_search.bench.results import FIRST_HITS, ArmResult, Cost, Latency, SuiteIngest
from lbr_search.bench.trec_io import ranked
from lbr_search.corpus.suite import Suite
from lbr_search.errors import EncoderError
from lbr_search.search.searcher import Searcher
from lbr_search.types import Run

LATENCY_QUERIES = 200
LATENCY_HITS = 10


def measure_arm(
    suite: Suite,
    searcher: Searcher,
    mode: str,
    *,
    ingest: SuiteIngest,
    metrics: Sequence[str],
    deep_runs: dict[str, Run],
) -> tuple[ArmResult, Run]:
    """All queries in one call for the quality, then one at a time for the latency.

    Args:
        suite: queries and judgements.
        searcher: of the suite's index; it may rerank.
        mode: lexical, dense or hybrid.
        ingest: the index.
        metrics: names as in `metrics.METRICS`.
        deep_runs: runs of `DEEP_DEPTH` hits of this index by mode; filled where one is needed.

    Raises:
        EncoderError: a leg could not be searched, so the arm would not be what its name says.
    """
    texts = [query.text for query in suite.queries]
    with peak_memory() as peak:
        started = time.perf_counter()
        rankings = searcher.rank_documents(texts, k=DEPTH, mode=mode)
        seconds = time.perf_counter() - started
        _refuse_missing_legs(suite, searcher, mode)
        latency = _latency(searcher, texts, mode)
    run = _as_run(suite, rankings)
    deep_run = _deep_run(suite, searcher, mode, metrics=metrics, deep_runs=deep_runs)
    cost = Cost(
        seconds=seconds,
        latency=latency,
        index_mb=ingest.index_mb,
        documents_per_s=ingest.documents_per_s,
        bytes_per_document=ingest.bytes_per_document,
        peak_rss_mb=peak.rss_mb,
    )
    evaluation = evaluate(run, suite.qrels, deep_run=deep_run, metrics=metrics)
    return ArmResult(evaluation, cost, first_hits(run)), run


def first_hits(run: Run) -> dict[str, list[tuple[str, float]]]:
    """The hits of each query that a report shows."""
    return {query_id: ranked(hits)[:FIRST_HITS] for query_id, hits in run.items()}


def _refuse_missing_legs(suite: Suite, searcher: Searcher, mode: str) -> None:
    if searcher.warnings:
        raise EncoderError(
            f"suite {suite.name}, mode {mode}: a leg or a reranker did not work, so the arm would "
            "not be what its name says: " + "; ".join(searcher.warnings),
            "make it available, or leave the arm out with --mode or --rerank",
        )


def _deep_run(
    suite: Suite,
    searcher: Searcher,
    mode: str,
    *,
    metrics: Sequence[str],
    deep_runs: dict[str, Run],
) -> Run | None:
    """The same system asked for `DEEP_DEPTH` hits, if a metric needs them; None = the run will do.

    A ranking of its own, since legs that are fused deeper may order the first hits otherwise. A
    reranked arm has that of its first stage: reranking moves the first hits among themselves.
    """
    is_needed = any(parse_metric(name)[1] > DEPTH for name in metrics)
    if not is_needed or suite.n_documents <= DEPTH:
        return None
    if mode not in deep_runs:
        texts = [query.text for query in suite.queries]
        rankings = searcher.rank_documents(texts, k=DEEP_DEPTH, mode=mode)
        deep_runs[mode] = _as_run(suite, rankings)
    return deep_runs[mode]


def _as_run(suite: Suite, rankings: Sequence[Sequence[tuple[str, float]]]) -> Run:
    return {
        query.query_id: dict(ranking)
        for query, ranking in zip(suite.queries, rankings, strict=True)
    }


def _latency(searcher: Searcher, texts: Sequence[str], mode: str) -> Latency:
    """Query text to hits with their texts; evenly spaced queries, after one that warms up."""
    chosen = texts[:: max(1, -(-len(texts) // LATENCY_QUERIES))]
    searcher.search(chosen[0], k=LATENCY_HITS, mode=mode)
    milliseconds = []
    for text in chosen:
        started = time.perf_counter()
        searcher.search(text, k=LATENCY_HITS, mode=mode)
        milliseconds.append(1e3 * (time.perf_counter() - started))
    p50, p95, p99 = np.percentile(milliseconds, [50, 95, 99]).tolist()
    return Latency(p50, p95, p99, len(chosen))
