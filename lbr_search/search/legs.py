"""One retriever's rows -> documents, each with its best chunk (MaxP, Dai and Callan 2019)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Rows = tuple[NDArray[np.int64], NDArray[np.float32]]
SearchRows = Callable[[NDArray[np.int64], int], Rows]
"""(positions of queries (B,), k) -> row ids (B, k), scores (B, k); missing places hold -1, -inf."""
DocIds = Callable[[NDArray[np.int64]], Sequence[str]]

MAX_FAN_OUT = 10  # first guess at chunks a document; the search is repeated deeper where needed
DEEPER = 4


class Leg(NamedTuple):
    """The documents that a retriever found for a query, best first, by their best chunk.

    Two plain dicts: a record for each document was a third of the time of a batch of queries.
    """

    rows: dict[str, int]
    """Document -> row id of its best chunk."""
    scores: dict[str, float]
    """Document -> raw score of that chunk; the same documents."""


@dataclass(frozen=True, slots=True)
class Depth:
    """How many documents a leg must give, and what the index holds."""

    n_wanted: int
    n_chunks: int
    n_documents: int

    @property
    def first_k(self) -> int:
        """Chunks to ask for at first: about as many as hold that many documents."""
        fan_out = min(MAX_FAN_OUT, math.ceil(self.n_chunks / self.n_documents))
        return min(self.n_chunks, min(self.n_wanted, self.n_documents) * fan_out)


def rank_leg(search: SearchRows, doc_ids: DocIds, *, n_queries: int, depth: Depth) -> list[Leg]:
    """The first documents of each query, best first, by their best chunk.

    Long documents fill a ranking of chunks with few documents; a query that yields fewer than are
    wanted is therefore searched again, deeper, until it does or its rows run out. The answer thus
    depends on the index and `depth` alone.
    """
    found = [Leg({}, {}) for _ in range(n_queries)]
    if not depth.n_chunks or not depth.n_documents:
        return found
    wanted = min(depth.n_wanted, depth.n_documents)
    k = depth.first_k
    open_queries = np.arange(n_queries)
    while open_queries.size:
        rows, scores = search(open_queries, k)
        held = rows >= 0
        flat = rows[held]
        ids, listed, values = doc_ids(flat), flat.tolist(), scores[held].tolist()
        ends = np.cumsum(held.sum(axis=1)).tolist()
        too_few = []
        for query, (start, end) in zip(
            open_queries.tolist(), itertools.pairwise([0, *ends]), strict=True
        ):
            own = slice(start, end)
            found[query] = _best_chunks(ids[own], listed[own], values[own], wanted)
            if len(found[query].rows) < wanted and end - start == k < depth.n_chunks:
                too_few.append(query)
        open_queries = np.asarray(too_few, dtype=np.int64)
        k = min(depth.n_chunks, k * DEEPER)
    return found


def _best_chunks(
    ids: Sequence[str], rows: Sequence[int], scores: Sequence[float], depth: int
) -> Leg:
    if len(set(ids)) == len(ids):  # a chunk a document: nothing to choose
        ids, rows, scores = ids[:depth], rows[:depth], scores[:depth]
        return Leg(dict(zip(ids, rows, strict=True)), dict(zip(ids, scores, strict=True)))
    best = Leg({}, {})
    for doc_id, row, score in zip(ids, rows, scores, strict=True):
        if doc_id not in best.rows:  # rows come best first
            if len(best.rows) == depth:
                break
            best.rows[doc_id], best.scores[doc_id] = row, score
    return best
