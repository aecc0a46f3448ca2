"""Recall of a backend against exact search, over streamed vectors so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from lbr_search.index.exact import scan
from lbr_search.index.rows import best_first, no_hits
from lbr_search.protocols import IndexBackend
from lbr_search.types import Embeddings

MAX_QUERIES = 200
AT_ONCE = 8
Batches = Iterable[tuple[NDArray[np.int64], Embeddings]]


def measure_recall(
    index: IndexBackend,
    batches: Batches,
    queries: Embeddings,
    *,
    k: int = 10,
    own_rows: NDArray[np.int64] | None = None,
) -> float:
    """Recall@k: the share of the true k nearest rows that `index` returns.

    Args:
        index: the opened backend.
        batches: (row ids, vectors) of everything that the index holds.
        queries: (B, D) float32; those after the first 200 are left out.
        k: how many neighbours.
        own_rows: (B,) where queries are stored vectors, their row ids. A row always finds itself,
            which would flatter the figure: it is left out on both sides.

    Returns:
        Between 0 and 1; 1 where there is nothing to find.
    """
    queries, own = queries[:MAX_QUERIES], None if own_rows is None else own_rows[:MAX_QUERIES]
    truth = true_neighbours(batches, queries, k=k, own_rows=own)
    return recall(neighbours(index, queries, k=k, own_rows=own), truth)


def sample_rows(
    row_ids: NDArray[np.int64], *, n: int = MAX_QUERIES, seed: int = 0
) -> NDArray[np.int64]:
    """Up to `n` of the row ids, each with equal chance, ascending.

    The draw depends on the seed and the order of rows alone.
    """
    keys = np.random.default_rng(seed).random(len(row_ids))
    return np.sort(row_ids[np.argsort(keys, kind="stable")[:n]])


def true_neighbours(
    batches: Batches,
    queries: Embeddings,
    *,
    k: int,
    own_rows: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Exact nearest rows (B, k), -1 where there are fewer; see `measure_recall`."""
    depth = k if own_rows is None else k + 1
    rows, scores = no_hits(len(queries), depth)
    for ids, vectors in batches:
        floors = scores[:, -1]  # a row below the worst so far changes nothing
        block_rows, block_scores = scan(queries, vectors, ids, k=depth, floors=floors)
        both_rows = np.concatenate([rows, block_rows], axis=1)
        both_scores = np.concatenate([scores, block_scores], axis=1)
        for number in np.flatnonzero(block_rows[:, 0] >= 0):
            best = best_first(both_scores[number], both_rows[number], k=depth)
            rows[number], scores[number] = both_rows[number][best], both_scores[number][best]
    return _without_own(rows, own_rows, k=k)


def neighbours(
    index: IndexBackend,
    queries: Embeddings,
    *,
    k: int,
    own_rows: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """What `index` returns for `queries`, (B, k), the queries' own rows left out.

    A few at a time: candidates re-scored from a mapped file bring in far more pages than they fill,
    and a build would seem to need the memory of all its vectors.
    """
    parts = []
    for start in range(0, len(queries), AT_ONCE):
        rows, _ = index.search(queries[start : start + AT_ONCE], k=k if own_rows is None else k + 1)
        index.release()
        parts.append(rows)
    found = np.concatenate(parts) if parts else no_hits(0, k)[0]
    return _without_own(found, own_rows, k=k)


def recall(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """Share of the rows of `truth` (-1 = no row) that stand in the same line of `found`.

    >>> recall(np.array([[1, 5], [3, -1]]), np.array([[1, 2], [3, -1]]))
    0.6666666666666666
    """
    n_true = int((truth >= 0).sum())
    hits = sum(len(np.intersect1d(f, t[t >= 0])) for f, t in zip(found, truth, strict=True))
    return hits / n_true if n_true else 1.0


def raise_effort(
    efforts: Sequence[int], measure: Callable[[int], float], *, target: float
) -> tuple[int, float]:
    """The first effort whose measured recall reaches `target`, else the last; and its recall."""
    effort, reached = efforts[0], 0.0
    for effort in efforts:
        reached = measure(effort)
        if reached >= target:
            break
    return effort, reached


def _without_own(
    rows: NDArray[np.int64], own_rows: NDArray[np.int64] | None, *, k: int
) -> NDArray[np.int64]:
    if own_rows is None:
        return rows[:, :k]
    # Stable sort of "is it my own row": own rows go last, the others keep their order.
    order = np.argsort(rows == own_rows[:, None], axis=1, kind="stable")
    others: NDArray[np.int64] = np.take_along_axis(rows, order, axis=1)[:, :k]
    return others
