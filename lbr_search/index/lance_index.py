"""LanceDB as a vector index: a table of (row id, vector) of its own, searched by inner product.

LanceDB speaks of distances: "dot" is 1 - inner product, and its ivf and hnsw indexes are made for
"l2", which puts vectors of length 1 in the same order (with "dot" its k-means makes poor cells: on
50,000 x 384 clustered vectors all 256 cells had to be read for recall@10 of .97, with "l2" 128).
Either way it only proposes candidates here; their scores are computed again from the vectors that
come with them, so no distance leaves this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import HnswSq, IvfSq
from numpy.typing import NDArray

from lbr_search.errors import ConfigError, IndexFormatError
from lbr_search.index.clustering import n_cells_for
from lbr_search.index.exact import scan
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
    Ranking,
    RowIds,
    Settings,
    best_first,
    check_queries,
    checked_batches,
    exact_scores,
    load_settings,
    no_hits,
    save_settings,
)
from lbr_search.types import Embeddings

KINDS = ("flat", "ivf", "hnsw")
TABLE = "vectors"
COLUMNS = ["row_id", "vector"]
TARGET_RECALL = 0.97
EFFORTS = {"ivf": (8, 16, 32, 64, 128, 256), "hnsw": (64, 128, 256, 512)}
"""Cells read (ivf) or list length (hnsw), tried in this order at build."""
REFINE = 4
"""Candidates that LanceDB itself re-scores for each one wanted."""
SLACK = 8
INDEX_FROM = 2_000
"""Rows up to which no index is made: a full read is as fast and exact."""
SCAN_LIMIT = 20_000
"""Allowed rows up to which a filtered search reads just those rows, exactly."""
TRAIN_ROUNDS = 10


class LanceIndex:
    """Nearest rows through LanceDB. Immutable once built; reads are thread-safe."""

    def __init__(self, kind: str = "flat") -> None:
        if kind not in KINDS:
            raise ConfigError(
                f"unknown LanceDB index kind {kind!r}; known: {', '.join(KINDS)}.",
                f"use one of {', '.join(KINDS)}",
            )
        self.kind = kind
        self._dim = 0
        self._effort = 0
        self._rows = RowIds.of(np.empty(0, dtype=np.int64))
        self._table: Any = None

    def build(
        self, batches: Iterable[tuple[NDArray[np.int64], Embeddings]], *, dim: int, folder: Path
    ) -> Settings:
        """Write the table and its index into `folder` from streamed batches; return the settings.

        Raises:
            ShapeError: a batch does not hold one (dim,) float32 vector for each row id.
            EncoderError: a value is not finite.
            IndexFormatError: a row id stands twice.
        """
        folder.mkdir(parents=True, exist_ok=True)
        ids: list[int] = []
        table = _write_table(folder, _record_batches(batches, dim=dim, row_ids=ids), dim=dim)
        rows = RowIds.of(np.asarray(ids, dtype=np.int64))
        rows.save(folder)
        settings: Settings = {"kind": self.kind, "dim": dim, "n_rows": len(rows)}
        self._rows, self._dim, self._table = rows, dim, table
        if self.kind != "flat" and len(rows) > INDEX_FROM:
            settings |= self._make_index(table, len(rows))
        save_settings(folder, settings)
        return settings

    def open(self, folder: Path, *, dim: int) -> None:
        """Open what `build` wrote.

        Raises:
            IndexFormatError: files are missing, damaged or of another size or kind.
        """
        settings = load_settings(folder, dim=dim, kind=self.kind)
        rows = RowIds.load(folder)
        try:
            table = lancedb.connect(folder).open_table(TABLE)
            n_rows = table.count_rows()
        except (ValueError, OSError, RuntimeError) as error:
            raise IndexFormatError(
                f"the LanceDB table in {folder} cannot be read: {error}.", REBUILD
            ) from error
        if n_rows != len(rows):
            raise IndexFormatError(
                f"{folder} is damaged.\n  row ids  {len(rows)}\n  table    {n_rows} rows", REBUILD
            )
        self._effort = int(settings.get("effort", 0))
        self._rows, self._dim, self._table = rows, dim, table

    def search(
        self, queries: Embeddings, *, k: int, allowed: NDArray[np.int64] | None = None
    ) -> Ranking:
        """Best rows of each query; see `protocols.IndexBackend.search`.

        Raises:
            ShapeError: `queries` are not (B, D) float32.
        """
        queries = check_queries(queries, dim=self._dim)
        positions = None if allowed is None else self._rows.positions(allowed)
        n_rows = len(self._rows) if positions is None else len(positions)
        if min(n_rows, k) < 1 or not len(queries):
            return no_hits(len(queries), k)
        if positions is not None and n_rows <= SCAN_LIMIT:
            return self._scan(queries, positions, k=k)
        permitted = None if positions is None else np.sort(self._rows.ids[positions])
        rows, scores = no_hits(len(queries), k)
        for number, query in enumerate(queries):
            ids, exact = self._search_one(query, k=k, n_rows=n_rows, permitted=permitted)
            rows[number, : len(ids)], scores[number, : len(ids)] = ids, exact
        return rows, scores

    def release(self) -> None:
        """As `IndexBackend.release`: LanceDB maps nothing."""

    def _search_one(
        self, query: Embeddings, *, k: int, n_rows: int, permitted: NDArray[np.int64] | None
    ) -> Ranking:
        """Widen the candidate list until it holds enough permitted rows and ends below hit k."""
        n_held = len(self._rows)
        width = min(n_held, int((k + SLACK) * n_held / n_rows) + 1)
        while True:
            ids, vectors = self._candidates(query, width, share=n_rows / n_held)
            is_complete = width == n_held
            if permitted is not None:
                places = np.minimum(np.searchsorted(permitted, ids), len(permitted) - 1)
                ids, vectors = (x[permitted[places] == ids] for x in (ids, vectors))
            scores = exact_scores(query, vectors)
            best = best_first(scores, ids, k=k)
            has_enough = len(best) == min(k, n_rows)
            if is_complete or (has_enough and scores.min() < scores[best[-1]] - ROUNDING):
                return ids[best], scores[best]
            width = min(4 * width, n_held)

    def _candidates(
        self, query: Embeddings, width: int, *, share: float
    ) -> tuple[NDArray[np.int64], Embeddings]:
        """Row ids (M,) and vectors (M, D) nearest by LanceDB's own distance, M <= width."""
        search = self._table.search(query, vector_column_name="vector")
        search = search.distance_type("l2" if self._effort else "dot")
        if width == len(self._rows):
            search = search.bypass_vector_index().distance_type("dot")
        elif self.kind == "ivf" and self._effort:
            n_cells = min(n_cells_for(len(self._rows)), int(np.ceil(self._effort / share)))
            search = search.nprobes(n_cells).refine_factor(REFINE)
        elif self.kind == "hnsw" and self._effort:
            effort = max(int(self._effort / share), width * REFINE)
            search = search.nprobes(1).ef(effort).refine_factor(REFINE)
        found = search.limit(width).select([*COLUMNS, "_distance"]).to_arrow()
        return _row_ids_of(found), _vectors_of(found, self._dim)

    def _scan(self, queries: Embeddings, positions: NDArray[np.int64], *, k: int) -> Ranking:
        """Read just these rows and search them exactly."""
        rows, vectors = self._rows_at(positions)
        return scan(queries, vectors, rows, k=k)

    def _make_index(self, table: Any, n_rows: int) -> Settings:  # noqa: ANN401 - LanceDB
        """Index the table; raise the effort until sampled rows find their true neighbours."""
        n_cells = n_cells_for(n_rows) if self.kind == "ivf" else 1
        config: IvfSq | HnswSq
        if self.kind == "ivf":
            config = IvfSq(
                distance_type="l2",
                num_partitions=n_cells,
                max_iterations=TRAIN_ROUNDS,
                sample_rate=64,
            )
        else:
            config = HnswSq(distance_type="l2", num_partitions=1, m=24, ef_construction=150)
        table.create_index("vector", config=config, replace=True)
        rows, queries = self._rows_at(self._rows.positions(sample_rows(self._rows.ids)))
        truth = true_neighbours(self._batches(), queries, k=10, own_rows=rows)

        def measure(effort: int) -> float:
            self._effort = effort
            return recall(neighbours(self, queries, k=10, own_rows=rows), truth)

        _, reached = raise_effort(EFFORTS[self.kind], measure, target=TARGET_RECALL)
        return {"n_cells": n_cells, "effort": self._effort, "recall_at_10": round(reached, 4)}

    def _rows_at(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], Embeddings]:
        """Row ids (M,) and vectors (M, D) of places in the table."""
        found = self._table.take_offsets(positions.tolist()).select(COLUMNS).to_arrow()
        return _row_ids_of(found), _vectors_of(found, self._dim)

    def _batches(self) -> Iterator[tuple[NDArray[np.int64], Embeddings]]:
        for batch in self._table.search().select(COLUMNS).to_batches(8_192):
            found = pa.Table.from_batches([batch])
            yield _row_ids_of(found), _vectors_of(found, self._dim)


