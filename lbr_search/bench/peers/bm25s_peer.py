"""Plain bm25s at its defaults: own tokenizer, English stop words and stems, k1 1.5, b 0.75."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from lbr_search.protocols import PeerInputs, PeerRanking


class Bm25sPeer:
    """BM25 as Lucene computes it (the library's default method)."""

    needs_vectors = False
    beside = "lexical"

    def __init__(self) -> None:
        import bm25s
        import Stemmer

        logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets itself to DEBUG
        self._library = bm25s
        self._stemmer = Stemmer.Stemmer("english")
        self._index = bm25s.BM25()
        self._n_documents = 0

    def build(self, passages: PeerInputs, *, folder: Path) -> None:
        """Tokenise, index, save."""
        self._n_documents = len(passages)
        self._index.index(self._tokens(passages), show_progress=False)
        self._index.save(str(folder))

    def search(self, queries: PeerInputs, *, k: int) -> list[PeerRanking]:
        """The documents that share a term with each query, best first."""
        places, scores = self._index.retrieve(
            self._tokens(queries), k=min(k, self._n_documents), show_progress=False
        )
        return [
            [(int(place), float(score)) for place, score in zip(*row, strict=True) if score > 0]
            for row in zip(places, scores, strict=True)
        ]

    def _tokens(self, texts: PeerInputs) -> Any:  # noqa: ANN401 - bm25s' own
        return self._library.tokenize(
            list(texts), stopwords="en", stemmer=self._stemmer, show_progress=False
        )
