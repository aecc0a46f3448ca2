"""`maxsim`: late interaction of the query's k vectors with the k vectors that the index stores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lbr_search.protocols import CompressingEncoder, Passage
from lbr_search.types import Compressed


class MaxSim:
    """Needs no text and no model call a candidate.

    Args:
        encoder: the one of the index; compresses the query.
        argument: none is taken.
    """

    needs_vectors = True
    is_listwise = False

    def __init__(self, encoder: CompressingEncoder, argument: str = "") -> None:
        self._encoder = encoder

    def score(
        self,
        query: str,
        passages: Sequence[Passage],
        *,
        query_vectors: Compressed | None = None,
    ) -> list[float]:
        """`max_sim` of each passage, between -1 and 1; encodes the query if nobody has."""
        stored = np.stack([_vectors(passage) for passage in passages])
        if query_vectors is None:
            (query_vectors,) = self._encoder.compress_queries([query])
        return [float(score) for score in max_sim(query_vectors, stored)]


def max_sim(query: Compressed, passages: Compressed) -> NDArray[np.float32]:
    """Mean over the query's vectors of the largest cosine with any of a passage's.

    Source: Khattab and Zaharia, SIGIR 2020, arXiv:2004.12832, eq. 3; deviation: the mean, not the
    sum, and the vectors are compressed ones, not one a token.

    Args:
        query: (k, D), not of length 1.
        passages: (N, k, D), not of length 1.

    Returns:
        (N,) float32.
    """
    cosines = _unit(passages) @ _unit(query).T  # (N, k of the passage, k of the query)
    scores: NDArray[np.float32] = cosines.max(axis=1).mean(axis=1, dtype=np.float32)
    return scores


def _unit(vectors: Compressed) -> Compressed:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), dtype=np.float32)


def _vectors(passage: Passage) -> Compressed:
    assert passage.compressed is not None, "the searcher gives them to who needs them"
    return passage.compressed
