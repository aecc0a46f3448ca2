"""The chunks of a store, read back as they were given, and the documents that they are of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
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
    """The documents of a store, put together from their chunks, by id.

    Args:
        store: read once; the texts of what is wanted are held in memory.
        only: ids; None = all.
    """
    found: dict[str, list[tuple[int, str]]] = {}
    heads: dict[str, tuple[str, str]] = {}
    for batch in store.scan(["doc_id", "title", "text", "domain", "start"]):
        for row in batch.to_pylist():
            if only is None or row["doc_id"] in only:
                found.setdefault(row["doc_id"], []).append((row["start"], row["text"]))
                heads[row["doc_id"]] = (row["title"], row["domain"])
    for doc_id in sorted(found):
        title, domain = heads[doc_id]
        yield Document(doc_id, join_chunks(found[doc_id]), title, domain)


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
