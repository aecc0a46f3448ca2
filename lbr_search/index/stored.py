"""The chunks of a store, read back as they were given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lbr_search.index.store import ChunkStore
from lbr_search.types import Chunk

_FIELDS = ("doc_id", "chunk_no", "text", "start", "end", "title", "domain", "doc_hash")


def stored_chunks(store: ChunkStore) -> Iterator[Chunk]:
    """All chunks in the order of their rows, a batch in memory at a time."""
    columns = {column.column: column.key for column in store.columns.by_key.values()}
    for batch in store.scan([*_FIELDS, *columns]):
        for row in batch.to_pylist():
            yield _chunk(row, columns)


def _chunk(row: dict[str, Any], columns: dict[str, str]) -> Chunk:
    metadata = {key: row[name] for name, key in columns.items() if row[name] is not None}
    return Chunk(**{name: row[name] for name in _FIELDS}, metadata=metadata)
