"""The dense leg alone, by exact search over whole documents: nDCG@10 of every query."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lbr_search.bench.metrics import DEPTH, evaluate
from lbr_search.corpus.suite import Suite
from lbr_search.protocols import Encoder
from lbr_search.types import Run, passage_text

_BLOCK_QUERIES = 256
"""Queries scored at a time: 40 MB of scores over 40,000 documents."""


def dense_ndcg(encoder: Encoder, suites: Sequence[Suite]) -> dict[str, dict[str, float]]:
    """Suite -> query_id -> nDCG@10, nothing stored on disk.

    Args:
        encoder: cuts documents at its own limit.
        suites: with judged queries.
    """
    return {
        suite.name: dict(evaluate(_run(encoder, suite), suite.qrels).per_query["ndcg@10"])
        for suite in suites
    }


def _run(encoder: Encoder, suite: Suite) -> Run:
    documents = list(suite.documents())
    ids = [document.doc_id for document in documents]
    passages = encoder.encode_passages([passage_text(d.title, d.text) for d in documents])
    run: Run = {}
    for start in range(0, len(suite.queries), _BLOCK_QUERIES):
        block = suite.queries[start : start + _BLOCK_QUERIES]
        scores = encoder.encode_queries([query.text for query in block]) @ passages.T  # (B, N)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]
        for query, row, order in zip(block, scores, best, strict=True):
            run[query.query_id] = {ids[place]: float(row[place]) for place in order}
    return run