def _schema(dim: int) -> pa.Schema:
    return pa.schema(
        [
            pa.field("row_id", pa.int64(), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), dim), nullable=False),
        ]
    )


def _write_table(folder: Path, batches: Iterator[pa.RecordBatch], *, dim: int) -> Any:  # noqa: ANN401 - LanceDB
    """Stream `batches` into the table; an error of theirs comes out as it went in.

    LanceDB pulls the stream from its own thread and wraps whatever it raises.
    """
    failures: list[BaseException] = []

    def watched() -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except BaseException as error:
            failures.append(error)
            raise

    mode = "overwrite" if (folder / f"{TABLE}.lance").exists() else "create"
    stream = pa.RecordBatchReader.from_batches(_schema(dim), watched())
    try:
        return lancedb.connect(folder).create_table(TABLE, data=stream, mode=mode)
    except (RuntimeError, OSError, ValueError):
        if failures:
            raise failures[0] from None
        raise


def _record_batches(
    batches: Iterable[tuple[NDArray[np.int64], Embeddings]], *, dim: int, row_ids: list[int]
) -> Iterator[pa.RecordBatch]:
    for vectors in checked_batches(batches, dim=dim, row_ids=row_ids):
        ids = np.asarray(row_ids[len(row_ids) - len(vectors) :], dtype=np.int64)
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dim)
        yield pa.record_batch([pa.array(ids), column], schema=_schema(dim))


def _row_ids_of(found: pa.Table) -> NDArray[np.int64]:
    ids: NDArray[np.int64] = found["row_id"].to_numpy()
    return ids


def _vectors_of(found: pa.Table, dim: int) -> Embeddings:
    """The vector column as (M, D) float32."""
    if not found.num_rows:
        return np.empty((0, dim), dtype=np.float32)
    column = found["vector"].combine_chunks()
    flat = column.flatten() if isinstance(column, pa.Array) else column.chunk(0).flatten()
    vectors: Embeddings = flat.to_numpy().reshape(-1, dim)
    return vectors
