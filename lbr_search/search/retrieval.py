"""Queries -> what each leg of one index finds for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lbr_search.index.opened import OpenedIndex
from lbr_search.search.legs import Depth, Leg, rank_leg
from lbr_search.types import Embeddings, Expansion

Legs = dict[str, Leg]
"""Name of a leg -> what it found for one query."""


@dataclass(frozen=True, slots=True)
class Asked:
    """N queries as the legs of one index read them."""

    texts: Sequence[str]
    vectors: Embeddings
    """(N, D); (N, 0) where there is no dense leg."""
    added: Sequence[Sequence[Expansion]]
    """What is added to the words of each query, besides what the index itself adds."""


def retrieve(
    opened: OpenedIndex,
    asked: Asked,
    *,
    mode: str,
    n_documents: int,
    allowed: NDArray[np.int64] | None = None,
) -> list[Legs]:
    """The legs of each query; one that cannot be searched (no vectors) is not there.

    Args:
        opened: the index.
        asked: the queries.
        mode: hybrid, dense or lexical.
        n_documents: that each leg gives, where it finds so many.
        allowed: sorted row ids that may be found; None = all.
    """
    depth = Depth(n_documents, opened.n_chunks, opened.n_documents)
    n_queries = len(asked.texts)
    legs: dict[str, list[Leg]] = {}
    if asked.vectors.shape[1] and mode != "lexical":
        legs["dense"] = rank_leg(
            lambda which, n: opened.dense(asked.vectors[which], k=n, allowed=allowed),
            opened.doc_ids,
            n_queries=n_queries,
            depth=depth,
        )
    if mode != "dense":
        legs["lexical"] = rank_leg(
            lambda which, n: opened.lexical(
                [asked.texts[q] for q in which],
                k=n,
                allowed=allowed,
                expansions=[asked.added[q] for q in which],
            ),
            opened.doc_ids,
            n_queries=n_queries,
            depth=depth,
        )
    return [{name: leg[query] for name, leg in legs.items()} for query in range(n_queries)]
