"""One way to search one suite, measured: its run, its quality, its time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np

from lbr_search.bench.energy import gpu_energy
from lbr_search.bench.memory import peak_memory
from lbr_search.bench.metrics import DEEP_DEPTH, DEPTH, evaluate, parse_metric
from lbr_search.bench.queries import KnownQueries, latency_texts
from lbr_search.bench.results import FIRST_HITS, ArmResult, Cost, Latency, SuiteIngest
from lbr_search.bench.trec_io import ranked
from lbr_search.corpus.suite import Suite
from lbr_search.errors import EncoderError
from lbr_search.search.searcher import Searcher
from lbr_search.types import Run

Answer = TypeVar("Answer")

LATENCY_HITS = 10


@dataclass(frozen=True, slots=True)
class SharedByArms:
    """One suite in one index: what all arms that search it have in common."""

    suite: Suite
    ingest: SuiteIngest
    queries: KnownQueries
    """The encoder; searchers have to be opened with it."""
    metrics: Sequence[str]
    """Names as in `metrics.METRICS`."""
    deep_runs: dict[str, Run] = field(default_factory=dict)
    """Mode -> run of `DEEP_DEPTH` hits; filled where one is needed."""


def measure_arm(shared: SharedByArms, searcher: Searcher, mode: str) -> tuple[ArmResult, Run]:
    """All queries in one call for the quality, then one at a time for the latency.

    Args:
        shared: suite, index and encoder.
        searcher: of that index and encoder; it may rerank.
        mode: lexical, dense or hybrid.

    Raises:
        EncoderError: a leg could not be searched, so the arm would not be what its name says.
    """
    suite, ingest = shared.suite, shared.ingest
    texts = [query.text for query in suite.queries]
    # opens files, warms up, and makes the vectors of all queries where they are not known yet
    searcher.search(texts[0], k=LATENCY_HITS, mode=mode)
    _refuse_missing_legs(suite, searcher, mode)
    with peak_memory() as peak:
        owed = shared.queries.owed_joules
        with gpu_energy() as energy:
            rankings, seconds = timed(
                lambda: searcher.rank_documents(texts, k=DEPTH, mode=mode), shared.queries
            )
        owed = shared.queries.owed_joules - owed
        latency = _latency(shared, searcher, mode)
    _refuse_missing_legs(suite, searcher, mode)
    run = _as_run(suite, rankings)
    deep_run = _deep_run(shared, searcher, mode)
    cost = Cost(
        seconds=seconds,
        latency=latency,
        index_mb=ingest.index_mb,
        documents_per_s=ingest.documents_per_s,
        bytes_per_document=ingest.bytes_per_document,
        peak_rss_mb=peak.rss_mb,
        gpu_joules=None if energy.joules is None else energy.joules + owed,
    )
    evaluation = evaluate(run, suite.qrels, deep_run=deep_run, metrics=shared.metrics)
    return ArmResult(evaluation, cost, first_hits(run)), run


def first_hits(run: Run) -> dict[str, list[tuple[str, float]]]:
    """The hits of each query that a report shows."""
    return {query_id: ranked(hits)[:FIRST_HITS] for query_id, hits in run.items()}


def explain_first_hits(searcher: Searcher, mode: str, query: str) -> dict[str, list[str]]:
    """Document id of each first hit -> why it stands there, ranked as deep as the arm was.

    Without what the decoder writes: over many suites and arms that took longer than measuring.
    """
    hits = searcher.search(query, k=DEPTH, mode=mode)[:FIRST_HITS]
    return {
        each.hit.doc_id: each.lines() for each in searcher.explain(query, hits, with_kept=False)
    }


def _refuse_missing_legs(suite: Suite, searcher: Searcher, mode: str) -> None:
    if searcher.warnings:
        raise EncoderError(
            f"suite {suite.name}, mode {mode}: a leg or a reranker did not work, so the arm would "
            "not be what its name says: " + "; ".join(searcher.warnings),
            "make it available, or leave the arm out with --mode or --rerank",
        )


def _deep_run(shared: SharedByArms, searcher: Searcher, mode: str) -> Run | None:
    """The same system asked for `DEEP_DEPTH` hits, if a metric needs them; None = the run will do.

    A ranking of its own, since legs that are fused deeper may order the first hits otherwise. A
    reranked arm has that of its first stage: reranking moves the first hits among themselves.
    """
    suite, deep_runs = shared.suite, shared.deep_runs
    if not needs_deep_run(suite, shared.metrics):
        return None
    if mode not in deep_runs:
        texts = [query.text for query in suite.queries]
        rankings = searcher.rank_documents(texts, k=DEEP_DEPTH, mode=mode)
        deep_runs[mode] = _as_run(suite, rankings)
    return deep_runs[mode]


def needs_deep_run(suite: Suite, metrics: Sequence[str]) -> bool:
    """Whether a metric looks beyond `DEPTH`, and there are so many documents."""
    return suite.n_documents > DEPTH and any(parse_metric(name)[1] > DEPTH for name in metrics)


def _as_run(suite: Suite, rankings: Sequence[Sequence[tuple[str, float]]]) -> Run:
    return {
        query.query_id: dict(ranking)
        for query, ranking in zip(suite.queries, rankings, strict=True)
    }


def _latency(shared: SharedByArms, searcher: Searcher, mode: str) -> Latency:
    """Query text to hits with their texts, of evenly spaced queries."""
    seconds = []
    for text in latency_texts(shared.queries.texts):
        search = partial(searcher.search, text, k=LATENCY_HITS, mode=mode)
        seconds.append(timed(search, shared.queries)[1])
    return percentiles(seconds)


def percentiles(seconds: Sequence[float]) -> Latency:
    """Of the times of single queries, in ms."""
    p50, p95, p99 = (1e3 * np.percentile(seconds, [50, 95, 99])).tolist()
    return Latency(p50, p95, p99, len(seconds))


def timed(work: Callable[[], Answer], queries: KnownQueries | None) -> tuple[Answer, float]:
    """The answer, and seconds with what encoding took when the vectors of `queries` were made."""
    owed = queries.owed_s if queries is not None else 0.0
    started = time.perf_counter()
    answer = work()
    seconds = time.perf_counter() - started
    return answer, seconds + (queries.owed_s - owed if queries is not None else 0.0)
