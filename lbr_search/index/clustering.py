"""Spherical k-means with numpy: the coarse cells of an inverted-file index.

Why not the library's own: on the CPU its assignment step ran at 36 GFLOP/s where one numpy matrix
product per block runs at 165-180 (2 cores, AVX-512), and assignment is nearly all of the time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lbr_search.types import Embeddings

ASSIGN_ROWS = 2_048
"""Rows multiplied at a time: 16 MB of scores at 2,048 cells."""


def n_cells_for(n_rows: int) -> int:
    """Cells of an inverted file: about twice the square root, a power of two, at most 2,048.

    Up to 2,000 rows one cell: every row is read.

    >>> [n_cells_for(n) for n in (0, 2_000, 10_000, 100_000, 1_000_000, 50_000_000)]
    [1, 1, 128, 512, 1024, 2048]
    """
    if n_rows <= 2_000:
        return 1
    return min(2_048, 1 << int(np.log2(2 * np.sqrt(n_rows))))


def nearest_cells(vectors: Embeddings, centres: Embeddings) -> NDArray[np.int64]:
    """Cell of largest inner product for each row: (N, D), (C, D) -> (N,)."""
    cells = np.empty(len(vectors), dtype=np.int64)
    transposed = np.ascontiguousarray(centres.T)
    for start in range(0, len(vectors), ASSIGN_ROWS):
        block = vectors[start : start + ASSIGN_ROWS]
        cells[start : start + len(block)] = (block @ transposed).argmax(axis=1)
    return cells


def spherical_kmeans(
    vectors: Embeddings, n_cells: int, *, n_rounds: int = 8, seed: int = 0
) -> Embeddings:
    """Centres of length 1 that the rows gather around (Dhillon and Modha 2001, sec. 3).

    Starts from rows drawn without replacement; a cell that no row chose takes the row that its own
    cell serves worst.

    Args:
        vectors: (N, D) float32, N >= n_cells.
        n_cells: C, how many centres.
        n_rounds: assignments made. On 300,000 x 384 clustered vectors, 1,024 cells, 40 training
            rows a cell, the 8 nearest cells hold .932, .958 and .969 of the true ten neighbours
            after 3, 5 and 8 rounds.
        seed: of the draw.

    Returns:
        (C, D) float32, rows of length 1.
    """
    start = np.random.default_rng(seed).choice(len(vectors), n_cells, replace=False)
    centres = _unit(vectors[np.sort(start)])
    for _ in range(n_rounds):
        cells = nearest_cells(vectors, centres)
        order = np.argsort(cells, kind="stable")
        used, starts = np.unique(cells[order], return_index=True)
        sums = np.zeros_like(centres)
        sums[used] = np.add.reduceat(vectors[order], starts, axis=0)
        empty = np.setdiff1d(np.arange(n_cells), used)
        if len(empty):
            fit = np.einsum("nd,nd->n", vectors, centres[cells])
            sums[empty] = vectors[np.argsort(fit, kind="stable")[: len(empty)]]
        centres = _unit(sums)
    return centres


def _unit(vectors: Embeddings) -> Embeddings:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)
