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


def sample_vectors(
    batches: Batches, *, n: int = MAX_QUERIES, seed: int = 0
) -> tuple[NDArray[np.int64], Embeddings]:
    """Draw up to `n` rows with equal chance in one pass: row ids (n,) and vectors (n, D).

    Every row gets a random key and the smallest keys are kept; the draw depends on the seed and
    the order of rows, not on how they are batched.
    """
    generator = np.random.default_rng(seed)
    kept: list[tuple[float, int, NDArray[np.float32]]] = []
    dim = 0
    for ids, vectors in batches:
        keys = generator.random(len(ids))
        dim = vectors.shape[1]
        floor = kept[-1][0] if len(kept) == n else 1.0
        for at in np.flatnonzero(keys < floor):
            kept.append((float(keys[at]), int(ids[at]), np.array(vectors[at])))
        kept = sorted(kept, key=lambda entry: entry[:2])[:n]
    kept.sort(key=lambda entry: entry[1])
    rows = np.asarray([row for _, row, _ in kept], dtype=np.int64)
    stacked = [vector for _, _, vector in kept] or np.empty((0, dim), dtype=np.float32)
    return rows, np.asarray(stacked, dtype=np.float32)


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
        block_rows, block_scores = scan(queries, vectors, ids, k=depth)
        both_rows = np.concatenate([rows, block_rows], axis=1)
        both_scores = np.concatenate([scores, block_scores], axis=1)
        for number in range(len(queries)):
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
    """What `index` returns for `queries`, (B, k), the queries' own rows left out."""
    rows, _ = index.search(queries, k=k if own_rows is None else k + 1)
    return _without_own(rows, own_rows, k=k)


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
