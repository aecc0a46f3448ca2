"""Many settings on the same queries: legs and reranker run once, the rest is arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lbr_search.bench.metrics import evaluate
from lbr_search.config import SearchConfig
from lbr_search.corpus.suite import Suite
from lbr_search.encoder.load import load_encoder
from lbr_search.protocols import Encoder, Reranker
from lbr_search.search.fusion import FUSIONS, Scores, ranks
from lbr_search.search.ranking import fuse
from lbr_search.search.reranking import Rerankers, mix, read_passages
from lbr_search.search.retrieval import Asked, Legs, retrieve
from lbr_search.search.sources import EncoderPool, Source, open_source

N_MEASURED = 10
"""Hits that nDCG@10 reads."""

Fused = dict[str, float]


@dataclass(frozen=True, slots=True)
class Subject:
    """An index that is tuned, opened for it."""

    source: Source
    pool: EncoderPool
    reranker: Reranker | None

    @classmethod
    def open(cls, index: Path, *, encoder: str | Encoder | None, config: SearchConfig) -> Subject:
        """Open an index with its encoder and the reranker that `config` names.

        Raises:
            IndexFormatError: no index there, a damaged one, or one without what the reranker reads.
            SealError: it was built by another encoder.
            EncoderError, MissingExtraError: the encoder or the reranker cannot be loaded.
        """
        given = load_encoder(encoder) if isinstance(encoder, str) else encoder
        pool = EncoderPool()
        source = open_source(index, name=index.name, encoder=given, given=config)
        source.prepare("dense", pool)  # hybrid would do without a dense leg
        reranker = Rerankers().of([source], config) if config.rerank else None
        return cls(source, pool, reranker)

    def legs(self, texts: Sequence[str], *, n_documents: int) -> list[Legs]:
        """What both legs find for each query."""
        assert self.source.encoder is not None, "prepared for dense search"
        asked = Asked(texts, self.pool.encode(self.source.encoder, texts), [()] * len(texts))
        return retrieve(self.source.opened, asked, mode="hybrid", n_documents=n_documents)

    def rerank(self, query: str, legs: Legs, doc_ids: Sequence[str]) -> Fused:
        """The reranker's own score of some documents that `legs` found for `query`."""
        assert self.reranker is not None, "asked for only where there is one"
        name, config = self.source.name, self.source.settings.config
        found = {each.doc_id: each for each in fuse(name, legs, config, k=None)}
        candidates = [found[doc_id] for doc_id in doc_ids]
        passages = read_passages(candidates, {name: self.source}, self.reranker)
        return dict(zip(doc_ids, self.reranker.score(query, passages), strict=True))


def measure(subject: Subject, suite: Suite, grid: Sequence[SearchConfig]) -> NDArray[np.float64]:
    """(settings, queries) nDCG@10 of the hybrid ranking.

    Args:
        subject: the index; its reranker is the one of the grid.
        suite: queries and judgements.
        grid: settings that differ in fusion, its numbers and the weight of the reranker alone.
    """
    texts = [query.text for query in suite.queries]
    depth = max(grid[0].depth, grid[0].rerank_depth)
    found = subject.legs(texts, n_documents=depth)
    rankings = [
        _rankings(subject, text, legs, grid) for text, legs in zip(texts, found, strict=True)
    ]  # query -> setting -> documents
    values = np.empty((len(grid), len(texts)))
    for number in range(len(grid)):
        run = {
            query.query_id: {d: -float(place) for place, d in enumerate(ranking[number])}
            for query, ranking in zip(suite.queries, rankings, strict=True)
        }
        ndcg = evaluate(run, suite.qrels).per_query["ndcg@10"]
        values[number] = [ndcg[query.query_id] for query in suite.queries]
    return values


def _rankings(
    subject: Subject, query: str, legs: Legs, grid: Sequence[SearchConfig]
) -> list[list[str]]:
    """The first documents under each setting; settings that fuse alike are fused once."""
    scores = [legs[name].scores for name in ("dense", "lexical")]
    fused: dict[tuple[object, ...], Fused] = {}
    for config in grid:
        if _fusion_of(config) not in fused:
            fused[_fusion_of(config)] = _first(FUSIONS[config.fusion](scores, config), config)
    # every document that some fusion puts within the reranker's reach
    reach = sorted(set().union(*fused.values()))
    again = subject.rerank(query, legs, reach) if subject.reranker is not None and reach else None
    return [_order(fused[_fusion_of(config)], again, config) for config in grid]


def _fusion_of(config: SearchConfig) -> tuple[object, ...]:
    return config.fusion, config.dense_weight, config.rrf_k


def _first(fused: Scores, config: SearchConfig) -> Fused:
    """The documents that can reach the measured places, best first."""
    n = config.rerank_depth if config.rerank else N_MEASURED
    return {doc_id: fused[doc_id] for doc_id in list(ranks(fused))[: max(n, N_MEASURED)]}


def _order(fused: Fused, again: Scores | None, config: SearchConfig) -> list[str]:
    if again is None:
        return list(fused)[:N_MEASURED]
    head = dict(list(fused.items())[: config.rerank_depth])
    mixed = mix(head, {doc_id: again[doc_id] for doc_id in head}, weight=config.rerank_weight)
    return [*ranks(mixed), *list(fused)[len(head) :]][:N_MEASURED]
