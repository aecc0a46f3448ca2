"""Why a hit stands where it stands: its legs, its words, and what its vectors kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lbr_search.protocols import CompressingEncoder
from lbr_search.search.sources import EncoderPool, Source
from lbr_search.types import Expansion, Hit

KEPT_TOKENS = 24
"""Length of the text that the decoder writes from a hit's stored vectors."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What put one hit in its place. Scores are raw: a fused score is no similarity.

    Attributes:
        fusion: how the legs became one ranking, and who chose that; "" with one leg.
        terms: terms of the query that the hit's chunk holds -> what each adds to its BM25 score,
            largest first.
        expansions: what was added to the query in this hit's index.
        kept: what the decoder writes from the chunk's stored vectors alone; "" where the index
            keeps none.
    """

    hit: Hit
    fusion: str = ""
    terms: Mapping[str, float] = field(default_factory=dict)
    expansions: tuple[Expansion, ...] = ()
    kept: str = ""

    def lines(self) -> list[str]:
        """The explanation in words, one fact a line."""
        legs = [
            f"{name} rank {leg.rank}, score {leg.score:.3f}" for name, leg in self.hit.legs.items()
        ]
        said = ["found by " + "; ".join(legs)]
        if self.fusion:
            said.append(f"fused by {self.fusion}")
        if self.terms:
            words = ", ".join(f"{term} {weight:.2f}" for term, weight in self.terms.items())
            said.append(f"words and their BM25 weights: {words}")
        for added in self.expansions:
            said.append(f"{added.matched} also as {added.added} ({added.source}, {added.weight:g})")
        if self.hit.first_rank:
            said.append(f"reranked: {self.hit.first_rank} -> {self.hit.rank}")
        if self.kept:
            said.append(f"what its vectors kept: {self.kept}")
        return said


def explain(
    query: str,
    hits: Sequence[Hit],
    *,
    sources: Mapping[str, Source],
    expansions: Mapping[str, Sequence[Expansion]],
    pool: EncoderPool,
    mode: str,
) -> list[Explanation]:
    """One explanation a hit, in their order.

    Args:
        query: what was searched for.
        hits: of a searcher over `sources`.
        sources: by name, as hits name them.
        expansions: source -> what was added to the query there.
        pool: where the encoders are; used by one thread at a time.
        mode: that the hits were found in.
    """
    explained: dict[tuple[str, str], Explanation] = {}
    for name, source in sources.items():
        own = [hit for hit in hits if hit.source == name]
        if not own:
            continue
        rows = np.asarray([hit.row for hit in own], dtype=np.int64)
        added = tuple(expansions[name])
        terms = source.opened.term_weights(query, rows, added)
        kept = _kept(source, rows, pool)
        is_fused = mode == "hybrid" and source.encoder is not None
        fusion = source.settings.fusion if is_fused else ""
        for hit, weights, text in zip(own, terms, kept, strict=True):
            ordered = dict(sorted(weights.items(), key=lambda item: (-item[1], item[0])))
            explained[name, hit.doc_id] = Explanation(hit, fusion, ordered, added, text)
    return [explained[hit.source, hit.doc_id] for hit in hits]


def _kept(source: Source, rows: NDArray[np.int64], pool: EncoderPool) -> list[str]:
    stored = source.opened.multi_vectors(rows)
    if stored is None or not isinstance(source.encoder, CompressingEncoder):
        return [""] * len(rows)
    with pool.use():
        return source.encoder.generate(stored, max_tokens=KEPT_TOKENS)
