"""`likelihood`: how probable the query is to the decoder that reads a document's stored vectors.

The generative half of LBR at work: `log p(query | Z(d))` from the k x D numbers of the index,
without reading the document again. Query likelihood as a ranking: Ponte and Croft, SIGIR 1998.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lbr_search.protocols import CompressingEncoder, Passage
from lbr_search.types import Compressed


class Likelihood:
    """One call of the decoder for all candidates of a query.

    Args:
        encoder: the one of the index.
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
        """Mean log probability of the query's tokens, in nats; the mean is the length norm."""
        stored = [passage.compressed for passage in passages]
        assert all(one is not None for one in stored), "the searcher gives them to who needs them"
        scores = self._encoder.query_log_likelihood(query, np.stack(stored))  # type: ignore[arg-type]
        return [float(score) for score in scores]
