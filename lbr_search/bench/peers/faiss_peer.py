"""Raw FAISS over the vectors of our index: shows what the index loses and costs beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lbr_search.protocols import PeerInputs, PeerRanking


class FaissPeer:
    """`IndexFlatIP`: every inner product, all threads of FAISS."""

    needs_vectors = True
    beside = "dense"

    def __init__(self) -> None:
        import faiss

        self._library = faiss
        self._index: Any = None

    def build(self, passages: PeerInputs, *, folder: Path) -> None:
        """Add all vectors, write the index."""
        self._index = self._library.IndexFlatIP(passages.shape[1])  # type: ignore[union-attr]
        self._index.add(passages)
        self._library.write_index(self._index, str(folder / "index.faiss"))

    def search(self, queries: PeerInputs, *, k: int) -> list[PeerRanking]:
        """The nearest vectors, best first."""
        scores, places = self._index.search(queries, min(k, self._index.ntotal))
        return [
            list(zip(near, row, strict=True))
            for near, row in zip(places.tolist(), scores.tolist(), strict=True)
        ]
