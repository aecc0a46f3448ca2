"""FAISS: flat, inverted file with 8-bit codes (IVF-SQ8), and HNSW.

Scores are always inner products of the stored float32 vectors: flat and HNSW hold them, IVF
gathers candidates by their codes and re-scores them from a memory-mapped file beside the index.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import faiss as faiss_module
import numpy as np
from numpy.typing import NDArray

from lbr_search.errors import ConfigError, IndexFormatError
from lbr_search.index.device import GPU_MAX_HITS, to_gpu
from lbr_search.index.exact import open_vectors, scan
from lbr_search.index.faiss_build import ADD_ROWS, build_ivf, empty_index
from lbr_search.index.recall import (
    neighbours,
    raise_effort,
    recall,
    sample_rows,
    true_neighbours,
)
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
    load_settings,
    no_hits,
    read_blocks,
    release_pages,
    save_settings,
    write_vectors,
)
from lbr_search.types import Embeddings

faiss: Any = faiss_module  # its shipped stubs lack half of what the package holds

KINDS = ("flat", "ivf", "hnsw")
INDEX_FILE = "index.faiss"
TARGET_RECALL = 0.97
"""Recall@10 that the search effort is raised to at build, measured on 200 stored vectors."""
EFFORTS = {"ivf": (4, 8, 16, 32, 64, 128, 256), "hnsw": (32, 64, 128, 256, 512)}
"""Cells read (ivf) or list length (hnsw), tried in this order."""
REFINE = 3
"""Candidates re-scored for each hit wanted, where codes are lossy."""
SLACK = 8
"""Candidates beyond k, so that ties at the end are seen."""
SCAN_LIMIT = 20_000
"""Allowed rows up to which a filtered search reads just those rows, exactly."""
SCAN_BATCH = 4
"""Queries at a time from which a flat search is one matrix product."""


class FaissIndex:
    """Nearest rows through FAISS. Immutable once built; reads are thread-safe."""

    def __init__(self, kind: str = "flat") -> None:
        if kind not in KINDS:
            raise ConfigError(
                f"unknown FAISS index kind {kind!r}; known: {', '.join(KINDS)}.",
                f"use one of {', '.join(KINDS)}",
            )
        self.kind = kind
        self._dim = 0
        self._effort = 0
        self._rows = RowIds.of(np.empty(0, dtype=np.int64))
        self._vectors: Embeddings = np.empty((0, 0), dtype=np.float32)
        self._index: Any = None
        self._gpu_index: Any = None
        self._folder = Path()

    def build(
        self, batches: Iterable[tuple[NDArray[np.int64], Embeddings]], *, dim: int, folder: Path
    ) -> Settings:
        """Write the index into `folder` from streamed batches; return the settings used.

        ivf and hnsw raise their search effort until recall@10 on up to 200 of the rows is
        `TARGET_RECALL`; the settings hold both numbers.

        Raises:
            ShapeError: a batch does not hold one (dim,) float32 vector for each row id.
            EncoderError: a value is not finite.
            IndexFormatError: a row id stands twice.
        """
        folder.mkdir(parents=True, exist_ok=True)
        ids: list[int] = []
        blocks = checked_batches(batches, dim=dim, row_ids=ids)
        settings: Settings = {"kind": self.kind, "dim": dim}
        if self.kind == "ivf":
            write_vectors(folder / VECTORS_FILE, blocks, dim=dim)
            index = build_ivf(folder / VECTORS_FILE, dim=dim, n_rows=len(ids))
            settings["n_cells"] = index.nlist
        else:
            index = empty_index(self.kind, dim)
            for block in blocks:
                index.add(block)
        rows = RowIds.of(np.asarray(ids, dtype=np.int64))
        rows.save(folder)
        faiss.write_index(index, str(folder / INDEX_FILE))
        settings["n_rows"] = len(rows)
        del index
        self._load(folder, dim=dim)
        if self.kind != "flat":
            settings |= self._tune()
        save_settings(folder, settings)
        return settings

    def open(self, folder: Path, *, dim: int) -> None:
        """Open what `build` wrote.

        Raises:
            IndexFormatError: files are missing, damaged or of another size or kind.
        """
        settings = load_settings(folder, dim=dim, kind=self.kind)
        self._effort = int(settings.get("effort", 0))
        self._load(folder, dim=dim)

    def search(
        self, queries: Embeddings, *, k: int, allowed: NDArray[np.int64] | None = None
    ) -> Ranking:
        """Best rows of each query; see `protocols.IndexBackend.search`.

        Up to `SCAN_LIMIT` allowed rows, and wherever an approximate search comes back short, the
        answer is exact.

        Raises:
            ShapeError: `queries` are not (B, D) float32.
        """
        queries = check_queries(queries, dim=self._dim)
        positions = None if allowed is None else self._rows.positions(allowed)
        n_rows = len(self._rows) if positions is None else len(positions)
        if min(n_rows, k) < 1 or not len(queries):
            return no_hits(len(queries), k)
        if positions is not None and n_rows == len(self._rows):
            positions = None
        if self._is_scan_faster(len(queries), positions):
            return self._scan(queries, k=k, positions=positions)
        selector = None if positions is None else _selector(positions, len(self._rows))
        wanted = k * (REFINE if self.kind == "ivf" else 1) + SLACK
        return self._search_wider(
            queries, k=k, width=min(wanted, n_rows), positions=positions, selector=selector
        )

    def release(self) -> None:
        """As `IndexBackend.release`; what FAISS itself maps (codes, graph) stays."""
        release_pages(self._vectors)

    def _is_scan_faster(self, n_queries: int, positions: NDArray[np.int64] | None) -> bool:
        """Few allowed rows; or a batch over flat vectors, where one matrix product is best.

        Measured at 100,000 x 384, k = 100, 200 queries, 2 cores: product 0.3 s, FAISS 3.3 s.
        """
        if positions is not None and len(positions) <= SCAN_LIMIT:
            return True
        return self.kind == "flat" and self._gpu_index is None and n_queries >= SCAN_BATCH

    def _search_wider(
        self,
        queries: Embeddings,
        *,
        k: int,
        width: int,
        positions: NDArray[np.int64] | None,
        selector: Any,  # noqa: ANN401 - a FAISS object
    ) -> Ranking:
        """Search `width` candidates; ask again for those queries that need more of them."""
        n_rows = len(self._rows) if positions is None else len(positions)
        rows, scores = no_hits(len(queries), k)
        candidates = self._candidates(queries, width, selector, n_rows)
        short, tied = [], []
        for number, found in enumerate(candidates):
            places = found[found >= 0]
            if len(places) < min(k, n_rows):
                short.append(number)
                continue
            exact = exact_scores(queries[number], self._vectors[places])
            ids = self._rows.ids[places]
            best = best_first(exact, ids, k=k)
            rows[number, : len(best)], scores[number, : len(best)] = ids[best], exact[best]
            if width < n_rows and exact.min() >= exact[best[-1]] - ROUNDING:
                tied.append(number)
        if short:
            rows[short], scores[short] = self._scan(queries[short], k=k, positions=positions)
        if tied:  # every candidate beyond k ties with hit k: there may be more of them
            rows[tied], scores[tied] = self._search_wider(
                queries[tied],
                k=k,
                width=min(4 * width, n_rows),
                positions=positions,
                selector=selector,
            )
        return rows, scores

    def _candidates(
        self,
        queries: Embeddings,
        width: int,
        selector: Any,  # noqa: ANN401 - a FAISS object
        n_allowed: int,
    ) -> NDArray[np.int64]:
        """Positions (B, width) by the index's own scores, -1 where it found fewer."""
        index, parameters = self._index, None
        if selector is None and self._gpu_index is not None and width <= GPU_MAX_HITS:
            index = self._gpu_index
        elif self.kind == "ivf":
            # Fewer rows a cell may be returned: read as many more cells, so recall holds.
            share = n_allowed / len(self._rows)
            n_cells = min(index.nlist, int(np.ceil(self._effort / share)))
            parameters = faiss.SearchParametersIVF(sel=selector, nprobe=n_cells)
        elif self.kind == "hnsw":
            effort = max(int(self._effort * len(self._rows) / n_allowed), width)
            parameters = faiss.SearchParametersHNSW(sel=selector, efSearch=effort)
        elif selector is not None:
            parameters = faiss.SearchParameters(sel=selector)
        with _threads_for(len(queries)):
            _, positions = index.search(queries, width, params=parameters)
        found: NDArray[np.int64] = positions
        return found

    def _scan(self, queries: Embeddings, *, k: int, positions: NDArray[np.int64] | None) -> Ranking:
        return scan(queries, self._vectors, self._rows.ids, k=k, positions=positions)

    def _load(self, folder: Path, *, dim: int) -> None:
        """Map the files; check that sizes agree."""
        rows = RowIds.load(folder)
        try:
            # Flat and HNSW vectors are mapped, not read: opening costs milliseconds.
            self._index = faiss.read_index(str(folder / INDEX_FILE), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise IndexFormatError(f"{folder / INDEX_FILE} cannot be read.", REBUILD) from error
        if self._index.ntotal != len(rows) or self._index.d != dim:
            raise IndexFormatError(
                f"{folder / INDEX_FILE} does not fit its row ids.\n"
                f"  row ids  {len(rows)} rows, {dim} dimensions\n"
                f"  index    {self._index.ntotal} rows, {self._index.d} dimensions",
                REBUILD,
            )
        self._rows, self._dim, self._folder = rows, dim, folder
        if self.kind == "ivf":
            self._vectors = open_vectors(folder, dim=dim, n_rows=len(rows))
        else:
            self._vectors = _held_vectors(self._index)
        self._gpu_index = to_gpu(self._index) if self.kind != "hnsw" else None
        self._set_gpu_effort()

    def _set_gpu_effort(self) -> None:
        if self._gpu_index is not None and self.kind == "ivf":
            self._gpu_index.nprobe = max(1, self._effort)

    def _tune(self) -> Settings:
        """Raise the search effort until sampled rows find their true neighbours."""
        if not len(self._rows):
            return {"effort": EFFORTS[self.kind][0], "recall_at_10": 1.0}
        positions = self._rows.positions(sample_rows(self._rows.ids))
        rows, queries = self._rows.ids[positions], np.array(self._vectors[positions])
        self.release()
        truth = true_neighbours(self._batches(), queries, k=10, own_rows=rows)

        def measure(effort: int) -> float:
            self._effort = effort
            self._set_gpu_effort()
            return recall(neighbours(self, queries, k=10, own_rows=rows), truth)

        _, reached = raise_effort(EFFORTS[self.kind], measure, target=TARGET_RECALL)
        return {"effort": self._effort, "recall_at_10": round(reached, 4)}

    def _batches(self) -> Iterator[tuple[NDArray[np.int64], Embeddings]]:
        """Row ids and vectors, block by block; mapped files are read, not mapped in."""
        source = self._folder / VECTORS_FILE
        if self.kind == "ivf":
            blocks = read_blocks(source, n_block=ADD_ROWS)
        else:
            starts = range(0, len(self._rows), ADD_ROWS)
            blocks = (self._vectors[start : start + ADD_ROWS] for start in starts)
        first = 0
        for block in blocks:
            yield self._rows.ids[first : first + len(block)], block
            first += len(block)


def _held_vectors(index: Any) -> Embeddings:  # noqa: ANN401 - a FAISS object
    """The float32 vectors inside a flat or HNSW index, not copied; valid while it lives."""
    flat: Any = faiss.downcast_index(index.storage) if hasattr(index, "storage") else index
    if not flat.ntotal:
        return np.empty((0, index.d), dtype=np.float32)
    held: Embeddings = faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d)
    return held.reshape(flat.ntotal, flat.d)


def _selector(positions: NDArray[np.int64], n_rows: int) -> Any:  # noqa: ANN401 - FAISS
    """One bit a row: constant time a look-up, whatever the filter keeps."""
    bits = np.zeros(n_rows, dtype=np.uint8)
    bits[positions] = 1
    return faiss.IDSelectorBitmap(np.packbits(bits, bitorder="little"))


def _threads_for(n_queries: int) -> AbstractContextManager[None]:
    """One thread for one query: FAISS splits work by query, and waking the others costs more.

    Measured at 100,000 x 384 on 2 cores: 14 ms with one thread, 40 ms with two.
    """
    return nullcontext() if n_queries > 1 else one_thread()


@contextmanager
def one_thread() -> Iterator[None]:
    """FAISS works with one thread inside; the setting holds for the calling thread alone."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
