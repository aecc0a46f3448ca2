"""Documents found by the legs of one index -> its ranking; rankings of several indexes -> one."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from lbr_search.config import SearchConfig
from lbr_search.search.fusion import FUSIONS, Scores, ranks, rrf
from lbr_search.search.retrieval import Legs
from lbr_search.types import Leg


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document in one index's answer to one query."""

    source: str
    """Name of the searched index that holds it."""
    doc_id: str
    row: int
    """The chunk to show: of the leg that ranks the document higher."""
    score: float
    legs: dict[str, Leg]
    first_rank: int = 0
    """Rank before reranking; 0 = not reranked."""
    domains: Mapping[str, float] = field(default_factory=dict)
    """Domain -> probability that the query belongs to it, where queries are routed."""

    @property
    def key(self) -> str:
        """Unique over all searched indexes; ties are broken by it."""
        return f"{self.doc_id}\0{self.source}"


def fuse(source: str, legs: Legs, config: SearchConfig, *, k: int | None) -> list[Candidate]:
    """One index's legs for one query -> its best `k` candidates (None: all), best first.

    With one leg the raw scores stand; with two they are fused as configured. The chunk shown is
    that of the leg which ranks the document higher, the lexical one at equal rank (its words can
    be marked).
    """
    scores = {name: leg.scores for name, leg in legs.items()}
    if len(scores) == 1:
        fused: Scores = next(iter(scores.values()))
    else:
        fused = FUSIONS[config.fusion]([scores["dense"], scores["lexical"]], config)
    places = {name: ranks(leg) for name, leg in scores.items()}
    candidates = []
    for doc_id in itertools.islice(ranks(fused), k):
        named = {
            name: Leg(places[name][doc_id], scores[name][doc_id])
            for name in legs
            if doc_id in places[name]
        }
        shown = min(named, key=lambda name: (named[name].rank, name != "lexical"))
        row = legs[shown].rows[doc_id]
        candidates.append(Candidate(source, doc_id, row, fused[doc_id], named))
    return candidates


def merge(
    rankings: Sequence[Sequence[Candidate]], *, encoders: Mapping[str, str], rrf_k: int
) -> list[Candidate]:
    """Rankings of different indexes -> one.

    Scores fused within an index say nothing across indexes; inner products of one encoder do. So
    the ranks within each index are fused with the ranks among all candidates of one encoder by
    their dense scores. Ranks within indexes alone would take the indexes in turn, whatever the
    query is about (measured: ARCHITECTURE.md). Without dense scores, those of BM25 take their
    place: term weights differ between corpora, yet on three domains they helped.

    Where dense scores are all there is, from one encoder, they decide alone: the answer is that of
    one index with all documents.

    Args:
        rankings: one a searched index, best first.
        encoders: name of an index -> fingerprint of its encoder.
        rrf_k: as in `fusion.rrf`.
    """
    by_key = {found.key: found for ranking in rankings for found in ranking}
    own = [{found.key: found.score for found in ranking} for ranking in rankings]
    has_dense = any("dense" in found.legs for found in by_key.values())
    shared: dict[str, dict[str, float]] = {}
    for key, found in by_key.items():
        leg = found.legs.get("dense" if has_dense else "lexical")
        if leg is not None:
            group = encoders[found.source] if has_dense else "lexical"
            shared.setdefault(group, {})[key] = leg.score
    is_dense_alone = all(set(found.legs) == {"dense"} for found in by_key.values())
    if is_dense_alone and len(shared) == 1:
        fused = next(iter(shared.values()))
    else:
        fused = rrf([*own, *shared.values()], rrf_k=rrf_k)
    return [replace(by_key[key], score=fused[key]) for key in ranks(fused)]
