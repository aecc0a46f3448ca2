"""An index opened for reading: dense and lexical search, filters, and the chunks behind rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from lbr_search.errors import ShapeError
from lbr_search.index.columns import MetadataColumns
from lbr_search.index.lexical import LexicalIndex
from lbr_search.index.manifest import (
    LEXICAL,
    MULTI,
    PAYLOAD,
    VECTORS,
    IndexManifest,
    check_golden,
    check_seal,
    load_manifest,
    store_folder,
)
from lbr_search.index.multi_vectors import MultiVectors, open_multi_vectors
from lbr_search.index.payload import Payload, StoredChunk
from lbr_search.index.store import ChunkStore
from lbr_search.protocols import Encoder, IndexBackend
from lbr_search.registry import BACKENDS
from lbr_search.types import Compressed, Embeddings, Expansion

__all__ = ["OpenedIndex", "StoredChunk", "open_index"]

Ranking = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Row ids (B, k) and scores (B, k), best first; missing places hold -1 and -inf."""


def open_index(folder: Path, *, encoder: Encoder | None) -> OpenedIndex:
    """Open the published state of an index.

    Args:
        folder: the index.
        encoder: what will encode queries: it must be the one the index is sealed to, and its
            golden vectors are compared. None: lexical search and inspection only.

    Raises:
        IndexFormatError: no index, half written, or damaged files.
        SealError: another encoder, or one whose vectors have moved.
    """
    manifest = load_manifest(folder)
    if encoder is not None:
        check_seal(folder, manifest.seal, encoder)
        check_golden(folder, manifest.seal, encoder)
    return OpenedIndex(folder, manifest)


class OpenedIndex:
    """One published state. Vectors, terms and table are opened on first use."""

    def __init__(self, folder: Path, manifest: IndexManifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._generation = folder / manifest.generation_folder
        columns = MetadataColumns.from_list(manifest.columns)
        self._payload = Payload(self._generation / PAYLOAD, columns)

    @property
    def n_chunks(self) -> int:
        """How many chunks."""
        return self.manifest.n_chunks

    @property
    def n_documents(self) -> int:
        """How many documents."""
        return self.manifest.n_documents

    @property
    def domain(self) -> str:
        """The field that the index was built for, "" where none was given."""
        return self.manifest.seal.domain

    def size_bytes(self) -> int:
        """Bytes of the files that this state needs, the store included."""
        return sum(entry.size_bytes for entry in self.manifest.files)

    def dense(
        self, queries: Embeddings, *, k: int, allowed: NDArray[np.int64] | None = None
    ) -> Ranking:
        """Nearest chunks of each query by inner product.

        Args:
            queries: (B, D).
            k: how many.
            allowed: sorted row ids that may be returned, as `filter` gives them; None = all.

        Raises:
            ShapeError: D is not that of the index.
        """
        dim = self.manifest.seal.dim
        if queries.ndim != 2 or queries.shape[1] != dim:
            raise ShapeError(
                f"queries of shape {queries.shape} cannot search an index of {dim} dimensions.",
                f"encode them with {self.manifest.seal.encoder_spec}",
            )
        return self._vectors.search(queries, k=k, allowed=allowed)

    def lexical(
        self,
        texts: Sequence[str],
        *,
        k: int,
        allowed: NDArray[np.int64] | None = None,
        expansions: Sequence[Sequence[Expansion]] | None = None,
    ) -> Ranking:
        """Best chunks of each text by BM25; only chunks that share a term are returned.

        Args:
            texts: B queries.
            k: how many.
            allowed: as in `dense`.
            expansions: words to add to each query, besides what `expansions` gives.
        """
        return self._terms.search(texts, k=k, allowed=allowed, expansions=expansions)

    def expansions(self, query: str) -> list[Expansion]:
        """Words that `lexical` adds to a query by itself: abbreviations the corpus defines."""
        return self._terms.expansions(query)

    def notes(self, query: str) -> list[str]:
        """What the lexical leg could not read in a query as it was written."""
        return self._terms.notes(query)

    def matched_terms(self, query: str, text: str) -> list[tuple[int, int]]:
        """Half-open character spans of the words of `text` that the query asks for."""
        return self._terms.matched_terms(query, text)

    def term_weights(
        self, query: str, rows: NDArray[np.int64], expansions: Sequence[Expansion] = ()
    ) -> list[dict[str, float]]:
        """What each term of the query, and of what was added, adds to the BM25 of row ids (K,)."""
        return self._terms.term_weights(query, rows, expansions)

    def fetch(self, rows: NDArray[np.int64]) -> list[StoredChunk]:
        """The chunks of row ids (K,), in their order; -1 must have been dropped.

        Raises:
            KeyError: a row id is not in the index.
        """
        return self._payload.fetch(rows)

    def doc_ids(self, rows: NDArray[np.int64]) -> list[str]:
        """Document ids of row ids (K,), in their order; -1 must have been dropped.

        Raises:
            KeyError: a row id is not in the index.
        """
        return self._payload.doc_ids(rows)

    def rows_of(self, doc_id: str) -> NDArray[np.int64]:
        """Row ids of a document's chunks, in their order; none where it is not in the index."""
        return self._payload.rows_of(doc_id)

    @property
    def mean_chars(self) -> float:
        """Characters of title and text of a chunk, on average."""
        return self._payload.mean_chars

    def absent(self, doc_ids: Sequence[str]) -> list[str]:
        """Those of some document ids that the index does not hold, in their order."""
        return self._payload.absent(doc_ids)

    def vectors(self, rows: NDArray[np.int64]) -> Embeddings:
        """(K, D) the stored vectors of row ids (K,), as the encoder made them, in their order.

        Raises:
            KeyError: a row id is not in the index.
        """
        return self._store.vectors(rows)

    def multi_vectors(self, rows: NDArray[np.int64]) -> Compressed | None:
        """The compressed vectors (K, k, D) of row ids (K,); None where the index keeps none.

        Raises:
            KeyError: a row id is not in the index.
        """
        if not self.manifest.n_vectors:
            return None
        return self._multi_vectors.take(self._payload.positions(rows)).floats()

    def filter(self, expression: str) -> NDArray[np.int64]:
        """Sorted row ids for which a SQL condition over the columns holds: ``year > 2015``.

        Raises:
            FilterError: it does not parse, or names an unknown column.
        """
        return self._store.filter(expression)

    def close(self) -> None:
        """Drop maps and handles."""
        self._payload.close()
        for name in ("_vectors", "_multi_vectors", "_terms", "_store"):
            self.__dict__.pop(name, None)

    def __enter__(self) -> OpenedIndex:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @cached_property
    def _vectors(self) -> IndexBackend:
        backend: IndexBackend = BACKENDS.resolve(self.manifest.backend)(kind=self.manifest.ann)
        backend.open(self._generation / VECTORS, dim=self.manifest.seal.dim)
        return backend

    @cached_property
    def _multi_vectors(self) -> MultiVectors:
        shape = (self.n_chunks, self.manifest.n_vectors, self.manifest.seal.dim)
        return open_multi_vectors(self._generation / MULTI, shape=shape)

    @cached_property
    def _terms(self) -> LexicalIndex:
        terms = LexicalIndex()
        terms.open(self._generation / LEXICAL)
        return terms

    @cached_property
    def _store(self) -> ChunkStore:
        return ChunkStore.open_version(
            store_folder(self.folder, self.manifest), self.manifest.store_version
        )
