"""The chunks of a store, read back as they were given, and the documents that they are of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from itertools import groupby
from typing import Any

from lbr_search.index.store import ChunkStore
from lbr_search.types import Chunk, Document

_FIELDS = ("doc_id", "chunk_no", "text", "start", "end", "title", "domain", "doc_hash")


def stored_chunks(store: ChunkStore) -> Iterator[Chunk]:
    """All chunks in the order of their rows, a batch in memory at a time."""
    columns = {column.column: column.key for column in store.columns.by_key.values()}
    for batch in store.scan([*_FIELDS, *columns]):
        for row in batch.to_pylist():
            yield _chunk(row, columns)


def stored_documents(store: ChunkStore, *, only: Set[str] | None = None) -> Iterator[Document]:
    """The documents of a store, put together from their chunks, in the order of their rows.

    The chunks of a document stand together, for they are added so; one document is in memory.

    Args:
        store: read once.
        only: ids; None = all.
    """
    for doc_id, chunks in groupby(stored_chunks(store), key=lambda chunk: chunk.doc_id):
        if only is None or doc_id in only:
            parts = list(chunks)
            text = join_chunks([(chunk.start, chunk.text) for chunk in parts])
            yield Document(doc_id, text, parts[0].title, parts[0].domain)


def join_chunks(chunks: Sequence[tuple[int, str]]) -> str:
    """Spans of a text, which may overlap, as the text; gaps were white space.

    >>> join_chunks([(0, "one two"), (4, "two three"), (14, "four")])
    'one two three four'
    """
    text = ""
    for start, part in sorted(chunks):
        text += " " * max(0, start - len(text))
        text += part[len(text) - start :]
    return text


def _chunk(row: dict[str, Any], columns: dict[str, str]) -> Chunk:
    metadata = {key: row[name] for name, key in columns.items() if row[name] is not None}
    return Chunk(**{name: row[name] for name in _FIELDS}, metadata=metadata)
