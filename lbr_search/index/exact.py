"""Search over every vector with numpy: the oracle that the other backends are compared with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lbr_search.errors import ConfigError, IndexFormatError
from lbr_search.index.rows import (
    REBUILD,
    ROUNDING,
    VECTORS_FILE,
    Ranking,
    RowIds,
    Settings,
    best_first,
    check_queries,
    checked_batches,
    exact_scores,
    kth_best,
    load_array,
    load_settings,
    no_hits,
    release_pages,
    save_settings,
    write_vectors,
)
from lbr_search.types import Embeddings

BLOCK_ROWS = 16_384
"""Rows multiplied at a time: 24 MB at 384 dimensions."""
FIRST_ROWS = 4_096
"""Rows of the first block: see `_blocks`."""
COPIED_QUERIES = 32
"""Queries from which a block is copied before it is multiplied."""
HELD = 3
"""Times k candidates of a query that are held before the worst of them are let go."""


class ExactIndex:
    """Inner product with every row, read from a memory-mapped .npy file. Reads are thread-safe."""

    def __init__(self, kind: str = "flat") -> None:
        if kind != "flat":
            raise ConfigError(
                f"the exact backend has no kind {kind!r}; it reads every vector.", "use kind flat"
            )
        self.kind = kind
        self._dim = 0
        self._rows = RowIds.of(np.empty(0, dtype=np.int64))
        self._vectors: Embeddings = np.empty((0, 0), dtype=np.float32)

    def build(
        self, batches: Iterable[tuple[NDArray[np.int64], Embeddings]], *, dim: int, folder: Path
    ) -> Settings:
        """Write vectors and row ids into `folder`, batch by batch; return the settings.

        Raises:
            ShapeError: a batch does not hold one (dim,) float32 vector for each row id.
            EncoderError: a value is not finite.
            IndexFormatError: a row id stands twice.
        """
        folder.mkdir(parents=True, exist_ok=True)
        ids: list[int] = []
        blocks = checked_batches(batches, dim=dim, row_ids=ids)
        write_vectors(folder / VECTORS_FILE, blocks, dim=dim)
        rows = RowIds.of(np.asarray(ids, dtype=np.int64))
        rows.save(folder)
        settings: Settings = {"kind": self.kind, "dim": dim, "n_rows": len(rows)}
        save_settings(folder, settings)
        self.open(folder, dim=dim)
        return settings

    def open(self, folder: Path, *, dim: int) -> None:
        """Open what `build` wrote.

        Raises:
            IndexFormatError: files are missing, damaged or of another size.
        """
        load_settings(folder, dim=dim, kind=self.kind)
        self._rows = RowIds.load(folder)
        self._vectors = open_vectors(folder, dim=dim, n_rows=len(self._rows))
        self._dim = dim

    def search(
        self, queries: Embeddings, *, k: int, allowed: NDArray[np.int64] | None = None
    ) -> Ranking:
        """Best rows of each query; see `protocols.IndexBackend.search`.

        Raises:
            ShapeError: `queries` are not (B, D) float32.
        """
        queries = check_queries(queries, dim=self._dim)
        positions = None if allowed is None else self._rows.positions(allowed)
        return scan(queries, self._vectors, self._rows.ids, k=k, positions=positions)

    def release(self) -> None:
        """As `IndexBackend.release`."""
        release_pages(self._vectors)


def open_vectors(folder: Path, *, dim: int, n_rows: int) -> Embeddings:
    """Map the vectors of `folder`; IndexFormatError where they are not (n_rows, dim) float32."""
    vectors = load_array(folder / VECTORS_FILE, mapped=True)
    if vectors.shape != (n_rows, dim) or vectors.dtype != np.float32:
        raise IndexFormatError(
            f"{folder / VECTORS_FILE} is damaged.\n  wanted  ({n_rows}, {dim}) float32\n"
            f"  found   {vectors.shape} {vectors.dtype}",
            REBUILD,
        )
    return vectors.view(np.ndarray)


def scan(
    queries: Embeddings,
    vectors: Embeddings,
    row_ids: NDArray[np.int64],
    *,
    k: int,
    positions: NDArray[np.int64] | None = None,
    floors: NDArray[np.float32] | None = None,
) -> Ranking:
    """Exact search: score descending, ties by row id ascending.

    Args:
        queries: (B, D) float32.
        vectors: (N, D) float32, may be memory-mapped; rows of length 1.
        row_ids: (N,) the row id of each vector.
        k: how many.
        positions: ascending places in `vectors` to look at; None = all.
        floors: (B,) scores below which a row is not wanted; some such rows may still be returned.

    Returns:
        Row ids (B, k) and inner products (B, k); missing places hold -1 and -inf.
    """
    rows, scores = no_hits(len(queries), k)
    if k < 1:
        return rows, scores
    best_places = _near_best(queries, vectors, positions, k=k, floors=floors)
    for query_no, places in enumerate(best_places):
        found = exact_scores(queries[query_no], vectors[places])
        best = best_first(found, row_ids[places], k=k)
        rows[query_no, : len(best)] = row_ids[places[best]]
        scores[query_no, : len(best)] = found[best]
    return rows, scores


def _blocks(n_rows: int) -> Iterator[tuple[int, int]]:
    """First and last + 1 of the rows compared at once; a short block first.

    Until k rows are known every row is a candidate, and is sorted in; a few thousand set a floor
    that most of the others do not reach.
    """
    start, size = 0, FIRST_ROWS
    while start < n_rows:
        stop = min(start + size, n_rows)
        yield start, stop
        start, size = stop, BLOCK_ROWS


def _near_best(
    queries: Embeddings,
    vectors: Embeddings,
    positions: NDArray[np.int64] | None,
    *,
    k: int,
    floors: NDArray[np.float32] | None,
) -> list[NDArray[np.int64]]:
    """For each query all positions that may be among the best k, whatever the rounding."""
    margins = 2 * ROUNDING * np.maximum(np.linalg.norm(queries, axis=1), 1e-30)
    lowest = np.full(len(queries), -np.inf) if floors is None else floors - margins
    nearest = [_Nearest(k, *each) for each in zip(margins.tolist(), lowest.tolist(), strict=True)]
    n_rows = len(vectors) if positions is None else len(positions)
    for start, stop in _blocks(n_rows):
        block = vectors[start:stop] if positions is None else vectors[positions[start:stop]]
        if positions is None and len(queries) >= COPIED_QUERIES:
            # they read it over and over, in strides: sooner from memory than from a mapped file
            block = np.array(block)
        block_scores = queries @ block.T  # (B, D) @ (D, rows) -> (B, rows)
        for each, scores in zip(nearest, block_scores, strict=True):
            above = np.flatnonzero(scores >= each.lowest)
            if len(above):
                at = above + start if positions is None else positions[start + above]
                each.add(at, scores[above])
    return [each.places() for each in nearest]


class _Nearest:
    """The rows that may be among the best k of one query: what was seen, less what cannot be."""

    def __init__(self, k: int, margin: float, lowest: float) -> None:
        self._k, self._margin = k, margin
        self.lowest = lowest
        """Rows of a lower score cannot be among the best."""
        self._places: list[NDArray[np.int64]] = []
        self._scores: list[NDArray[np.float32]] = []
        self._n_held = 0

    def add(self, places: NDArray[np.int64], scores: NDArray[np.float32]) -> None:
        self._places.append(places)
        self._scores.append(scores)
        self._n_held += len(places)
        if self._n_held > HELD * self._k:
            self._raise()

    def places(self) -> NDArray[np.int64]:
        if self._n_held > self._k:
            self._raise()
        return np.concatenate(self._places) if self._places else np.empty(0, dtype=np.int64)

    def _raise(self) -> None:
        """Raise the floor to the k-th best, and let go of what is below it."""
        places, scores = np.concatenate(self._places), np.concatenate(self._scores)
        self.lowest = kth_best(scores, self._k) - self._margin
        good = scores >= self.lowest
        self._places, self._scores = [places[good]], [scores[good]]
        self._n_held = len(self._places[0])
