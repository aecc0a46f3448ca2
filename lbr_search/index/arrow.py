"""Chunks as Arrow columns: the schema of the store's table, and rows ready to be added."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from lbr_search.index import multi_vectors
from lbr_search.index.columns import RESERVED, MetadataColumns, as_kind
from lbr_search.types import Chunk, Embeddings

ARROW_TYPES = {
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "string": pa.string(),
}


def vectors_of(column: pa.FixedSizeListArray) -> Embeddings:
    """(N, D) float32, C-contiguous, from a column of a scan."""
    dim = column.type.list_size
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(flat.reshape(len(column), dim), dtype=np.float32)


def store_schema(dim: int, *, n_vectors: int) -> pa.Schema:
    """Columns of a new store: one vector of size `dim` a chunk, and `n_vectors` more beside it."""
    text = pa.string()
    fields = {
        "row_id": pa.int64(),
        "doc_id": text,
        "chunk_no": pa.int32(),
        "title": text,
        "text": text,
        "domain": text,
        "start": pa.int64(),
        "end": pa.int64(),
        "doc_hash": text,
        "vector": pa.list_(pa.float32(), dim),
    }
    if n_vectors:
        fields |= multi_vectors.fields(n_vectors, dim)
    assert set(fields) <= set(RESERVED), "a store column is missing in RESERVED"
    return pa.schema(fields)


def chunk_arrays(
    chunks: Sequence[Chunk], columns: MetadataColumns, *, first_row: int
) -> dict[str, pa.Array]:
    """Everything of N chunks but vectors: column name -> N values; row ids from `first_row` on."""
    ids = np.arange(first_row, first_row + len(chunks), dtype=np.int64)
    arrays = {
        "row_id": pa.array(ids),
        "doc_id": pa.array([chunk.doc_id for chunk in chunks], pa.string()),
        "chunk_no": pa.array([chunk.chunk_no for chunk in chunks], pa.int32()),
        "title": pa.array([chunk.title for chunk in chunks], pa.string()),
        "text": pa.array([chunk.text for chunk in chunks], pa.string()),
        "domain": pa.array([chunk.domain for chunk in chunks], pa.string()),
        "start": pa.array([chunk.start for chunk in chunks], pa.int64()),
        "end": pa.array([chunk.end for chunk in chunks], pa.int64()),
        "doc_hash": pa.array([chunk.doc_hash for chunk in chunks], pa.string()),
    }
    for column in columns.by_key.values():
        values = [as_kind(chunk.metadata.get(column.key), column.kind) for chunk in chunks]
        arrays[column.column] = pa.array(values, type=ARROW_TYPES[column.kind])
    return arrays


def fixed_size(vectors: Embeddings) -> pa.FixedSizeListArray:
    """(N, D) as a column of N lists of D."""
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
