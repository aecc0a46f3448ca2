"""Vector indexes as their libraries make them, each with the setting that trades recall for time.

Not our own backends: what is measured here is the choice between kinds of index.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbr_search.types import Embeddings

Search = Callable[[Embeddings, int, int], NDArray[np.int64]]
"""(1, D) query, k, setting -> (k,) row numbers, best first; -1 or fewer where none were found."""
HNSW_LINKS = 32
"""M of Malkov and Yashunin 2016, arXiv:1603.09320."""
REFINE_FACTOR = 10
"""Candidates that are scored again with more exact codes, for each hit asked for."""
_TRAIN_PER_CELL = 39
"""Vectors for each cell below which FAISS warns."""


@dataclass(frozen=True, slots=True)
class BuiltIndex:
    """An index ready to be searched."""

    search: Search
    setting: str
    """What the numbers of `values` are; "" = there is nothing to set."""
    values: Sequence[int]
    size_bytes: int


Builder = Callable[[Embeddings, Path], BuiltIndex]


def n_cells(n_rows: int) -> int:
    """Cells of an inverted file: four times the root of the rows, as far as there are enough.

    >>> n_cells(10_000), n_cells(1_000_000)
    (256, 4000)
    """
    return max(1, min(round(4 * math.sqrt(n_rows)), n_rows // _TRAIN_PER_CELL))


def build_flat(vectors: Embeddings, folder: Path) -> BuiltIndex:
    """Every vector as it is."""
    return _built(_faiss("Flat", vectors), folder, "", (0,), lambda index, value: None)


def build_hnsw(vectors: Embeddings, folder: Path) -> BuiltIndex:
    """A navigable graph over the vectors as they are."""

    def set_depth(index: Any, value: int) -> None:  # noqa: ANN401 - a FAISS index
        index.hnsw.efSearch = value

    index = _faiss(f"HNSW{HNSW_LINKS}", vectors)
    return _built(index, folder, "efSearch", (16, 32, 64, 128, 256, 512), set_depth)


def build_ivf_sq8(vectors: Embeddings, folder: Path) -> BuiltIndex:
    """Cells of 8-bit codes."""
    cells = n_cells(len(vectors))
    return _built(_faiss(f"IVF{cells},SQ8", vectors), folder, "nprobe", _probes(cells), _set_probes)


def build_ivf_rabitq(vectors: Embeddings, folder: Path) -> BuiltIndex:
    """Cells of 1-bit codes, the best candidates scored again with 8-bit codes.

    Source: Gao and Long 2024, "RaBitQ", arXiv:2405.12497.
    """
    cells = n_cells(len(vectors))
    index = _faiss(f"IVF{cells},RaBitQ,Refine(SQ8)", vectors)
    index.k_factor = REFINE_FACTOR
    return _built(index, folder, "nprobe", _probes(cells), _set_probes)


def build_lancedb(vectors: Embeddings, folder: Path) -> BuiltIndex:
    """LanceDB: cells of 8-bit codes on disk, the best candidates scored again with the vectors."""
    import lancedb
    import pyarrow as pa
    from lancedb.index import IvfSq

    cells = n_cells(len(vectors))
    schema = pa.schema({"row": pa.int64(), "vector": pa.list_(pa.float32(), vectors.shape[1])})
    database = lancedb.connect(str(folder / "lancedb"))
    table = database.create_table("vectors", schema=schema)
    for start in range(0, len(vectors), 50_000):
        block = np.ascontiguousarray(vectors[start : start + 50_000])
        flat = pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), vectors.shape[1])
        rows = pa.array(np.arange(start, start + len(block)))
        table.add(pa.table({"row": rows, "vector": flat}, schema=schema))
    table.create_index("vector", config=IvfSq(distance_type="dot", num_partitions=cells))

    def search(query: Embeddings, k: int, value: int) -> NDArray[np.int64]:
        found = table.search(query[0]).distance_type("dot").nprobes(value).refine_factor(2)
        rows = found.select(["row", "_distance"]).limit(k).to_arrow().column("row")
        return np.asarray(rows.to_numpy(), dtype=np.int64)

    size = sum(file.stat().st_size for file in (folder / "lancedb").rglob("*") if file.is_file())
    return BuiltIndex(search, "nprobes", _probes(cells), size)


BUILDERS: Mapping[str, Builder] = {
    "flat": build_flat,
    "hnsw": build_hnsw,
    "ivf-sq8": build_ivf_sq8,
    "ivf-rabitq": build_ivf_rabitq,
    "lancedb": build_lancedb,
}


def _probes(cells: int) -> list[int]:
    """1, 2, 4 ... cells looked into, up to a half of them, 512 at most."""
    most = min(512, max(1, cells // 2))
    return [2**power for power in range(most.bit_length()) if 2**power <= most]


def _faiss(description: str, vectors: Embeddings) -> Any:  # noqa: ANN401 - a FAISS index
    import faiss

    index = faiss.index_factory(vectors.shape[1], description, faiss.METRIC_INNER_PRODUCT)
    sample = vectors
    most = 256 * n_cells(len(vectors))
    if len(vectors) > most:  # k-means gains nothing from more
        rows = np.random.default_rng(0).choice(len(vectors), size=most, replace=False)
        sample = np.ascontiguousarray(vectors[np.sort(rows)])
    if not index.is_trained:
        index.train(sample)
    index.add(vectors)
    return index


def _set_probes(index: Any, value: int) -> None:  # noqa: ANN401 - a FAISS index
    import faiss

    faiss.extract_index_ivf(index).nprobe = value


def _built(
    index: Any,  # noqa: ANN401 - a FAISS index
    folder: Path,
    setting: str,
    values: Sequence[int],
    set_value: Callable[[Any, int], None],
) -> BuiltIndex:
    import faiss

    file = folder / "index.faiss"
    faiss.write_index(index, str(file))
    size = file.stat().st_size
    file.unlink()

    def search(query: Embeddings, k: int, value: int) -> NDArray[np.int64]:
        set_value(index, value)
        _, rows = index.search(query, k)
        found: NDArray[np.int64] = rows[0]
        return found

    return BuiltIndex(search, setting, values, size)
