"""How FAISS indexes are filled from streamed vectors: trained cells and codes, or a graph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss as faiss_module
import numpy as np
from numpy.typing import NDArray

from lbr_search.index.clustering import n_cells_for, nearest_cells, spherical_kmeans
from lbr_search.index.rows import read_blocks
from lbr_search.types import Embeddings

faiss: Any = faiss_module  # its shipped stubs lack half of what the package holds

ADD_ROWS = 65_536
TRAIN_ROWS_PER_CELL = 40
CODE_TRAIN_ROWS = 20_000
HNSW_LINKS = 32
HNSW_BUILD_EFFORT = 80


def build_ivf(vectors_file: Path, *, dim: int, n_rows: int) -> Any:  # noqa: ANN401 - FAISS
    """An inverted file with 8-bit codes of the residuals, over the rows of a .npy file."""
    n_cells = n_cells_for(n_rows)
    sample = _sample_rows(vectors_file, n_rows, n_cells * TRAIN_ROWS_PER_CELL)
    centres = spherical_kmeans(sample, n_cells) if n_rows else np.eye(1, dim, dtype=np.float32)
    quantizer = faiss.IndexFlatIP(dim)
    quantizer.add(centres)
    index = faiss.IndexIVFScalarQuantizer(
        quantizer, dim, n_cells, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    index.own_fields = True  # from here on the index frees its quantizer
    quantizer.this.disown()
    index.train(sample[:CODE_TRAIN_ROWS] if n_rows else centres)
    first = 0
    for block in read_blocks(vectors_file, n_block=ADD_ROWS) if n_rows else ():
        cells = nearest_cells(block, centres)
        ids = np.arange(first, first + len(block), dtype=np.int64)
        index.add_core(
            len(block), faiss.swig_ptr(block), faiss.swig_ptr(ids), faiss.swig_ptr(cells)
        )
        first += len(block)
    return index


def _sample_rows(vectors_file: Path, n_rows: int, n_wanted: int) -> Embeddings:
    """Up to `n_wanted` rows, in a random order."""
    generator = np.random.default_rng(0)
    chosen = np.sort(generator.choice(n_rows, min(n_rows, n_wanted), replace=False))
    parts = list(_rows_at(vectors_file, chosen))  # read in blocks: a map would hold all of it
    sample = np.concatenate(parts) if parts else np.empty((0, 0), np.float32)
    generator.shuffle(sample)
    return sample


def _rows_at(vectors_file: Path, chosen: NDArray[np.int64]) -> Iterator[Embeddings]:
    """The rows at ascending places, in parts."""
    first = 0
    for block in read_blocks(vectors_file, n_block=ADD_ROWS):
        low, high = np.searchsorted(chosen, (first, first + len(block)))
        yield block[chosen[low:high] - first]
        first += len(block)


def empty_index(kind: str, dim: int) -> Any:  # noqa: ANN401 - a FAISS object
    """A flat or hnsw index without rows."""
    if kind == "flat":
        return faiss.IndexFlatIP(dim)
    index = faiss.IndexHNSWFlat(dim, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = HNSW_BUILD_EFFORT
    return index
